"""The tables of a PostgreSQL journal, its migrations, and rows ⇄ entries."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

import attrs
import orjson

from sinch_qn.bulk.states import ChallengeState, Entry
from sinch_qn.errors import JournalError
from sinch_qn.models import GlobalProcessState
from sinch_qn.phone import TOLL_FREE_PREFIXES

OLDEST_SERVER = 130000
"""Every statement runs on PostgreSQL 13."""

NOW = "(SELECT epoch())"
"""The time by the database's clock, in seconds since the epoch, as all times here.

A subquery: an index is not searched for the value of a function that changes by itself.
"""

_FIRST = """
CREATE FUNCTION epoch() RETURNS float8 LANGUAGE sql VOLATILE AS
    $$ SELECT extract(epoch FROM clock_timestamp())::float8 $$;
CREATE TABLE runs (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    project_id text NOT NULL,
    base_url text NOT NULL,
    settings jsonb,
    stopped text
);
-- Each journal that writes: a runner has a lease, of which `lease_end` is the end.
CREATE TABLE writers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run integer NOT NULL,
    name text NOT NULL,
    version text NOT NULL,
    calls boolean NOT NULL,
    seen float8 NOT NULL,
    lease_end float8,
    reaped boolean NOT NULL DEFAULT false,
    -- The number of its last commit: tells whether one was made whose response was lost.
    commits bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 20);
CREATE TABLE numbers (
    run integer NOT NULL,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    number text COLLATE "C" NOT NULL,
    ref text,
    line integer,
    state text COLLATE "C" NOT NULL,
    attempt integer NOT NULL,
    intent bigint,
    codes_used integer NOT NULL,
    codes_waiting integer NOT NULL,
    called_at float8,
    settled_at float8,
    due float8 NOT NULL,
    window_end float8,
    remote text COLLATE "C",
    region text,
    added boolean NOT NULL,
    note text,
    to_ring boolean NOT NULL,
    tries integer NOT NULL,
    batch bigint,
    todo smallint NOT NULL,
    -- Of an intent without an outcome: who committed it.
    writer bigint,
    PRIMARY KEY (run, number)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX numbers_in_order ON numbers (run, seq);
CREATE INDEX numbers_todo ON numbers (run, todo, due, seq) WHERE todo > 0;
CREATE INDEX numbers_open_intents ON numbers (run, writer) WHERE writer IS NOT NULL;
CREATE INDEX numbers_to_enable ON numbers (run, seq)
    WHERE batch IS NULL AND remote = 'GLOBAL_PROCESS_STATE_VERIFIED';
CREATE INDEX numbers_batch ON numbers (run, batch) WHERE batch IS NOT NULL;
CREATE INDEX numbers_invalid ON numbers (run, line) WHERE state = 'invalid';
-- Each writer counts in rows of its own; writer 0 has those of the others that ended.
CREATE TABLE counts (
    run integer NOT NULL,
    writer bigint NOT NULL,
    state text COLLATE "C" NOT NULL,
    n bigint NOT NULL,
    PRIMARY KEY (run, writer, state)
) WITH (fillfactor = 20);
CREATE TABLE log (
    run integer NOT NULL,
    operation text COLLATE "C" NOT NULL,
    number text COLLATE "C" NOT NULL,
    attempt integer NOT NULL,
    nth bigint NOT NULL,
    intent bigint NOT NULL,
    intent_at float8 NOT NULL,
    outcome text COLLATE "C",
    outcome_at float8
);
-- The last wall: an attempt is made once, unless it was not sent.
CREATE UNIQUE INDEX log_once ON log (run, number, operation, attempt, nth)
    WHERE outcome IS DISTINCT FROM 'not sent';
CREATE TABLE inbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run integer NOT NULL,
    number text COLLATE "C" NOT NULL,
    attempt integer NOT NULL,
    code text COLLATE "C" NOT NULL,
    received_at float8 NOT NULL,
    status text NOT NULL,
    UNIQUE (run, number, attempt, code)
);
CREATE TABLE batches (
    run integer NOT NULL,
    id bigint NOT NULL,
    toll_free boolean NOT NULL,
    region text NOT NULL,
    state text NOT NULL,
    at float8 NOT NULL,
    writer bigint NOT NULL,
    order_id text,
    note text,
    PRIMARY KEY (run, id)
);
-- Each call that may ring, or is about to: its turn, then its number.
CREATE TABLE slots (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run integer NOT NULL,
    writer bigint NOT NULL,
    number text COLLATE "C",
    until float8 NOT NULL,
    in_flight boolean NOT NULL DEFAULT true,
    -- The phone may still ring: no code of this call came.
    held boolean NOT NULL DEFAULT true
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX slots_run ON slots (run);
CREATE INDEX slots_number ON slots (run, number) WHERE number IS NOT NULL;
-- The one row that all runners of a run lock, for two round trips each time.
CREATE TABLE pacing (
    run integer PRIMARY KEY,
    value jsonb NOT NULL
) WITH (fillfactor = 10);
CREATE TABLE chores (
    run integer NOT NULL,
    what text NOT NULL,
    writer bigint NOT NULL,
    until float8 NOT NULL,
    PRIMARY KEY (run, what)
);
-- Emails and the like: `deliveries.Deliveries`.
CREATE TABLE deliveries (
    run integer NOT NULL,
    key text COLLATE "C" NOT NULL,
    intent bigint NOT NULL,
    numbers text[] NOT NULL,
    state text NOT NULL,
    at float8 NOT NULL,
    note text,
    PRIMARY KEY (run, key)
);
CREATE TABLE bookmarks (
    run integer NOT NULL,
    name text NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (run, name)
);
"""

_SECOND = """
-- Of the beginning only: a long text does not fit into an index.
CREATE INDEX numbers_ref ON numbers (run, left(ref, 100), seq) WHERE ref IS NOT NULL;
"""

_THIRD = """
ALTER TABLE numbers ADD COLUMN requested_at float8;
DROP INDEX numbers_todo;
-- Requested calls that are due at once are made in the order of their requests.
CREATE INDEX numbers_todo ON numbers (run, todo, due, requested_at, seq) WHERE todo > 0;
-- A recall that is still to be called is a request; when it was made is not known.
UPDATE numbers SET requested_at = epoch(),
    todo = CASE todo WHEN 1 THEN 7 WHEN 2 THEN 6 ELSE todo END
    WHERE state IN ('pending', 'verifying') AND to_ring AND attempt > 0;
"""

_MIGRATIONS = (_FIRST, _SECOND, _THIRD)
"""Forward only: a schema of version n becomes n + 1 by the n-th. Never change one, append."""

VERSION = len(_MIGRATIONS)

LOCK = 0x53_49_4E_43_48_51_4E  # "SINCHQN"
"""The advisory lock under which the schema changes."""

_FIELDS = tuple(field.name for field in attrs.fields(Entry))
_values = operator.attrgetter(*_FIELDS)
_TYPES = {
    "line": "integer",
    "attempt": "integer",
    "intent": "bigint",
    "codes_used": "integer",
    "codes_waiting": "integer",
    "called_at": "float8",
    "settled_at": "float8",
    "due": "float8",
    "window_end": "float8",
    "added": "boolean",
    "to_ring": "boolean",
    "tries": "integer",
    "batch": "bigint",
    "requested_at": "float8",
    "todo": "smallint",
    "writer": "bigint",
}
_STATES = {state.value: state for state in ChallengeState}
_COLUMNS = (*_FIELDS, "todo", "writer")
_RECORD = ", ".join(f"{name} {_TYPES.get(name, 'text')}" for name in _COLUMNS)
_OMITTED = {
    "state": "'pending'",
    "attempt": "0",
    "codes_used": "0",
    "codes_waiting": "0",
    "due": "0",
    "added": "false",
    "to_ring": "true",
    "tries": "0",
}
"""What is not in a row's JSON has its default; NULL, if it is not here."""

_ROW = {
    name: f"coalesce({name}, {_OMITTED[name]})" if name in _OMITTED else name for name in _COLUMNS
}
_RECORDS = (
    f"SELECT {', '.join(f'{value} AS {name}' for name, value in _ROW.items())} "
    f"FROM json_to_recordset(%s) AS c ({_RECORD})"
)

SELECT = f"SELECT {', '.join(_FIELDS)}, writer FROM numbers"
INSERT = f"""
WITH new AS (
    INSERT INTO numbers (run, {", ".join(_COLUMNS)}) SELECT %s, * FROM ({_RECORDS}) AS c
    ON CONFLICT (run, number) DO NOTHING RETURNING run, state
), counted AS (
    INSERT INTO counts SELECT run, %s, state, count(*) FROM new GROUP BY run, state
    ON CONFLICT (run, writer, state) DO UPDATE SET n = counts.n + excluded.n
)
SELECT count(*) FROM new
"""
_SET = ", ".join(f"{name} = c.{name}" for name in _COLUMNS if name != "number")
# By its place: without statistics a join by the number would read all rows of the run.
UPDATE = f"""
UPDATE numbers AS n SET {_SET} FROM (
    SELECT *, (SELECT ctid FROM numbers AS k WHERE k.run = %s AND k.number = r.number) AS place
    FROM ({_RECORDS}) AS r
) AS c WHERE n.ctid = c.place
"""
DELETE_INVALID = """
WITH gone AS (
    DELETE FROM numbers AS n
    USING json_to_recordset(%s) AS c (number text, line integer, ending text)
    WHERE n.run = %s AND n.state = 'invalid' AND {}
    AND EXISTS (SELECT 1 FROM counts AS k WHERE k.run = %s AND k.state = 'invalid' AND k.n > 0)
    RETURNING n.state
)
INSERT INTO counts SELECT %s, %s, state, -count(*) FROM gone GROUP BY state
ON CONFLICT (run, writer, state) DO UPDATE SET n = counts.n + excluded.n
"""
MOVE_COUNTS = """
WITH moved AS (
    DELETE FROM counts AS c WHERE run = %s AND writer <> 0
    AND NOT EXISTS (SELECT 1 FROM writers WHERE id = c.writer) RETURNING run, state, n
)
INSERT INTO counts SELECT run, 0, state, sum(n) FROM moved GROUP BY run, state
ON CONFLICT (run, writer, state) DO UPDATE SET n = counts.n + excluded.n
"""
IS_TOLL_FREE = f"left(number, 5) IN ({', '.join(map(repr, TOLL_FREE_PREFIXES))})"


def channel(run: int) -> str:
    """Return the channel on which submitters tell of what they wrote into *run*."""
    return f"sinch_qn_{run}"


def schema_sql(version: int = 0) -> str:
    """Return the SQL that brings a schema of *version* to the latest, for a review or by hand.

    0: there is none. Run it in one transaction.
    """
    if version > VERSION:
        raise JournalError(
            f"a newer sinch_qn made this schema (version {version}; this one knows up to {VERSION})"
        )
    create = """
CREATE SCHEMA sinch_qn;
SET LOCAL search_path TO sinch_qn;
CREATE TABLE meta (version integer NOT NULL);
INSERT INTO meta VALUES (0);
"""
    switch = "\nSET LOCAL search_path TO sinch_qn;\n"
    steps = "".join(_MIGRATIONS[version:])
    return (switch if version else create) + f"{steps}UPDATE meta SET version = {VERSION};\n"


def from_row(row: Sequence[Any]) -> Entry:
    """Return the entry in a row of `SELECT`."""
    values = dict(zip(_FIELDS, row, strict=False))
    values["state"] = _STATES[values["state"]]
    if values["remote"] is not None:
        values["remote"] = GlobalProcessState(values["remote"])
    return Entry(**values)


_DEFAULTS = _values(Entry(number=""))


def to_json(entries: Iterable[Entry], writers: Mapping[str, int | None] | None = None) -> str:
    """Return the rows of *entries* as `INSERT` and `UPDATE` take them."""
    rows = []
    for entry in entries:
        row: dict[str, object] = {
            name: _stored(value)
            for name, value, default in zip(_FIELDS, _values(entry), _DEFAULTS, strict=True)
            if value is not default and value != default
        }
        row["todo"] = entry.todo.value
        if writers is not None:
            row["writer"] = writers.get(entry.number)
        rows.append(row)
    return orjson.dumps(rows).decode()


def json_rows(rows: Iterable[Mapping[str, object]]) -> str:
    """Return *rows* as `json_to_recordset` takes them: many values in one parameter."""
    stored = [{name: _stored(value) for name, value in row.items()} for row in rows]
    return orjson.dumps(stored).decode()


def _stored(value: object) -> object:
    if isinstance(value, float) and math.isinf(value):
        return str(value)  # PostgreSQL's text for it as well; JSON has none
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")  # PostgreSQL has no NUL in texts
    return value.value if isinstance(value, Enum) else value


def to_text(value: attrs.AttrsInstance) -> str:
    """Return the fields of *value* as `jsonb` takes them."""
    return orjson.dumps(attrs.asdict(value)).decode()
