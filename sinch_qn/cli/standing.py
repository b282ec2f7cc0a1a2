"""How a run stands: its counts, who needs a person and why, its orders, and reports of it all."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING

import click
import orjson

from sinch_qn.bulk import SqliteJournal
from sinch_qn.bulk.report import (
    batch_record,
    entries_needing_attention,
    entry_record,
    first_of_each_state,
    what_to_do,
    what_to_do_about,
    write_csv,
    write_html,
)
from sinch_qn.cli.messages import print_message
from sinch_qn.cli.output import Lines
from sinch_qn.cli.run_session import open_journal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sinch_qn.bulk import Batch, ChallengeState
    from sinch_qn.bulk.text_enable import TextEnableReport


def report_orders(enabled: TextEnableReport) -> None:
    """Tell why orders stopped, and what is verified but in none."""
    if enabled.stopped:
        print_message(enabled.stopped, "error")
    if enabled.left:
        toll_free = enabled.toll_free_left
        why = f"; {toll_free} are toll-free, which needs --loa" if toll_free else ""
        print_message(f"{enabled.left} verified numbers are in no order{why}", "warning")


def show_counts(path: Path, counts: Mapping[ChallengeState, int]) -> None:
    """Print how many numbers are in each state, with one of them and what to do about it."""
    examples = first_of_each_state(SqliteJournal(path).rows(), counts)
    with Lines("STATE", "NUMBERS", "SUCH AS", "NEXT", as_json=False) as lines:
        for state, count in counts.items():
            if count:
                entry = examples.get(state)
                such_as = (entry.number, what_to_do(entry) or "") if entry else ("", "")
                lines.add({}, state.value, count, *such_as)


def show(
    path: Path,
    counts: Mapping[ChallengeState, int],
    batches: Sequence[Batch],
    *,
    first: int,
    as_json: bool,
) -> None:
    """Print the whole of it."""
    people = list(
        islice(entries_needing_attention(SqliteJournal(path).rows(), counts, batches), first)
    )
    if as_json:
        record = {
            "journal": str(path),
            "counts": {state.value: count for state, count in counts.items()},
            "needs_a_person": [entry_record(entry) for entry in people],
            "batches": [batch_record(batch) for batch in batches],
        }
        click.echo(orjson.dumps(record))
        return
    show_counts(path, counts)
    with Lines("NUMBER", "STATE", "NOTE", "NEXT", as_json=False) as lines:
        for entry in people:
            todo = what_to_do(entry) or ""
            lines.add({}, entry.number, entry.state.value, entry.note or "", todo)
    with Lines("BATCH", "STATE", "NUMBERS", "ORDER", "NOTE", "NEXT", as_json=False) as lines:
        for batch in batches:
            name = f"{batch.id} {'toll-free' if batch.toll_free else batch.region}"
            order, note = batch.order_id or "", batch.note or ""
            todo = what_to_do_about(batch) or ""
            lines.add({}, name, batch.state.value, len(batch.numbers), order, note, todo)


def write_reports(path: Path, *, html: Path | None, csv_file: Path | None) -> None:
    """Write the HTML page and the CSV file, if given."""
    rows = SqliteJournal(path).rows
    if html is not None:
        write_html(rows(), html, batches=asyncio.run(_batches(path)), about=str(path))
        print_message(f"HTML report: {html.absolute()}")
    if csv_file is not None:
        write_csv(rows(), csv_file)
        print_message(f"CSV report: {csv_file.absolute()}")


async def _batches(path: Path) -> Sequence[Batch]:
    async with open_journal(path) as journal:
        return await journal.batches()


def print_records(path: Path) -> None:
    """Print a JSON object for each number."""
    for entry in SqliteJournal(path).rows():
        click.echo(orjson.dumps(entry_record(entry)))
