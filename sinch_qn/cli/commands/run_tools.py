"""`sinch-qn status`, `code`, `request`, `recall`, `free`, `report`: a run, from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from sinch_qn.cli import jobs
from sinch_qn.cli.app import command
from sinch_qn.cli.journals import JournalName
from sinch_qn.cli.options import (
    OUTPUT,
    check_files,
    code_or_prompt,
    confirm,
    journal_argument,
    json_option,
    number_of_run,
    yes_option,
)


@command(
    examples="""
        sinch-qn status run.db
        sinch-qn status run.db --json | jq .counts
    """
)
@journal_argument
@click.option(
    "--first",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Maximum numbers to list that need attention.",
)
@click.option(
    "--running",
    "need_runner",
    is_flag=True,
    help="Exit with 1 unless a runner of this machine is at work: for health checks.",
)
@json_option
def status(journal: JournalName, first: int, *, need_runner: bool, as_json: bool) -> None:
    """Show the state of the run in JOURNAL.

    Lists the numbers and orders that need attention, also while the run is active.
    """
    jobs.show_status(journal, first, need_runner=need_runner, as_json=as_json)


@command(
    examples="""
        sinch-qn code run.db +12025550134
        sinch-qn code run.db +12025550134 0417
        echo 0417 | sinch-qn code run.db +12025550134
    """
)
@journal_argument
@click.argument("number", type=number_of_run)
@click.argument("code", required=False)
@json_option
def code(journal: JournalName, number: str, code: str | None, *, as_json: bool) -> None:
    """Submit a CODE of NUMBER to the run in JOURNAL.

    Prompts for a code that is not given. The code is on disk when this ends; the run verifies it.
    """
    jobs.submit_code(journal, number, code_or_prompt(number, code), as_json=as_json)


@command(
    examples="""
        sinch-qn request run.db +12025550134
        sinch-qn request postgresql://db.example/sinch?run=january 202-555-0134
    """
)
@journal_argument
@click.argument("numbers", nargs=-1, required=True, type=number_of_run)
@json_option
def request(journal: JournalName, numbers: Sequence[str], *, as_json: bool) -> None:
    """Have the run in JOURNAL call NUMBERS next.

    For people who are at the phone. One request is one call: asked again before the call has an
    outcome, or while the phone may still ring, it is the same request. After that it is a recall.
    """
    jobs.request_calls(journal, numbers, as_json=as_json)


@command(
    examples="""
        sinch-qn recall run.db +12025550134
        sinch-qn recall run.db 202-555-0134 202-555-0135
    """
)
@journal_argument
@click.argument("numbers", nargs=-1, required=True, type=number_of_run)
@json_option
def recall(journal: JournalName, numbers: Sequence[str], *, as_json: bool) -> None:
    """Have the run in JOURNAL call NUMBERS again.

    For people who missed a call: while a code is awaited, or once it is expired, failed or
    unknown. The numbers are queued.
    """
    jobs.recall_numbers(journal, numbers, as_json=as_json)


@command(examples="sinch-qn free run.db 3")
@journal_argument
@click.argument("batch", type=click.IntRange(min=1))
@yes_option
def free(journal: JournalName, batch: int, *, yes: bool) -> None:
    """Free the numbers of BATCH for another order.

    For a batch of the run in JOURNAL that was rejected, or whose response was lost. Check in
    Sinch's dashboard first: if its order exists, a second Letter of Authorization is sent.
    """
    confirm(f"Is it certain that batch {batch} was not ordered?", yes=yes)
    jobs.free_batch(journal, batch)


@command(
    examples="""
        sinch-qn report run.db --html report.html
        sinch-qn report run.db --csv results.csv
    """
)
@journal_argument
@click.option("--html", type=OUTPUT, help="Write an HTML page, in one file.")
@click.option("--csv", "csv_file", type=OUTPUT, help="Write a CSV line for each number.")
@json_option
def report(
    journal: JournalName, html: Path | None, csv_file: Path | None, *, as_json: bool
) -> None:
    """Report the outcome of each number in JOURNAL.

    Also while the run is active. `--json` prints one object for each number.
    """
    if not (html or csv_file or as_json):
        raise click.UsageError("nothing to write: give --html FILE, --csv FILE or --json.")
    check_files(journal)
    jobs.write_reports(journal, html=html, csv_file=csv_file)
    if as_json:
        jobs.print_entries(journal)
