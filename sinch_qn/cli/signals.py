"""The signals of a run: a stop that lets requests finish, and job control at a terminal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Final, Self

from sinch_qn.cli.exit_codes import Exit

_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ABORT_TIMEOUT: Final = 5.0
"""Seconds after the second signal until the process is ended, whatever it waits for."""
_POLL_INTERVAL: Final = 0.25
"""Seconds between two checks whether the process is in the foreground."""


class GracefulStop:
    """Ctrl-C, SIGTERM and SIGHUP: the first lets requests finish, the second cancels them.

    SIGHUP stays ignored where it is, as below `nohup`.
    """

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self._signals = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._main = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            # Not add_signal_handler: that one is not called while the loop is blocked.
            self._before[number] = signal.signal(number, self._handle_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._signals += 1
        if self._signals == 2:
            abort = threading.Timer(_ABORT_TIMEOUT, os._exit, (Exit.INTERRUPTED,))
            abort.daemon = True
            abort.start()
        self._loop.call_soon_threadsafe(self._stop, self._signals > 1)

    def _stop(self, at_once: bool) -> None:  # noqa: FBT001 - an argument of a callback
        if at_once and self._main is not None:
            self._main.cancel()
        self.requested.set()

    async def or_done(self, *tasks: asyncio.Task[Any]) -> None:
        """Wait until one of *tasks* is done, or a stop is requested."""
        requested = asyncio.create_task(self.requested.wait())
        try:
            await asyncio.wait([requested, *tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            requested.cancel()


def in_foreground() -> bool:
    """Return whether this process has its terminal, if it is a job of one."""
    for stream in (sys.stdin, sys.stderr):
        with suppress(OSError, ValueError):
            if stream.isatty():
                return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    return True


class JobControl:
    """Calls *resume* when the process comes to the foreground, and *pause* before it leaves.

    A process in the background that reads its terminal would be stopped, with calls in flight.
    """

    def __init__(self, *, resume: Callable[[], None], pause: Callable[[], Awaitable[None]]) -> None:
        self._resume = resume
        self._pause = pause
        self._stop_wanted = asyncio.Event()
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTTIN, signal.SIGTTOU):
            self._before[number] = signal.signal(number, signal.SIG_IGN)
        if signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN:
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTSTP, self._stop_wanted.set)
        if in_foreground():
            self._resume()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTSTP)
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    async def follow(self) -> None:
        """Pause and resume until cancelled; stop the process on Ctrl-Z."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL_INTERVAL):
                    await self._stop_wanted.wait()
            if self._stop_wanted.is_set():
                self._stop_wanted.clear()
                await self._pause()
                os.kill(os.getpid(), signal.SIGSTOP)
            elif in_foreground():
                self._resume()
            else:
                await self._pause()
