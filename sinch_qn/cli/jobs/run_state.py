"""What `sinch-qn status`, `code`, `request`, `recall` and `free` do, also while a run is active."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Collection, Mapping, Sequence
from itertools import islice

import attrs
import click
import orjson

from sinch_qn import bulk
from sinch_qn.bulk import Batch, CallRequest, ChallengeState
from sinch_qn.bulk import journal as journals  # its `Standing` would load psycopg, here unused
from sinch_qn.bulk.journal import Delivery, Identity, delivered_numbers
from sinch_qn.bulk.order_records import OrderRecord, load_orders
from sinch_qn.bulk.report import (
    batch_record,
    delivery_record,
    entries_needing_attention,
    entry_record,
    first_of_each_state,
    order_progress,
    what_to_do,
    what_to_do_about,
    what_to_do_about_delivery,
    what_to_do_about_order,
    without_invoices,
)
from sinch_qn.cli.exit_codes import Exit, error_context
from sinch_qn.cli.journals import JournalName, control_of, make_journal, open_journal
from sinch_qn.cli.messages import invoices_command, print_message
from sinch_qn.cli.output import Lines
from sinch_qn.cli.run_inputs import input_names
from sinch_qn.cli.run_standing import is_here, show_standing, standing_record
from sinch_qn.cli.times import clock


def show_status(
    journal: JournalName, first: int, *, need_runner: bool = False, as_json: bool
) -> None:
    """Print the counts of a run, its orders, and the *first* numbers that need attention.

    With *need_runner* it fails unless a runner of this machine is at work.
    """
    run = asyncio.run(read_snapshot(journal))
    standing = asyncio.run(control_of(journal).standing()) if isinstance(journal, str) else None
    if need_runner:
        _check_runner(journal, standing)
    rows, emailed = make_journal(journal).rows, delivered_numbers(run.deliveries)
    attention = entries_needing_attention(rows(), run.counts, run.batches, emailed)
    entries = list(islice(attention, first))
    missing = [entry.number for entry in islice(without_invoices(rows(), emailed), first)]
    if as_json:
        record = {
            "journal": os.fsencode(journal).decode(errors="replace"),
            "counts": {state.value: count for state, count in run.counts.items()},
            "onRequest": run.on_request,
            "needsAttention": [entry_record(entry, emailed=emailed) for entry in entries],
            "batches": [batch_record(batch, run.orders.get(batch.id)) for batch in run.batches],
            "emails": [delivery_record(delivery) for delivery in run.deliveries],
            "withoutInvoices": missing,
        }
        if standing is not None:
            record |= standing_record(standing)
        click.echo(orjson.dumps(record))
        return
    if standing is not None:
        show_standing(standing)
    print_counts(journal, run.counts, emailed)
    _print_on_request(journal, run)
    with Lines("NUMBER", "STATE", "NOTE", "NEXT", as_json=False) as lines:
        for entry in entries:
            advice = what_to_do(entry, emailed=emailed) or ""
            lines.add({}, entry.number, entry.state.value, entry.note or "", advice)
    print_orders(run)
    with Lines("EMAIL", "STATE", "NUMBERS", "NOTE", "NEXT", as_json=False) as lines:
        for row in run.deliveries:
            advice = what_to_do_about_delivery(row) or ""
            lines.add({}, row.key, row.state.value, len(row.numbers), row.note or "", advice)
    print_without_invoices(missing, more=len(missing) == first, journal=journal)


def _check_runner(journal: JournalName, standing: journals.Standing | None) -> None:
    """Fail unless a runner of this machine is at work."""
    works = bulk.SqliteJournal(journal).has_runner() if standing is None else is_here(standing)
    if not works:
        print_message("no runner of this machine is at work", "error")
        raise click.exceptions.Exit(Exit.FAILED)


def _print_on_request(journal: JournalName, run: RunSnapshot) -> None:
    if run.on_request and run.counts[ChallengeState.PENDING]:
        name = shlex.quote(str(journal))
        print_message(f"Pending numbers are called on request: sinch-qn request {name} NUMBER")


def print_orders(run: RunSnapshot) -> None:
    """Print how far each order has got, and the numbers that failed at a carrier."""
    headings = ("BATCH", "STATE", "NUMBERS", "ORDER", "NOTE", "PROGRESS", "NEXT")
    with Lines(*headings, as_json=False) as lines:
        for batch in run.batches:
            name = f"{batch.id} {'toll-free' if batch.toll_free else batch.region}"
            order = run.orders.get(batch.id)
            progress = None if order is None else order_progress(order)
            advice = what_to_do_about(batch) or (order and what_to_do_about_order(order))
            lines.add(
                {},
                *(name, batch.state.value, len(batch.numbers), batch.order_id or ""),
                *(batch.note or "", progress or "", advice or ""),
            )
    with Lines("FAILED", "WHERE", "CODE", "REASON", "BATCH", as_json=False) as lines:
        for batch_id, order in run.orders.items():
            for each in order.failures:
                lines.add({}, each.phone_number, each.where, each.code, each.message, batch_id)


def print_without_invoices(
    numbers: Sequence[str], *, more: bool, journal: JournalName, file: object = "FILE"
) -> None:
    """Print which numbers lack invoices, and the command that sends them."""
    if numbers:
        shown = ", ".join(numbers) + (" …" if more else "")
        print_message(f"Invoices are missing for {shown}: {invoices_command(file, journal)}")


@attrs.frozen
class RunSnapshot:
    """What a journal has besides its rows."""

    identity: Identity
    counts: Mapping[ChallengeState, int]
    batches: Sequence[Batch]
    deliveries: Sequence[Delivery]
    inputs: Sequence[str]
    orders: Mapping[int, OrderRecord]
    """By batch, how far its order has got."""
    on_request: bool
    """Whether numbers are called only once somebody asks for it."""


async def read_snapshot(journal: JournalName) -> RunSnapshot:
    """Read what a journal has besides its rows."""
    async with open_journal(journal) as opened:
        batches = await opened.batches()
        settings = (await opened.readiness()).settings
        return RunSnapshot(
            await opened.identity(),
            await opened.counts(),
            batches,
            await opened.deliveries.all(),
            await input_names(opened),
            await load_orders(opened, [batch.id for batch in batches]),
            settings is not None and settings.on_request,
        )


async def read_emailed(journal: JournalName) -> Collection[str]:
    """Return the numbers of *journal* whose invoices were emailed."""
    async with open_journal(journal) as opened:
        return delivered_numbers(await opened.deliveries.all())


def print_counts(
    journal: JournalName, counts: Mapping[ChallengeState, int], emailed: Collection[str] = ()
) -> None:
    """Print how many numbers are in each state, with an example and what to do about it."""
    examples = first_of_each_state(make_journal(journal).rows(), counts)
    with Lines("STATE", "NUMBERS", "SUCH AS", "NEXT", as_json=False) as lines:
        for state, count in counts.items():
            if count:
                entry = examples.get(state)
                example = (
                    (entry.number, what_to_do(entry, emailed=emailed) or "") if entry else ("", "")
                )
                lines.add({}, state.value, count, *example)


def submit_code(journal: JournalName, number: str, code: str, *, as_json: bool) -> None:
    """Put a code into the journal, and print whether it is accepted."""

    async def submit() -> str:
        async with open_journal(journal) as opened:
            return (await bulk.submit_code(opened, number, code)).value

    result = asyncio.run(submit())
    with Lines("NUMBER", "CODE", as_json=as_json) as lines:
        lines.add({"phoneNumber": number, "code": result}, number, result)


def request_calls(journal: JournalName, numbers: Sequence[str], *, as_json: bool) -> None:
    """Ask for a call to each of *numbers*, and print when it can be."""

    async def request_all() -> None:
        with Lines("NUMBER", "STATE", "CALL", as_json=as_json) as lines:
            async with open_journal(journal) as opened:
                for number in numbers:
                    with error_context(number):
                        request = await bulk.request_call(opened, number)
                    record = {
                        "phoneNumber": number,
                        "state": request.entry.state.value,
                        "new": request.new,
                        "earliest": request.earliest,
                        "reason": request.reason,
                    }
                    lines.add(record, number, request.entry.state.value, _when(request))

    asyncio.run(request_all())


def _when(request: CallRequest) -> str:
    """Return when a requested call is made, as far as is known."""
    if request.entry.state is not ChallengeState.PENDING:
        return "made already" if request.entry.called_at is not None else ""
    reason = request.reason or "next"
    return reason if request.earliest is None else f"from {clock(request.earliest)}: {reason}"


def recall_numbers(journal: JournalName, numbers: Sequence[str], *, as_json: bool) -> None:
    """Request another call to each of *numbers*, and print their states."""

    async def recall_all() -> None:
        with Lines("NUMBER", "STATE", as_json=as_json) as lines:
            async with open_journal(journal) as opened:
                for number in numbers:
                    with error_context(number):
                        entry = await bulk.recall(opened, number)
                    record = {"phoneNumber": entry.number, "state": entry.state.value}
                    lines.add(record, entry.number, entry.state.value)

    asyncio.run(recall_all())
    print_message("Queued; they are called once the run is active.")


def free_batch(journal: JournalName, batch: int) -> None:
    """Free the numbers of *batch* for another order."""

    async def free() -> int:
        async with open_journal(journal) as opened:
            return len((await bulk.free_batch(opened, batch)).numbers)

    count = asyncio.run(free())
    print_message(f"{count} numbers are free for another order: sinch-qn run … --text-enable")
