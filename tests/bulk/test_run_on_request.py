"""Rule 26 in a run: what is asked for is called, once, before all others, and nothing else is."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from itertools import pairwise

import pytest

from sinch_qn._operations import GET_NUMBER, SEND_VOICE_CHALLENGE
from sinch_qn.bulk import ChallengeState, MemoryJournal, recall, request_call
from sinch_qn.bulk.call_requests import BEING_CHECKED, PAUSED
from sinch_qn.bulk.states import Todo
from sinch_qn.errors import (
    ConnectError,
    InvalidRequestError,
    JournalError,
    RateLimitError,
    SinchError,
    TransportError,
)
from sinch_qn.models import GlobalProcessState as SinchState
from tests.support.fake_sinch import Sinch, always, first
from tests.support.runs import (
    NUMBER,
    OTHER,
    WallClock,
    numbers,
    run_of,
    state_of,
    until,
    until_state,
)
from tests.support.virtual_clock import virtual_clock


@virtual_clock
async def test_a_number_is_called_once_somebody_asks() -> None:
    """Numbers are looked up at once, and called on request only: one request, one call."""
    many = numbers(60)
    sinch = Sinch(many)
    async with run_of(sinch, on_request=True) as run:
        await run.add(many)
        finishing = asyncio.ensure_future(run.finish())
        await asyncio.sleep(30.0)
        assert {entry.remote for entry in run._journal.rows()} == {SinchState.ELIGIBLE}
        assert sinch.count(SEND_VOICE_CHALLENGE) == 0
        async with aclosing(run.events()) as events:
            hearing = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0)
            request = await run.request_call(many[7], attempt=0)
            assert (request.new, request.earliest, request.reason) == (True, None, None)
            assert not (await run.request_call(many[7], attempt=0)).new
            heard = await hearing
        assert (heard.what, heard.number) == ("request", many[7])
        entry = await until_state(run, ChallengeState.AWAITING_CODE, many[7], seconds=5.0)
        assert not (await run.request_call(many[7], attempt=0)).new  # the page is reloaded
        assert not (await run.request_call(many[7])).new  # it rings
        await run.submit_code(many[7], sinch.codes[many[7]])
        await until_state(run, ChallengeState.VERIFIED, many[7])
        assert (await run.request_call(many[7], attempt=0)).entry.state is ChallengeState.VERIFIED
        with pytest.raises(InvalidRequestError, match="is verified: it cannot be called"):
            await run.request_call(many[7], attempt=entry.attempt)
        await asyncio.sleep(3600.0)
        assert sinch.rings == {many[7]: 1}
        assert not finishing.done()  # the others are not settled
        finishing.cancel()


@virtual_clock
async def test_a_second_request_is_a_second_call() -> None:
    """A request of somebody who knows of the call, "I missed it", leads to one more call."""
    sinch = Sinch([NUMBER])
    async with run_of(sinch, on_request=True) as run:
        await run.add([NUMBER])
        for attempt in range(3):
            for _ in range(3):
                await run.request_call(NUMBER, attempt=attempt)
            await until_state(run, ChallengeState.AWAITING_CODE, seconds=10.0)
            assert sinch.rings[NUMBER] == attempt + 1
        await recall(run._journal, NUMBER, at=WallClock()())  # a recall is a request as well
        assert not (await run.request_call(NUMBER, attempt=3)).new
        await until_state(run, ChallengeState.AWAITING_CODE)
        await asyncio.sleep(600.0)
        assert sinch.rings[NUMBER] == 4


@pytest.mark.parametrize(
    "error",
    [ConnectError("refused"), RateLimitError("slow", status_code=429, retry_after=7.0)],
    ids=["not sent", "429"],
)
@virtual_clock
async def test_a_call_that_was_not_made_is_made_later(error: SinchError) -> None:
    """NOT_SENT and 429 keep the request: its call is made without another press, once."""
    sinch = Sinch([NUMBER])
    sinch.before = first(SEND_VOICE_CHALLENGE, error)
    async with run_of(sinch, on_request=True) as run:
        await run.add([NUMBER])
        await run.request_call(NUMBER)
        await until(lambda: sinch.count(SEND_VOICE_CHALLENGE) == 1)
        await until_state(run, ChallengeState.PENDING)
        assert not (await run.request_call(NUMBER)).new
        await until_state(run, ChallengeState.AWAITING_CODE, seconds=20.0)
        await asyncio.sleep(60.0)
        assert sinch.rings[NUMBER] == 1


@virtual_clock
async def test_a_lost_call_is_not_repeated() -> None:
    """P1: a request whose response was lost leads to another call only by another request."""
    sinch = Sinch([NUMBER])
    sinch.after = first(SEND_VOICE_CHALLENGE, TransportError("reset"))
    async with run_of(sinch, on_request=True) as run:
        await run.add([NUMBER])
        await run.request_call(NUMBER, attempt=0)
        await until_state(run, ChallengeState.UNKNOWN)
        assert not (await run.request_call(NUMBER, attempt=0)).new
        await asyncio.sleep(60.0)
        assert sinch.rings[NUMBER] == 1
        assert (await run.request_call(NUMBER, attempt=1)).new
        await until_state(run, ChallengeState.AWAITING_CODE, seconds=5.0)
        assert sinch.rings[NUMBER] == 2


@virtual_clock
async def test_a_request_is_next_and_keeps_the_pace() -> None:
    """Without `on_request` a request moves its number to the front; pace and slots hold."""
    many = numbers(40)
    sinch = Sinch(many)
    async with run_of(sinch, calls_per_second=1.0, max_ringing=30, ring_window=60.0) as run:
        await run.add(many)
        await until(lambda: len(sinch.rings) == 5)
        for number in (many[33], many[22], many[11]):
            await run.request_call(number)
            await asyncio.sleep(0.001)
        await until(lambda: len(sinch.rings) == 9)
        assert list(sinch.rings)[5:9] in (
            [many[33], many[22], many[11], many[5]],
            [many[5], many[33], many[22], many[11]],  # the next one had its turn already
        )
        assert min(later - sooner for sooner, later in pairwise(sinch.rang_at)) > 0.9
        await until(lambda: len(sinch.rings) == 30, seconds=60.0)
        await run.request_call(many[39])
        await asyncio.sleep(5.0)
        assert len(sinch.rings) == 30  # all slots are taken
        await until(lambda: len(sinch.rings) == 31)
        assert list(sinch.rings)[30] == many[39]


@virtual_clock
async def test_a_request_in_an_outage_waits_for_its_end() -> None:
    """Rule 5: a request while the run pauses is told so, kept, and called once Sinch responds."""
    sinch = Sinch([NUMBER, OTHER])
    sinch.list_fails = [ConnectError("down")] * 5
    async with run_of(sinch, on_request=True) as run:
        await run.add([NUMBER, OTHER])
        request = await run.request_call(NUMBER)
        assert (request.new, request.earliest, request.reason) == (True, None, PAUSED)
        await until_state(run, ChallengeState.AWAITING_CODE)
        assert sinch.rings == {NUMBER: 1}
        assert (await run.request_call(OTHER)).reason is None


@virtual_clock
async def test_a_number_whose_eligibility_is_checked() -> None:
    """Whoever asks while Sinch still checks a number is told, and called once it may be."""
    sinch = Sinch([NUMBER], SinchState.ELIGIBLE_CHECK_PENDING)
    async with run_of(sinch, on_request=True) as run:
        await run.add([NUMBER])
        await until(lambda: sinch.count(GET_NUMBER) == 1)
        await asyncio.sleep(0.5)
        request = await run.request_call(NUMBER)
        assert (request.new, request.reason) == (True, BEING_CHECKED)
        assert request.earliest == request.entry.due > run._journal.now()
        await asyncio.sleep(30.0)
        sinch.states[NUMBER] = SinchState.ELIGIBLE
        await until_state(run, ChallengeState.AWAITING_CODE, seconds=10.0)
        assert sinch.rings[NUMBER] == 1


@virtual_clock
async def test_codes_of_requested_calls() -> None:
    """A code may come while the call is made; a wrong one leads to no call but by a request."""
    sinch = Sinch([NUMBER])
    async with run_of(sinch, on_request=True, max_codes=1) as run:
        await run.add([NUMBER])
        with pytest.raises(InvalidRequestError, match="was not called yet"):
            await run.submit_code(NUMBER, "0000")
        await run.request_call(NUMBER)
        await until_state(run, ChallengeState.CALLING)
        await run.submit_code(NUMBER, "9" * 4)
        entry = await until_state(run, ChallengeState.FAILED)
        await asyncio.sleep(60.0)
        assert sinch.rings[NUMBER] == 1
        assert (await run.request_call(NUMBER, attempt=entry.attempt)).new
        await until_state(run, ChallengeState.AWAITING_CODE)
        await run.submit_code(NUMBER, sinch.codes[NUMBER])
        await until_state(run, ChallengeState.VERIFIED)
        assert sinch.rings[NUMBER] == 2


@virtual_clock
async def test_all_runners_agree() -> None:
    """A runner joins others with their `on_request` only, and serves their requests."""
    journal, sinch = MemoryJournal(), Sinch([NUMBER])
    async with run_of(sinch, journal, on_request=True) as run:
        await run.add([NUMBER])
        with pytest.raises(JournalError, match="on_request=False instead of True"):
            await run_of(sinch, journal.another()).__aenter__()
        asker = journal.another()
        await asker.open(None, running=False)
        await request_call(asker, NUMBER, at=WallClock()())
        await until_state(run, ChallengeState.AWAITING_CODE, seconds=5.0)
    async with run_of(sinch, journal.another(), on_request=True) as run:
        assert await state_of(run) is ChallengeState.AWAITING_CODE
    assert sinch.rings[NUMBER] == 1


@virtual_clock
async def test_a_run_that_no_longer_waits_for_requests() -> None:
    """A run that goes on without `on_request` calls all; one that begins with it calls none."""
    journal, sinch = MemoryJournal(), Sinch([NUMBER, OTHER])
    sinch.before = always(SEND_VOICE_CHALLENGE, ConnectError("down"))
    async with run_of(sinch, journal) as run:
        await run.add([NUMBER])
        await until(lambda: sinch.count(SEND_VOICE_CHALLENGE) > 0)
    sinch.before = lambda *_: None
    async with run_of(sinch, journal.another(), on_request=True) as run:
        await run.add([OTHER])
        await asyncio.sleep(600.0)
        assert not sinch.rings
        assert await journal.next_due(Todo.REQUESTED_CALL) is None
    async with run_of(sinch, journal.another()) as run:
        await until(lambda: len(sinch.rings) == 2, seconds=10.0)
