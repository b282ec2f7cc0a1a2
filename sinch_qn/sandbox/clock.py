"""The sandbox's clock, which can be moved by hand."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """Unix seconds: *now*, plus what `advance` adds."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._ahead = 0.0
        self._watchers: list[Callable[[], None]] = []

    @classmethod
    def stopped(cls, at: float = 1_767_225_600.0) -> Clock:
        """Return a clock that only `advance` moves; it starts at *at*, by default 2026-01-01."""
        return cls(lambda: at)

    def now(self) -> float:
        """Return the time in Unix seconds."""
        return self._now() + self._ahead

    def advance(self, seconds: float) -> None:
        """Add *seconds* to the time."""
        if seconds < 0:
            raise ValueError(f"a clock cannot go back: {seconds}")
        self._ahead += seconds
        self.notify()

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call *watcher* at each `notify`."""
        self._watchers.append(watcher)

    def notify(self) -> None:
        """Call the watchers: the time was moved by hand, or a new event was scheduled."""
        for watcher in self._watchers:
            watcher()
