"""A run at a terminal: its signals, its display and the sources of its codes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Self

import attrs

from sinch_qn.bulk import (
    CallingHours,
    ChallengeState,
    SqliteJournal,
    TextEnableReport,
    TextEnableRun,
    VoiceChallengeRun,
)
from sinch_qn.bulk.journal import Journal
from sinch_qn.bulk.preview import RunPreview
from sinch_qn.cli.messages import print_message
from sinch_qn.cli.run_codes import CodeIntake, CodePrompt, CodesFile
from sinch_qn.cli.run_display import RunDisplay, is_live
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.models import TextEnableNumbersRequest, TextEnableTollFreeNumbersRequest

_PAGE = 10_000
"""Numbers added together."""


@attrs.frozen(kw_only=True)
class Orders:
    """The orders for the verified numbers: their templates, and how long to follow them."""

    request: TextEnableNumbersRequest
    toll_free_request: TextEnableTollFreeNumbersRequest | None
    follow: float
    """Seconds."""
    batches_per_second: float


@attrs.frozen(kw_only=True)
class RunSettings:
    """The options of a run."""

    journal: Path
    codes: Path | None
    limit: int | None
    max_ringing: int
    rate: float
    hours: CallingHours | None
    code_timeout: float
    recheck: float
    add_missing: bool
    orders: Orders | None
    as_json: bool
    poll_interval: float
    """Seconds between two polls of the file of codes."""


@attrs.frozen(kw_only=True)
class SessionResult:
    """How a session ended."""

    counts: dict[ChallengeState, int]
    interrupted: bool
    orders: TextEnableReport | None


class GracefulStop:
    """Ctrl-C and SIGTERM: the first lets requests in flight finish, the second cancels them."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()

    def __enter__(self) -> Self:
        self._main = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._handle_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(number)

    def _handle_signal(self) -> None:
        if self.requested.is_set() and self._main is not None:
            self._main.cancel()
        self.requested.set()

    async def or_done(self, *tasks: asyncio.Task[None]) -> None:
        """Wait until one of *tasks* is done, or a stop is requested."""
        requested = asyncio.create_task(self.requested.wait())
        try:
            await asyncio.wait([requested, *tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            requested.cancel()


async def run_to_completion(
    client: QualifiedNumbersClient, preview: RunPreview, settings: RunSettings
) -> SessionResult:
    """Call the numbers of *preview*, take codes until all are settled, then place the orders."""
    orders = None
    with GracefulStop() as stop:
        try:
            async with client:
                await _call_and_verify(client, preview, settings, stop)
                if settings.orders is not None and not stop.requested.is_set():
                    orders = await _order(client, settings.journal, settings.orders, stop)
        except asyncio.CancelledError:
            if not stop.requested.is_set():
                raise
    async with open_journal(settings.journal) as journal:
        counts = dict(await journal.counts())
    return SessionResult(counts=counts, interrupted=stop.requested.is_set(), orders=orders)


@asynccontextmanager
async def open_journal(path: Path) -> AsyncIterator[SqliteJournal]:
    """Open a journal that another process may be running."""
    journal = SqliteJournal(path)
    await journal.open(None, running=False)
    try:
        yield journal
    finally:
        await journal.close()


async def _call_and_verify(
    client: QualifiedNumbersClient,
    preview: RunPreview,
    settings: RunSettings,
    stop: GracefulStop,
) -> None:
    journal = SqliteJournal(settings.journal)
    run = VoiceChallengeRun(
        client,
        journal,
        max_ringing=settings.max_ringing,
        calls_per_second=settings.rate,
        code_timeout=settings.code_timeout,
        calling_hours=settings.hours,
        add_missing=settings.add_missing,
        recheck=settings.recheck,
    )
    follower: asyncio.Task[None] | None = None
    try:
        async with run:
            with ExitStack() as stack:
                live = is_live(as_json=settings.as_json)
                prompt = None
                if CodePrompt.is_possible():
                    prompt = stack.enter_context(CodePrompt(live=live))
                display = RunDisplay(run, as_json=settings.as_json, prompt=prompt if live else None)
                stack.enter_context(display)
                follower = asyncio.create_task(display.follow())
                intake = CodeIntake(run, display.notify)
                await _supervise(
                    stop,
                    _add_and_finish(run, journal, preview, settings),
                    follower,
                    display.show(),
                    *_code_sources(intake, journal, settings, prompt),
                )
            if stop.requested.is_set():
                print_message(
                    "finishing in-flight requests; press Ctrl-C again to abort", "interrupted"
                )
        await follower  # shows the last events, too
    finally:
        if follower is not None:
            await _cancel_and_wait(follower)


def _code_sources(
    intake: CodeIntake, journal: Journal, settings: RunSettings, prompt: CodePrompt | None
) -> Iterator[Coroutine[Any, Any, None]]:
    if prompt is not None:
        yield prompt.follow(intake)
    if settings.codes is not None:
        yield CodesFile(settings.codes, journal, intake, settings.poll_interval).follow()


async def _add_and_finish(
    run: VoiceChallengeRun, journal: Journal, preview: RunPreview, settings: RunSettings
) -> None:
    stale = preview.stale_numbers() if settings.limit is None else iter(())
    while old := await asyncio.to_thread(list, islice(stale, _PAGE)):
        await journal.discard_invalid(old)
    numbers = preview.new_numbers(settings.limit)
    while page := await asyncio.to_thread(list, islice(numbers, _PAGE)):  # read from a file
        await run.add(page)
    await run.finish()


async def _supervise(
    stop: GracefulStop,
    work: Coroutine[Any, Any, None],
    follower: asyncio.Task[None],
    *helpers: Coroutine[Any, Any, None],
) -> None:
    """Wait for *work* or a stop while *helpers* run beside it; raise the first error."""
    working = asyncio.create_task(work)
    helping = [asyncio.create_task(helper) for helper in helpers]
    try:
        await stop.or_done(working, follower, *helping)
    finally:
        await _cancel_and_wait(working, *helping)
    for task in (working, *helping, follower):
        if task.done() and not task.cancelled():
            task.result()


async def _cancel_and_wait(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # marks it as retrieved: the caller raises it


async def _order(
    client: QualifiedNumbersClient, path: Path, orders: Orders, stop: GracefulStop
) -> TextEnableReport:
    """Order SMS for the verified numbers and follow the orders; a stop waits for one in flight."""
    run = TextEnableRun(
        client,
        SqliteJournal(path),
        orders.request,
        toll_free_request=orders.toll_free_request,
        follow=orders.follow,
        batches_per_second=orders.batches_per_second,
    )
    print_message("Ordering SMS for the verified numbers.")
    async with run:
        working = asyncio.create_task(_order_and_follow(run))
        try:
            await stop.or_done(working)
        finally:
            await _cancel_and_wait(working)
        await run.drain()
        if not working.cancelled():
            working.result()
        return await run.report()


async def _order_and_follow(run: TextEnableRun) -> None:
    await run.order()
    await run.follow()
