"""The open file of a SQLite journal: its lock, its thread, and what is not about one number."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from sinch_qn.bulk.journal import sqlite_queries, sqlite_work
from sinch_qn.bulk.journal.protocol import Batch, BatchState, Identity
from sinch_qn.bulk.journal.queries import EntryPage, EntryQuery, HistoryItem
from sinch_qn.bulk.journal.sqlite_deliveries import SqliteDeliveries
from sinch_qn.bulk.journal.sqlite_file import (
    accept,
    check_file,
    check_name,
    check_system,
    create,
    is_locked,
    lock,
)
from sinch_qn.bulk.journal.sqlite_schema import SELECT, check_content, check_tables, from_row
from sinch_qn.bulk.journal.sqlite_thread import Connection, DatabaseThread, connect
from sinch_qn.bulk.states import Entry
from sinch_qn.errors import JournalError

T = TypeVar("T")

_PAGE = 2000
"""Entries that `rows` reads at a time."""


class SqliteSession:
    """A journal's file, open or not."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # Resolve links: one file is one journal with one lock, under any name.
        self._path = Path(os.path.realpath(path))
        self._lock = ExitStack()
        self._thread: DatabaseThread | None = None
        self._reader = sqlite_queries.SqliteReader(self._path)
        self._own_batches: set[int] = set()
        """Those made since the journal was opened."""

    def has_runner(self) -> bool:
        """Return whether a run has the journal at this moment; it need not be open here."""
        return is_locked(self._path)

    async def _open_file(self, identity: Identity | None, *, running: bool) -> None:
        """Open the file, in a thread."""
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
        self._own_batches.clear()
        with ExitStack() as opened, self._errors("cannot be used"):
            check_system()
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
        # To its end: a cancelled caller leaves no lock behind.
        await asyncio.shield(asyncio.ensure_future(self._finish(thread)))

    async def _finish(self, thread: DatabaseThread) -> None:
        await self._reader.finish()

        def finish() -> None:
            try:
                thread.close()
            finally:
                self._lock.close()

        await asyncio.get_running_loop().run_in_executor(None, finish)

    async def identity(self) -> Identity:
        """Return the project and the server that the journal belongs to."""

        def read(database: Connection) -> Identity:
            written = dict(database.execute("SELECT key, value FROM meta"))
            return Identity(written["project_id"], written["base_url"])

        return await self._read(read)

    def rows(self) -> Iterator[Entry]:
        """Yield all entries in the order they were added, a page at a time."""
        query = "SELECT seq, " + SELECT.removeprefix("SELECT ") + " WHERE seq > ? ORDER BY seq"
        with self._errors("cannot be read"):
            check_file(self._path, running=False)
            with contextlib.closing(connect(self._path)) as database:
                check_tables(database)
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

    async def find(
        self, query: EntryQuery, *, limit: int = 50, after: str | None = None
    ) -> EntryPage:
        """Return up to *limit* entries, those behind the cursor *after*."""
        return await self._ask(lambda db: sqlite_queries.find(db, query, limit, after))

    async def get_many(self, numbers: Collection[str]) -> dict[str, Entry]:
        """Return the entries of those of *numbers* that have one."""
        return await self._ask(lambda database: sqlite_queries.get_many(database, numbers))

    async def history(self, number: str) -> list[HistoryItem]:
        """Return what happened to *number*, oldest first."""
        return await self._ask(lambda database: sqlite_queries.history(database, number))

    async def keep_bookmark(self, name: str, value: str) -> str:
        """Store *value* as *name* if nothing is stored there; return what is."""
        return await self._write(lambda db: sqlite_queries.keep_bookmark(db, name, value))

    async def bookmarks(self, prefix: str) -> dict[str, str]:
        """Return all bookmarks whose name begins with *prefix*."""
        return await self._ask(lambda database: sqlite_queries.bookmarks(database, prefix))

    async def claim_batch(
        self, *, toll_free: bool, region: str | None, limit: int, at: float
    ) -> Batch | None:
        """Log the intent to text-enable up to *limit* verified numbers."""
        batch = await self._write(
            lambda db: sqlite_work.claim_batch(db, toll_free, region, limit, at)
        )
        if batch is not None:
            self._own_batches.add(batch.id)
        return batch

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

    async def interrupted_batches(self) -> list[Batch]:
        """Return the batches that are SENDING and whose runner is gone."""
        sending = [b for b in await self.batches() if b.state is BatchState.SENDING]
        return [batch for batch in sending if batch.id not in self._own_batches]

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

    async def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        with self._errors("cannot be read"):
            if self._thread is None:
                raise JournalError("the journal is not open")
            return await self._reader.ask(question)

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
