"""`TextEnableRun`: order SMS for a run's verified numbers, batch by batch, and follow the orders.

An order sends somebody a Letter of Authorization to sign, so it is at-most-once like a call.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Iterator
from functools import partial
from typing import Self, TypeAlias

import attrs

from sinch_qn._checks import (
    MAX_NUMBERS,
    check_above_zero,
    check_text_enable,
    check_text_enable_toll_free,
    check_whole,
)
from sinch_qn._pipeline import PreparedCall
from sinch_qn.bulk.at_most_once import InFlight, at_most_once
from sinch_qn.bulk.journal.protocol import Batch, BatchState, Identity, Journal
from sinch_qn.bulk.lost_orders import LostOrders
from sinch_qn.bulk.order_records import name_token
from sinch_qn.bulk.order_watch import MAX_DELAY, OrderWatch
from sinch_qn.bulk.outcomes import is_fatal, is_refusal
from sinch_qn.bulk.text_enable_report import TextEnableReport, count_text_enabling
from sinch_qn.bulk.unsafe_writes import SENDING, TextEnableOrder
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.errors import InvalidRequestError, Outcome, RateLimitError, SinchError
from sinch_qn.models import TextEnableNumbersRequest, TextEnableTollFreeNumbersRequest
from sinch_qn.waiting import backoff, until_reachable

_log = logging.getLogger("sinch_qn")

_REGIONS = ("US", "CA")

_MAX_FAILED_BATCHES = 3
"""Batches in a row without an order after which the run stops: it is not about the numbers."""

_REFUSED = (BatchState.REJECTED,)

_UNTOLD = (BatchState.SENDING, BatchState.UNKNOWN)
"""Another runner makes a batch UNKNOWN whose own runner seems to be gone: this one knows better."""

_NOTE_CRASHED = "the process ended before the response came: the order may exist"

_ANY_NUMBER = "+12025550100"

_Template: TypeAlias = TextEnableNumbersRequest | TextEnableTollFreeNumbersRequest
_Sent: TypeAlias = tuple[Batch, str | SinchError]


class TextEnableRun:
    """Order SMS for the verified numbers of a journal; order nothing twice.

        async with TextEnableRun(client, SqliteJournal("run.db"), request) as run:
            report = await run.finish()

    It is a journal file's one runner, so leave a voice-challenge run on the same file first; a
    database may have several of both. It may be repeated at any time: it orders what was verified
    since, and goes on following the orders. A batch whose response was lost is UNKNOWN and never
    sent again automatically.

    A rejected batch is checked: numbers no longer VERIFIED are dropped, the rest go into a new
    batch. Otherwise it stays REJECTED for manual review, because retrying its parts would send a
    letter for each; `free_batch` makes its numbers free for another order.

    A cancelled `finish` leaves the order in flight alone: leaving the run waits for its outcome.
    """

    def __init__(
        self,
        client: QualifiedNumbersClient,
        journal: Journal,
        request: TextEnableNumbersRequest,
        *,
        toll_free_request: TextEnableTollFreeNumbersRequest | None = None,
        batch_size: int = MAX_NUMBERS,
        batches_per_second: float = 1.0,
        follow: float = 3600.0,
        drain_timeout: float = 60.0,
        clock: Callable[[], float] | None = None,
        jitter: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Take the parts; nothing is opened or sent yet. All times are in seconds.

        *request* is a template: each batch of up to *batch_size* numbers replaces its `numbers`,
        which may be empty, and its `region_code`. Toll-free numbers go to their own operation with
        *toll_free_request*, which keeps its `region_code`; without one they are left, and counted.
        *follow* is how long `finish` watches the orders; 0 is not at all. *drain_timeout* is how
        long leaving waits for the order in flight. Raises `InvalidRequestError`.
        """
        check_whole(batch_size, "batch_size", maximum=MAX_NUMBERS)
        check_above_zero(batches_per_second, "batches_per_second")
        check_above_zero(drain_timeout, "drain_timeout")
        if follow != 0:
            check_above_zero(follow, "follow")
        # Checked with a number in it, so that nothing is refused once an intent is committed.
        check_text_enable(attrs.evolve(request, numbers=[_ANY_NUMBER]), client.project_id)
        if toll_free_request is not None:
            example = attrs.evolve(toll_free_request, numbers=[_ANY_NUMBER])
            check_text_enable_toll_free(example, client.project_id)
        clock = clock or journal.now
        self._client = client
        self._journal = journal
        self._request = request
        self._toll_free_request = toll_free_request
        self._order_of = partial(
            TextEnableOrder, client=client, journal=journal, clock=clock, limit=batch_size
        )
        self._lost_orders = LostOrders(client, journal, clock)
        self._watch = OrderWatch(
            client=client, journal=journal, clock=clock, jitter=jitter, sleep=sleep
        )
        self._interval = 1.0 / batches_per_second
        self._follow = follow
        self._drain_timeout = drain_timeout
        self._jitter = jitter
        self._sleep = sleep
        self._delays = self._new_delays()
        self._pause_due = False
        self._failed_batches = 0
        self._stopped: str | None = None
        self._token = ""
        self._draining = asyncio.Event()
        self._in_flight: InFlight[_Sent | None] = InFlight()

    async def __aenter__(self) -> Self:
        self._draining.clear()
        identity = Identity(self._client.project_id, self._client.base_url)
        await self._journal.open(identity, running=True)
        try:
            self._token = await name_token(self._journal)
            await self._settle_interrupted()
        except BaseException:
            await self._journal.close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            await self.drain()
        except SinchError as error:
            if kind is None:
                raise
            project = self._client.project_id
            _log.warning(
                "project %s: the order in flight failed (%s)", project, type(error).__name__
            )
        finally:
            await self._journal.close()

    async def finish(self) -> TextEnableReport:
        """Order what is verified, follow the orders for as long as asked; return the report."""
        await self.order()
        await self.find_lost_orders()
        await self.follow()
        await self.find_lost_orders()  # 15 minutes may have passed
        return await self.report()

    async def drain(self) -> None:
        """Wait for the outcome of the order in flight; place no other. Leaving does this, too."""
        self._draining.set()
        await self._in_flight.drain(timeout=self._drain_timeout)

    async def order(self) -> None:
        """Order what is verified, one batch after the other.

        Waits out outages and rate limits. Raises refused credentials. Stops after three batches in
        a row without an order; the report says so.
        """
        for region in _REGIONS:
            while await self._order_batch(self._request, region=region):
                pass
        toll_free = self._toll_free_request
        while toll_free is not None and await self._order_batch(toll_free, region=None):
            pass

    async def find_lost_orders(self) -> None:
        """Look for the orders whose response was lost; nothing is sent again.

        One that is listed is ORDERED, with its id. One that is still not listed 15 minutes after
        its intent was not placed: its batch stays UNKNOWN, with a note that says so, until a person
        frees it. Orders without a campaign, and toll-free ones, cannot be listed. Transient errors
        leave it to the next call.
        """
        await self._settle_interrupted()
        try:
            await self._lost_orders.find()
        except SinchError as error:
            if is_fatal(error):
                raise
            # Its class alone: a server's text may hold a number.
            project = self._client.project_id
            _log.info(
                "project %s: lost orders cannot be looked for: %s", project, type(error).__name__
            )

    async def follow(self) -> None:
        """Watch the ordered numbers until each is hosted or failed, or the time is over.

        Each state seen goes to the journal. A batch whose response was lost is known to exist once
        one of its numbers is being hosted.
        """
        if self._follow:
            await self._watch.follow(self._follow)

    async def report(self) -> TextEnableReport:
        """Return the state of text-enabling."""
        batches = await self._journal.batches()
        return await asyncio.to_thread(
            lambda: count_text_enabling(self._journal.rows(), batches, stopped=self._stopped)
        )

    async def _settle_interrupted(self) -> None:
        """Note that the orders may exist whose process ended before their response came."""
        for batch in await self._journal.interrupted_batches():
            await self._record(batch.id, BatchState.UNKNOWN, note=_NOTE_CRASHED)

    # ---- ordering ------------------------------------------------------------------------------

    async def _order_batch(self, request: _Template, *, region: str | None) -> bool:
        """Place one order; return whether to go on."""
        is_left_over = bool(self._in_flight)  # by an `order` that was cancelled
        if not is_left_over and not await self._start_order(request, region):
            return False
        sent = await self._in_flight.result()
        if sent is None:
            return is_left_over
        self._pause_due = True
        batch, result = sent
        if isinstance(result, SinchError):
            await self._act_on_failure(batch, result)
        else:
            self._failed_batches = 0
            self._delays = self._new_delays()
        return True

    async def _start_order(self, request: _Template, region: str | None) -> bool:
        """Start placing an order, unless the run is stopped or drained."""
        if self._stopped is not None or self._draining.is_set():
            return False
        if self._pause_due:
            await self._sleep(self._interval)
            self._pause_due = False
        prepared = await self._prepare()
        if self._draining.is_set():
            return False
        write = self._order_of(request=request, region=region, token=self._token)
        self._in_flight.start(self._place(write, prepared))
        return True

    async def _prepare(self) -> PreparedCall:
        while True:
            try:
                return await self._client.prepare()
            except SinchError as error:
                if is_fatal(error):
                    raise
                await self._sleep(next(self._delays))

    async def _place(self, write: TextEnableOrder, prepared: PreparedCall) -> _Sent | None:
        """Send one order and commit its outcome."""
        sent = await at_most_once(write, prepared)
        if sent is None:
            return None
        batch, result = sent
        if not isinstance(result, SinchError):
            await self._record(batch.id, BatchState.ORDERED, only_from=_UNTOLD, order_id=result)
        else:
            await self._record(
                batch.id, _state_after(result), only_from=_UNTOLD, note=result.reason
            )
        return sent

    async def _act_on_failure(self, batch: Batch, error: SinchError) -> None:
        """Check a rejected batch, wait out an outage, stop after too many failures."""
        state = _state_after(error)
        if state is BatchState.NOT_SENT:
            if is_fatal(error) or isinstance(error, InvalidRequestError):
                raise error  # the next batch would fail the same
            await self._back_off(error)
            return
        if state is BatchState.REJECTED and (moved := await self._watch.recheck(batch.numbers)):
            moved_on = f"{moved} of its numbers have moved on; the others are ordered anew"
            note = f"{error.reason} ({moved_on})"
            await self._record(batch.id, BatchState.NOT_SENT, only_from=_REFUSED, note=note)
            return
        self._failed_batches += 1
        if self._failed_batches >= _MAX_FAILED_BATCHES:
            self._stopped = (
                f"{_MAX_FAILED_BATCHES} batches in a row without an order; the last: {error}"
            )
        elif state is BatchState.UNKNOWN:
            await self._back_off(error)

    async def _back_off(self, error: SinchError) -> None:
        """Wait with backoff; after anything but a 429, until Sinch is reachable."""
        delay = next(self._delays)
        if isinstance(error, RateLimitError):
            await self._sleep(delay if error.retry_after is None else error.retry_after)
            return
        await self._sleep(delay)
        pages = self._client.list_number_pages
        await until_reachable(pages, delays=self._delays, sleep=self._sleep)

    def _new_delays(self) -> Iterator[float]:
        return backoff(maximum=MAX_DELAY, jitter=self._jitter)

    async def _record(
        self,
        batch: int,
        state: BatchState,
        *,
        only_from: Collection[BatchState] = SENDING,
        order_id: str | None = None,
        note: str | None = None,
    ) -> None:
        recorded = await self._journal.record_batch_outcome(
            batch, state, only_from=only_from, order_id=order_id, note=note
        )
        if recorded:
            project = self._client.project_id
            _log.info("project %s: text-enabling batch %d: %s", project, batch, state.value)


def _state_after(error: SinchError) -> BatchState:
    if error.outcome is Outcome.UNKNOWN:
        return BatchState.UNKNOWN
    return BatchState.REJECTED if is_refusal(error) else BatchState.NOT_SENT
