"""A journal in a PostgreSQL database: many runners and submitters share one run."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import attrs

try:
    import psycopg
except ImportError as error:
    raise ImportError(
        "PostgresJournal needs an extra: pip install 'sinch-qn[distributed]'"
    ) from error


from sinch_qn.bulk.journal import postgres_claims
from sinch_qn.bulk.journal.postgres_backup import back_up
from sinch_qn.bulk.journal.postgres_connection import (
    check_server,
    clock_offset,
    connected,
    is_passing,
    migrate,
)
from sinch_qn.bulk.journal.postgres_entrance import check_schema, enter
from sinch_qn.bulk.journal.postgres_lease import Lease, Seat
from sinch_qn.bulk.journal.postgres_listener import Listener
from sinch_qn.bulk.journal.postgres_schema import VERSION
from sinch_qn.bulk.journal.postgres_store import PostgresStore
from sinch_qn.bulk.journal.postgres_transaction import Job
from sinch_qn.bulk.journal.postgres_url import parse_url
from sinch_qn.bulk.journal.postgres_writer import Writer
from sinch_qn.bulk.journal.protocol import Identity, RunSettings
from sinch_qn.bulk.permits import Permits, Told, Turn
from sinch_qn.bulk.states import Change, Entry, Event, Todo
from sinch_qn.errors import JournalError

_SEND_BY = 2.0
"""Seconds after an intent was asked for in which its request may be sent."""

_CLOCK_CHORE = 120.0
"""Seconds within which all runners notice that the database's clock was set back."""

_RETRY = 0.5
"""Seconds between two requests for permits while the database is down."""


class PostgresJournal(PostgresStore):
    """A run's journal in the database at *url*, such as `postgresql://host/database?run=january`.

    Any number of runners and submitters may have it open. Needs the extra `sinch-qn[distributed]`.

    *require_durable*: refuse a server with `fsync = off`. *allow_insecure*: take a connection
    beyond this machine whose certificate is not verified. Leave the password to `PGPASSWORD`,
    `PGPASSFILE` or a `service`; no message contains it.
    """

    def __init__(
        self, url: str, *, require_durable: bool = True, allow_insecure: bool = False
    ) -> None:
        super().__init__(parse_url(url, allow_insecure=allow_insecure))
        self._require_durable = require_durable
        self._lease: Lease | None = None
        self._listener: Listener | None = None
        self._clock_offset = 0.0
        self._settings = RunSettings()
        self._told: list[Told] = []
        self._next_ask = 0.0
        self._last_permits = Permits()

    def __repr__(self) -> str:
        return f"PostgresJournal({self._address.name!r})"

    def now(self) -> float:
        """Return the time by the database's clock."""
        if self._lease is not None:
            return self._lease.now()
        return time.monotonic() + self._clock_offset

    async def open(
        self,
        identity: Identity | None,
        *,
        running: bool,
        settings: RunSettings | None = None,
        calls: bool = True,
    ) -> None:
        """Open the run; only a runner creates it, and the schema where there is none.

        Raises `JournalError` if the database cannot be reached, could lose commits, has an older or
        newer schema, or if the run is of another project or has other settings.
        """
        if self._writer is not None:
            raise JournalError(f"{self._address.name}: this journal is open already: leave its run")
        async with connected(self._address, "open") as connection:
            await check_server(connection, require_durable=self._require_durable)
            await check_schema(connection, running=running)
            self._clock_offset = await clock_offset(connection, time.monotonic)
            run, seat = await enter(
                connection, self._address.run, identity, settings, running=running, calls=calls
            )
        self._run = run
        self._settings = settings or RunSettings()
        writer = Writer(self._address, run, patient=running)
        if seat is not None:
            await self._begin(writer, seat, calls=calls and settings is not None)
        self._writer = writer
        self._listener = Listener(self._address, run)

    async def _begin(self, writer: Writer, seat: Seat, *, calls: bool) -> None:
        on_seat = partial(setattr, writer, "seat")
        lease = Lease(self._address, self._run, on_seat, on_failure=writer.fail, calls=calls)
        try:
            await lease.begin(seat)
        except BaseException as error:
            await writer.close()
            if isinstance(error, psycopg.Error):
                raise self._address.explain("cannot be used", error) from None
            raise
        self._lease = lease

    async def close(self) -> None:
        """Finish accepted jobs, and end the lease."""
        # Not open from here on: later jobs would wait for ever.
        writer, self._writer = self._writer, None
        if writer is not None:
            await asyncio.shield(self._end(writer))

    async def _end(self, writer: Writer) -> None:
        lease, self._lease = self._lease, None
        listener, self._listener = self._listener, None
        try:
            await self._reader.finish()
            await writer.close()
        finally:
            if lease is not None:
                await lease.end()
            if listener is not None:
                await listener.end()

    async def permits(self, told: Sequence[Told], want: int) -> Permits:
        """Tell which calls ended, and take up to *want* turns; wait for a database that is down.

        Asked again within `MIN_WAIT` it keeps what it was told, and gives no turns.
        """
        self._told += told
        rest = self._next_ask - time.monotonic()
        if rest > 0:
            return attrs.evolve(self._last_permits, turns=(), wait=rest)
        self._next_ask = time.monotonic() + postgres_claims.MIN_WAIT
        telling, self._told = self._told, []
        try:
            self._last_permits, telling = await self._ask_for_permits(telling, want)
        finally:
            self._told = [*telling, *self._told]  # to tell it twice changes nothing
        return self._last_permits

    async def _ask_for_permits(self, told: Sequence[Told], want: int) -> tuple[Permits, list[Told]]:
        lease = self._held_lease
        while True:
            try:
                async with lease.connection() as connection:
                    return await postgres_claims.permits(
                        connection,
                        self._run,
                        lease.seat.id,
                        told,
                        want,
                        calls=self._settings.calls,
                        time=asyncio.get_running_loop().time,
                    )
            except psycopg.Error as error:
                if not is_passing(error):
                    raise self._address.explain("failed", error) from None
            await asyncio.sleep(_RETRY)

    async def start_call(
        self, turn: Turn, opens_in: Callable[[str, float], float] | None = None
    ) -> Entry | None:
        """Commit the intent to call the number that is due longest; None if there is none."""
        asked = time.monotonic()
        settings, slot = self._settings, turn.slot
        job = Job(
            work=lambda tx: postgres_claims.start_call(tx, slot, opens_in, settings),
            slot=slot,
            picks=[(todo, 1) for todo in settings.calls],
        )
        entry: Entry | None = await self._commit_job(job)
        if entry is None or self._may_send(asked):
            return entry
        await self._withdraw(entry, Event.CALL_NOT_SENT, slot)
        return None

    async def take_code(self) -> tuple[Entry, str] | None:
        """Commit the intent to verify the oldest code of the number that is due longest."""
        asked = time.monotonic()
        job = Job(work=postgres_claims.take_code, picks=[(Todo.VERIFY, 1)])
        taken: tuple[Entry, str] | None = await self._commit_job(job)
        if taken is None or self._may_send(asked):
            return taken
        await self._withdraw(taken[0], Event.CODE_NOT_SENT)
        return None

    def _may_send(self, asked: float) -> bool:
        """Return whether a request may be sent whose intent was asked for at a monotonic time."""
        return self._held_lease.holds() and time.monotonic() - asked < _SEND_BY

    async def _withdraw(self, entry: Entry, event: Event, slot: int | None = None) -> None:
        note = "the journal took too long: not sent"
        change = Change(
            number=entry.number, event=event, at=self.now(), intent=entry.intent, note=note
        )
        await self._change(lambda tx: postgres_claims.withdraw(tx, change, slot), entry.number)

    async def claim(self, todo: Todo, limit: int, hold: float) -> list[Entry]:
        """Return up to *limit* due entries, kept from other claims for *hold* seconds."""
        picks = [(todo, limit)]
        job = Job(work=lambda tx: postgres_claims.claim(tx, todo, limit, hold), picks=picks)
        entries: list[Entry] = await self._commit_job(job)
        return entries

    async def advance_due(self, seconds: float, *, after: float) -> None:
        """Make the steps that are due *after* a time due earlier: one of the runners does it."""
        if await self.chore("clock", _CLOCK_CHORE):
            await super().advance_due(seconds, after=after)

    async def chore(self, what: str, hold: float) -> bool:
        """Return whether this runner does *what* for the next *hold* seconds; 0 gives it up."""
        return await self._commit(lambda tx: postgres_claims.chore(tx, what, hold))

    async def reap(self, window: float) -> list[Entry]:
        """Give the intents of runners that are gone their outcome; return the new entries."""
        is_steady = self._held_lease.is_steady()
        job = Job(work=lambda tx: postgres_claims.reap(tx, window, is_steady=is_steady), alone=True)
        entries: list[Entry] = await self._commit_job(job)
        return entries

    async def changed(self, timeout: float) -> None:
        """Return when a submitter wrote something, after *timeout* seconds at most."""
        if self._listener is None:
            raise JournalError(f"{self._address.name}: the journal is not open")
        await self._listener.heard(timeout)

    async def stop_run(self, reason: str) -> None:
        """Have all runners stop."""
        query = "UPDATE runs SET stopped = coalesce(stopped, %s) WHERE id = %s"
        await self._change(lambda tx: tx.execute(query, reason, tx.run))

    @property
    def _held_lease(self) -> Lease:
        if self._lease is None:
            raise JournalError(f"{self._address.name}: the journal is not open as a runner's")
        return self._lease

    async def init(self) -> None:
        """Create the schema `sinch_qn`, if there is none. Raises `JournalError`."""
        async with connected(self._address, "init") as connection:
            await check_server(connection, require_durable=self._require_durable)
            await migrate(connection, only_new=True)

    def backup(self, target: str | os.PathLike[str]) -> bool:
        """Copy the run to the new journal file *target*; works when the journal is closed, too.

        Returns True if a run can go on from the copy, on that file. While runners are at work it
        cannot: the copy lacks the calls made since, so a runner refuses it until `accept`. Reads a
        database and writes a file: call it in a thread. Raises `JournalError`.
        """
        return back_up(self._address, Path(target))

    async def upgrade(self) -> tuple[int, int]:
        """Bring the schema to this version; return the version before, and the one it has now.

        Raises `JournalError` if it is newer.
        """
        async with connected(self._address, "upgrade") as connection:
            await check_server(connection, require_durable=self._require_durable)
            return await migrate(connection, only_new=False), VERSION
