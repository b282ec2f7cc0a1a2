"""A wall clock that is set back delays no step of a run, and shortens no wait for a code."""

from __future__ import annotations

import asyncio

from sinch_qn._operations import SEND_VOICE_CHALLENGE
from sinch_qn.bulk import ChallengeState, Entry, MemoryJournal
from sinch_qn.bulk.journal_watch import JournalWatch
from sinch_qn.bulk.states import NEVER, Event, Todo
from sinch_qn.errors import RateLimitError
from tests.support.fake_sinch import Sinch, first
from tests.support.journals import MINE, Backend, called, claim, happen, take_code
from tests.support.runs import NUMBER, OTHER, WallClock, run_of, state_of, until, until_state
from tests.support.virtual_clock import virtual_clock


@virtual_clock
async def test_a_clock_that_is_set_back_delays_nothing() -> None:
    """Rule 17: after the wall clock was set back, what waited for seconds waits for seconds."""
    sinch, clock = Sinch([NUMBER]), WallClock()
    sinch.before = first(
        SEND_VOICE_CHALLENGE, RateLimitError("slow", status_code=429, retry_after=20.0)
    )
    async with run_of(sinch, clock=clock) as run:
        await run.add([NUMBER])
        await until(lambda: sinch.count(SEND_VOICE_CHALLENGE))
        await asyncio.sleep(5.0)
        clock.at -= 3600.0
        await asyncio.sleep(10.0)
        assert not sinch.rings
        await asyncio.sleep(10.0)
        assert sinch.rings[NUMBER] == 1


@virtual_clock
async def test_a_clock_that_is_set_back_ends_no_window() -> None:
    """Rule 17: a code is awaited for no less when the wall clock is set back."""
    sinch, clock = Sinch([NUMBER]), WallClock()
    async with run_of(sinch, clock=clock, code_timeout=100.0) as run:
        await run.add([NUMBER])
        await until_state(run, ChallengeState.AWAITING_CODE)
        clock.at -= 50.0
        await asyncio.sleep(120.0)
        assert await state_of(run) is ChallengeState.AWAITING_CODE
        await asyncio.sleep(50.0)
        assert await state_of(run) is ChallengeState.EXPIRED


@virtual_clock
async def test_a_slow_journal_is_no_clock_that_is_set_back() -> None:
    """Rule 17: a journal that takes seconds, as its database is down, moves no time."""
    advanced = []

    class SlowJournal(MemoryJournal):
        slow = 0.0

        async def next_due(self, *todos: Todo) -> float | None:
            await asyncio.sleep(self.slow)
            return await super().next_due(*todos)

        async def advance_due(self, seconds: float, *, after: float) -> None:
            advanced.append((seconds, after))

    journal = SlowJournal(clock=WallClock())
    watch = JournalWatch(journal, window=10.0, publish=lambda *_: None)
    await journal.open(MINE, running=True)
    for journal.slow in (0.0, 5.0, 0.0):
        await watch.check()
        await asyncio.sleep(10.0)
    assert advanced == []


async def test_due_steps_are_advanced(backend: Backend) -> None:
    """`advance_due` moves what is due later; not what is due, in flight, or the end of a window."""
    journal = backend.journal
    verifying, waiting = "+12025550136", "+12025550137"
    await journal.add([Entry(number=NUMBER), Entry(number=OTHER)])
    await happen(journal, OTHER, Event.POSTPONED, due=5000.0)
    await called(journal, verifying, waiting)
    await journal.submit_code(verifying, "1", 1.0)
    await take_code(journal, verifying, 1.0)
    await journal.advance_due(3600.0, after=100.0)
    dues = [(await journal.get(n)) for n in (NUMBER, OTHER, verifying, waiting)]
    assert [entry.due for entry in dues if entry] == [0.0, 1400.0, NEVER, 101.0]
    assert await claim(journal, Todo.LOOK_UP, 1400.0) == [NUMBER, OTHER]
