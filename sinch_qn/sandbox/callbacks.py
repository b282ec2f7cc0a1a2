"""Delivery of the sandbox's callbacks: signed, retried, and by default to this machine only."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from http import HTTPStatus
from typing import Self

import aiohttp
import orjson
from yarl import URL

from sinch_qn._checks import is_loopback
from sinch_qn.sandbox.events import Event
from sinch_qn.sandbox.payloads import event_json
from sinch_qn.sandbox.state import SandboxState
from sinch_qn.webhooks import sign

_WORKERS = 8
"""Callbacks delivered concurrently."""
_ATTEMPTS = 3
"""Attempts to deliver a callback."""
_TIMEOUT = 5.0
"""Seconds for one attempt."""


class CallbackDelivery:
    """Delivers the world's events when they are due, while it is entered."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state
        self._wakeup = asyncio.Event()
        self._queue: asyncio.Queue[Event] = asyncio.Queue()
        state.clock.watch(self._wake)

    async def __aenter__(self) -> Self:
        # New ones each time: both belong to one event loop, and the queue to one world.
        self._wakeup, self._queue = asyncio.Event(), asyncio.Queue()
        self._task = asyncio.create_task(self._deliver_all())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.result()  # raises a defect of the task

    async def join(self) -> None:
        """Wait until each callback that is due is delivered, failed or withheld."""
        self._collect()
        await self._queue.join()

    def _wake(self) -> None:
        self._wakeup.set()

    def _collect(self) -> float:
        """Queue the world's events, and return the time."""
        world = self._state.world
        now = world.advance_to_now()
        while world.events:
            self._queue.put_nowait(world.events.popleft())
        return now

    async def _deliver_all(self) -> None:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
            for _ in range(_WORKERS):
                group.create_task(self._callback_worker(session))
            while True:
                self._wakeup.clear()
                now = self._collect()
                due = self._state.world.next_due
                wait = None if due is None else max(due - now, 0.01)
                # A clock that is moved by hand sets `_wakeup`; a real one reaches the timeout.
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._wakeup.wait()

    async def _callback_worker(self, session: aiohttp.ClientSession) -> None:
        while True:
            event = await self._queue.get()
            self._state.callbacks[await self._deliver(session, event)] += 1
            self._queue.task_done()

    async def _deliver(self, session: aiohttp.ClientSession, event: Event) -> str:
        """Deliver one callback, and return its outcome."""
        state = self._state
        if not state.callbacks_leave_machine and not is_loopback(_host(event.url)):
            return "withheld"
        body = orjson.dumps(event_json(state.project_id, event))
        for attempt in range(_ATTEMPTS):
            await asyncio.sleep(state.callback_retry * attempt)
            if await self._post(session, event.url, body):
                return "delivered"
        return "failed"

    async def _post(self, session: aiohttp.ClientSession, url: str, body: bytes) -> bool:
        headers = {
            "Content-Type": "application/json",
            "X-Sinch-Signature": sign(body, self._state.webhook_secret),
        }
        try:
            async with session.post(
                url, data=body, headers=headers, allow_redirects=False
            ) as response:
                return response.status == HTTPStatus.OK
        except (aiohttp.ClientError, TimeoutError):
            return False


def _host(url: str) -> str:
    try:
        return URL(url).host or ""
    except ValueError:
        return ""
