"""How a run stands: its counts, who needs a person and why, its orders, and reports of it all."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING, Final

import click
import orjson

from sinch_qn.bulk import BatchState, ChallengeState, SqliteJournal
from sinch_qn.bulk.report import as_record, what_to_do, what_to_do_about, write_csv, write_html
from sinch_qn.cli.messages import print_message
from sinch_qn.cli.output import Lines
from sinch_qn.cli.run_session import open_journal
from sinch_qn.models import GlobalProcessState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sinch_qn.bulk import Batch, Entry
    from sinch_qn.bulk.text_enable import TextEnableReport

WELL: Final = frozenset({ChallengeState.VERIFIED, ChallengeState.SKIPPED})
_PEOPLE: Final = frozenset(state for state in ChallengeState if state.settled) - WELL


def needs_a_person(
    counts: Mapping[ChallengeState, int], enabled: TextEnableReport | None = None
) -> bool:
    """Say whether not all that has ended has ended well."""
    if any(counts[state] for state in _PEOPLE):
        return True
    if enabled is None:
        return False
    unsure = enabled.batches[BatchState.REJECTED] + enabled.batches[BatchState.UNKNOWN]
    return bool(
        unsure
        or enabled.stopped
        or enabled.left
        or enabled.hosting.get(GlobalProcessState.HOSTING_FAILED)
    )


def report_orders(enabled: TextEnableReport) -> None:
    """Tell why orders stopped, and what is verified but in none."""
    if enabled.stopped:
        print_message(enabled.stopped, "error")
    if enabled.left:
        toll_free = enabled.toll_free_left
        why = f"; {toll_free} are toll-free, which needs --loa" if toll_free else ""
        print_message(f"{enabled.left} verified numbers are in no order{why}", "warning")


def _people_work(
    path: Path, counts: Mapping[ChallengeState, int], batches: Sequence[Batch]
) -> Iterator[Entry]:
    """Yield the numbers that need a person, in the order they were added."""
    if batches or any(counts[state] for state in (*_PEOPLE, ChallengeState.AWAITING_CODE)):
        for entry in SqliteJournal(path).rows():
            # One that waits for its call may be proved by invoices: it may, it need not.
            if entry.state is not ChallengeState.PENDING and what_to_do(entry):
                yield entry


def show_counts(path: Path, counts: Mapping[ChallengeState, int]) -> None:
    """Print how many numbers are in each state, with one of them and what to do about it."""
    examples = _examples(SqliteJournal(path).rows(), counts)
    with Lines("STATE", "NUMBERS", "SUCH AS", "NEXT", as_json=False) as lines:
        for state, count in counts.items():
            if count:
                entry = examples.get(state)
                such_as = (entry.number, what_to_do(entry) or "") if entry else ("", "")
                lines.add({}, state.value, count, *such_as)


def _examples(
    entries: Iterable[Entry], counts: Mapping[ChallengeState, int]
) -> dict[ChallengeState, Entry]:
    """Return the first entry in each state, reading no further than it must."""
    wanted = sum(map(bool, counts.values()))
    found: dict[ChallengeState, Entry] = {}
    for entry in entries:
        if found.setdefault(entry.state, entry) is entry and len(found) >= wanted:
            break
    return found


def show(
    path: Path,
    counts: Mapping[ChallengeState, int],
    batches: Sequence[Batch],
    *,
    first: int,
    as_json: bool,
) -> None:
    """Print the whole of it."""
    people = list(islice(_people_work(path, counts, batches), first))
    if as_json:
        record = {
            "journal": str(path),
            "counts": {state.value: count for state, count in counts.items()},
            "needs_a_person": [as_record(entry) for entry in people],
            "batches": [_batch_record(batch) for batch in batches],
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


def _batch_record(batch: Batch) -> dict[str, object]:
    return {
        "batch": batch.id,
        "state": batch.state.value,
        "region": batch.region,
        "toll_free": batch.toll_free,
        "numbers": len(batch.numbers),
        "order_id": batch.order_id,
        "note": batch.note,
        "what_to_do": what_to_do_about(batch),
    }


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
        click.echo(orjson.dumps(as_record(entry)))
