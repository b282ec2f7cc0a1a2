"""One connection of a PostgreSQL journal: its settings, its checks, statements in round trips."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import AsyncConnection

from sinch_qn.bulk.journal.postgres_schema import LOCK, NOW, OLDEST_SERVER, VERSION, schema_sql
from sinch_qn.bulk.journal.postgres_url import Address
from sinch_qn.errors import JournalError

_log = logging.getLogger("sinch_qn")

_TRIP_TIMEOUT = 30.0
"""Seconds for one round trip; a server that takes longer is gone."""

_SETTINGS = {
    "search_path": "sinch_qn",
    "synchronous_commit": "on",
    "client_encoding": "UTF8",
    # A process that was stopped in the middle of a transaction must not hold its locks for long.
    "idle_in_transaction_session_timeout": "5s",
    "lock_timeout": "10s",
    # Each statement looks a few rows up by an index. A new run has no statistics, and its states
    # move faster than they are taken: they would have whole tables scanned.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
}

_CLOCK_PROBES = 3


class Statement(NamedTuple):
    """A statement and its parameters, or several sets of them: then it has no rows."""

    sql: str
    parameters: Sequence[Any] = ()
    sets: Sequence[Sequence[Any]] = ()


class Reply:
    """The result of one statement, once its round trip is made."""

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self.count = 0


class Connection:
    """A connection for one coroutine at a time; broken for good by its first lost trip."""

    def __init__(self, connection: AsyncConnection[tuple[Any, ...]]) -> None:
        self._connection = connection

    @property
    def closed(self) -> bool:
        """Whether it is closed, or was lost."""
        return self._connection.closed

    async def notified(self) -> None:
        """Wait until a notification comes on a channel that it listens to."""
        async for _ in self._connection.notifies(stop_after=1):
            pass

    async def trip(self, statements: Sequence[Statement]) -> list[Reply]:
        """Execute *statements* in one round trip; return their results. Raises `psycopg.Error`."""
        cursors = []
        try:
            with self._limited():
                async with self._connection.pipeline():
                    for sql, parameters, sets in statements:
                        cursor = self._connection.cursor()
                        if sets:  # sent together, for less than one by one
                            await cursor.executemany(sql.encode(), sets)
                        else:
                            await cursor.execute(sql.encode(), parameters or None)
                        cursors.append(cursor)
        except asyncio.CancelledError:
            await self._connection.close()  # in the middle of a trip it is of no more use
            raise
        replies = []
        for cursor in cursors:
            reply = Reply()
            reply.count = cursor.rowcount
            if cursor.description is not None:
                reply.rows = await cursor.fetchall()
            replies.append(reply)
        return replies

    async def rollback(self) -> None:
        """End a transaction that failed, so that the connection can be used again."""
        await self.trip([Statement("ROLLBACK")])

    async def close(self) -> None:
        """Close it."""
        await self._connection.close()

    @contextlib.contextmanager
    def _limited(self) -> Iterator[None]:
        """Cut the connection if a trip takes too long: the server may be stopped, not gone."""
        timer = asyncio.get_running_loop().call_later(_TRIP_TIMEOUT, self.cut)
        try:
            yield
        finally:
            timer.cancel()

    def cut(self) -> None:
        """Make what waits for the server fail now."""
        with (
            contextlib.suppress(OSError, psycopg.Error),
            socket.socket(fileno=socket.dup(self._connection.fileno())) as peer,
        ):
            peer.shutdown(socket.SHUT_RDWR)


def is_passing(error: psycopg.Error) -> bool:
    """Return whether *error* goes away by itself: a lost connection, a restart, a deadlock."""
    return error.sqlstate is None or error.sqlstate[:2] in _PASSING


_PASSING = ("08", "25", "40", "53", "55", "57")
"""Classes: connection, transaction state (a standby), rollback, resources, locks, operator."""


async def connect(address: Address, role: str) -> Connection:
    """Connect as *role*, which the server's activity view shows. Raises `psycopg.Error`."""
    name = f"sinch-qn:{address.run}:{role}".encode()[:63].decode(errors="ignore")
    raw = await AsyncConnection.connect(address.conninfo, autocommit=True, application_name=name)
    connection = Connection(raw)
    try:
        set_all = [f"SET {key} TO '{value}'" for key, value in _SETTINGS.items()]
        await connection.trip([Statement(each) for each in set_all])
    except BaseException:
        await connection.close()
        raise
    return connection


async def check_server(connection: Connection, *, require_durable: bool) -> None:
    """Refuse a server that could lose commits; warn if a failover could. Raises `JournalError`."""
    settings, standbys = await connection.trip(
        [
            Statement(
                "SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), "
                "current_setting('fsync'), current_setting('synchronous_standby_names'), "
                "current_setting('server_encoding')"
            ),
            Statement("SELECT count(*) FROM pg_stat_replication"),
        ]
    )
    ((version, in_recovery, fsync, synchronous, encoding),) = settings.rows
    if version < OLDEST_SERVER:
        raise JournalError(f"PostgreSQL {OLDEST_SERVER // 10000} or newer is needed")
    if encoding != "UTF8":
        raise JournalError(f"the database's encoding is {encoding}: create it with ENCODING 'UTF8'")
    if in_recovery:
        raise JournalError("this server is a standby, which cannot be written: name the primary")
    if fsync == "off" and require_durable:
        raise JournalError(
            "this server runs with fsync = off: after a crash it could have phones called twice. "
            "Switch it on, or say require_durable=False for a trial"
        )
    if standbys.rows[0][0] and not synchronous:
        _log.warning(
            "the database has asynchronous standbys only: a failover to one can lose the last "
            "calls, whose phones are called again: set synchronous_standby_names"
        )


async def schema_version(connection: Connection) -> int:
    """Return the version of the schema; 0 if there is none."""
    # Not to_regclass: it answers from a cache, which a wait for an advisory lock leaves stale.
    (exists,) = await connection.trip(
        [
            Statement(
                "SELECT 1 FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace "
                "WHERE nspname = 'sinch_qn' AND relname = 'meta'"
            )
        ]
    )
    if not exists.rows:
        return 0
    (found,) = await connection.trip([Statement("SELECT version FROM sinch_qn.meta")])
    return int(found.rows[0][0])


async def migrate(connection: Connection, *, only_new: bool) -> int:
    """Bring the schema to the latest version, one process at a time; return the one before.

    *only_new*: create it if there is none, and leave an older one as it is.
    """
    await connection.trip([Statement("BEGIN"), Statement(f"SELECT pg_advisory_xact_lock({LOCK})")])
    version = await schema_version(connection)
    if version < VERSION and not (only_new and version):
        script = schema_sql(version).split(";\n")
        await connection.trip([Statement(each) for each in script if each.strip()])
    elif version > VERSION:
        schema_sql(version)  # refuses it
    await connection.trip([Statement("COMMIT")])
    return version


async def clock_offset(connection: Connection, monotonic: Callable[[], float]) -> float:
    """Return the seconds from this process's *monotonic* clock to the database's clock."""
    best = (float("inf"), 0.0)
    for _ in range(_CLOCK_PROBES):
        sent = monotonic()
        (reply,) = await connection.trip([Statement(f"SELECT {NOW}")])
        received = monotonic()
        best = min(best, (received - sent, reply.rows[0][0] - (sent + received) / 2))
    return best[1]


@contextlib.asynccontextmanager
async def connected(address: Address, role: str) -> AsyncIterator[Connection]:
    """Connect for a while; what goes wrong is a `JournalError`."""
    try:
        connection = await connect(address, role)
    except psycopg.Error as error:
        raise address.explain("cannot be reached", error) from None
    try:
        yield connection
    except psycopg.Error as error:
        raise address.explain("failed", error) from None
    except JournalError as error:
        raise JournalError(f"{address.name}: {error}") from error.__cause__
    finally:
        await connection.close()
