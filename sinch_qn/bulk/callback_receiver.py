"""An aiohttp handler for Sinch's callbacks, to mount in an application beside a run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from sinch_qn.bulk.callback_inbox import note_callback
from sinch_qn.bulk.journal.protocol import Journal
from sinch_qn.errors import WebhookError
from sinch_qn.webhooks import parse


def callback_handler(
    journal: Journal, secret: str | None
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return a handler that notes callbacks in an open *journal*, for `TextEnableRun` to look.

        app.router.add_post("/sinch", callback_handler(journal, secret))

    *journal* may be that of a run in another process: `await journal.open(None, running=False)`.
    *secret* is the project's callback secret; None accepts unsigned callbacks. The response is 200
    once the event is on disk, also for a repeated one, and 400 for what is not authentic.
    """
    if secret is not None and not secret:
        raise ValueError("secret: expected text, or None to accept unsigned callbacks")
    one_at_a_time = asyncio.Lock()

    async def handle(request: web.Request) -> web.Response:
        try:
            event = parse(await request.read(), request.headers, secret)
        except WebhookError as error:
            return web.Response(status=400, text=str(error))
        async with one_at_a_time:
            await note_callback(journal, event)
        return web.Response()

    return handle
