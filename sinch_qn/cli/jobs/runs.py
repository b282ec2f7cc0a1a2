"""What `sinch-qn run` does, from its preview to its reports."""

from __future__ import annotations

import asyncio
import shlex
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

import click
import orjson

from sinch_qn._checks import MAX_NUMBERS
from sinch_qn.bulk import (
    CallingHours,
    ChallengeState,
    NewNumber,
    TextEnableReport,
    VoiceChallengeRun,
)
from sinch_qn.bulk.journal import Identity, Journal
from sinch_qn.bulk.preview import RunPreview, with_zones
from sinch_qn.bulk.report import needs_attention, without_invoices
from sinch_qn.bulk.run import RING_WINDOW
from sinch_qn.cli.client import Dependencies, client_from_env
from sinch_qn.cli.exit_codes import Exit
from sinch_qn.cli.jobs.reports import write_reports
from sinch_qn.cli.jobs.run_state import print_counts, print_without_invoices, read_emailed
from sinch_qn.cli.journals import JournalName, control_of, make_journal
from sinch_qn.cli.messages import invoices_command, print_message
from sinch_qn.cli.options import check_files, confirm, no_number, print_letter, read_lines
from sinch_qn.cli.run_inputs import remember_input
from sinch_qn.cli.run_session import SessionResult, run_to_completion
from sinch_qn.cli.session_settings import Beside, Orders, SessionSettings
from sinch_qn.cli.streams import discard_unwritten
from sinch_qn.cli.times import clock
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.models import (
    BlanketLoaInfo,
    TextEnableNumbersRequest,
    TextEnableTollFreeNumbersRequest,
)
from sinch_qn.parsing import Column
from sinch_qn.preflight import order_problems, order_warnings

_PAGE: Final = 10_000
"""Numbers added together."""
_DESK_LINGER: Final = 10.0
"""Seconds that the desk of a run stays after it, so that the last people see their results."""


def run_file(
    path: Path,
    *,
    column: str | None,
    yes: bool,
    is_demo: bool,
    beside: Beside | None = None,
    report: Path | None,
    csv_file: Path | None,
    add_only: bool,
    **options: Any,
) -> None:
    """Preview the run of a file, carry it out, write its reports, and exit as it ended."""
    settings = _settings(beside=beside, **options)
    check_files(settings.journal)
    client = client_from_env()
    with closing(RunPreview()) as preview:
        _fill(preview, client, path, column, settings)
        _confirm(client, path, preview, settings, yes=yes)
        if add_only:
            asyncio.run(_add_only(client, path, preview, settings))
            return
        work = partial(_add_and_finish, path=path, preview=preview, settings=settings)
        result = asyncio.run(run_to_completion(client, settings, work))
    write_reports(settings.journal, html=report, csv_file=csv_file)
    if settings.run_options["add_missing"]:
        _print_without_invoices(settings, path)
    _show_result(settings, result, bad_lines=preview.bad, is_demo=is_demo)


def _settings(
    *,
    text_enable: bool,
    service_plan_id: str | None,
    campaign_id: str | None,
    loa: dict[str, Any] | None,
    blanket_loa: bool,
    follow: float,
    calling_hours: str | None,
    default_zone: str | None,
    rate: float,
    journal: JournalName,
    codes: Path | None,
    limit: int | None,
    as_json: bool,
    beside: Beside | None,
    **run_options: Any,
) -> SessionSettings:
    orders = None
    if text_enable:
        if service_plan_id is None or blanket_loa == (loa is not None):
            raise click.UsageError(
                "--text-enable needs --service-plan-id, and either --loa FILE or --blanket-loa."
            )
        orders = _orders(service_plan_id, campaign_id, loa, follow)
    elif service_plan_id or campaign_id or loa or blanket_loa:
        raise click.UsageError("options of an order, but no --text-enable.")
    hours = None if calling_hours is None else CallingHours(calling_hours, default_zone)
    return SessionSettings(
        journal=journal,
        run_options={**run_options, "calls_per_second": rate, "calling_hours": hours},
        as_json=as_json,
        poll_interval=Dependencies.current().poll_interval,
        codes=codes,
        limit=limit,
        orders=orders,
        beside=beside,
    )


def _orders(
    service_plan_id: str, campaign_id: str | None, loa: dict[str, Any] | None, follow: float
) -> Orders:
    """Return the templates of the orders; toll-free numbers cannot have a blanket LOA."""
    common: dict[str, Any] = {
        "region_code": "US",
        "numbers": [],
        "service_plan_id": service_plan_id,
        **(loa or {"blanket_loa_info": BlanketLoaInfo()}),
    }
    template = TextEnableNumbersRequest(campaign_id=campaign_id, **common)
    if problems := order_problems(template):
        raise click.UsageError("\n".join(problems))
    return Orders(
        request=template,
        toll_free_request=TextEnableTollFreeNumbersRequest(**common) if loa else None,
        follow=follow,
        batches_per_second=Dependencies.current().batches_per_second,
    )


def _fill(
    preview: RunPreview,
    client: QualifiedNumbersClient,
    path: Path,
    column: str | None,
    settings: SessionSettings,
) -> None:
    """Read the file, and compare it with the journal, which must be of the same project."""
    exists = asyncio.run(_check_journal(client, settings.journal))

    def remember(column: Column) -> None:
        preview.column = column

    lines = read_lines(path, column, find_duplicates=False, on_column=remember)
    preview.add_lines(with_zones(lines, settings.hours))
    if exists:
        preview.mark_known(make_journal(settings.journal).rows())
    for warning in preview.warnings():
        print_message(f"{path}:{warning}", "warning")
    if preview.more_warnings:
        print_message(f"{path}: {preview.more_warnings} more bad lines or duplicates", "warning")
    if not (preview.new or preview.known):
        raise no_number(path)


async def _check_journal(client: QualifiedNumbersClient, name: JournalName) -> bool:
    """Return whether the journal is there; if it is, it has to be of this project."""
    if isinstance(name, str):
        exists = await control_of(name).exists()
    else:
        exists = await asyncio.to_thread(lambda: name.exists() and name.stat().st_size > 0)
    if exists:
        journal = make_journal(name)
        await journal.open(Identity(client.project_id, client.base_url), running=False)
        await journal.close()
    return exists


async def _add_and_finish(
    run: VoiceChallengeRun,
    journal: Journal,
    *,
    path: Path,
    preview: RunPreview,
    settings: SessionSettings,
) -> None:
    """Add the numbers of the file, and wait until all of the run are settled."""
    await _add(run.add, journal, path, preview, settings)
    await run.finish()
    if settings.beside is not None:
        print_message(f"All numbers are settled. The desk closes in {_DESK_LINGER:.0f} s.")
        await asyncio.sleep(_DESK_LINGER)


async def _add_only(
    client: QualifiedNumbersClient, path: Path, preview: RunPreview, settings: SessionSettings
) -> None:
    """Add the numbers of the file to the run, for other runners to call."""
    journal = make_journal(settings.journal)
    run = VoiceChallengeRun(client, journal, **settings.run_options)
    async with client, run.adding() as add:
        await _add(add, journal, path, preview, settings)
    print_message(
        "The numbers are added. A run that had begun keeps its own options; `sinch-qn pace` changes"
        " its rate."
    )


async def _add(
    add: Callable[[Iterable[NewNumber]], Awaitable[object]],
    journal: Journal,
    path: Path,
    preview: RunPreview,
    settings: SessionSettings,
) -> None:
    await remember_input(journal, path)
    gone = preview.lines_gone() if settings.limit is None else iter(())
    while lines := await asyncio.to_thread(list, islice(gone, _PAGE)):
        await journal.remove_corrected(dict.fromkeys(lines, ""))
    numbers = preview.new_numbers(settings.limit)
    while page := await asyncio.to_thread(list, islice(numbers, _PAGE)):  # read from a file
        await add(page)


def _confirm(
    client: QualifiedNumbersClient,
    path: Path,
    preview: RunPreview,
    settings: SessionSettings,
    *,
    yes: bool,
) -> None:
    """Print what will be called and ordered, and ask for confirmation."""
    print_message(f"Project {client.project_id} at {client.base_url}.")
    for line in _describe(preview, path, settings):
        print_message(line)
    if settings.orders is not None:
        for warning in order_warnings(settings.orders.request):
            print_message(warning, "warning")
        if sys.stderr.isatty():
            print_letter(settings.orders.request)
    parts, on_request = [], settings.on_request
    if to_call := preview.to_call(settings.limit):
        phones = f"{to_call} {'phone' if to_call == 1 else 'phones'}"
        parts.append(f"Call {phones} {'on request' if on_request else 'now'}")
    if settings.orders is not None:
        order = "rder SMS for the verified numbers"
        parts.append(f"o{order}" if parts else f"O{order}")
    if parts:
        confirm(f"{', then '.join(parts)}?", yes=yes)


def _describe(preview: RunPreview, path: Path, settings: SessionSettings) -> Iterator[str]:
    column = f", {preview.column}" if preview.column and preview.column.of > 1 else ""
    yield (
        f"{path}{column}: {preview.new} new numbers, {preview.known} already in {settings.journal}"
        f" ({preview.settled} settled). Bad lines: {preview.bad}, duplicates: {preview.duplicates}."
    )
    waiting = preview.counts[ChallengeState.PENDING]
    if preview.counts:
        held = preview.open - waiting
        what = "request" if settings.on_request else "call"
        yield (
            f"{settings.journal}: {waiting} waiting for a {what}, {held} for a code or a response."
        )
    if settings.run_options["add_missing"]:
        yield (
            "Numbers that are not in the project are added. Those that are not proved by a call"
            f" need invoices: {invoices_command(path, settings.journal)}"
        )
    if settings.limit is not None:
        yield f"Trial: {preview.to_add(settings.limit)} new numbers are added."
    if settings.orders is not None:
        yield (
            f"Orders have at most {MAX_NUMBERS} numbers: US, CA and toll-free ones are apart"
            + ("." if settings.orders.toll_free_request else ", and the latter need --loa.")
        )
    if to_call := preview.to_call(settings.limit):
        hours = f", within {settings.hours.window} where each phone is" if settings.hours else ""
        rate, ringing = (settings.run_options[key] for key in ("calls_per_second", "max_ringing"))
        pace = f"at most {rate:g} a second and {ringing} phones at once{hours}"
        if settings.on_request:
            yield f"{to_call} to call once somebody asks for it, {pace}."
        else:
            yield f"{to_call} to call, {pace}: {_estimate(preview, settings, to_call)}."


def _estimate(preview: RunPreview, settings: SessionSettings, to_call: int) -> str:
    """Return until when phones are called, if codes come at once and if none comes."""
    until = preview.calling_ends(
        to_call,
        calls_per_second=settings.run_options["calls_per_second"],
        max_ringing=settings.run_options["max_ringing"],
        ring_window=RING_WINDOW,
        hours=settings.hours,
        now=time.time(),
    )
    first, last = map(clock, until)
    if first == last:
        return f"until {first} at the earliest"
    return f"until {first} if codes come at once, {last} if none comes within {RING_WINDOW:.0f} s"


def _show_result(
    settings: SessionSettings, result: SessionResult, *, bad_lines: int, is_demo: bool
) -> None:
    """Print the states of the numbers, and exit with the code that they mean.

    Lines that were bad in an earlier version of the file stay in the journal, but need nothing.
    """
    try:
        _print_result(settings, result)
    except OSError:
        if not result.interrupted:
            raise
        discard_unwritten(sys.stdout)  # its terminal was closed
    if result.orders is not None:
        _report_orders(result.orders)
    if result.interrupted:
        again = shlex.join(["sinch-qn", *sys.argv[1:]])
        print_message(f"run the same command to resume:\n{again}", "interrupted")
        raise click.exceptions.Exit(Exit.INTERRUPTED)
    invalid = min(bad_lines, result.counts[ChallengeState.INVALID])
    counts = {**result.counts, ChallengeState.INVALID: invalid}
    if needs_attention(counts, result.orders):
        if not is_demo:  # the demo deletes its journal
            print_message(f"Needs attention: sinch-qn status {settings.journal}")
        raise click.exceptions.Exit(Exit.FAILED)


def _print_without_invoices(settings: SessionSettings, path: Path, shown: int = 20) -> None:
    """Print which added numbers lack invoices: those that calls have not proved."""
    emailed = asyncio.run(read_emailed(settings.journal))
    rows = make_journal(settings.journal).rows()
    missing = [entry.number for entry in islice(without_invoices(rows, emailed), shown)]
    more = len(missing) == shown
    print_without_invoices(missing, more=more, journal=settings.journal, file=path)


def _print_result(settings: SessionSettings, result: SessionResult) -> None:
    if settings.as_json:
        record = {
            "event": "interrupted" if result.interrupted else "finished",
            "counts": {state.value: count for state, count in result.counts.items()},
            "orders": result.orders.orders if result.orders else [],
        }
        click.echo(orjson.dumps(record))
    else:
        print_counts(settings.journal, result.counts)


def _report_orders(orders: TextEnableReport) -> None:
    """Print why ordering stopped, and how many verified numbers are in no order."""
    if orders.stopped:
        print_message(orders.stopped, "error")
    if orders.left:
        toll_free = orders.toll_free_left
        reason = f"; {toll_free} are toll-free, which needs --loa" if toll_free else ""
        print_message(f"{orders.left} verified numbers are in no order{reason}", "warning")
