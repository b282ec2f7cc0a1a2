"""Checks beside a run: its journal is still there, and the wall clock was not set back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import attrs

from sinch_qn.bulk.journal.protocol import Journal

_log = logging.getLogger("sinch_qn")

_INTERVAL = 0.5
"""Seconds between two checks."""

_TOLERANCE = 1.0
"""Seconds that the wall clock may go back at once, without the journal being corrected."""


@attrs.define
class JournalWatch:
    """Checks, at intervals, what a run would not notice while all its requests are in flight."""

    journal: Journal
    clock: Callable[[], float]
    _next_check: float = 0.0
    _offset: float | None = None
    """Of the wall clock, from the event loop's."""

    async def check(self) -> None:
        """Check if it is time to. Raises `JournalError` if the journal is gone."""
        ticks = asyncio.get_running_loop().time()
        if ticks < self._next_check:
            return
        self._next_check = ticks + _INTERVAL
        await self.journal.next_due()
        before, self._offset = self._offset, self.clock() - ticks
        if before is not None and (back := before - self._offset) > _TOLERANCE:
            _log.warning("the clock was set back by %.0f s", back)
            await self.journal.advance_due(back, after=self.clock())
