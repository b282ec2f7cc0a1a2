"""What proxies on loopback share: their connections, and passing bytes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TypeVar


class Proxy:
    """Serves connections with `_serve` until it is closed."""

    def __init__(self) -> None:
        self.port = 0
        self._connections: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        finally:
            writer.close()
            self._connections.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        """End all connections."""
        for task in list(self._connections):
            task.cancel()
            await asyncio.wait([task])


P = TypeVar("P", bound=Proxy)


@asynccontextmanager
async def running(proxy: P) -> AsyncIterator[P]:
    """Run *proxy* on a free port."""
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()


async def relay(
    here: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    there: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    """Pass bytes on between two connections until both have ended."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_pass_on(here[0], there[1]))
            group.create_task(_pass_on(there[0], here[1]))
    finally:
        there[1].close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
    writer.close()
