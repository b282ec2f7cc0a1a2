"""When the next phone may be rung: slots, pace, patience, outages. No I/O; time is passed in."""

from __future__ import annotations

from collections import OrderedDict

import attrs

STREAK = 20
"""Unanswered calls in a row that pause the ringing: an outage is no flood of unknowns."""

_AT_RISK = 2 * STREAK
"""Calls in flight plus the streak: no outage can leave more unknowns than this."""

_PATIENCE = 15.0
"""Seconds without ringing after the first call that goes unanswered again; doubled each time."""

_MOST_PATIENT = 1800.0

_SLOWEST = 60.0
"""Seconds between two calls that no 429 slows the run beyond."""


@attrs.define
class Pacing:
    """Who may be rung now. All times are monotonic seconds."""

    max_ringing: int
    ring_window: float
    calls_per_second: float
    paused: bool = True
    """No ringing until a probe was answered: so a run starts, and so it waits out an outage."""
    _slots: OrderedDict[str, float] = attrs.field(factory=OrderedDict)
    """Until when each phone holds its slot: the ring window from its call's intent."""
    _taken: set[str] = attrs.field(factory=set)
    """Those with a slot whose intent is still to be committed."""
    _in_flight: set[str] = attrs.field(factory=set)
    _next_at: float = 0.0
    _interval: float = attrs.field(init=False)
    _streak: int = 0
    _misses: int = 0
    """Other questions in a row without an answer."""
    _relapses: int = 0
    """How often ringing was resumed in vain."""
    _allowed: int = _AT_RISK
    _limited: OrderedDict[str, tuple[int, int]] = attrs.field(factory=OrderedDict)
    _passes: int = 0

    @_interval.default
    def _full_speed(self) -> float:
        return 1.0 / self.calls_per_second

    @property
    def ringing(self) -> int:
        """How many phones hold a slot."""
        return len(self._slots) + len(self._taken)

    @property
    def rate(self) -> float:
        """Calls a second, at the most, as slowed by what Sinch said."""
        return 1.0 / self._interval

    def wait(self, now: float) -> float | None:
        """Return 0 if a phone may be rung, else the seconds until it may; None: an event is due."""
        while self._slots and next(iter(self._slots.values())) <= now:
            self._slots.popitem(last=False)
        if self.paused or len(self._in_flight) >= min(self._allowed, _AT_RISK - self._streak):
            return None
        if self.ringing >= self.max_ringing:
            return next(iter(self._slots.values())) - now if self._slots else None
        return max(0.0, self._next_at - now)

    def take(self, number: str, now: float) -> None:
        """Give *number* a slot and its turn."""
        # A late turn does not lend its time to the next ones: that would be a burst.
        self._next_at = max(now, self._next_at) + self._interval
        self._in_flight.add(number)
        self._slots.pop(number, None)
        self._taken.add(number)

    def rings(self, number: str, now: float) -> None:
        """Note that the intent to call *number* is committed: its ring window begins."""
        self._taken.discard(number)
        self._slots[number] = now + self.ring_window
        self._slots.move_to_end(number)

    def restore(self, number: str, until: float) -> None:
        """Give *number* the slot back that it held before a restart."""
        self._slots[number] = until

    def release(self, number: str) -> None:
        """Free the slot of *number*: its code is there, or it did not ring."""
        self._slots.pop(number, None)
        self._taken.discard(number)

    def done(self, number: str) -> None:
        """Note that the call to *number* is no longer in flight, however it ended."""
        self._in_flight.discard(number)
        self._taken.discard(number)

    def passed(self, number: str) -> None:
        """Note an answer: the streak ends, and the run gets faster again."""
        self._streak = self._relapses = 0
        self._passes += 1
        self._allowed = min(_AT_RISK, 2 * self._allowed)
        self._interval = max(1.0 / self.calls_per_second, self._interval * 0.9)
        self._limited.pop(number, None)

    def limited(self, number: str, retry_after: float | None) -> float:
        """Note a 429 and return the seconds to leave *number* alone.

        The run slows, too, unless others have passed since this number was last limited: then it
        is this number's own limit.
        """
        self._streak = 0
        times, passes = self._limited.pop(number, (0, self._passes))
        self._limited[number] = (times + 1, self._passes)
        if len(self._limited) > 10 * _AT_RISK:
            self._limited.popitem(last=False)
        if not times or passes == self._passes:
            self._interval = min(_SLOWEST, 2 * self._interval)
        return retry_after if retry_after is not None else min(300.0, 5.0 * 2.0 ** min(times, 10))

    def unanswered(self) -> None:
        """Note a call without an answer; after too many in a row ringing pauses."""
        self._streak += 1
        if not self.paused and self._streak >= min(STREAK, self._allowed):
            self.paused = True
            if self._allowed == 1:
                self._relapses += 1

    def asked(self, *, answered: bool) -> None:
        """Note what came of a question that rings nobody; it says nothing about calls."""
        self._misses = 0 if answered else self._misses + 1
        if self._misses >= STREAK:
            self.paused = True

    def resume(self, now: float) -> None:
        """Ring again: slowly, if there was an outage; later each time, if only calls fail."""
        self.paused = False
        self._misses = 0
        if self._streak:
            self._allowed = 1
            self._streak = 0
            if self._relapses:
                pause = min(_MOST_PATIENT, _PATIENCE * 2.0 ** min(self._relapses - 1, 30))
                self._next_at = max(self._next_at, now + pause)
