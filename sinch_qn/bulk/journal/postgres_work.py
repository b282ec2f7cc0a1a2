"""The units of work of a PostgreSQL journal, each inside a transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import attrs

from sinch_qn.bulk.journal.postgres_connection import Reply, Statement
from sinch_qn.bulk.journal.postgres_schema import IS_TOLL_FREE, NOW
from sinch_qn.bulk.journal.postgres_transaction import Transaction, Work, ask
from sinch_qn.bulk.journal.protocol import (
    CODE_STATUS_AFTER,
    Batch,
    BatchState,
    LoggedWrite,
    Submission,
    logged_write,
)
from sinch_qn.bulk.permits import holds_slot
from sinch_qn.bulk.states import INTENTS, Change, Entry, Event
from sinch_qn.bulk.transitions import step


def apply(tx: Transaction, change: Change) -> Entry | None:
    """Apply *change* where `step` allows it, and log it; return the new entry.

    An intent needs the lease of its runner.
    """
    before = tx.entries.get(change.number)
    if change.event in INTENTS:
        if not tx.lease_holds:
            return None
        change = attrs.evolve(change, intent=tx.next_token())
    after = None if before is None else step(before, change)
    if before is None or after is None:
        return None
    is_intent = change.event in (Event.CALL, Event.VERIFY)
    tx.save(after, is_intent=is_intent, keeps_writer=change.event is Event.CODE)
    if holds_slot(before) and not holds_slot(after):
        tx.execute("UPDATE slots SET held = false WHERE run = %s AND number = %s", *_key(tx, after))
    if logged := logged_write(before, after, change.event):
        _log_write(tx, change, logged)
    key = _key(tx, after)
    if after.settled_at is not None:
        if before.settled_at is None:
            tx.execute("DELETE FROM inbox WHERE run = %s AND number = %s", *key)
    elif status := CODE_STATUS_AFTER.get(change.event):
        query = "UPDATE inbox SET status = %s WHERE run = %s AND number = %s AND " + _IN_FLIGHT
        tx.execute(query, status, *key)
    elif change.event in CODE_STATUS_AFTER:
        tx.execute("DELETE FROM inbox WHERE run = %s AND number = %s AND " + _IN_FLIGHT, *key)
    return after


def _key(tx: Transaction, entry: Entry) -> tuple[int, str]:
    return tx.run, entry.number


_IN_FLIGHT = "status = 'in flight'"


def _log_write(tx: Transaction, change: Change, logged: LoggedWrite) -> None:
    key = (tx.run, change.number, logged.operation, logged.attempt, logged.nth)
    if logged.outcome is None:
        tx.execute(
            "INSERT INTO log (run, number, operation, attempt, nth, intent, intent_at) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s)",
            *(*key, change.intent, change.at),
        )
    else:
        tx.execute(
            "UPDATE log SET outcome = %s, outcome_at = %s WHERE run = %s AND number = %s AND "
            "operation = %s AND attempt = %s AND nth = %s AND outcome IS DISTINCT FROM 'not sent'",
            *(logged.outcome, change.at, *key),
        )


def submit(
    tx: Transaction, number: str, code: str, at: float
) -> Work[tuple[Submission, Entry | None]]:
    """Put *code* into the inbox of *number*."""
    before = tx.entries.get(number)
    if before is None:
        return Submission.REFUSED, None
    key = (tx.run, number, before.attempt, code)
    query = "SELECT 1 FROM inbox WHERE run = %s AND number = %s AND attempt = %s AND code = %s"
    (known,) = yield from ask(Statement(query, key))
    if known.rows:
        return Submission.DUPLICATE, before
    after = apply(tx, Change(number=number, event=Event.CODE, at=at))
    if after is None:
        return Submission.REFUSED, before
    tx.execute(
        "INSERT INTO inbox (run, number, attempt, code, received_at, status) "
        "VALUES (%s, %s, %s, %s, %s, 'waiting')",
        *(*key, at),
    )
    return Submission.ACCEPTED, after


def claim_code(tx: Transaction, number: str, at: float) -> Work[tuple[Entry, str] | None]:
    """Log the intent to verify the oldest waiting code, and return it."""
    entry = apply(tx, Change(number=number, event=Event.VERIFY, at=at))
    if entry is None:
        return None
    # Under the lock of its number, which every change of its codes takes first.
    query = (
        "SELECT id, code FROM inbox WHERE run = %s AND number = %s AND status = 'waiting' "
        "ORDER BY id LIMIT 1"
    )
    (found,) = yield from ask(Statement(query, (tx.run, number)))
    ((row, code),) = found.rows
    tx.execute("UPDATE inbox SET status = 'in flight' WHERE id = %s", row)
    return entry, code


def claim_batch(
    tx: Transaction,
    toll_free: bool,  # noqa: FBT001 - the protocol's is keyword-only
    region: str | None,
    limit: int,
    at: float,
) -> Work[Batch | None]:
    """Log the intent to text-enable up to *limit* verified numbers."""
    if not tx.lease_holds:
        return None
    pick = (
        "SELECT seq, number FROM numbers WHERE run = %s AND batch IS NULL "
        "AND remote = 'GLOBAL_PROCESS_STATE_VERIFIED' AND state IN ('verified', 'skipped') "
        f"AND {IS_TOLL_FREE} = %s AND (%s::text IS NULL OR coalesce(region, %s) = %s) "
        "ORDER BY seq LIMIT %s FOR UPDATE SKIP LOCKED"
    )
    picked, _, last = yield from ask(
        Statement(pick, (tx.run, toll_free, region, region, region, limit)),
        Statement("SELECT 1 FROM runs WHERE id = %s FOR UPDATE", (tx.run,)),
        Statement("SELECT coalesce(max(id), 0) FROM batches WHERE run = %s", (tx.run,)),
    )
    if not picked.rows:
        return None
    batch = last.rows[0][0] + 1
    tx.execute(
        "INSERT INTO batches (run, id, toll_free, region, state, at, writer) "
        "VALUES (%s, %s, %s, %s, 'sending', %s, %s)",
        *(tx.run, batch, toll_free, region or "US", at, tx.writer),
    )
    numbers = [number for _, number in picked.rows]
    tx.execute(
        "UPDATE numbers SET batch = %s WHERE run = %s AND number = ANY(%s)", batch, tx.run, numbers
    )
    return Batch(
        id=batch,
        toll_free=toll_free,
        region=region or "US",
        numbers=tuple(numbers),
        state=BatchState.SENDING,
        at=at,
    )


def record_batch_outcome(
    tx: Transaction,
    batch: int,
    state: BatchState,
    only_from: Collection[BatchState],
    order_id: str | None,
    note: str | None,
) -> Work[bool]:
    """Log the outcome of *batch*; NOT_SENT frees its numbers for another batch."""
    key = (tx.run, batch)
    query = "SELECT state FROM batches WHERE run = %s AND id = %s FOR UPDATE"
    (found,) = yield from ask(Statement(query, key))
    if not found.rows or BatchState(found.rows[0][0]) not in only_from:
        return False
    tx.execute(
        "UPDATE batches SET state = %s, order_id = %s, note = %s WHERE run = %s AND id = %s",
        *(state.value, order_id, note, *key),
    )
    if state is BatchState.NOT_SENT:
        tx.execute("UPDATE numbers SET batch = NULL WHERE run = %s AND batch = %s", *key)
    return True


IS_INTERRUPTED = (
    "b.state = 'sending' AND NOT EXISTS ("
    f"SELECT 1 FROM writers WHERE id = b.writer AND NOT reaped AND lease_end > {NOW})"
)
"""The runner is gone, and told no outcome. It may only have lost its lease: then it tells later."""


def batches(run: int, condition: str = "true") -> Sequence[Statement]:
    """Return what `to_batches` reads."""
    return [
        Statement(
            "SELECT b.id, b.toll_free, b.region, b.state, b.at, b.order_id, b.note, "
            "array(SELECT number FROM numbers WHERE run = b.run AND batch = b.id ORDER BY seq) "
            f"FROM batches AS b WHERE run = %s AND {condition} ORDER BY b.id",
            (run,),
        )
    ]


def to_batches(replies: Sequence[Reply]) -> list[Batch]:
    """Return the batches that `batches` has read."""
    return [
        Batch(
            id=row[0],
            toll_free=row[1],
            region=row[2],
            numbers=tuple(row[7]),
            state=BatchState(row[3]),
            at=row[4],
            order_id=row[5],
            note=row[6],
        )
        for row in replies[0].rows
    ]
