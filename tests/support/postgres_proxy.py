"""A proxy before PostgreSQL that cuts a connection at a chosen round trip."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import attrs

_SYNC = b"S"
"""The message that ends a round trip; the server replies with READY."""

_READY = b"Z"


class Cut(enum.Enum):
    """Where a round trip is cut."""

    BEFORE = "before the server has it"
    AFTER = "after the server has done it"


@attrs.define
class PostgresProxy:
    """Forwards connections; `cut_at` counts the round trips of all of them."""

    server: Path
    folder: Path
    counting: bool = False
    trips: int = 0
    cut_at: int | None = None
    cut: Cut = Cut.BEFORE
    cuts: int = 0
    down: bool = False
    """New connections are refused."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection until it ends, or is cut."""
        if self.down:
            writer.close()
            return
        their_reader, their_writer = await asyncio.open_unix_connection(self.server)
        session = _Session(self, writer, their_writer)
        tasks = [
            asyncio.create_task(session.forward_requests(reader)),
            asyncio.create_task(session.forward_replies(their_reader)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for each in (writer, their_writer):
                each.transport.abort()
        await asyncio.wait(tasks)

    def begin(self, cut_at: int | None) -> None:
        """Count from here on, and cut the round trip *cut_at*."""
        self.counting, self.trips, self.cuts, self.cut_at = True, 0, 0, cut_at

    def end(self) -> None:
        """Cut nothing more."""
        self.counting = False

    def is_cut(self) -> bool:
        """Count a round trip; return whether it is the one to cut."""
        self.trips += self.counting
        if not self.counting or self.trips != self.cut_at:
            return False
        self.cuts += 1
        return True


@attrs.define
class _Session:
    proxy: PostgresProxy
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    muted: bool = False

    async def forward_requests(self, reader: asyncio.StreamReader) -> None:
        length = int.from_bytes(first := await reader.readexactly(4), "big")
        self.server.write(first + await reader.readexactly(length - 4))
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                kind, message = await _read_message(reader)
                if kind == _SYNC and self.proxy.is_cut():
                    if self.proxy.cut is Cut.BEFORE:
                        return
                    self.muted = True  # until the server is done, which ends the session
                self.server.write(message)

    async def forward_replies(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                kind, message = await _read_message(reader)
                if not self.muted:
                    self.client.write(message)
                elif kind == _READY:
                    return


async def _read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    kind = await reader.readexactly(1)
    length = await reader.readexactly(4)
    return kind, kind + length + await reader.readexactly(int.from_bytes(length, "big") - 4)


@contextlib.asynccontextmanager
async def proxy(server: Path) -> AsyncIterator[PostgresProxy]:
    """Run a proxy before the server that listens on the socket *server*."""
    folder = Path(tempfile.mkdtemp(prefix="px-", dir="/tmp"))
    running = PostgresProxy(server, folder)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(running.serve(reader, writer)))

    listening = await asyncio.start_unix_server(accept, folder / server.name)
    try:
        yield running
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        shutil.rmtree(folder)


@contextlib.asynccontextmanager
async def far(server: Path, round_trip: float) -> AsyncIterator[Path]:
    """Yield the folder of a socket from which the server is *round_trip* seconds away."""
    folder = Path(tempfile.mkdtemp(prefix="px-", dir="/tmp"))
    tasks: set[asyncio.Task[None]] = set()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(1 << 16):
            loop.call_later(round_trip / 2, writer.write, data)
        loop.call_later(round_trip / 2, writer.close)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs = await asyncio.open_unix_connection(server)
        await asyncio.gather(forward(reader, theirs[1]), forward(theirs[0], writer))

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(serve(reader, writer)))

    listening = await asyncio.start_unix_server(accept, folder / server.name)
    try:
        yield folder
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        shutil.rmtree(folder)
