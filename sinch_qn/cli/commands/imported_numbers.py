"""`sinch-qn imported`: the numbers that Sinch hosts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from sinch_qn import parsing
from sinch_qn.cli import jobs
from sinch_qn.cli.app import command, command_group
from sinch_qn.cli.options import (
    confirm,
    duration,
    json_option,
    member_of,
    more_regions_option,
    phone_number,
    place_options,
    region_option,
    summarize_numbers,
    yes_option,
)
from sinch_qn.models import NumberSearchPattern

_numbers_argument = click.argument("numbers", nargs=-1, required=True, type=phone_number)


@command_group(
    examples="""
        sinch-qn imported list --service-plan-id P --campaign-id C
        sinch-qn imported get +12025550134
        sinch-qn imported update +12025550134 --campaign-id C2
    """
)
def imported() -> None:
    """Show, link or delete the numbers that Sinch hosts.

    A number is imported once its hosting order is done.
    """


@command(
    "list",
    examples="""
        sinch-qn imported list --service-plan-id P --campaign-id C
        sinch-qn imported list --service-plan-id P --campaign-id C --pattern +1202 --json
        sinch-qn imported list --service-plan-id P --campaign-id C --pattern 0134 --at end
    """,
)
@place_options
@region_option
@click.option("--pattern", metavar="DIGITS", help="Only numbers with these digits.")
@click.option(
    "--at",
    "search_pattern",
    type=member_of(NumberSearchPattern),
    metavar="start|contain|end",
    help="Where they are; by default at the start if DIGITS begin with +, else anywhere.",
)
@click.option("--page-size", type=click.IntRange(min=1), help="Numbers per request.")
@click.option("--limit", type=click.IntRange(min=1), help="Stop after this many numbers.")
@json_option
def list_imported(
    region: str | None,
    pattern: str | None,
    search_pattern: NumberSearchPattern | None,
    limit: int | None,
    *,
    as_json: bool,
    **filters: Any,
) -> None:
    """List the imported numbers of a service plan and a campaign."""
    if pattern is None and search_pattern is not None:
        raise click.UsageError("--at needs --pattern.")
    if pattern is not None and search_pattern is None:
        at_start = pattern.startswith("+")
        search_pattern = NumberSearchPattern.START if at_start else NumberSearchPattern.CONTAIN
    jobs.list_imported(
        limit=limit,
        as_json=as_json,
        region_code=region,
        pattern=pattern,
        search_pattern=search_pattern,
        **filters,
    )


@command(
    examples="""
        sinch-qn imported get +12025550134
        sinch-qn imported get --json '(202) 555-0134'
    """
)
@_numbers_argument
@more_regions_option
@json_option
def get(numbers: Sequence[parsing.ParsedNumber], *, as_json: bool) -> None:
    """Show imported NUMBERS, with their links and each carrier's state."""
    jobs.get_imported([number.e164 for number in numbers], as_json=as_json)


@command(
    examples="""
        sinch-qn imported update +12025550134 --campaign-id C2
        sinch-qn imported update +12025550134 --service-plan-id P2 --campaign-id C2 --timeout 1h
        sinch-qn imported update +12025550134 --unlink-campaign
        sinch-qn imported update +12025550134 --display-name 'Store 7'
    """,
    if_unknown="The number may have been unlinked or linked: repeat the same command. It looks at"
    " the number first, and does only what is missing.",
)
@_numbers_argument
@more_regions_option
@click.option("--service-plan-id", help="Link to this service plan.")
@click.option("--campaign-id", help="Link to this campaign.")
@click.option("--unlink-service-plan", is_flag=True, help="Only unlink.")
@click.option("--unlink-campaign", is_flag=True, help="Only unlink.")
@click.option("--display-name", help="The name of the number.")
@click.option("--callback-url", help="Where Sinch reports the state of the number.")
@click.option(
    "--timeout",
    type=duration,
    default="10m",
    show_default=True,
    help="How long to wait for the carriers to unlink a number.",
)
@yes_option
@json_option
def update(
    numbers: Sequence[parsing.ParsedNumber],
    service_plan_id: str | None,
    campaign_id: str | None,
    *,
    unlink_service_plan: bool,
    unlink_campaign: bool,
    display_name: str | None,
    callback_url: str | None,
    timeout: float,
    yes: bool,
    as_json: bool,
) -> None:
    """Link imported NUMBERS to another service plan or campaign, or change their names.

    A linked number is unlinked first, and linked anew once the carriers are done: until then it
    cannot send. Asks for confirmation. After a failure, repeat the command to go on.
    """
    if (unlink_service_plan and service_plan_id) or (unlink_campaign and campaign_id):
        raise click.UsageError("either link or unlink.")
    changes = {
        "display_name": display_name,
        "callback_url": callback_url,
        "service_plan_id": "" if unlink_service_plan else None,
        "campaign_id": "" if unlink_campaign else None,
    }
    links = {"service_plan_id": service_plan_id, "campaign_id": campaign_id}
    given = [{k: v for k, v in each.items() if v is not None} for each in (changes, links)]
    if not any(given):
        raise click.UsageError("nothing to change: give at least one option.")
    told = ", ".join(
        f"{name.replace('_', ' ')} {value or 'none'}"
        for name, value in (given[0] | given[1]).items()
    )
    named = [number.e164 for number in numbers]
    confirm(f"Change {summarize_numbers(named)}: {told}?", yes=yes)
    jobs.update_imported(
        named,
        changes=given[0],
        links=given[1],
        timeout=timeout,
        as_json=as_json,
    )


@command(
    examples="""
        sinch-qn imported delete +12025550134
        sinch-qn imported delete --yes +12025550134
    """,
    if_unknown="The number may be deleted already; deleting it again does no harm.",
)
@_numbers_argument
@more_regions_option
@yes_option
@json_option
def delete(numbers: Sequence[parsing.ParsedNumber], *, yes: bool, as_json: bool) -> None:
    """End the hosting of NUMBERS.

    Asks for confirmation.
    """
    named = [number.e164 for number in numbers]
    confirm(f"End the hosting of {summarize_numbers(named)}?", yes=yes)
    jobs.delete_imported(named, as_json=as_json)


for each in (list_imported, get, update, delete):
    imported.add_command(each)
