"""What a run polls its journal for, and how often: polls are most of what a waiting run costs."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from sinch_qn.bulk import ChallengeState, Entry, MemoryJournal, due_numbers
from sinch_qn.bulk.due_numbers import POLL, DueNumbers
from sinch_qn.bulk.states import Todo
from tests.support.fake_sinch import Sinch
from tests.support.journals import called
from tests.support.runs import NUMBER, OTHER, run_of, state_of, until_state
from tests.support.virtual_clock import virtual_clock


class Counting(MemoryJournal):
    """Counts what it is read for; a code that is set to come meanwhile comes after the read."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: 1000.0)
        self.reads: Counter[str] = Counter()
        self.meanwhile = ""

    async def backlog(self, todo: Todo, limit: int | None = None) -> int:
        self.reads[f"backlog {todo.name}"] += 1
        found = await super().backlog(todo, limit)
        if self.meanwhile and todo is Todo.VERIFY:
            await self.submit_code(NUMBER, self.meanwhile, 1000.0)
            self.meanwhile = ""
            await asyncio.sleep(0)
        return found

    async def claim(self, todo: Todo, limit: int, hold: float) -> list[Entry]:
        self.reads[f"claim {todo.name}"] += 1
        return await super().claim(todo, limit, hold)

    async def next_due(self, *todos: Todo) -> float | None:
        self.reads["next_due"] += 1
        return await super().next_due(*todos)


@virtual_clock
async def test_a_code_that_is_submitted_to_the_run_is_not_polled_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A code that was submitted here is sent at once, without reading whether one waits."""
    monkeypatch.setattr(due_numbers, "POLL", 50.0)
    sinch, journal = Sinch([NUMBER, OTHER]), Counting()
    async with run_of(sinch, journal) as run:
        await run.add([NUMBER, OTHER])
        for number in (NUMBER, OTHER):
            await until_state(run, ChallengeState.AWAITING_CODE, number)
        journal.reads.clear()
        for number in (NUMBER, OTHER):
            await run.submit_code(number, sinch.codes[number])
        await asyncio.sleep(1)
        assert await state_of(run, NUMBER) is await state_of(run, OTHER) is ChallengeState.VERIFIED
        assert journal.reads["backlog VERIFY"] == 0


@virtual_clock
async def test_a_run_with_nothing_due_reads_once_a_poll() -> None:
    """While nothing is due, one read a poll serves all steps."""
    sinch, journal = Sinch([NUMBER]), Counting()
    async with run_of(sinch, journal) as run:
        await run.add([NUMBER])
        await until_state(run, ChallengeState.AWAITING_CODE)
        await asyncio.sleep(1)
        journal.reads.clear()
        await asyncio.sleep(100 * POLL)
        assert 98 <= journal.reads.pop("next_due") <= 102 + 100 * POLL / 0.5  # the watch's, too
        assert not journal.reads


@virtual_clock
async def test_what_comes_during_a_poll_is_polled_for_again() -> None:
    """A wake-up during a poll leads to another one: the poll may have read before it."""
    journal = Counting()
    await journal.open(None, running=True)
    await called(journal, NUMBER)
    due = DueNumbers(journal=journal)
    journal.meanwhile = "0042"
    assert await due.is_any_due([Todo.VERIFY])
    polling = asyncio.create_task(due.claim([Todo.VERIFY]))
    await asyncio.sleep(0)
    due.poll([Todo.VERIFY])
    await polling
    assert not due.has_code()
    assert Todo.VERIFY in due.to_read()
    await due.claim([Todo.VERIFY])
    assert due.has_code()
    await journal.close()


@virtual_clock
async def test_full_batches_are_claimed_one_after_the_other() -> None:
    """More numbers than one batch are claimed without waiting for the next poll."""
    journal = Counting()
    numbers = [f"+1202555{n:04}" for n in range(450)]
    await journal.add([Entry(number=number) for number in numbers])
    due = DueNumbers(journal=journal)
    claimed: list[str] = []
    while Todo.LOOK_UP in (todos := due.to_read()):
        assert await due.is_any_due(todos)
        await due.claim(todos)
        assert Todo.LOOK_UP not in due.to_read()
        while entry := due.next(Todo.LOOK_UP):
            claimed.append(entry.number)
    assert claimed == numbers
    assert journal.reads["claim LOOK_UP"] == 3


@virtual_clock
async def test_a_code_too_many_is_forgotten() -> None:
    """A code that is counted and not there costs one look, and no code."""
    due = DueNumbers(journal=Counting())
    assert not due.has_code()
    due.code_arrived()
    assert due.has_code()
    due.taking += 1
    assert not due.has_code()
    due.taken()
    assert not due.has_code()
    due.code_arrived()
    assert due.has_code()
