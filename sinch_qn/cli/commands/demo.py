"""`sinch-qn demo`: a run on made-up numbers and the embedded sandbox, killed and resumed."""

from __future__ import annotations

from pathlib import Path

import click

from sinch_qn.cli import jobs
from sinch_qn.cli.app import command
from sinch_qn.cli.options import FILE, json_option


@command(
    examples="""
        sinch-qn demo
        sinch-qn demo customers.csv
        sinch-qn demo --desk
    """
)
@click.argument("path", metavar="[FILE]", required=False, type=FILE)
@click.option("--desk", "is_desk", is_flag=True, help="Show the code desk instead, until Ctrl-C.")
@json_option
def demo(path: Path | None, *, is_desk: bool, as_json: bool) -> None:
    """Show the whole job on a sandbox, without an account.

    A run adds, calls, verifies and text-enables the numbers in FILE, or made-up ones; it is killed
    and resumed. Writes demo-report.html to the current folder.
    """
    if is_desk:
        jobs.demonstrate_desk(path)
        return
    jobs.demonstrate(path, as_json=as_json)
