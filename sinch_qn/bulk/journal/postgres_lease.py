"""A runner's lease on its run, and the clock of its database."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import platform
import time
from collections.abc import AsyncIterator, Callable, Iterator

import attrs
import psycopg

from sinch_qn._version import __version__
from sinch_qn.bulk.journal.postgres_connection import Connection, Statement, clock_offset, connect
from sinch_qn.bulk.journal.postgres_schema import NOW
from sinch_qn.bulk.journal.postgres_url import Address

_log = logging.getLogger("sinch_qn")

LEASE = 6.0
"""Seconds after which a runner that was not heard of counts as gone.

Until then its calls count as in flight, of which there are no more than `max_unknown`: so others
call less. Longer than a database takes to restart, and one that takes longer costs nothing: all
renew their leases before anybody takes over.
"""

RENEWAL = 1.0
"""Seconds between two renewals."""

_RETRY = 0.5
"""Seconds between two renewals while the database is down."""

MARGIN = 2.0
"""Seconds before its end in which a lease is no longer relied on."""

_CLOCK_INTERVAL = 30.0
"""Seconds between two looks at the database's clock."""


@attrs.define(eq=False)
class Seat:
    """A journal's row in `writers`."""

    id: int
    commits: int = 0
    """The number of its last commit."""
    _tokens: Iterator[int] = attrs.field(factory=lambda: itertools.count(1))

    def next_token(self) -> int:
        """Return a token for an intent, unique in the database."""
        return (self.id << 32) + next(self._tokens)


async def take_seat(connection: Connection, run: int, lease: float | None, *, calls: bool) -> Seat:
    """Add a row to `writers`, which begins a runner's lease. Raises `psycopg.Error`."""
    query = (
        "INSERT INTO writers (run, name, version, calls, seen, lease_end) "
        f"VALUES (%s, %s, %s, %s, {NOW}, {NOW} + %s) RETURNING id"
    )
    name = f"{platform.node()}:{os.getpid()}"
    (reply,) = await connection.trip([Statement(query, (run, name, __version__, calls, lease))])
    return Seat(reply.rows[0][0])


class Lease:
    """Renews a runner's lease in time, on the connection that its permits use as well.

    A runner that was gone for longer, and whose intents others have given an outcome, gets a new
    row: none of its old intents can be committed under it.
    """

    def __init__(
        self,
        address: Address,
        run: int,
        on_new_seat: Callable[[Seat], None],
        *,
        on_failure: Callable[[BaseException], None],
        calls: bool,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._run = run
        self._on_new_seat = on_new_seat
        self._on_failure = on_failure
        self._calls = calls
        self._monotonic = monotonic
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()
        self._seat: Seat | None = None
        self._end = 0.0
        self._kept_since = 0.0
        self._clock_offset = 0.0
        self._next_clock = 0.0
        self._task: asyncio.Task[None] | None = None

    async def begin(self, seat: Seat) -> None:
        """Keep the lease that came with *seat* from here on. Raises `psycopg.Error`."""
        self._seat = seat
        self._on_new_seat(seat)
        self._kept_since = self._monotonic()
        async with self.connection() as connection:
            await self._renew(connection)
        self._task = asyncio.create_task(self._keep())
        self._task.add_done_callback(self._kept)

    async def end(self) -> None:
        """Stop renewing it; the writer gives the seat up."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._connection is not None:
            await self._connection.close()

    @property
    def seat(self) -> Seat:
        """The runner's row."""
        assert self._seat is not None  # noqa: S101 - it has begun
        return self._seat

    def holds(self) -> bool:
        """Whether the lease is good for another moment, as far as is known here."""
        return self._monotonic() < self._end - MARGIN

    def is_steady(self) -> bool:
        """Whether it was kept for a whole lease without a gap.

        After an outage of the database all leases are over: whoever is back first must not take the
        others for gone.
        """
        return self.holds() and self._monotonic() - self._kept_since >= LEASE

    def now(self) -> float:
        """Return the time by the database's clock."""
        return self._monotonic() + self._clock_offset

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Have the connection for oneself. Raises `psycopg.Error`."""
        async with self._lock:
            if self._connection is None or self._connection.closed:
                self._connection = await connect(self._address, "lease")
                self._next_clock = 0.0
            if self._monotonic() >= self._next_clock:
                self._clock_offset = await clock_offset(self._connection, self._monotonic)
                self._next_clock = self._monotonic() + _CLOCK_INTERVAL
            try:
                yield self._connection
            except psycopg.Error:
                await self._connection.close()  # with whatever transaction is open
                raise

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(RENEWAL if self.holds() else _RETRY)
            try:
                async with self.connection() as connection:
                    await self._renew(connection)
            except psycopg.Error as error:
                _log.debug("%s", self._address.explain("cannot renew its lease", error))

    def _kept(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(error)

    async def _renew(self, connection: Connection) -> None:
        sent = self._monotonic()
        (reply,) = await connection.trip([Statement(_RENEW, (self.seat.id, LEASE))])
        if not reply.rows:
            _log.warning("%s: the lease was lost: others took over", self._address.name)
            await self._take_seat(connection)
            return
        self._end = sent + LEASE
        ((was_kept,),) = reply.rows
        if not was_kept:
            self._kept_since = sent

    async def _take_seat(self, connection: Connection) -> None:
        sent = self._monotonic()
        self._seat = await take_seat(connection, self._run, LEASE, calls=self._calls)
        self._end = sent + LEASE
        self._kept_since = sent
        self._on_new_seat(self._seat)


_RENEW = f"""
WITH mine AS (
    SELECT id, lease_end > {NOW} AS kept FROM writers WHERE id = %s AND NOT reaped FOR UPDATE
)
UPDATE writers SET lease_end = {NOW} + %s, seen = {NOW} FROM mine WHERE writers.id = mine.id
RETURNING kept
"""
