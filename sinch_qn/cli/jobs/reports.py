"""What `sinch-qn report` does, and `run --report` at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import click
import orjson

from sinch_qn.bulk import Batch, SqliteJournal
from sinch_qn.bulk.report import entry_record, write_csv, write_html
from sinch_qn.cli.journals import open_journal
from sinch_qn.cli.messages import print_message
from sinch_qn.cli.run_inputs import input_names


def print_entries(path: Path) -> None:
    """Print each number of a run, as JSON."""
    for entry in SqliteJournal(path).rows():
        click.echo(orjson.dumps(entry_record(entry)))


def write_reports(path: Path, *, html: Path | None, csv_file: Path | None) -> None:
    """Write an HTML page and a CSV file of the run in the journal at *path*, if wanted."""
    rows = SqliteJournal(path).rows
    if html is not None:
        about, batches = asyncio.run(_read(path))
        write_html(rows(), html, batches=batches, about=about)
        print_message(f"HTML report: {html.absolute()}")
    if csv_file is not None:
        write_csv(rows(), csv_file)
        print_message(f"CSV report: {csv_file.absolute()}")


async def _read(path: Path) -> tuple[str, Sequence[Batch]]:
    """Return the lines under the title of a run's page, and its batches."""
    async with open_journal(path) as journal:
        identity = await journal.identity()
        about = [f"Project: {identity.project_id} at {identity.base_url}", f"Journal: {path}"]
        if inputs := await input_names(journal):
            about.append(f"Input: {', '.join(inputs)}")
        return "\n".join(about), await journal.batches()
