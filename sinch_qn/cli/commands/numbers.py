"""`sinch-qn list`, `get`, `add` and `delete`: the numbers of a project."""

from __future__ import annotations

from collections.abc import Sequence

import click

from sinch_qn import parsing
from sinch_qn.cli import jobs
from sinch_qn.cli.app import command
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
from sinch_qn.models import GlobalProcessState


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
    jobs.list_numbers(
        states,
        limit=limit,
        as_json=as_json,
        region_code=region,
        page_size=page_size,
        order_by=order_by,
    )


@command(
    examples="""
        sinch-qn get +12025550134
        sinch-qn get --json '(202) 555-0134'
    """
)
@click.argument("numbers", nargs=-1, required=True, type=phone_number)
@more_regions_option
@json_option
def get(numbers: Sequence[parsing.ParsedNumber], *, as_json: bool) -> None:
    """Show NUMBERS as they are now."""
    jobs.get_numbers([number.e164 for number in numbers], as_json=as_json)


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
def add(numbers: Sequence[parsing.ParsedNumber], *, as_json: bool) -> None:
    """Submit NUMBERS for qualification.

    Then prove that they are yours, by their invoices or by a call to each.
    """
    jobs.add_numbers([number.e164 for number in numbers], as_json=as_json)
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
def delete(numbers: Sequence[parsing.ParsedNumber], *, yes: bool, as_json: bool) -> None:
    """Delete NUMBERS from the project.

    Asks for confirmation.
    """
    named = [number.e164 for number in numbers]
    confirm(f"Delete {summarize_numbers(named)} from the project?", yes=yes)
    jobs.delete_numbers(named, as_json=as_json)
