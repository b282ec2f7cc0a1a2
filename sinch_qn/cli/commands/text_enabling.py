"""`sinch-qn text-enable` and `text-enable-toll-free`: an order from options, numbers and a LOA."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from sinch_qn import parsing
from sinch_qn._checks import MAX_NUMBERS
from sinch_qn.cli import jobs
from sinch_qn.cli.app import command
from sinch_qn.cli.messages import print_message
from sinch_qn.cli.options import (
    blanket_loa_option,
    campaign_option,
    combine,
    confirm,
    json_option,
    loa_option,
    moment,
    numbers_input,
    print_letter,
    region_option,
    summarize_numbers,
    yes_option,
)
from sinch_qn.models import (
    BlanketLoaInfo,
    TextEnableNumbersRequest,
    TextEnableTollFreeNumbersRequest,
)
from sinch_qn.preflight import (
    OrderRequest,
    PlannedOrder,
    order_problems,
    order_warnings,
    split_orders,
)

_IF_UNKNOWN: Final = (
    "The order may have been placed: check with `sinch-qn list hosting_in_progress` before you"
    " repeat it, because a second order sends a second letter."
)


_order_options = combine(
    numbers_input,
    click.option("--service-plan-id", required=True, help="The SMS service of the numbers."),
    region_option,
    click.option("--display-name", help="A name for the order."),
    click.option("--callback-url", help="Where Sinch reports the state of the numbers."),
    click.option("--dry-run", is_flag=True, help="Show the order and its letter; send nothing."),
    yes_option,
    json_option,
)
"""The options of both kinds of order, named as the fields of the request."""


@command(
    "text-enable",
    examples="""
        sinch-qn text-enable +12025550134 --service-plan-id P --campaign-id C --loa loa.json
        sinch-qn text-enable --file ours.csv --service-plan-id P --campaign-id C --loa loa.json \\
            --dry-run
        sinch-qn text-enable --file ours.csv --service-plan-id P --campaign-id C --blanket-loa
    """,
    if_unknown=_IF_UNKNOWN,
)
@_order_options
@campaign_option
@loa_option()
@blanket_loa_option
@click.option("--nnid", help="A Net Number ID other than your account's.")
@click.option(
    "--osr-update-time",
    "scheduled_osr_update_time",
    type=moment,
    help="When to switch over, such as 2026-01-13T14:30:00Z.",
)
@click.option(
    "--migrate-to-sinch-tmo",
    is_flag=True,
    default=None,
    help="Migrate the numbers from another aggregator at T-Mobile.",
)
def text_enable(
    numbers: Sequence[parsing.ParsedNumber],
    region: str | None,
    loa: dict[str, Any] | None,
    *,
    blanket_loa: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **fields: Any,
) -> None:
    """Order SMS for verified NUMBERS.

    At most 500 in an order, of one region. Asks for confirmation.
    """
    if blanket_loa == (loa is not None):
        raise click.UsageError("give either --loa FILE or --blanket-loa.")
    orders = split_orders([number.e164 for number in numbers], region=region)
    request = TextEnableNumbersRequest(
        region_code=orders[0].region,
        numbers=list(orders[0].numbers),
        **(loa or {"blanket_loa_info": BlanketLoaInfo()}),
        **fields,
    )
    if not _is_to_be_placed(request, orders, toll_free=False, dry_run=dry_run, as_json=as_json):
        return
    _confirm(orders[0], yes=yes)
    jobs.order_sms(request, as_json=as_json)


@command(
    "text-enable-toll-free",
    examples="sinch-qn text-enable-toll-free +18335550134 --service-plan-id P --loa loa.json",
    if_unknown=_IF_UNKNOWN,
)
@_order_options
@loa_option(required=True)
@click.option(
    "--provisioning-time",
    "scheduled_zipwhip_provisioning_time",
    type=moment,
    help="When to provision, such as 2026-01-13T14:30:00Z.",
)
def text_enable_toll_free(
    numbers: Sequence[parsing.ParsedNumber],
    region: str | None,
    loa: dict[str, Any],
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **fields: Any,
) -> None:
    """Order SMS for verified toll-free NUMBERS.

    Asks for confirmation.
    """
    orders = split_orders([number.e164 for number in numbers], region=region)
    request = TextEnableTollFreeNumbersRequest(
        region_code=orders[-1].region,
        numbers=list(orders[-1].numbers),
        **loa,
        **fields,
    )
    if not _is_to_be_placed(request, orders, toll_free=True, dry_run=dry_run, as_json=as_json):
        return
    _confirm(orders[-1], yes=yes)
    jobs.order_toll_free_sms(request, as_json=as_json)


def _is_to_be_placed(
    request: OrderRequest,
    orders: Sequence[PlannedOrder],
    *,
    toll_free: bool,
    dry_run: bool,
    as_json: bool,
) -> bool:
    """Show what would be ordered; return whether it is to be.

    Raises `click.UsageError` if something is missing, or if more than one order is needed: only a
    run keeps several apart after a crash.
    """
    for warning in order_warnings(request):
        print_message(warning, "warning")
    problems = order_problems(request)
    if dry_run or sys.stderr.isatty():
        print_letter(request)
    if dry_run:
        jobs.show_planned_orders(orders, as_json=as_json)
    if problems:
        raise click.UsageError("\n".join(problems))
    if len(orders) > 1 or orders[0].toll_free is not toll_free:
        text = _why_not_one_order(orders, toll_free=toll_free)
        if not dry_run:
            raise click.UsageError(text)
        print_message(text, "warning")
    return not dry_run


def _why_not_one_order(orders: Sequence[PlannedOrder], *, toll_free: bool) -> str:
    if len(orders) == 1:
        kind = "not toll-free" if toll_free else "toll-free"
        other = "text-enable" if toll_free else "text-enable-toll-free"
        return f"{summarize_numbers(orders[0].numbers)}: {kind}, which is for `sinch-qn {other}`."
    return (
        f"these numbers need {len(orders)} orders, of one kind and region and at most"
        f" {MAX_NUMBERS} numbers each: {', '.join(map(str, orders))}. Place one at a time, or all"
        " with `sinch-qn run FILE --journal run.db --text-enable`, which orders nothing twice."
    )


def _confirm(order: PlannedOrder, *, yes: bool) -> None:
    confirm(f"Order SMS for {order} ({summarize_numbers(order.numbers)})?", yes=yes)
