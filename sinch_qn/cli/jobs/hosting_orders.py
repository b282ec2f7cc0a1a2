"""What `sinch-qn orders` does."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import click

from sinch_qn._codec import encode
from sinch_qn.cli.client import with_client
from sinch_qn.cli.exit_codes import Exit, error_context
from sinch_qn.cli.messages import print_message
from sinch_qn.cli.output import Lines
from sinch_qn.cli.resources import (
    OrderLines,
    OrderNumberLines,
    ReportLines,
    counts,
    show_listing,
    time_text,
)
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.lifecycle import failures_of
from sinch_qn.models import HostingOrderState
from sinch_qn.resources import OrderProgress


def list_orders(
    states: Sequence[HostingOrderState], *, limit: int | None, as_json: bool, **filters: Any
) -> None:
    """Print the orders in *states*, at most *limit*."""

    async def job(client: QualifiedNumbersClient) -> None:
        with OrderLines(as_json=as_json) as lines:
            await show_listing(
                client.hosting_orders.list(*states, **filters), lines.add_order, limit
            )

    with_client(job)


def get_orders(order_ids: Sequence[str], *, as_json: bool) -> None:
    """Print orders as Sinch has them."""

    async def job(client: QualifiedNumbersClient) -> None:
        with OrderLines(as_json=as_json) as lines:
            for order_id in order_ids:
                with error_context(order_id):
                    lines.add_order(await client.hosting_orders.get(order_id))

    with_client(job)


def list_order_numbers(
    order_id: str, numbers: Sequence[str], *, failed: bool, as_json: bool, **filters: Any
) -> None:
    """Print the numbers of an order, or those of *numbers*; *failed*: only what failed."""

    async def job(client: QualifiedNumbersClient) -> None:
        orders = client.hosting_orders
        with OrderNumberLines(as_json=as_json) as lines:
            for phone_number in numbers:
                with error_context(phone_number):
                    lines.add_number(await orders.get_number(order_id, phone_number))
            if numbers:
                return
            async with aclosing(orders.list_numbers(order_id, **filters)) as listing:
                async for number in listing:
                    if not failed or failures_of(number):
                        lines.add_number(number)

    with_client(job)


def report_orders(order_ids: Sequence[str], *, as_json: bool) -> None:
    """Print how many numbers of each order have got how far."""

    async def job(client: QualifiedNumbersClient) -> None:
        with ReportLines(as_json=as_json) as lines:
            for order_id in order_ids:
                with error_context(order_id):
                    lines.add_report(order_id, await client.hosting_orders.report(order_id))

    with_client(job)


def follow_order(order_id: str, *, timeout: float, as_json: bool) -> None:
    """Print an order at each change, until it has ended; exit with FAILED unless all is done."""

    async def job(client: QualifiedNumbersClient) -> tuple[OrderProgress | None, int]:
        last, failed = None, 0
        orders = client.hosting_orders
        async with aclosing(orders.follow(order_id, timeout=timeout)) as changes:
            async for last in changes:
                _print_change(order_id, last, as_json=as_json)
        if last is not None and last.order.state is HostingOrderState.COMPLETED:
            async with aclosing(orders.list_numbers(order_id)) as listing:
                failed = len([number async for number in listing if failures_of(number)])
        return last, failed

    last, failed = with_client(job)
    if last is not None and last.order.state is HostingOrderState.REJECTED:
        print_message(f"order {order_id} is REJECTED: none of its numbers is hosted", "error")
        raise click.exceptions.Exit(Exit.FAILED)
    if failed:
        noun = "number" if failed == 1 else "numbers"
        print_message(
            f"{failed} {noun} failed: sinch-qn orders numbers {order_id} --failed", "error"
        )
        raise click.exceptions.Exit(Exit.FAILED)


def _print_change(order_id: str, progress: OrderProgress, *, as_json: bool) -> None:
    """Print a change at once: a table would come at the end."""
    order, report = progress.order, progress.report
    cells = [order_id, order.state or "", time_text(order.updated_time), *counts(report)]
    if sys.stdout.isatty() and not as_json:
        total, osr, plan, campaign, by_hand = cells[3:]
        click.echo(
            f"{cells[2]}  {cells[1]}: of {total} numbers {osr} have their OSR updated,"
            f" {plan} their service plan, {campaign} their campaign; {by_hand} by hand"
        )
    else:
        state = {"state": order.state, "updatedTime": time_text(order.updated_time)}
        record = {"hostingOrderId": order_id, **state, "report": encode(report)}
        with Lines(as_json=as_json) as lines:
            lines.add(record, *cells)
    sys.stdout.flush()
    if order.state is HostingOrderState.WAITING_FOR_LOA_SIGNATURE:
        since = time_text(order.updated_time) or "now"
        print_message(f"The Letter of Authorization waits for its signature since {since}.")
