"""`sinch-qn list`, `get`, `add` and `delete`: the numbers of a project."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from itertools import islice

import click

from sinch_qn._checks import MAX_NUMBERS
from sinch_qn.cli.app import command
from sinch_qn.cli.client import error_context, with_client
from sinch_qn.cli.messages import invoices_command, print_message
from sinch_qn.cli.options import (
    confirm,
    json_option,
    more_regions_option,
    numbers_input,
    phone_number,
    region_option,
    state,
    summarize_numbers,
    yes_option,
)
from sinch_qn.cli.output import Lines, NumberLines
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.models import GlobalProcessState
from sinch_qn.parsing import ParsedNumber


@command(
    "list",
    examples="""
        sinch-qn list
        sinch-qn list verified hosting_failed --region CA
        sinch-qn list verification-pending --json | jq -r .phoneNumber
    """,
)
@click.argument("states", nargs=-1, type=state)
@region_option
@click.option("--page-size", type=click.IntRange(min=1), help="Numbers per request.")
@click.option("--order-by", type=click.Choice(["createdTime", "updatedTime"]))
@click.option("--limit", type=click.IntRange(min=1), help="Stop after this many numbers.")
@json_option
def list_numbers(
    states: Sequence[GlobalProcessState],
    region: str | None,
    page_size: int | None,
    order_by: str | None,
    limit: int | None,
    *,
    as_json: bool,
) -> None:
    """List the project's numbers by state.

    STATES such as `verified` or `hosting_done`; by default all, in the order of a number's life.
    """

    async def job(client: QualifiedNumbersClient) -> None:
        listing = client.list_numbers(
            *states, region_code=region, page_size=page_size, order_by=order_by
        )
        shown = 0
        with NumberLines(as_json=as_json) as lines:
            async with aclosing(listing):
                async for number in listing:
                    lines.add_number(number)
                    shown += 1
                    if shown == limit:
                        return

    with_client(job)


@command(
    examples="""
        sinch-qn get +12025550134
        sinch-qn get --json '(202) 555-0134'
    """
)
@click.argument("numbers", nargs=-1, required=True, type=phone_number)
@more_regions_option
@json_option
def get(numbers: Sequence[ParsedNumber], *, as_json: bool) -> None:
    """Show NUMBERS as they are now."""

    async def job(client: QualifiedNumbersClient) -> None:
        with NumberLines(as_json=as_json) as lines:
            for number in numbers:
                with error_context(number.e164):
                    lines.add_number(await client.get_number(number.e164))

    with_client(job)


@command(
    examples="""
        sinch-qn add '(202) 555-0134' 202-555-0135
        sinch-qn add --file customers.csv --column Phone
    """,
    if_unknown="The numbers may have been added: check with `sinch-qn list` before you repeat it.",
)
@numbers_input
@more_regions_option
@json_option
def add(numbers: Sequence[ParsedNumber], *, as_json: bool) -> None:
    """Submit NUMBERS for qualification.

    Then prove that they are yours, by their invoices or by a call to each.
    """

    async def job(client: QualifiedNumbersClient) -> None:
        rest = iter(number.e164 for number in numbers)
        with NumberLines(as_json=as_json) as lines:
            while batch := list(islice(rest, MAX_NUMBERS)):  # as the dashboard does
                for number in await client.add_numbers(batch):
                    lines.add_number(number)

    with_client(job)
    file = click.get_current_context().params.get("path") or "FILE"
    print_message(
        "Now prove that they are yours: call each with `sinch-qn send NUMBER` and submit the code"
        " that is read out, or email their invoices to orders@sinch.com (1 to 3 working days):"
        f" {invoices_command(file)}"
    )


@command(
    examples="""
        sinch-qn delete +12025550134
        sinch-qn delete --yes +12025550134
    """,
    if_unknown="The number may be deleted already; deleting it again does no harm.",
)
@click.argument("numbers", nargs=-1, required=True, type=phone_number)
@more_regions_option
@yes_option
@json_option
def delete(numbers: Sequence[ParsedNumber], *, yes: bool, as_json: bool) -> None:
    """Delete NUMBERS from the project.

    Asks for confirmation.
    """
    confirm(f"Delete {summarize_numbers(numbers)} from the project?", yes=yes)

    async def job(client: QualifiedNumbersClient) -> None:
        with Lines("NUMBER", "RESULT", as_json=as_json) as lines:
            for number in numbers:
                with error_context(number.e164):
                    await client.delete_number(number.e164)
                lines.add({"phoneNumber": number.e164, "deleted": True}, number.e164, "deleted")

    with_client(job)
