"""A stream that is written without blocking a run."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from io import UnsupportedOperation
from queue import SimpleQueue
from threading import Thread
from typing import Final, TextIO

_MAX_UNWRITTEN: Final = 1000
"""Texts that wait for a reader; later ones are dropped."""


class BackgroundStream:
    """Writes a stream on a thread of its own: a reader that pauses delays nothing else.

    The thread ends with the process; what the reader has not taken by then is lost.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._texts: SimpleQueue[str | None] = SimpleQueue()
        self._unwritten = 0
        self._written = asyncio.Event()
        self._error: OSError | None = None
        self._loop = asyncio.get_running_loop()
        try:
            # Not through the stream: a thread that never returns would keep its lock.
            self._descriptor: int | None = stream.fileno()
        except UnsupportedOperation:
            self._descriptor = None
        Thread(target=self._write_all, daemon=True).start()

    @property
    def encoding(self) -> str:
        """The stream's encoding."""
        return self._stream.encoding or "utf-8"

    @property
    def behind(self) -> bool:
        """Is there text that the reader has not taken?"""
        return self._unwritten > 0

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._stream.isatty()

    def write(self, text: str) -> int:
        """Queue *text*; drop it if the reader is far behind, or has gone."""
        if self._error is None and self._unwritten < _MAX_UNWRITTEN:
            self._unwritten += 1
            self._texts.put(text)
        return len(text)

    def flush(self) -> None:
        """Do nothing: each text is written as soon as it can be."""

    async def drain(self) -> None:
        """Wait until all is written. Raises `OSError` if it cannot be."""
        while self._unwritten and self._error is None:
            self._written.clear()
            await self._written.wait()
        if self._error is not None:
            raise self._error

    async def close(self, patience: float) -> None:
        """Wait up to *patience* seconds until all is written, and end the thread."""
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(patience):
                await self.drain()
        self._texts.put(None)

    def _write_all(self) -> None:
        while (text := self._texts.get()) is not None:
            error = None
            try:
                self._write_one(text)
            except OSError as failure:
                error = failure
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._note_written, error)

    def _write_one(self, text: str) -> None:
        if self._descriptor is None:
            self._stream.write(text)
            return
        data = memoryview(text.encode(self.encoding, "backslashreplace"))
        while data:
            data = data[os.write(self._descriptor, data) :]

    def _note_written(self, error: OSError | None) -> None:
        self._unwritten -= 1
        self._error = self._error or error
        self._written.set()
