"""Receive Sinch's callbacks with aiohttp: store each on disk, respond, fetch the number.

    python examples/webhook_aiohttp.py     # SINCH_… as in docs/reference/configuration.md, and
                                           # SINCH_WEBHOOK_SECRET; listens on port 8080

Callbacks may repeat and arrive in any order. Each event is stored once, by its `eventId`, and only
triggers a request for the number's current state. An event that was stored but not processed,
because the process died in between, is processed after the restart.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import suppress

from aiohttp import web

from sinch_qn import QualifiedNumber, QualifiedNumbersClient, SinchError
from sinch_qn.errors import InvalidRequestError, NotFoundError, WebhookError
from sinch_qn.models import CallbackEvent
from sinch_qn.webhooks import MAX_SIZE, parse

_TABLE = """CREATE TABLE IF NOT EXISTS events (
    id TEXT PRIMARY KEY, number TEXT NOT NULL, state TEXT
) WITHOUT ROWID"""


class Inbox:
    """The received events, in SQLite; an event without a state is not processed yet.

    A lock serializes threads, because a thread outlives the cancelled task that awaits it.
    """

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute(_TABLE)

    def keep(self, event: CallbackEvent) -> bool:
        """Store *event* unless it is stored already; return whether it is new."""
        row = (event.event_id, event.resource_id or "")
        with self._lock:
            added = self._database.execute("INSERT OR IGNORE INTO events VALUES (?, ?, NULL)", row)
            return added.rowcount == 1

    def waiting(self) -> dict[str, str]:
        """Return the numbers of unprocessed events by event id."""
        query = "SELECT id, number FROM events WHERE state IS NULL LIMIT 100"
        with self._lock:
            return dict(self._database.execute(query).fetchall())

    def settle(self, event_id: str, state: str) -> None:
        """Record the number's *state* for an event, which is processed then."""
        query = "UPDATE events SET state = ? WHERE id = ?"
        with self._lock:
            self._database.execute(query, (state, event_id))

    def settled(self) -> list[tuple[str, str]]:
        """Return number and state of each processed event."""
        query = "SELECT number, state FROM events WHERE state IS NOT NULL ORDER BY number"
        with self._lock:
            return self._database.execute(query).fetchall()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()


class Receiver:
    """The handler, and the task that processes stored events."""

    def __init__(
        self, client: QualifiedNumbersClient, secret: str | None, inbox: Inbox, *, pause: float = 5
    ) -> None:
        self._client = client
        self._secret = secret
        self._inbox = inbox
        self._pause = pause
        self._arrived = asyncio.Event()

    async def handle(self, request: web.Request) -> web.Response:
        """Respond to one delivery; 200 means that the event is on disk, new or not."""
        try:
            event = parse(await request.read(), request.headers, self._secret)
        except WebhookError as error:
            return web.Response(status=400, text=str(error))
        if await asyncio.to_thread(self._inbox.keep, event):
            self._arrived.set()
        return web.Response()

    async def look(self) -> None:
        """Process stored events and new ones until cancelled."""
        while True:
            self._arrived.clear()
            waiting = await asyncio.to_thread(self._inbox.waiting)
            try:
                for event_id, number in waiting.items():
                    state = await self._state_of(number)
                    await asyncio.to_thread(self._inbox.settle, event_id, state)
            except SinchError as error:
                print("retrying soon:", type(error).__name__)
                await asyncio.sleep(self._pause)
                continue
            if not waiting:
                await self._arrived.wait()

    async def _state_of(self, number: str) -> str:
        try:
            found: QualifiedNumber = await self._client.get_number(number)
        except NotFoundError:
            return "deleted"
        except InvalidRequestError:
            return "no number"
        return str(found.global_process_state)


def application(
    client: QualifiedNumbersClient, secret: str | None, inbox: Inbox
) -> web.Application:
    """Return the application; it closes *client* and *inbox* when it ends."""
    receiver = Receiver(client, secret, inbox)
    app = web.Application(client_max_size=MAX_SIZE)
    app.router.add_post("/sinch", receiver.handle)

    async def looking(_: web.Application) -> AsyncIterator[None]:
        async with client:
            task = asyncio.create_task(receiver.look())
            yield
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        inbox.close()

    app.cleanup_ctx.append(looking)
    return app


if __name__ == "__main__":
    web.run_app(
        application(
            QualifiedNumbersClient.from_env(),
            os.environ["SINCH_WEBHOOK_SECRET"],
            Inbox("callbacks.db"),
        )
    )
