"""Limits on guessing: how often a login or a code may be tried in a while, by key."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable

import attrs

_MAX_KEYS = 10_000
"""Keys that are remembered; the one that was used longest ago is forgotten first."""


@attrs.define(eq=False)
class Attempts:
    """At most *limit* attempts of one key within *period* seconds. Kept by each process."""

    limit: int
    period: float
    """Seconds."""
    clock: Callable[[], float] = time.monotonic
    _counted: OrderedDict[str, deque[float]] = attrs.field(factory=OrderedDict, init=False)

    def wait(self, key: str = "") -> float:
        """Return the seconds until *key* may be tried again; 0 means now."""
        counted = self._counted.get(key)
        if counted is None or len(counted) < self.limit:
            return 0.0
        return max(0.0, counted[0] + self.period - self.clock())

    def count(self, key: str = "") -> None:
        """Count an attempt of *key*."""
        counted = self._counted.setdefault(key, deque(maxlen=self.limit))
        counted.append(self.clock())
        self._counted.move_to_end(key)
        if len(self._counted) > _MAX_KEYS:
            self._counted.popitem(last=False)
