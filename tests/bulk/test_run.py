"""Whole runs: on a virtual clock, on the sandbox's socket, with thousands of numbers."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sinch_qn._operations import SEND_VOICE_CHALLENGE, Operation
from sinch_qn.bulk import ChallengeState, MemoryJournal, SqliteJournal
from sinch_qn.errors import InvalidRequestError, SinchError
from sinch_qn.sandbox import Clock, MisbehavingNumber, Sandbox
from tests.support.fake_sinch import Sinch
from tests.support.runs import finish, numbers, people, run_of, until_state
from tests.support.virtual_clock import virtual_clock


@virtual_clock
async def test_a_run() -> None:
    """Each number is called once, at the rate, and verified; the report has them all."""
    sinch = Sinch(numbers(120))
    run = run_of(sinch, calls_per_second=50.0, max_ringing=20)
    async with run, people(run, sinch.codes.get):
        added = await run.add(numbers(120))
        assert (added.added, added.already, added.invalid_count) == (120, 0, 0)
        report = await run.finish()
        assert report.counts[ChallengeState.VERIFIED] == 120
        assert sum(report.counts.values()) == 120
        assert run.rate == pytest.approx(50.0)
    assert [entry.number for entry in report.rows()] == numbers(120)
    assert set(sinch.rings.values()) == {1}
    assert len(sinch.rings) == 120
    assert max(Counter(int(at) for at in sinch.rang_at).values()) <= 51


@virtual_clock
async def test_a_ref_has_all_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """`result_by_ref` returns every number of a ref, as added, however many pages they are."""
    monkeypatch.setattr("sinch_qn.bulk.run.MAX_LIMIT", 2)
    many = numbers(12)
    refs = ["shop" if place % 2 else "depot" for place in range(12)]
    async with run_of(Sinch(many)) as run:
        await run.add(zip(many, refs, strict=True))
        assert [entry.number for entry in await run.result_by_ref("shop")] == many[1::2]
        assert await run.result_by_ref("sho") == []


async def test_numbers_that_misbehave(tmp_path: Path) -> None:
    """P1: every misbehaving number ends in its state, and no phone is called twice."""
    special = {t: f"+1202{t.value}" for t in MisbehavingNumber}
    good = numbers(30)
    everyone = [*special.values(), *good]
    clock = Clock()
    async with Sandbox(clock=clock) as sandbox, sandbox.client() as client:
        sandbox.add([n for n in everyone if n != special[MisbehavingNumber.NOT_ELIGIBLE]])
        sandbox.add([special[MisbehavingNumber.NOT_ELIGIBLE]], "NOT_ELIGIBLE")
        run = run_of(client, SqliteJournal(tmp_path / "run.db"), clock=clock.now, max_codes=2)
        async with run, people(run, sandbox.code_for):
            await run.add(everyone)
            await until_state(
                run, ChallengeState.AWAITING_CODE, special[MisbehavingNumber.FIRST_CALL_MISSED]
            )
            await run.recall(special[MisbehavingNumber.FIRST_CALL_MISSED])
            await until_state(
                run, ChallengeState.VERIFIED, special[MisbehavingNumber.FIRST_CALL_MISSED]
            )
            await until_state(
                run, ChallengeState.VERIFIED, special[MisbehavingNumber.LOST_RESPONSE]
            )
            await until_state(run, ChallengeState.BLOCKED, special[MisbehavingNumber.BLOCKED])
            for number in good:
                await until_state(run, ChallengeState.VERIFIED, number)
            clock.advance(601.0)
            report = await run.finish()
        entries = await asyncio.to_thread(list, report.rows())
        rows = {entry.number: entry.state for entry in entries}
        assert rows[special[MisbehavingNumber.NOT_ELIGIBLE]] is ChallengeState.FAILED
        assert rows[special[MisbehavingNumber.NOBODY_ANSWERS]] is ChallengeState.EXPIRED
        assert rows[special[MisbehavingNumber.MISHEARD]] is ChallengeState.EXPIRED
        rings = {number: sandbox.world.rings(number) for number in everyone}
        assert rings.pop(special[MisbehavingNumber.FIRST_CALL_MISSED]) == 2
        assert rings.pop(special[MisbehavingNumber.NOT_ELIGIBLE]) == 0
        assert rings.pop(special[MisbehavingNumber.BLOCKED]) == 0
        assert set(rings.values()) == {1}
        assert sandbox.violations == []


@virtual_clock
async def test_waiting_numbers_have_no_task() -> None:
    """P10: a number that waits costs a row: 2,000 awaiting codes have no task and no request."""
    many = numbers(2_000)
    sinch = Sinch(many, latency=0.0)
    async with run_of(sinch, calls_per_second=5000.0, code_timeout=86_400.0) as run:
        await asyncio.sleep(1)
        idle = len(asyncio.all_tasks())
        await run.add(many)
        most = 0
        while len(sinch.rings) < len(many):
            most = max(most, len(asyncio.all_tasks()))
            await asyncio.sleep(0.01)
        await asyncio.sleep(5)
        assert (await run.counts())[ChallengeState.AWAITING_CODE] == len(many)
        assert most <= idle + 2 * 50
        assert len(asyncio.all_tasks()) <= idle
        requests = len(sinch.log)
        await asyncio.sleep(600)
        assert len(sinch.log) == requests


@virtual_clock
async def test_a_bug_stops_the_run() -> None:
    """An unexpected exception stops the run, and `finish` raises it."""
    sinch = Sinch(numbers(3))

    def bug(operation: Operation[Any], _: str | None) -> SinchError | None:
        if operation is SEND_VOICE_CHALLENGE:
            raise ZeroDivisionError("a bug")
        return None

    sinch.before = bug
    journal = MemoryJournal()
    with pytest.raises(ZeroDivisionError):
        await finish(run_of(sinch, journal), numbers(3))
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert journal._runner is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_ringing", 0),
        ("max_ringing", 0.5),
        ("concurrency", True),
        ("concurrency", 0.5),
        ("max_codes", "3"),
        ("calls_per_second", 0.0),
        ("ring_window", -1),
        ("code_timeout", float("inf")),
        ("recheck", float("nan")),
        ("drain_timeout", None),
        ("calling_hours", "9 to 5"),
    ],
)
def test_invalid_arguments(name: str, value: object) -> None:
    """Arguments are checked at construction, and the message names the invalid one."""
    with pytest.raises(InvalidRequestError, match=name):
        run_of(Sinch(), None, **{name: value})
