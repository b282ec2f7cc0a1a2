"""`sinch-qn status`, `code`, `recall`, `free` and `report`: the run of a journal, from anywhere."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from pathlib import Path

import attrs
import click
import orjson

from sinch_qn import bulk
from sinch_qn.bulk import Batch, ChallengeState, SqliteJournal
from sinch_qn.bulk.journal import Delivery, Identity, delivered_numbers
from sinch_qn.bulk.report import (
    batch_record,
    delivery_record,
    entries_needing_attention,
    entry_record,
    first_of_each_state,
    what_to_do,
    what_to_do_about,
    what_to_do_about_delivery,
    without_invoices,
    write_csv,
    write_html,
)
from sinch_qn.cli.app import command
from sinch_qn.cli.client import error_context
from sinch_qn.cli.messages import invoices_command, print_message
from sinch_qn.cli.options import (
    FILE,
    OUTPUT,
    check_files,
    code_or_prompt,
    confirm,
    json_option,
    number_of_run,
    yes_option,
)
from sinch_qn.cli.output import Lines
from sinch_qn.cli.run_inputs import input_names
from sinch_qn.cli.run_session import open_journal
from sinch_qn.parsing import ParsedNumber

_journal_argument = click.argument("path", metavar="JOURNAL", type=FILE)


@command(
    examples="""
        sinch-qn status run.db
        sinch-qn status run.db --json | jq .counts
    """
)
@_journal_argument
@click.option(
    "--first",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Maximum numbers to list that need attention.",
)
@json_option
def status(path: Path, first: int, *, as_json: bool) -> None:
    """Show the state of the run in JOURNAL.

    Lists the numbers and orders that need attention, also while the run is active.
    """
    run = asyncio.run(_read(path))
    rows, emailed = SqliteJournal(path).rows, delivered_numbers(run.deliveries)
    attention = entries_needing_attention(rows(), run.counts, run.batches, emailed)
    entries = list(islice(attention, first))
    missing = [entry.number for entry in islice(without_invoices(rows(), emailed), first)]
    if as_json:
        record = {
            "journal": os.fsencode(path).decode(errors="replace"),
            "counts": {state.value: count for state, count in run.counts.items()},
            "needsAttention": [entry_record(entry, emailed=emailed) for entry in entries],
            "batches": [batch_record(batch) for batch in run.batches],
            "emails": [delivery_record(delivery) for delivery in run.deliveries],
            "withoutInvoices": missing,
        }
        click.echo(orjson.dumps(record))
        return
    print_counts(path, run.counts, emailed)
    with Lines("NUMBER", "STATE", "NOTE", "NEXT", as_json=False) as lines:
        for entry in entries:
            advice = what_to_do(entry, emailed=emailed) or ""
            lines.add({}, entry.number, entry.state.value, entry.note or "", advice)
    with Lines("BATCH", "STATE", "NUMBERS", "ORDER", "NOTE", "NEXT", as_json=False) as lines:
        for batch in run.batches:
            name = f"{batch.id} {'toll-free' if batch.toll_free else batch.region}"
            order, note = batch.order_id or "", batch.note or ""
            advice = what_to_do_about(batch) or ""
            lines.add({}, name, batch.state.value, len(batch.numbers), order, note, advice)
    with Lines("EMAIL", "STATE", "NUMBERS", "NOTE", "NEXT", as_json=False) as lines:
        for row in run.deliveries:
            advice = what_to_do_about_delivery(row) or ""
            lines.add({}, row.key, row.state.value, len(row.numbers), row.note or "", advice)
    print_without_invoices(missing, more=len(missing) == first, path=path)


def print_without_invoices(
    numbers: Sequence[str], *, more: bool, path: Path, file: object = "FILE"
) -> None:
    """Print which numbers lack invoices, and the command that sends them."""
    if numbers:
        shown = ", ".join(numbers) + (" …" if more else "")
        print_message(f"Invoices are missing for {shown}: {invoices_command(file, path)}")


@attrs.frozen
class _Snapshot:
    """What a journal has besides its rows."""

    identity: Identity
    counts: Mapping[ChallengeState, int]
    batches: Sequence[Batch]
    deliveries: Sequence[Delivery]
    inputs: Sequence[str]


async def _read(path: Path) -> _Snapshot:
    async with open_journal(path) as journal:
        return _Snapshot(
            await journal.identity(),
            await journal.counts(),
            await journal.batches(),
            await journal.deliveries.all(),
            await input_names(journal),
        )


async def read_emailed(path: Path) -> Collection[str]:
    """Return the numbers of the journal at *path* whose invoices were emailed."""
    async with open_journal(path) as journal:
        return delivered_numbers(await journal.deliveries.all())


def print_counts(
    path: Path, counts: Mapping[ChallengeState, int], emailed: Collection[str] = ()
) -> None:
    """Print how many numbers are in each state, with an example and what to do about it."""
    examples = first_of_each_state(SqliteJournal(path).rows(), counts)
    with Lines("STATE", "NUMBERS", "SUCH AS", "NEXT", as_json=False) as lines:
        for state, count in counts.items():
            if count:
                entry = examples.get(state)
                example = (
                    (entry.number, what_to_do(entry, emailed=emailed) or "") if entry else ("", "")
                )
                lines.add({}, state.value, count, *example)


@command(
    examples="""
        sinch-qn code run.db +12025550134
        sinch-qn code run.db +12025550134 0417
        echo 0417 | sinch-qn code run.db +12025550134
    """
)
@_journal_argument
@click.argument("number", type=number_of_run)
@click.argument("code", required=False)
@json_option
def code(path: Path, number: ParsedNumber, code: str | None, *, as_json: bool) -> None:
    """Submit a CODE of NUMBER to the run in JOURNAL.

    Prompts for a code that is not given. The code is on disk when this ends; the run verifies it.
    """
    given = code_or_prompt(number, code)

    async def submit() -> str:
        async with open_journal(path) as journal:
            return (await bulk.submit_code(journal, number.e164, given)).value

    result = asyncio.run(submit())
    with Lines("NUMBER", "CODE", as_json=as_json) as lines:
        lines.add({"phoneNumber": number.e164, "code": result}, number.e164, result)


@command(
    examples="""
        sinch-qn recall run.db +12025550134
        sinch-qn recall run.db 202-555-0134 202-555-0135
    """
)
@_journal_argument
@click.argument("numbers", nargs=-1, required=True, type=number_of_run)
@json_option
def recall(path: Path, numbers: Sequence[ParsedNumber], *, as_json: bool) -> None:
    """Have the run in JOURNAL call NUMBERS again.

    For people who missed a call: while a code is awaited, or once it is expired, failed or
    unknown. The numbers are queued.
    """

    async def recall_all() -> None:
        with Lines("NUMBER", "STATE", as_json=as_json) as lines:
            async with open_journal(path) as journal:
                for number in numbers:
                    with error_context(number.e164):
                        entry = await bulk.recall(journal, number.e164)
                    record = {"phoneNumber": entry.number, "state": entry.state.value}
                    lines.add(record, entry.number, entry.state.value)

    asyncio.run(recall_all())
    print_message("Queued; they are called once the run is active.")


@command(examples="sinch-qn free run.db 3")
@_journal_argument
@click.argument("batch", type=click.IntRange(min=1))
@yes_option
def free(path: Path, batch: int, *, yes: bool) -> None:
    """Free the numbers of BATCH for another order.

    For a batch of the run in JOURNAL that was rejected, or whose response was lost. Check in
    Sinch's dashboard first: if its order exists, a second Letter of Authorization is sent.
    """

    async def free_batch() -> int:
        async with open_journal(path) as journal:
            return len((await bulk.free_batch(journal, batch)).numbers)

    confirm(f"Is it certain that batch {batch} was not ordered?", yes=yes)
    count = asyncio.run(free_batch())
    print_message(f"{count} numbers are free for another order: sinch-qn run … --text-enable")


@command(
    examples="""
        sinch-qn report run.db --html report.html
        sinch-qn report run.db --csv results.csv
    """
)
@_journal_argument
@click.option("--html", type=OUTPUT, help="Write an HTML page, in one file.")
@click.option("--csv", "csv_file", type=OUTPUT, help="Write a CSV line for each number.")
@json_option
def report(path: Path, html: Path | None, csv_file: Path | None, *, as_json: bool) -> None:
    """Report the outcome of each number in JOURNAL.

    Also while the run is active. `--json` prints one object for each number.
    """
    if not (html or csv_file or as_json):
        raise click.UsageError("nothing to write: give --html FILE, --csv FILE or --json.")
    check_files(path)
    write_reports(path, html=html, csv_file=csv_file)
    if as_json:
        emailed = delivered_numbers(asyncio.run(_read(path)).deliveries)
        for entry in SqliteJournal(path).rows():
            click.echo(orjson.dumps(entry_record(entry, emailed=emailed)))


def write_reports(path: Path, *, html: Path | None, csv_file: Path | None) -> None:
    """Write an HTML page and a CSV file of the run in the journal at *path*, if wanted."""
    if html is None and csv_file is None:
        return
    rows, run = SqliteJournal(path).rows, asyncio.run(_read(path))
    if html is not None:
        about = [
            f"Project: {run.identity.project_id} at {run.identity.base_url}",
            f"Journal: {path}",
        ]
        if run.inputs:
            about.append(f"Input: {', '.join(run.inputs)}")
        lines = "\n".join(about)
        write_html(rows(), html, batches=run.batches, deliveries=run.deliveries, about=lines)
        print_message(f"HTML report: {html.absolute()}")
    if csv_file is not None:
        write_csv(rows(), csv_file, deliveries=run.deliveries)
        print_message(f"CSV report: {csv_file.absolute()}")
