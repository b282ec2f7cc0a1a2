"""`sinch-qn check`: a file of numbers, offline."""

from __future__ import annotations

from pathlib import Path

import click

from sinch_qn.cli import jobs
from sinch_qn.cli.app import command
from sinch_qn.cli.options import FILE, column_option, json_option, more_regions_option


@command(
    examples="""
        sinch-qn check numbers.csv
        sinch-qn check customers.csv --column "Work Phone"
        sinch-qn check numbers.csv --json | jq -r 'select(.reason).line'
    """
)
@click.argument("path", metavar="FILE", type=FILE)
@column_option
@more_regions_option
@json_option
def check(path: Path, column: str | None, *, as_json: bool) -> None:
    """Read the numbers in FILE offline, and list its bad lines.

    They are read as `run` reads them; nothing is sent, and no credentials are needed. Exits with
    1 if there are bad lines; duplicates are listed, but are not bad.
    """
    jobs.check_file(path, column, as_json=as_json)
