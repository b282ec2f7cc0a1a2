"""What a person sees and may do about one number: a `Card`, computed from its entry. No I/O."""

from __future__ import annotations

import enum
from collections.abc import Collection, Sequence
from datetime import time
from typing import Final

import attrs

from sinch_qn.bulk.call_requests import BEING_CHECKED, NO_RUNNER, PAUSED, obstacle
from sinch_qn.bulk.calling_hours import CallingHours
from sinch_qn.bulk.journal.protocol import OUTSIDE_HOURS, Readiness, RunSettings
from sinch_qn.bulk.outcomes import ASK_AGAIN
from sinch_qn.bulk.states import ChallengeState, Entry
from sinch_qn.lifecycle import CALLABLE

RESULT_KEPT: Final = 3600.0
"""Seconds for which a link shows the result of a number that is settled for good."""


class Situation(enum.Enum):
    """How a number stands for the person at its phone; texts and styles are named after it."""

    READY = "ready"
    """Nobody asked for its call yet."""
    CLOSED = "closed"
    """As READY, outside its calling hours."""
    ASKED = "asked"
    RINGING = "ringing"
    AWAITING = "awaiting"
    """Called; the phone does not ring any more."""
    UNSURE = "unsure"
    """As AWAITING, but the response to the call was lost."""
    WRONG = "wrong"
    """A code was wrong; there are tries left."""
    ASK = "ask"
    """It is not known whether a code was right."""
    CHECKING = "checking"
    VERIFIED = "verified"
    SKIPPED = "skipped"
    USED_UP = "used_up"
    """As WRONG, without tries left."""
    EXPIRED = "expired"
    REFUSED = "refused"
    """It cannot be called."""
    BLOCKED = "blocked"


_SETTLED: Final = {
    ChallengeState.VERIFIED: Situation.VERIFIED,
    ChallengeState.SKIPPED: Situation.SKIPPED,
    ChallengeState.BLOCKED: Situation.BLOCKED,
    ChallengeState.INVALID: Situation.REFUSED,
}
"""States that no person can change."""

_CALLABLE: Final = {
    Situation.READY: "call_now",
    Situation.AWAITING: "call_again",
    Situation.UNSURE: "call_again",
    Situation.WRONG: "call_again",
    Situation.ASK: "call_again",
    Situation.USED_UP: "call_again",
    Situation.EXPIRED: "call_again",
    Situation.REFUSED: "try_again",
}
"""Where a call can be asked for, and the text of its button."""

_TAKES_CODE: Final = frozenset(
    {
        Situation.RINGING,
        Situation.AWAITING,
        Situation.UNSURE,
        Situation.WRONG,
        Situation.ASK,
        Situation.EXPIRED,
    }
)

_DONE: Final = frozenset({Situation.VERIFIED, Situation.SKIPPED})

_OBSTACLES: Final = {
    OUTSIDE_HOURS: "hours",
    PAUSED: "paused",
    NO_RUNNER: "no_runner",
    BEING_CHECKED: "checking",
}

_ANYWHERE: Final = CallingHours("00:00-12:00")
"""It knows the time zones of numbers."""


@attrs.frozen(kw_only=True)
class Card:
    """A number on a page. Equal ones look and act alike; times are epoch seconds."""

    number: str
    situation: Situation
    attempt: int
    """What its forms carry: how many calls were made when it was shown."""
    intent: int | None = None
    """What the form for a call carries, too: two calls may have the same attempt."""
    tries_left: int = 0
    ring_end: float | None = None
    """RINGING: when another call can be asked for."""
    obstacle: str | None = None
    """Why its call is not made at once: `hours`, `paused`, `no_runner`, `checking`, `later`."""
    earliest: float | None = None
    hours: tuple[time, time] | None = None
    """Its calling hours, where they are the obstacle."""
    zone: str = "UTC"
    in_turn: bool = False
    """READY: it is also called if nobody asks."""
    is_for_good: bool = False
    """Whether no person can change it any more."""
    gone_at: float | None = None
    """When a link to it alone ends."""

    @property
    def button(self) -> str | None:
        """The text of the button that asks for a call; None if there is none."""
        closed = self.obstacle == "hours" and self.situation is not Situation.ASKED
        return None if self.is_for_good or closed else _CALLABLE.get(self.situation)

    @property
    def takes_code(self) -> bool:
        """Whether there is a box for the code."""
        return self.situation in _TAKES_CODE

    @property
    def is_pending(self) -> bool:
        """Whether it changes by itself soon."""
        return self.situation in (Situation.ASKED, Situation.CHECKING)

    @property
    def is_done(self) -> bool:
        """Whether it is verified."""
        return self.situation in _DONE

    @property
    def digits(self) -> str:
        """The number in groups, as people read it: `+1 202 555 0134`."""
        if len(self.number) != 12 or not self.number.startswith("+1"):
            return self.number
        return "\u00a0".join(("+1", self.number[2:5], self.number[5:8], self.number[8:]))

    def next_change(self, now: float) -> float | None:
        """Return when it changes by time alone, if it does."""
        times = (self.ring_end, self.earliest, self.gone_at)
        return min((at for at in times if at is not None and at > now), default=None)


def card_of(entry: Entry, readiness: Readiness, now: float) -> Card:
    """Return what the person at the phone of *entry* sees at *now*."""
    settings = readiness.settings or RunSettings()
    situation = _situation(entry, settings, now)
    card = Card(
        number=entry.number,
        situation=situation,
        attempt=entry.attempt,
        intent=entry.intent,
        tries_left=max(0, settings.max_codes - entry.codes_used),
        is_for_good=entry.state in _SETTLED,
    )
    if card.is_for_good:
        settled_at = entry.settled_at
        return attrs.evolve(card, gone_at=None if settled_at is None else settled_at + RESULT_KEPT)
    if situation is Situation.RINGING:
        return attrs.evolve(card, ring_end=(entry.called_at or now) + settings.ring_window)
    if situation is Situation.ASKED or card.button is not None:
        card = _with_obstacle(card, entry, readiness, now)
    is_ready = card.situation is Situation.READY
    return attrs.evolve(card, in_turn=is_ready and not settings.on_request)


def _situation(entry: Entry, settings: RunSettings, now: float) -> Situation:
    if entry.state in _SETTLED:
        return _SETTLED[entry.state]
    if entry.codes_waiting or entry.state is ChallengeState.VERIFYING:
        return Situation.CHECKING
    if entry.state is ChallengeState.PENDING:
        asked = entry.requested_at is not None
        return Situation.ASKED if asked else Situation.READY
    if entry.state is ChallengeState.FAILED:
        were_codes_wrong = entry.codes_used > 0 and entry.remote in CALLABLE
        return Situation.USED_UP if were_codes_wrong else Situation.REFUSED
    return _after_call(entry, settings, now)


def _after_call(entry: Entry, settings: RunSettings, now: float) -> Situation:
    """Return the situation of a number that was called, and has no code that is checked."""
    if entry.state is ChallengeState.CALLING:
        return Situation.RINGING
    if entry.codes_used and entry.state is ChallengeState.AWAITING_CODE:
        return Situation.ASK if entry.note == ASK_AGAIN else Situation.WRONG
    if entry.state is ChallengeState.EXPIRED:
        return Situation.EXPIRED
    if entry.called_at is not None and now < entry.called_at + settings.ring_window:
        return Situation.RINGING
    is_unknown = entry.state is ChallengeState.UNKNOWN
    return Situation.UNSURE if is_unknown else Situation.AWAITING


def _with_obstacle(card: Card, entry: Entry, readiness: Readiness, now: float) -> Card:
    earliest, reason = obstacle(entry, readiness, now)
    if reason is None:
        return card
    if reason == NO_RUNNER and earliest is not None and card.situation is not Situation.ASKED:
        reason = OUTSIDE_HOURS  # as well, and nothing can be asked for at this hour
    zones = _ANYWHERE.zones(entry.number)
    card = attrs.evolve(
        card,
        obstacle=_OBSTACLES.get(reason, "later"),
        earliest=earliest,
        zone=zones[0] if zones else "UTC",
    )
    if card.obstacle != "hours" or readiness.settings is None:
        return card
    hours = CallingHours.parse(readiness.settings.calling_hours or "")
    is_ready = card.situation is Situation.READY
    return attrs.evolve(
        card,
        hours=(hours.start, hours.end),
        zone=(hours.zones(entry.number) or ("UTC",))[0],
        situation=Situation.CLOSED if is_ready else card.situation,
    )


def is_gone(cards: Sequence[Card], now: float) -> bool:
    """Return whether a link to *cards* has ended: all are settled, and were for an hour."""
    return all(card.gone_at is not None and card.gone_at <= now for card in cards)


def done(cards: Collection[Card]) -> int:
    """Return how many of *cards* are verified."""
    return sum(card.is_done for card in cards)
