"""The one thread that uses a SQLite journal: its connection, its cache, group commit."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import attrs

from sinch_qn.bulk.journal.sqlite_file import BUSY_TIMEOUT, FileConnection, parameters, uri
from sinch_qn.bulk.journal.sqlite_schema import SELECT, from_row, update
from sinch_qn.bulk.states import ChallengeState, Entry
from sinch_qn.errors import JournalError

T = TypeVar("T")

_MAX_GROUP = 2000
"""Jobs in one commit."""

_MAX_GROUP_COMMIT_DELAY = 0.002
"""Seconds. While writers are concurrent, a group waits as long as the last commit took, at most."""

_CHECKPOINT_INTERVAL = 1.0
"""Seconds between two checkpoints that drop erased codes: how long such a code may last."""

_CHECKPOINT_TIMEOUT_MS = 50

_CACHE_SIZE = 10_000
"""Cached entries: the numbers in progress, a few MB."""


class Connection(FileConnection):
    """The database, with a cache of entries and the changes of the counts."""

    checkpoint_due = True
    """The write-ahead log may hold erased codes; a previous run's at first."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._count_deltas: Counter[ChallengeState] = Counter()
        """How this transaction changes the counts of the states."""
        self._cache: dict[str, Entry] = {}
        self._version = -1
        self._tokens: Iterator[int] | None = None

    def entry(self, number: str) -> Entry | None:
        """Return the entry of *number*, from the cache if it is there."""
        entry = self._cache.get(number)
        if entry is None:
            row = self.execute(SELECT + " WHERE number = ?", (number,)).fetchone()
            if row is not None:
                entry = from_row(row)
                self._keep(entry)
        return entry

    def save(self, before: Entry, after: Entry) -> None:
        """Write the difference between two versions of an entry."""
        if statement := update(before, after):
            self.execute(*statement)
        if before.state is not after.state:
            self._count_deltas[before.state] -= 1
            self._count_deltas[after.state] += 1
        self._keep(after)

    def _keep(self, entry: Entry) -> None:
        if len(self._cache) >= _CACHE_SIZE:
            self.clear_cache()
        self._cache[entry.number] = entry

    def clear_cache(self) -> None:
        """Drop the cached entries: they were written in another way than by `save`."""
        self._cache.clear()

    def drop_stale_cache(self) -> None:
        """Drop the cached entries if another process has written since."""
        (version,) = self.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self.clear_cache()
            self._version = version

    def next_token(self) -> int:
        """Return a token for an intent, unique in this journal. Call it inside a transaction."""
        if self._tokens is None:  # each connection that commits intents reserves 2^32 of them
            self.execute(
                "INSERT INTO meta VALUES ('token_blocks', 1) "
                "ON CONFLICT (key) DO UPDATE SET value = value + 1"
            )
            query = "SELECT value FROM meta WHERE key = 'token_blocks'"
            (blocks,) = self.execute(query).fetchone()
            self._tokens = itertools.count(int(blocks) << 32)
        return next(self._tokens)

    def flush_counts(self) -> None:
        """Write the changes of the counts so far."""
        query = (
            "INSERT INTO counts VALUES (?, ?) ON CONFLICT (state) DO UPDATE SET n = n + excluded.n"
        )
        changed = [(state.value, n) for state, n in self._count_deltas.items() if n]
        self.executemany(query, changed)
        self._count_deltas.clear()


def connect(path: Path) -> Connection:
    """Open the file at *path*, which exists; to read only, if it cannot be written."""
    # mode=rw: a file that vanished meanwhile is an error, not an empty journal.
    how = parameters(path)
    database = sqlite3.connect(
        uri(path, how),
        uri=True,
        isolation_level=None,
        timeout=BUSY_TIMEOUT,
        check_same_thread=False,
        factory=Connection,
    )
    try:
        database.read_only = how != "mode=rw"
        database.checkpoint_due = not database.read_only
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA secure_delete = ON")
        database.guard(path)
    except BaseException:
        database.close()
        raise
    return database


@attrs.frozen(eq=False)
class _Job:
    work: Callable[[Connection], Any]
    writes: bool
    future: asyncio.Future[Any]


class DatabaseThread:
    """Does jobs one after the other; those that arrive during a commit share the next one."""

    def __init__(self, database: Connection, name: str) -> None:
        self._database = database
        self._name = name
        self._next_checkpoint = 0.0
        self._jobs: deque[_Job] = deque()
        self._idle = threading.Lock()  # an Event costs twice as much, with five commits a number
        """Held while no job has arrived since the thread looked."""
        self._idle.acquire()
        self._closing = False
        self._concurrent_writes = False
        self._commit_time = _MAX_GROUP_COMMIT_DELAY
        """Seconds that the last commit took: one fsync."""
        self._broken: JournalError | None = None
        self._thread = threading.Thread(target=self._work, name=f"journal {name}", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Connection], T], *, writes: bool) -> asyncio.Future[T]:
        """Queue *work*; the future is resolved after its commit."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.append(_Job(work, writes, future))
        self._wake()
        return future

    def close(self) -> None:
        """Finish all jobs, then close the database."""
        self._closing = True
        self._wake()
        self._thread.join()

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # released by another event loop's thread meanwhile
            if self._idle.locked():
                self._idle.release()

    def _work(self) -> None:
        while not self._closing or self._jobs:
            if jobs := self._next_group():
                _resolve(jobs, self._run(jobs))
            if self._database.checkpoint_due and time.monotonic() >= self._next_checkpoint:
                self._checkpoint()
        if self._database.checkpoint_due:
            self._checkpoint()
        self._database.close()

    def _checkpoint(self) -> None:
        """Checkpoint and truncate the WAL to drop erased codes; retry if a reader blocks it."""
        self._next_checkpoint = time.monotonic() + _CHECKPOINT_INTERVAL
        with contextlib.suppress(sqlite3.Error):
            (timeout_ms,) = self._database.execute("PRAGMA busy_timeout").fetchone()
            self._database.execute(f"PRAGMA busy_timeout = {_CHECKPOINT_TIMEOUT_MS}")
            try:
                query = "PRAGMA wal_checkpoint(TRUNCATE)"
                (busy, *_) = self._database.execute(query).fetchone()
            finally:
                self._database.execute(f"PRAGMA busy_timeout = {timeout_ms}")
            self._database.checkpoint_due = bool(busy)

    def _next_group(self) -> list[_Job]:
        """Wait for jobs, but no longer than until the next checkpoint."""
        self._idle.acquire(timeout=self._until_checkpoint())
        jobs = self._take()
        if self._concurrent_writes and any(job.writes for job in jobs):
            time.sleep(min(self._commit_time, _MAX_GROUP_COMMIT_DELAY))
            jobs += self._take()
        if writes := sum(job.writes for job in jobs):
            self._concurrent_writes = writes > 1
        return jobs

    def _take(self) -> list[_Job]:
        self._idle.acquire(blocking=False)  # first: a job that comes from here on releases it again
        jobs = [self._jobs.popleft() for _ in range(min(len(self._jobs), _MAX_GROUP))]
        if self._jobs:
            self._wake()
        return jobs

    def _until_checkpoint(self) -> float:
        if not self._database.checkpoint_due:
            return -1.0  # for ever
        return max(0.0, self._next_checkpoint - time.monotonic())

    def _run(self, jobs: list[_Job]) -> list[Any] | JournalError:
        """Do *jobs* in one transaction; return their results, or the error of them all."""
        if self._broken is not None:
            return self._broken
        writes = any(job.writes for job in jobs)
        try:
            self._database.check_in_place()
            if writes:
                self._database.execute("BEGIN IMMEDIATE")
            self._database.drop_stale_cache()
            results = [job.work(self._database) for job in jobs]
            if writes:
                self._database.flush_counts()
                started = time.perf_counter()
                self._database.execute("COMMIT")
                self._commit_time = time.perf_counter() - started
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers must hear of it
            # The content of the disk is not known after this: nothing more is written.
            self._broken = JournalError(f"{self._name}: the journal failed: {error}")
            self._broken.__cause__ = error
            with contextlib.suppress(sqlite3.Error):
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
            return self._broken
        return results


def _resolve(jobs: list[_Job], results: list[Any] | JournalError) -> None:
    """Resolve the futures of *jobs*, with one call to each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for index, job in enumerate(jobs):
        result = results if isinstance(results, JournalError) else results[index]
        by_loop.setdefault(job.future.get_loop(), []).append((job.future, result))
    for loop, resolved in by_loop.items():
        with contextlib.suppress(RuntimeError):  # closed: nobody waits there
            loop.call_soon_threadsafe(_set_results, resolved)


def _set_results(resolved: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in resolved:
        if future.done():
            continue
        if isinstance(result, JournalError):
            future.set_exception(result)
        else:
            future.set_result(result)
