"""A run at a terminal: its display and the sources of its codes, until it is stopped."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeAlias

import attrs

from sinch_qn.bulk import ChallengeState, TextEnableReport, TextEnableRun, VoiceChallengeRun
from sinch_qn.bulk.journal import Journal
from sinch_qn.cli.code_prompt import CodePrompt
from sinch_qn.cli.journals import JournalName, make_journal, open_journal
from sinch_qn.cli.messages import print_message
from sinch_qn.cli.run_codes import CodeIntake, CodesFile
from sinch_qn.cli.run_display import RunDisplay, is_live
from sinch_qn.cli.session_settings import Orders, SessionSettings
from sinch_qn.cli.signals import GracefulStop, JobControl
from sinch_qn.client import QualifiedNumbersClient

_READER_TIMEOUT = 2.0
"""Seconds that a stop waits for whoever reads the events."""


@attrs.frozen(kw_only=True)
class SessionResult:
    """How a session ended."""

    counts: dict[ChallengeState, int]
    interrupted: bool
    orders: TextEnableReport | None


Work: TypeAlias = Callable[[VoiceChallengeRun, Journal], Coroutine[Any, Any, None]]


async def run_to_completion(
    client: QualifiedNumbersClient, settings: SessionSettings, work: Work
) -> SessionResult:
    """Call and take codes until *work* is done or a signal comes, then place the orders."""
    orders = None
    with GracefulStop() as stop:
        try:
            async with client:
                await _call_and_verify(client, settings, work, stop)
                if settings.orders is not None and not stop.requested.is_set():
                    orders = await _order(client, settings.journal, settings.orders, stop)
        except asyncio.CancelledError:
            if not stop.requested.is_set():
                raise
    async with open_journal(settings.journal) as journal:
        counts = dict(await journal.counts())
    return SessionResult(counts=counts, interrupted=stop.requested.is_set(), orders=orders)


async def _call_and_verify(
    client: QualifiedNumbersClient, settings: SessionSettings, work: Work, stop: GracefulStop
) -> None:
    journal = make_journal(settings.journal)
    run = VoiceChallengeRun(client, journal, **settings.run_options)
    prompt = CodePrompt(live=is_live(as_json=settings.as_json)) if sys.stdin.isatty() else None
    display = RunDisplay(run, journal, settings, prompt)
    follower: asyncio.Task[None] | None = None
    try:
        async with run:
            follower = asyncio.create_task(display.follow())
            intake = CodeIntake(run, display.notify)
            with JobControl(resume=display.resume, pause=display.pause) as jobs:
                try:
                    await _supervise(
                        stop,
                        work(run, journal),
                        follower,
                        display.show(),
                        jobs.follow(),
                        *_code_sources(intake, journal, settings, prompt),
                        *([settings.beside(client, journal, run)] if settings.beside else []),
                    )
                finally:
                    await display.pause()
            if stop.requested.is_set():
                display.notify(
                    "finishing in-flight requests; press Ctrl-C again to abort", "interrupted"
                )
        await _show_last_events(follower, stop)
    finally:
        if follower is not None:
            await _cancel_and_wait(follower)
        await display.close()


async def _show_last_events(follower: asyncio.Task[None], stop: GracefulStop) -> None:
    """Wait until the last events are shown; after a stop not for a reader that pauses."""
    await stop.or_done(follower)
    done, _ = await asyncio.wait([follower], timeout=_READER_TIMEOUT)
    for task in done:
        task.result()


def _code_sources(
    intake: CodeIntake, journal: Journal, settings: SessionSettings, prompt: CodePrompt | None
) -> Iterator[Coroutine[Any, Any, None]]:
    if prompt is not None:
        yield prompt.follow(intake)
    if settings.codes is not None:
        yield CodesFile(settings.codes, journal, intake, settings.poll_interval).follow()


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


async def _cancel_and_wait(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # marks it as retrieved: the caller raises it


async def _order(
    client: QualifiedNumbersClient, journal: JournalName, orders: Orders, stop: GracefulStop
) -> TextEnableReport:
    """Order SMS for the verified numbers and follow the orders; a stop waits for one in flight."""
    run = TextEnableRun(
        client,
        make_journal(journal),
        orders.request,
        toll_free_request=orders.toll_free_request,
        follow=orders.follow,
        batches_per_second=orders.batches_per_second,
    )
    print_message("Ordering SMS for the verified numbers.")
    async with run:
        working = asyncio.create_task(run.finish())
        try:
            await stop.or_done(working)
        finally:
            await _cancel_and_wait(working)
        await run.drain()
        if not working.cancelled():
            working.result()
        return await run.report()
