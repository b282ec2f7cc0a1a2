"""Server-sent events: pages that are open are sent the parts of them that changed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from aiohttp import web

from sinch_qn.errors import SinchError

_RETRY: Final = 2000
"""Milliseconds after which a browser without our script connects again."""


async def send_live(
    request: web.Request, fragments: AsyncGenerator[str, None]
) -> web.StreamResponse:
    """Send each fragment of HTML until the browser goes, or there are no more.

    An empty one is a heartbeat, which shows whether the browser is still there. A browser that
    reads slowly is sent nothing new until it has read: *fragments* waits, and nothing piles up.
    """
    response = web.StreamResponse()
    response.content_type = "text/event-stream"
    response.charset = "utf-8"
    response.headers["X-Accel-Buffering"] = "no"  # nginx would keep events back
    await response.prepare(request)
    async with aclosing(fragments):
        try:
            await response.write(f"retry: {_RETRY}\n\n".encode())
            async for each in fragments:
                await response.write(to_message(each).encode())
        except (ConnectionError, SinchError):
            pass  # the page was closed; or it will connect again, and the journal may answer then
    return response


def to_message(text: str) -> str:
    """Return an event whose data is *text*; a comment if that is empty."""
    if not text:
        return ":\n\n"
    return "".join(f"data: {line}\n" for line in text.splitlines()) + "\n"
