"""The numbers, codes and batches of a run in PostgreSQL, for runners and submitters alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import psycopg

from sinch_qn.bulk.journal import postgres_queries, postgres_work
from sinch_qn.bulk.journal.postgres_connection import Reply, Statement
from sinch_qn.bulk.journal.postgres_deliveries import PostgresDeliveries
from sinch_qn.bulk.journal.postgres_schema import (
    DELETE_INVALID,
    INSERT,
    NOW,
    SELECT,
    from_row,
    json_rows,
    to_json,
)
from sinch_qn.bulk.journal.postgres_transaction import Job, Transaction, Work, ask
from sinch_qn.bulk.journal.postgres_url import Address
from sinch_qn.bulk.journal.postgres_writer import Writer
from sinch_qn.bulk.journal.protocol import (
    ADVANCED,
    Batch,
    BatchState,
    Identity,
    Readiness,
    RunSettings,
    Submission,
    invalid_line,
)
from sinch_qn.bulk.journal.queries import EntryPage, EntryQuery, HistoryItem
from sinch_qn.bulk.states import ChallengeState, Change, Entry, Todo
from sinch_qn.errors import JournalError

T = TypeVar("T")

_PAGE = 2000
"""Entries that `rows` reads at a time, each page in a transaction of its own."""


_STEPS = tuple(todo for todo in Todo if todo is not Todo.NOTHING)


class PostgresStore:
    """What a journal in PostgreSQL does without a lease."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._run = 0
        self._writer: Writer | None = None
        self._reader = postgres_queries.PostgresReader(address)

    async def add(self, entries: Sequence[Entry]) -> int:
        """Store the entries whose number is new, or was INVALID and no longer is."""
        rows = to_json(entries)
        valid = [e.number for e in entries if e.state is not ChallengeState.INVALID]

        def work(tx: Transaction) -> Work[int]:
            _delete_invalid(tx, "n.number = c.number", [{"number": number} for number in valid])
            tx.tell()
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

    @property
    def deliveries(self) -> PostgresDeliveries:
        """The messages that are delivered at most once; also beside a run."""
        return PostgresDeliveries(self._open_writer, self._run)

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

    async def backlog(self, todo: Todo, limit: int | None = None) -> int:
        """Return how many entries with *todo* are due, counted no further than *limit*."""
        query = (
            "SELECT count(*) FROM (SELECT 1 FROM numbers WHERE run = %s AND todo = %s AND todo > 0 "
            f"AND due <= {NOW} ORDER BY due LIMIT %s) AS found"
        )
        ((n,),) = await self._rows(query, todo.value, limit)
        return int(n)

    async def open_numbers(self) -> bool:
        """Return whether a number is not settled; an intent is open as well."""
        query = (
            "SELECT (SELECT todo FROM numbers WHERE run = %s AND todo > 0 ORDER BY todo LIMIT 1) "
            "IS NOT NULL OR EXISTS (SELECT 1 FROM numbers WHERE run = %s AND writer IS NOT NULL)"
        )
        ((is_open,),) = await self._rows(query, self._run)
        return bool(is_open)

    async def readiness(self) -> Readiness:
        """Return whether calls are made now."""
        query = (
            "SELECT r.settings, coalesce((p.value->>'paused')::boolean, true), r.stopped IS NULL "
            "AND EXISTS (SELECT 1 FROM writers AS w WHERE w.run = r.id AND w.calls "
            f"AND NOT w.reaped AND w.lease_end > {NOW}) "
            "FROM runs AS r LEFT JOIN pacing AS p ON p.run = r.id WHERE r.id = %s"
        )
        ((written, paused, has_runner),) = await self._rows(query)
        settings = None if written is None else RunSettings(**written)
        return Readiness(settings=settings, has_runner=has_runner, paused=paused)

    async def next_due(self, *todos: Todo) -> float | None:
        """Return when the next entry (with one of *todos*) is due."""
        # One index read a kind: the minimum of the whole index would be a scan.
        query = (
            "SELECT min(due) FROM unnest(%s::smallint[]) AS kind, LATERAL (SELECT due FROM numbers "
            "WHERE run = %s AND todo = kind AND todo > 0 ORDER BY due LIMIT 1) AS next"
        )
        kinds = [todo.value for todo in todos or _STEPS]
        ((due,),) = await self._read([Statement(query, (kinds, self._run))], lambda r: r[0].rows)
        return None if due is None else float(due)

    async def advance_due(self, seconds: float, *, after: float) -> None:
        """Make the steps that are due *after* a time due *seconds* earlier."""
        query = (
            "UPDATE numbers SET due = due - %s WHERE run = %s AND todo = ANY(%s) AND todo > 0 "
            "AND due > %s"
        )
        todos = [todo.value for todo in ADVANCED]
        await self._change(lambda tx: tx.execute(query, seconds, tx.run, todos, after))

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

    async def interrupted_batches(self) -> list[Batch]:
        """Return the batches that are SENDING and whose runner is gone."""
        query = postgres_work.batches(self._run, postgres_work.IS_INTERRUPTED)
        return await self._read(query, postgres_work.to_batches)

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

    async def keep_bookmark(self, name: str, value: str) -> str:
        """Store *value* as *name* if nothing is stored there; return what is."""
        query = "INSERT INTO bookmarks VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
        await self._change(lambda tx: tx.execute(query, tx.run, name, value))
        return await self.bookmark(name) or value

    async def bookmarks(self, prefix: str) -> dict[str, str]:
        """Return all bookmarks whose name begins with *prefix*."""
        query = "SELECT name, value FROM bookmarks WHERE run = %s AND starts_with(name, %s)"
        return dict(await self._rows(query, prefix))

    async def find(
        self, query: EntryQuery, *, limit: int = 50, after: str | None = None
    ) -> EntryPage:
        """Return up to *limit* entries, those behind the cursor *after*."""
        page = EntryPage(entries=(), next=None)
        for asked in postgres_queries.find(self._run, query, limit, after):
            page = postgres_queries.to_page(query, limit, await self._ask(asked))
            if page.next is not None:
                break
        return page

    async def get_many(self, numbers: Collection[str]) -> dict[str, Entry]:
        """Return the entries of those of *numbers* that have one."""
        asked = postgres_queries.get_many(self._run, numbers)
        return postgres_queries.to_entries(await self._ask(asked))

    async def history(self, number: str) -> list[HistoryItem]:
        """Return what happened to *number*, oldest first."""
        asked = postgres_queries.history(self._run, number)
        return postgres_queries.to_history(await self._ask(asked))

    async def _ask(self, statements: Sequence[Statement]) -> list[Reply]:
        if self._writer is None:
            raise self._not_open()
        return await self._reader.ask(statements)

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
        result: T = await self._commit_job(Job(work=work, numbers=numbers))
        return result

    async def _commit_job(self, job: Job) -> Any:
        # A queued job is committed even if the caller is cancelled.
        return await asyncio.shield(self._open_writer.commit(job))

    @property
    def _open_writer(self) -> Writer:
        if self._writer is None:
            raise self._not_open()
        return self._writer

    def _not_open(self) -> JournalError:
        return JournalError(f"{self._address.name}: the journal is not open")


def _delete_invalid(tx: Transaction, condition: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Delete the INVALID entries that meet *condition* with one of *rows*."""
    query = DELETE_INVALID.format(condition)
    tx.execute(query, json_rows(rows), tx.run, tx.run, tx.run, tx.writer)


def _at_once(work: Callable[[Transaction], T], tx: Transaction) -> Work[T]:
    """Return *work* as one that asks for nothing."""
    yield from ()
    return work(tx)
