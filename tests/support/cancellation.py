"""Cancel a coroutine at any of its suspensions: the k-th await that really waits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from functools import partial
from typing import Any, TypeVar

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
            except BaseException as error:  # noqa: BLE001 - passed on
                step = partial(self.coroutine.throw, error)
            else:
                step = partial(self.coroutine.send, None)


async def cancelled_at(coroutine: Coroutine[Any, Any, T], k: int) -> asyncio.Task[T]:
    """Return the task, which has ended, that was cancelled at its k-th suspension."""

    async def run() -> T:
        result: T = await CancelledAt(coroutine, k)
        return result

    task = asyncio.create_task(run())
    await asyncio.wait([task])
    return task
