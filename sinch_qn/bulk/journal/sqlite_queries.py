"""Questions about the numbers of a SQLite journal, asked beside the thread that writes it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

from sinch_qn.bulk.journal.queries import (
    CHUNK,
    EntryOrder,
    EntryPage,
    EntryQuery,
    HistoryItem,
    Key,
    check_limit,
    from_cursor,
    history_of,
    like,
    page_of,
)
from sinch_qn.bulk.journal.sqlite_file import BUSY_TIMEOUT, parameters, uri
from sinch_qn.bulk.journal.sqlite_schema import SELECT, from_row
from sinch_qn.bulk.states import Entry

T = TypeVar("T")


class SqliteReader:
    """Reads a journal's file, each question on a connection and in a thread of its own.

    A scan of all numbers takes a while, in which the journal's own thread goes on committing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._questions: set[asyncio.Future[Any]] = set()

    async def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Return the answer to *question*. Raises `sqlite3.Error`."""
        asked = asyncio.ensure_future(asyncio.to_thread(self._answer, question))
        self._questions.add(asked)
        asked.add_done_callback(self._questions.discard)
        return await asyncio.shield(asked)  # a thread goes on when its caller is cancelled

    async def finish(self) -> None:
        """Wait for the questions that are open: the last connection of a file must be a writer's.

        SQLite then brings the log into the file.
        """
        if self._questions:
            await asyncio.wait(self._questions)

    def _answer(self, question: Callable[[sqlite3.Connection], T]) -> T:
        how = parameters(self._path).replace("mode=rw", "mode=ro")
        database = sqlite3.connect(
            uri(self._path, how), uri=True, isolation_level=None, timeout=BUSY_TIMEOUT
        )
        with contextlib.closing(database):
            return question(database)


def find(
    database: sqlite3.Connection, query: EntryQuery, limit: int, after: str | None
) -> EntryPage:
    """Return a page of entries."""
    limit = check_limit(limit)
    condition, values = _condition(query)
    if after is not None:
        key = from_cursor(query, after)
        condition, values = f"{condition} AND {_is_behind(query, key)}", [*values, *key]
    way = "DESC" if query.descending else "ASC"
    order = ", ".join(f"{column} {way}" for column in _columns(query))
    select = "SELECT seq, " + SELECT.removeprefix("SELECT ")
    rows = database.execute(
        f"{select} WHERE {condition} ORDER BY {order} LIMIT ?", (*values, limit + 1)
    )
    return page_of(query, [(row[0], from_row(row[1:])) for row in rows], limit)


def _condition(query: EntryQuery) -> tuple[str, list[object]]:
    conditions, values = ["true"], list[object]()
    if query.states:
        states = sorted(state.value for state in query.states)
        conditions.append(f"state IN ({_marks(states)})")
        values += states
    if query.prefix:
        conditions.append(r"(ref LIKE ? ESCAPE '\' OR number GLOB ?)")
        digits = f"*{query.digits}*" if query.digits else ""
        values += [like(query.prefix) + "%", digits]
    if query.ref is not None:
        conditions.append("ref = ?")
        values.append(query.ref)
    return " AND ".join(conditions), values


def _columns(query: EntryQuery) -> tuple[str, ...]:
    """Return what the entries are sorted by.

    With a `+` no index is walked: few of the entries in it may be wanted, and looking up each one
    costs twenty times as much as a scan.
    """
    match query.order:
        case EntryOrder.ADDED:
            return ("seq",)
        case EntryOrder.NUMBER:
            return ("+number" if query.states or query.prefix else "number",)
        case EntryOrder.CALLED:
            return "coalesce(called_at, 0.0)", "seq"
        case EntryOrder.SETTLED:
            return "coalesce(settled_at, 0.0)", "seq"


def _is_behind(query: EntryQuery, key: Key) -> str:
    sign = "<" if query.descending else ">"
    return f"({', '.join(_columns(query))}) {sign} ({_marks(key)})"


def get_many(database: sqlite3.Connection, numbers: Collection[str]) -> dict[str, Entry]:
    """Return the entries of those of *numbers* that have one."""
    found: dict[str, Entry] = {}
    left = iter(numbers)
    while chunk := list(itertools.islice(left, CHUNK)):
        rows = database.execute(f"{SELECT} WHERE number IN ({_marks(chunk)})", chunk)
        found |= {entry.number: entry for entry in map(from_row, rows)}
    return found


def history(database: sqlite3.Connection, number: str) -> list[HistoryItem]:
    """Return what happened to *number*, oldest first."""
    rows = [*database.execute(_WRITES, (number,)), *database.execute(_CODES, (number,))]
    return history_of(
        [
            HistoryItem(what=what, attempt=attempt, at=at, outcome=outcome, outcome_at=outcome_at)
            for what, attempt, at, outcome, outcome_at in rows
        ]
    )


_WRITES = """
SELECT operation, attempt, intent_at, outcome, outcome_at FROM log
WHERE operation IN ('add', 'call', 'verify') AND number = ? AND outcome IS NOT 'not sent'
"""
_CODES = """
SELECT 'code', attempt, received_at, status, NULL FROM inbox WHERE number = ? ORDER BY id
"""


def keep_bookmark(database: sqlite3.Connection, name: str, value: str) -> str:
    """Store *value* as *name* if nothing is stored there; return what is."""
    database.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (f"bookmark {name}", value))
    query = "SELECT value FROM meta WHERE key = ?"
    return str(database.execute(query, (f"bookmark {name}",)).fetchone()[0])


def bookmarks(database: sqlite3.Connection, prefix: str) -> dict[str, str]:
    """Return the bookmarks whose name begins with *prefix*."""
    start = f"bookmark {prefix}"
    query = "SELECT key, value FROM meta WHERE substr(key, 1, ?) = ?"
    rows = database.execute(query, (len(start), start))
    return {key.removeprefix("bookmark "): value for key, value in rows}


def _marks(values: Collection[object]) -> str:
    return ", ".join("?" * len(values))
