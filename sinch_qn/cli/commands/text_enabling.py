"""`sinch-qn text-enable` and `text-enable-toll-free`: an order from options, numbers and a LOA."""

from __future__ import annotations

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
    region_option,
    summarize_numbers,
    yes_option,
)
from sinch_qn.models import (
    BlanketLoaInfo,
    TextEnableNumbersRequest,
    TextEnableTollFreeNumbersRequest,
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
    yes_option,
    json_option,
)
"""The options of both kinds of order, named as the fields of the request."""


@command(
    "text-enable",
    examples="""
        sinch-qn text-enable +12025550134 --service-plan-id P --campaign-id C --loa loa.json
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
    yes: bool,
    as_json: bool,
    **fields: Any,
) -> None:
    """Order SMS for verified NUMBERS.

    At most 500 in an order. Asks for confirmation.
    """
    if blanket_loa == (loa is not None):
        raise click.UsageError("give either --loa FILE or --blanket-loa.")
    _check_kind(numbers, toll_free=False)
    request = TextEnableNumbersRequest(
        region_code=region or _region_of(numbers),
        numbers=[number.e164 for number in numbers],
        **(loa or {"blanket_loa_info": BlanketLoaInfo()}),
        **fields,
    )
    if request.campaign_id is None:
        print_message("no --campaign-id: Sinch's guide requires one for SMS.", "warning")
    _confirm(numbers, request.region_code, yes=yes)
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
    yes: bool,
    as_json: bool,
    **fields: Any,
) -> None:
    """Order SMS for verified toll-free NUMBERS.

    Asks for confirmation.
    """
    _check_kind(numbers, toll_free=True)
    request = TextEnableTollFreeNumbersRequest(
        region_code=region or _region_of(numbers),
        numbers=[number.e164 for number in numbers],
        **loa,
        **fields,
    )
    _confirm(numbers, request.region_code, yes=yes)
    jobs.order_toll_free_sms(request, as_json=as_json)


def _check_kind(numbers: Sequence[parsing.ParsedNumber], *, toll_free: bool) -> None:
    """Reject numbers of the other kind, which has an operation of its own."""
    wrong = [number for number in numbers if number.toll_free is not toll_free]
    if wrong:
        kind = "not toll-free" if toll_free else "toll-free"
        other = "text-enable" if toll_free else "text-enable-toll-free"
        numbers_given = summarize_numbers(wrong)
        raise click.UsageError(f"{numbers_given}: {kind}, which is for `sinch-qn {other}`.")
    if len(numbers) > MAX_NUMBERS:
        raise click.UsageError(
            f"{len(numbers)} numbers, but one order takes at most {MAX_NUMBERS}: split them."
        )


def _region_of(numbers: Sequence[parsing.ParsedNumber]) -> str:
    regions = {number.region for number in numbers}
    if len(regions) > 1:
        raise click.UsageError(
            "some numbers are US, some CA, but an order has one region: place an order for each,"
            " or choose one with --region."
        )
    return regions.pop()


def _confirm(numbers: Sequence[parsing.ParsedNumber], region: str, *, yes: bool) -> None:
    noun = "number" if len(numbers) == 1 else "numbers"
    confirm(
        f"Order SMS for {len(numbers)} {region} {noun} ({summarize_numbers(numbers)})?", yes=yes
    )
