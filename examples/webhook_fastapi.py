"""Receive Sinch's callbacks with FastAPI: verify, drop repeats, respond, fetch the number.

    uvicorn --factory --app-dir examples webhook_fastapi:from_env
                          # SINCH_… as in docs/reference/configuration.md, SINCH_WEBHOOK_SECRET

The last 10,000 event ids, in memory, detect repeats: after a restart an old event may be processed
again, which is harmless because processing only reads. A failed event is retried when it is
delivered again; `webhook_aiohttp.py` keeps events on disk instead.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import BackgroundTasks, FastAPI, Request, Response

from sinch_qn import QualifiedNumbersClient, SinchError
from sinch_qn.errors import WebhookError
from sinch_qn.models import CallbackEvent, QualifiedNumber
from sinch_qn.webhooks import MAX_SIZE, parse

_REMEMBERED = 10_000

Use = Callable[[CallbackEvent, QualifiedNumber], object]
"""The application's callback, with an event and the number's current state."""


class Receiver:
    """The handler, and its background task after the response."""

    def __init__(self, client: QualifiedNumbersClient, secret: str | None, use: Use) -> None:
        self._client = client
        self._secret = secret
        self._use = use
        self._seen: dict[str | None, None] = {}

    async def take(self, request: Request, after: BackgroundTasks) -> Response:
        """Respond to one delivery, and process its event unless it is a repeat."""
        body = b""
        async for chunk in request.stream():  # FastAPI has no limit of its own
            body += chunk
            if len(body) > MAX_SIZE:
                return Response(status_code=413)
        try:
            event = parse(body, request.headers, self._secret)
        except WebhookError as error:
            return Response(str(error), status_code=400)
        if event.event_id not in self._seen:
            self._seen[event.event_id] = None
            if len(self._seen) > _REMEMBERED:
                del self._seen[next(iter(self._seen))]
            after.add_task(self._look, event)
        return Response()

    async def _look(self, event: CallbackEvent) -> None:
        try:
            number = await self._client.get_number(event.resource_id or "")
        except SinchError as error:
            self._seen.pop(event.event_id, None)  # process it if it is delivered again
            print("not processed:", event.event_id, type(error).__name__)
        else:
            self._use(event, number)


def application(client: QualifiedNumbersClient, secret: str | None, use: Use) -> FastAPI:
    """Return the application; it closes *client* when it ends."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with client:
            yield

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    app.post("/sinch")(Receiver(client, secret, use).take)
    return app


def from_env() -> FastAPI:
    """Return the application for the project and the secret in the environment."""
    return application(
        QualifiedNumbersClient.from_env(),
        os.environ["SINCH_WEBHOOK_SECRET"],
        lambda event, number: print(event.event_type, event.status, number.global_process_state),
    )
