"""Calls on request: a person asks for a call, and is told when it can be made."""

from __future__ import annotations

from contextlib import suppress

import attrs

from sinch_qn._checks import check_whole
from sinch_qn.bulk.actions import NOTE_RECALL
from sinch_qn.bulk.calling_hours import CallingHours
from sinch_qn.bulk.journal.protocol import OUTSIDE_HOURS, Journal, Readiness, RunSettings
from sinch_qn.bulk.states import LOOK_UPS, TABLE, ChallengeState, Change, Entry, Event
from sinch_qn.errors import InvalidRequestError
from sinch_qn.lifecycle import CALLABLE
from sinch_qn.phone import check_e164, mask

NO_RUNNER = "no runner is on this journal"
PAUSED = "the run is paused until Sinch responds"
MAY_RING = "the phone may still ring"
BEING_CHECKED = "Sinch is still checking its eligibility"

_NOTE_REQUEST = "a person asked for a call"
_MAX_INTENT = 2**63 - 1


@attrs.frozen(kw_only=True)
class CallRequest:
    """A request for a call, and when the call can be made."""

    entry: Entry
    """The number as it is now."""
    new: bool
    """False: it is the same request as before, and changed nothing."""
    earliest: float | None
    """Seconds since the epoch; None: at once, or not known: see `reason`."""
    reason: str | None
    """Why the call is not made at once; None: nothing is in its way."""


async def request_call(
    journal: Journal,
    phone_number: str,
    *,
    attempt: int | None = None,
    intent: int | None = None,
    at: float | None = None,
) -> CallRequest:
    """Ask in an open *journal* for a call to *phone_number*, before those that nobody asked for.

    One request is one call: repeated before the call has an outcome it is the same request, and
    changes nothing. *attempt* and *intent* are those of the `Entry` that the asker knew of; if
    there was another call since, it is the same request. Say both: a call that was not sent after
    all gives its attempt to the next one, an intent is never given twice. With *intent* it is also
    the same request if a code was sent since. Without both, it is the same request while the phone
    may still ring, until a code came. After that it is a recall. (As `run.request_call`.)

    Raises `InvalidRequestError` for a number that is settled for good, or not in the journal.
    """
    number = check_e164(phone_number)
    if attempt is not None:
        check_whole(attempt, "attempt", minimum=0)
    if intent is not None:
        check_whole(intent, "intent", minimum=0, maximum=_MAX_INTENT)
    readiness = await journal.readiness()
    window = (readiness.settings or RunSettings()).ring_window
    while True:
        now = journal.now() if at is None else at
        entry = await journal.get(number)
        if entry is None:
            raise InvalidRequestError(f"phone_number: {mask(number)} is not in this run")
        change = _change(entry, attempt, intent, now, window)
        if change is None:
            if _may_ring(entry, now, window):
                until = (entry.called_at or now) + window
                return CallRequest(entry=entry, new=False, earliest=until, reason=MAY_RING)
            return _answer(entry, readiness, now, new=False)
        (requested,) = await journal.apply([change])
        if requested is not None:
            return _answer(requested, readiness, now, new=True)
        # Something happened to the number since it was read.


def _change(
    entry: Entry, attempt: int | None, intent: int | None, now: float, window: float
) -> Change | None:
    """Return the change that a request leads to; None if it is the same request as before.

    Raises `InvalidRequestError`. The change is refused if anything happens to the number before it.
    """
    if attempt is not None and entry.attempt > attempt:
        return None
    if entry.state is ChallengeState.CALLING or _is_requested(entry):
        return None
    # A PENDING number is still to be called, so whatever the asker knew of, it asks for that call.
    if intent not in (None, entry.intent) and entry.state is not ChallengeState.PENDING:
        return None
    if attempt is None and intent is None and _may_ring(entry, now, window):
        return None
    event, note = Event.RECALL, NOTE_RECALL
    if entry.state is ChallengeState.PENDING:
        reason = entry.note if entry.due > now else None
        event, note = Event.REQUEST, reason or _NOTE_REQUEST
    elif entry.state not in TABLE[event]:
        state = entry.state.value
        raise InvalidRequestError(
            f"phone_number: {mask(entry.number)} is {state}: it cannot be called"
        )
    return Change(
        number=entry.number,
        event=event,
        at=now,
        from_state=entry.state,
        intent=entry.intent,
        note=note,
    )


def _is_requested(entry: Entry) -> bool:
    """Return whether a person asked for a call that has no outcome yet."""
    is_open = entry.state in (ChallengeState.PENDING, ChallengeState.VERIFYING)
    return is_open and entry.to_ring and entry.requested_at is not None


def _may_ring(entry: Entry, now: float, window: float) -> bool:
    is_called = entry.state in (ChallengeState.AWAITING_CODE, ChallengeState.UNKNOWN)
    return (
        is_called
        and not entry.codes_used
        and entry.called_at is not None
        and now < entry.called_at + window
    )


def _answer(entry: Entry, readiness: Readiness, now: float, *, new: bool) -> CallRequest:
    earliest, reason = (None, None)
    if entry.state is ChallengeState.PENDING:
        earliest, reason = obstacle(entry, readiness, now)
    return CallRequest(entry=entry, new=new, earliest=earliest, reason=reason)


def obstacle(entry: Entry, readiness: Readiness, now: float) -> tuple[float | None, str | None]:
    """Return until when, and why, *entry* cannot be called: as `CallRequest` has it."""
    is_postponed = entry.state is ChallengeState.PENDING and entry.due > now
    due = entry.due if is_postponed else None
    opens = _opens_at(entry.number, readiness.settings, now)
    if not readiness.has_runner:
        return opens, NO_RUNNER
    if opens is not None:
        return opens, OUTSIDE_HOURS
    if readiness.paused:
        return None, PAUSED
    if entry.todo in LOOK_UPS and entry.remote is not None and entry.remote not in CALLABLE:
        return due, BEING_CHECKED
    if due is None or entry.note == _NOTE_REQUEST:  # it is being looked up
        return None, None
    return due, entry.note


def _opens_at(number: str, settings: RunSettings | None, now: float) -> float | None:
    """Return when the calling hours of *number* begin; None if they have, or are not known here."""
    if settings is None or settings.calling_hours is None:
        return None
    with suppress(InvalidRequestError):  # without phonenumbers only the runner knows them
        closed = CallingHours.parse(settings.calling_hours).opens_in(number, now)
        return now + closed if closed else None
    return None
