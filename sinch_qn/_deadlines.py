"""The deadlines of all calls in flight, on one timer.

`asyncio.timeout` needs a timer per call, and the event loop sorts its timers by comparisons in
Python: 9 µs of a call's 110 with 50 calls in flight (measured).
"""

from __future__ import annotations

import asyncio
from itertools import takewhile
from types import TracebackType
from typing import Self


class Deadlines:
    """Cancels the tasks that exceed their deadlines."""

    def __init__(self) -> None:
        # By length: deadlines of one length expire in the order of their start.
        self._running: dict[float, dict[Deadline, None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = 0.0

    def close(self) -> None:
        """Cancel the timer, unless a call is in flight."""
        if not self._running:
            self._disarm()

    def start(self, deadline: Deadline) -> None:
        """Watch *deadline*."""
        self._running.setdefault(deadline.seconds, {})[deadline] = None
        if self._timer is None or deadline.when < self._armed_for:
            self._arm(deadline.when)

    def stop(self, deadline: Deadline) -> None:
        """Stop watching *deadline*. The timer stays, and finds nothing to expire."""
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
        self._armed_for = when
        self._timer = asyncio.get_running_loop().call_at(when, self._expire_due, when)

    def _expire_due(self, armed_for: float) -> None:
        """Expire the deadlines that have passed; set the timer for the next one."""
        self._timer = None
        # An event loop's timers may fire a little early.
        loop = asyncio.get_running_loop()
        now = max(loop.time(), armed_for)
        expired = [
            deadline
            for same_length in self._running.values()
            for deadline in takewhile(lambda each: each.when <= now, same_length)
        ]
        for deadline in expired:
            self.stop(deadline)
            loop.call_soon(deadline.expire)  # an error in one does not affect others
        if self._running:
            self._arm(min(next(iter(same_length)).when for same_length in self._running.values()))


class Deadline:
    """A context that raises TimeoutError after *seconds*, as `asyncio.timeout` does."""

    __slots__ = ("_cancelling", "_deadlines", "_expired", "_task", "seconds", "when")

    when: float
    """When it expires, in the event loop's time."""

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self.seconds = seconds
        self._deadlines = deadlines
        self._task: asyncio.Task[object] | None = None
        self._expired = False

    def __enter__(self) -> Self:
        self._task = task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a call must run in a task")
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
        # If the task was also cancelled from elsewhere, that cancellation takes precedence.
        if (
            self._expired
            and task is not None
            and task.uncancel() <= self._cancelling
            and kind is asyncio.CancelledError
        ):
            raise TimeoutError from error

    def expire(self) -> None:
        """Cancel the task."""
        self._expired = True
        if self._task is not None:
            self._task.cancel()
