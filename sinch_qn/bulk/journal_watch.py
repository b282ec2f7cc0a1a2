"""Checks beside a run: its journal is there, no runner left calls open, the clock runs on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import attrs

from sinch_qn.bulk.journal.protocol import Journal
from sinch_qn.bulk.states import ChallengeState, Entry, Event

_log = logging.getLogger("sinch_qn")

_INTERVAL = 0.5
"""Seconds between two checks."""

_REAP_INTERVAL = 5.0
"""Seconds between two looks for intents whose runner is gone."""

_SILENCE = 60.0
"""Seconds without a word of the journal, after which it is polled as well."""

_TOLERANCE = 1.0
"""Seconds that the wall clock may go back at once, without the journal being corrected."""


@attrs.define
class JournalWatch:
    """Checks, at intervals, what a run would not notice while all its requests are in flight."""

    journal: Journal
    window: float = attrs.field(kw_only=True)
    """Seconds that a code is awaited for a call whose runner is gone."""
    publish: Callable[[Event, Entry], None] = attrs.field(kw_only=True)
    on_news: Callable[[], None] = attrs.field(kw_only=True, default=lambda: None)
    """Called when another process has written."""
    _next_reaping: float = 0.0
    _offset: float | None = None
    """Of the wall clock, from the event loop's."""

    async def run(self) -> None:
        """Check again and again, and hear of news. Raises `JournalError`: the journal is gone."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hear())
            while True:
                await asyncio.sleep(_INTERVAL)
                await self.check()

    async def _hear(self) -> None:
        while True:
            await self.journal.changed(_SILENCE)
            self.on_news()

    async def check(self) -> None:
        """Check once. Raises `JournalError` if the journal is gone."""
        ticks = asyncio.get_running_loop().time()
        await self.journal.next_due()
        if ticks >= self._next_reaping:
            self._next_reaping = ticks + _REAP_INTERVAL
            for entry in await self.journal.reap(self.window):
                if entry.state is ChallengeState.UNKNOWN:
                    self.publish(Event.CALL_UNKNOWN, entry)
        # Not since `ticks`: the journal may have taken long.
        now = self.journal.now() - asyncio.get_running_loop().time()
        before, self._offset = self._offset, now
        if before is not None and (back := before - self._offset) > _TOLERANCE:
            _log.warning("the clock was set back by %.0f s", back)
            await self.journal.advance_due(back, after=self.journal.now())
