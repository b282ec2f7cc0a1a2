"""What `sinch-qn report` does, and `run --report` at its end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
import orjson

from sinch_qn.bulk.report import entry_record, write_csv, write_html
from sinch_qn.cli.jobs.run_state import read_emailed, read_snapshot
from sinch_qn.cli.journals import JournalName, make_journal
from sinch_qn.cli.messages import print_message


def print_entries(journal: JournalName) -> None:
    """Print each number of a run, as JSON."""
    emailed = asyncio.run(read_emailed(journal))
    for entry in make_journal(journal).rows():
        click.echo(orjson.dumps(entry_record(entry, emailed=emailed)))


def write_reports(journal: JournalName, *, html: Path | None, csv_file: Path | None) -> None:
    """Write an HTML page and a CSV file of the run in *journal*, if wanted."""
    if html is None and csv_file is None:
        return
    rows, run = make_journal(journal).rows, asyncio.run(read_snapshot(journal))
    if html is not None:
        about = [
            f"Project: {run.identity.project_id} at {run.identity.base_url}",
            f"Journal: {journal}",
        ]
        if run.inputs:
            about.append(f"Input: {', '.join(run.inputs)}")
        lines = "\n".join(about)
        write_html(
            rows(),
            html,
            batches=run.batches,
            deliveries=run.deliveries,
            orders=run.orders,
            on_request=run.on_request,
            about=lines,
        )
        print_message(f"HTML report: {html.absolute()}")
    if csv_file is not None:
        write_csv(rows(), csv_file, deliveries=run.deliveries)
        print_message(f"CSV report: {csv_file.absolute()}")
