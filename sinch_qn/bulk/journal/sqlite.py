"""A journal in one SQLite file: WAL, fsync on every commit, one writer thread, group commit."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import stat
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import attrs

from sinch_qn.bulk.journal.protocol import (
    CODE_STATUS_AFTER,
    Batch,
    BatchState,
    Identity,
    LoggedWrite,
    Submission,
    logged_write,
)
from sinch_qn.bulk.journal.sqlite_schema import (
    HEADER_SIZE,
    INSERT,
    IS_TOLL_FREE,
    SELECT,
    check_content,
    check_header,
    from_row,
    mark,
    to_row,
)
from sinch_qn.bulk.journal.sqlite_thread import Connection, DatabaseThread, connect
from sinch_qn.bulk.states import INTENTS, ChallengeState, Change, Entry, Event, Todo, step
from sinch_qn.errors import JournalError

T = TypeVar("T")

_PAGE = 2000
"""Entries that `rows` reads at a time."""


class SqliteJournal:
    """A run's journal in the file *path*; created if missing, readable by its owner only.

    One process is the runner; others submit codes and read. An OS lock on `PATH.lock` excludes a
    second runner, and is released when its process ends, however it ends.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # Resolve links: one file is one journal with one lock, under any name.
        self._path = Path(os.path.realpath(path))
        self._lock: int | None = None
        self._thread: DatabaseThread | None = None

    async def open(self, identity: Identity | None, *, running: bool) -> None:
        """Open the file; only a runner may create it.

        Raises `JournalError` and leaves the file as it was if it is no journal, is damaged,
        is of a newer version or another project, or if another run is using it.
        """
        opening = asyncio.create_task(asyncio.to_thread(self._open, identity, running))
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            # The thread goes on: close and unlock what it opens.
            await asyncio.wait([opening])
            if not opening.cancelled() and opening.exception() is None:
                await self.close()
            raise

    def _open(self, identity: Identity | None, running: bool) -> None:  # noqa: FBT001
        if self._thread is not None:
            raise JournalError(f"{self._path}: this journal is open already: leave its run first")
        try:
            size = self._path.stat().st_size if self._path.exists() else 0
            if size:
                self._check_header()
            elif not running:
                raise JournalError(f"{self._path}: there is no such journal")
            if running:
                self._take_lock()
                if not size:
                    self._create()
            database = connect(self._path)
            try:
                check_content(database, identity, running=running)
            except BaseException:
                database.close()
                raise
        except (OSError, sqlite3.Error) as error:
            self._release_lock()
            raise JournalError(f"{self._path}: the journal cannot be used: {error}") from error
        except JournalError:
            self._release_lock()
            raise
        self._thread = DatabaseThread(database, str(self._path))

    def _check_header(self) -> None:
        with self._path.open("rb") as file:
            header = file.read(HEADER_SIZE)
        try:
            check_header(header)
        except JournalError as error:
            raise JournalError(f"{self._path}: {error}") from None

    def _create(self) -> None:
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, stat.S_IRUSR | stat.S_IWUSR))
        self._path.chmod(stat.S_IRUSR | stat.S_IWUSR)
        with contextlib.closing(sqlite3.connect(self._path)) as database:
            mark(database)

    def _take_lock(self) -> None:
        lock = self._path.with_name(self._path.name + ".lock")
        self._lock = os.open(lock, os.O_CREAT | os.O_RDWR, stat.S_IRUSR | stat.S_IWUSR)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise JournalError(f"{self._path}: another run is using this journal") from error

    def _release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def close(self) -> None:
        """Finish accepted jobs, and release the lock."""
        # Not open from here on: later jobs would wait for ever.
        thread, self._thread = self._thread, None
        if thread is None:
            return

        def finish() -> None:
            # In a thread, to its end: a cancelled caller leaves no lock behind.
            try:
                thread.close()
            finally:
                self._release_lock()

        await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, finish))

    async def add(self, entries: Sequence[Entry]) -> int:
        """Store the entries whose number is new."""
        rows = [to_row(entry) for entry in entries]
        return await self._write(lambda database: database.executemany(INSERT, rows).rowcount)

    async def discard_invalid(self, numbers: Sequence[str]) -> None:
        """Delete the entries of *numbers* that are INVALID."""
        delete = "DELETE FROM numbers WHERE number = ? AND state = 'invalid'"
        count = "UPDATE counts SET n = n - ? WHERE state = 'invalid'"

        def write(database: Connection) -> None:
            rows = [(number,) for number in numbers]
            database.execute(count, (database.executemany(delete, rows).rowcount,))
            database.clear_cache()

        await self._write(write)

    async def get(self, number: str) -> Entry | None:
        """Return the entry of *number*."""
        return await self._read(lambda database: database.entry(number))

    async def apply(self, changes: Sequence[Change]) -> list[Entry | None]:
        """Apply each change that `step` allows."""
        return await self._write(lambda db: [_apply(db, change) for change in changes])

    async def submit_code(
        self, number: str, code: str, at: float
    ) -> tuple[Submission, Entry | None]:
        """Put *code* into the inbox of *number*."""
        return await self._write(lambda database: _submit(database, number, code, at))

    async def claim_code(self, number: str, at: float) -> tuple[Entry, str] | None:
        """Log the intent to verify the oldest waiting code, and return it."""
        return await self._write(lambda database: _claim_code(database, number, at))

    async def due(self, todo: Todo, now: float, limit: int) -> list[Entry]:
        """Return up to *limit* entries with *todo* that are due."""
        query = SELECT + " WHERE todo = ? AND todo > 0 AND due <= ? ORDER BY due, seq LIMIT ?"
        return await self._read(lambda db: _entries(db, query, todo.value, now, limit))

    async def backlog(self, todo: Todo, now: float) -> int:
        """Return how many entries with *todo* are due."""
        query = "SELECT count(*) FROM numbers WHERE todo = ? AND todo > 0 AND due <= ?"
        return await self._read(lambda db: int(db.execute(query, (todo, now)).fetchone()[0]))

    async def next_due(self) -> float | None:
        """Return when the next entry is due."""
        # One index read a kind: the minimum of the whole index would be a scan.
        query = "SELECT due FROM numbers WHERE todo = ? AND todo > 0 ORDER BY due LIMIT 1"

        def read(database: sqlite3.Connection) -> float | None:
            todos = [todo for todo in Todo if todo is not Todo.NOTHING]
            rows = [database.execute(query, (todo.value,)).fetchone() for todo in todos]
            return min((row[0] for row in rows if row is not None), default=None)

        return await self._read(read)

    async def open_intents(self) -> list[Entry]:
        """Return the entries with an intent that has no outcome."""
        query = SELECT + " WHERE state IN ('calling', 'verifying')"
        return await self._read(lambda database: _entries(database, query))

    async def called_since(self, since: float) -> list[Entry]:
        """Return the entries whose last call's intent is younger than *since*."""
        query = SELECT + " WHERE called_at > ? ORDER BY called_at"
        return await self._read(lambda database: _entries(database, query, since))

    async def counts(self) -> Mapping[ChallengeState, int]:
        """Return the number of entries in each state."""

        def read(database: Connection) -> Mapping[ChallengeState, int]:
            database.flush_counts()
            found = dict(database.execute("SELECT state, n FROM counts"))
            return {state: found.get(state.value, 0) for state in ChallengeState}

        return await self._read(read)

    def rows(self) -> Iterator[Entry]:
        """Yield all entries in the order they were added, a page at a time."""
        query = "SELECT seq, " + SELECT.removeprefix("SELECT ") + " WHERE seq > ? ORDER BY seq"
        try:
            with contextlib.closing(connect(self._path)) as database:
                last = 0
                while page := database.execute(f"{query} LIMIT {_PAGE}", (last,)).fetchall():
                    last = page[-1][0]
                    yield from (from_row(row[1:]) for row in page)
        except sqlite3.Error as error:
            raise JournalError(f"{self._path}: the journal cannot be read: {error}") from error

    async def claim_batch(
        self, *, toll_free: bool, region: str | None, limit: int, at: float
    ) -> Batch | None:
        """Log the intent to text-enable up to *limit* verified numbers."""
        return await self._write(lambda db: _claim_batch(db, toll_free, region, limit, at))

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

        def write(database: Connection) -> bool:
            query = "SELECT state FROM batches WHERE id = ?"
            row = database.execute(query, (batch,)).fetchone()
            if row is None or BatchState(row[0]) not in only_from:
                return False
            database.execute(
                "UPDATE batches SET state = ?, order_id = ?, note = ? WHERE id = ?",
                (state.value, order_id, note, batch),
            )
            if state is BatchState.NOT_SENT:
                database.execute("UPDATE numbers SET batch = NULL WHERE batch = ?", (batch,))
                database.clear_cache()
            return True

        return await self._write(write)

    async def batches(self) -> list[Batch]:
        """Return all batches, oldest first."""
        return await self._read(_batches)

    async def bookmark(self, name: str) -> str | None:
        """Return what `set_bookmark` stored as *name*."""
        query, key = "SELECT value FROM meta WHERE key = ?", f"bookmark {name}"
        row = await self._read(lambda database: database.execute(query, (key,)).fetchone())
        return None if row is None else str(row[0])

    async def set_bookmark(self, name: str, value: str) -> None:
        """Store *value* as *name*."""
        query, row = "INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"bookmark {name}", value)
        await self._write(lambda database: database.execute(query, row).rowcount)

    async def _read(self, work: Callable[[Connection], T]) -> T:
        return await self._database.submit(work, writes=False)

    async def _write(self, work: Callable[[Connection], T]) -> T:
        # A queued job is committed even if the caller is cancelled.
        return await self._database.submit(work, writes=True)

    @property
    def _database(self) -> DatabaseThread:
        if self._thread is None:
            raise JournalError(f"{self._path}: the journal is not open")
        return self._thread


# ---- one unit of work each, inside a transaction -----------------------------------------------


def _entries(database: sqlite3.Connection, query: str, *parameters: object) -> list[Entry]:
    return [from_row(row) for row in database.execute(query, parameters)]


def _apply(database: Connection, change: Change) -> Entry | None:
    before = database.entry(change.number)
    if change.event in INTENTS:
        change = attrs.evolve(change, intent=database.next_token())
    after = None if before is None else step(before, change)
    if before is None or after is None:
        return None
    database.save(before, after)
    if logged := logged_write(before, after, change.event):
        _log_write(database, change, logged)
    if after.settled_at is not None:
        _erase(database, "DELETE FROM inbox WHERE number = ?", change.number)
    elif status := CODE_STATUS_AFTER.get(change.event):
        database.execute(
            "UPDATE inbox SET status = ? WHERE number = ? AND status = 'in flight'",
            (status, change.number),
        )
    elif change.event in CODE_STATUS_AFTER:
        query = "DELETE FROM inbox WHERE number = ? AND status = 'in flight'"
        _erase(database, query, change.number)
    return after


def _log_write(database: Connection, change: Change, logged: LoggedWrite) -> None:
    key = (logged.operation, change.number, logged.attempt, logged.nth)
    if logged.outcome is None:
        # Only an attempt that was not sent may be made again.
        query = (
            "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, NULL, NULL) ON CONFLICT DO UPDATE "
            "SET intent = excluded.intent, intent_at = excluded.intent_at, outcome = NULL, "
            "outcome_at = NULL WHERE outcome = 'not sent'"
        )
        if database.execute(query, (*key, change.intent, change.at)).rowcount != 1:
            raise JournalError(f"{logged.operation} attempt {logged.attempt} was made before")
    else:
        query = (
            "UPDATE log SET outcome = ?, outcome_at = ? "
            "WHERE operation = ? AND number = ? AND attempt = ? AND nth = ?"
        )
        database.execute(query, (logged.outcome, change.at, *key))


def _erase(database: Connection, query: str, number: str) -> None:
    if database.execute(query, (number,)).rowcount:
        database.checkpoint_due = True


def _submit(
    database: Connection, number: str, code: str, at: float
) -> tuple[Submission, Entry | None]:
    before = database.entry(number)
    if before is None:
        return Submission.REFUSED, None
    key = (number, before.attempt, code)
    known = "SELECT 1 FROM inbox WHERE number = ? AND attempt = ? AND code = ?"
    if database.execute(known, key).fetchone():
        return Submission.DUPLICATE, before
    after = _apply(database, Change(number=number, event=Event.CODE, at=at))
    if after is None:
        return Submission.REFUSED, before
    database.execute("INSERT INTO inbox VALUES (NULL, ?, ?, ?, ?, 'waiting')", (*key, at))
    return Submission.ACCEPTED, after


def _claim_code(database: Connection, number: str, at: float) -> tuple[Entry, str] | None:
    entry = _apply(database, Change(number=number, event=Event.VERIFY, at=at))
    if entry is None:
        return None
    row, code = database.execute(
        "SELECT id, code FROM inbox WHERE number = ? AND status = 'waiting' ORDER BY id LIMIT 1",
        (number,),
    ).fetchone()
    database.execute("UPDATE inbox SET status = 'in flight' WHERE id = ?", (row,))
    return entry, code


def _claim_batch(
    database: Connection,
    toll_free: bool,  # noqa: FBT001 - the protocol's is keyword-only
    region: str | None,
    limit: int,
    at: float,
) -> Batch | None:
    query = (
        "SELECT seq, number FROM numbers WHERE batch IS NULL "  # noqa: S608 - constants only
        "AND remote = 'GLOBAL_PROCESS_STATE_VERIFIED' AND state IN ('verified', 'skipped') "
        f"AND {IS_TOLL_FREE} = ? AND (? IS NULL OR coalesce(region, ?) = ?) ORDER BY seq LIMIT ?"
    )
    rows = database.execute(query, (toll_free, region, region, region, limit)).fetchall()
    if not rows:
        return None
    cursor = database.execute(
        "INSERT INTO batches VALUES (NULL, ?, ?, 'sending', ?, NULL, NULL)",
        (toll_free, region or "US", at),
    )
    batch = cursor.lastrowid
    assert batch is not None  # noqa: S101 - an INSERT has one
    database.executemany(
        "UPDATE numbers SET batch = ? WHERE seq = ?", [(batch, seq) for seq, _ in rows]
    )
    database.clear_cache()
    return Batch(
        id=batch,
        toll_free=toll_free,
        region=region or "US",
        numbers=tuple(number for _, number in rows),
        state=BatchState.SENDING,
        at=at,
    )


def _batches(database: sqlite3.Connection) -> list[Batch]:
    found = database.execute(
        "SELECT id, toll_free, region, state, at, order_id, note FROM batches ORDER BY id"
    ).fetchall()
    members = "SELECT number FROM numbers WHERE batch = ? ORDER BY seq"
    return [
        Batch(
            id=row[0],
            toll_free=bool(row[1]),
            region=row[2],
            numbers=tuple(number for (number,) in database.execute(members, (row[0],))),
            state=BatchState(row[3]),
            at=row[4],
            order_id=row[5],
            note=row[6],
        )
        for row in found
    ]
