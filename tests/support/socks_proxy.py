"""A SOCKS5 proxy on loopback, without authentication (RFC 1928), that may refuse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.relay import Proxy, relay, running

HANG_UP = -1
"""A reply of `SocksProxy`: none; the connection is closed."""

_DOMAIN_NAME = 3
_NO_ADDRESS = b"\x00\x01\x00\x00\x00\x00\x00\x00"


class SocksProxy(Proxy):
    """Relays each connection to its target, or sends a reply that refuses it."""

    def __init__(self, reply: int = 0) -> None:
        super().__init__()
        self.reply = reply
        self.targets: list[tuple[str, int]] = []
        """Where clients wanted to connect."""

    @property
    def url(self) -> str:
        """The address for a connector."""
        return f"socks5://127.0.0.1:{self.port}"

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
        await relay((reader, writer), await asyncio.open_connection(host, port))


@asynccontextmanager
async def proxying(reply: int = 0) -> AsyncIterator[SocksProxy]:
    """Run a proxy that sends *reply* to each request to connect; 0 connects."""
    async with running(SocksProxy(reply)) as proxy:
        yield proxy
