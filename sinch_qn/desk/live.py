"""Server-sent events: pages that are open are sent the parts of them that changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from aiohttp import web

from sinch_qn.errors import SinchError

_RETRY: Final = 2000
"""Milliseconds after which a browser without our script connects again."""

STALLED: Final = 60.0
"""Seconds after which a reader that takes nothing is given up."""


def to_message(text: str) -> str:
    """Return an event whose data is *text*; a comment if that is empty."""
    if not text:
        return ":\n\n"
    return "".join(f"data: {line}\n" for line in text.splitlines()) + "\n"


async def send_live(
    request: web.Request,
    fragments: AsyncGenerator[str, None],
    encode: Callable[[str], str] = to_message,
) -> web.StreamResponse:
    """Send each fragment of HTML until the browser goes, or there are no more.

    An empty one is a heartbeat, which shows whether the browser is still there. A browser that
    reads slowly is sent nothing new until it has read: *fragments* waits, and nothing piles up; one
    that reads nothing for a minute is given up.
    """
    response = web.StreamResponse()
    response.content_type = "text/event-stream"
    response.charset = "utf-8"
    response.headers["X-Accel-Buffering"] = "no"  # nginx would keep events back
    await response.prepare(request)
    async with aclosing(fragments):
        try:
            await _write(response, f"retry: {_RETRY}\n\n")
            async for each in fragments:
                await _write(response, encode(each))
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()  # what it did not read would be waited for at the end
        except (ConnectionError, SinchError):
            pass  # the page was closed; or it will connect again, and the journal may answer then
    return response


async def _write(response: web.StreamResponse, text: str) -> None:
    async with asyncio.timeout(STALLED):
        await response.write(text.encode())
