"""Which numbers a run calls, and how it looks them up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sinch_qn._operations import GET_NUMBER, SEND_VOICE_CHALLENGE, Operation
from sinch_qn.bulk import ChallengeState, MemoryJournal
from sinch_qn.errors import NotFoundError, RateLimitError, ServerError, SinchError, TransportError
from sinch_qn.models import GlobalProcessState as SinchState
from tests.support.fake_sinch import Sinch, first
from tests.support.runs import (
    NUMBER,
    counts,
    finish,
    numbers,
    people,
    run_of,
    state_of,
    until,
    until_state,
)
from tests.support.scheduling import callable_now
from tests.support.virtual_clock import virtual_clock


@virtual_clock
async def test_which_numbers_are_called() -> None:
    """Rule 7: ELIGIBLE, VERIFICATION_PENDING and VERIFICATION_FAILED numbers are called, no others.

    A number whose eligibility is being checked stays PENDING until it is known.
    """
    sinch = Sinch()
    states: list[SinchState | None] = [
        *(s for s in SinchState if s is not SinchState.UNSPECIFIED),
        None,
    ]
    wanted = dict(zip(numbers(11), states, strict=True))
    sinch.states = {number: state for number, state in wanted.items() if state is not None}
    by_state = {state: number for number, state in wanted.items()}
    run = run_of(sinch)
    async with run, people(run, sinch.codes.get):
        await run.add(wanted)
        await asyncio.sleep(60)
        called = {
            SinchState.ELIGIBLE,
            SinchState.VERIFICATION_PENDING,
            SinchState.VERIFICATION_FAILED,
        }
        assert set(sinch.rings) == {by_state[state] for state in called}
        assert await counts(run) == {
            ChallengeState.VERIFIED: 3,
            ChallengeState.SKIPPED: 4,
            ChallengeState.FAILED: 2,
            ChallengeState.BLOCKED: 1,
            ChallengeState.PENDING: 1,
        }
        unknown = await run.result(by_state[None])
        assert unknown is not None
        assert unknown.note is not None
        assert "does not know" in unknown.note
        held = by_state[SinchState.ELIGIBLE_CHECK_PENDING]
        assert await state_of(run, held) is ChallengeState.PENDING
        sinch.states[held] = SinchState.ELIGIBLE
        assert (await run.finish()).counts[ChallengeState.VERIFIED] == 4


@pytest.mark.parametrize(("gone", "note"), [(True, "does not know"), (False, "look-up finds it")])
@virtual_clock
async def test_a_404_to_a_call_is_confirmed(*, gone: bool, note: str) -> None:
    """Rule 7: a 404 to a call fails its number once a look-up has a response, whichever it is."""
    sinch = Sinch([NUMBER])

    def refuse(operation: Operation[Any], _: str | None) -> SinchError | None:
        if operation is not SEND_VOICE_CHALLENGE:
            return None
        if gone:
            sinch.states.clear()
        return NotFoundError("hm", status_code=404)

    sinch.before = refuse
    (entry,) = (await finish(run_of(sinch), [NUMBER])).rows()
    assert entry.state is ChallengeState.FAILED
    assert note in str(entry.note)
    assert sinch.count(GET_NUMBER) == 2


@virtual_clock
async def test_a_404_to_a_call_that_is_not_confirmed() -> None:
    """Rule 7: if the look-up after a 404 fails, the number is called later."""
    sinch = Sinch([NUMBER])
    fail_call = first(SEND_VOICE_CHALLENGE, NotFoundError("hm", status_code=404))
    fail_look_up = first(GET_NUMBER, TransportError("reset"))

    def fail(operation: Operation[Any], number: str | None) -> SinchError | None:
        if operation is GET_NUMBER and not sinch.count(SEND_VOICE_CHALLENGE):
            return None
        return fail_call(operation, number) or fail_look_up(operation, number)

    sinch.before = fail
    async with run_of(sinch) as run:
        await run.add([NUMBER])
        entry = await until_state(run, ChallengeState.AWAITING_CODE)
        assert (entry.attempt, sinch.rings[NUMBER]) == (1, 1)
        assert sinch.count(SEND_VOICE_CHALLENGE) == 2


@virtual_clock
async def test_a_failed_look_up_is_repeated() -> None:
    """Rule 8: a look-up that fails is repeated later; its number stays PENDING."""
    sinch = Sinch([NUMBER])
    sinch.before = first(
        GET_NUMBER, RateLimitError("slow", status_code=429), TransportError("reset")
    )
    async with run_of(sinch) as run:
        await run.add([NUMBER])
        await until_state(run, ChallengeState.AWAITING_CODE)
        assert asyncio.get_running_loop().time() > 20.0


@virtual_clock
async def test_states_are_listed_where_that_saves_requests() -> None:
    """Rule 8: many numbers are listed, in the order of a number's life; absence needs a GET."""
    many = numbers(200)
    sinch = Sinch(many[:190])
    async with run_of(sinch) as run:
        await run.add(many)
        await until(lambda: len(sinch.rings) == 190)
        await until_state(run, ChallengeState.FAILED, many[-1])
        await asyncio.sleep(1)
        assert (await counts(run))[ChallengeState.FAILED] == 10
        assert sinch.count("list") == 10
        assert sinch.count(GET_NUMBER) == 10
        life = [state for name, state in sinch.log if name == "list"]
        assert life == [state.value for state in SinchState if state is not SinchState.UNSPECIFIED]


@virtual_clock
async def test_a_large_project_is_not_listed_for_a_few_numbers() -> None:
    """Rule 8: a listing ends after its first pages where look-ups take fewer requests."""
    sinch = Sinch(numbers(3000))
    sinch.page_cap = 20
    wanted = numbers(3000)[-60:]
    async with run_of(sinch) as run:
        await run.add(wanted)
        await until(lambda: len(sinch.rings) == 60)
        assert sinch.count("list") == 10
        assert sinch.count(GET_NUMBER) == 60


@virtual_clock
async def test_fewer_than_fifty_numbers_are_not_listed() -> None:
    """Rule 8: a few numbers are looked up one by one."""
    sinch = Sinch(numbers(49))
    async with run_of(sinch) as run:
        await run.add(numbers(49))
        await until(lambda: len(sinch.rings) == 49)
        assert sinch.count("list") == 0
        assert sinch.count(GET_NUMBER) == 49


@virtual_clock
async def test_a_listing_of_many_pages() -> None:
    """Rule 8: a listing that saves requests is read to its end."""
    sinch = Sinch(numbers(500), SinchState.HOSTING_DONE)
    sinch.page_cap = 100
    assert (await finish(run_of(sinch), numbers(500))).counts[ChallengeState.SKIPPED] == 500
    assert sinch.count("list") == 14
    assert sinch.count(GET_NUMBER) == 0


@virtual_clock
async def test_a_listing_that_fails() -> None:
    """Rule 8: after a listing that fails, numbers are looked up one by one."""
    sinch = Sinch(numbers(60))
    sinch.list_fails = [ServerError("oops", status_code=500)]
    async with run_of(sinch) as run:
        await run.add(numbers(60))
        await until(lambda: len(sinch.rings) == 60)
        assert sinch.count(GET_NUMBER) == 60


@virtual_clock
async def test_look_ups_leave_room_to_calls() -> None:
    """Numbers that are looked up without end hold up none that can be called."""
    known, checked = numbers(10), numbers(1000)[10:]
    sinch = Sinch(known, latency=1.0)
    sinch.states |= dict.fromkeys(checked, SinchState.ELIGIBLE_CHECK_PENDING)
    sinch.total_size, sinch.page_cap = 10**9, 1  # to list them is no shorter
    journal = MemoryJournal()
    async with run_of(sinch, journal, concurrency=4, recheck=600.0) as run:
        await run.add(checked)
        await until(lambda: sinch.count(GET_NUMBER))
        await journal.add(callable_now(*known))
        await until(lambda: len(sinch.rings) == len(known), seconds=30.0)
        assert sinch.count(GET_NUMBER) < len(checked)
