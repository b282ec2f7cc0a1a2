"""The tables of a SQLite journal, and rows ⇄ entries."""

from __future__ import annotations

import functools
import operator
import sqlite3
from enum import Enum
from typing import Any

import attrs

from sinch_qn.bulk.journal.protocol import Identity, check_identity
from sinch_qn.bulk.journal.sqlite_file import VERSION
from sinch_qn.bulk.states import ChallengeState, Entry
from sinch_qn.errors import JournalError
from sinch_qn.models import GlobalProcessState
from sinch_qn.phone import TOLL_FREE_PREFIXES

_FIRST = """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE numbers (
        seq INTEGER PRIMARY KEY,
        number TEXT NOT NULL UNIQUE,
        ref TEXT,
        line INTEGER,
        state TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        intent INTEGER,
        codes_used INTEGER NOT NULL,
        codes_waiting INTEGER NOT NULL,
        called_at REAL,
        settled_at REAL,
        due REAL NOT NULL,
        window_end REAL,
        remote TEXT,
        region TEXT,
        added INTEGER NOT NULL,
        note TEXT,
        to_ring INTEGER NOT NULL,
        tries INTEGER NOT NULL,
        batch INTEGER,
        todo INTEGER NOT NULL
    );
    CREATE INDEX numbers_todo ON numbers (todo, due, seq) WHERE todo > 0;
    CREATE INDEX numbers_to_enable ON numbers (seq)
        WHERE batch IS NULL AND remote = 'GLOBAL_PROCESS_STATE_VERIFIED';
    CREATE INDEX numbers_batch ON numbers (batch) WHERE batch IS NOT NULL;
    CREATE INDEX numbers_invalid ON numbers (line) WHERE state = 'invalid';
    CREATE TABLE counts (state TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
    -- New and removed rows are counted here; changed ones once for each commit, by
    -- `Connection.flush_counts`.
    CREATE TRIGGER numbers_added AFTER INSERT ON numbers BEGIN
        INSERT INTO counts VALUES (new.state, 1) ON CONFLICT (state) DO UPDATE SET n = n + 1;
    END;
    CREATE TRIGGER numbers_removed AFTER DELETE ON numbers BEGIN
        UPDATE counts SET n = n - 1 WHERE state = old.state;
    END;
    CREATE TABLE log (
        operation TEXT NOT NULL,
        number TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        nth INTEGER NOT NULL,
        intent INTEGER NOT NULL,
        intent_at REAL NOT NULL,
        outcome TEXT,
        outcome_at REAL,
        PRIMARY KEY (operation, number, attempt, nth)
    ) WITHOUT ROWID;
    CREATE TABLE inbox (
        id INTEGER PRIMARY KEY,
        number TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        code TEXT NOT NULL,
        received_at REAL NOT NULL,
        status TEXT NOT NULL,
        UNIQUE (number, attempt, code)
    );
    CREATE TABLE batches (
        id INTEGER PRIMARY KEY,
        toll_free INTEGER NOT NULL,
        region TEXT NOT NULL,
        state TEXT NOT NULL,
        at REAL NOT NULL,
        order_id TEXT,
        note TEXT
    );
    -- Emails and the like: `deliveries.Deliveries`.
    CREATE TABLE deliveries (
        key TEXT PRIMARY KEY,
        intent INTEGER NOT NULL,
        numbers TEXT NOT NULL,
        state TEXT NOT NULL,
        at REAL NOT NULL,
        note TEXT
    ) WITHOUT ROWID;
"""

_SECOND = """
    CREATE INDEX numbers_ref ON numbers (ref) WHERE ref IS NOT NULL;
"""

_THIRD = """
    ALTER TABLE numbers ADD COLUMN requested_at REAL;
    DROP INDEX numbers_todo;
    -- Requested calls that are due at once are made in the order of their requests.
    CREATE INDEX numbers_todo ON numbers (todo, due, requested_at, seq) WHERE todo > 0;
    -- A recall that is still to be called is a request; when it was made is not known.
    UPDATE numbers SET requested_at = CAST(strftime('%s', 'now') AS REAL),
        todo = CASE todo WHEN 1 THEN 7 WHEN 2 THEN 6 ELSE todo END
        WHERE state IN ('pending', 'verifying') AND to_ring AND attempt > 0;
"""

MIGRATIONS = (_FIRST, _SECOND, _THIRD)
"""Forward only: a file of version n becomes n + 1 by the n-th. Never change one, append."""

assert len(MIGRATIONS) == VERSION  # noqa: S101 - of this file and `sqlite_file`

_FIELDS = tuple(field.name for field in attrs.fields(Entry))
_ENUMS = (_FIELDS.index("state"), _FIELDS.index("remote"))
_values = operator.attrgetter(*_FIELDS)
_STATES = {state.value: state for state in ChallengeState}

SELECT = f"SELECT {', '.join(_FIELDS)} FROM numbers"  # noqa: S608 - constants only
INSERT = (
    f"INSERT OR IGNORE INTO numbers ({', '.join(_FIELDS)}, todo) "  # noqa: S608 - as above
    f"VALUES ({', '.join('?' * (len(_FIELDS) + 1))})"
)
IS_TOLL_FREE = f"substr(number, 1, 5) IN ({', '.join(map(repr, TOLL_FREE_PREFIXES))})"


def check_content(
    database: sqlite3.Connection, identity: Identity | None, *, running: bool
) -> None:
    """Refuse a damaged journal or another project's; a runner makes what the schema lacks."""
    if running:
        (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise JournalError(f"the journal is damaged: {verdict}")
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if not running:  # a runner may be changing it, under its lock
        check_tables(database)
    elif version < VERSION:  # 0: its first runner ended before it had created the tables
        database.execute("PRAGMA journal_mode = WAL")
        steps = "".join(MIGRATIONS[version:])
        database.executescript(f"BEGIN IMMEDIATE; {steps}; PRAGMA user_version = {VERSION}; COMMIT")
    if identity is None:
        return
    mine = attrs.asdict(identity)
    written = dict(database.execute("SELECT key, value FROM meta"))
    if not mine.keys() <= written.keys():
        database.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", mine.items())
        written = dict(database.execute("SELECT key, value FROM meta"))
    check_identity(Identity(**{name: written[name] for name in mine}), identity)


def check_tables(database: sqlite3.Connection) -> None:
    """Refuse a file whose tables are of an older version, or missing. Raises `JournalError`."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if not version:
        raise JournalError("the journal is empty: start its run once")
    if version < VERSION:
        raise JournalError(
            f"an older sinch_qn wrote this journal (version {version}; this one needs {VERSION}): "
            "go on with its run once, which upgrades it"
        )


def from_row(row: tuple[Any, ...]) -> Entry:
    """Return the entry in a row of `SELECT`."""
    values = dict(zip(_FIELDS, row, strict=True))
    values["state"] = _STATES[values["state"]]
    values["added"] = bool(values["added"])
    values["to_ring"] = bool(values["to_ring"])
    if values["remote"] is not None:
        values["remote"] = GlobalProcessState(values["remote"])
    return Entry(**values)


def to_row(entry: Entry) -> tuple[Any, ...]:
    """Return the values of `INSERT` for *entry*."""
    values = list(_values(entry))
    for index in _ENUMS:
        values[index] = _stored(values[index])
    return (*values, entry.todo.value)


def _stored(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


def update(before: Entry, after: Entry) -> tuple[str, tuple[Any, ...]] | None:
    """Return the statement that writes the difference; each column in it costs its indexes."""
    changed = {
        name: _stored(new)
        for name, old, new in zip(_FIELDS, _values(before), _values(after), strict=True)
        if old is not new and old != new
    }
    if before.todo is not after.todo:
        changed["todo"] = after.todo.value
    return (_update(*changed), (*changed.values(), after.number)) if changed else None


@functools.cache  # a few dozen combinations
def _update(*columns: str) -> str:
    values = ", ".join(f"{column} = ?" for column in columns)
    return f"UPDATE numbers SET {values} WHERE number = ?"  # noqa: S608 - our own names
