"""One event of one number: the one function that applies it, as the table of `states` allows.

Every journal applies its changes by `step`, each under its own lock.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import attrs

from sinch_qn.bulk.states import (
    INTENTS,
    LOOK_UPS,
    NEVER,
    TABLE,
    ChallengeState,
    Change,
    Entry,
    Event,
    Todo,
    next_step,
)

_OUTCOMES = frozenset(
    {
        Event.ADD_NOT_SENT,
        Event.CALLED,
        Event.CALL_NOT_SENT,
        Event.CALL_UNKNOWN,
        Event.VERIFIED,
        Event.CODE_REJECTED,
        Event.CODE_NOT_SENT,
        Event.VERIFY_UNKNOWN,
        Event.RETRY_CODE,
        Event.REQUEST_CODE,
    }
)
_OUTCOMES_UNLESS_PENDING = frozenset({Event.NOT_CALLABLE, Event.BLOCKED})
"""For a PENDING number they are the result of a look-up."""


def step(entry: Entry, change: Change) -> Entry | None:
    """Return *entry* after *change*; None if the change is not possible there.

    The codes themselves are in the journal's inbox; here they are only counted.
    """
    state = TABLE[change.event].get(entry.state)
    if state is None or not _is_possible(entry, change):
        return None
    after: dict[str, Any] = dict(zip(_NAMES, _values(entry), strict=True))
    after["state"] = state
    after["due"] = change.due or 0.0
    after["note"] = change.note
    after["remote"] = change.remote or entry.remote
    after["region"] = change.region or entry.region
    after |= _effects(entry, change)
    if change.event in INTENTS:
        after["intent"] = change.intent
    if change.event in _FALLS_BACK:
        after["state"] = state = _fallback_state(after, change)
    todo = next_step(state, *(after[name] for name in _STEP_NAMES))
    if todo is Todo.EXPIRE:
        after["due"] = after["window_end"]
    elif todo is Todo.REQUESTED_CALL and not after["due"]:  # first come, first served
        after["due"] = after["requested_at"]
    if todo is not Todo.NOTHING or not state.settled:
        after["settled_at"] = None
    else:
        # The rest of the inbox is erased with this.
        after["settled_at"] = change.at if entry.settled_at is None else entry.settled_at
        after["codes_waiting"] = 0
    return Entry(**after)


_NAMES = tuple(field.name for field in attrs.fields(Entry))
_values = operator.attrgetter(*_NAMES)
_STEP_NAMES = ("codes_waiting", "remote", "window_end", "requested_at")
"""What the next step depends on, beside the state."""


def _is_possible(  # noqa: C901, PLR0911 - an arm an event
    entry: Entry, change: Change
) -> bool:
    """Return whether *change* is meant for *entry* as it is, beyond what the table says."""
    event = change.event
    if change.from_state not in (None, entry.state):
        return False
    if event in _OUTCOMES_UNLESS_PENDING and entry.state is ChallengeState.PENDING:
        return change.intent is None
    if event in _OUTCOMES or event in _OUTCOMES_UNLESS_PENDING:
        is_of_last_intent = change.intent is not None and change.intent == entry.intent
        return is_of_last_intent and _is_of_its_operation(entry, event)
    match event:
        case Event.CODE:  # a number that was never called has no code
            return entry.state is not ChallengeState.PENDING or entry.attempt > 0
        case Event.VERIFY:
            return entry.codes_waiting > 0
        case Event.CALL:  # a code goes first: another call would invalidate it
            return not entry.codes_waiting
        case Event.LOOKED_UP:  # a known one may be postponed: a listing must not undo that
            return entry.todo in LOOK_UPS
        case Event.ADD:
            return not entry.added
        case Event.CODE_TIMEOUT:  # of the call it was due for, not of one that was made since
            return change.intent == entry.intent
        case Event.RECALL:  # of the call that the asker knew of, if it is named
            return change.intent in (None, entry.intent)
        case Event.REQUEST:
            return entry.requested_at is None
    return True


def _is_of_its_operation(entry: Entry, event: Event) -> bool:
    """Return whether a withdrawal is of an addition, or of a call, as the last intent was."""
    if event is Event.ADD_NOT_SENT:
        return entry.called_at is None
    if event is Event.CALL_NOT_SENT:
        is_refused_code = entry.state is ChallengeState.FAILED and entry.codes_used > 0
        return entry.called_at is not None and not is_refused_code
    return True


def _effects(  # noqa: C901, PLR0911, PLR0912 - an arm an event
    entry: Entry, change: Change
) -> dict[str, Any]:
    """Return what *change* does to the fields that only its event touches."""
    waiting, used = entry.codes_waiting, entry.codes_used
    match change.event:
        case Event.ADD:
            return {"added": True}
        case Event.ADD_NOT_SENT:
            return {"added": False, "to_ring": True}
        case Event.CALL:
            return {"attempt": entry.attempt + 1, "called_at": change.at}
        case Event.CALL_NOT_SENT:
            undone = {"attempt": entry.attempt - 1, "called_at": None}
            return undone | {"to_ring": True, "window_end": None}
        case Event.CALLED | Event.CALL_UNKNOWN:
            since = change.at if entry.called_at is None else entry.called_at
            end = since + (change.window or 0.0)
            return {"to_ring": False, "window_end": end, "codes_used": 0}
        case Event.NOT_CALLABLE:
            was_called = entry.state is not ChallengeState.PENDING
            refused = {"codes_used": 0, "window_end": None} if was_called else {}
            return {"to_ring": False} | refused
        case Event.CODE:
            return {"codes_waiting": waiting + 1, "note": entry.note} | (
                {"due": entry.due} if entry.todo in (Todo.RESOLVE, Todo.VERIFY) else {}
            )
        case Event.VERIFY:
            taken = {"codes_waiting": waiting - 1, "codes_used": used + 1}
            return taken | {"tries": entry.tries + 1, "due": NEVER}
        case Event.CODE_NOT_SENT:
            back = {"codes_waiting": waiting + 1, "codes_used": used - 1}
            return back | {"tries": entry.tries - 1}
        case Event.RETRY_CODE:
            return {"codes_waiting": waiting + 1}
        case Event.CODE_REJECTED | Event.REQUEST_CODE | Event.VERIFIED:
            return {"tries": 0}
        case Event.CODE_TIMEOUT:
            return {"window_end": None}
        case Event.RECALL | Event.REQUEST:
            return _request(entry, change)
        case _:
            return {}


def _request(entry: Entry, change: Change) -> dict[str, Any]:
    """Return what it does to *entry* that a person asks for a call."""
    requested = {"requested_at": change.at}
    if change.event is Event.RECALL:
        return requested | {"to_ring": True, "remote": None, "window_end": None}
    # It may be postponed: a request does not undo that.
    due = entry.due if entry.due > change.at else 0.0
    return requested | {"due": due}


_FALLS_BACK = frozenset(
    {
        Event.NOT_CALLABLE,
        Event.CODE_REJECTED,
        Event.CODE_NOT_SENT,
        Event.RETRY_CODE,
        Event.REQUEST_CODE,
    }
)


def _fallback_state(after: Mapping[str, Any], change: Change) -> ChallengeState:
    """Return the state of a number that was refused, or whose code did not verify it."""
    if change.event is Event.NOT_CALLABLE:
        # A code that came during the call is sent, whatever the call's outcome.
        return ChallengeState.EXPIRED if after["codes_waiting"] else ChallengeState.FAILED
    if after["to_ring"]:
        return ChallengeState.PENDING  # a wrong code does not cancel a recall
    if change.event is Event.CODE_REJECTED and after["codes_used"] >= (change.max_codes or 1):
        return ChallengeState.FAILED
    return ChallengeState.EXPIRED if after["window_end"] is None else ChallengeState.AWAITING_CODE
