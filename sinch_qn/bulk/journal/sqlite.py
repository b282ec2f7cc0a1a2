"""A journal in one SQLite file: WAL, fsync on every commit, one writer thread, group commit."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from sinch_qn.bulk import outcomes
from sinch_qn.bulk.journal import sqlite_work
from sinch_qn.bulk.journal.local_runner import LocalRunner
from sinch_qn.bulk.journal.protocol import (
    ADVANCED,
    Identity,
    Readiness,
    RunSettings,
    Submission,
    invalid_line,
)
from sinch_qn.bulk.journal.sqlite_schema import INSERT, SELECT, to_row
from sinch_qn.bulk.journal.sqlite_session import SqliteSession
from sinch_qn.bulk.journal.sqlite_thread import Connection
from sinch_qn.bulk.permits import Permits, Told, Turn, holds_slot
from sinch_qn.bulk.states import ChallengeState, Change, Entry, Todo

T = TypeVar("T")

_PAGE = 2000
"""Entries that `rows` reads at a time."""


class SqliteJournal(SqliteSession):
    """A run's journal in the file *path*; created if missing, readable by its owner only.

    One process is the runner; others submit codes and read. An OS lock on `PATH.lock` excludes a
    second runner, and is released when its process ends, however it ends.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(path)
        self._runner = LocalRunner()
        self._has_reaped = False
        self._is_told_paused = True
        self.clock = clock

    def now(self) -> float:
        """Return the wall clock's time."""
        return self.clock()

    async def open(
        self,
        identity: Identity | None,
        *,
        running: bool,
        settings: RunSettings | None = None,
        calls: bool = True,
    ) -> None:
        """Open the file; only a runner may create it.

        Raises `JournalError` and leaves the file as it was if it is no journal, is damaged,
        is of a newer version or another project, has a second name, lacks its write-ahead log, or
        if another run is using it. A file that cannot be written can be read.
        """
        await self._open_file(identity, running=running)
        self._runner, self._has_reaped = LocalRunner(), False
        try:
            if settings is not None and calls:
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
        await self._tell(settings, paused=True)

    async def _tell(self, settings: RunSettings, *, paused: bool) -> None:
        """Write down for other processes how the run stands."""
        self._is_told_paused = paused
        await self._write(lambda database: sqlite_work.save_standing(database, settings, paused))

    async def add(self, entries: Sequence[Entry]) -> int:
        """Store the entries whose number is new, or was INVALID and no longer is."""
        rows = [to_row(entry) for entry in entries]
        valid = [(e.number,) for e in entries if e.state is not ChallengeState.INVALID]

        def write(database: Connection) -> int:
            sqlite_work.remove_invalid(database, "number = ?", valid)
            return database.executemany(INSERT, rows).rowcount

        added = await self._write(write)
        self._runner.recount()
        return added

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
            due = sum([await self.backlog(todo, limit) for todo in self._runner.calls])
            self._runner.counted(min(due, limit), limit)
        permits = self._runner.permits(told, want)
        if permits.paused is not self._is_told_paused:
            await self._tell(self._runner.settings, paused=permits.paused)
        return permits

    async def readiness(self) -> Readiness:
        """Return whether calls are made now."""
        settings, paused = await self._read(sqlite_work.standing)
        has_runner = self._runner.calls_now or await asyncio.to_thread(self.has_runner)
        return Readiness(settings=settings, has_runner=has_runner, paused=paused)

    async def start_call(
        self, turn: Turn, opens_in: Callable[[str, float], float] | None = None
    ) -> Entry | None:
        """Use *turn*: commit the intent to call the number that is due longest."""
        now, slots = self.now(), self._runner.slots
        entry = None
        if slots.take(turn, asyncio.get_running_loop().time()):
            calls = self._runner.calls
            entry = await self._write(lambda db: sqlite_work.start_call(db, now, calls, opens_in))
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
        query = (
            SELECT
            + " WHERE todo = ? AND todo > 0 AND due <= ? ORDER BY due, requested_at, seq LIMIT ?"
        )
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

    async def counts(self) -> Mapping[ChallengeState, int]:
        """Return the number of entries in each state."""

        def read(database: Connection) -> Mapping[ChallengeState, int]:
            database.flush_counts()
            found = dict(database.execute("SELECT state, n FROM counts"))
            return {state: found.get(state.value, 0) for state in ChallengeState}

        return await self._read(read)
