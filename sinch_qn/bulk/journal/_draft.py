"""Temporary."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import attrs

from sinch_qn.bulk.states import ChallengeState, Change, Entry, Event
from sinch_qn.errors import JournalError

HORIZON = 0.02
MAX_POSTPONED = 200
OUTSIDE_HOURS = "outside its calling hours"
STREAK = 20
"""Unanswered calls in a row that pause calling: an outage must not flood the run with unknowns."""

MAX_UNKNOWN = 2 * STREAK
"""The default of `max_unknown`."""

LATENESS = 0.02
"""A turn that is late by no more seconds counts as on time: timers are always a little late."""

_INITIAL_BACKOFF = 15.0
"""Seconds without calls after the first failed resume; doubled each time."""

_MAX_BACKOFF = 1800.0

_MAX_LIMITED = 400
"""Limited numbers that are remembered."""

_MAX_INTERVAL = 60.0
"""Seconds between two calls; rate limiting slows a run no further."""


class CallResult(enum.Enum):
    """What the pace learns from a response."""

    ANSWERED = "answered"
    """A response to a call; a refusal is one."""
    UNANSWERED = "unanswered"
    """A call without a response."""
    LIMITED = "limited"
    """A 429 to a call or a code: the run slows."""
    LIMITED_ALONE = "limited alone"
    """A 429 to a number while calls to others succeed: only that number is postponed."""
    NOT_SENT = "not sent"
    """The turn was not used."""
    OUTAGE = "outage"
    """Other requests in a row without a response: calling pauses."""
    REACHABLE = "reachable"
    """The probe succeeded: calling resumes."""


@attrs.frozen(kw_only=True)
class Pacing:
    """The pace of a run: scalars only, so that a journal can store it.

    `next_at` is in the clock of the `now` that is passed in.
    """

    calls_per_second: float
    max_ringing: int
    ring_window: float
    max_unknown: int = MAX_UNKNOWN
    """Calls in flight plus the streak: the most unknowns that an outage can leave."""
    interval: float = attrs.field()
    """Seconds between two calls, as slowed by rate limiting."""
    next_at: float = 0.0
    """When the next call is due."""
    paused: bool = True
    """No calls until a probe succeeds: at the start of a run, and in an outage."""
    streak: int = 0
    """Unanswered calls in a row."""
    allowed: int = attrs.field()
    """Calls in flight; few after an outage."""
    failed_resumes: int = 0

    @interval.default
    def _full_speed(self) -> float:
        return 1.0 / self.calls_per_second

    @allowed.default
    def _all_allowed(self) -> int:
        return self.max_unknown

    @property
    def rate(self) -> float:
        """Calls a second at most, as slowed by rate limiting; 0 while paused."""
        return 0.0 if self.paused else 1.0 / self.interval

    @property
    def max_in_flight(self) -> int:
        """How many calls may be in flight now."""
        return min(self.allowed, self.max_unknown - self.streak)

    def at_rate(self, calls_per_second: float, max_ringing: int) -> Pacing:
        """Return the pace with another rate, or another number of ringing phones."""
        interval = max(1.0 / calls_per_second, self.interval)
        if self.interval <= 1.0 / self.calls_per_second:
            interval = 1.0 / calls_per_second
        return attrs.evolve(
            self,
            calls_per_second=calls_per_second,
            max_ringing=max_ringing,
            interval=interval,
        )

    def turn(self, now: float) -> tuple[float, Pacing]:
        """Return when the next call is due, not before *now*, and the pace after it."""
        # A turn that is later than that does not shorten the next intervals: it would be a burst.
        due = self.next_at if now - self.next_at <= LATENESS else now
        return max(due, now), attrs.evolve(self, next_at=due + self.interval)

    def after(self, result: CallResult, now: float) -> Pacing:  # noqa: PLR0911 - a table
        """Return the pace after *result*."""
        match result:
            case CallResult.ANSWERED:  # the streak ends, and the run speeds up again
                return attrs.evolve(
                    self,
                    streak=0,
                    failed_resumes=0,
                    allowed=min(self.max_unknown, 2 * self.allowed),
                    interval=max(1.0 / self.calls_per_second, self.interval * 0.9),
                )
            case CallResult.UNANSWERED:
                return self._unanswered()
            case CallResult.LIMITED:
                interval = min(_MAX_INTERVAL, 2 * self.interval)
                return attrs.evolve(self, streak=0, interval=interval)
            case CallResult.LIMITED_ALONE:
                return attrs.evolve(self, streak=0)
            case CallResult.OUTAGE:
                return attrs.evolve(self, paused=True)
            case CallResult.REACHABLE:
                return self._resumed(now)
            case CallResult.NOT_SENT:
                return self

    def _unanswered(self) -> Pacing:
        """Return the pace after a call without a response; too many in a row pause calling."""
        after = attrs.evolve(self, streak=self.streak + 1)
        if self.paused or after.streak < min(STREAK, self.allowed, (self.max_unknown + 1) // 2):
            return after
        failed = self.failed_resumes + (self.allowed == 1)
        return attrs.evolve(after, paused=True, failed_resumes=failed)

    def _resumed(self, now: float) -> Pacing:
        """Return the pace after a pause: slow after an outage, later if only calls keep failing."""
        if not self.streak:
            return attrs.evolve(self, paused=False)
        next_at = self.next_at
        if self.failed_resumes:
            pause = _INITIAL_BACKOFF * 2.0 ** min(self.failed_resumes - 1, 30)
            next_at = max(next_at, now + min(_MAX_BACKOFF, pause))
        return attrs.evolve(self, paused=False, allowed=1, streak=0, next_at=next_at)


@attrs.frozen(kw_only=True)
class Told:
    """The end of a call, or other news of Sinch."""

    result: CallResult
    slot: int | None = None
    """Of the call's turn; None for other news."""


@attrs.frozen(kw_only=True)
class Turn:
    """The right to start one call."""

    slot: int
    at: float
    """When, in the time of this process's event loop."""


@attrs.frozen(kw_only=True)
class Permits:
    """What a journal permits its runner."""

    turns: Sequence[Turn] = ()
    wait: float | None = None
    """Seconds until there may be more turns; None: not before something happens."""
    due: int = 0
    """Numbers that are due to be called and have no turn; not counted much further than needed."""
    paused: bool = True
    """No calls until a probe succeeds."""
    ringing: int = 0
    rate: float = 0.0
    """Calls a second of the whole run; 0 while paused."""
    is_held_back: bool = False
    """Whether calls wait because `max_unknown` are in flight."""
    stopped: str | None = None
    """Why another runner stopped the whole run."""


@attrs.frozen(kw_only=True)
class Settled:
    """The result of `settle`."""

    pacing: Pacing
    """To be stored."""
    turns: Sequence[float]
    """When the new turns are."""
    wait: float | None
    """As `Permits.wait`, but None also if all slots are taken."""
    is_held_back: bool


def settle(
    pacing: Pacing,
    told: Sequence[CallResult],
    *,
    want: int,
    due: int,
    used: int,
    at_risk: int,
    now: float,
    horizon: float = HORIZON,
) -> Settled:
    """Learn from *told*, then give out up to *want* turns.

    *told* are the results of calls that were in flight until now. *used* slots are taken by turns
    and by ringing phones, *at_risk* by turns and calls in flight; *due* numbers have no turn yet.
    """
    for result in told:
        pacing = pacing.after(result, now)
    ringing_left, at_risk_left = pacing.max_ringing - used, pacing.max_in_flight - at_risk
    is_held_back = not pacing.paused and due > 0 and at_risk >= pacing.max_unknown
    is_held_back &= ringing_left > 0
    most = 0 if pacing.paused else max(0, min(want, due, ringing_left, at_risk_left))
    turns: list[float] = []
    while len(turns) < most and pacing.next_at <= now + horizon:
        at, pacing = pacing.turn(now)
        turns.append(at)
    given = len(turns)
    can_go_on = not pacing.paused and due > given and min(ringing_left, at_risk_left) > given
    wait = max(0.0, pacing.next_at - horizon - now) if can_go_on else None
    return Settled(pacing=pacing, turns=turns, wait=wait, is_held_back=is_held_back)


def holds_slot(entry: Entry) -> bool:
    if entry.called_at is None or entry.codes_waiting:
        return False
    if entry.state is ChallengeState.CALLING:
        return True
    return not entry.codes_used and entry.state in (
        ChallengeState.AWAITING_CODE,
        ChallengeState.UNKNOWN,
        ChallengeState.EXPIRED,
        ChallengeState.PENDING,
    )


@attrs.frozen(kw_only=True)
class RunSettings:
    calls_per_second: float = 5.0
    max_ringing: int = 20
    ring_window: float = 90.0
    max_unknown: int = 40
    code_timeout: float = 86_400.0
    max_codes: int = 3
    calling_hours: str | None = None
    add_missing: bool = False
    regions: tuple[str, ...] = attrs.field(default=("CA", "US"), converter=tuple)
    recheck: float = 30.0

    def pacing(self) -> Pacing:
        return Pacing(
            calls_per_second=self.calls_per_second,
            max_ringing=self.max_ringing,
            ring_window=self.ring_window,
            max_unknown=self.max_unknown,
        )


def check_settings(written: RunSettings, wanted: RunSettings) -> None:
    if written != wanted:
        raise JournalError("settings differ")


def without_outcome(entry: Entry, at: float, window: float) -> Change:
    event = Event.CALL_UNKNOWN if entry.state is ChallengeState.CALLING else Event.VERIFY_UNKNOWN
    return Change(
        number=entry.number, event=event, at=at, intent=entry.intent, window=window, note="gone"
    )
