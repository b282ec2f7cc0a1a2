"""The writer of a PostgreSQL journal: group commit on a connection that may be lost."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import platform
import re
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import attrs
import psycopg

from sinch_qn._version import __version__
from sinch_qn.bulk.journal.postgres_connection import Connection, Reply, Statement, connect
from sinch_qn.bulk.journal.postgres_schema import NOW
from sinch_qn.bulk.journal.postgres_transaction import Job, Transaction, work_through
from sinch_qn.bulk.journal.postgres_url import Address
from sinch_qn.errors import JournalError

_log = logging.getLogger("sinch_qn")

T = TypeVar("T")

_MAX_GROUP = 500
"""Jobs in one commit."""

PATIENCE = 30.0
"""Seconds that a submitter waits for a database that is down; a runner waits without end."""

_SAY_AGAIN = f"was not to be reached for {PATIENCE:.0f} s; say it again, which does no harm"

_RETRY_INTERVAL = 0.1
_MAX_RETRY_INTERVAL = 2.0

_REDO = frozenset({"40001", "40P01", "55P03", "57014"})
"""Serialization failure, deadlock, lock timeout, cancelled: the same transaction again."""


@attrs.frozen(eq=False)
class _Query:
    """Statements that only read."""

    statements: Sequence[Statement]
    parse: Callable[[list[Reply]], Any]


@attrs.frozen(eq=False)
class _Queued:
    task: Job | _Query
    future: asyncio.Future[Any]


class Writer:
    """Commits jobs one group after the other; those that arrive during a commit share the next one.

    The number of each commit is in its row of `writers`. It tells whether a commit was made whose
    response was lost.
    """

    def __init__(self, address: Address, run: int, *, lease: float | None) -> None:
        self._address = address
        self._run = run
        self._lease = lease
        self._connection: Connection | None = None
        self._id: int | None = None
        self._commits = 0
        self._tokens = itertools.count(1)
        self._deadline = 0.0
        self._queue: deque[_Queued] = deque()
        self._arrived = asyncio.Event()
        self._closing = False
        self._broken: JournalError | None = None
        self._task = asyncio.create_task(self._work())

    @property
    def id(self) -> int | None:
        """Its row in `writers`; None before its first commit."""
        return self._id

    def commit(self, job: Job) -> asyncio.Future[Any]:
        """Queue *job*; the future is resolved after its commit, which no cancellation prevents."""
        return self._submit(job)

    def read(
        self, statements: Sequence[Statement], parse: Callable[[list[Reply]], T]
    ) -> asyncio.Future[T]:
        """Queue statements that only read; they see what was committed before."""
        return self._submit(_Query(statements, parse))

    def _submit(self, task: Job | _Query) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.append(_Queued(task, future))
        self._arrived.set()
        return future

    async def register(self) -> None:
        """Get a row in `writers`, which begins a runner's lease. Raises `psycopg.Error`."""
        connection = await self._connected()
        await self._register(connection)

    async def close(self) -> None:
        """Finish all jobs, then leave nothing behind that another would wait for."""
        self._closing = True
        self._arrived.set()
        await self._task

    async def _work(self) -> None:
        while not self._closing or self._queue:
            await self._arrived.wait()
            self._arrived.clear()
            while group := self._next_group():
                await self._serve(group)
        with contextlib.suppress(psycopg.Error, JournalError, OSError):
            await self._leave()

    def _next_group(self) -> list[_Queued]:
        """Take what may share a commit: a number is in one job of a group only."""
        group: list[_Queued] = []
        deferred: list[_Queued] = []
        taken: set[str] = set()
        while self._queue and len(group) < _MAX_GROUP:
            queued = self._queue.popleft()
            numbers = queued.task.numbers if isinstance(queued.task, Job) else ()
            (group if taken.isdisjoint(numbers) else deferred).append(queued)
            taken.update(numbers)
        self._queue.extendleft(reversed(deferred))
        return group

    async def _serve(self, group: list[_Queued]) -> None:
        jobs = [queued for queued in group if isinstance(queued.task, Job)]
        queries = [queued for queued in group if isinstance(queued.task, _Query)]
        for part, serve in ((jobs, self._commit), (queries, self._read)):
            if part:
                await self._serve_alike(part, serve)

    async def _serve_alike(self, part: list[_Queued], serve: Callable[..., Any]) -> None:
        """Serve *part*; if the database refuses one of them, each by itself."""
        tasks = [queued.task for queued in part]
        try:
            if self._broken is not None:
                raise self._broken
            results = await self._persist(serve, tasks)
        except psycopg.Error as error:
            if len(part) > 1:
                for queued in part:
                    await self._serve_alike([queued], serve)
                return
            _fail(part, _law_broken(error) or self._address.explain("failed", error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers must hear of it
            _fail(part, error)
        else:
            for queued, result in zip(part, results, strict=True):
                if not queued.future.done():
                    queued.future.set_result(result)

    async def _persist(self, serve: Callable[..., Any], tasks: list[Any]) -> list[Any]:
        """Repeat what a lost connection or a deadlock has undone, until it is done."""
        self._deadline = asyncio.get_running_loop().time() + PATIENCE
        interval = _RETRY_INTERVAL
        while True:
            connection = None
            try:
                connection = await self._connected()
                return await serve(connection, tasks)  # type: ignore[no-any-return]
            except psycopg.Error as error:
                lost = connection is None or connection.closed
                if not lost and error.sqlstate not in _REDO:
                    await self._roll_back()
                    raise
                last = error
            if self._is_out_of_patience():
                raise self._address.explain(_SAY_AGAIN, last) from None
            if lost:
                if interval == _RETRY_INTERVAL:
                    _log.warning("%s", self._address.explain("lost its connection", last))
                await asyncio.sleep(interval)
                interval = min(_MAX_RETRY_INTERVAL, 2 * interval)
            else:
                await self._roll_back()

    def _is_out_of_patience(self) -> bool:
        return self._lease is None and asyncio.get_running_loop().time() > self._deadline

    async def _roll_back(self) -> None:
        assert self._connection is not None  # noqa: S101 - it refused a statement
        try:
            await self._connection.rollback()
        except psycopg.Error:
            await self._connection.close()

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            role = "writer" if self._id is None else f"writer {self._id}"
            self._connection = await connect(self._address, role)
        return self._connection

    async def _read(self, connection: Connection, queries: Sequence[_Query]) -> list[Any]:
        replies = iter(await connection.trip([s for q in queries for s in q.statements]))
        return [q.parse(list(itertools.islice(replies, len(q.statements)))) for q in queries]

    async def _commit(self, connection: Connection, jobs: Sequence[Job]) -> list[Any]:
        if self._id is None:
            await self._register(connection)
        assert self._id is not None  # noqa: S101 - registered
        self._commits += 1
        transaction = Transaction(run=self._run, writer=self._id, tokens=self._tokens)
        fence = Statement(
            "UPDATE writers SET commits = %s WHERE id = %s "
            f"RETURNING coalesce(NOT reaped AND lease_end > {NOW}, false)",
            (self._commits, self._id),
        )
        locks = [Statement("BEGIN"), fence, *transaction.locks(jobs)]
        _, fenced, *found = await connection.trip(locks)
        if not fenced.rows:
            raise JournalError(
                f"{self._address.name}: its rows were deleted: is this a new database?"
            )
        transaction.lease_holds = fenced.rows[0][0]
        transaction.keep(jobs, iter(found))
        results = await work_through(jobs, transaction, connection)
        try:
            await connection.trip([*transaction.writes(), Statement("COMMIT")])
        except psycopg.Error:
            if not connection.closed or not await self._was_committed():
                raise
        return results

    async def _was_committed(self) -> bool:
        """Return whether the last commit was made, though its response was lost."""
        # The lock waits for the end of that transaction, if the server still works on it.
        query = "SELECT commits FROM writers WHERE id = %s FOR UPDATE"
        interval = _RETRY_INTERVAL
        while True:
            try:
                connection = await self._connected()
                (reply,) = await connection.trip([Statement(query, (self._id,))])
            except psycopg.Error as error:
                if self._is_out_of_patience():
                    raise self._address.explain(_SAY_AGAIN, error) from None
                await asyncio.sleep(interval)
                interval = min(_MAX_RETRY_INTERVAL, 2 * interval)
            else:
                return reply.rows == [(self._commits,)]

    async def _register(self, connection: Connection) -> None:
        query = (
            "INSERT INTO writers (run, name, version, started, lease_end) "
            f"VALUES (%s, %s, %s, {NOW}, {NOW} + %s) RETURNING id"
        )
        name = f"{platform.node()}:{os.getpid()}"
        (reply,) = await connection.trip(
            [Statement(query, (self._run, name, __version__, self._lease))]
        )
        self._id = reply.rows[0][0]
        self._commits = 0

    async def _leave(self) -> None:
        """Delete the row, and move the counts to those of writer 0."""
        connection = self._connection
        if connection is None or connection.closed:
            return
        if self._id is not None:
            ids = (self._run, self._id)
            await connection.trip(
                [
                    Statement("BEGIN"),
                    Statement("DELETE FROM writers WHERE id = %s", (self._id,)),
                    Statement(_MOVE_COUNTS, ids),
                    Statement("COMMIT"),
                ]
            )
        await connection.close()


_MOVE_COUNTS = """
WITH moved AS (DELETE FROM counts WHERE run = %s AND writer = %s RETURNING run, state, n)
INSERT INTO counts SELECT run, 0, state, n FROM moved ORDER BY state
ON CONFLICT (run, writer, state) DO UPDATE SET n = counts.n + excluded.n
"""


_KEY = re.compile(r", (?P<operation>\w+), (?P<attempt>\d+), \d+\)")


def _law_broken(error: psycopg.Error) -> JournalError | None:
    """Return the error for a second intent of one attempt; the database names it."""
    if (
        isinstance(error, psycopg.errors.UniqueViolation)
        and error.diag.constraint_name == "log_once"
    ):
        key = _KEY.search(error.diag.message_detail or "")
        attempt = f"{key['operation']} attempt {key['attempt']}" if key else "an attempt"
        return JournalError(f"{attempt} was made before")
    return None


def _fail(part: Sequence[_Queued], error: Exception) -> None:
    for queued in part:
        if not queued.future.done():
            queued.future.set_exception(error)
