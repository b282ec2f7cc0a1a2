"""A SOCKS5 proxy on loopback, without authentication (RFC 1928), that may refuse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

HANG_UP = -1
"""A reply of `SocksProxy`: none; the connection is closed."""

_DOMAIN_NAME = 3
_NO_ADDRESS = b"\x00\x01\x00\x00\x00\x00\x00\x00"


class SocksProxy:
    """Relays each connection to its target, or sends a reply that refuses it."""

    def __init__(self, reply: int = 0) -> None:
        self.reply = reply
        self.port = 0
        self.targets: list[tuple[str, int]] = []
        """Where clients wanted to connect."""
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The address for a connector."""
        return f"socks5://127.0.0.1:{self.port}"

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
        _, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")
        *_, kind = await reader.readexactly(4)
        if kind == _DOMAIN_NAME:
            (length,) = await reader.readexactly(1)
            host = (await reader.readexactly(length)).decode()
        else:
            host = ".".join(map(str, await reader.readexactly(4)))
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.targets.append((host, port))
        if self.reply == HANG_UP:
            return
        writer.write(bytes([5, self.reply]) + _NO_ADDRESS)
        await writer.drain()
        if self.reply:
            return
        there, back = await asyncio.open_connection(host, port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_relay(reader, back))
                group.create_task(_relay(there, writer))
        finally:
            back.close()

    async def close(self) -> None:
        """End all connections."""
        for task in list(self._connections):
            task.cancel()
            await asyncio.wait([task])


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def proxying(reply: int = 0) -> AsyncIterator[SocksProxy]:
    """Run a proxy that sends *reply* to each request to connect; 0 connects."""
    proxy = SocksProxy(reply)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
