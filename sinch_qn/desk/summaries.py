"""The summary of all numbers that the operators' pages show: read again only once it is old."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import attrs

from sinch_qn.bulk.journal.deliveries import delivered_numbers
from sinch_qn.bulk.journal.protocol import Journal
from sinch_qn.bulk.report.summary import Summary
from sinch_qn.bulk.states import ChallengeState

_SHARE = 20
"""A summary is made again after so many times the time that it took: it costs a twentieth."""
_PATIENCE = 1.0
"""Seconds that a page waits for the first summary of a large journal."""


@attrs.define(eq=False)
class Summaries:
    """Reads all rows of a journal in a thread, and keeps their summary while it is fresh."""

    journal: Journal
    _summary: Summary | None = attrs.field(default=None, init=False)
    _counts: Mapping[ChallengeState, int] | None = attrs.field(default=None, init=False)
    _due: float = attrs.field(default=0.0, init=False)
    _task: asyncio.Task[None] | None = attrs.field(default=None, init=False)

    async def get(self, counts: Mapping[ChallengeState, int]) -> Summary | None:
        """Return the newest summary; None while the first one is not there yet.

        A new one is begun if *counts*, those of now, have changed since.
        """
        is_old = self._counts != counts and time.monotonic() >= self._due
        if is_old and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._read(counts), name="sinch_qn desk summary")
        if self._task is not None and (self._summary is None or is_old):
            await asyncio.wait([self._task], timeout=_PATIENCE)
        return self._summary

    async def close(self) -> None:
        """Wait until the thread that reads has ended."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _read(self, counts: Mapping[ChallengeState, int]) -> None:
        began = time.monotonic()
        deliveries = getattr(self.journal, "deliveries", None)  # one in memory has none
        emailed = delivered_numbers(await deliveries.all() if deliveries else ())
        self._summary = await asyncio.to_thread(Summary.of, self.journal.rows(), emailed)
        self._counts, ended = counts, time.monotonic()
        self._due = ended + _SHARE * (ended - began)
