"""Hears of what submitters write into a PostgreSQL journal; polling finds it without, too."""

from __future__ import annotations

import asyncio
import contextlib

import psycopg

from sinch_qn.bulk.journal.postgres_connection import Statement, connect
from sinch_qn.bulk.journal.postgres_schema import channel
from sinch_qn.bulk.journal.postgres_url import Address

_RETRY = 2.0
"""Seconds between two attempts to listen, while the database is down."""


class Listener:
    """Listens on a connection of its own, from the first wait on."""

    def __init__(self, address: Address, run: int) -> None:
        self._address = address
        self._run = run
        self._heard = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def heard(self, timeout: float) -> None:
        """Return when something was written since the last call, or after *timeout* seconds."""
        if self._task is None:
            self._task = asyncio.create_task(self._listen())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._heard.wait()
        self._heard.clear()

    async def end(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _listen(self) -> None:
        while True:
            with contextlib.suppress(psycopg.Error):
                connection = await connect(self._address, "listener")
                try:
                    await connection.trip([Statement(f"LISTEN {channel(self._run)}")])
                    self._heard.set()  # something may have been missed before
                    while True:
                        await connection.notified()
                        self._heard.set()
                finally:
                    await connection.close()
            await asyncio.sleep(_RETRY)
