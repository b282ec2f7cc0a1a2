"""A run in PostgreSQL as its operator sees and steers it: its runners, its settings, its pace."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs

from sinch_qn.bulk.journal.postgres_connection import (
    Connection,
    Reply,
    Statement,
    connected,
    schema_version,
)
from sinch_qn.bulk.journal.postgres_schema import NOW, to_text
from sinch_qn.bulk.journal.postgres_url import parse_url
from sinch_qn.bulk.journal.protocol import RunSettings
from sinch_qn.bulk.pacing import Pacing
from sinch_qn.bulk.states import Todo
from sinch_qn.errors import JournalError

_TODOS = [todo.value for todo in Todo if todo.value > 0]

_RATE_WINDOW = 60.0
"""Seconds of calls that a runner's rate is counted over."""


@attrs.frozen(kw_only=True)
class Runner:
    """A process that works on the run."""

    name: str
    """Its host and process id."""
    version: str
    lease_left: float
    """Seconds; below zero: it was not heard of in time, and its intents wait for the others."""
    calls_per_second: float
    """Over the last minute."""


@attrs.frozen(kw_only=True)
class Standing:
    """What the runners of a run share at this moment."""

    runners: Sequence[Runner]
    ringing: int
    max_ringing: int
    rate: float
    """Calls a second of the whole run, as slowed by rate limiting; 0 while paused."""
    paused_since: float | None
    """Seconds since the epoch; 0: since it began; None: it is not paused."""
    at_risk: int
    """Calls in flight: those that an outage would leave UNKNOWN."""
    max_unknown: int
    oldest_due: float | None
    """Seconds for which the number that is due longest has waited; None: none has a time."""
    has_open_numbers: bool
    """Whether something is left to do, now or later."""
    stopped: str | None
    """Why one runner stopped the whole run."""


class PostgresControl:
    """The run at *url*, such as `postgresql://host/database?run=january`. Opens no journal.

    Each method connects for itself, and raises `JournalError`.
    """

    def __init__(self, url: str, *, allow_insecure: bool = False) -> None:
        self._address = parse_url(url, allow_insecure=allow_insecure)

    async def exists(self) -> bool:
        """Return whether the run was ever started; its schema may be missing, too."""
        async with connected(self._address, "control") as connection:
            return bool(await schema_version(connection) and await self._find(connection))

    async def schema_version(self) -> int:
        """Return the version of the schema; 0 if there is none."""
        async with connected(self._address, "control") as connection:
            return await schema_version(connection)

    async def settings(self) -> RunSettings:
        """Return the settings that the first of its runners began with."""
        async with self._opened() as (connection, run):
            (reply,) = await connection.trip(
                [Statement("SELECT settings FROM runs WHERE id = %s", (run,))]
            )
            ((written,),) = reply.rows
            if written is None:
                raise JournalError("no runner has begun yet: sinch-qn run FILE --journal URL")
            return RunSettings(**written)

    async def set_pace(
        self, *, calls_per_second: float | None = None, max_ringing: int | None = None
    ) -> RunSettings:
        """Change the pace of the whole run from the next turn on; return its settings.

        Runners that start later have to be given the new values, too.
        """
        async with self._opened() as (connection, run):
            query = (
                "SELECT p.value, r.settings FROM pacing AS p JOIN runs AS r ON r.id = p.run "
                "WHERE p.run = %s FOR UPDATE"
            )
            _, reply = await connection.trip([Statement("BEGIN"), Statement(query, (run,))])
            if not reply.rows or reply.rows[0][1] is None:
                raise JournalError("no runner has begun yet: sinch-qn run FILE --journal URL")
            ((value, written),) = reply.rows
            settings = RunSettings(**written)
            settings = attrs.evolve(
                settings,
                calls_per_second=calls_per_second or settings.calls_per_second,
                max_ringing=max_ringing or settings.max_ringing,
            )
            pacing = Pacing(**value).at_rate(settings.calls_per_second, settings.max_ringing)
            await connection.trip(
                [
                    Statement(
                        "UPDATE pacing SET value = %s WHERE run = %s", (to_text(pacing), run)
                    ),
                    Statement(
                        "UPDATE runs SET settings = %s WHERE id = %s", (to_text(settings), run)
                    ),
                    Statement("COMMIT"),
                ]
            )
            return settings

    async def standing(self) -> Standing:
        """Return who works on the run, and what they share."""
        async with self._opened() as (connection, run):
            rows = await connection.trip(
                [
                    Statement(_RUNNERS, (_RATE_WINDOW, _RATE_WINDOW, run, run)),
                    Statement(_SLOTS, (run,)),
                    Statement(_OLDEST_DUE, (run, run, _TODOS, run)),
                    Statement(_PACING, (run,)),
                ]
            )
            return _standing(*rows)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[tuple[Connection, int]]:
        async with connected(self._address, "control") as connection:
            found = await self._find(connection)
            if not found:
                raise JournalError("there is no such run: start it once")
            yield connection, found[0]

    async def _find(self, connection: Connection) -> list[int]:
        """Return the id of the run, if it is there."""
        query = Statement("SELECT id FROM runs WHERE name = %s", (self._address.run,))
        (reply,) = await connection.trip([query])
        return [run for (run,) in reply.rows]


def _standing(runners: Reply, slots: Reply, oldest: Reply, paced: Reply) -> Standing:
    ((ringing, at_risk),) = slots.rows
    ((oldest_due, has_open_numbers),) = oldest.rows
    values: list[tuple[Any, ...]] = paced.rows or [(None, None)]
    ((value, stopped),) = values
    pacing = RunSettings().pacing() if value is None else Pacing(**value)
    return Standing(
        runners=[
            Runner(name=name, version=version, lease_left=left, calls_per_second=calls)
            for name, version, left, calls in runners.rows
        ],
        ringing=ringing,
        max_ringing=pacing.max_ringing,
        rate=pacing.rate,
        paused_since=pacing.paused_since if pacing.paused else None,
        at_risk=at_risk,
        max_unknown=pacing.max_unknown,
        oldest_due=oldest_due,
        has_open_numbers=has_open_numbers,
        stopped=stopped,
    )


_SET_PACING = "UPDATE pacing SET value = %s WHERE run = %s"
_SET_SETTINGS = "UPDATE runs SET settings = %s WHERE id = %s"
_RUNNERS = f"""
SELECT w.name, w.version, w.lease_end - {NOW}, coalesce(c.n, 0)::float8 / %s
FROM writers AS w LEFT JOIN (
    SELECT intent >> 32 AS writer, count(*) AS n FROM log
    WHERE operation = 'call' AND intent_at > {NOW} - %s AND run = %s GROUP BY 1
) AS c ON c.writer = w.id
WHERE w.run = %s AND w.lease_end IS NOT NULL AND NOT w.reaped ORDER BY w.id
"""
_SLOTS = f"""
SELECT count(*) FILTER (WHERE until > {NOW} AND held),
    count(*) FILTER (WHERE in_flight AND (number IS NOT NULL OR until > {NOW}))
FROM slots WHERE run = %s
"""
_OLDEST_DUE = f"""
SELECT {NOW} - min(first.due),
    EXISTS (SELECT 1 FROM numbers WHERE run = %s AND todo > 0)
    OR EXISTS (SELECT 1 FROM numbers WHERE run = %s AND writer IS NOT NULL)
FROM unnest(%s::smallint[]) AS t (todo), LATERAL (
    SELECT due FROM numbers
    WHERE run = %s AND todo = t.todo AND todo > 0 AND due > 0 AND due <= {NOW}
    ORDER BY due LIMIT 1
) AS first
"""
_PACING = """
SELECT p.value, r.stopped FROM runs AS r LEFT JOIN pacing AS p ON p.run = r.id WHERE r.id = %s
"""
