"""The commands of a bulk run: `run` it, and `status`, `code`, `recall`, … from anywhere."""

from __future__ import annotations

import asyncio
import shlex
import sys
import time
from contextlib import asynccontextmanager, closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import orjson

from sinch_qn.cli import options
from sinch_qn.cli.client import about
from sinch_qn.cli.commands.text_enabling import read_loa
from sinch_qn.cli.exit_codes import Exit
from sinch_qn.cli.options import (
    FILE,
    OUTPUT,
    ask,
    duration,
    examples,
    file_lines,
    json_option,
    yes_option,
)
from sinch_qn.cli.output import Lines, say

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from sinch_qn import QualifiedNumbersClient
    from sinch_qn.bulk import Batch, ChallengeState, SqliteJournal
    from sinch_qn.bulk.preview import RunPreview
    from sinch_qn.cli.run_session import Orders, RunSettings, SessionResult
    from sinch_qn.parsing import ParsedNumber

_SECONDS: Final = click.FloatRange(min=0, min_open=True)


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """Take how to ring, whom to believe, and what to leave behind."""
    for option in (
        json_option,
        yes_option,
        click.option("--demo", "is_demo", is_flag=True, hidden=True),
        click.option("--csv", "csv_file", type=OUTPUT, help="Write a line for each number."),
        click.option("--report", type=OUTPUT, help="Write a report to look at (HTML)."),
        click.option(
            "--follow",
            type=duration,
            default="0",
            show_default=True,
            help="How long to watch the orders, such as 10m.",
        ),
        click.option("--blanket-loa", is_flag=True, help="Use the blanket LOA that was agreed."),
        click.option("--loa", type=FILE, help="Direct or reseller LOA, as JSON: see docs/cli.md."),
        click.option("--campaign-id", help="The 10DLC campaign."),
        click.option("--service-plan-id", help="The SMS service of the numbers."),
        click.option("--text-enable", is_flag=True, help="Then order SMS for what is verified."),
        click.option("--limit", type=click.IntRange(min=1), help="A trial: so many numbers only."),
        click.option("--column", help="The file's column of numbers: its heading, or 1, 2, 3 …"),
        click.option("--add-missing", is_flag=True, help="Add what Sinch does not know, first."),
        click.option(
            "--recheck",
            type=duration,
            default="30",
            show_default=True,
            help="How often to look whether a number became eligible.",
        ),
        click.option(
            "--code-timeout",
            type=duration,
            default="24h",
            show_default=True,
            help="How long a code is waited for.",
        ),
        click.option("--default-zone", help="The time zone of toll-free numbers."),
        click.option("--calling-hours", help="When phones may ring where they are: 09:00-20:00."),
        click.option(
            "--rate", type=_SECONDS, default=5.0, show_default=True, help="Most calls a second."
        ),
        click.option(
            "--max-ringing",
            type=click.IntRange(min=1),
            default=20,
            show_default=True,
            help="Most phones ringing at once.",
        ),
        click.option(
            "--codes",
            type=click.Path(dir_okay=False, path_type=Path),
            help="A file of NUMBER,CODE lines; read as it grows.",
        ),
        click.option("--journal", type=OUTPUT, required=True, help="Where the run is kept."),
        click.argument("path", metavar="FILE", type=FILE),
    ):
        command = option(command)
    return command


@click.command(
    epilog=examples(
        "sinch-qn run numbers.csv --journal run.db --limit 10",
        "sinch-qn run numbers.csv --journal run.db --codes codes.csv --calling-hours 09:00-20:00",
        "sinch-qn run numbers.csv --journal run.db --yes --report report.html",
    )
)
@_options
def run(
    path: Path,
    column: str | None,
    *,
    yes: bool,
    is_demo: bool,
    report: Path | None,
    csv_file: Path | None,
    **more: Any,
) -> None:
    """Ring the numbers in FILE, take the codes that people hear, and verify.

    Says what it will do, and asks. The journal is the run: whatever ends this, the same command
    goes on where it was, and rings nobody twice. Exits with 0 if every number is verified, with 1
    if some need a person.
    """
    from sinch_qn.bulk.preview import RunPreview  # noqa: PLC0415 - 300 ms, when it is needed
    from sinch_qn.cli import standing  # noqa: PLC0415
    from sinch_qn.cli.run_session import run_to_completion  # noqa: PLC0415

    settings = _settings(**more)
    client = _client()
    with closing(RunPreview()) as preview:
        _read_into(preview, client, path, column, settings)
        _confirm(client, path, preview, settings, yes=yes)
        result = asyncio.run(run_to_completion(client, preview, settings))
    _, batches = asyncio.run(_read(settings.journal))
    standing.write_reports(settings.journal, batches, html=report, csv_file=csv_file)
    _show_result(settings, result, bad_lines=preview.bad, is_demo=is_demo)


def _client() -> QualifiedNumbersClient:
    from sinch_qn import QualifiedNumbersClient  # noqa: PLC0415 - 250 ms, when it is needed

    return QualifiedNumbersClient.from_env()


def _settings(
    *,
    text_enable: bool,
    service_plan_id: str | None,
    campaign_id: str | None,
    loa: Path | None,
    blanket_loa: bool,
    follow: float,
    calling_hours: str | None,
    default_zone: str | None,
    **more: Any,
) -> RunSettings:
    """Check what was asked for."""
    from sinch_qn.bulk import CallingHours  # noqa: PLC0415 - 300 ms, when it is needed
    from sinch_qn.cli.run_session import RunSettings  # noqa: PLC0415

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
    return RunSettings(hours=hours, orders=orders, **more)


def _orders(
    service_plan_id: str, campaign_id: str | None, loa: Path | None, follow: float
) -> Orders:
    """Return the templates of the orders; toll-free numbers have no blanket LOA."""
    from sinch_qn.cli.run_session import Orders  # noqa: PLC0415 - 300 ms, when it is needed
    from sinch_qn.models import (  # noqa: PLC0415
        BlanketLoaInfo,
        TextEnableNumbersRequest,
        TextEnableTollFreeNumbersRequest,
    )

    letter = read_loa(loa) if loa else {"blanket_loa_info": BlanketLoaInfo()}
    common: dict[str, Any] = {
        "region_code": "US",
        "numbers": [],
        "service_plan_id": service_plan_id,
        **letter,
    }
    return Orders(
        request=TextEnableNumbersRequest(campaign_id=campaign_id, **common),
        toll_free_request=TextEnableTollFreeNumbersRequest(**common) if loa else None,
        follow=follow,
    )


def _read_into(
    preview: RunPreview,
    client: QualifiedNumbersClient,
    path: Path,
    column: str | None,
    settings: RunSettings,
) -> None:
    """Read the file beside the journal, if there is one; that must be of the same project."""
    from sinch_qn.bulk import SqliteJournal  # noqa: PLC0415 - 300 ms, when it is needed
    from sinch_qn.bulk.journal import Identity  # noqa: PLC0415

    async def check(journal: SqliteJournal) -> None:
        await journal.open(Identity(client.project_id, client.base_url), running=False)
        await journal.close()

    journal = SqliteJournal(settings.journal)
    is_there = settings.journal.exists() and settings.journal.stat().st_size > 0
    if is_there:
        asyncio.run(check(journal))
    preview.add_lines(file_lines(path, column, find_duplicates=False))
    if is_there:
        preview.mark_known(journal.rows())
    for warning in preview.warnings():
        say(f"{path}:{warning}", "warning")


def _confirm(
    client: QualifiedNumbersClient,
    path: Path,
    preview: RunPreview,
    settings: RunSettings,
    *,
    yes: bool,
) -> None:
    """Say what will be rung and ordered, and ask."""
    say(f"Project {client.project_id} at {client.base_url}.")
    for line in _describe(preview, path, settings):
        say(line)
    parts = []
    if to_call := preview.to_call(settings.limit):
        parts.append(f"Ring {to_call} {'phone' if to_call == 1 else 'phones'} now")
    if settings.orders is not None:
        parts.append(
            "order SMS for what is verified" if parts else "Order SMS for what is verified"
        )
    if parts:
        ask(f"{', then '.join(parts)}?", yes=yes)


def _describe(preview: RunPreview, path: Path, settings: RunSettings) -> Iterator[str]:
    """Yield the lines that say what would be rung."""
    from sinch_qn.bulk import ChallengeState  # noqa: PLC0415 - 300 ms, when it is needed

    yield (
        f"{path}: {preview.new} new numbers, {preview.known} already in {settings.journal}"
        f" ({preview.settled} settled). Bad lines: {preview.bad}, duplicates: {preview.duplicates}."
    )
    waiting = preview.counts[ChallengeState.PENDING]
    if preview.counts:
        held = preview.open - waiting
        yield f"{settings.journal}: {waiting} wait for a call, {held} for a code or an answer."
    if settings.limit is not None:
        yield f"A trial: {preview.to_add(settings.limit)} of the new ones are added."
    if to_call := preview.to_call(settings.limit):
        hours = f", within {settings.hours.window} where they are" if settings.hours else ""
        yield (
            f"{to_call} to ring, at most {settings.rate:g} a second and {settings.max_ringing}"
            f" phones at once{hours}: until {_clock(to_call / settings.rate)} at the earliest."
        )


def _clock(seconds: float) -> str:
    now, then = time.time(), time.time() + seconds
    is_today = time.localtime(now)[:3] == time.localtime(then)[:3]
    return datetime.fromtimestamp(then).astimezone().strftime("%H:%M" if is_today else "%F %H:%M")


def _show_result(
    settings: RunSettings, result: SessionResult, *, bad_lines: int, is_demo: bool
) -> None:
    """Print how the numbers stand; exit with what that means.

    Lines that were bad in an earlier state of the file stay in the journal, but are no more to do.
    """
    from sinch_qn.bulk import ChallengeState  # noqa: PLC0415 - 300 ms, when it is needed
    from sinch_qn.cli import standing  # noqa: PLC0415

    if settings.as_json:
        record = {
            "event": "interrupted" if result.interrupted else "finished",
            "counts": {state.value: count for state, count in result.counts.items()},
            "orders": result.orders.orders if result.orders else [],
        }
        click.echo(orjson.dumps(record))
    else:
        standing.show_counts(settings.journal, result.counts)
    if result.orders is not None:
        standing.tell_of_orders(result.orders)
    if result.interrupted:
        again = shlex.join(["sinch-qn", *sys.argv[1:]])
        say(f"the same command goes on where this stopped:\n{again}", "interrupted")
        raise click.exceptions.Exit(Exit.INTERRUPTED)
    invalid = min(bad_lines, result.counts[ChallengeState.INVALID])
    counts = {**result.counts, ChallengeState.INVALID: invalid}
    if standing.needs_a_person(counts, result.orders):
        if not is_demo:  # its journal is gone when it ends
            say(f"Some need a person: sinch-qn status {settings.journal}")
        raise click.exceptions.Exit(Exit.FAILED)


@click.command(
    epilog=examples("sinch-qn status run.db", "sinch-qn status run.db --json | jq .counts")
)
@click.argument("journal", type=FILE)
@click.option(
    "--first",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="How many of the numbers to name that need a person.",
)
@json_option
def status(journal: Path, first: int, *, as_json: bool) -> None:
    """Show how the run in JOURNAL stands, and who needs a person.

    Also while it goes on.
    """
    from sinch_qn.cli import standing  # noqa: PLC0415 - 300 ms, when it is needed

    counts, batches = asyncio.run(_read(journal))
    standing.show(journal, counts, batches, first=first, as_json=as_json)


async def _read(path: Path) -> tuple[Mapping[ChallengeState, int], Sequence[Batch]]:
    async with _opened(path) as journal:
        return await journal.counts(), await journal.batches()


@asynccontextmanager
async def _opened(path: Path) -> AsyncIterator[SqliteJournal]:
    """Open a journal beside its run."""
    from sinch_qn.bulk import SqliteJournal  # noqa: PLC0415 - 300 ms, when it is needed

    journal = SqliteJournal(path)
    await journal.open(None, running=False)
    try:
        yield journal
    finally:
        await journal.close()


@click.command(
    epilog=examples(
        "sinch-qn code run.db +12025550134",
        "sinch-qn code run.db +12025550134 0417",
        "echo 0417 | sinch-qn code run.db +12025550134",
    )
)
@click.argument("journal", type=FILE)
@click.argument("number", type=options.number)
@click.argument("code", required=False)
@json_option
def code(journal: Path, number: ParsedNumber, code: str | None, *, as_json: bool) -> None:
    """Hand the CODE that NUMBER heard to the run in JOURNAL.

    It is asked for if not given. It is on disk when this ends; the run verifies it.
    """
    from sinch_qn.bulk import submit_code  # noqa: PLC0415 - 300 ms, when it is needed

    heard = code or click.prompt(f"Code that {number.e164} heard", err=True)

    async def hand_in() -> str:
        async with _opened(journal) as opened:
            return (await submit_code(opened, number.e164, heard.strip())).value

    result = asyncio.run(hand_in())
    with Lines("NUMBER", "CODE", as_json=as_json) as lines:
        lines.add({"phoneNumber": number.e164, "code": result}, number.e164, result)


@click.command(
    epilog=examples(
        "sinch-qn recall run.db +12025550134", "sinch-qn recall run.db 202-555-0134 202-555-0135"
    )
)
@click.argument("journal", type=FILE)
@click.argument("numbers", nargs=-1, required=True, type=options.number)
@json_option
def recall(journal: Path, numbers: Sequence[ParsedNumber], *, as_json: bool) -> None:
    """Have the run in JOURNAL ring NUMBERS once more: "I missed it".

    They ring when their turn comes. Allowed while a code is awaited, and for what is expired,
    failed or unknown.
    """
    from sinch_qn.bulk import recall  # noqa: PLC0415 - 300 ms, when it is needed

    async def ask_for_calls() -> None:
        with Lines("NUMBER", "STATE", as_json=as_json) as lines:
            async with _opened(journal) as opened:
                for number in numbers:
                    with about(number.e164):
                        entry = await recall(opened, number.e164)
                    record = {"phoneNumber": entry.number, "state": entry.state.value}
                    lines.add(record, entry.number, entry.state.value)

    asyncio.run(ask_for_calls())
    say("They are rung when their turn comes, as soon as the run goes.")


@click.command(epilog=examples("sinch-qn free run.db 3"))
@click.argument("journal", type=FILE)
@click.argument("batch", type=click.IntRange(min=1))
@yes_option
def free(journal: Path, batch: int, *, yes: bool) -> None:
    """Free BATCH of the run in JOURNAL: its order does not exist, and may be placed again.

    For a batch that was refused, or whose answer was lost. Look in Sinch's dashboard first: if the
    order does exist, a second Letter of Authorization is sent.
    """
    from sinch_qn.bulk import free_batch  # noqa: PLC0415 - 300 ms, when it is needed

    async def let_go() -> int:
        async with _opened(journal) as opened:
            return len((await free_batch(opened, batch)).numbers)

    ask(f"Is it certain that batch {batch} was not ordered?", yes=yes)
    count = asyncio.run(let_go())
    say(f"{count} numbers are free for another order: sinch-qn run … --text-enable")


@click.command(
    epilog=examples(
        "sinch-qn report run.db --html report.html", "sinch-qn report run.db --csv results.csv"
    )
)
@click.argument("journal", type=FILE)
@click.option("--html", type=OUTPUT, help="A page to look at, in one file.")
@click.option("--csv", "csv_file", type=OUTPUT, help="A line for each number.")
@json_option
def report(journal: Path, html: Path | None, csv_file: Path | None, *, as_json: bool) -> None:
    """Write what came of each number in the run in JOURNAL.

    Also while it goes on. `--json` prints one object for each number.
    """
    if not (html or csv_file or as_json):
        raise click.UsageError("what is to be written? Give --html FILE, --csv FILE or --json.")
    from sinch_qn.cli import standing  # noqa: PLC0415 - 300 ms, when it is needed

    _, batches = asyncio.run(_read(journal))
    standing.write_reports(journal, batches, html=html, csv_file=csv_file)
    if as_json:
        standing.print_records(journal)
