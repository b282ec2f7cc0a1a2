"""An HTTP proxy on loopback: tunnels, forwards, or answers with a status of its own."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from tests.support.relay import Proxy, relay, running

HANG = 0
"""A status of `HttpProxy`: none, ever."""


class HttpProxy(Proxy):
    """Relays each connection to where it is asked for, or refuses with *status*.

    Hosts that end with `.invalid` are on loopback: only the proxy knows where.
    """

    def __init__(self, status: int, credentials: str) -> None:
        super().__init__()
        self.status = status
        self.asked: list[str] = []
        """The first line of each request to it."""
        self._expected = base64.b64encode(credentials.encode()).decode() if credentials else ""

    @property
    def url(self) -> str:
        """The address, without credentials."""
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head.split("\r\n")[0])
        method, target, _ = self.asked[-1].split()
        status = self.status
        if self._expected and f"Proxy-Authorization: Basic {self._expected}" not in head:
            status = 407
        if status == HANG:
            await asyncio.Event().wait()
        if status != 200:
            writer.write(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)
            return
        at = urlsplit(target if method != "CONNECT" else f"//{target}")
        host = "127.0.0.1" if (at.hostname or "").endswith(".invalid") else at.hostname
        there, back = await asyncio.open_connection(host, at.port)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            back.write(head.replace(target, at.path, 1).encode())
        await relay((reader, writer), (there, back))


@asynccontextmanager
async def http_proxying(status: int = 200, credentials: str = "") -> AsyncIterator[HttpProxy]:
    """Run a proxy that responds to each request with *status*, 200 being to relay it."""
    async with running(HttpProxy(status, credentials)) as proxy:
        yield proxy
