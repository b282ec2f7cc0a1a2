"""The writer of a PostgreSQL journal: group commit on a connection that may be lost."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import re
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import attrs
import psycopg

from sinch_qn.bulk.journal.postgres_connection import Connection, Reply, Statement, connect
from sinch_qn.bulk.journal.postgres_lease import Seat, take_seat
from sinch_qn.bulk.journal.postgres_schema import MOVE_COUNTS, NOW
from sinch_qn.bulk.journal.postgres_transaction import Job, Transaction, work_through
from sinch_qn.bulk.journal.postgres_url import Address
from sinch_qn.errors import JournalError

_log = logging.getLogger("sinch_qn")

T = TypeVar("T")

_MAX_GROUP = 500
"""Jobs in one commit."""

_MAX_GROUP_COMMIT_DELAY = 0.005
"""Seconds. While jobs come together, a group waits as long as the last commit took, at most."""

PATIENCE = 30.0
"""Seconds that a submitter waits for a database that is down, or a runner that is left.

A runner at work waits without end.
"""

_SAY_AGAIN = f"was not to be reached for {PATIENCE:.0f} s; say it again, which does no harm"

_LEFT_OPEN = (
    f"was not to be reached for {PATIENCE:.0f} s: outcomes are not recorded; run it again, which "
    "makes them UNKNOWN and repeats nothing"
)

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

    def __init__(self, address: Address, run: int, *, patient: bool) -> None:
        """*patient*: a runner's, which waits for a database that is down, and polls by itself."""
        self._address = address
        self._run = run
        self._patient = patient
        self.seat: Seat | None = None
        """Its row in `writers`; a runner's lease gives it, a submitter takes it when it writes."""
        self._connection: Connection | None = None
        self._deadline = 0.0
        self._queue: deque[_Queued] = deque()
        self._arrived = asyncio.Event()
        self._closing = False
        self._left_open: JournalError | None = None
        self._broken: JournalError | None = None
        self._task = asyncio.create_task(self._work())

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

    def fail(self, error: BaseException) -> None:
        """Refuse all jobs from here on: the lease is renewed no more."""
        self._broken = JournalError(f"{self._address.name}: its lease cannot be renewed: {error!r}")

    async def close(self) -> None:
        """Finish all jobs, then leave nothing behind that another would wait for.

        Raises `JournalError` if the database stays down.
        """
        self._closing = True
        self._deadline = asyncio.get_running_loop().time() + PATIENCE
        self._arrived.set()
        await self._task
        if self._left_open is not None:
            raise self._left_open

    async def _work(self) -> None:
        loop, took, is_shared = asyncio.get_running_loop(), 0.0, False
        while not self._closing or self._queue:
            await self._arrived.wait()
            self._arrived.clear()
            while self._queue:
                if is_shared and not self._closing:
                    await asyncio.sleep(min(took, _MAX_GROUP_COMMIT_DELAY))
                group, began = self._next_group(), loop.time()
                await self._serve(group)
                took, is_shared = loop.time() - began, len(group) > 1
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
            if isinstance(queued.task, Job) and queued.task.alone:
                if group or deferred:
                    self._queue.appendleft(queued)
                    break
                return [queued]
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
        if not self._closing:
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
            if self._is_out_of_patience() or (self._closing and serve == self._read):
                raise self._given_up(last, serve) from None
            if lost:
                if interval == _RETRY_INTERVAL:
                    _log.warning("%s", self._address.explain("lost its connection", last))
                await asyncio.sleep(interval)
                interval = min(_MAX_RETRY_INTERVAL, 2 * interval)
            else:
                await self._roll_back()

    def _is_out_of_patience(self) -> bool:
        has_patience = self._patient and not self._closing
        return not has_patience and asyncio.get_running_loop().time() > self._deadline

    def _given_up(self, error: psycopg.Error, serve: Callable[..., Any]) -> JournalError:
        if not self._patient or serve == self._read:
            return self._address.explain(_SAY_AGAIN, error)
        self._left_open = self._address.explain(_LEFT_OPEN, error)
        return self._left_open

    async def _roll_back(self) -> None:
        assert self._connection is not None  # noqa: S101 - it refused a statement
        try:
            await self._connection.rollback()
        except psycopg.Error:
            await self._connection.close()

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            role = "writer" if self.seat is None else f"writer {self.seat.id}"
            self._connection = await connect(self._address, role)
        return self._connection

    async def _read(self, connection: Connection, queries: Sequence[_Query]) -> list[Any]:
        replies = iter(await connection.trip([s for q in queries for s in q.statements]))
        return [q.parse(list(itertools.islice(replies, len(q.statements)))) for q in queries]

    async def _commit(self, connection: Connection, jobs: Sequence[Job]) -> list[Any]:
        if self.seat is None:
            self.seat = await take_seat(connection, self._run, None, calls=False)
        seat = self.seat  # a lost lease gives another, for the next commit
        seat.commits += 1
        fence = Statement(_FENCE, (seat.commits, seat.id))
        blank = Transaction(run=self._run, seat=seat)
        locks = [Statement("BEGIN"), fence, *blank.locks(jobs)]
        _, fenced, *found = await connection.trip(locks)
        if not fenced.rows:
            await self._roll_back()
            # It was not heard of for long. A runner's lease gives it a better one.
            self.seat = await take_seat(connection, self._run, None, calls=False)
            return await self._commit(connection, jobs)
        ((holds, now),) = fenced.rows
        transaction = Transaction(run=self._run, seat=seat, lease_holds=holds, now=now)
        transaction.keep(jobs, iter(found))
        results = await work_through(jobs, transaction, connection)
        try:
            writes = transaction.writes(notify=not self._patient)
            transaction.check(await connection.trip([*writes, Statement("COMMIT")]))
        except psycopg.Error:
            if not connection.closed or not await self._was_committed(seat):
                raise
        return results

    async def _was_committed(self, seat: Seat) -> bool:
        """Return whether the last commit was made, though its response was lost."""
        # The lock waits for the end of that transaction, if the server still works on it.
        query = "SELECT commits FROM writers WHERE id = %s FOR UPDATE"
        interval = _RETRY_INTERVAL
        while True:
            try:
                connection = await self._connected()
                (reply,) = await connection.trip([Statement(query, (seat.id,))])
            except psycopg.Error as error:
                if self._is_out_of_patience():
                    raise self._given_up(error, self._commit) from None
                await asyncio.sleep(interval)
                interval = min(_MAX_RETRY_INTERVAL, 2 * interval)
            else:
                return reply.rows == [(seat.commits,)]

    async def _leave(self) -> None:
        """Give up the seat, and move its counts to those of writer 0."""
        if self.seat is not None:
            connection = await self._connected()
            mine = (self.seat.id,)
            ours = (self._run, *mine)
            leave = (
                Statement("BEGIN"),
                # Others see to intents without an outcome at once.
                Statement("UPDATE writers SET lease_end = 0 WHERE id = %s", mine),
                Statement(_DELETE_SEAT, mine),
                Statement("DELETE FROM chores WHERE run = %s AND writer = %s", ours),
                Statement(_DELETE_TURNS, ours),
                Statement(_END_CALLS, ours),
                Statement(MOVE_COUNTS, (self._run,)),
                Statement("COMMIT"),
            )
            await connection.trip(leave)
        if self._connection is not None:
            await self._connection.close()


_DELETE_TURNS = "DELETE FROM slots WHERE run = %s AND writer = %s AND number IS NULL"
_END_CALLS = "UPDATE slots SET in_flight = false WHERE run = %s AND writer = %s AND in_flight"
"""The results of its last calls were not told: nobody else would end these calls."""

_FENCE = (
    f"UPDATE writers SET commits = %s, seen = {NOW} WHERE id = %s "
    f"RETURNING coalesce(NOT reaped AND lease_end > {NOW}, false), {NOW}"
)

_DELETE_SEAT = """
DELETE FROM writers AS w WHERE id = %s
AND NOT EXISTS (SELECT 1 FROM numbers AS n WHERE n.run = w.run AND n.writer = w.id)
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
