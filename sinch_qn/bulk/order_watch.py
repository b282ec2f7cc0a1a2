"""What becomes of the orders of a journal: polls Sinch, and records what it says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import aclosing
from functools import partial
from typing import Final, TypeAlias

import attrs

from sinch_qn.bulk.callback_inbox import count_callbacks
from sinch_qn.bulk.journal.protocol import Batch, BatchState, Journal
from sinch_qn.bulk.order_records import OrderRecord, load_record, number_failures, save_record
from sinch_qn.bulk.outcomes import hosting_changed, is_fatal, is_refusal
from sinch_qn.bulk.states import Entry
from sinch_qn.bulk.steps import LIST_PAGE
from sinch_qn.bulk.text_enable_report import MAY_EXIST
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.errors import NotFoundError, SinchError
from sinch_qn.lifecycle import HOSTING_ENDED, HOSTING_ORDERED, ORDER_ENDED, REACHABLE
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.models import HostingOrder, HostingOrderReport, QualifiedNumber
from sinch_qn.models import HostingOrderState as OrderState
from sinch_qn.waiting import backoff, watch

_log = logging.getLogger("sinch_qn")

MAX_DELAY: Final = 60.0
"""Seconds between two polls, at most."""

DETAILS_INTERVAL: Final = 600.0
"""Seconds after which an order in progress is looked at in detail although its totals have not
changed: they do not count failures."""

_CALLBACK_POLL: Final = 1.0
"""Seconds between two looks at the callbacks that a receiver has noted."""

_LOST: Final = (BatchState.UNKNOWN,)
_NOTE_HOSTED: Final = "the response was lost, but its numbers are being hosted: the order exists"
_ENDED: Final = frozenset(state.value for state in ORDER_ENDED)

_Numbers: TypeAlias = dict[str, SinchState | None]
"""Numbers that are neither hosted nor failed, with the state last seen."""


@attrs.frozen(kw_only=True)
class OrderWatch:
    """Watches the orders of a journal, and their numbers."""

    client: QualifiedNumbersClient
    journal: Journal
    clock: Callable[[], float]
    jitter: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]]

    async def recheck(self, numbers: Collection[str]) -> int:
        """Record the states of VERIFIED *numbers*; return how many are no longer VERIFIED."""
        moved: list[Entry] = []
        try:
            await self._look(dict.fromkeys(numbers), moved)
        except SinchError as error:
            # Its class alone: a server's text may hold a number.
            self._log("a batch cannot be rechecked: %s", type(error).__name__)
        return len(moved)

    async def follow(self, timeout: float) -> None:
        """Watch until each order has ended and each number is hosted or failed, or *timeout*.

        An order is asked for its state and totals; only what has changed is looked at in detail.
        The numbers of a batch whose order is not known are watched by themselves.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        followed = await self._to_follow()
        delays = self._new_delays()
        only: Collection[int] | None = None
        limit: float | None = None  # the first poll is made in full
        while followed:
            try:
                async with asyncio.timeout_at(limit):
                    moved = await self._poll_or_log(followed, only)
                limit = deadline
                if moved:
                    delays = self._new_delays()
                async with asyncio.timeout_at(deadline):
                    only = None
                    if moved is None:
                        await self.sleep(next(delays))
                    elif followed:
                        only = await self._wait(next(delays))
            except TimeoutError:
                self._log("following the orders ends after %.0f s", timeout)
                return

    async def _poll_or_log(
        self, followed: dict[int, _Numbers], only: Collection[int] | None
    ) -> bool | None:
        """Return what `_poll` does; None after an error that may pass, which is logged."""
        try:
            return await self._poll(followed, only)
        except SinchError as error:
            if is_fatal(error):
                raise
            self._log("the orders cannot be followed now: %s", type(error).__name__)
            return None

    async def _to_follow(self) -> dict[int, _Numbers]:
        """Return the batches whose orders go on, with their numbers that do."""
        batches = [batch for batch in await self.journal.batches() if batch.state in MAY_EXIST]
        followed: dict[int, _Numbers] = {}
        for batch in batches:
            record = await load_record(self.journal, batch.id)
            if batch.order_id is not None and (record is None or record.state not in _ENDED):
                followed[batch.id] = {}
        ids = {batch.id for batch in batches}
        numbers = await asyncio.to_thread(lambda: _open_numbers(self.journal.rows(), ids))
        for batch_id, members in numbers.items():
            followed.setdefault(batch_id, {}).update(members)
        return followed

    async def _poll(self, followed: dict[int, _Numbers], only: Collection[int] | None) -> bool:
        """Look at the batches *followed*, or *only* at some; return whether anything moved."""
        to_look_at: _Numbers = {}
        moved, over = False, set()
        batches = {batch.id: batch for batch in await self.journal.batches()}
        for batch_id, numbers in list(followed.items()):
            batch = batches[batch_id]
            if batch.state not in MAY_EXIST:  # a person has freed it meanwhile
                del followed[batch_id]
                continue
            if only is not None and batch_id not in only:
                continue
            has_changed, goes_on = False, False
            if batch.order_id is not None:
                has_changed, goes_on = await self._poll_order(batch, batch.order_id)
            moved |= has_changed
            if has_changed or not goes_on:
                to_look_at |= numbers
            if not goes_on:
                over.add(batch_id)
        entries: list[Entry] = []
        if to_look_at:
            await self._look(to_look_at, entries)
        await self._update(followed, entries, batches)
        for batch_id in over:
            if not followed[batch_id]:
                del followed[batch_id]
        return moved or bool(entries)

    async def _update(
        self,
        followed: dict[int, _Numbers],
        moved: list[Entry],
        batches: Mapping[int, Batch],
    ) -> None:
        """Take what has *moved* into account."""
        for entry in moved:
            numbers = followed.get(entry.batch or 0, {})
            if entry.remote in HOSTING_ENDED or entry.remote is SinchState.UNSPECIFIED:
                numbers.pop(entry.number, None)
            elif entry.number in numbers:
                numbers[entry.number] = entry.remote
        for batch_id in {e.batch for e in moved if e.remote in HOSTING_ORDERED and e.batch}:
            if batches[batch_id].state is BatchState.UNKNOWN:
                await self.journal.record_batch_outcome(
                    batch_id, BatchState.ORDERED, only_from=_LOST, note=_NOTE_HOSTED
                )

    async def _poll_order(self, batch: Batch, order_id: str) -> tuple[bool, bool]:
        """Record the state and totals of an order; return whether they changed, and it goes on.

        One that Sinch does not know does not go on: its numbers say what became of it. One that it
        refuses to show is asked for again.
        """
        before = await load_record(self.journal, batch.id) or OrderRecord(
            name="", service_plan_id=""
        )
        try:
            order = await self.client.hosting_orders.get(order_id)
            report = await self._report_of(order, order_id)
        except NotFoundError:
            return False, False
        except SinchError as error:
            if not is_refusal(error):
                raise  # it would meet the other orders, too
            self._log("batch %d cannot be followed: %s", batch.id, type(error).__name__)
            return False, True
        now = self.clock()
        after = _updated(before, order, report, now=now)
        has_changed = after != before
        is_stale = report is not None and now - (before.detailed_at or 0) >= DETAILS_INTERVAL
        if has_changed or is_stale:
            if report is not None:
                listing = self.client.hosting_orders.list_numbers(order_id)
                async with aclosing(listing) as numbers:
                    failures = [each async for n in numbers for each in number_failures(n)]
                after = attrs.evolve(after, failures=tuple(failures), detailed_at=now)
            await save_record(self.journal, batch.id, after)
            self._log("hosting order of batch %d: %s", batch.id, after.state)
        return has_changed or is_stale, after.state is not None and after.state not in _ENDED

    def _log(self, message: str, *values: object) -> None:
        _log.info(f"project %s: {message}", self.client.project_id, *values)

    async def _report_of(self, order: HostingOrder, order_id: str) -> HostingOrderReport | None:
        """Return the totals of *order*; None before its letter is signed: nothing moves."""
        if order.state in (OrderState.IN_PROGRESS, *ORDER_ENDED):
            return await self.client.hosting_orders.report(order_id)
        return None

    async def _wait(self, delay: float) -> Collection[int] | None:
        """Wait for the next poll; return the batches that callbacks are about, if any came."""
        before = await count_callbacks(self.journal)
        if before is None:  # no receiver has run
            await self.sleep(delay)
            return None
        while delay > 0:
            await self.sleep(min(delay, _CALLBACK_POLL))
            delay -= _CALLBACK_POLL
            after = await count_callbacks(self.journal) or {}
            changed = [batch for batch, count in after.items() if count != before.get(batch)]
            if changed:
                return changed
        return None

    def _new_delays(self) -> Iterator[float]:
        return backoff(maximum=MAX_DELAY, jitter=self.jitter)

    async def _look(self, numbers: Mapping[str, SinchState | None], moved: list[Entry]) -> None:
        """Look at *numbers* once; record their states, and add the entries that have *moved*."""
        async with aclosing(self._watch(numbers)) as polls:
            async for found in polls:
                moved += await self._record_states(found)

    def _watch(
        self, numbers: Mapping[str, SinchState | None]
    ) -> AsyncGenerator[list[QualifiedNumber], None]:
        return watch(
            partial(self.client.list_numbers, page_size=LIST_PAGE),
            self.client.get_number,
            numbers,
            frozenset(REACHABLE),
            timeout=MAX_DELAY,
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


def _updated(
    before: OrderRecord, order: HostingOrder, report: HostingOrderReport | None, *, now: float
) -> OrderRecord:
    """Return the record of an order as Sinch has it now."""
    after = before
    if order.state is not None and order.state != before.state:
        since = now if order.updated_time is None else order.updated_time.timestamp()
        after = attrs.evolve(after, state=str(order.state), since=since)
    if report is not None:
        after = attrs.evolve(
            after,
            total=report.total,
            osr_updated=report.osr_updated,
            done=report.sms_provisioned,
            in_campaign=report.added_to_campaign,
            manual=report.ongoing_manual_action,
        )
    return after


def _open_numbers(rows: Iterable[Entry], batches: Collection[int]) -> dict[int, _Numbers]:
    """Return the numbers of *batches* that are neither hosted nor failed."""
    found: dict[int, _Numbers] = {}
    for entry in rows:
        if entry.batch in batches and entry.remote not in HOSTING_ENDED:
            found.setdefault(entry.batch or 0, {})[entry.number] = entry.remote
    return found
