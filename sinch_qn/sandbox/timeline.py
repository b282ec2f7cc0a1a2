"""The changes that are due at a time of the sandbox's clock. No I/O."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

from sinch_qn.sandbox.clock import Clock


class Timeline:
    """One heap of delayed changes: a million numbers need no timers."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._due: list[tuple[float, int, Callable[[Any, float], None], object]] = []
        self._scheduled = 0

    def advance_to_now(self) -> float:
        """Apply all due changes, each with its own time, and return the time."""
        now = self.clock.now()
        while self._due and self._due[0][0] <= now:
            at, _, action, subject = heapq.heappop(self._due)
            action(subject, at)
        return now

    @property
    def next_due(self) -> float | None:
        """Time of the next scheduled change, in Unix seconds."""
        return self._due[0][0] if self._due else None

    def schedule(self, at: float, action: Callable[[Any, float], None], subject: object) -> None:
        """Call *action* with *subject* and its time once that is *at*."""
        self._scheduled += 1
        heapq.heappush(self._due, (at, self._scheduled, action, subject))
