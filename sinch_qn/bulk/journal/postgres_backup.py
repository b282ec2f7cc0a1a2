"""A run in PostgreSQL, copied into a journal file as it was at one moment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from sinch_qn.bulk.journal.postgres_schema import NOW, SELECT, VERSION, from_row
from sinch_qn.bulk.journal.postgres_url import Address
from sinch_qn.bulk.journal.protocol import Identity
from sinch_qn.bulk.journal.sqlite_copy import new_copy
from sinch_qn.errors import JournalError

_PAGE = 5000
"""Rows read at a time."""


def back_up(address: Address, target: Path) -> bool:
    """Copy the run at *address* to the new file *target*; return whether no runner lives.

    One transaction reads all of it: what is committed meanwhile is not in the copy. Blocks. Raises
    `JournalError`.
    """
    try:
        with psycopg.connect(address.conninfo) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            return _copy(connection, address, target)
    except psycopg.Error as error:
        raise address.explain("cannot be copied", error) from None


def _copy(connection: psycopg.Connection[Any], address: Address, target: Path) -> bool:
    connection.execute("SET search_path TO sinch_qn")
    connection.execute("SET idle_in_transaction_session_timeout TO '5min'")  # a slow disk
    (version,) = connection.execute("SELECT version FROM meta").fetchone() or (0,)
    if version != VERSION:
        raise JournalError(
            f"{address.name}: the schema has version {version}, and this sinch_qn needs {VERSION}"
        )
    named = "SELECT id, project_id, base_url FROM runs WHERE name = %s"
    found = connection.execute(named, (address.run,)).fetchone()
    if found is None:
        raise JournalError(f"{address.name}: there is no such run")
    run, *identity = found
    live = connection.execute(_LIVE.encode(), (run,)).fetchone()
    (token,) = connection.execute(_TOKENS, (run, run)).fetchone() or (0,)
    with new_copy(target, Identity(*identity)) as copy:
        entries = _rows(connection, SELECT + " WHERE run = %s ORDER BY seq", run)
        copy.add_entries(map(from_row, entries))
        for table, query in _TABLES.items():
            copy.add_rows(table, _rows(connection, query, run))
        copy.reserve_tokens(token)
        copy.finish(complete=live is None)
    return live is None


def _rows(connection: psycopg.Connection[Any], query: str, run: int) -> Iterator[tuple[Any, ...]]:
    with connection.cursor(name="copying") as cursor:
        cursor.itersize = _PAGE
        yield from cursor.execute(query.encode(), (run,))


_LIVE = f"SELECT 1 FROM writers WHERE run = %s AND NOT reaped AND lease_end > {NOW} LIMIT 1"
_TOKENS = """
SELECT greatest(
    (SELECT coalesce(max(intent), 0) FROM log WHERE run = %s),
    (SELECT coalesce(max(intent), 0) FROM deliveries WHERE run = %s)
)
"""
_TABLES = {
    # Of an attempt, the one that was sent comes last, and is kept.
    "log": """
        SELECT operation, number, attempt, nth, intent, intent_at, outcome, outcome_at FROM log
        WHERE run = %s ORDER BY outcome IS NOT DISTINCT FROM 'not sent' DESC, intent
    """,
    "inbox": """
        SELECT id, number, attempt, code, received_at, status FROM inbox WHERE run = %s ORDER BY id
    """,
    "batches": """
        SELECT id, toll_free::integer, region, state, at, order_id, note FROM batches
        WHERE run = %s ORDER BY id
    """,
    "deliveries": """
        SELECT key, intent, array_to_string(numbers, ' '), state, at, note FROM deliveries
        WHERE run = %s
    """,
    "meta": "SELECT 'bookmark ' || name, value FROM bookmarks WHERE run = %s",
}
"""The rows of each table of a journal file."""
