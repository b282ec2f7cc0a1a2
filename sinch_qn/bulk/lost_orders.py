"""Orders whose response was lost: found again among the hosting orders, or certainly not there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from contextlib import aclosing
from typing import Final

import attrs

from sinch_qn.bulk.journal.protocol import Batch, BatchState, Journal
from sinch_qn.bulk.order_records import (
    NOTE_ABSENT,
    NOTE_FOUND,
    NOTE_UNLISTED,
    OrderRecord,
    is_named,
    is_ours,
    load_record,
    save_record,
)
from sinch_qn.bulk.outcomes import is_fatal
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.errors import JournalError, NotFoundError, SinchError
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.models import HostingOrder, HostingOrderType

_log = logging.getLogger("sinch_qn")

ABSENT_AFTER: Final = 900.0
"""Seconds after it was first not listed from which an order that still is not was not placed.

How soon Sinch lists an order is undocumented. 15 minutes are far more than any deadline of a call.
Both times are the journal's, whose clock all its runners share.
"""

_IN_DOUBT: Final = (BatchState.UNKNOWN, BatchState.ORDERED)


@attrs.frozen
class LostOrders:
    """Looks for the orders of a journal whose response was lost."""

    _client: QualifiedNumbersClient
    _journal: Journal
    _clock: Callable[[], float]

    async def find(self) -> None:
        """Look for each once; an error leaves one to the next call. Raises fatal ones."""
        batches = await self._journal.batches()
        known = {batch.order_id for batch in batches if batch.order_id is not None}
        for batch in batches:
            if batch.state not in _IN_DOUBT or batch.order_id is not None or not batch.numbers:
                continue
            try:
                await self._find(batch, known)
            except SinchError as error:
                if is_fatal(error) or isinstance(error, JournalError):
                    raise
                # Its class alone: a server's text may hold a number.
                _log.info(
                    "project %s: the lost order of batch %d cannot be looked for: %s",
                    self._client.project_id,
                    batch.id,
                    type(error).__name__,
                )

    async def _find(self, batch: Batch, known: set[str]) -> None:
        """Look for the order of *batch*; *known* are ids of other batches."""
        record = await load_record(self._journal, batch.id)
        if record is None or record.campaign_id is None:
            await self._note(batch, NOTE_UNLISTED)
            return
        order = await find_order(self._client, batch, record, known)
        if order is not None and order.hosting_order_id is not None:
            known.add(order.hosting_order_id)
            await self._journal.record_batch_outcome(
                batch.id,
                BatchState.ORDERED,
                only_from=_IN_DOUBT,
                order_id=order.hosting_order_id,
                note=NOTE_FOUND,
            )
            return
        now = self._clock()
        if record.absent_since is None:
            record = attrs.evolve(record, absent_since=now)
            await save_record(self._journal, batch.id, record)
        is_late = now - (record.absent_since or now) >= ABSENT_AFTER
        if is_late and batch.note != NOTE_ABSENT and await _is_untouched(self._client, batch):
            await self._note(batch, NOTE_ABSENT)

    async def _note(self, batch: Batch, note: str) -> None:
        """Say why an UNKNOWN batch stays so."""
        unknown = (BatchState.UNKNOWN,)
        await self._journal.record_batch_outcome(
            batch.id, BatchState.UNKNOWN, only_from=unknown, note=note
        )


async def find_order(
    client: QualifiedNumbersClient,
    batch: Batch,
    record: OrderRecord,
    known: Collection[str],
) -> HostingOrder | None:
    """Return the hosting order of *batch*, if Sinch lists one; *known* are ids of other batches.

    All orders of its service plan and campaign are listed, state by state in the order of an
    order's life, so that one that moves meanwhile is seen. It is recognised by its display name, or
    by its numbers if somebody or something has changed the name: those of each order whose name is
    not one of ours are listed. Raises `SinchError`: then nothing is known.
    """
    if record.campaign_id is None:
        raise ValueError("orders without a campaign cannot be listed")
    listing = client.hosting_orders.list(
        type=HostingOrderType.TYPE_TEXT_ENABLE,
        service_plan_id=record.service_plan_id,
        campaign_id=record.campaign_id,
    )
    unnamed: dict[str, HostingOrder] = {}
    async with aclosing(listing) as orders:
        async for order in orders:
            if order.hosting_order_id is None or order.hosting_order_id in known:
                continue
            if is_named(record.name, order.display_name):
                return order
            if not is_ours(order.display_name):
                unnamed[order.hosting_order_id] = order
    for order_id, order in unnamed.items():
        if await _has_any(client, order_id, batch.numbers):
            return order
    return None


async def _has_any(client: QualifiedNumbersClient, order_id: str, numbers: Collection[str]) -> bool:
    """Return whether an order has any of *numbers*."""
    try:
        async with aclosing(client.hosting_orders.list_numbers(order_id)) as listing:
            return any([number.phone_number in numbers async for number in listing])
    except NotFoundError:
        return False


async def _is_untouched(client: QualifiedNumbersClient, batch: Batch) -> bool:
    """Return whether each number of *batch* is VERIFIED still: no order hosts it."""
    for phone_number in batch.numbers:
        number = await client.get_number(phone_number)
        if number.global_process_state is not SinchState.VERIFIED:
            return False
    return True
