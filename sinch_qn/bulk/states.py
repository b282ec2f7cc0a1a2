"""The state machine of a number in a run: its states, its events, and one table.

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
from collections.abc import Mapping

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
    REQUEST = "request"  # a person wants its first call now
    SINCH_STATE_CHANGED = "seen"  # seen after text-enabling
    POSTPONED = "later"  # outside its calling hours, or rate-limited


INTENTS = frozenset({Event.ADD, Event.CALL, Event.VERIFY})
"""Each is given a token when it is committed."""

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
    Event.REQUEST: {ChallengeState.PENDING: ChallengeState.PENDING},
}


class Todo(enum.IntEnum):
    """The next step for a number, once it is due."""

    NOTHING = 0
    LOOK_UP = 1
    CALL = 2
    VERIFY = 3
    RESOLVE = 4
    EXPIRE = 5
    REQUESTED_CALL = 6
    """Before all other calls; with `on_request` the only ones that are made."""
    REQUESTED_LOOK_UP = 7
    """Before all other look-ups: a person waits for it."""


LOOK_UPS = (Todo.REQUESTED_LOOK_UP, Todo.LOOK_UP)
"""The first ones first."""


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
    requested_at: float | None = None
    """When a person last asked for a call; None: nobody did."""

    @property
    def todo(self) -> Todo:
        """The next step, at `due`."""
        return next_step(
            self.state, self.codes_waiting, self.remote, self.window_end, self.requested_at
        )


def next_step(
    state: ChallengeState,
    codes_waiting: int,
    remote: SinchState | None,
    window_end: float | None,
    requested_at: float | None,
) -> Todo:
    """Return the next step for a number with these values of its entry."""
    if state is ChallengeState.VERIFYING:
        return Todo.RESOLVE
    if codes_waiting and state in TABLE[Event.VERIFY]:
        return Todo.VERIFY
    if state is ChallengeState.PENDING:
        if remote not in CALLABLE:
            return Todo.LOOK_UP if requested_at is None else Todo.REQUESTED_LOOK_UP
        return Todo.CALL if requested_at is None else Todo.REQUESTED_CALL
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
