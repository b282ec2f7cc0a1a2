"""Questions about the numbers of a run in PostgreSQL, on a connection that commits nothing."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection, Sequence

import psycopg

from sinch_qn.bulk.journal.postgres_connection import Connection, Reply, Statement, connect
from sinch_qn.bulk.journal.postgres_schema import SELECT, from_row
from sinch_qn.bulk.journal.postgres_url import Address
from sinch_qn.bulk.journal.queries import (
    CHUNK,
    EntryOrder,
    EntryPage,
    EntryQuery,
    HistoryItem,
    check_limit,
    from_cursor,
    history_of,
    like,
    page_of,
)
from sinch_qn.bulk.states import Entry


class PostgresReader:
    """Asks on a connection of its own: a scan of all numbers takes a while, and no commit waits."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()

    async def ask(self, statements: Sequence[Statement]) -> list[Reply]:
        """Return the results of *statements*, in one round trip. Raises `JournalError`."""
        async with self._lock:
            is_new = self._connection is None or self._connection.closed
            try:
                return await self._trip(statements)
            except psycopg.Error as error:
                if is_new or self._connection is None or not self._connection.closed:
                    raise self._address.explain("failed", error) from None
            try:  # it was lost since the last question: a restart, or it was idle for too long
                return await self._trip(statements)
            except psycopg.Error as error:
                raise self._address.explain("failed", error) from None

    async def _trip(self, statements: Sequence[Statement]) -> list[Reply]:
        if self._connection is None or self._connection.closed:
            self._connection = await connect(self._address, "reader")
        try:
            return await self._connection.trip(statements)
        except psycopg.Error:
            if not self._connection.closed:
                await self._connection.rollback()
            raise

    async def finish(self) -> None:
        """Close the connection."""
        async with self._lock:
            if self._connection is not None:
                await self._connection.close()


def find(run: int, query: EntryQuery, limit: int, after: str | None) -> list[Statement]:
    """Return what `to_page` reads."""
    condition, values = _condition(query)
    if after is not None:
        key = from_cursor(query, after)
        sign, marks = "<" if query.descending else ">", ", ".join(["%s"] * len(key))
        condition += f" AND ({', '.join(_columns(query))}) {sign} ({marks})"
        values += key
    way = "DESC" if query.descending else "ASC"
    order = ", ".join(f"{column} {way}" for column in _columns(query))
    select = SELECT.replace("SELECT ", "SELECT seq, ", 1)
    sql = f"{select} WHERE run = %s AND {condition} ORDER BY {order} LIMIT %s"
    page = Statement(sql, (run, *values, check_limit(limit) + 1))
    if not _is_scan(query):
        return [page]
    return [Statement("BEGIN"), Statement(_LET_SCAN), page, Statement("COMMIT")]


def to_page(query: EntryQuery, limit: int, replies: Sequence[Reply]) -> EntryPage:
    """Return the page that `find` has read."""
    page = replies[0] if len(replies) == 1 else replies[2]
    return page_of(query, [(row[0], from_row(row[1:])) for row in page.rows], limit)


_LET_SCAN = "SET LOCAL enable_seqscan TO on"


def _is_scan(query: EntryQuery) -> bool:
    """Return whether all numbers are read: few of those in an index may be wanted."""
    by_time = query.order in (EntryOrder.CALLED, EntryOrder.SETTLED)
    return query.ref is None and (by_time or bool(query.states or query.prefix))


def _columns(query: EntryQuery) -> tuple[str, ...]:
    """Return what the entries are sorted by; an expression, where no index is to be walked."""
    match query.order:
        case EntryOrder.ADDED:
            return ("seq + 0" if _is_scan(query) else "seq",)
        case EntryOrder.NUMBER:
            return ("number || ''" if _is_scan(query) else "number",)
        case EntryOrder.CALLED:
            return "coalesce(called_at, 0)", "seq"
        case EntryOrder.SETTLED:
            return "coalesce(settled_at, 0)", "seq"


def _condition(query: EntryQuery) -> tuple[str, list[object]]:
    conditions, values = ["true"], list[object]()
    if query.states:
        conditions.append("state = ANY(%s)")
        values.append(sorted(state.value for state in query.states))
    if query.prefix:
        conditions.append('(ref COLLATE "C" ILIKE %s OR number LIKE %s)')
        digits = f"%{query.digits}%" if query.digits else ""
        values += [like(_storable(query.prefix)) + "%", digits]
    if query.ref is not None:
        # A long ref does not fit into an index.
        conditions.append("ref = %s AND left(ref, 100) = left(%s, 100)")
        values += [_storable(query.ref)] * 2
    return " AND ".join(conditions), values


def _storable(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")  # as it is stored


def get_many(run: int, numbers: Collection[str]) -> list[Statement]:
    """Return what `to_entries` reads."""
    sql = f"{SELECT} WHERE run = %s AND number = ANY(%s)"
    chunks: list[list[str]] = []
    left = iter(numbers)
    while chunk := list(itertools.islice(left, CHUNK)):
        chunks.append([_storable(number) for number in chunk])
    return [Statement(sql, (run, chunk)) for chunk in chunks]


def to_entries(replies: Sequence[Reply]) -> dict[str, Entry]:
    """Return the entries that `get_many` has read."""
    entries = (from_row(row) for reply in replies for row in reply.rows)
    return {entry.number: entry for entry in entries}


def history(run: int, number: str) -> list[Statement]:
    """Return what `to_history` reads."""
    return [Statement(sql, (run, _storable(number))) for sql in (_WRITES, _CODES)]


def to_history(replies: Sequence[Reply]) -> list[HistoryItem]:
    """Return the history that `history` has read."""
    return history_of(
        [
            HistoryItem(what=what, attempt=attempt, at=at, outcome=outcome, outcome_at=outcome_at)
            for reply in replies
            for what, attempt, at, outcome, outcome_at in reply.rows
        ]
    )


_WRITES = """
SELECT operation, attempt, intent_at, outcome, outcome_at FROM log
WHERE run = %s AND number = %s AND outcome IS DISTINCT FROM 'not sent'
"""
_CODES = """
SELECT 'code', attempt, received_at, status, NULL FROM inbox
WHERE run = %s AND number = %s ORDER BY id
"""
