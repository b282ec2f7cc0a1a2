"""A number's life in a run: one pure table, and the one function that applies it.

    PENDING ──call──▶ CALLING ──called──▶ AWAITING_CODE ──verify──▶ VERIFYING ──▶ VERIFIED
       ▲                 │  └──lost──▶ UNKNOWN ──verify──▲  ▲ ▲          │  └─▶ BLOCKED, FAILED
       ├────not made─────┘               │               │  │ └──wrong───┘
       └────────────recall───────────────┴── EXPIRED ────┘◀─┘ late

Every unsafe write follows one law: its intent is on disk before the request leaves, its outcome
after the answer, and an intent without an outcome is UNKNOWN and is never repeated by itself.
"""

from __future__ import annotations

import enum
import operator
from collections.abc import Mapping
from typing import Any

import attrs

from sinch_qn.models import GlobalProcessState


class ChallengeState(enum.Enum):
    """Where a number is in its run."""

    PENDING = "pending"
    """To be looked up, or to be rung when its turn comes."""
    CALLING = "calling"
    """The call was asked for; its answer is not there yet."""
    AWAITING_CODE = "awaiting_code"
    """It rang: somebody has a code, or can ask for another call."""
    VERIFYING = "verifying"
    """A code was handed in; its answer is not there yet."""
    VERIFIED = "verified"
    SKIPPED = "skipped"
    """Verified before this run, or further: there is nothing to do."""
    FAILED = "failed"
    """It cannot be rung, or its codes are used up; a recall may help."""
    BLOCKED = "blocked"
    """Sinch takes no more codes for it."""
    EXPIRED = "expired"
    """No code came in time; a late one is still tried."""
    UNKNOWN = "unknown"
    """The call's answer was lost: the phone may have rung. A code settles it; so does a recall."""
    INVALID = "invalid"
    """Not a phone number that can be qualified; it was never sent."""

    __hash__ = object.__hash__  # Enum's own is a Python call, made dozens of times a number

    @property
    def settled(self) -> bool:
        """Whether nothing more happens by itself (to UNKNOWN: once its code can come no more)."""
        return self not in _OPEN

    @property
    def accepts_code(self) -> bool:
        """Whether a code is taken in this state; PENDING takes one after a recall."""
        return self in _ACCEPT_CODE


_S = ChallengeState
_OPEN = {_S.PENDING, _S.CALLING, _S.AWAITING_CODE, _S.VERIFYING}
_ACCEPT_CODE = {_S.CALLING, _S.AWAITING_CODE, _S.VERIFYING, _S.UNKNOWN, _S.EXPIRED}


class Event(enum.Enum):
    """What can happen to a number."""

    LOOKED_UP = "learnt"  # Sinch was asked: it may be rung, or must wait
    ALREADY_VERIFIED = "nothing to do"  # Sinch was asked: verified already
    NOT_CALLABLE = "cannot"  # not eligible, not known, or the call was refused
    ADD = "add"  # intent: qualify it first
    ADD_NOT_SENT = "not added"
    CALL = "call"  # intent
    CALLED = "called"
    CALL_NOT_SENT = "not called"  # it surely did not ring
    CALL_UNKNOWN = "lost"  # the answer to the call: it may have rung
    CODE = "code"  # a code came in
    VERIFY = "verify"  # intent
    VERIFIED = "verified"
    CODE_REJECTED = "wrong"  # the code was refused
    CODE_NOT_SENT = "not verified"  # the code surely did not arrive
    VERIFY_UNKNOWN = "unsure"  # the answer to the code was lost: look
    RETRY_CODE = "again"  # looked: still pending, so the code is good for one more try
    REQUEST_CODE = "ask"  # looked: still pending, and tried twice
    BLOCKED = "blocked"
    CODE_TIMEOUT = "late"  # no code in time
    RECALL = "recall"  # a person wants the phone rung again
    SINCH_STATE_CHANGED = "seen"  # Sinch was asked after text-enabling: its state moved on
    POSTPONED = "later"  # outside its calling hours, or Sinch asked for patience


_E = Event

TABLE: Mapping[Event, Mapping[ChallengeState, ChallengeState]] = {
    _E.LOOKED_UP: {_S.PENDING: _S.PENDING},
    _E.ALREADY_VERIFIED: {_S.PENDING: _S.SKIPPED},
    _E.NOT_CALLABLE: {_S.PENDING: _S.FAILED, _S.CALLING: _S.FAILED},
    _E.ADD: {_S.PENDING: _S.PENDING},
    _E.ADD_NOT_SENT: {_S.PENDING: _S.PENDING},
    _E.SINCH_STATE_CHANGED: {_S.VERIFIED: _S.VERIFIED, _S.SKIPPED: _S.SKIPPED},
    _E.POSTPONED: {_S.PENDING: _S.PENDING},
    _E.CALL: {_S.PENDING: _S.CALLING},
    _E.CALLED: {_S.CALLING: _S.AWAITING_CODE},
    _E.CALL_NOT_SENT: {_S.CALLING: _S.PENDING},
    _E.CALL_UNKNOWN: {_S.CALLING: _S.UNKNOWN},
    _E.CODE: {
        _S.PENDING: _S.PENDING,  # after a recall only: the code was found after all
        _S.CALLING: _S.CALLING,
        _S.AWAITING_CODE: _S.AWAITING_CODE,
        _S.VERIFYING: _S.VERIFYING,
        _S.UNKNOWN: _S.UNKNOWN,
        _S.EXPIRED: _S.EXPIRED,
    },
    _E.VERIFY: {
        _S.PENDING: _S.VERIFYING,
        _S.AWAITING_CODE: _S.VERIFYING,
        _S.UNKNOWN: _S.VERIFYING,
        _S.EXPIRED: _S.VERIFYING,
    },
    _E.VERIFIED: {_S.VERIFYING: _S.VERIFIED, _S.CALLING: _S.VERIFIED},
    # Where a code that did not verify leads back to is `_home`; FAILED once all codes are used.
    _E.CODE_REJECTED: {_S.VERIFYING: _S.AWAITING_CODE},
    _E.CODE_NOT_SENT: {_S.VERIFYING: _S.AWAITING_CODE},
    _E.VERIFY_UNKNOWN: {_S.VERIFYING: _S.VERIFYING},
    _E.RETRY_CODE: {_S.VERIFYING: _S.AWAITING_CODE},
    _E.REQUEST_CODE: {_S.VERIFYING: _S.AWAITING_CODE},
    _E.BLOCKED: {_S.PENDING: _S.BLOCKED, _S.CALLING: _S.BLOCKED, _S.VERIFYING: _S.BLOCKED},
    _E.CODE_TIMEOUT: {_S.AWAITING_CODE: _S.EXPIRED, _S.UNKNOWN: _S.UNKNOWN},
    _E.RECALL: {
        _S.AWAITING_CODE: _S.PENDING,
        _S.EXPIRED: _S.PENDING,
        _S.FAILED: _S.PENDING,
        _S.UNKNOWN: _S.PENDING,
    },
}


class Todo(enum.IntEnum):
    """What a run has to do next about a number, once its time has come."""

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
    """Where it stands in the input."""
    state: ChallengeState = ChallengeState.PENDING
    attempt: int = 0
    """Calls that may have rung; the current one, while it is called."""
    codes_used: int = 0
    """Codes handed in for the current attempt, once that is known to have been made."""
    codes_waiting: int = 0
    """Codes in the inbox that were not handed in yet."""
    called_at: float | None = None
    """When the current attempt's intent was committed."""
    settled_at: float | None = None
    due: float = 0.0
    """Before this nothing is done about it."""
    window_end: float | None = None
    """Until when a code is waited for."""
    remote: GlobalProcessState | None = None
    """Its state at Sinch when it was last looked up."""
    region: str | None = None
    added: bool = False
    """It was (perhaps) added to the project by this run."""
    note: str | None = None
    """Why it is where it is, for people."""
    to_ring: bool = True
    """A call is still to be made: it never was, or a person asked for another."""
    tries: int = 0
    """How often the code in hand was handed in."""
    batch: int | None = None
    """The text-enabling batch that it went into."""

    @property
    def todo(self) -> Todo:
        """What is to be done next, at `due`."""
        return _todo(self.state, self.codes_waiting, self.remote, self.window_end)


def _todo(
    state: ChallengeState,
    codes_waiting: int,
    remote: GlobalProcessState | None,
    window_end: float | None,
) -> Todo:
    if state is ChallengeState.VERIFYING:
        return Todo.RESOLVE
    if codes_waiting and state in TABLE[Event.VERIFY]:
        return Todo.VERIFY
    if state is ChallengeState.PENDING:
        return Todo.CALL if remote in RINGABLE else Todo.LOOK_UP
    if state in (ChallengeState.AWAITING_CODE, ChallengeState.UNKNOWN):
        return Todo.NOTHING if window_end is None else Todo.EXPIRE
    return Todo.NOTHING


_G = GlobalProcessState
RINGABLE = frozenset({_G.ELIGIBLE, _G.VERIFICATION_PENDING, _G.VERIFICATION_FAILED})
DONE_BEFORE = frozenset({_G.VERIFIED, _G.HOSTING_IN_PROGRESS, _G.HOSTING_DONE, _G.HOSTING_FAILED})

NEVER = float("inf")
"""`due` of what an answer, not the clock, will move on."""


@attrs.frozen(kw_only=True)
class Change:
    """One event in one number's life."""

    number: str
    event: Event
    at: float
    """Wall-clock seconds."""
    attempt: int | None = None
    """The attempt that this is the outcome of: another one's outcome is refused."""
    from_state: ChallengeState | None = None
    """Where the number has to be for this to mean anything."""
    due: float | None = None
    window: float | None = None
    """CALLED, LOST: how long a code is waited for, in seconds."""
    max_codes: int | None = None
    """WRONG: how many codes one call is worth."""
    remote: GlobalProcessState | None = None
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
    if change.event in _BACK_HOME:
        after["state"] = state = _home(after, change)
    todo = _todo(state, after["codes_waiting"], after["remote"], after["window_end"])
    if todo is Todo.EXPIRE:
        after["due"] = after["window_end"]
    if todo is not Todo.NOTHING or not state.settled:
        after["settled_at"] = None
    else:
        # What is left in the inbox is erased with this.
        after["settled_at"] = change.at if entry.settled_at is None else entry.settled_at
        after["codes_waiting"] = 0
    return Entry(**after)


_NAMES = tuple(field.name for field in attrs.fields(Entry))
_values = operator.attrgetter(*_NAMES)


def _is_possible(entry: Entry, change: Change) -> bool:  # noqa: PLR0911 - an arm an event
    """Say whether *change* means *entry* as it is, beyond what the table says of its state."""
    if change.attempt not in (None, entry.attempt) or change.from_state not in (None, entry.state):
        return False
    match change.event:
        case Event.CODE:  # of a number that was never called there can be none
            return entry.state is not ChallengeState.PENDING or entry.attempt > 0
        case Event.VERIFY:
            return entry.codes_waiting > 0
        case Event.CALL:  # a code goes first: another call would make it wrong
            return not entry.codes_waiting
        case Event.LOOKED_UP:  # if known, perhaps delayed: a listing must not undo that
            return entry.todo is Todo.LOOK_UP
        case Event.ADD:
            return not entry.added
    return True


def _effects(  # noqa: C901, PLR0911, PLR0912 - an arm an event
    entry: Entry, change: Change
) -> dict[str, Any]:
    """Return what *change* does to the fields that are its own."""
    waiting, used = entry.codes_waiting, entry.codes_used
    match change.event:
        case Event.ADD | Event.ADD_NOT_SENT:
            return {"added": change.event is Event.ADD}
        case Event.CALL:
            return {"attempt": entry.attempt + 1, "called_at": change.at}
        case Event.CALL_NOT_SENT:
            return {"attempt": entry.attempt - 1, "called_at": None}
        case Event.CALLED | Event.CALL_UNKNOWN:
            since = change.at if entry.called_at is None else entry.called_at
            end = since + (change.window or 0.0)
            return {"to_ring": False, "window_end": end, "codes_used": 0}
        case Event.NOT_CALLABLE:
            return {"to_ring": False} | (
                {"codes_used": 0} if entry.state is ChallengeState.CALLING else {}
            )
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


_BACK_HOME = frozenset(
    {_E.NOT_CALLABLE, _E.CODE_REJECTED, _E.CODE_NOT_SENT, _E.RETRY_CODE, _E.REQUEST_CODE}
)


def _home(after: Mapping[str, Any], change: Change) -> ChallengeState:
    """Return where a number goes that was refused, or whose code did not verify it."""
    if change.event is Event.NOT_CALLABLE:
        # A code that came while it was called is tried whatever the call's outcome was.
        return ChallengeState.EXPIRED if after["codes_waiting"] else ChallengeState.FAILED
    if after["to_ring"]:
        return ChallengeState.PENDING  # a recall that was accepted is not lost by a wrong code
    if change.event is Event.CODE_REJECTED and after["codes_used"] >= (change.max_codes or 1):
        return ChallengeState.FAILED
    return ChallengeState.EXPIRED if after["window_end"] is None else ChallengeState.AWAITING_CODE
