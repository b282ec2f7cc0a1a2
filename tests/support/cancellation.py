"""Cancel a coroutine at its k-th suspension, or a task after an iteration of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterable
from functools import partial
from typing import Any, TypeVar

from tests.support.virtual_clock import VirtualClockLoop

T = TypeVar("T")


class CancelledAt:
    """A coroutine whose task is cancelled at its k-th suspension."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], k: int) -> None:
        self.coroutine = coroutine
        self.k = k

    def __await__(self) -> Generator[Any, Any, Any]:
        suspensions = 0
        step = partial(self.coroutine.send, None)
        while True:
            try:
                future = step()
            except StopIteration as stop:
                return stop.value
            suspensions += 1
            if suspensions == self.k:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                yield future
            except BaseException as error:  # noqa: BLE001 - thrown into the coroutine
                step = partial(self.coroutine.throw, error)
            else:
                step = partial(self.coroutine.send, None)


async def cancelled_at(coroutine: Coroutine[Any, Any, T], k: int) -> asyncio.Task[T]:
    """Run *coroutine* in a task, cancel it at its k-th suspension, and return the ended task."""

    async def run() -> T:
        result: T = await CancelledAt(coroutine, k)
        return result

    task = asyncio.create_task(run())
    await asyncio.wait([task])
    return task


class CancellingLoop(VirtualClockLoop):
    """An event loop that cancels a task after some of its iterations."""

    def __init__(self) -> None:
        super().__init__()
        self._task: asyncio.Task[Any] | None = None
        self._remaining: list[int] = []

    def cancel_task(self, task: asyncio.Task[Any], *, after: Iterable[int]) -> None:
        """Cancel *task* after each of these iterations, counted from now, unless it has ended."""
        self._task = task
        self._remaining = list(after)

    def _run_once(self) -> None:
        super()._run_once()  # type: ignore[misc]
        if self._task is None or self._task.done():
            return
        self._remaining = [n - 1 for n in self._remaining]
        if 0 in self._remaining:
            self._task.cancel()


async def cancelled_after(coroutine: Coroutine[Any, Any, T], *iterations: int) -> asyncio.Task[T]:
    """Run *coroutine* in a task, cancel it after these iterations, and return the ended task.

    Like `cancelled_at`, for a coroutine whose work is in other tasks: it rarely suspends itself.
    """
    loop = asyncio.get_running_loop()
    assert isinstance(loop, CancellingLoop)
    task = asyncio.create_task(coroutine)
    loop.cancel_task(task, after=iterations)
    await asyncio.wait([task])
    return task


def cancel_everywhere(attempt: Callable[[int], Coroutine[Any, Any, bool]]) -> int:
    """Run *attempt* with 1, 2, 3, … until one ends before its cancellation; return how many ran.

    *attempt* returns whether it was cancelled.
    """
    k = 1
    with asyncio.Runner(loop_factory=CancellingLoop) as runner:
        while runner.run(attempt(k)):
            k += 1
    return k
