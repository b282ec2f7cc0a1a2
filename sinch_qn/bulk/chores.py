"""The work of a run that is not about one number: probing in an outage, and listing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing

import attrs

from sinch_qn.bulk.outcomes import is_fatal
from sinch_qn.bulk.states import LOOK_UPS, ChallengeState, Entry, Event
from sinch_qn.bulk.steps import Steps
from sinch_qn.errors import SinchError
from sinch_qn.waiting import backoff, until_reachable

_log = logging.getLogger("sinch_qn")

_CHORE = 86_400.0
"""Seconds that a chore may take; it ends with its runner."""

_LIST_FROM = 50
"""Numbers to be looked up from which on a listing may be cheaper."""


@attrs.define(kw_only=True, eq=False)
class Probe:
    """Probes until Sinch responds: at the start, and in an outage."""

    steps: Steps
    stopping: asyncio.Event
    last_error: SinchError | None = None
    """The error of the last call or probe without a response; None once Sinch responds again."""
    is_running: bool = False

    async def begin(self) -> bool:
        """Return whether to `run`: no runner probes yet."""
        if not self.is_running and await self.steps.journal.chore("probe", _CHORE):
            self.is_running = True
            return True
        return False

    async def run(self) -> bool:
        """Return True once Sinch responds, False if the run stops before."""
        try:
            reachable = await until_reachable(
                self.steps.client.list_number_pages,
                delays=backoff(jitter=self.steps.jitter),
                stop=self.stopping,
                on_failure=self._note_failure,
            )
        finally:
            self.is_running = False
        if reachable:
            self.last_error = None
        return reachable

    def _note_failure(self, error: SinchError) -> None:
        if self.last_error is None:
            project, kind = self.steps.client.project_id, type(error).__name__
            _log.warning("project %s: calling pauses: no response (%s)", project, kind)
        self.last_error = error


@attrs.define(kw_only=True, eq=False)
class Listing:
    """Looks up many numbers at once, by listing all numbers."""

    steps: Steps
    publish: Callable[[Event, Entry], None]
    stopping: asyncio.Event
    is_running: bool = False
    _next_at: float = 0.0

    async def begin(self) -> bool:
        """Return whether to `run`: many numbers are due to be looked up, and no runner lists."""
        if self.is_running or asyncio.get_running_loop().time() < self._next_at:
            return False
        due = [await self.steps.journal.backlog(todo, _LIST_FROM) for todo in LOOK_UPS]
        if sum(due) < _LIST_FROM or not await self.steps.journal.chore("list", _CHORE):
            return False
        self.is_running = not self.stopping.is_set()
        return self.is_running

    async def run(self) -> None:
        """List the numbers, and commit their states; raise a fatal error."""
        try:
            async with aclosing(self.steps.look_up_by_listing()) as pages:
                async for changes in pages:
                    entries = await self.steps.journal.apply(changes)
                    for change, entry in zip(changes, entries, strict=True):
                        if entry is not None and entry.state is not ChallengeState.PENDING:
                            self.publish(change.event, entry)
                    if self.stopping.is_set():
                        return
        except SinchError as error:
            if is_fatal(error):
                raise  # otherwise the numbers are looked up one by one
        finally:
            self.is_running = False
            self._next_at = asyncio.get_running_loop().time() + self.steps.settings.recheck
        await self.steps.journal.chore("list", self.steps.settings.recheck)
