"""`sinch-qn text-enable` and `text-enable-toll-free`: an order from options, numbers and a LOA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sinch_qn.cli import options
from sinch_qn.cli.client import call
from sinch_qn.cli.options import (
    FILE,
    ask,
    examples,
    json_option,
    listed,
    numbers_input,
    region_option,
    yes_option,
)
from sinch_qn.cli.output import Lines, say, show_order

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sinch_qn.parsing import ParsedNumber

_LETTER = "The Letter of Authorization is sent by email; nothing goes on until it is signed."


def _order_options(command: Callable[..., None]) -> Callable[..., None]:
    """Take what both kinds of order have; options are named as the request's fields."""
    for option in (
        json_option,
        yes_option,
        click.option("--callback-url", help="Where Sinch reports what becomes of the numbers."),
        click.option("--display-name", help="A name for the order."),
        region_option,
        click.option("--service-plan-id", required=True, help="The SMS service of the numbers."),
        numbers_input,
    ):
        command = option(command)
    return command


@click.command(
    "text-enable",
    epilog=examples(
        "sinch-qn text-enable +12025550134 --service-plan-id P --campaign-id C --loa loa.json",
        "sinch-qn text-enable --file ours.csv --service-plan-id P --campaign-id C --blanket-loa",
    ),
)
@_order_options
@click.option("--campaign-id", help="The 10DLC campaign. Sinch's guide says it must be given.")
@click.option("--loa", type=FILE, help="Direct or reseller LOA, as JSON: see docs/cli.md.")
@click.option("--blanket-loa", is_flag=True, help="Use the blanket LOA that was agreed.")
@click.option("--nnid", help="A Net Number ID other than your account's.")
@click.option(
    "--osr-update-time",
    "scheduled_osr_update_time",
    type=options.time,
    help="When to switch over, such as 2026-01-13T14:30:00Z.",
)
@click.option(
    "--migrate-to-sinch-tmo",
    is_flag=True,
    default=None,
    help="Take the numbers over from another aggregator at T-Mobile.",
)
def text_enable(
    numbers: Sequence[ParsedNumber],
    region: str | None,
    loa: Path | None,
    *,
    blanket_loa: bool,
    yes: bool,
    as_json: bool,
    **fields: Any,
) -> None:
    """Order SMS for verified NUMBERS.

    At most 500 in an order. Asks first.
    """
    from sinch_qn.models import BlanketLoaInfo, TextEnableNumbersRequest  # noqa: PLC0415

    if blanket_loa == (loa is not None):
        raise click.UsageError("give either --loa FILE or --blanket-loa.")
    letter = read_loa(loa) if loa else {"blanket_loa_info": BlanketLoaInfo()}
    _check_kind(numbers, toll_free=False)
    request = TextEnableNumbersRequest(
        region_code=region or _region_of(numbers),
        numbers=[number.e164 for number in numbers],
        **letter,
        **fields,
    )
    if request.campaign_id is None:
        say("no --campaign-id: Sinch's guide says that SMS needs one.", "warning")
    _ask(numbers, request.region_code, yes=yes)
    order_id = call(lambda client: client.text_enable_numbers(request))
    with Lines("ORDER", as_json=as_json) as lines:
        lines.add({"hostingOrderId": order_id}, order_id)
    if loa:
        say(_LETTER)


@click.command(
    "text-enable-toll-free",
    epilog=examples(
        "sinch-qn text-enable-toll-free +18335550134 --service-plan-id P --loa loa.json",
    ),
)
@_order_options
@click.option(
    "--loa", type=FILE, required=True, help="Direct or reseller LOA, as JSON: see docs/cli.md."
)
@click.option(
    "--provisioning-time",
    "scheduled_zipwhip_provisioning_time",
    type=options.time,
    help="When to provision, such as 2026-01-13T14:30:00Z.",
)
def text_enable_toll_free(
    numbers: Sequence[ParsedNumber],
    region: str | None,
    loa: Path,
    *,
    yes: bool,
    as_json: bool,
    **fields: Any,
) -> None:
    """Order SMS for verified toll-free NUMBERS.

    Asks first.
    """
    from sinch_qn.models import TextEnableTollFreeNumbersRequest  # noqa: PLC0415

    _check_kind(numbers, toll_free=True)
    request = TextEnableTollFreeNumbersRequest(
        region_code=region or _region_of(numbers),
        numbers=[number.e164 for number in numbers],
        **read_loa(loa),
        **fields,
    )
    _ask(numbers, request.region_code, yes=yes)
    order = call(lambda client: client.text_enable_toll_free_numbers(request))
    show_order(order, as_json=as_json)
    say(_LETTER)


def read_loa(path: Path) -> dict[str, Any]:
    """Return the LOA in a JSON file, by its field in the request."""
    from sinch_qn.models import DirectLoaInfo  # noqa: PLC0415 - 50 ms
    from sinch_qn.parsing import InvalidLoa, parse_loa  # noqa: PLC0415 - 30 ms, for a LOA only

    try:
        letter = parse_loa(path.read_bytes())
    except InvalidLoa as error:
        raise click.UsageError(f"{path}: {error}.") from error
    kind = "direct" if isinstance(letter, DirectLoaInfo) else "reseller"
    return {f"{kind}_loa_info": letter}


def _check_kind(numbers: Sequence[ParsedNumber], *, toll_free: bool) -> None:
    """Refuse what Sinch would: the two kinds of number have an operation each."""
    from sinch_qn._checks import MAX_NUMBERS  # noqa: PLC0415 - 50 ms, when it is needed

    wrong = [number for number in numbers if number.toll_free is not toll_free]
    if wrong:
        kind, other = (
            ("not toll-free", "text-enable")
            if toll_free
            else (
                "toll-free",
                "text-enable-toll-free",
            )
        )
        raise click.UsageError(f"{listed(wrong)}: {kind}, which is for `sinch-qn {other}`.")
    if len(numbers) > MAX_NUMBERS:
        raise click.UsageError(
            f"{len(numbers)} numbers, but one order takes at most {MAX_NUMBERS}: split them."
        )


def _region_of(numbers: Sequence[ParsedNumber]) -> str:
    regions = {number.region for number in numbers}
    if len(regions) > 1:
        raise click.UsageError(
            "the numbers are of US and of CA, but an order has one region: place an order for"
            " each, or say which with --region."
        )
    return regions.pop()


def _ask(numbers: Sequence[ParsedNumber], region: str, *, yes: bool) -> None:
    noun = "number" if len(numbers) == 1 else "numbers"
    ask(f"Order SMS for {len(numbers)} {region} {noun} ({listed(numbers)})?", yes=yes)
