"""The codes of a run: when one is accepted, sent, sent again and erased."""

# ruff: noqa: ASYNC240 - small files

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any, Literal

import pytest

from sinch_qn._operations import GET_NUMBER, SEND_VOICE_CHALLENGE, VERIFY_VOICE_CHALLENGE, Operation
from sinch_qn.bulk import (
    ChallengeState,
    MemoryJournal,
    SqliteJournal,
    Submission,
    VoiceChallengeRun,
    calls,
    due_numbers,
    scheduler,
    submit_code,
)
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
from sinch_qn.sandbox import MisbehavingNumber, Sandbox
from tests.support.fake_sinch import Sinch, always, first
from tests.support.runs import NUMBER, OTHER, Recording, run_of, state_of, until, until_state
from tests.support.virtual_clock import virtual_clock


@virtual_clock
async def test_a_code_waits_for_a_token() -> None:
    """Rule 1: a code stays in the inbox while no token can be acquired."""
    sinch = Sinch([NUMBER])
    run = run_of(sinch, Recording(sinch.log))
    async with run:
        await run.add([NUMBER])
        await until_state(run, ChallengeState.AWAITING_CODE)
        sinch.prepare_fails = [TokenError("down")] * 45
        await run.submit_code(NUMBER, sinch.codes[NUMBER])
        await run.finish()
        assert sinch.count("commit verify") == 1
        # After each twenty failures in a row the run paused and probed.
        assert sinch.count("probe") >= 3
        assert await state_of(run) is ChallengeState.VERIFIED


@virtual_clock
async def test_a_journal_that_tells_is_not_polled_for_codes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A code from another process is sent once the journal tells of it, long before a poll."""
    told = asyncio.Event()

    class Telling(MemoryJournal):
        async def changed(self, timeout: float) -> None:
            await asyncio.wait_for(told.wait(), timeout)
            told.clear()

    for module in (scheduler, due_numbers, calls):
        monkeypatch.setattr(module, "POLL", 50.0)
    sinch, journal = Sinch([NUMBER]), Telling()
    async with run_of(sinch, journal) as run:
        await run.add([NUMBER])
        await until_state(run, ChallengeState.AWAITING_CODE)
        await submit_code(journal.another(), NUMBER, sinch.codes[NUMBER])
        await asyncio.sleep(5)
        assert await state_of(run) is ChallengeState.AWAITING_CODE
        told.set()
        await until_state(run, ChallengeState.VERIFIED, seconds=1)


@pytest.mark.parametrize(
    "error",
    [
        None,
        TransportError("reset"),
        ConnectError("hm"),
        BadRequestError("hm", status_code=400),
    ],
    ids=["called", "unknown", "not sent", "refused"],
)
@virtual_clock
async def test_a_code_that_comes_early(error: SinchError | None) -> None:
    """Rule 12: a code that comes before its call's response is sent, whatever the response is."""
    sinch = Sinch([NUMBER], latency=10.0)
    if error is not None:
        sinch.after = always(SEND_VOICE_CHALLENGE, error)
    async with run_of(sinch) as run:
        await run.add([NUMBER])
        await until(lambda: sinch.rings[NUMBER])
        assert await state_of(run) is ChallengeState.CALLING
        assert await run.submit_code(NUMBER, sinch.codes[NUMBER]) is Submission.ACCEPTED
        assert (await run.finish()).counts[ChallengeState.VERIFIED] == 1
        assert sinch.rings[NUMBER] == 1


@virtual_clock
async def test_which_codes_are_accepted() -> None:
    """Rule 12: a code is text; the same one twice is one; a number never called accepts none."""
    sinch = Sinch([NUMBER], latency=1.0)
    async with run_of(sinch) as run:
        await run.add([NUMBER])
        for number, where in ((NUMBER, "was not called yet"), (OTHER, "is not in this run")):
            with pytest.raises(InvalidRequestError, match=where):
                await run.submit_code(number, "0000")
        await until_state(run, ChallengeState.AWAITING_CODE)
        with pytest.raises(InvalidRequestError, match="a code is a string"):
            await run.submit_code(NUMBER, 42)  # type: ignore[arg-type]
        sinch.codes[NUMBER] = "0042"
        assert await run.submit_code(NUMBER, "42") is Submission.ACCEPTED
        assert await run.submit_code(NUMBER, "0042") is Submission.ACCEPTED
        assert await run.submit_code(NUMBER, "0042") is Submission.DUPLICATE
        await until_state(run, ChallengeState.VERIFIED)
        assert sinch.count(VERIFY_VOICE_CHALLENGE) == 2
        with pytest.raises(InvalidRequestError, match="is verified"):
            await run.submit_code(NUMBER, "0042")


@virtual_clock
async def test_a_late_code_is_sent() -> None:
    """Rule 13: an EXPIRED number accepts a late code, which settles it."""
    sinch = Sinch([NUMBER, OTHER])
    async with run_of(sinch) as run:
        await run.add([NUMBER, OTHER])
        report = await run.finish()
        assert report.counts[ChallengeState.EXPIRED] == 2
        assert 600.0 <= asyncio.get_running_loop().time() < 602.0
        await run.submit_code(NUMBER, sinch.codes[NUMBER])
        await run.submit_code(OTHER, "wrong")
        assert await state_of(run) is ChallengeState.EXPIRED
        report = await run.finish()
        assert report.counts[ChallengeState.VERIFIED] == report.counts[ChallengeState.EXPIRED] == 1


@pytest.mark.parametrize("wrong_code", ["failed", "rejected"])
async def test_wrong_codes(wrong_code: Literal["failed", "rejected"]) -> None:
    """Rule 14: a wrong code leads back to AWAITING_CODE until `max_codes` are used.

    Sinch says so in a 200 or in a 4xx.
    """
    async with (
        Sandbox(wrong_code=wrong_code, max_attempts=10) as sandbox,
        sandbox.client() as client,
    ):
        sandbox.add([NUMBER, OTHER])
        async with run_of(client, max_codes=3, clock=sandbox.clock.now) as run:
            await run.add([NUMBER, OTHER])
            for number in (NUMBER, OTHER):
                await until_state(run, ChallengeState.AWAITING_CODE, number)
            for used, code in enumerate(("wrong1", "wrong2"), start=1):
                await run.submit_code(NUMBER, code)
                await until(lambda used=used: used_codes(run, NUMBER, used))  # type: ignore[misc]
                assert await state_of(run) is ChallengeState.AWAITING_CODE
                await run.submit_code(OTHER, code)
            await run.submit_code(NUMBER, str(sandbox.code_for(NUMBER)))
            await until_state(run, ChallengeState.VERIFIED)
            await run.submit_code(OTHER, "wrong3")
            report = await run.finish()
            assert (
                report.counts[ChallengeState.VERIFIED],
                report.counts[ChallengeState.FAILED],
            ) == (1, 1)
        assert sandbox.violations == []
        assert sandbox.calls.count("verifyVoiceChallenge", OTHER) == 3


async def used_codes(run: VoiceChallengeRun, number: str, used: int) -> bool:
    """Return whether *used* codes were wrong and the next is awaited."""
    entry = await run.result(number)
    assert entry is not None
    return entry.codes_used == used and entry.state is ChallengeState.AWAITING_CODE


@pytest.mark.parametrize("wrong_code", ["failed", "rejected"])
async def test_a_blocked_number_ends(wrong_code: Literal["failed", "rejected"]) -> None:
    """Rule 14: a number that Sinch blocks is settled, in a 200 or a 4xx, though codes are left."""
    misheard = f"+1202{MisbehavingNumber.MISHEARD.value}"
    blocked = f"+1202{MisbehavingNumber.BLOCKED.value}"
    async with (
        Sandbox(wrong_code=wrong_code, max_attempts=2) as sandbox,
        sandbox.client() as client,
    ):
        sandbox.add([misheard, blocked])
        async with run_of(client, max_codes=9, clock=sandbox.clock.now) as run:
            await run.add([misheard, blocked])
            await until_state(run, ChallengeState.BLOCKED, blocked)
            await until_state(run, ChallengeState.AWAITING_CODE, misheard)
            for code in (sandbox.code_for(misheard), "another"):
                await run.submit_code(misheard, str(code))
            report = await run.finish()
            assert report.counts[ChallengeState.BLOCKED] == 2
            with pytest.raises(InvalidRequestError, match="cannot be recalled"):
                await run.recall(misheard)
        assert sandbox.world.rings(blocked) == 0


@pytest.mark.parametrize("arrived", [True, False])
@virtual_clock
async def test_an_unknown_verification(*, arrived: bool) -> None:
    """Rule 15: after a lost response the number is looked up; if it is pending, the code is resent.

    A final state has precedence.
    """
    sinch = Sinch([NUMBER])
    fault = first(VERIFY_VOICE_CHALLENGE, TransportError("reset"))
    if arrived:
        sinch.after = fault
    else:
        sinch.before = fault
    async with run_of(sinch) as run:
        await run.add([NUMBER])
        await until_state(run, ChallengeState.AWAITING_CODE)
        await run.submit_code(NUMBER, sinch.codes[NUMBER])
        await run.finish()
        entry = await run.result(NUMBER)
        assert entry is not None
        assert entry.state is ChallengeState.VERIFIED
        assert entry.codes_used == (1 if arrived else 2)
        assert sinch.count(VERIFY_VOICE_CHALLENGE) == (1 if arrived else 2)


@virtual_clock
async def test_a_verification_that_is_unknown_twice() -> None:
    """Rule 15: after two lost responses a code is requested again, and may be the same.

    A look-up that fails is repeated.
    """
    sinch = Sinch([NUMBER])
    lost = True

    def fail(operation: Operation[Any], _: str | None) -> SinchError | None:
        if operation is VERIFY_VOICE_CHALLENGE and lost:
            return TransportError("reset")
        if operation is GET_NUMBER and sinch.count(VERIFY_VOICE_CHALLENGE) >= 1:
            return ServerError("down", status_code=503) if sinch.count(GET_NUMBER) < 5 else None
        return None

    sinch.before = fail
    async with run_of(sinch) as run:
        await run.add([NUMBER])
        await until_state(run, ChallengeState.AWAITING_CODE)
        await run.submit_code(NUMBER, sinch.codes[NUMBER])
        await until_state(run, ChallengeState.VERIFYING)
        await asyncio.sleep(20)
        assert await state_of(run) is ChallengeState.VERIFYING

        async def requested() -> bool:
            entry = await run.result(NUMBER)
            return entry is not None and "ask for the code again" in str(entry.note)

        await until(requested)
        assert await state_of(run) is ChallengeState.AWAITING_CODE
        assert sinch.count(VERIFY_VOICE_CHALLENGE) == 2
        lost = False
        assert await run.submit_code(NUMBER, sinch.codes[NUMBER]) is Submission.ACCEPTED
        assert (await run.finish()).counts[ChallengeState.VERIFIED] == 1


@virtual_clock
async def test_a_code_that_was_not_sent_is_sent_later() -> None:
    """Rule 2: a code that was not sent is not counted; a 429 postpones it by Retry-After."""
    sinch = Sinch([NUMBER])
    sinch.before = first(
        VERIFY_VOICE_CHALLENGE,
        ConnectError("refused"),
        RateLimitError("slow", status_code=429, retry_after=50.0),
    )
    async with run_of(sinch) as run:
        await run.add([NUMBER])
        await until_state(run, ChallengeState.AWAITING_CODE)
        await run.submit_code(NUMBER, sinch.codes[NUMBER])
        await run.finish()
        entry = await run.result(NUMBER)
        assert entry is not None
        assert (entry.state, entry.codes_used) == (ChallengeState.VERIFIED, 1)
        assert 50.0 < asyncio.get_running_loop().time() < 60.0


async def test_codes_are_disclosed_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Rule 16: codes are in no log, event, report, error or note, though Sinch repeats them.

    After the run they are in none of the journal's files.
    """
    canary = "8264917350"
    sinch = Sinch([NUMBER, OTHER], latency=0.0)
    sinch.wrong_code = "rejected"
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "run.db"
    disclosed: list[object] = []
    async with run_of(sinch, SqliteJournal(path)) as run:

        async def listen() -> None:
            disclosed.extend([event async for event in run.events()])

        listener = asyncio.create_task(listen())
        await run.add([(NUMBER, "ref"), OTHER])
        for number in (NUMBER, OTHER):
            await until_state(run, ChallengeState.AWAITING_CODE, number)
        await run.submit_code(NUMBER, canary)
        await until(lambda: used_codes(run, NUMBER, 1))
        disclosed.append(await run.result(NUMBER))
        with pytest.raises(InvalidRequestError) as caught:
            await run.submit_code(NUMBER, f"{canary} ")
        disclosed.append(str(caught.value))
        for number in (NUMBER, OTHER):
            sinch.codes[number] = f"{canary}1"
            await run.submit_code(number, f"{canary}1")
        report = await run.finish()
        disclosed += [repr(report), *await asyncio.to_thread(list, report.rows())]
    await listener
    assert report.counts[ChallengeState.VERIFIED] == 2
    assert canary not in "".join(map(repr, disclosed)) + caplog.text
    assert any("•••" in repr(item) for item in disclosed)
    left = [path.read_bytes() for path in tmp_path.iterdir()]
    assert not any(canary.encode() in content for content in left)
