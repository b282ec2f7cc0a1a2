"""The units of work of a SQLite journal, each inside a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from itertools import chain, islice

import attrs
import orjson

from sinch_qn.bulk.journal.protocol import (
    CODE_STATUS_AFTER,
    MAX_POSTPONED,
    OUTSIDE_HOURS,
    Batch,
    BatchState,
    LoggedWrite,
    RunSettings,
    Submission,
    logged_write,
)
from sinch_qn.bulk.journal.sqlite_schema import IS_TOLL_FREE, from_row
from sinch_qn.bulk.journal.sqlite_thread import Connection
from sinch_qn.bulk.states import INTENTS, Change, Entry, Event, Todo
from sinch_qn.bulk.transitions import step
from sinch_qn.errors import JournalError


def entries(database: sqlite3.Connection, query: str, *parameters: object) -> list[Entry]:
    """Return the entries that a `SELECT` finds."""
    return [from_row(row) for row in database.execute(query, parameters)]


def remove_invalid(
    database: Connection, condition: str, values: Sequence[tuple[object, ...]]
) -> None:
    """Delete the INVALID entries that meet *condition*, once for each of *values*."""
    if database.execute("SELECT 1 FROM numbers WHERE state = 'invalid' LIMIT 1").fetchone():
        query = f"DELETE FROM numbers WHERE state = 'invalid' AND {condition}"  # noqa: S608 - ours
        database.executemany(query, values)
        database.clear_cache()


def apply(database: Connection, change: Change) -> Entry | None:
    """Apply *change* where `step` allows it, and log it; return the new entry."""
    before = database.entry(change.number)
    if change.event in INTENTS:
        change = attrs.evolve(change, intent=database.next_token())
    after = None if before is None else step(before, change)
    if before is None or after is None:
        return None
    database.save(before, after)
    if logged := logged_write(before, after, change.event):
        _log_write(database, change, logged)
    if after.settled_at is not None:
        _erase(database, "DELETE FROM inbox WHERE number = ?", change.number)
    elif status := CODE_STATUS_AFTER.get(change.event):
        database.execute(
            "UPDATE inbox SET status = ? WHERE number = ? AND status = 'in flight'",
            (status, change.number),
        )
    elif change.event in CODE_STATUS_AFTER:
        query = "DELETE FROM inbox WHERE number = ? AND status = 'in flight'"
        _erase(database, query, change.number)
    return after


def _log_write(database: Connection, change: Change, logged: LoggedWrite) -> None:
    key = (logged.operation, change.number, logged.attempt, logged.nth)
    if logged.outcome is None:
        # Only an attempt that was not sent may be made again.
        query = (
            "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, NULL, NULL) "
            "ON CONFLICT (operation, number, attempt, nth) DO UPDATE "
            "SET intent = excluded.intent, intent_at = excluded.intent_at, outcome = NULL, "
            "outcome_at = NULL WHERE outcome = 'not sent'"
        )
        if database.execute(query, (*key, change.intent, change.at)).rowcount != 1:
            raise JournalError(f"{logged.operation} attempt {logged.attempt} was made before")
    else:
        query = (
            "UPDATE log SET outcome = ?, outcome_at = ? "
            "WHERE operation = ? AND number = ? AND attempt = ? AND nth = ?"
        )
        database.execute(query, (logged.outcome, change.at, *key))


def _erase(database: Connection, query: str, number: str) -> None:
    if database.execute(query, (number,)).rowcount:
        database.checkpoint_due = True


def submit(
    database: Connection, number: str, code: str, at: float
) -> tuple[Submission, Entry | None]:
    """Put *code* into the inbox of *number*."""
    before = database.entry(number)
    if before is None:
        return Submission.REFUSED, None
    key = (number, before.attempt, code)
    known = "SELECT 1 FROM inbox WHERE number = ? AND attempt = ? AND code = ?"
    if database.execute(known, key).fetchone():
        return Submission.DUPLICATE, before
    after = apply(database, Change(number=number, event=Event.CODE, at=at))
    if after is None:
        return Submission.REFUSED, before
    database.execute("INSERT INTO inbox VALUES (NULL, ?, ?, ?, ?, 'waiting')", (*key, at))
    return Submission.ACCEPTED, after


def start_call(
    database: Connection,
    now: float,
    calls: Sequence[Todo],
    opens_in: Callable[[str, float], float] | None,
) -> Entry | None:
    """Log the intent to make the first call that is due; postpone those outside their hours."""
    limit = 1 if opens_in is None else MAX_POSTPONED
    found = (database.execute(_DUE, (todo.value, now, limit)).fetchall() for todo in calls)
    for (number,) in islice(chain.from_iterable(found), limit):
        closed = 0.0 if opens_in is None else opens_in(number, now)
        if not closed:
            return apply(database, Change(number=number, event=Event.CALL, at=now))
        due, event = now + closed, Event.POSTPONED
        apply(database, Change(number=number, event=event, at=now, due=due, note=OUTSIDE_HOURS))
    return None


def save_standing(
    database: Connection,
    settings: RunSettings,
    paused: bool,  # noqa: FBT001 - the protocol's is keyword-only
) -> None:
    """Write down how the run stands, for other processes."""
    value = orjson.dumps({"settings": attrs.asdict(settings), "paused": paused}).decode()
    database.execute("INSERT OR REPLACE INTO meta VALUES ('run', ?)", (value,))


def standing(database: Connection) -> tuple[RunSettings | None, bool]:
    """Return the settings of the last run, if there was one, and whether it is paused."""
    row = database.execute("SELECT value FROM meta WHERE key = 'run'").fetchone()
    if row is None:
        return None, True
    value = orjson.loads(row[0])
    return RunSettings(**value["settings"]), value["paused"]


def take_code(database: Connection, now: float) -> tuple[Entry, str] | None:
    """Log the intent to verify the oldest code of the number that is due longest."""
    due = database.execute(_DUE, (Todo.VERIFY.value, now, 1)).fetchone()
    if due is None:
        return None
    (number,) = due
    entry = apply(database, Change(number=number, event=Event.VERIFY, at=now))
    if entry is None:
        return None
    row, code = database.execute(
        "SELECT id, code FROM inbox WHERE number = ? AND status = 'waiting' ORDER BY id LIMIT 1",
        (number,),
    ).fetchone()
    database.execute("UPDATE inbox SET status = 'in flight' WHERE id = ?", (row,))
    return entry, code


_DUE = (
    "SELECT number FROM numbers WHERE todo = ? AND todo > 0 AND due <= ? "
    "ORDER BY due, requested_at, seq LIMIT ?"
)


def claim_batch(
    database: Connection,
    toll_free: bool,  # noqa: FBT001 - the protocol's is keyword-only
    region: str | None,
    limit: int,
    at: float,
) -> Batch | None:
    """Log the intent to text-enable up to *limit* verified numbers."""
    query = (
        "SELECT seq, number FROM numbers WHERE batch IS NULL "  # noqa: S608 - constants only
        "AND remote = 'GLOBAL_PROCESS_STATE_VERIFIED' AND state IN ('verified', 'skipped') "
        f"AND {IS_TOLL_FREE} = ? AND (? IS NULL OR coalesce(region, ?) = ?) ORDER BY seq LIMIT ?"
    )
    rows = database.execute(query, (toll_free, region, region, region, limit)).fetchall()
    if not rows:
        return None
    cursor = database.execute(
        "INSERT INTO batches VALUES (NULL, ?, ?, 'sending', ?, NULL, NULL)",
        (toll_free, region or "US", at),
    )
    batch = cursor.lastrowid
    assert batch is not None  # noqa: S101 - an INSERT has one
    database.executemany(
        "UPDATE numbers SET batch = ? WHERE seq = ?", [(batch, seq) for seq, _ in rows]
    )
    database.clear_cache()
    return Batch(
        id=batch,
        toll_free=toll_free,
        region=region or "US",
        numbers=tuple(number for _, number in rows),
        state=BatchState.SENDING,
        at=at,
    )


def batches(database: sqlite3.Connection) -> list[Batch]:
    """Return all batches, oldest first."""
    found = database.execute(
        "SELECT id, toll_free, region, state, at, order_id, note FROM batches ORDER BY id"
    ).fetchall()
    members = "SELECT number FROM numbers WHERE batch = ? ORDER BY seq"
    return [
        Batch(
            id=row[0],
            toll_free=bool(row[1]),
            region=row[2],
            numbers=tuple(number for (number,) in database.execute(members, (row[0],))),
            state=BatchState(row[3]),
            at=row[4],
            order_id=row[5],
            note=row[6],
        )
        for row in found
    ]
