"""When the next phone may be called: slots, pace, backoff, outages. No I/O; time is passed in."""

from __future__ import annotations

from collections import OrderedDict

import attrs

from sinch_qn.bulk.outcomes import is_unanswered
from sinch_qn.bulk.states import Todo
from sinch_qn.errors import Outcome, RateLimitError, SinchError

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


@attrs.define
class Pacing:
    """Decides which phone may be called now. All times are monotonic seconds."""

    max_ringing: int
    ring_window: float
    calls_per_second: float
    max_unknown: int = MAX_UNKNOWN
    """Calls in flight plus the streak: the most unknowns that an outage can leave."""
    paused: bool = True
    """No calls until a probe succeeds: at the start of a run, and in an outage."""
    _slots: OrderedDict[str, float] = attrs.field(factory=OrderedDict)
    """Until when each phone holds its slot: the ring window from its call's intent."""
    _reserved: set[str] = attrs.field(factory=set)
    """Phones with a slot whose intent is still to be committed."""
    _in_flight: set[str] = attrs.field(factory=set)
    _next_at: float = 0.0
    _interval: float = attrs.field(init=False)
    _streak: int = 0
    _misses: int = 0
    """Other requests in a row without a response."""
    _failed_resumes: int = 0
    _allowed: int = attrs.field(init=False)
    _limited: OrderedDict[str, tuple[int, int]] = attrs.field(factory=OrderedDict)
    _passes: int = 0

    @_interval.default
    def _full_speed(self) -> float:
        return 1.0 / self.calls_per_second

    @_allowed.default
    def _all_allowed(self) -> int:
        return self.max_unknown

    @property
    def ringing(self) -> int:
        """How many phones hold a slot."""
        return len(self._slots) + len(self._reserved)

    @property
    def rate(self) -> float:
        """Calls a second at most, as slowed by rate limiting."""
        return 1.0 / self._interval

    @property
    def holds_back(self) -> bool:
        """Whether calls wait because `max_unknown` are in flight."""
        at_bound = len(self._in_flight) >= self.max_unknown
        return at_bound and not self.paused and self.ringing < self.max_ringing

    @property
    def _max_in_flight(self) -> int:
        return min(self._allowed, self.max_unknown - self._streak)

    def observe(self, number: str, request: Todo, response: object) -> float | None:
        """Learn from the response to a request; return seconds to postpone *number*, if limited.

        *response* is what Sinch sent, or the `SinchError` that came instead.
        """
        is_call = request is Todo.CALL
        error = response if isinstance(response, SinchError) else None
        if is_call and error is not None and error.outcome is not Outcome.UNKNOWN:
            self.release(number)  # it does not ring
        if isinstance(error, RateLimitError) and request in (Todo.CALL, Todo.VERIFY):
            return self.rate_limited(number, error.retry_after)
        if not is_call:
            self.probed(answered=not is_unanswered(response))
        elif is_unanswered(response):
            self.unanswered()
        else:
            self.answered(number)
        return None

    def wait(self, now: float) -> float | None:
        """Return the seconds until a phone may be called; None: not before something happens."""
        while self._slots and next(iter(self._slots.values())) <= now:
            self._slots.popitem(last=False)
        if self.paused or len(self._in_flight) >= self._max_in_flight:
            return None
        if self.ringing >= self.max_ringing:
            return next(iter(self._slots.values())) - now if self._slots else None
        return max(0.0, self._next_at - now)

    def reserve(self, number: str, now: float) -> None:
        """Give *number* a slot and its turn."""
        # A turn that is later than that does not shorten the next intervals: it would be a burst.
        start = self._next_at if now - self._next_at <= LATENESS else now
        self._next_at = start + self._interval
        self._in_flight.add(number)
        self._slots.pop(number, None)
        self._reserved.add(number)

    def call_started(self, number: str, now: float) -> None:
        """Begin the ring window of *number*: the intent to call it is committed."""
        self._reserved.discard(number)
        self._slots[number] = now + self.ring_window
        self._slots.move_to_end(number)

    def restore(self, number: str, until: float) -> None:
        """Give *number* back the slot that it held before a restart."""
        self._slots[number] = until

    def release(self, number: str) -> None:
        """Free the slot of *number*: its code is there, or it did not ring."""
        self._slots.pop(number, None)
        self._reserved.discard(number)

    def call_finished(self, number: str) -> None:
        """Note that the call to *number* is no longer in flight, whatever its outcome."""
        self._in_flight.discard(number)
        self._reserved.discard(number)

    def answered(self, number: str) -> None:
        """Note a response to a call: the streak ends, and the run speeds up again."""
        self._streak = self._failed_resumes = 0
        self._passes += 1
        self._allowed = min(self.max_unknown, 2 * self._allowed)
        self._interval = max(1.0 / self.calls_per_second, self._interval * 0.9)
        self._limited.pop(number, None)

    def rate_limited(self, number: str, retry_after: float | None) -> float:
        """Note a 429; return the seconds to postpone *number*.

        The run slows as well, unless calls to others were answered since this number was last
        limited: then the limit is this number's own.
        """
        self._streak = 0
        times, passes = self._limited.pop(number, (0, self._passes))
        self._limited[number] = (times + 1, self._passes)
        if len(self._limited) > _MAX_LIMITED:
            self._limited.popitem(last=False)
        if not times or passes == self._passes:
            self._interval = min(_MAX_INTERVAL, 2 * self._interval)
        return retry_after if retry_after is not None else min(300.0, 5.0 * 2.0 ** min(times, 10))

    def unanswered(self) -> None:
        """Note a call without a response; too many in a row pause calling."""
        self._streak += 1
        if not self.paused and self._streak >= min(
            STREAK, self._allowed, (self.max_unknown + 1) // 2
        ):
            self.paused = True
            if self._allowed == 1:
                self._failed_resumes += 1

    def probed(self, *, answered: bool) -> None:
        """Note the result of another request; it says nothing about calls."""
        self._misses = 0 if answered else self._misses + 1
        if self._misses >= STREAK:
            self.paused = True

    def resume(self, now: float) -> None:
        """Resume calling: slowly after an outage, with backoff if only calls keep failing."""
        self.paused = False
        self._misses = 0
        if self._streak:
            self._allowed = 1
            self._streak = 0
            if self._failed_resumes:
                pause = min(
                    _MAX_BACKOFF, _INITIAL_BACKOFF * 2.0 ** min(self._failed_resumes - 1, 30)
                )
                self._next_at = max(self._next_at, now + pause)
