"""The contract of a journal, kept by each of them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import attrs
import pytest

from sinch_qn.bulk import MemoryJournal, SqliteJournal
from sinch_qn.bulk.journal import Identity, Journal, logged_write
from sinch_qn.bulk.journal.postgres import PostgresJournal
from sinch_qn.bulk.states import ChallengeState, Change, Entry, Event, Todo
from sinch_qn.errors import JournalError
from sinch_qn.models import GlobalProcessState
from tests.support.journals import (
    MINE,
    Backend,
    at_time,
    backlog,
    called,
    happen,
    rows,
    take_code,
    without_tokens,
)
from tests.support.runs import NUMBER, OTHER, numbers


async def test_a_number_is_added_once(journal: Journal) -> None:
    """Rule 10: a number that is in the journal, in any state, is left unchanged and not counted."""
    assert await journal.add([]) == 0
    first = Entry(number=NUMBER, ref="ticket 1", line=7, region="US")
    assert await journal.add([first, Entry(number=OTHER), first]) == 2
    await happen(journal, NUMBER, Event.CALL)
    assert await journal.add([Entry(number=NUMBER, ref="ticket 2")]) == 0
    entry = await journal.get(NUMBER)
    assert entry is not None
    assert (entry.ref, entry.line, entry.region) == ("ticket 1", 7, "US")
    assert entry.state is ChallengeState.CALLING
    assert await journal.get("+12025550199") is None


async def test_every_field_comes_back(journal: Journal) -> None:
    """An entry is read as it was stored, in all its fields."""
    full = Entry(
        number=NUMBER,
        ref="ü;\n",
        line=3,
        state=ChallengeState.UNKNOWN,
        attempt=2,
        intent=(7 << 32) + 5,
        codes_used=1,
        codes_waiting=0,
        called_at=5.5,
        settled_at=7.25,
        due=float("inf"),
        window_end=9.0,
        remote=GlobalProcessState("GLOBAL_PROCESS_STATE_TO_COME"),
        region="CA",
        added=True,
        note="a note",
        to_ring=False,
        tries=1,
        batch=4,
    )
    await journal.add([full])
    assert await journal.get(NUMBER) == full
    assert await rows(journal) == [full]


async def test_an_impossible_change_is_refused(journal: Journal) -> None:
    """Changes are applied in order; one that `step` refuses changes nothing.

    Rule 29: so is an outcome without the token of its intent.
    """
    await journal.add([Entry(number=NUMBER)])
    call = Change(number=NUMBER, event=Event.CALL, at=1.0)
    done = await journal.apply([call, call, attrs.evolve(call, number=OTHER)])
    assert done[0] is not None
    assert done[1:] == [None, None]
    assert await journal.get(NUMBER) == done[0]
    token = done[0].intent
    assert token is not None
    stale = Change(number=NUMBER, event=Event.CALLED, at=2.0, intent=token - 1)
    assert await journal.apply([stale, attrs.evolve(stale, intent=None)]) == [None, None]
    elsewhere = attrs.evolve(stale, intent=token, from_state=ChallengeState.PENDING)
    assert await journal.apply([elsewhere]) == [None]
    assert await journal.apply([]) == []


async def test_an_intent_is_logged_once(backend: Backend) -> None:
    """P1: a second intent for an attempt that may have been made is a JournalError."""
    await called(backend.journal, NUMBER)
    backend.reset(NUMBER)
    with pytest.raises(JournalError, match="call attempt 1 was made before"):
        await backend.journal.apply([Change(number=NUMBER, event=Event.CALL, at=2.0)])


async def test_an_attempt_that_was_not_sent_may_be_repeated(journal: Journal) -> None:
    """Rule 2: after CALL_NOT_SENT and CODE_NOT_SENT the same attempt may have another intent."""
    await journal.add([Entry(number=NUMBER)])
    for _ in range(3):
        await happen(journal, NUMBER, Event.CALL, Event.CALL_NOT_SENT)
    entry = await happen(journal, NUMBER, Event.CALL, Event.CALLED)
    assert entry.attempt == 1
    await journal.submit_code(NUMBER, "1111", 2.0)
    for _ in range(3):
        assert await take_code(journal, NUMBER, 2.0) is not None
        await happen(journal, NUMBER, Event.CODE_NOT_SENT)
    claimed = await take_code(journal, NUMBER, 2.0)
    assert claimed is not None
    assert claimed[0].codes_used == 1


async def test_the_longest_due_come_first(journal: Journal) -> None:
    """Rule 8: `claim` returns the entries of one kind of step, each once, the longest due first."""
    first, second, third = numbers(3)
    await journal.add([Entry(number=number) for number in (first, second, third)])
    await happen(journal, first, Event.POSTPONED, due=50.0)
    await happen(journal, second, Event.POSTPONED, due=20.0)
    await happen(journal, second, Event.POSTPONED, due=30.0)
    await happen(journal, second, Event.POSTPONED, due=20.0)
    with at_time(journal, 40.0):
        assert await journal.backlog(Todo.LOOK_UP) == 2
        assert await journal.backlog(Todo.LOOK_UP, 1) == 1
    with at_time(journal, 50.0):
        assert await journal.backlog(Todo.LOOK_UP) == 3
        assert await journal.backlog(Todo.CALL) == 0
        assert await journal.claim(Todo.CALL, 10, 60.0) == []
        assert await numbers_of(journal.claim(Todo.LOOK_UP, 2, 60.0)) == [third, second]
        assert await numbers_of(journal.claim(Todo.LOOK_UP, 2, 60.0)) == [first]
        assert await journal.next_due(Todo.CALL) is None
        assert await journal.next_due(Todo.LOOK_UP) is not None


async def numbers_of(claiming: Coroutine[Any, Any, list[Entry]]) -> list[str]:
    """Return the numbers that were claimed."""
    return [entry.number for entry in await claiming]


async def test_a_claim_ends_by_a_change(journal: Journal) -> None:
    """A claimed number is claimed again once it has changed and is due."""
    await journal.add([Entry(number=NUMBER)])
    with at_time(journal, 40.0):
        assert await numbers_of(journal.claim(Todo.LOOK_UP, 2, 60.0)) == [NUMBER]
        assert await numbers_of(journal.claim(Todo.LOOK_UP, 2, 60.0)) == []
        await happen(journal, NUMBER, Event.POSTPONED, due=30.0)
        assert await numbers_of(journal.claim(Todo.LOOK_UP, 2, 60.0)) == [NUMBER]


async def test_when_the_next_is_due(journal: Journal) -> None:
    """Rule 19: a settled number is never due; one that waits for a response is due at infinity."""
    assert await journal.next_due() is None
    await journal.add([Entry(number=NUMBER), Entry(number=OTHER)])
    await happen(journal, NUMBER, Event.POSTPONED, due=70.0)
    await happen(journal, OTHER, Event.POSTPONED, due=60.0)
    assert await journal.next_due() == 60.0
    await happen(journal, OTHER, Event.ALREADY_VERIFIED)
    assert await journal.next_due() == 70.0
    await happen(
        journal,
        NUMBER,
        Event.LOOKED_UP,
        Event.CALL,
        Event.CALLED,
        remote=GlobalProcessState.ELIGIBLE,
    )
    assert await journal.next_due() == 101.0  # its window
    await journal.submit_code(NUMBER, "1111", 2.0)
    assert await journal.next_due() == 0.0
    await take_code(journal, NUMBER, 2.0)
    assert await journal.next_due() == float("inf")
    await happen(journal, NUMBER, Event.VERIFIED)
    assert await journal.next_due() is None


async def test_counts_are_exact(journal: Journal) -> None:
    """Rule 21: counts have every state, and agree with the rows after random changes."""
    chance = random.Random(11)
    wanted = numbers(40)
    await journal.add([Entry(number=number) for number in wanted])
    await journal.add([Entry(number="x", state=ChallengeState.INVALID, settled_at=1.0)])
    for moment in range(300):
        picked = [await journal.get(chance.choice(wanted)) for _ in range(5)]
        changes = [
            Change(
                number=entry.number,
                event=chance.choice(list(Event)),
                at=float(moment),
                intent=entry.intent,
                window=10.0,
                max_codes=2,
            )
            for entry in picked
            if entry is not None
        ]
        await journal.apply([c for c in changes if c.event not in {Event.CODE, Event.VERIFY}])
        number = chance.choice(wanted)
        await journal.submit_code(number, str(chance.randrange(3)), float(moment))
        with at_time(journal, float(moment)):
            await journal.take_code()
    counts = await journal.counts()
    assert set(counts) == set(ChallengeState)
    found = Counter(entry.state for entry in await rows(journal))
    assert {state: n for state, n in counts.items() if n} == found
    assert sum(counts.values()) == 41


async def test_counts_include_uncommitted_changes(journal: Journal) -> None:
    """Counts include every change that was submitted before, also in the same group commit."""
    await journal.add([Entry(number=NUMBER)])
    call = Change(number=NUMBER, event=Event.CALL, at=1.0)
    _, counts = await asyncio.gather(journal.apply([call]), journal.counts())
    assert (counts[ChallengeState.PENDING], counts[ChallengeState.CALLING]) == (0, 1)


async def test_rows_come_in_the_order_they_were_added(journal: Journal) -> None:
    """Rule 20: `rows` yields all entries in the order of `add`, also from a closed journal."""
    wanted = numbers(4100)
    await journal.add([Entry(number=number) for number in reversed(wanted)])
    assert [entry.number for entry in await rows(journal)] == wanted[::-1]
    await journal.close()
    assert len(await rows(journal)) == 4100


async def test_a_journal_belongs_to_one_project(backend: Backend) -> None:
    """Rule 11: a journal of another project id or base URL is a JournalError."""
    journal = backend.journal
    await journal.close()
    for other in (
        Identity("another", MINE.base_url),
        Identity(MINE.project_id, "https://elsewhere.example"),
    ):
        with pytest.raises(JournalError, match="belongs to project project"):
            await journal.open(other, running=True)
    await journal.open(MINE, running=True)


@pytest.mark.parametrize("backend", ["memory", "sqlite"], indirect=True)
async def test_one_runner_at_a_time(backend: Backend) -> None:
    """Rule 11: a second runner is refused until the first has closed; a submitter is not."""
    journal = backend.journal
    second = journal if backend.path is None else SqliteJournal(backend.path)
    with pytest.raises(JournalError, match="another run is using this journal"):
        await second.open(MINE, running=True)
    await second.open(None, running=False)
    assert await second.get(NUMBER) is None
    if second is not journal:
        await second.close()
    await journal.close()
    await second.open(MINE, running=True)
    await second.close()


async def test_the_outcome_of_an_addition(backend: Backend) -> None:
    """P8: the state of a number that was added, once looked up, is the outcome of adding it."""
    wanted = numbers(5)
    await backend.journal.add([Entry(number=number) for number in wanted])
    for number in wanted:
        await happen(backend.journal, number, Event.ADD)
    looked_up = (Event.LOOKED_UP, Event.ALREADY_VERIFIED, Event.NOT_CALLABLE, Event.BLOCKED)
    for number, event in zip(wanted, looked_up, strict=False):
        await happen(backend.journal, number, event, remote=GlobalProcessState.ELIGIBLE)
    await happen(backend.journal, wanted[-1], Event.NOT_CALLABLE)  # Sinch does not know it yet
    assert backend.outcomes("add") == ["done"] * 4 + [None]


async def test_concurrent_callers(journal: Journal) -> None:
    """Concurrent callers each get a result; one of two equal changes is refused."""
    wanted = numbers(60)
    added = await asyncio.gather(
        *(journal.add([Entry(number=number)]) for number in wanted + wanted)
    )
    assert sum(added) == 60
    calls = [Change(number=number, event=Event.CALL, at=1.0) for number in wanted + wanted]
    done = await asyncio.gather(*(journal.apply([call]) for call in calls))
    assert sum(entry is not None for (entry,) in done) == 60
    assert (await journal.counts())[ChallengeState.CALLING] == 60


async def test_all_kinds_agree(tmp_path: Path, url: str) -> None:
    """The same calls to each kind of journal lead to the same results, rows and codes."""
    memory, sqlite = MemoryJournal(), SqliteJournal(tmp_path / "run.db")
    postgres = PostgresJournal(url, require_durable=False)
    journals: list[Journal] = [memory, sqlite, postgres]
    for each in journals:
        await each.open(MINE, running=True)
        await each.add([Entry(number=number) for number in numbers(8)])
    chance = random.Random(5)
    for moment in range(600):
        number, at = chance.choice(numbers(8)), float(moment)
        kind = chance.randrange(6)
        event = chance.choice([e for e in Event if e not in {Event.CODE, Event.VERIFY}])
        change = Change(
            number=number,
            event=event,
            at=at,
            due=chance.choice([None, at + 5]),
            window=20.0,
            max_codes=2,
            remote=chance.choice([None, GlobalProcessState.ELIGIBLE, GlobalProcessState.VERIFIED]),
        )
        code, todo = str(chance.randrange(4)), chance.choice(list(Todo)[1:])
        results: list[Any] = []
        for each in journals:
            if kind == 0:
                results.append(await each.submit_code(number, code, at))
            elif kind == 1:
                with at_time(each, at):
                    results.append(await each.take_code())
            elif kind == 2:
                results.append(await each.next_due(todo))
            elif kind == 3:
                results.append((await each.next_due(), await backlog(each, todo, at)))
            else:
                entry = await each.get(number)
                token = None if entry is None else entry.intent
                results.append(await each.apply([attrs.evolve(change, intent=token)]))
        first, *others = map(without_tokens, results)
        assert others == [first, first], (moment, kind, change)
    first, *others = [without_tokens(await rows(each)) for each in journals]
    assert others == [first, first]
    inbox = "SELECT number, attempt, code, status FROM inbox"
    for backend in (Backend(sqlite, path=tmp_path / "run.db"), Backend(postgres, url=url)):
        assert sorted(backend.query(inbox)) == sorted(
            (number, *key, code.status)
            for number, codes in memory._store.inbox.items()
            for key, code in codes.items()
        )
        await backend.journal.close()


def test_the_log_of_unsafe_writes() -> None:
    """P8: each unsafe write has an intent and an outcome in the log; other events have no row."""
    before = Entry(number=NUMBER, attempt=1, state=ChallengeState.CALLING)
    after = attrs.evolve(before, attempt=2)
    assert logged_write(before, after, Event.LOOKED_UP) is None
    assert (
        logged_write(attrs.evolve(before, state=ChallengeState.PENDING), after, Event.BLOCKED)
        is None
    )
    intent = logged_write(before, after, Event.CALL)
    assert intent is not None
    assert (intent.operation, intent.attempt, intent.outcome) == ("call", 2, None)


async def test_a_bookmark_is_kept(backend: Backend) -> None:
    """A bookmark is what was stored last under its name, also after the journal was closed."""
    journal = backend.journal
    assert await journal.bookmark("a") is None
    await journal.set_bookmark("a", "1")
    await journal.set_bookmark("b", "2")
    await journal.set_bookmark("a", "3")
    await journal.close()
    await journal.open(MINE, running=True)
    assert [await journal.bookmark(name) for name in ("a", "b", "base_url")] == ["3", "2", None]
