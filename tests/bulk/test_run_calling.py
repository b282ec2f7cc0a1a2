"""The phone calls of a run: acquire, commit the intent, send once, commit the outcome."""

from __future__ import annotations

import asyncio

import pytest

from sinch_qn._operations import GET_NUMBER, SEND_VOICE_CHALLENGE, VERIFY_VOICE_CHALLENGE
from sinch_qn.bulk import ChallengeState, MemoryJournal, Submission, recall
from sinch_qn.errors import (
    BadRequestError,
    ConnectError,
    InvalidRequestError,
    RateLimitError,
    ServerError,
    SinchError,
    TokenError,
    TransportError,
)
from tests.support.fake_sinch import Sinch, always, first
from tests.support.runs import (
    NUMBER,
    OTHER,
    Recording,
    WallClock,
    finish,
    run_of,
    until,
    until_state,
)
from tests.support.virtual_clock import virtual_clock


@virtual_clock
async def test_acquire_then_intent_then_send() -> None:
    """Rule 1: a token is acquired, then the intent is committed, then one request is sent."""
    sinch = Sinch([NUMBER])
    await finish(run_of(sinch, Recording(sinch.log)), [NUMBER], sinch.codes.get)
    order = [name for name, _ in sinch.log if name not in {"probe", "commit learnt"}]
    assert order == [
        GET_NUMBER.id,
        "prepare",
        "commit call",
        SEND_VOICE_CHALLENGE.id,
        "commit called",
        "prepare",
        "commit verify",
        VERIFY_VOICE_CHALLENGE.id,
        "commit verified",
    ]


@virtual_clock
async def test_without_a_token_there_is_no_intent() -> None:
    """Rule 1: while no token can be acquired, no intent is committed and the number waits."""
    sinch = Sinch([NUMBER])
    sinch.prepare_fails = [TokenError("down")] * 3
    report = await finish(run_of(sinch, Recording(sinch.log)), [NUMBER], sinch.codes.get)
    assert report.counts[ChallengeState.VERIFIED] == 1
    assert sinch.count("commit call") == 1
    assert sinch.count("prepare") == 5


def test_concurrency_is_limited_by_connections() -> None:
    """Rule 1: a run has no more requests in flight than its client has connections.

    A request that waits for a connection would wait between its intent and its sending.
    """
    sinch = Sinch()
    sinch.max_connections = 2
    assert run_of(sinch, MemoryJournal())._scheduler.concurrency == 2
    sinch.max_connections = None
    assert run_of(sinch, MemoryJournal())._scheduler.concurrency == 50


@pytest.mark.parametrize(
    ("error", "earliest", "latest"),
    [
        (ConnectError("refused"), 0.0, 10.0),
        (RateLimitError("slow", status_code=429, retry_after=40.0), 40.0, 45.0),
    ],
    ids=["not sent", "429"],
)
@virtual_clock
async def test_a_call_that_was_not_made_is_made_later(
    error: SinchError, earliest: float, latest: float
) -> None:
    """Rule 2: NOT_SENT leads back to PENDING; a 429 postpones its number by Retry-After."""
    sinch = Sinch([NUMBER])
    sinch.before = first(SEND_VOICE_CHALLENGE, error)
    run = run_of(sinch)
    async with run:
        await run.add([NUMBER])
        await until(lambda: sinch.count(SEND_VOICE_CHALLENGE))
        entry = await until_state(run, ChallengeState.PENDING)
        assert entry.attempt == 0
        entry = await until_state(run, ChallengeState.AWAITING_CODE)
        assert (entry.attempt, sinch.rings[NUMBER]) == (1, 1)
        assert earliest <= sinch.rang_at[0] < latest


@virtual_clock
async def test_an_unknown_call_is_never_retried() -> None:
    """Rule 2: a call whose response was lost stays UNKNOWN, is not retried, and accepts a code."""
    sinch = Sinch([NUMBER])
    sinch.after = always(SEND_VOICE_CHALLENGE, TransportError("reset"))
    run = run_of(sinch)
    async with run:
        await run.add([NUMBER])
        entry = await until_state(run, ChallengeState.UNKNOWN)
        assert entry.settled_at is None
        await asyncio.sleep(300)
        assert sinch.rings[NUMBER] == 1
        await run.submit_code(NUMBER, sinch.codes[NUMBER])
        assert (await run.finish()).counts[ChallengeState.VERIFIED] == 1
        assert sinch.rings[NUMBER] == 1


@virtual_clock
async def test_unknown_is_settled_when_its_code_window_ends() -> None:
    """Rules 13 and 19: UNKNOWN is settled after `code_timeout`, and still accepts a code then."""
    sinch = Sinch([NUMBER])
    sinch.after = always(SEND_VOICE_CHALLENGE, ServerError("oops", status_code=500))
    run = run_of(sinch)
    async with run:
        await run.add([NUMBER])
        assert (await run.finish()).counts[ChallengeState.UNKNOWN] == 1
        assert 600.0 <= asyncio.get_running_loop().time() < 602.0
        assert await run.submit_code(NUMBER, sinch.codes[NUMBER]) is Submission.ACCEPTED
        assert (await run.finish()).counts[ChallengeState.VERIFIED] == 1


@virtual_clock
async def test_a_known_number_is_called_again_by_recall_only() -> None:
    """Rule 10: `add` of a known number, in any state, changes nothing; only `recall` calls it."""
    sinch = Sinch([NUMBER, OTHER])
    async with run_of(sinch) as run:
        report = await run.add([NUMBER, NUMBER, OTHER])
        assert (report.added, report.already) == (2, 1)
        await until_state(run, ChallengeState.AWAITING_CODE)
        before = await run.result(NUMBER)
        report = await run.add([(NUMBER, "another")])
        assert (report.added, report.already) == (0, 1)
        assert await run.result(NUMBER) == before
        await asyncio.sleep(60)
        assert sinch.rings[NUMBER] == 1
        entry = await run.recall(NUMBER)
        assert entry.state is ChallengeState.PENDING
        await until(lambda: sinch.rings[NUMBER] == 2)
        entry = await until_state(run, ChallengeState.AWAITING_CODE)
        assert entry.attempt == 2
        await run.submit_code(NUMBER, sinch.codes[NUMBER])
        await until_state(run, ChallengeState.VERIFIED)
        for number in (NUMBER, "+12025559999"):
            with pytest.raises(InvalidRequestError, match="cannot be recalled"):
                await run.recall(number)
        await run.add([NUMBER])
        await asyncio.sleep(60)
        assert sinch.rings == {NUMBER: 2, OTHER: 1}


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (ChallengeState.EXPIRED, None),
        (ChallengeState.FAILED, BadRequestError("no", status_code=400)),
        (ChallengeState.UNKNOWN, TransportError("reset")),
    ],
    ids=["expired", "failed", "unknown"],
)
@virtual_clock
async def test_a_recall_is_the_next_attempt(
    state: ChallengeState, error: SinchError | None
) -> None:
    """Rule 10: EXPIRED, FAILED and UNKNOWN may be recalled, too, as the next attempt."""
    sinch = Sinch([NUMBER])
    if error is not None:
        sinch.after = first(SEND_VOICE_CHALLENGE, error)
    async with run_of(sinch, code_timeout=20.0) as run:
        await run.add([NUMBER])
        await until_state(run, state)
        await recall(run._journal, NUMBER, at=WallClock()())  # as another process does
        entry = await until_state(run, ChallengeState.AWAITING_CODE, seconds=5.0)
        assert entry.attempt == 2
        assert sinch.rings[NUMBER] == 2
