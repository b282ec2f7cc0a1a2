"""Questions about the numbers of a run in PostgreSQL, on a connection that commits nothing."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection, Sequence

import attrs
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
    Key,
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


def find(
    run: int, query: EntryQuery, limit: int, after: str | None
) -> Sequence[Sequence[Statement]]:
    """Return what `to_page` reads: if there is no next page in the first, the second decides.

    Where many are wanted, they are among the first ones in an index; otherwise all are read.
    """
    key = None if after is None else from_cursor(query, after)
    search = _Search(run, query, check_limit(limit) + 1, key)
    match query.order:
        case _ if query.ref is not None:
            return [[search.scan()]]
        case EntryOrder.CALLED | EntryOrder.SETTLED:
            return [[*_LET_SCAN, search.scan(), Statement("COMMIT")]]
        case _ if not (query.states or query.prefix):
            return [[search.walk()]]
    return [[search.walk()], [*_LET_SCAN, search.scan(), Statement("COMMIT")]]


def to_page(query: EntryQuery, limit: int, replies: Sequence[Reply]) -> EntryPage:
    """Return the page that statements of `find` have read."""
    page = replies[0] if len(replies) == 1 else replies[len(_LET_SCAN)]
    return page_of(query, [(row[0], from_row(row[1:])) for row in page.rows], limit)


_LET_SCAN = (
    Statement("BEGIN"),
    Statement("SET LOCAL enable_seqscan TO on"),
    Statement("SET LOCAL jit TO off"),  # compiling takes longer than reading
)
_SELECT = SELECT.replace("SELECT ", "SELECT seq, ", 1).removesuffix("numbers")
_WALK = 20_000
"""Numbers that are read in the order of an index, before all are."""


@attrs.frozen
class _Search:
    """The SQL of a query: the numbers of one run behind a place, in an order."""

    run: int
    query: EntryQuery
    most: int
    key: Key | None

    def walk(self) -> Statement:
        """Search the first ones in the order of an index."""
        behind, key = self._behind()
        condition, values = _condition(self.query)
        order = self._order("{}")
        first = f"SELECT * FROM numbers WHERE run = %s{behind} ORDER BY {order} LIMIT {_WALK}"
        sql = f"{_SELECT} ({first}) AS n WHERE {condition} ORDER BY {order} LIMIT %s"
        return Statement(sql, (self.run, *key, *values, self.most))

    def scan(self) -> Statement:
        """Search all, sorting only their places: whole rows would cost twice as much."""
        behind, key = self._behind()
        condition, values = _condition(self.query)
        # By an expression: no index is walked.
        order = self._order("coalesce({}, NULL)")
        found = f"SELECT ctid FROM numbers WHERE run = %s AND {condition}{behind} ORDER BY {order}"
        sql = f"{_SELECT} numbers WHERE ctid = ANY(ARRAY({found} LIMIT %s)) ORDER BY {order}"
        return Statement(sql, (self.run, *values, *key, self.most))

    def _order(self, form: str) -> str:
        way = "DESC" if self.query.descending else "ASC"
        return ", ".join(f"{form.format(column)} {way}" for column in _columns(self.query))

    def _behind(self) -> tuple[str, Key]:
        if self.key is None:
            return "", ()
        sign, marks = "<" if self.query.descending else ">", ", ".join(["%s"] * len(self.key))
        return f" AND ({', '.join(_columns(self.query))}) {sign} ({marks})", self.key


def _columns(query: EntryQuery) -> tuple[str, ...]:
    """Return what the entries are sorted by."""
    match query.order:
        case EntryOrder.ADDED:
            return ("seq",)
        case EntryOrder.NUMBER:
            return ("number",)
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
