"""Orders whose response was lost: found again among the hosting orders, or certainly not there."""

from __future__ import annotations

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
)
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.errors import NotFoundError
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.models import HostingOrder, HostingOrderType

ABSENT_AFTER: Final = 900.0
"""Seconds after its intent from which an order that is not listed was not placed.

How soon Sinch lists an order is undocumented. 15 minutes are far more than any deadline of a call.
"""


_IN_DOUBT: Final = (BatchState.UNKNOWN, BatchState.ORDERED)


@attrs.frozen
class LostOrders:
    """Looks for the orders of a journal whose response was lost."""

    _client: QualifiedNumbersClient
    _journal: Journal
    _clock: Callable[[], float]

    async def find(self) -> None:
        """Look for each once. Raises `SinchError`: then nothing is known of the rest."""
        batches = await self._journal.batches()
        known = {batch.order_id for batch in batches if batch.order_id is not None}
        for batch in batches:
            if batch.state not in _IN_DOUBT or batch.order_id is not None or not batch.numbers:
                continue
            record = await load_record(self._journal, batch.id)
            if record is None or record.campaign_id is None:
                await self._note(batch, NOTE_UNLISTED)
                continue
            is_late = self._clock() - batch.at >= ABSENT_AFTER
            order = await find_order(self._client, batch, record, known, by_numbers=is_late)
            if order is not None and order.hosting_order_id is not None:
                known.add(order.hosting_order_id)
                await self._journal.record_batch_outcome(
                    batch.id,
                    BatchState.ORDERED,
                    only_from=_IN_DOUBT,
                    order_id=order.hosting_order_id,
                    note=NOTE_FOUND,
                )
            elif is_late and await _is_untouched(self._client, batch):
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
    *,
    by_numbers: bool,
) -> HostingOrder | None:
    """Return the hosting order of *batch*, if Sinch lists one; *known* are ids of other batches.

    All orders of its service plan and campaign are listed, state by state in the order of an
    order's life, so that one that moves meanwhile is seen. It is recognised by its display name;
    with *by_numbers* also by its numbers, if somebody or something has changed the name: a GET for
    each order whose name is not one of ours. Raises `SinchError`: then nothing is known.
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
            if by_numbers and not is_ours(order.display_name):
                unnamed[order.hosting_order_id] = order
    for order_id, order in unnamed.items():
        if await _has_number(client, order_id, batch.numbers[0]):
            return order
    return None


async def _has_number(client: QualifiedNumbersClient, order_id: str, number: str) -> bool:
    try:
        await client.hosting_orders.get_number(order_id, number)
    except NotFoundError:
        return False
    return True


async def _is_untouched(client: QualifiedNumbersClient, batch: Batch) -> bool:
    """Return whether the first number of *batch* is VERIFIED still: no order hosts it."""
    number = await client.get_number(batch.numbers[0])
    return number.global_process_state is SinchState.VERIFIED
