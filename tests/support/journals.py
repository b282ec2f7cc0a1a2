"""Journals for tests, without a run."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import attrs

from sinch_qn.bulk import ChallengeState, Entry, MemoryJournal, SqliteJournal, Submission
from sinch_qn.bulk.journal import Identity, Journal
from sinch_qn.bulk.journal.postgres import PostgresJournal
from sinch_qn.bulk.states import Change, Event, Todo
from sinch_qn.models import GlobalProcessState
from tests.support import postgres
from tests.support.postgres import execute

T = TypeVar("T")
MINE = Identity("project", "https://api.example")


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that never suspends, such as a MemoryJournal's."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("it suspends")


async def opened(path: Path, *, running: bool = True) -> SqliteJournal:
    """Return an open journal: the runner's, or one as another process opens it."""
    journal = SqliteJournal(path)
    await journal.open(MINE, running=running)
    return journal


def query(path: Path, statement: str, *parameters: object) -> list[Any]:
    """Return the rows of *statement*, through a separate connection."""
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute(statement, parameters).fetchall()
        database.commit()
        return rows


def token(entry: Entry, event: Event) -> int | None:
    """Return the token that *event* carries: a look-up's result has none."""
    is_lookup = entry.state is ChallengeState.PENDING and event in (
        Event.NOT_CALLABLE,
        Event.BLOCKED,
    )
    return None if is_lookup else entry.intent


async def happen(journal: Journal, number: str, *events: Event, **more: Any) -> Entry:
    """Apply *events* to *number*; all must be possible."""
    more = {"at": 1.0, "window": 100.0, "max_codes": 3} | more
    last = await journal.get(number)
    for event in events:
        assert last is not None
        more["intent"] = token(last, event)
        change = Change(number=number, event=event, **more)
        (last,) = await journal.apply([change])
        assert last is not None, event
    assert last is not None
    return last


async def called(journal: Journal, *wanted: str) -> None:
    """Add numbers, and call each."""
    await journal.add([Entry(number=number) for number in wanted])
    eligible = GlobalProcessState.ELIGIBLE
    for number in wanted:
        await happen(journal, number, Event.LOOKED_UP, Event.CALL, Event.CALLED, remote=eligible)


OLDER = [
    # number, state, attempt, remote, to_ring, todo; whether a recall of it is still to be called
    (("+12025550134", "pending", 0, "ELIGIBLE", True, Todo.CALL), False),
    (("+12025550135", "pending", 1, "ELIGIBLE", True, Todo.CALL), True),
    (("+12025550136", "pending", 1, None, True, Todo.LOOK_UP), True),
    (("+12025550137", "verifying", 1, "ELIGIBLE", True, Todo.RESOLVE), True),
    (("+12025550138", "verifying", 1, "ELIGIBLE", False, Todo.RESOLVE), False),
    (("+12025550139", "pending", 0, None, True, Todo.LOOK_UP), False),
]
"""Numbers of a journal that was made before requests had a time."""


def older_rows() -> list[tuple[Any, ...]]:
    """Return the rows of `OLDER`, all with the ref "a", for the columns of `OLDER_COLUMNS`."""
    rows = []
    for (number, state, attempt, remote, to_ring, todo), _ in OLDER:
        stored = remote and f"GLOBAL_PROCESS_STATE_{remote}"
        rows.append((number, "a", state, attempt, stored, to_ring, todo.value, 0, 0, 0.0, False, 0))
    return rows


OLDER_COLUMNS = (
    "number, ref, state, attempt, remote, to_ring, todo, "
    "codes_used, codes_waiting, due, added, tries"
)


async def check_upgraded(journal: Journal, todos: list[tuple[str, int]]) -> None:
    """Check that each number of `OLDER` is what it was, and each recall in it a request.

    *todos* has the number and the next step of each, as they are stored.
    """
    entries = await rows(journal)
    assert [(each.number, each.todo.value) for each in entries] == todos
    for entry, ((number, state, attempt, _, to_ring, _), is_recalled) in zip(
        entries, OLDER, strict=True
    ):
        assert (entry.number, entry.ref, entry.state.value) == (number, "a", state)
        assert (entry.attempt, entry.to_ring) == (attempt, to_ring)
        assert (entry.requested_at is not None) is is_recalled, number
        assert entry.requested_at is None or abs(entry.requested_at - time.time()) < 600
    found = [(todo, entry.number) for todo in Todo for entry in await journal.claim(todo, 9, 0.0)]
    assert [number for todo, number in found if todo is Todo.REQUESTED_CALL] == [OLDER[1][0][0]]


async def submitted(journal: Journal, number: str, code: str, at: float) -> Submission:
    """Submit a code; return the result without the entry."""
    submission, _ = await journal.submit_code(number, code, at)
    return submission


@contextmanager
def at_time(journal: Journal, at: float) -> Iterator[None]:
    """Let the clock of *journal* stand at a time."""
    if isinstance(journal, PostgresJournal):
        with postgres.at_time(journal._address, at):
            yield
        return
    settable = cast("MemoryJournal", journal)
    clock, settable.clock = settable.clock, lambda: at
    try:
        yield
    finally:
        settable.clock = clock


async def take_code(journal: Journal, number: str, at: float) -> tuple[Entry, str] | None:
    """Take the code that waits longest at a time: one of *number*."""
    with at_time(journal, at):
        taken = await journal.take_code()
    assert taken is None or taken[0].number == number
    return taken


async def claim(journal: Journal, todo: Todo, at: float, limit: int = 10) -> list[str]:
    """Claim the numbers that are due at a time, for no longer than this call."""
    with at_time(journal, at):
        return [entry.number for entry in await journal.claim(todo, limit, 0.0)]


async def backlog(journal: Journal, todo: Todo, at: float) -> int:
    """Return how many numbers are due at a time."""
    with at_time(journal, at):
        return await journal.backlog(todo)


async def rows(journal: Journal) -> list[Entry]:
    """Return all rows, read outside the event loop."""
    return await asyncio.to_thread(lambda: list(journal.rows()))


def without_tokens(result: Any) -> Any:
    """Return *result* without the tokens of intents, which differ from journal to journal."""
    if isinstance(result, list | tuple):
        return [without_tokens(part) for part in result]
    return attrs.evolve(result, intent=None) if isinstance(result, Entry) else result


class Backend(NamedTuple):
    """A journal with access to its internals."""

    journal: Journal
    path: Path | None = None
    """The path of its file, if it is one."""
    url: str | None = None
    """The address of its database, if it is in PostgreSQL."""

    @property
    def is_in_memory(self) -> bool:
        """Whether it has neither a file nor a database."""
        return self.path is None and self.url is None

    def query(self, statement: str, *parameters: object) -> list[Any]:
        """Return the rows of *statement*, through a separate connection."""
        if self.path is not None:
            return query(self.path, statement, *parameters)
        assert self.url is not None
        return execute(self.url, statement.replace("?", "%s"), *parameters)

    @property
    def memory(self) -> MemoryJournal:
        """The journal as a MemoryJournal."""
        assert isinstance(self.journal, MemoryJournal)
        return self.journal

    def reset(self, number: str) -> None:
        """Reset *number* to its state before the first call, as a defect might."""
        if self.is_in_memory:
            store = self.memory._store
            before = store.entries[number]
            store.save(before, attrs.evolve(before, state=ChallengeState.PENDING, attempt=0))
        else:
            update = "UPDATE numbers SET state = 'pending', attempt = 0 WHERE number = ?"
            self.query(update, number)

    def outcomes(self, operation: str) -> list[str | None]:
        """Return the logged outcomes of *operation*, by number."""
        if self.is_in_memory:
            log = sorted(self.memory._store.log.items(), key=lambda item: item[0])
            return [row.outcome for key, row in log if key[0] == operation]
        select = "SELECT outcome FROM log WHERE operation = ? ORDER BY number"
        return [outcome for (outcome,) in self.query(select, operation)]

    def codes(self) -> list[str]:
        """Return the codes in the inbox."""
        if self.is_in_memory:
            return [code for inbox in self.memory._store.inbox.values() for _, code in inbox]
        return [code for (code,) in self.query("SELECT code FROM inbox")]
