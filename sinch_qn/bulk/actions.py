"""What people do to a run, from any process that has its journal open.

A run, the command line, bots and web pages all act through these functions.
"""

from __future__ import annotations

import asyncio
from itertools import islice

from sinch_qn._checks import check_code
from sinch_qn.bulk.journal.protocol import Batch, BatchState, Journal, Submission
from sinch_qn.bulk.states import ChallengeState, Change, Entry, Event
from sinch_qn.errors import InvalidRequestError
from sinch_qn.phone import check_e164, mask

_FREEABLE = (BatchState.REJECTED, BatchState.UNKNOWN)

NOTE_RECALL = "a person asked for another call"
_NOTE_RESTORED = "the journal was restored to an older point: this phone may have been called since"
_PAGE = 2000
_NOTE_FREED = "freed by a person: its numbers may be ordered again"


async def submit_code(
    journal: Journal, phone_number: str, code: str, *, at: float | None = None
) -> Submission:
    """Put a code into an open *journal*; on disk when this returns.

    Raises `InvalidRequestError` for a number that accepts no code. (As `run.submit_code`.)
    """
    now = journal.now() if at is None else at
    submission, _ = await put_code(journal, phone_number, code, now)
    return submission


async def put_code(
    journal: Journal, phone_number: str, code: str, at: float
) -> tuple[Submission, Entry]:
    """As `submit_code`; also return the new entry."""
    number, code = check_e164(phone_number), check_code(code)
    submission, entry = await journal.submit_code(number, code, at)
    if submission is Submission.REFUSED or entry is None:
        reason = "is not in this run" if entry is None else f"is {entry.state.value}"
        if entry is not None and entry.state is ChallengeState.PENDING:
            reason = "was not called yet"
        raise InvalidRequestError(f"phone_number: {mask(number)} {reason}: it accepts no code")
    return submission, entry


async def recall(journal: Journal, phone_number: str, *, at: float | None = None) -> Entry:
    """Request another call in an open *journal*. (As `run.recall`.)"""
    number = check_e164(phone_number)
    now = journal.now() if at is None else at
    change = Change(number=number, event=Event.RECALL, at=now, note=NOTE_RECALL)
    (entry,) = await journal.apply([change])
    if entry is None:
        known = await journal.get(number)
        reason = "is not in this run" if known is None else f"is {known.state.value}"
        raise InvalidRequestError(f"phone_number: {mask(number)} {reason}: it cannot be recalled")
    return entry


async def distrust_pending(journal: Journal, window: float, *, at: float | None = None) -> int:
    """Have each PENDING number become UNKNOWN in a *journal* that was restored; return how many.

    Calls that were made after the point of the restore are lost in it, so each of these may have
    been called. A code is awaited for *window* seconds. Open the journal as a runner.
    """
    now = journal.now() if at is None else at
    distrusted = 0
    pending = (entry for entry in journal.rows() if entry.state is ChallengeState.PENDING)
    while page := await asyncio.to_thread(list, islice(pending, _PAGE)):
        calls = [Change(number=each.number, event=Event.CALL, at=now) for each in page]
        lost = [
            Change(
                number=entry.number,
                event=Event.CALL_UNKNOWN,
                at=now,
                intent=entry.intent,
                window=window,
                note=_NOTE_RESTORED,
            )
            for entry in await journal.apply(calls)
            if entry is not None
        ]
        distrusted += len(await journal.apply(lost))
    return distrusted


async def free_batch(journal: Journal, batch_id: int) -> Batch:
    """Declare in an open *journal* that a REJECTED or UNKNOWN batch was not ordered.

    Its numbers may then go into another batch. Only a person can know that of an UNKNOWN one: if
    the order does exist, a second Letter of Authorization goes out. Raises `InvalidRequestError`.
    """
    batch = await _find_batch(journal, batch_id)
    # A run may be recording its outcome right now, so the journal compares the state.
    freed = await journal.record_batch_outcome(
        batch_id, BatchState.NOT_SENT, only_from=_FREEABLE, note=_NOTE_FREED
    )
    if not freed:
        batch = await _find_batch(journal, batch_id)
        raise InvalidRequestError(f"batch_id: batch {batch_id} is {batch.state.value}")
    return batch


async def _find_batch(journal: Journal, batch_id: int) -> Batch:
    for batch in await journal.batches():
        if batch.id == batch_id:
            return batch
    raise InvalidRequestError(f"batch_id: there is no batch {batch_id!r} in this journal")
