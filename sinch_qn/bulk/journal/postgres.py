"""A journal in a PostgreSQL database: many runners and submitters share one run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import psycopg

from sinch_qn.bulk.journal import postgres_work
from sinch_qn.bulk.journal.postgres_connection import (
    Connection,
    Reply,
    Statement,
    check_server,
    connected,
    migrate,
    schema_version,
)
from sinch_qn.bulk.journal.postgres_schema import (
    DELETE_INVALID,
    INSERT,
    SELECT,
    VERSION,
    from_row,
    json_rows,
    schema_sql,
    to_json,
)
from sinch_qn.bulk.journal.postgres_transaction import Job, Transaction, Work, ask
from sinch_qn.bulk.journal.postgres_url import parse_url
from sinch_qn.bulk.journal.postgres_writer import Writer
from sinch_qn.bulk.journal.protocol import (
    ADVANCED,
    Batch,
    BatchState,
    Identity,
    Submission,
    check_identity,
    invalid_line,
)
from sinch_qn.bulk.states import ChallengeState, Change, Entry, Todo
from sinch_qn.errors import JournalError

T = TypeVar("T")

_PAGE = 2000
"""Entries that `rows` reads at a time, each page in a transaction of its own."""

_LEASE = 15.0
"""Seconds after which a runner that was not heard of counts as gone."""


class PostgresJournal:
    """A run's journal in the database at *url*, such as `postgresql://host/database?run=january`.

    Any number of runners and submitters may have it open. Needs the extra `sinch-qn[distributed]`.

    *require_durable*: refuse a server with `fsync = off`. *allow_insecure*: take a connection
    beyond this machine whose certificate is not verified. Leave the password to `PGPASSWORD`,
    `PGPASSFILE` or a `service`; no message contains it.
    """

    def __init__(
        self, url: str, *, require_durable: bool = True, allow_insecure: bool = False
    ) -> None:
        self._address = parse_url(url, allow_insecure=allow_insecure)
        self._require_durable = require_durable
        self._run = 0
        self._writer: Writer | None = None

    def __repr__(self) -> str:
        return f"PostgresJournal({self._address.name!r})"

    async def open(self, identity: Identity | None, *, running: bool) -> None:
        """Open the run; only a runner creates it, and the schema where there is none.

        Raises `JournalError` if the database cannot be reached, could lose commits, has an older or
        newer schema, or if the run is of another project.
        """
        if self._writer is not None:
            raise JournalError(f"{self._address.name}: this journal is open already: leave its run")
        async with connected(self._address, "open") as connection:
            await check_server(connection, require_durable=self._require_durable)
            await _check_schema(connection, running=running)
            self._run = await _enter(connection, self._address.run, identity, running=running)
        writer = Writer(self._address, self._run, lease=_LEASE if running else None)
        try:
            if running:
                await writer.register()
        except BaseException as error:
            await writer.close()
            if isinstance(error, psycopg.Error):
                raise self._address.explain("cannot be used", error) from None
            raise
        self._writer = writer

    async def close(self) -> None:
        """Finish accepted jobs, and end the lease."""
        # Not open from here on: later jobs would wait for ever.
        writer, self._writer = self._writer, None
        if writer is not None:
            await asyncio.shield(writer.close())

    async def init(self) -> None:
        """Create the schema `sinch_qn`, if there is none. Raises `JournalError`."""
        async with connected(self._address, "init") as connection:
            await check_server(connection, require_durable=self._require_durable)
            await migrate(connection, only_new=True)

    async def upgrade(self) -> tuple[int, int]:
        """Bring the schema to this version; return the version before, and the one it has now.

        Raises `JournalError` if it is newer.
        """
        async with connected(self._address, "upgrade") as connection:
            await check_server(connection, require_durable=self._require_durable)
            return await migrate(connection, only_new=False), VERSION

    async def add(self, entries: Sequence[Entry]) -> int:
        """Store the entries whose number is new, or was INVALID and no longer is."""
        rows = to_json(entries)
        valid = [e.number for e in entries if e.state is not ChallengeState.INVALID]

        def work(tx: Transaction) -> Work[int]:
            _delete_invalid(tx, "n.number = c.number", [{"number": number} for number in valid])
            *_, new = yield from ask(*tx.take(), Statement(INSERT, (tx.run, rows, tx.writer)))
            return int(new.rows[0][0])

        return await self._commit(work)

    async def remove_corrected(self, lines: Mapping[int, str]) -> None:
        """Remove the INVALID entries of *lines* of a file, except those of the numbers given."""
        condition = (
            "n.line = c.line AND right(n.number, length(c.ending)) = c.ending "
            "AND n.number <> c.number"
        )
        rows = [
            {"line": line, "ending": invalid_line("", line), "number": number}
            for line, number in lines.items()
        ]
        await self._change(lambda tx: _delete_invalid(tx, condition, rows))

    async def get(self, number: str) -> Entry | None:
        """Return the entry of *number*."""
        query = SELECT + " WHERE run = %s AND number = %s"
        found = await self._entries(query, number)
        return found[0] if found else None

    async def apply(self, changes: Sequence[Change]) -> list[Entry | None]:
        """Apply each change that `step` allows."""
        numbers = [change.number for change in changes]
        return await self._change(
            lambda tx: [postgres_work.apply(tx, change) for change in changes], *numbers
        )

    async def submit_code(
        self, number: str, code: str, at: float
    ) -> tuple[Submission, Entry | None]:
        """Put *code* into the inbox of *number*."""
        return await self._commit(lambda tx: postgres_work.submit(tx, number, code, at), number)

    async def claim_code(self, number: str, at: float) -> tuple[Entry, str] | None:
        """Log the intent to verify the oldest waiting code, and return it."""
        return await self._commit(lambda tx: postgres_work.claim_code(tx, number, at), number)

    async def due(self, todo: Todo, now: float, limit: int) -> list[Entry]:
        """Return up to *limit* entries with *todo* that are due."""
        query = (
            SELECT + " WHERE run = %s AND todo = %s AND todo > 0 AND due <= %s "
            "ORDER BY due, seq LIMIT %s"
        )
        return await self._entries(query, todo.value, now, limit)

    async def backlog(self, todo: Todo, now: float) -> int:
        """Return how many entries with *todo* are due."""
        query = (
            "SELECT count(*) FROM numbers WHERE run = %s AND todo = %s AND todo > 0 AND due <= %s"
        )
        ((n,),) = await self._rows(query, todo.value, now)
        return int(n)

    async def next_due(self) -> float | None:
        """Return when the next entry is due."""
        # One index read a kind: the minimum of the whole index would be a scan.
        query = (
            "SELECT min(due) FROM unnest(%s::smallint[]) AS kind, LATERAL (SELECT due FROM numbers "
            "WHERE run = %s AND todo = kind AND todo > 0 ORDER BY due LIMIT 1) AS next"
        )
        todos = [todo.value for todo in Todo if todo is not Todo.NOTHING]
        ((due,),) = await self._read([Statement(query, (todos, self._run))], lambda r: r[0].rows)
        return None if due is None else float(due)

    async def advance_due(self, seconds: float, *, after: float) -> None:
        """Make the steps that are due *after* a time due *seconds* earlier."""
        query = (
            "UPDATE numbers SET due = due - %s WHERE run = %s AND todo = ANY(%s) AND todo > 0 "
            "AND due > %s"
        )
        todos = [todo.value for todo in ADVANCED]
        await self._change(lambda tx: tx.execute(query, seconds, tx.run, todos, after))

    async def open_intents(self) -> list[Entry]:
        """Return the entries with an intent that has no outcome."""
        return await self._entries(SELECT + " WHERE run = %s AND state IN ('calling', 'verifying')")

    async def called_since(self, since: float) -> list[Entry]:
        """Return the entries whose last call's intent is younger than *since*."""
        query = SELECT + " WHERE run = %s AND called_at > %s ORDER BY called_at"
        return await self._entries(query, since)

    async def identity(self) -> Identity:
        """Return the project and the server that the journal belongs to."""
        query = "SELECT project_id, base_url FROM runs WHERE id = %s"
        ((project_id, base_url),) = await self._rows(query)
        return Identity(project_id, base_url)

    async def counts(self) -> Mapping[ChallengeState, int]:
        """Return the number of entries in each state."""
        query = "SELECT state, sum(n)::bigint FROM counts WHERE run = %s GROUP BY state"
        found = dict(await self._rows(query))
        return {state: found.get(state.value, 0) for state in ChallengeState}

    def rows(self) -> Iterator[Entry]:
        """Yield all entries in the order they were added, a page at a time."""
        query = SELECT.replace("SELECT ", "SELECT seq, ", 1)
        query += " WHERE run = %s AND seq > %s ORDER BY seq LIMIT %s"
        try:
            with psycopg.connect(self._address.conninfo, autocommit=True) as connection:
                connection.execute("SET search_path TO sinch_qn")
                named = "SELECT id FROM runs WHERE name = %s"
                run = connection.execute(named, (self._address.run,)).fetchone()
                last = 0
                while run and (
                    page := connection.execute(query.encode(), (*run, last, _PAGE)).fetchall()
                ):
                    last = page[-1][0]
                    yield from (from_row(row[1:]) for row in page)
        except psycopg.Error as error:
            raise self._address.explain("cannot be read", error) from None

    async def claim_batch(
        self, *, toll_free: bool, region: str | None, limit: int, at: float
    ) -> Batch | None:
        """Log the intent to text-enable up to *limit* verified numbers."""
        return await self._commit(
            lambda tx: postgres_work.claim_batch(tx, toll_free, region, limit, at)
        )

    async def record_batch_outcome(
        self,
        batch: int,
        state: BatchState,
        *,
        only_from: Collection[BatchState],
        order_id: str | None = None,
        note: str | None = None,
    ) -> bool:
        """Log the outcome of *batch*; NOT_SENT frees its numbers for another batch."""
        return await self._commit(
            lambda tx: postgres_work.record_batch_outcome(
                tx, batch, state, only_from, order_id, note
            )
        )

    async def batches(self) -> list[Batch]:
        """Return all batches, oldest first."""
        return await self._read(postgres_work.batches(self._run), postgres_work.to_batches)

    async def bookmark(self, name: str) -> str | None:
        """Return what `set_bookmark` stored as *name*."""
        query = "SELECT value FROM bookmarks WHERE run = %s AND name = %s"
        found = await self._rows(query, name)
        return str(found[0][0]) if found else None

    async def set_bookmark(self, name: str, value: str) -> None:
        """Store *value* as *name*."""
        query = (
            "INSERT INTO bookmarks VALUES (%s, %s, %s) "
            "ON CONFLICT (run, name) DO UPDATE SET value = excluded.value"
        )
        await self._change(lambda tx: tx.execute(query, tx.run, name, value))

    async def _entries(self, query: str, *parameters: object) -> list[Entry]:
        """Return the entries that a query of this run finds."""
        return [from_row(row) for row in await self._rows(query, *parameters)]

    async def _rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        return await self._read([Statement(query, (self._run, *parameters))], lambda r: r[0].rows)

    async def _read(self, statements: Sequence[Statement], parse: Callable[[list[Reply]], T]) -> T:
        return await self._open_writer.read(statements, parse)

    async def _change(self, work: Callable[[Transaction], T], *numbers: str) -> T:
        """Commit *work*, which needs nothing but the entries of *numbers*."""
        return await self._commit(lambda tx: _at_once(work, tx), *numbers)

    async def _commit(self, work: Callable[[Transaction], Work[T]], *numbers: str) -> T:
        # A queued job is committed even if the caller is cancelled.
        result: T = await asyncio.shield(self._open_writer.commit(Job(work=work, numbers=numbers)))
        return result

    @property
    def _open_writer(self) -> Writer:
        if self._writer is None:
            raise JournalError(f"{self._address.name}: the journal is not open")
        return self._writer


async def _check_schema(connection: Connection, *, running: bool) -> None:
    """Refuse another version of the schema; a runner creates a missing one."""
    version = await schema_version(connection)
    if not version and running:
        await migrate(connection, only_new=True)
    elif not version:
        raise JournalError("this database has no journal: start its run once")
    elif version > VERSION:
        schema_sql(version)  # refuses it
    elif version < VERSION:
        raise JournalError(
            f"the schema is of an older version ({version}, this one needs {VERSION}): "
            "stop its runners, then: sinch-qn journal upgrade URL"
        )


async def _enter(
    connection: Connection, name: str, identity: Identity | None, *, running: bool
) -> int:
    """Return the id of the run *name*; a runner creates it."""
    if running and identity is not None:
        create = (
            "INSERT INTO runs (name, project_id, base_url) VALUES (%s, %s, %s) "
            "ON CONFLICT (name) DO NOTHING"
        )
        await connection.trip([Statement(create, (name, identity.project_id, identity.base_url))])
    query = "SELECT id, project_id, base_url FROM runs WHERE name = %s"
    (found,) = await connection.trip([Statement(query, (name,))])
    if not found.rows:
        raise JournalError("there is no such run: start it once")
    ((run, project_id, base_url),) = found.rows
    if identity is not None:
        check_identity(Identity(project_id, base_url), identity)
    return int(run)


def _delete_invalid(tx: Transaction, condition: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Delete the INVALID entries that meet *condition* with one of *rows*."""
    query = DELETE_INVALID.format(condition)
    tx.execute(query, json_rows(rows), tx.run, tx.run, tx.writer)


def _at_once(work: Callable[[Transaction], T], tx: Transaction) -> Work[T]:
    """Return *work* as one that asks for nothing."""
    yield from ()
    return work(tx)
