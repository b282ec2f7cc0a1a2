"""The deadlines of all calls under way, on one timer.

`asyncio.timeout` gives each call a timer of its own, and the event loop keeps its timers in order
by comparisons in Python: 9 µs of a call's 110 with 50 calls under way (measured).
"""

from __future__ import annotations

import asyncio
from itertools import takewhile
from types import TracebackType
from typing import Self


class Deadlines:
    """Gives out deadlines, and cuts off who is over theirs."""

    def __init__(self) -> None:
        # By their length: those of one length end in the order in which they began.
        self._running: dict[float, dict[Deadline, None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def timeout(self, seconds: float) -> Deadline:
        """Return a context that ends in a TimeoutError once *seconds* are over."""
        return Deadline(self, seconds)

    def close(self) -> None:
        """Let go of the timer, unless something is under way still."""
        if not self._running:
            self._disarm()

    def start(self, deadline: Deadline) -> None:
        """Watch *deadline*."""
        self._running.setdefault(deadline.seconds, {})[deadline] = None
        if self._timer is None or deadline.when < self._timer.when():
            self._arm(deadline.when)

    def stop(self, deadline: Deadline) -> None:
        """Watch *deadline* no more. The timer stays; it finds out for itself."""
        same_length = self._running.get(deadline.seconds, {})
        same_length.pop(deadline, None)
        if not same_length:
            self._running.pop(deadline.seconds, None)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, when: float) -> None:
        self._disarm()
        self._timer = asyncio.get_running_loop().call_at(when, self._expire_due, when)

    def _expire_due(self, armed_for: float) -> None:
        """Cut off who is over their deadline; wait for the next one."""
        self._timer = None
        # An event loop's timers may come a little early.
        loop = asyncio.get_running_loop()
        now = max(loop.time(), armed_for)
        over = [
            deadline
            for same_length in self._running.values()
            for deadline in takewhile(lambda each: each.when <= now, same_length)
        ]
        for deadline in over:
            self.stop(deadline)
            loop.call_soon(deadline.expire)  # by itself: what goes wrong there is its own
        if self._running:
            self._arm(min(next(iter(same_length)).when for same_length in self._running.values()))


class Deadline:
    """One deadline, as a context, with the meaning of `asyncio.timeout`."""

    __slots__ = ("_cancelling", "_deadlines", "_over", "_task", "seconds", "when")

    when: float
    """The event loop's time at which it is over."""

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self.seconds = seconds
        self._deadlines = deadlines
        self._task: asyncio.Task[object] | None = None
        self._over = False

    def __enter__(self) -> Self:
        self._task = task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a call needs a task to run in")
        self._cancelling = task.cancelling()
        self.when = asyncio.get_running_loop().time() + self.seconds
        self._deadlines.start(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._deadlines.stop(self)
        task, self._task = self._task, None
        # If somebody else has cancelled the task as well, that goes first.
        if (
            self._over
            and task is not None
            and task.uncancel() <= self._cancelling
            and kind is asyncio.CancelledError
        ):
            raise TimeoutError from error

    def expire(self) -> None:
        """Have the task leave the context."""
        self._over = True
        if self._task is not None:
            self._task.cancel()
