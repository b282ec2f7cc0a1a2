"""`sinch-qn orders`: hosting orders, their numbers and carriers."""

from __future__ import annotations

from collections.abc import Sequence

import click

from sinch_qn import parsing
from sinch_qn.cli import jobs
from sinch_qn.cli.app import command, command_group
from sinch_qn.cli.options import (
    duration,
    json_option,
    member_of,
    more_regions_option,
    phone_number,
    place_options,
    region_option,
)
from sinch_qn.models import HostingOrderState, HostingOrderType, OperationStatus

_orders_argument = click.argument("order_ids", metavar="ORDERS...", nargs=-1, required=True)
_order_argument = click.argument("order_id", metavar="ORDER")


@command_group(
    examples="""
        sinch-qn orders list --service-plan-id P --campaign-id C
        sinch-qn orders follow 01arz3nhyrtsv4rrffq69g5fav
        sinch-qn orders numbers 01arz3nhyrtsv4rrffq69g5fav --failed
    """
)
def orders() -> None:
    """Follow hosting orders, their numbers and carriers.

    `sinch-qn text-enable` places an order. It waits until its Letter of Authorization is signed,
    and ends as COMPLETED or REJECTED. Nothing cancels an order.
    """


@command(
    "list",
    examples="""
        sinch-qn orders list --service-plan-id P --campaign-id C
        sinch-qn orders list waiting_for_loa_signature --service-plan-id P --campaign-id C
        sinch-qn orders list --type import --service-plan-id P --campaign-id C --json
    """,
)
@click.argument("states", nargs=-1, type=member_of(HostingOrderState))
@click.option(
    "--type",
    "order_type",
    type=member_of(HostingOrderType),
    metavar="TYPE",
    default="type_text_enable",
    show_default=True,
    help="Or import.",
)
@place_options
@region_option
@click.option("--page-size", type=click.IntRange(min=1), help="Orders per request.")
@click.option("--order-by", type=click.Choice(["createdTime", "updatedTime"]))
@click.option("--limit", type=click.IntRange(min=1), help="Stop after this many orders.")
@json_option
def list_orders(
    states: Sequence[HostingOrderState],
    order_type: HostingOrderType,
    service_plan_id: str,
    campaign_id: str,
    region: str | None,
    page_size: int | None,
    order_by: str | None,
    limit: int | None,
    *,
    as_json: bool,
) -> None:
    """List hosting orders by state.

    STATES such as `in_progress`; by default all, in the order of an order's life. Sinch lists the
    orders of one service plan and campaign; how to list orders without a campaign it does not say.
    """
    jobs.list_orders(
        states,
        limit=limit,
        as_json=as_json,
        type=order_type,
        service_plan_id=service_plan_id,
        campaign_id=campaign_id,
        region_code=region,
        page_size=page_size,
        order_by=order_by,
    )


@command(examples="sinch-qn orders get 01arz3nhyrtsv4rrffq69g5fav")
@_orders_argument
@json_option
def get(order_ids: Sequence[str], *, as_json: bool) -> None:
    """Show ORDERS as they are now."""
    jobs.get_orders(order_ids, as_json=as_json)


_state = member_of(OperationStatus)


@command(
    examples="""
        sinch-qn orders numbers 01arz3nhyrtsv4rrffq69g5fav --failed
        sinch-qn orders numbers 01arz3nhyrtsv4rrffq69g5fav +12025550134
        sinch-qn orders numbers 01arz3nhyrtsv4rrffq69g5fav --campaign waiting --json
    """
)
@_order_argument
@click.argument("numbers", nargs=-1, type=phone_number)
@more_regions_option
@click.option("--failed", is_flag=True, help="Only numbers of which something failed.")
@click.option("--osr", type=_state, metavar="STATE", help="Only with this state of the OSR update.")
@click.option("--service-plan", type=_state, metavar="STATE", help="… of the service plan.")
@click.option("--campaign", type=_state, metavar="STATE", help="… of the campaign.")
@json_option
def numbers(
    order_id: str,
    numbers: Sequence[parsing.ParsedNumber],
    *,
    failed: bool,
    osr: OperationStatus | None,
    service_plan: OperationStatus | None,
    campaign: OperationStatus | None,
    as_json: bool,
) -> None:
    """Show the numbers of ORDER, each with its state at each carrier.

    All, or NUMBERS. A STATE is done, failed, in_progress or waiting.
    """
    if numbers and (failed or osr or service_plan or campaign):
        raise click.UsageError("give either NUMBERS or states.")
    jobs.list_order_numbers(
        order_id,
        [number.e164 for number in numbers],
        failed=failed,
        as_json=as_json,
        osr_update_state=osr,
        platform_provisioning_state=service_plan,
        campaign_provisioning_state=campaign,
    )


@command(examples="sinch-qn orders report 01arz3nhyrtsv4rrffq69g5fav")
@_orders_argument
@json_option
def report(order_ids: Sequence[str], *, as_json: bool) -> None:
    """Show how many numbers of ORDERS have got how far."""
    jobs.report_orders(order_ids, as_json=as_json)


@command(
    examples="""
        sinch-qn orders follow 01arz3nhyrtsv4rrffq69g5fav
        sinch-qn orders follow 01arz3nhyrtsv4rrffq69g5fav --timeout 14d --json
    """,
    if_failed="The order itself goes on: repeat the command to follow it.",
)
@_order_argument
@click.option(
    "--timeout", type=duration, default="7d", show_default=True, help="How long to follow it."
)
@json_option
def follow(order_id: str, timeout: float, *, as_json: bool) -> None:
    """Show ORDER at each change, until it is COMPLETED or REJECTED.

    Exits with 0 only if all its numbers are done at all carriers.
    """
    jobs.follow_order(order_id, timeout=timeout, as_json=as_json)


for each in (list_orders, get, numbers, report, follow):
    orders.add_command(each)
