"""A run from its first call to its end, with those who hand in codes and those who watch it."""

from __future__ import annotations

import asyncio
import signal
from contextlib import ExitStack
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

import attrs

from sinch_qn.bulk import BatchState, SqliteJournal, VoiceChallengeRun
from sinch_qn.bulk.text_enable import TextEnableReport, TextEnableRun
from sinch_qn.cli.output import say
from sinch_qn.cli.run_codes import CodesFile, Intake, Typed
from sinch_qn.cli.run_display import Display, is_live

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from pathlib import Path

    from sinch_qn import QualifiedNumbersClient
    from sinch_qn.bulk import CallingHours, ChallengeState
    from sinch_qn.bulk.preview import RunPreview
    from sinch_qn.models import TextEnableNumbersRequest, TextEnableTollFreeNumbersRequest

_SENDING_LOOK = 0.1
"""Seconds between two looks at whether an order is still out."""
_AT_ONCE = 10_000
"""Numbers that are added together."""


@attrs.frozen(kw_only=True)
class Orders:
    """What to order for the numbers that are verified."""

    request: TextEnableNumbersRequest
    toll_free_request: TextEnableTollFreeNumbersRequest | None
    follow: float


@attrs.frozen(kw_only=True)
class Settings:
    """How a run is to be made."""

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


@attrs.frozen(kw_only=True)
class Ended:
    """How far a run came."""

    counts: dict[ChallengeState, int]
    interrupted: bool
    enabled: TextEnableReport | None


class _Stop:
    """Ctrl-C: the first lets what is in flight finish, the second does not wait for it."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    def __enter__(self) -> Self:
        self._main = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled)
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(number)

    def _signalled(self) -> None:
        if self.asked.is_set() and self._main is not None:
            self._main.cancel()
        self.asked.set()

    async def or_done(self, *tasks: asyncio.Task[None]) -> None:
        """Wait until one of *tasks* is done, or Ctrl-C."""
        asked = asyncio.create_task(self.asked.wait())
        try:
            await asyncio.wait([asked, *tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()


async def conduct(client: QualifiedNumbersClient, preview: RunPreview, settings: Settings) -> Ended:
    """Ring what *preview* has, take codes until all is settled, then place the orders."""
    enabled = None
    with _Stop() as stop:
        try:
            async with client:
                await _ring(client, preview, settings, stop)
                if settings.orders is not None and not stop.asked.is_set():
                    enabled = await _order(client, settings.journal, settings.orders, stop)
        except asyncio.CancelledError:
            if not stop.asked.is_set():
                raise
    counts = await counts_of(settings.journal)
    return Ended(counts=counts, interrupted=stop.asked.is_set(), enabled=enabled)


async def counts_of(path: Path) -> dict[ChallengeState, int]:
    """Return how many numbers of a journal are in each state."""
    journal = SqliteJournal(path)
    await journal.open(None, running=False)
    try:
        return dict(await journal.counts())
    finally:
        await journal.close()


async def _ring(
    client: QualifiedNumbersClient, preview: RunPreview, settings: Settings, stop: _Stop
) -> None:
    run = VoiceChallengeRun(
        client,
        SqliteJournal(settings.journal),
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
            with ExitStack() as opened:
                live = is_live(as_json=settings.as_json)
                typed = opened.enter_context(Typed(live=live)) if Typed.is_possible() else None
                display = opened.enter_context(
                    Display(run, as_json=settings.as_json, typed=typed if live else None)
                )
                follower = asyncio.create_task(display.follow())
                helpers = _helpers(Intake(run, display), settings, typed)
                await _attend(
                    stop, _settle_all(run, preview, settings), follower, display.show(), *helpers
                )
            if stop.asked.is_set():
                say("what is in flight finishes; Ctrl-C again does not wait for it", "interrupted")
        await follower  # what happened last is told, too
    finally:
        if follower is not None:
            await _end(follower)


def _helpers(
    intake: Intake, settings: Settings, typed: Typed | None
) -> Iterator[Coroutine[Any, Any, None]]:
    """Yield what brings codes."""
    if typed is not None:
        yield typed.follow(intake)
    if settings.codes is not None:
        bookmark = settings.journal.with_name(settings.journal.name + ".codes")
        yield CodesFile(settings.codes, bookmark, intake).follow()


async def _settle_all(run: VoiceChallengeRun, preview: RunPreview, settings: Settings) -> None:
    additions = preview.new_numbers(settings.limit)
    while some := await asyncio.to_thread(list, islice(additions, _AT_ONCE)):  # from its file
        await run.add(some)
    await run.finish()


async def _attend(
    stop: _Stop,
    work: Coroutine[Any, Any, None],
    follower: asyncio.Task[None],
    *helpers: Coroutine[Any, Any, None],
) -> None:
    """Wait for *work*, or for Ctrl-C, with *helpers* beside it; raise what failed first."""
    working = asyncio.create_task(work)
    helping = [asyncio.create_task(helper) for helper in helpers]
    try:
        await stop.or_done(working, follower, *helping)
    finally:
        await _end(working, *helping)
    for task in (working, *helping, follower):
        if task.done() and not task.cancelled():
            task.result()


async def _end(*tasks: asyncio.Task[None]) -> None:
    """Cancel *tasks* and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # seen: whoever has to know is told by `_attend`


async def _order(
    client: QualifiedNumbersClient, path: Path, orders: Orders, stop: _Stop
) -> TextEnableReport:
    """Order SMS for what is verified, and follow the orders; Ctrl-C lets one that is out finish."""
    journal = SqliteJournal(path)
    run = TextEnableRun(
        client,
        journal,
        orders.request,
        toll_free_request=orders.toll_free_request,
        follow=orders.follow,
    )
    say("Ordering SMS for the verified numbers.")
    async with run:
        working = asyncio.create_task(_finish(run))
        try:
            await stop.or_done(working)
            while not working.done() and await _is_sending(journal):  # noqa: ASYNC110 - on disk
                await asyncio.sleep(_SENDING_LOOK)
        finally:
            await _end(working)
        if not working.cancelled():
            working.result()
        return await run.report()


async def _finish(run: TextEnableRun) -> None:
    await run.order()
    await run.follow()


async def _is_sending(journal: SqliteJournal) -> bool:
    return any(batch.state is BatchState.SENDING for batch in await journal.batches())
