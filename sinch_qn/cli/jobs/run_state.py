"""What `sinch-qn status`, `code`, `recall` and `free` do, also while a run is active."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import click
import orjson

from sinch_qn import bulk
from sinch_qn.bulk import Batch, ChallengeState, SqliteJournal
from sinch_qn.bulk.report import (
    batch_record,
    entries_needing_attention,
    entry_record,
    first_of_each_state,
    what_to_do,
    what_to_do_about,
)
from sinch_qn.cli.exit_codes import error_context
from sinch_qn.cli.journals import open_journal
from sinch_qn.cli.messages import print_message
from sinch_qn.cli.output import Lines


def show_status(path: Path, first: int, *, as_json: bool) -> None:
    """Print the counts of a run, its orders, and the *first* numbers that need attention."""
    counts, batches = asyncio.run(_read(path))
    attention = entries_needing_attention(SqliteJournal(path).rows(), counts, batches)
    entries = list(islice(attention, first))
    if as_json:
        record = {
            "journal": os.fsencode(path).decode(errors="replace"),
            "counts": {state.value: count for state, count in counts.items()},
            "needsAttention": [entry_record(entry) for entry in entries],
            "batches": [batch_record(batch) for batch in batches],
        }
        click.echo(orjson.dumps(record))
        return
    print_counts(path, counts)
    with Lines("NUMBER", "STATE", "NOTE", "NEXT", as_json=False) as lines:
        for entry in entries:
            advice = what_to_do(entry) or ""
            lines.add({}, entry.number, entry.state.value, entry.note or "", advice)
    with Lines("BATCH", "STATE", "NUMBERS", "ORDER", "NOTE", "NEXT", as_json=False) as lines:
        for batch in batches:
            name = f"{batch.id} {'toll-free' if batch.toll_free else batch.region}"
            order, note = batch.order_id or "", batch.note or ""
            advice = what_to_do_about(batch) or ""
            lines.add({}, name, batch.state.value, len(batch.numbers), order, note, advice)


async def _read(path: Path) -> tuple[Mapping[ChallengeState, int], Sequence[Batch]]:
    async with open_journal(path) as journal:
        return await journal.counts(), await journal.batches()


def print_counts(path: Path, counts: Mapping[ChallengeState, int]) -> None:
    """Print how many numbers are in each state, with an example and what to do about it."""
    examples = first_of_each_state(SqliteJournal(path).rows(), counts)
    with Lines("STATE", "NUMBERS", "SUCH AS", "NEXT", as_json=False) as lines:
        for state, count in counts.items():
            if count:
                entry = examples.get(state)
                example = (entry.number, what_to_do(entry) or "") if entry else ("", "")
                lines.add({}, state.value, count, *example)


def submit_code(path: Path, number: str, code: str, *, as_json: bool) -> None:
    """Put a code into the journal, and print whether it is accepted."""

    async def submit() -> str:
        async with open_journal(path) as journal:
            return (await bulk.submit_code(journal, number, code)).value

    result = asyncio.run(submit())
    with Lines("NUMBER", "CODE", as_json=as_json) as lines:
        lines.add({"phoneNumber": number, "code": result}, number, result)


def recall_numbers(path: Path, numbers: Sequence[str], *, as_json: bool) -> None:
    """Request another call to each of *numbers*, and print their states."""

    async def recall_all() -> None:
        with Lines("NUMBER", "STATE", as_json=as_json) as lines:
            async with open_journal(path) as journal:
                for number in numbers:
                    with error_context(number):
                        entry = await bulk.recall(journal, number)
                    record = {"phoneNumber": entry.number, "state": entry.state.value}
                    lines.add(record, entry.number, entry.state.value)

    asyncio.run(recall_all())
    print_message("Queued; they are called once the run is active.")


def free_batch(path: Path, batch: int) -> None:
    """Free the numbers of *batch* for another order."""

    async def free() -> int:
        async with open_journal(path) as journal:
            return len((await bulk.free_batch(journal, batch)).numbers)

    count = asyncio.run(free())
    print_message(f"{count} numbers are free for another order: sinch-qn run … --text-enable")
