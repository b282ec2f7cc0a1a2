"""Live streams whose readers are slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sinch_qn.desk import live


async def test_a_reader_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing piles up for it: the stream waits, ends, and its connection is cut."""
    monkeypatch.setattr(live, "STALLED", 0.2)
    ended, sent = asyncio.Event(), 0

    async def fragments() -> AsyncGenerator[str, None]:
        nonlocal sent
        try:
            while True:
                sent += 1
                yield "x" * 100_000
        finally:
            ended.set()

    async def handle(request: web.Request) -> web.StreamResponse:
        return await live.send_live(request, fragments())

    app = web.Application()
    app.router.add_get("/", handle)
    async with TestServer(app) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1000)
        writer.write(b"GET / HTTP/1.1\r\nHost: desk.example\r\n\r\n")
        async with asyncio.timeout(20):
            await ended.wait()
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(10**9)
        writer.close()
    assert 0 < sent < 1000  # what the system's buffers take
