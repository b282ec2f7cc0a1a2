"""The rate that the number of calls in flight allows: that number ÷ the time of a response."""

from __future__ import annotations

import statistics
from collections import deque

import attrs

_SAMPLE = 50
"""Calls in a row that are looked at."""


@attrs.frozen(kw_only=True)
class RateCeiling:
    """A rate that cannot be reached, and why."""

    calls_per_second: float
    """The rate that was asked for."""
    reachable: float
    """Calls a second."""
    response_time: float
    """Seconds that a call takes, from its turn to its response; the median."""
    option: str
    """What limits the calls in flight: `max_unknown` or `concurrency`."""
    in_flight: int

    def __str__(self) -> str:
        return (
            f"calls_per_second={self.calls_per_second:g} cannot be reached: a call takes"
            f" {self.response_time:.2g} s, so {self.option}={self.in_flight} allows"
            f" {self.reachable:.3g} calls a second"
        )


@attrs.define(kw_only=True)
class CallTimes:
    """The latest calls: how long they took, and whether a limit of calls in flight was reached."""

    calls_per_second: float
    _calls: deque[tuple[float, tuple[str, int] | None]] = attrs.field(
        factory=lambda: deque(maxlen=_SAMPLE)
    )

    def observe(self, seconds: float, limit: tuple[str, int] | None) -> RateCeiling | None:
        """Note a call; return the ceiling if the rate cannot be reached because of *limit*.

        *limit* is the option that held back other calls when this one ended, and its value.
        """
        self._calls.append((seconds, limit))
        held_back = sum(reached == limit for _, reached in self._calls)
        if limit is None or held_back < 0.8 * _SAMPLE:
            return None
        response_time = statistics.median(seconds for seconds, _ in self._calls)
        option, in_flight = limit
        reachable = in_flight / max(response_time, 1e-6)
        if reachable >= 0.98 * self.calls_per_second:
            return None
        return RateCeiling(
            calls_per_second=self.calls_per_second,
            reachable=reachable,
            response_time=response_time,
            option=option,
            in_flight=in_flight,
        )
