"""`client.hosting_orders`: place orders, and follow them, their numbers and the carriers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from operator import ne
from typing import Any

import attrs

from sinch_qn import _checks, _paging, _queries, waiting
from sinch_qn._error_context import naming
from sinch_qn._operations import (
    CREATE_IMPORT_ORDER,
    CREATE_TEXT_ENABLE_ORDER,
    CREATE_TOLL_FREE_TEXT_ENABLE_ORDER,
    GET_ORDER,
    GET_ORDER_NUMBER,
    GET_ORDER_REPORT,
    LIST_ORDER_NUMBERS,
    LIST_ORDERS,
)
from sinch_qn._pipeline import Pipeline, PreparedCall
from sinch_qn.lifecycle import ORDER_ENDED, ORDERS_IN_ORDER
from sinch_qn.models import (
    HostingOrder,
    HostingOrderNumber,
    HostingOrderReport,
    HostingOrderState,
    HostingOrderType,
    ImportNumbersRequest,
    OperationStatus,
    TextEnableNumbersRequest,
    TextEnableTollFreeNumbersRequest,
)
from sinch_qn.retry import RetryRule

_ORDERS = _paging.Listing(LIST_ORDERS, "hostingOrders", HostingOrder)
_NUMBERS = _paging.Listing(LIST_ORDER_NUMBERS, "numbers", HostingOrderNumber)


@attrs.frozen(kw_only=True)
class OrderProgress:
    """A hosting order, and how many of its numbers have got how far."""

    order: HostingOrder
    report: HostingOrderReport


class HostingOrdersResource:
    """A project's hosting orders.

    An order is SUBMITTED, then WAITING_FOR_LOA_SIGNATURE until the Letter of Authorization is
    signed, IN_PROGRESS, and at last COMPLETED or REJECTED. The API has no operation that cancels
    or changes an order, or sends its letter again.
    """

    def __init__(self, pipeline: Pipeline, project_id: str) -> None:
        self._pipeline = pipeline
        self._project_id = project_id

    async def get(
        self, order_id: str, *, timeout: float | None = None, retry: RetryRule | None = None
    ) -> HostingOrder:
        """Return the current order. Raises `NotFoundError`. (getHostingOrder)"""
        return await self._pipeline.call(GET_ORDER, order_id=order_id, timeout=timeout, retry=retry)

    async def wait(
        self, order_id: str, *, timeout: float, retry: RetryRule | None = None
    ) -> HostingOrder:
        """Poll until the order is COMPLETED; return it.

        COMPLETED is said of the order: single numbers may have failed (`report`, `list_numbers`).
        Raises `OrderRejectedError` once it is REJECTED, `NotFoundError` if it is not found for
        five seconds, and `DeadlineExceededError` after *timeout* seconds. Transient errors do not
        end the wait. (getHostingOrder)
        """
        return await waiting.wait_for_order(
            lambda: self.get(order_id, retry=retry),
            timeout=_checks.check_above_zero(timeout, "timeout"),
        )

    async def follow(
        self, order_id: str, *, timeout: float, retry: RetryRule | None = None
    ) -> AsyncGenerator[OrderProgress, None]:
        """Yield the order and its totals, and again at each change, until it has ended.

        The last one is COMPLETED or REJECTED. Raises `NotFoundError` if the order is not found for
        five seconds, and `DeadlineExceededError` after *timeout* seconds. Transient errors do not
        end it. (getHostingOrder, getHostingOrderReport)
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + _checks.check_above_zero(timeout, "timeout")

        async def get() -> OrderProgress:
            order = await self.get(order_id, retry=retry)
            return OrderProgress(order=order, report=await self.report(order_id, retry=retry))

        last: OrderProgress | None = None
        while last is None or last.order.state not in ORDER_ENDED:
            current: OrderProgress
            with naming(GET_ORDER.id):
                current = await waiting.poll(
                    get,
                    partial(ne, last),
                    goal="COMPLETED or REJECTED",
                    state_of=lambda progress: progress.order.state,
                    timeout=max(deadline - clock(), 1e-3),
                    of=timeout,
                    delays=waiting.backoff(1.0, 60.0, factor=1.5),
                )
            last = current
            yield current

    async def report(
        self, order_id: str, *, timeout: float | None = None, retry: RetryRule | None = None
    ) -> HostingOrderReport:
        """Return how many of the order's numbers have got how far: one request for all.

        Raises `NotFoundError`. (getHostingOrderReport)
        """
        return await self._pipeline.call(
            GET_ORDER_REPORT, order_id=order_id, timeout=timeout, retry=retry
        )

    async def list_numbers(
        self,
        order_id: str,
        *,
        osr_update_state: OperationStatus | str | None = None,
        campaign_provisioning_state: OperationStatus | str | None = None,
        platform_provisioning_state: OperationStatus | str | None = None,
        order_by: str | None = None,
        page_size: int | None = None,
        timeout: float | None = None,
        retry: RetryRule | None = None,
    ) -> AsyncGenerator[HostingOrderNumber, None]:
        """Yield the order's numbers, each with its state and error code at each carrier.

        Memory holds one page at a time. Raises `NotFoundError`, and `PaginationError` if a page
        token repeats. (listHostingOrderNumbers)
        """
        query = _queries.hosting_order_numbers(
            osr_update_state=osr_update_state,
            campaign_provisioning_state=campaign_provisioning_state,
            platform_provisioning_state=platform_provisioning_state,
            order_by=order_by,
        )

        async def fetch(token: str | None) -> dict[str, Any] | None:
            return await self._pipeline.call_raw(
                LIST_ORDER_NUMBERS,
                order_id=order_id,
                query=query | _queries.page(page_size=page_size, page_token=token),
                timeout=timeout,
                retry=retry,
            )

        async with aclosing(_paging.items(fetch, _NUMBERS)) as listing:
            async for number in listing:
                yield number

    async def get_number(
        self,
        order_id: str,
        phone_number: str,
        *,
        timeout: float | None = None,
        retry: RetryRule | None = None,
    ) -> HostingOrderNumber:
        """Return one of the order's numbers. Raises `NotFoundError`. (getHostingOrderNumber)"""
        return await self._pipeline.call(
            GET_ORDER_NUMBER,
            order_id=order_id,
            phone_number=phone_number,
            timeout=timeout,
            retry=retry,
        )

    async def import_numbers(
        self,
        request: ImportNumbersRequest,
        *,
        timeout: float | None = None,
        retry: RetryRule | None = None,
        prepared: PreparedCall | None = None,
    ) -> HostingOrder:
        """Order the import of numbers; return the order, of type IMPORT.

        The API takes 5 numbers a request unless your account manager has raised that. Not
        idempotent: never retried once the request may have been sent. Raises
        `InvalidRequestError`. (createImportOrder)
        """
        return await self._pipeline.call(
            CREATE_IMPORT_ORDER,
            body=_checks.check_import_numbers(request, self._project_id),
            timeout=timeout,
            retry=retry,
            prepared=prepared,
        )

    async def text_enable_numbers(
        self,
        request: TextEnableNumbersRequest,
        *,
        timeout: float | None = None,
        retry: RetryRule | None = None,
        prepared: PreparedCall | None = None,
    ) -> HostingOrder:
        """Order SMS for 1 to 500 verified numbers; return the whole order.

        `QualifiedNumbersClient.text_enable_numbers` returns its id only. Not idempotent: a second
        order sends a second letter. Raises `InvalidRequestError`, `BadRequestError`,
        `NotFoundError`, `ConflictError`. (createTextEnableOrder)
        """
        return await self._pipeline.call(
            CREATE_TEXT_ENABLE_ORDER,
            body=_checks.check_text_enable(request, self._project_id),
            timeout=timeout,
            retry=retry,
            prepared=prepared,
        )

    async def text_enable_toll_free_numbers(
        self,
        request: TextEnableTollFreeNumbersRequest,
        *,
        timeout: float | None = None,
        retry: RetryRule | None = None,
        prepared: PreparedCall | None = None,
    ) -> HostingOrder:
        """Order SMS for toll-free numbers; return the order.

        Not idempotent. Raises `InvalidRequestError`, `BadRequestError`, `NotFoundError`,
        `ConflictError`. (createTollFreeTextEnableOrder)
        """
        return await self._pipeline.call(
            CREATE_TOLL_FREE_TEXT_ENABLE_ORDER,
            body=_checks.check_text_enable_toll_free(request, self._project_id),
            timeout=timeout,
            retry=retry,
            prepared=prepared,
        )

    async def list(
        self,
        *states: HostingOrderState | str,
        type: HostingOrderType | str,  # noqa: A002 - the wire name, by keyword only
        service_plan_id: str,
        campaign_id: str,
        region_code: str | None = None,
        order_by: str | None = None,
        page_size: int | None = None,
        timeout: float | None = None,
        retry: RetryRule | None = None,
    ) -> AsyncGenerator[HostingOrder, None]:
        """Yield the orders of one type, service plan and campaign, one state after the other.

        Without *states*: all six, in the order of an order's life. The API requires *type*,
        *service_plan_id* and *campaign_id*; how to list orders without a campaign is
        undocumented. *region_code* is `US` or `CA`, *order_by* `createdTime` or `updatedTime`.
        Memory holds one page at a time. Raises `InvalidRequestError`, `NotFoundError`, and
        `PaginationError` if a page token repeats. (listHostingOrders)
        """
        query = _queries.hosting_orders(
            order_type=type,
            service_plan_id=service_plan_id,
            campaign_id=campaign_id,
            region_code=region_code,
            order_by=order_by,
        )
        wanted = [_checks.check_member("states", each, HostingOrderState) for each in states]
        for state in wanted or ORDERS_IN_ORDER:
            of_state = query | {"states": str(state)}

            async def fetch(
                token: str | None, query: dict[str, str] = of_state
            ) -> dict[str, Any] | None:
                return await self._pipeline.call_raw(
                    LIST_ORDERS,
                    query=query | _queries.page(page_size=page_size, page_token=token),
                    timeout=timeout,
                    retry=retry,
                )

            async with aclosing(_paging.items(fetch, _ORDERS)) as listing:
                async for order in listing:
                    yield order
