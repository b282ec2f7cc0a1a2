"""How fast a run calls: rate, backoff after 429, pauses in an outage. No I/O; time is passed in.

`Pacing` is shared by all runners of a run; `Responses` is what one runner remembers of its own.
"""

from __future__ import annotations

import enum
from collections import OrderedDict

import attrs

from sinch_qn.bulk.outcomes import is_unanswered
from sinch_qn.bulk.states import Todo
from sinch_qn.errors import RateLimitError

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
    paused_since: float = 0.0
    """When an outage paused the run; 0: it has only started."""
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

    @property
    def _backoff(self) -> float:
        if not self.failed_resumes:
            return 0.0
        return min(_MAX_BACKOFF, _INITIAL_BACKOFF * 2.0 ** min(self.failed_resumes - 1, 30))

    def on_clock(self, now: float) -> Pacing:
        """Return the pace whose next call is no later than it can be: the clock may be set back."""
        latest = now + self._backoff + self.interval
        return attrs.evolve(self, next_at=min(self.next_at, latest))

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
                return self._unanswered(now)
            case CallResult.LIMITED:
                interval = min(_MAX_INTERVAL, 2 * self.interval)
                return attrs.evolve(self, streak=0, interval=interval)
            case CallResult.LIMITED_ALONE:
                return attrs.evolve(self, streak=0)
            case CallResult.OUTAGE:
                since = self.paused_since if self.paused else now
                return attrs.evolve(self, paused=True, paused_since=since)
            case CallResult.REACHABLE:
                return self._resumed(now)
            case CallResult.NOT_SENT:
                return self

    def _unanswered(self, now: float) -> Pacing:
        """Return the pace after a call without a response; too many in a row pause calling."""
        after = attrs.evolve(self, streak=self.streak + 1)
        if self.paused or after.streak < min(STREAK, self.allowed, (self.max_unknown + 1) // 2):
            return after
        failed = self.failed_resumes + (self.allowed == 1)
        return attrs.evolve(after, paused=True, paused_since=now, failed_resumes=failed)

    def _resumed(self, now: float) -> Pacing:
        """Return the pace after a pause: slow after an outage, later if only calls keep failing."""
        if not self.streak:
            return attrs.evolve(self, paused=False)
        next_at = max(self.next_at, now + self._backoff) if self.failed_resumes else self.next_at
        return attrs.evolve(self, paused=False, allowed=1, streak=0, next_at=next_at)


@attrs.define
class Responses:
    """What a runner remembers of the responses to its requests."""

    _misses: int = 0
    """Requests other than calls in a row without a response."""
    _limited: OrderedDict[str, tuple[int, int]] = attrs.field(factory=OrderedDict)
    """How often a number was limited, and the calls that had succeeded then."""
    _passes: int = 0

    def observe(
        self, number: str, request: Todo, response: object
    ) -> tuple[CallResult | None, float | None]:
        """Return what the pace learns from a response, and the seconds to postpone *number*.

        *response* is what Sinch sent, or the `SinchError` that came instead.
        """
        is_call = request is Todo.CALL
        if isinstance(response, RateLimitError) and request in (Todo.CALL, Todo.VERIFY):
            return self._rate_limited(number, response)
        if is_call and is_unanswered(response):
            return CallResult.UNANSWERED, None
        if is_call:
            self._passes += 1
            self._limited.pop(number, None)
            return CallResult.ANSWERED, None
        self._misses = self._misses + 1 if is_unanswered(response) else 0
        if self._misses < STREAK:
            return None, None
        self._misses = 0
        return CallResult.OUTAGE, None

    def _rate_limited(self, number: str, error: RateLimitError) -> tuple[CallResult, float]:
        """Return the delay of *number* after a 429.

        The run slows as well, unless calls to others were answered since this number was last
        limited: then the limit is this number's own.
        """
        times, passes = self._limited.pop(number, (0, self._passes))
        self._limited[number] = (times + 1, self._passes)
        if len(self._limited) > _MAX_LIMITED:
            self._limited.popitem(last=False)
        is_alone = times > 0 and passes != self._passes
        delay = error.retry_after
        if delay is None:
            delay = min(300.0, 5.0 * 2.0 ** min(times, 10))
        return CallResult.LIMITED_ALONE if is_alone else CallResult.LIMITED, delay
