"""A journal in one SQLite file: WAL, fsync on every commit, one writer thread, group commit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from sinch_qn.bulk import outcomes
from sinch_qn.bulk.journal import sqlite_work
from sinch_qn.bulk.journal.local_runner import LocalRunner
from sinch_qn.bulk.journal.protocol import (
    ADVANCED,
    Batch,
    BatchState,
    Identity,
    RunSettings,
    Submission,
    invalid_line,
)
from sinch_qn.bulk.journal.sqlite_deliveries import SqliteDeliveries
from sinch_qn.bulk.journal.sqlite_file import (
    accept,
    check_file,
    check_name,
    check_sqlite,
    create,
    lock,
)
from sinch_qn.bulk.journal.sqlite_schema import INSERT, SELECT, check_content, from_row, to_row
from sinch_qn.bulk.journal.sqlite_thread import Connection, DatabaseThread, connect
from sinch_qn.bulk.permits import Permits, Told, Turn
from sinch_qn.bulk.states import ChallengeState, Change, Entry, Todo, holds_slot
from sinch_qn.errors import JournalError

T = TypeVar("T")

_PAGE = 2000
"""Entries that `rows` reads at a time."""


class SqliteJournal:
    """A run's journal in the file *path*; created if missing, readable by its owner only.

    One process is the runner; others submit codes and read. An OS lock on `PATH.lock` excludes a
    second runner, and is released when its process ends, however it ends.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, clock: Callable[[], float] = time.time
    ) -> None:
        # Resolve links: one file is one journal with one lock, under any name.
        self._path = Path(os.path.realpath(path))
        self._lock = ExitStack()
        self._thread: DatabaseThread | None = None
        self._runner = LocalRunner()
        self._has_reaped = False
        self.clock = clock

    def now(self) -> float:
        """Return the wall clock's time."""
        return self.clock()

    async def open(
        self, identity: Identity | None, *, running: bool, settings: RunSettings | None = None
    ) -> None:
        """Open the file; only a runner may create it.

        Raises `JournalError` and leaves the file as it was if it is no journal, is damaged,
        is of a newer version or another project, has a second name, lacks its write-ahead log, or
        if another run is using it. A file that cannot be written can be read.
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
        self._runner, self._has_reaped = LocalRunner(), False
        if settings is not None:
            try:
                await self._start(settings)
            except BaseException:
                await self.close()
                raise

    async def _start(self, settings: RunSettings) -> None:
        """Give the phones that may still ring their slots."""
        query, now = SELECT + " WHERE called_at > ? ORDER BY called_at", self.now()
        since = now - settings.ring_window
        called = await self._read(lambda db: sqlite_work.entries(db, query, since))
        self._runner.start(settings, [entry for entry in called if holds_slot(entry)], now)

    def _open(self, identity: Identity | None, running: bool) -> None:  # noqa: FBT001
        if self._thread is not None:
            raise JournalError(f"{self._path}: this journal is open already: leave its run first")
        with ExitStack() as opened, self._errors("cannot be used"):
            check_sqlite()
            exists, version = self._path.exists(), 0
            if exists and self._path.stat().st_size:
                version = check_file(self._path, running=running)
            elif not running:
                raise JournalError("there is no such journal")
            elif exists:
                check_name(self._path)
            held = opened.enter_context(ExitStack())
            if running:
                held.enter_context(lock(self._path))
                if not version:  # new, or its first runner ended before it had created the tables
                    create(self._path)
            database = connect(self._path)
            opened.callback(database.close)
            check_content(database, identity, running=running)
            if running:
                database.mark_open()
            self._thread, self._lock = DatabaseThread(database, str(self._path)), held
            opened.pop_all()

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Raise what goes wrong with the file as a `JournalError` that names it."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise JournalError(f"{self._path}: the journal {what}: {error}") from error
        except JournalError as error:
            raise JournalError(f"{self._path}: {error}") from error.__cause__

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
                self._lock.close()

        await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, finish))

    async def add(self, entries: Sequence[Entry]) -> int:
        """Store the entries whose number is new, or was INVALID and no longer is."""
        rows = [to_row(entry) for entry in entries]
        valid = [(e.number,) for e in entries if e.state is not ChallengeState.INVALID]

        def write(database: Connection) -> int:
            sqlite_work.remove_invalid(database, "number = ?", valid)
            return database.executemany(INSERT, rows).rowcount

        return await self._write(write)

    async def remove_corrected(self, lines: Mapping[int, str]) -> None:
        """Remove the INVALID entries of *lines* of a file, except those of the numbers given."""
        condition = "line = ? AND number LIKE ? AND number <> ?"
        values = [(line, "%" + invalid_line("", line), number) for line, number in lines.items()]
        await self._write(lambda database: sqlite_work.remove_invalid(database, condition, values))

    async def get(self, number: str) -> Entry | None:
        """Return the entry of *number*."""
        return await self._read(lambda database: database.entry(number))

    async def apply(self, changes: Sequence[Change]) -> list[Entry | None]:
        """Apply each change that `step` allows."""
        applied = await self._write(lambda db: [sqlite_work.apply(db, each) for each in changes])
        self._runner.changed(changes, applied, self.now())
        return applied

    async def submit_code(
        self, number: str, code: str, at: float
    ) -> tuple[Submission, Entry | None]:
        """Put *code* into the inbox of *number*."""
        result = await self._write(lambda database: sqlite_work.submit(database, number, code, at))
        if result[1] is not None:
            self._runner.update(result[1])
        return result

    # ---- for the runner ------------------------------------------------------------------------

    async def permits(self, told: Sequence[Told], want: int) -> Permits:
        """Tell how calls ended, and ask for up to *want* turns."""
        if limit := self._runner.to_count(want):
            self._runner.counted(await self.backlog(Todo.CALL, limit), limit)
        return self._runner.permits(told, want)

    async def start_call(
        self, turn: Turn, opens_in: Callable[[str, float], float] | None = None
    ) -> Entry | None:
        """Use *turn*: commit the intent to call the number that is due longest."""
        now, slots = self.now(), self._runner.slots
        entry = None
        if slots.take(turn, asyncio.get_running_loop().time()):
            entry = await self._write(lambda db: sqlite_work.start_call(db, now, opens_in))
            self._runner.call_started(entry)
        if entry is None:
            slots.give_up(turn)
        return entry

    async def take_code(self) -> tuple[Entry, str] | None:
        """Commit the intent to verify the oldest code of the number that is due longest."""
        now = self.now()
        taken = await self._write(lambda database: sqlite_work.take_code(database, now))
        if taken is not None:
            self._runner.update(taken[0])
        return taken

    async def claim(self, todo: Todo, limit: int, hold: float) -> list[Entry]:
        """Return up to *limit* entries with *todo* that are due; the claims are in memory."""
        query = SELECT + " WHERE todo = ? AND todo > 0 AND due <= ? ORDER BY due, seq LIMIT ?"
        parameters = (todo.value, self.now(), limit + self._runner.claims())
        due = await self._read(lambda db: sqlite_work.entries(db, query, *parameters))
        return self._runner.unclaimed(due, limit, hold)

    async def backlog(self, todo: Todo, limit: int | None = None) -> int:
        """Return how many entries with *todo* are due, counted up to *limit*."""
        rows = "SELECT 1 FROM numbers WHERE todo = ? AND todo > 0 AND due <= ? LIMIT ?"
        query = f"SELECT count(*) FROM ({rows})"  # noqa: S608 - constants only
        parameters = (todo.value, self.now(), -1 if limit is None else limit)
        return await self._read(lambda db: int(db.execute(query, parameters).fetchone()[0]))

    async def chore(self, what: str, hold: float) -> bool:  # noqa: ARG002 - there is one runner
        """Return True: this is the one runner."""
        return True

    async def reap(self, window: float) -> list[Entry]:
        """Commit the outcomes of the intents of the process before; nothing the second time."""
        if self._has_reaped:
            return []
        query = SELECT + " WHERE state IN ('calling', 'verifying')"
        found = await self._read(lambda database: sqlite_work.entries(database, query))
        changes = [outcomes.without_outcome(e, self.now(), window=window) for e in found]
        reaped = await self.apply(changes)
        self._has_reaped = True
        return [entry for entry in reaped if entry is not None]

    async def changed(self, timeout: float) -> None:
        """Wait for *timeout* seconds: a file does not tell."""
        await asyncio.sleep(timeout)

    async def open_numbers(self) -> bool:
        """Return whether any number is not settled."""
        if await self.next_due() is not None:
            return True
        return (await self.counts())[ChallengeState.CALLING] > 0

    async def stop_run(self, reason: str) -> None:
        """Stop the runner: its permits have the *reason*."""
        self._runner.stopped = reason

    async def next_due(self, *todos: Todo) -> float | None:
        """Return when the next entry (with one of *todos*) is due."""
        # One index read a kind: the minimum of the whole index would be a scan.
        query = "SELECT due FROM numbers WHERE todo = ? AND todo > 0 ORDER BY due LIMIT 1"

        def read(database: sqlite3.Connection) -> float | None:
            rows = [database.execute(query, (todo.value,)).fetchone() for todo in todos or Todo]
            return min((row[0] for row in rows if row is not None), default=None)

        return await self._read(read)

    async def advance_due(self, seconds: float, *, after: float) -> None:
        """Make the steps that are due *after* a time due *seconds* earlier."""
        query = "UPDATE numbers SET due = due - ? WHERE todo = ? AND todo > 0 AND due > ?"
        rows = [(seconds, todo.value, after) for todo in ADVANCED]

        def write(database: Connection) -> None:
            database.executemany(query, rows)
            database.clear_cache()

        await self._write(write)

    async def identity(self) -> Identity:
        """Return the project and the server that the journal belongs to."""

        def read(database: Connection) -> Identity:
            written = dict(database.execute("SELECT key, value FROM meta"))
            return Identity(written["project_id"], written["base_url"])

        return await self._read(read)

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
        with self._errors("cannot be read"):
            check_file(self._path, running=False)
            with contextlib.closing(connect(self._path)) as database:
                last = 0
                while page := database.execute(f"{query} LIMIT {_PAGE}", (last,)).fetchall():
                    last = page[-1][0]
                    yield from (from_row(row[1:]) for row in page)

    def backup(self, target: str | os.PathLike[str]) -> bool:
        """Copy the journal to the new file *target*, also during a run; works when closed, too.

        Returns True if a run can go on from the copy. During a run it cannot: the copy lacks the
        calls made since, so a runner refuses it until `accept`. Reads and writes files: call it in
        a thread. Raises `JournalError`.
        """
        with self._errors("cannot be copied"):
            check_file(self._path, running=False)
            with contextlib.closing(connect(self._path)) as database:
                return database.copy_to(Path(target))

    def accept(self) -> None:
        """Declare that a copy, or a file whose log is lost, lacks nothing: a person's word.

        A run on it calls the numbers that it shows as pending. Raises `JournalError` if nothing is
        missing.
        """
        with self._errors("cannot be used"):
            accept(self._path)

    async def claim_batch(
        self, *, toll_free: bool, region: str | None, limit: int, at: float
    ) -> Batch | None:
        """Log the intent to text-enable up to *limit* verified numbers."""
        return await self._write(
            lambda db: sqlite_work.claim_batch(db, toll_free, region, limit, at)
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
        return await self._read(sqlite_work.batches)

    @property
    def deliveries(self) -> SqliteDeliveries:
        """The messages that are delivered at most once; also beside a run."""
        return SqliteDeliveries(self._database)

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
