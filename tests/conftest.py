"""What all tests share: one shim, a virtual clock, and the sandbox fixtures."""

from __future__ import annotations

import asyncio
import functools
import inspect
import selectors
import signal
from collections.abc import Callable, Coroutine, Iterator
from types import SimpleNamespace
from typing import Any, ParamSpec

import aiolimiter  # noqa: F401 - RateLimit loads it late: that may block once, and not in a test
import aioresponses.core
import pytest
from aiohttp import ClientResponse

from tests.support.blocking import watched

pytest_plugins = ("pytester",)

# Where the tests are started in the background, Ctrl-C is ignored, and so by all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

P = ParamSpec("P")

if "stream_writer" in inspect.signature(ClientResponse).parameters:
    # aioresponses 0.7.9 does not know this parameter of aiohttp 3.14 yet (its issue 289).
    class _MockResponse(ClientResponse):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.setdefault("stream_writer", SimpleNamespace(output_size=0))
            super().__init__(*args, **kwargs)

    vars(aioresponses.core)["ClientResponse"] = _MockResponse


@pytest.fixture(autouse=True)
def _nothing_blocks() -> Iterator[None]:
    """Fail a test in which our code blocks the event loop, even if somebody swallows the error."""
    with watched() as found:
        yield
    assert not found, found[0]


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__(_JumpingSelector(self))
        self.now = 0.0

    def time(self) -> float:
        return self.now


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits: what select() would have waited is added to the loop's clock."""

    def __init__(self, loop: VirtualClockLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("nothing will ever happen: the test would hang")
        if not ready and timeout is not None and timeout > 0:
            self._loop.now += timeout
        return ready


def run_virtually(coroutine: Any) -> Any:
    """Run *coroutine* on a virtual clock: an hour's wait takes no time. No sockets."""
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        return runner.run(coroutine)


def virtual_clock(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test on a virtual clock of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        run_virtually(test(*args, **kwargs))

    return run
