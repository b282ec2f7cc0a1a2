"""`sinch-qn run`: the options of a bulk run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from sinch_qn.bulk.pacing import MAX_UNKNOWN
from sinch_qn.cli import jobs
from sinch_qn.cli.app import command
from sinch_qn.cli.options import (
    FILE,
    GROWING_FILE,
    JOURNAL,
    OUTPUT,
    blanket_loa_option,
    campaign_option,
    column_option,
    combine,
    duration,
    insecure_option,
    json_option,
    loa_option,
    more_regions_option,
    public_url_option,
    yes_option,
)

_SECONDS: Final = click.FloatRange(min=0, min_open=True)

_options = combine(
    click.argument("path", metavar="FILE", type=FILE),
    click.option(
        "--journal",
        type=JOURNAL,
        required=True,
        help="Where the run's state is kept: a file, or postgresql://HOST/DATABASE?run=NAME.",
    ),
    insecure_option,
    click.option(
        "--add-only", is_flag=True, help="Add the numbers for other runners, and call none."
    ),
    click.option(
        "--codes",
        type=GROWING_FILE,
        help="A file of NUMBER,CODE lines, read as it grows.",
    ),
    click.option(
        "--max-ringing",
        type=click.IntRange(min=1),
        default=20,
        show_default=True,
        help="Maximum phones ringing at once.",
    ),
    click.option(
        "--rate", type=_SECONDS, default=5.0, show_default=True, help="Maximum calls per second."
    ),
    click.option(
        "--max-unknown",
        type=click.IntRange(min=1),
        default=MAX_UNKNOWN,
        show_default=True,
        help="Maximum calls in flight, which an outage leaves UNKNOWN. Limits the rate to this"
        " number divided by the time of a response.",
    ),
    click.option("--calling-hours", help="When phones may ring, in local time: 09:00-20:00."),
    click.option("--default-zone", help="The time zone of toll-free numbers."),
    click.option(
        "--code-timeout",
        type=duration,
        default="24h",
        show_default=True,
        help="How long to wait for a code.",
    ),
    click.option(
        "--recheck",
        type=duration,
        default="30",
        show_default=True,
        help="How often to poll the eligibility of added numbers.",
    ),
    click.option(
        "--add-missing", is_flag=True, help="First add numbers that are not in the project."
    ),
    click.option(
        "--on-request",
        is_flag=True,
        help="Call a number only once somebody asks for it: sinch-qn request.",
    ),
    column_option,
    more_regions_option,
    click.option("--limit", type=click.IntRange(min=1), help="Trial: add only this many numbers."),
    click.option("--text-enable", is_flag=True, help="Then order SMS for the verified numbers."),
    click.option("--service-plan-id", help="The SMS service of the numbers."),
    campaign_option,
    loa_option(),
    blanket_loa_option,
    click.option(
        "--follow",
        type=duration,
        default="0",
        show_default=True,
        help="How long to follow the orders, such as 10m.",
    ),
    click.option("--report", type=OUTPUT, help="Write an HTML report."),
    click.option("--csv", "csv_file", type=OUTPUT, help="Write a CSV line for each number."),
    click.option(
        "--desk",
        "desk_port",
        type=click.IntRange(0, 65535),
        metavar="PORT",
        help="Serve the code desk of the run on this port; see `sinch-qn desk`.",
    ),
    public_url_option,
    click.option("--demo", "is_demo", is_flag=True, hidden=True),
    yes_option,
    json_option,
)


@command(
    examples="""
        sinch-qn run numbers.csv --journal run.db --limit 10
        sinch-qn run numbers.csv --journal run.db --codes codes.csv --calling-hours 09:00-20:00
        sinch-qn run numbers.csv --journal run.db --yes --report report.html
        sinch-qn run numbers.csv --journal postgresql://db.example/sinch?run=january
    """,
    if_failed="Run the same command to resume; no phone is called twice.",
)
@_options
def run(path: Path, *, desk_port: int | None, public_url: str | None, **options: Any) -> None:
    """Call the numbers in FILE, and verify their codes.

    Shows a preview, and asks for confirmation. The journal keeps the state: run the same command
    to resume after any stop, and no phone is called twice. Exits with 0 if every number is
    verified, with 1 if some need attention.
    """
    beside = None
    if desk_port is not None:
        beside = jobs.desk_beside(options["journal"], desk_port, public_url)
    elif public_url is not None:
        raise click.UsageError("--public-url is for a desk: give --desk PORT.")
    jobs.run_file(path, beside=beside, **options)
