"""What becomes of the orders of a journal: polls Sinch, and records what it says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Final

import attrs

from sinch_qn.bulk.journal.protocol import BatchState, Journal
from sinch_qn.bulk.outcomes import hosting_changed
from sinch_qn.bulk.states import Entry
from sinch_qn.bulk.steps import LIST_PAGE
from sinch_qn.bulk.text_enable_report import MAY_EXIST
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.errors import DeadlineExceededError, SinchError
from sinch_qn.lifecycle import HOSTING_ENDED, HOSTING_ORDERED, REACHABLE
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.models import QualifiedNumber
from sinch_qn.waiting import watch

_log = logging.getLogger("sinch_qn")

MAX_DELAY: Final = 60.0
"""Seconds between two polls, at most."""

_LOST: Final = (BatchState.UNKNOWN,)
_NOTE_HOSTED: Final = "the response was lost, but its numbers are being hosted: the order exists"


@attrs.frozen(kw_only=True)
class OrderWatch:
    """Watches the numbers of orders."""

    client: QualifiedNumbersClient
    journal: Journal
    clock: Callable[[], float]
    jitter: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]]

    async def recheck(self, numbers: Collection[str]) -> int:
        """Record the states of VERIFIED *numbers*; return how many are no longer VERIFIED."""
        moved = 0
        polls = self._watch(dict.fromkeys(numbers), frozenset(REACHABLE), timeout=MAX_DELAY)
        try:
            async with aclosing(polls):
                async for found in polls:
                    moved += len(await self._record_states(found))
        except SinchError as error:
            # Its class alone: a server's text may hold a number.
            _log.info("a batch cannot be rechecked: %s", type(error).__name__)
        return moved

    async def follow(self, timeout: float) -> None:
        """Watch the ordered numbers until each is hosted or failed, or *timeout* is over."""
        batches = {b.id: b.state for b in await self.journal.batches() if b.state in MAY_EXIST}
        followed = await asyncio.to_thread(lambda: _to_follow(self.journal.rows(), batches))
        if not followed:
            return
        unknown = {batch for batch, state in batches.items() if state is BatchState.UNKNOWN}
        polls = self._watch(followed, HOSTING_ENDED, timeout=timeout)
        try:
            async with aclosing(polls):
                async for numbers in polls:
                    hosted = {
                        entry.batch
                        for entry in await self._record_states(numbers)
                        if entry.remote in HOSTING_ORDERED
                    }
                    for batch in unknown & hosted:
                        await self.journal.record_batch_outcome(
                            batch, BatchState.ORDERED, only_from=_LOST, note=_NOTE_HOSTED
                        )
                    unknown -= hosted
        except DeadlineExceededError:
            _log.info("following the orders ends after %.0f s", timeout)

    def _watch(
        self,
        numbers: Mapping[str, SinchState | None],
        states: frozenset[SinchState],
        *,
        timeout: float,
    ) -> AsyncGenerator[list[QualifiedNumber], None]:
        return watch(
            partial(self.client.list_numbers, page_size=LIST_PAGE),
            self.client.get_number,
            numbers,
            states,
            timeout=timeout,
            every_change=True,
            max_delay=MAX_DELAY,
            jitter=self.jitter,
            sleep=self.sleep,
        )

    async def _record_states(self, numbers: list[QualifiedNumber]) -> list[Entry]:
        """Commit the states of *numbers*; return the entries of those that have moved."""
        changes = []
        for number in numbers:
            entry = await self.journal.get(number.phone_number or "")
            if entry is not None and (moved := hosting_changed(entry, number, self.clock())):
                changes.append(moved)
        return [entry for entry in await self.journal.apply(changes) if entry is not None]


def _to_follow(rows: Iterable[Entry], batches: Collection[int]) -> dict[str, SinchState | None]:
    """Return the numbers of *batches* that are neither hosted nor failed, as last seen."""
    return {
        entry.number: entry.remote
        for entry in rows
        if entry.batch in batches and entry.remote not in HOSTING_ENDED
    }
