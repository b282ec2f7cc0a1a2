"""What a runner claims in PostgreSQL: turns, calls, codes, other work, what others left."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence

import attrs

from sinch_qn.bulk.journal.postgres_connection import Connection, Statement
from sinch_qn.bulk.journal.postgres_schema import MOVE_COUNTS, NOW, SELECT, to_text
from sinch_qn.bulk.journal.postgres_transaction import Transaction, Work, ask
from sinch_qn.bulk.journal.postgres_work import apply, claim_code
from sinch_qn.bulk.journal.protocol import MAX_POSTPONED, OUTSIDE_HOURS, RunSettings
from sinch_qn.bulk.outcomes import without_outcome
from sinch_qn.bulk.pacing import Pacing
from sinch_qn.bulk.permits import Permits, Settled, Told, Turn, settle
from sinch_qn.bulk.states import Change, Entry, Event, Todo

TURN_LIFETIME = 0.1
"""Seconds after its time in which a turn's intent must be committed: a group commit is late."""

_HORIZON = 0.06
"""Seconds that turns are given out ahead; a runner that dies costs the others so much."""

_AHEAD = 200
"""Due numbers that are counted beyond those that are wanted: calls are prepared for them."""

_POLL = 0.25
"""Seconds after which to ask again while others may change the answer."""

MIN_WAIT = 0.05
"""Seconds between two requests for permits: each locks the row that all runners share."""

_log = logging.getLogger("sinch_qn")

_LARGEST_REAPING = 10
"""Runners in one transaction."""

OpensIn = Callable[[str, float], float]


async def permits(
    connection: Connection,
    run: int,
    writer: int,
    told: Sequence[Told],
    want: int,
    *,
    calls: Sequence[Todo],
    time: Callable[[], float],
) -> tuple[Permits, list[Told]]:
    """Tell which calls ended, and take up to *want* turns, for *calls*. Raises `psycopg.Error`.

    Returns also what is to be told again: its slot was locked. All runners wait for this
    transaction, so it waits for no row but that of the pace.
    """
    slots = [each.slot for each in told if each.slot is not None]
    _, paced, ended, locked, _, _, counted, waiting, alive = await connection.trip(
        [
            Statement("BEGIN"),
            Statement(_LOCK_PACING, (run,)),
            Statement(_END_CALLS, (slots,)),
            Statement("SELECT id FROM slots WHERE id = ANY(%s) AND in_flight", (slots,)),
            Statement(_SET_BACK_SLOTS, (run,)),
            Statement(_FREE_SLOTS, (run, _HORIZON + TURN_LIFETIME + 1.0)),
            Statement(_COUNT_SLOTS, (run,)),
            Statement(_COUNT_DUE, (run, [todo.value for todo in calls], run, want + _AHEAD)),
            Statement(_IS_ALIVE, (writer,)),
        ]
    )
    arrived = time()
    ((value, stopped),) = paced.rows
    ((used, at_risk, next_free, now),) = counted.rows
    ((due,),) = waiting.rows
    settled = settle(
        Pacing(**value).on_clock(now + _HORIZON),
        [each.result for each in told if each.slot is None or (each.slot,) in ended.rows],
        want=want if alive.rows and stopped is None else 0,
        due=due,
        used=used,
        at_risk=at_risk,
        now=now,
        horizon=_HORIZON,
    )
    turns = await _give_turns(connection, run, writer, settled, arrived - now)
    given = Permits(
        turns=turns,
        wait=_wait(settled, due - len(turns), next_free - now),
        due=due - len(turns),
        paused=settled.pacing.paused,
        ringing=used + len(turns),
        rate=settled.pacing.rate,
        is_held_back=settled.is_held_back,
        stopped=stopped,
    )
    return given, [each for each in told if (each.slot,) in locked.rows]


async def _give_turns(
    connection: Connection, run: int, writer: int, settled: Settled, offset: float
) -> list[Turn]:
    """Commit the pace and the turns; *offset* leads from the database's time to this process's."""
    pacing = to_text(settled.pacing)
    ends = [at + TURN_LIFETIME for at in settled.turns]
    _, given, _ = await connection.trip(
        [
            Statement(_KEEP_PACING, (pacing, run, pacing)),
            Statement(_GIVE_TURNS, (run, writer, ends)),
            Statement("COMMIT"),
        ]
    )
    pairs = zip(given.rows, settled.turns, strict=True)
    return [Turn(slot=slot, at=at + offset) for (slot,), at in pairs]


def _wait(settled: Settled, due: int, next_free: float) -> float | None:
    """Return when to ask again: other runners end calls and pauses, unheard."""
    if settled.wait is not None or settled.is_held_back:  # by calls that end at any moment
        return max(MIN_WAIT, settled.wait or 0.0)
    if due or settled.pacing.paused:
        return max(MIN_WAIT, min(_POLL, next_free))
    return None


_LOCK_PACING = """
SELECT p.value, r.stopped FROM pacing AS p JOIN runs AS r ON r.id = p.run
WHERE p.run = %s FOR UPDATE OF p
"""
_KEEP_PACING = "UPDATE pacing SET value = %s WHERE run = %s AND value <> %s::jsonb"
_END_CALLS = """
UPDATE slots SET in_flight = false WHERE id = ANY(ARRAY(
    SELECT id FROM slots WHERE id = ANY(%s) AND in_flight FOR UPDATE SKIP LOCKED
)) RETURNING id
"""
# After the clock was set back no phone holds its slot for longer than the ring window.
_SET_BACK_SLOTS = f"""
UPDATE slots SET until = {NOW} + ring_window
FROM (SELECT run AS paced, (value->>'ring_window')::float8 AS ring_window FROM pacing) AS windows
WHERE run = %s AND paced = run AND number IS NOT NULL AND until > {NOW} + ring_window + 1
"""
# A turn that lies further ahead was given before the clock was set back.
_FREE_SLOTS = f"""
DELETE FROM slots WHERE id = ANY(ARRAY(
    SELECT id FROM slots WHERE run = %s
    AND (NOT in_flight AND NOT held OR (NOT in_flight OR number IS NULL) AND until <= {NOW}
        OR number IS NULL AND until > {NOW} + %s)
    FOR UPDATE SKIP LOCKED
))
"""
_COUNT_SLOTS = f"""
SELECT count(*) FILTER (WHERE until > {NOW}),
    count(*) FILTER (WHERE in_flight AND (number IS NOT NULL OR until > {NOW})),
    coalesce(min(until) FILTER (WHERE until > {NOW}), 'infinity'), {NOW}
FROM slots WHERE run = %s
"""
_COUNT_DUE = f"""
SELECT greatest(0, due - given) FROM (
    SELECT count(*) AS given FROM slots WHERE run = %s AND number IS NULL
) AS turns, LATERAL (
    SELECT count(*) AS due FROM unnest(%s::smallint[]) AS kind, LATERAL (
        SELECT 1 FROM numbers WHERE run = %s AND todo = kind AND todo > 0 AND due <= {NOW}
        ORDER BY due LIMIT %s + given
    ) AS found
) AS waiting
"""
_IS_ALIVE = f"SELECT 1 FROM writers WHERE id = %s AND NOT reaped AND lease_end > {NOW}"
_GIVE_TURNS = """
INSERT INTO slots (run, writer, until) SELECT %s, %s, ends FROM unnest(%s::float8[]) AS ends
RETURNING id
"""


def start_call(
    tx: Transaction, slot: int, opens_in: OpensIn | None, settings: RunSettings
) -> Work[Entry | None]:
    """Log the intent to make the first call that is due, in the place of the turn *slot*."""
    entry = None
    if tx.lease_holds and slot in tx.turns:
        for todo in settings.calls:
            entry, closed = _call_first(tx, todo, opens_in)
            if closed and entry is None and (yield from tx.pick_more(todo, MAX_POSTPONED)):
                entry, _ = _call_first(tx, todo, opens_in)
            if entry is not None:
                break
    if entry is None:
        tx.execute("DELETE FROM slots WHERE id = %s AND number IS NULL", slot)
        return None
    key = (tx.run, entry.number, slot)
    tx.execute("DELETE FROM slots WHERE run = %s AND number = %s AND id <> %s", *key)
    query = "UPDATE slots SET number = %s, until = %s WHERE id = %s"
    tx.execute(query, entry.number, tx.now + settings.ring_window, slot)
    return entry


def _call_first(tx: Transaction, todo: Todo, opens_in: OpensIn | None) -> tuple[Entry | None, bool]:
    """Call the first entry that was picked; postpone those outside their hours: was there one?"""
    closed = False
    for picked in tx.claimable(todo):
        wait = 0.0 if opens_in is None else opens_in(picked.number, tx.now)
        change = Change(number=picked.number, event=Event.CALL, at=tx.now)
        if wait > 0:
            closed = True
            later = attrs.evolve(change, event=Event.POSTPONED, due=tx.now + wait)
            apply(tx, attrs.evolve(later, note=OUTSIDE_HOURS))
        elif entry := apply(tx, change):
            return entry, closed
    return None, closed


def withdraw(tx: Transaction, change: Change, slot: int | None) -> Entry | None:
    """Take an intent back that was not sent, with the slot of a call."""
    if slot is not None:
        tx.execute("DELETE FROM slots WHERE id = %s", slot)
    return apply(tx, change)


def take_code(tx: Transaction) -> Work[tuple[Entry, str] | None]:
    """Log the intent to verify the oldest code of the number that is due longest."""
    for picked in tx.claimable(Todo.VERIFY):
        claimed = yield from claim_code(tx, picked.number, tx.now)
        if claimed is not None:
            return claimed
    return None


def claim(tx: Transaction, todo: Todo, limit: int, hold: float) -> Work[list[Entry]]:
    """Return up to *limit* due entries with *todo*, and keep them from other claims for a while."""
    yield from ()
    entries = list(itertools.islice(tx.claimable(todo), limit))
    for entry in entries:
        tx.save(attrs.evolve(entry, due=tx.now + hold), keeps_writer=True)
    return entries


def chore(tx: Transaction, what: str, hold: float) -> Work[bool]:
    """Return whether this writer does *what* for the next *hold* seconds; 0 gives it up."""
    if not hold:
        query = "DELETE FROM chores WHERE run = %s AND what = %s AND writer = %s"
        tx.execute(query, tx.run, what, tx.writer)
        return False
    if not tx.lease_holds:
        return False
    until = tx.now + hold
    (reply,) = yield from ask(Statement(_TAKE_CHORE, (tx.run, what, tx.writer, until)))
    return bool(reply.rows)


_TAKE_CHORE = f"""
INSERT INTO chores AS c (run, what, writer, until) VALUES (%s, %s, %s, %s)
ON CONFLICT (run, what) DO UPDATE SET writer = excluded.writer, until = excluded.until
WHERE c.writer = excluded.writer OR c.until <= {NOW} RETURNING 1
"""


def reap(tx: Transaction, window: float, *, is_steady: bool) -> Work[list[Entry]]:
    """Give the intents of runners whose lease is over their outcome, and free what they held.

    One that has kept no steady lease itself sees only to runners that have left.

    The lock on a runner's row excludes its own commits: from here on they find that it is gone.
    """
    if not tx.lease_holds:
        return []
    lock = (
        "SELECT id FROM writers WHERE run = %s AND lease_end <= %s AND NOT reaped AND id <> %s "
        "ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED"
    )
    ended_by = tx.now if is_steady else 0.0
    (found,) = yield from ask(Statement(lock, (tx.run, ended_by, tx.writer, _LARGEST_REAPING)))
    gone = [writer for (writer,) in found.rows]
    if not gone:
        return []
    read = SELECT + " WHERE run = %s AND writer = ANY(%s) ORDER BY number FOR UPDATE"
    (theirs,) = yield from ask(Statement(read, (tx.run, gone)))
    changes = [without_outcome(entry, tx.now, window=window) for entry in tx.read(theirs)]
    entries = [entry for entry in (apply(tx, change) for change in changes) if entry is not None]
    tx.execute("UPDATE writers SET reaped = true WHERE id = ANY(%s)", gone)
    tx.execute(
        "UPDATE slots SET in_flight = false WHERE run = %s AND writer = ANY(%s)", tx.run, gone
    )
    tx.execute("DELETE FROM chores WHERE run = %s AND writer = ANY(%s)", tx.run, gone)
    tx.execute(_FORGET, tx.run, tx.now - _FORGOTTEN_AFTER)
    tx.execute(MOVE_COUNTS, tx.run)
    _log.warning("%d runner(s) are gone: %d intents have no outcome", len(gone), len(entries))
    return entries


_FORGOTTEN_AFTER = 7 * 86_400.0
"""Seconds without a commit after which the row of a writer that is gone is deleted."""

_FORGET = "DELETE FROM writers WHERE run = %s AND seen < %s AND (reaped OR lease_end IS NULL)"
