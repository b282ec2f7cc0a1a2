"""What a run's caller sees: `finish`, the report, events."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import get_args

import pytest

from sinch_qn.bulk import (
    ChallengeState,
    EventName,
    MemoryJournal,
    NewNumber,
    RunEvent,
    SqliteJournal,
)
from sinch_qn.bulk.states import Event
from sinch_qn.errors import InvalidRequestError
from sinch_qn.models import GlobalProcessState as SinchState
from tests.support.fake_sinch import Sinch
from tests.support.runs import NUMBER, OTHER, numbers, run_of, until, until_state
from tests.support.virtual_clock import virtual_clock


@virtual_clock
async def test_finish_waits_until_all_are_settled() -> None:
    """Rule 19: calling begins on entering; `finish` returns once all numbers are settled.

    It may be awaited again after more numbers were added.
    """
    sinch, journal = Sinch([NUMBER, OTHER]), MemoryJournal()
    async with run_of(sinch, journal) as run:
        empty = await run.finish()
        assert not any(empty.counts.values())
        await run.add([NUMBER])
    async with run_of(sinch, journal) as run:
        await until(lambda: sinch.rings[NUMBER])
        finishing = asyncio.create_task(run.finish())
        await asyncio.sleep(100)
        assert not finishing.done()
        await run.submit_code(NUMBER, sinch.codes[NUMBER])
        assert (await finishing).counts[ChallengeState.VERIFIED] == 1
        await run.add([OTHER])
        finishing = asyncio.create_task(run.finish())
        await asyncio.sleep(100)
        assert not finishing.done()
        await run.submit_code(OTHER, sinch.codes[OTHER])
        await finishing
    with pytest.raises(InvalidRequestError, match="inside its 'async with'"):
        await run_of(sinch, journal).finish()


async def test_finish_sees_what_was_just_added(tmp_path: Path) -> None:
    """Rule 19: `finish` waits for every number whose `add` has returned, also just before."""
    many = numbers(30)
    sinch = Sinch(many, SinchState.VERIFIED, latency=0.0)
    async with run_of(sinch, SqliteJournal(tmp_path / "run.db")) as run:
        for number in many:
            await run.add([number])
            report = await run.finish()
            assert report.counts[ChallengeState.PENDING] == 0
        assert report.counts[ChallengeState.SKIPPED] == 30


SILENT = {
    *(Event.LOOKED_UP, Event.POSTPONED),  # nothing happened to the number
    *(Event.ADD, Event.CALL, Event.VERIFY),  # intents: their outcomes are published
    Event.SINCH_STATE_CHANGED,  # after the run
}


def test_the_names_of_events_are_those_of_the_state_machine() -> None:
    """Type checkers know the name of each event that is published, and no other."""
    assert set(get_args(EventName)) == {event.value for event in set(Event) - SILENT}


class SlowToRead(MemoryJournal):
    """A journal whose `open_numbers` returns a second after it has read."""

    async def open_numbers(self) -> bool:
        """Return what is a second old."""
        due = await super().open_numbers()
        await asyncio.sleep(1)
        return due


@virtual_clock
async def test_finish_trusts_no_stale_read() -> None:
    """Rule 19: a read from before `add`, in which nothing was due, does not end `finish`."""
    many = numbers(30)
    sinch = Sinch(many, SinchState.VERIFIED)
    async with run_of(sinch, SlowToRead()) as run:
        for number in many:
            await asyncio.sleep(0.93)
            await run.add([number])
            assert (await run.finish()).counts[ChallengeState.PENDING] == 0


async def test_a_reference_comes_back(tmp_path: Path) -> None:
    """Rule 20: a number's `ref` is in events, results and rows, also after a restart."""
    sinch = Sinch([NUMBER, OTHER], latency=0.0)
    path = tmp_path / "run.db"
    async with run_of(sinch, SqliteJournal(path)) as run:
        await run.add([(NUMBER, "chat 42"), NewNumber(number=OTHER, ref="chat 43", line=12)])
        await until_state(run, ChallengeState.AWAITING_CODE)
        await until_state(run, ChallengeState.AWAITING_CODE, OTHER)
    seen: list[RunEvent] = []
    async with run_of(sinch, SqliteJournal(path)) as run:

        async def listen() -> None:
            seen.extend([event async for event in run.events()])

        listener = asyncio.create_task(listen())
        await asyncio.sleep(0)
        for number in (NUMBER, OTHER):
            await run.submit_code(number, sinch.codes[number])
        report = await run.finish()
        entry = await run.result(OTHER)
        assert entry is not None
        assert (entry.ref, entry.line) == ("chat 43", 12)
    await listener
    assert {(event.what, event.ref) for event in seen} == {
        (what, ref) for what in ("code", "verified") for ref in ("chat 42", "chat 43")
    }
    rows = await asyncio.to_thread(list, report.rows())
    assert [entry.ref for entry in rows] == ["chat 42", "chat 43"]


@virtual_clock
async def test_a_slow_subscriber() -> None:
    """Rule 21: a slow subscriber misses events and learns how many; counts stay exact."""
    many = numbers(300)
    sinch = Sinch(many)
    async with run_of(sinch) as run:
        slow = run.events(buffer=10)
        first = asyncio.create_task(anext(slow))
        await asyncio.sleep(0)
        await run.add(many)
        event = await first
        assert (event.what, event.dropped) == ("called", 0)
        await until(lambda: len(sinch.rings) == 300)
        await asyncio.sleep(1)
        assert (await run.counts())[ChallengeState.AWAITING_CODE] == 300
        rest = [await anext(slow) for _ in range(10)]
        assert rest[0].dropped == 289
        assert {event.dropped for event in rest[1:]} == {0}
        await slow.aclose()
        assert not run._subscribers
        with pytest.raises(InvalidRequestError, match="buffer"):
            await anext(run.events(buffer=0))
    assert [event async for event in run.events()] == []
