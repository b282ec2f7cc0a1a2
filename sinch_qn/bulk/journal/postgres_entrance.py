"""How a run in PostgreSQL is entered: the schema, the run's row, its settings, a seat."""

from __future__ import annotations

from typing import Any

from sinch_qn.bulk.journal.postgres_connection import Connection, Statement, migrate, schema_version
from sinch_qn.bulk.journal.postgres_lease import LEASE, Seat, take_seat
from sinch_qn.bulk.journal.postgres_schema import NOW, VERSION, schema_sql, to_text
from sinch_qn.bulk.journal.protocol import Identity, RunSettings, check_identity, check_settings
from sinch_qn.errors import JournalError


async def check_schema(connection: Connection, *, running: bool) -> None:
    """Refuse another version of the schema; a runner creates a missing one."""
    version = await schema_version(connection)
    if not version and running:
        await migrate(connection, only_new=True)
    elif not version:
        raise JournalError("this database has no journal: start its run once")
    elif version > VERSION:
        schema_sql(version)  # refuses it
    elif version < VERSION:
        raise JournalError(
            f"the schema is of an older version ({version}, this one needs {VERSION}): "
            "stop its runners, then: sinch-qn journal upgrade URL"
        )


async def enter(
    connection: Connection,
    name: str,
    identity: Identity | None,
    settings: RunSettings | None,
    *,
    running: bool,
    calls: bool,
) -> tuple[int, Seat | None]:
    """Return the id of the run *name*, and a runner's seat; a runner creates the run.

    A runner that *calls* with *settings* begins with them and a pace at rest if no other one lives;
    otherwise they must be the same. One that only adds numbers leaves the run's, if it has any.
    Raises `JournalError` and `psycopg.Error`.
    """
    if running and identity is not None:
        create = (
            "INSERT INTO runs (name, project_id, base_url) VALUES (%s, %s, %s) "
            "ON CONFLICT (name) DO NOTHING"
        )
        await connection.trip([Statement(create, (name, identity.project_id, identity.base_url))])
    query = "SELECT id, project_id, base_url, settings FROM runs WHERE name = %s FOR UPDATE"
    _, found = await connection.trip([Statement("BEGIN"), Statement(query, (name,))])
    if not found.rows:
        raise JournalError("there is no such run: start it once")
    ((run, project_id, base_url, written),) = found.rows
    if identity is not None:
        check_identity(Identity(project_id, base_url), identity)
    if settings is not None and (calls or written is None):
        await _settle_on(connection, run, written, settings)
    lease = LEASE if running else None
    is_calling = calls and settings is not None
    seat = await take_seat(connection, run, lease, calls=is_calling) if running else None
    await connection.trip([Statement("COMMIT")])
    return run, seat


async def _settle_on(
    connection: Connection, run: int, written: dict[str, Any] | None, settings: RunSettings
) -> None:
    """Agree with the other runners on *settings*; without any, write them."""
    live = f"SELECT 1 FROM writers WHERE run = %s AND calls AND NOT reaped AND lease_end > {NOW}"
    (others,) = await connection.trip([Statement(live, (run,))])
    if others.rows and written is not None:
        check_settings(RunSettings(**written), settings)
        return
    await connection.trip(
        [
            Statement(
                "UPDATE runs SET settings = %s, stopped = NULL WHERE id = %s",
                (to_text(settings), run),
            ),
            Statement(
                "INSERT INTO pacing VALUES (%s, %s) "
                "ON CONFLICT (run) DO UPDATE SET value = excluded.value",
                (run, to_text(settings.pacing())),
            ),
            Statement(_END_LEAKED_CALLS, (run,)),
        ]
    )


_END_LEAKED_CALLS = """
UPDATE slots AS s SET in_flight = false WHERE run = %s AND in_flight
AND NOT EXISTS (SELECT 1 FROM writers AS w WHERE w.id = s.writer AND NOT w.reaped)
"""
"""Calls that no runner will tell the end of any more: earlier versions left some behind."""
