"""A small TCP proxy that breaks connections, between the real client and the sandbox.

It parses just enough HTTP to separate requests. Each request is handled by a `Move`, a function
that may forward it, write to the client, and close the connection, in any order.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl

_LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)


class Exchange:
    """One request, which a `Move` handles."""

    def __init__(
        self, request: bytes, number: int, server: int, writer: asyncio.StreamWriter
    ) -> None:
        self.number = number
        """1 for the first request on its connection."""
        self._request = request
        self._server = server
        self._writer = writer

    async def ask(self) -> bytes:
        """Forward the request and return the server's complete response."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._server)
        writer.write(self._request)
        try:
            return await read_message(reader)
        finally:
            await close(writer)

    async def send(self, data: bytes) -> None:
        """Write to the client."""
        self._writer.write(data)
        await self._writer.drain()

    def hang_up(self) -> None:
        """Close the connection with a FIN."""
        self._writer.close()

    def reset(self) -> None:
        """Close the connection with a RST."""
        peer = self._writer.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Move = Callable[[Exchange], Awaitable[None]]


async def forward(exchange: Exchange) -> None:
    """Forward the request and its response unchanged."""
    await exchange.send(await exchange.ask())


async def rst_before_work(exchange: Exchange) -> None:
    """Reset before the server receives the request."""
    exchange.reset()


async def rst_before_answer(exchange: Exchange) -> None:
    """Reset after the request took effect."""
    await exchange.ask()
    exchange.reset()


async def rst_in_answer(exchange: Exchange) -> None:
    """Reset in the middle of the response."""
    await exchange.send(most_of(await exchange.ask()))
    exchange.reset()


async def eof_before_work(exchange: Exchange) -> None:
    """Close before the server receives the request."""
    exchange.hang_up()


async def eof_before_answer(exchange: Exchange) -> None:
    """Close after the request took effect."""
    await exchange.ask()
    exchange.hang_up()


async def eof_in_answer(exchange: Exchange) -> None:
    """Close in the middle of the response."""
    await exchange.send(most_of(await exchange.ask()))
    exchange.hang_up()


async def hang_before_work(exchange: Exchange) -> None:
    """Receive the request and never forward it."""
    await asyncio.Event().wait()


async def hang_before_answer(exchange: Exchange) -> None:
    """Forward the request and never respond."""
    await exchange.ask()
    await asyncio.Event().wait()


async def slow_loris(exchange: Exchange) -> None:
    """Forward the request; respond byte by byte, so slowly that the response never ends."""
    await exchange.ask()
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n")
    while True:
        await exchange.send(b" ")
        await asyncio.sleep(0.02)


async def one_byte_slices(exchange: Exchange) -> None:
    """Respond in packets of one byte."""
    for byte in await exchange.ask():
        await exchange.send(bytes([byte]))
        await asyncio.sleep(0)


async def stale_when_reused(exchange: Exchange) -> None:
    """Forward a connection's first request; reset at its second."""
    if exchange.number == 1:
        await forward(exchange)
    else:
        exchange.reset()


def most_of(answer: bytes) -> bytes:
    """Return a response without its last three bytes; without a body, its head is incomplete."""
    return answer[:-3]


class FaultProxy:
    """A proxy for a server on this machine; *move* handles each request.

        async with FaultProxy(sandbox.port, rst_in_answer) as proxy: ...

    *times* limits the number of these requests; the rest are forwarded.
    """

    def __init__(
        self,
        server: int,
        move: Move = forward,
        *,
        times: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.move = move
        self.left = times
        self.port = 0
        self.connections = 0
        self._server = server
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._listening.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.close()
        await self.hang_up()
        await self._listening.wait_closed()

    async def hang_up(self) -> None:
        """Close all connections, as a server closes idle ones."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = 0
        try:
            while not writer.is_closing():
                request = await read_message(reader)
                number += 1
                move = self.move if self.left is None or self.left > 0 else forward
                if self.left:
                    self.left -= 1
                await move(Exchange(request, number, self._server, writer))
        except (asyncio.CancelledError, asyncio.IncompleteReadError, OSError):
            pass  # the client or the test has closed it
        finally:
            await close(writer)


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """Return one HTTP message with a Content-Length."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return head + (await reader.readexactly(int(length[1])) if length else b"")


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a stream and wait until its socket is closed."""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


class Refusing:
    """A local port that refuses connections while this is open."""

    def __enter__(self) -> int:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))  # bound, not listening
        port: int = self._socket.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        self._socket.close()
