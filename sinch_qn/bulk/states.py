"""The state machine of a number in a run: one table, and the one function that applies it.

    PENDING ──call──▶ CALLING ──called──▶ AWAITING_CODE ──verify──▶ VERIFYING ──▶ VERIFIED
       ▲                 │  └──lost──▶ UNKNOWN ──verify──▲  ▲ ▲          │  └─▶ BLOCKED, FAILED
       ├───not called────┘               │               │  │ └──wrong───┘
       └────────────recall───────────────┴── EXPIRED ────┘◀─┘ late

Non-idempotent requests are at-most-once: a write-ahead intent is committed before sending, the
outcome after the response; an intent without outcome is UNKNOWN, never retried automatically. Each
intent has a token of its own; only an outcome with that token is accepted, also one that comes late
and corrects UNKNOWN.
"""

from __future__ import annotations

import enum
import operator
from collections.abc import Mapping
from typing import Any

import attrs

from sinch_qn.lifecycle import CALLABLE
from sinch_qn.models import GlobalProcessState as SinchState


class ChallengeState(enum.Enum):
    """The state of a number in a run."""

    PENDING = "pending"
    """To be looked up, or to be called when its turn comes."""
    CALLING = "calling"
    """The call was requested; the response is not there yet."""
    AWAITING_CODE = "awaiting_code"
    """Called; waiting for a code or a recall request."""
    VERIFYING = "verifying"
    """A code was sent; the response is not there yet, or was lost."""
    VERIFIED = "verified"
    SKIPPED = "skipped"
    """Verified before this run, or further: nothing to do."""
    FAILED = "failed"
    """It cannot be called, or its codes are used up; a recall may help."""
    BLOCKED = "blocked"
    """Sinch accepts no more codes for it."""
    EXPIRED = "expired"
    """Timed out; a late code is still accepted."""
    UNKNOWN = "unknown"
    """The response to the call was lost: the phone may have rung. A code or a recall settles it."""
    INVALID = "invalid"
    """Not a phone number that can be qualified; never sent."""

    __hash__ = object.__hash__  # Enum's own is a Python call, made dozens of times a number

    @property
    def settled(self) -> bool:
        """Whether nothing more happens automatically (UNKNOWN: once its code window has ended)."""
        return self not in _OPEN

    @property
    def accepts_code(self) -> bool:
        """Whether a code is accepted in this state; PENDING accepts one after a recall."""
        return self in _ACCEPT_CODE


_OPEN = {
    ChallengeState.PENDING,
    ChallengeState.CALLING,
    ChallengeState.AWAITING_CODE,
    ChallengeState.VERIFYING,
}
_ACCEPT_CODE = {
    ChallengeState.CALLING,
    ChallengeState.AWAITING_CODE,
    ChallengeState.VERIFYING,
    ChallengeState.UNKNOWN,
    ChallengeState.EXPIRED,
}


class Event(enum.Enum):
    """What can happen to a number."""

    LOOKED_UP = "learnt"  # it may be called, or must wait
    ALREADY_VERIFIED = "nothing to do"
    NOT_CALLABLE = "cannot"  # not eligible, not known, or the call was refused
    ADD = "add"  # intent: add it to the project
    ADD_NOT_SENT = "not added"
    CALL = "call"  # intent
    CALLED = "called"
    CALL_NOT_SENT = "not called"  # the phone did not ring
    CALL_UNKNOWN = "lost"  # the response was lost: the phone may have rung
    CODE = "code"  # a code was submitted
    VERIFY = "verify"  # intent
    VERIFIED = "verified"
    CODE_REJECTED = "wrong"
    CODE_NOT_SENT = "not verified"
    VERIFY_UNKNOWN = "unsure"  # the response was lost: resolve by a look-up
    RETRY_CODE = "again"  # resolved: still pending, so the code is sent once more
    REQUEST_CODE = "ask"  # resolved: still pending, and sent twice
    BLOCKED = "blocked"
    CODE_TIMEOUT = "late"  # no code in time
    RECALL = "recall"  # a person wants another call
    SINCH_STATE_CHANGED = "seen"  # seen after text-enabling
    POSTPONED = "later"  # outside its calling hours, or rate-limited


INTENTS = frozenset({Event.ADD, Event.CALL, Event.VERIFY})
"""Each is given a token when it is committed."""

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

TABLE: Mapping[Event, Mapping[ChallengeState, ChallengeState]] = {
    Event.LOOKED_UP: {ChallengeState.PENDING: ChallengeState.PENDING},
    Event.ALREADY_VERIFIED: {ChallengeState.PENDING: ChallengeState.SKIPPED},
    Event.NOT_CALLABLE: {
        ChallengeState.PENDING: ChallengeState.FAILED,
        ChallengeState.CALLING: ChallengeState.FAILED,
        ChallengeState.UNKNOWN: ChallengeState.FAILED,
    },
    Event.ADD: {ChallengeState.PENDING: ChallengeState.PENDING},
    # From FAILED: the refusal was not about the number.
    Event.ADD_NOT_SENT: {
        ChallengeState.PENDING: ChallengeState.PENDING,
        ChallengeState.FAILED: ChallengeState.PENDING,
    },
    Event.SINCH_STATE_CHANGED: {
        ChallengeState.VERIFIED: ChallengeState.VERIFIED,
        ChallengeState.SKIPPED: ChallengeState.SKIPPED,
    },
    Event.POSTPONED: {ChallengeState.PENDING: ChallengeState.PENDING},
    Event.CALL: {ChallengeState.PENDING: ChallengeState.CALLING},
    # From UNKNOWN: the outcome of the same call, committed late.
    Event.CALLED: {
        ChallengeState.CALLING: ChallengeState.AWAITING_CODE,
        ChallengeState.UNKNOWN: ChallengeState.AWAITING_CODE,
    },
    Event.CALL_NOT_SENT: {
        ChallengeState.CALLING: ChallengeState.PENDING,
        ChallengeState.UNKNOWN: ChallengeState.PENDING,
        ChallengeState.FAILED: ChallengeState.PENDING,
    },
    Event.CALL_UNKNOWN: {ChallengeState.CALLING: ChallengeState.UNKNOWN},
    Event.CODE: {
        # After a recall only: the code was found after all.
        ChallengeState.PENDING: ChallengeState.PENDING,
        ChallengeState.CALLING: ChallengeState.CALLING,
        ChallengeState.AWAITING_CODE: ChallengeState.AWAITING_CODE,
        ChallengeState.VERIFYING: ChallengeState.VERIFYING,
        ChallengeState.UNKNOWN: ChallengeState.UNKNOWN,
        ChallengeState.EXPIRED: ChallengeState.EXPIRED,
    },
    Event.VERIFY: {
        ChallengeState.PENDING: ChallengeState.VERIFYING,
        ChallengeState.AWAITING_CODE: ChallengeState.VERIFYING,
        ChallengeState.UNKNOWN: ChallengeState.VERIFYING,
        ChallengeState.EXPIRED: ChallengeState.VERIFYING,
    },
    Event.VERIFIED: {
        ChallengeState.VERIFYING: ChallengeState.VERIFIED,
        ChallengeState.CALLING: ChallengeState.VERIFIED,
        ChallengeState.UNKNOWN: ChallengeState.VERIFIED,
    },
    # The state after a code that did not verify is `_fallback_state`.
    Event.CODE_REJECTED: {ChallengeState.VERIFYING: ChallengeState.AWAITING_CODE},
    Event.CODE_NOT_SENT: {ChallengeState.VERIFYING: ChallengeState.AWAITING_CODE},
    Event.VERIFY_UNKNOWN: {ChallengeState.VERIFYING: ChallengeState.VERIFYING},
    Event.RETRY_CODE: {ChallengeState.VERIFYING: ChallengeState.AWAITING_CODE},
    Event.REQUEST_CODE: {ChallengeState.VERIFYING: ChallengeState.AWAITING_CODE},
    Event.BLOCKED: {
        ChallengeState.PENDING: ChallengeState.BLOCKED,
        ChallengeState.CALLING: ChallengeState.BLOCKED,
        ChallengeState.VERIFYING: ChallengeState.BLOCKED,
        ChallengeState.UNKNOWN: ChallengeState.BLOCKED,
    },
    Event.CODE_TIMEOUT: {
        ChallengeState.AWAITING_CODE: ChallengeState.EXPIRED,
        ChallengeState.UNKNOWN: ChallengeState.UNKNOWN,
    },
    Event.RECALL: {
        ChallengeState.AWAITING_CODE: ChallengeState.PENDING,
        ChallengeState.EXPIRED: ChallengeState.PENDING,
        ChallengeState.FAILED: ChallengeState.PENDING,
        ChallengeState.UNKNOWN: ChallengeState.PENDING,
    },
}


class Todo(enum.IntEnum):
    """The next step for a number, once it is due."""

    NOTHING = 0
    LOOK_UP = 1
    CALL = 2
    VERIFY = 3
    RESOLVE = 4
    EXPIRE = 5


@attrs.frozen(kw_only=True)
class Entry:
    """A number in a journal. Times are wall-clock seconds since the epoch."""

    number: str
    ref: str | None = None
    """The caller's own reference: a chat id, a ticket."""
    line: int | None = None
    """Its line in the input."""
    state: ChallengeState = ChallengeState.PENDING
    attempt: int = 0
    """Calls that may have rung; the current one, while it is called."""
    intent: int | None = None
    """Token of its last intent; an outcome must carry it."""
    codes_used: int = 0
    """Codes sent for the current attempt, once that is known to have been made."""
    codes_waiting: int = 0
    """Codes in the inbox that were not sent yet."""
    called_at: float | None = None
    """When the current attempt's intent was committed."""
    settled_at: float | None = None
    due: float = 0.0
    """When the next step is due."""
    window_end: float | None = None
    """Until when a code is awaited."""
    remote: SinchState | None = None
    """Its state at Sinch when it was last looked up."""
    region: str | None = None
    added: bool = False
    """It was (perhaps) added to the project by this run."""
    note: str | None = None
    """The reason for its state, for people."""
    to_ring: bool = True
    """A call is to be made: none was, or a person asked for another."""
    tries: int = 0
    """How often the code in flight was sent."""
    batch: int | None = None
    """The text-enabling batch that it is in."""

    @property
    def todo(self) -> Todo:
        """The next step, at `due`."""
        return _todo(self.state, self.codes_waiting, self.remote, self.window_end)


def _todo(
    state: ChallengeState,
    codes_waiting: int,
    remote: SinchState | None,
    window_end: float | None,
) -> Todo:
    if state is ChallengeState.VERIFYING:
        return Todo.RESOLVE
    if codes_waiting and state in TABLE[Event.VERIFY]:
        return Todo.VERIFY
    if state is ChallengeState.PENDING:
        return Todo.CALL if remote in CALLABLE else Todo.LOOK_UP
    if state in (ChallengeState.AWAITING_CODE, ChallengeState.UNKNOWN):
        return Todo.NOTHING if window_end is None else Todo.EXPIRE
    return Todo.NOTHING


NEVER = float("inf")
"""`due` of an entry that a response, not the clock, moves on."""


@attrs.frozen(kw_only=True)
class Change:
    """One event of one number."""

    number: str
    event: Event
    at: float
    """Wall-clock seconds."""
    intent: int | None = None
    """Token: given to an intent by its journal, carried by each outcome of that intent."""
    from_state: ChallengeState | None = None
    """The change is refused in any other state."""
    due: float | None = None
    window: float | None = None
    """CALLED, CALL_UNKNOWN: how long a code is awaited, in seconds."""
    max_codes: int | None = None
    """CODE_REJECTED: how many codes one call is worth."""
    remote: SinchState | None = None
    region: str | None = None
    note: str | None = None


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
    todo = _todo(state, after["codes_waiting"], after["remote"], after["window_end"])
    if todo is Todo.EXPIRE:
        after["due"] = after["window_end"]
    if todo is not Todo.NOTHING or not state.settled:
        after["settled_at"] = None
    else:
        # The rest of the inbox is erased with this.
        after["settled_at"] = change.at if entry.settled_at is None else entry.settled_at
        after["codes_waiting"] = 0
    return Entry(**after)


_NAMES = tuple(field.name for field in attrs.fields(Entry))
_values = operator.attrgetter(*_NAMES)


def _is_possible(entry: Entry, change: Change) -> bool:  # noqa: PLR0911 - an arm an event
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
            return entry.todo is Todo.LOOK_UP
        case Event.ADD:
            return not entry.added
        case Event.CODE_TIMEOUT:  # of the call it was due for, not of one that was made since
            return change.intent == entry.intent
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
        case Event.RECALL:
            return {"to_ring": True, "remote": None, "window_end": None}
        case _:
            return {}


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
