"""`TextEnableRun`: order SMS for a run's verified numbers, batch by batch, and follow the orders.

An order sends somebody a Letter of Authorization to sign, so a second one is as bad as a second
call, and the same law holds: the intent is committed before the request leaves, the outcome after
the answer, and an intent without an outcome is UNKNOWN and is never sent again by itself.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import aclosing
from functools import partial
from typing import Self

import attrs

from sinch_qn._checks import MAX_NUMBERS, check_text_enable, check_text_enable_toll_free
from sinch_qn._operations import LIST_NUMBERS, TEXT_ENABLE_NUMBERS, TEXT_ENABLE_TOLL_FREE_NUMBERS
from sinch_qn._pipeline import Pipeline, PreparedCall
from sinch_qn.bulk.journal import Batch, BatchState, Identity, Journal, can_be_enabled
from sinch_qn.bulk.outcomes import is_fatal, why_not_hosted
from sinch_qn.bulk.states import Change, Entry, Event
from sinch_qn.bulk.workers import LIST_PAGE
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    RateLimitError,
    SinchError,
)
from sinch_qn.lifecycle import REACHABLE
from sinch_qn.models import (
    GlobalProcessState,
    HostingOrder,
    QualifiedNumber,
    TextEnableNumbersRequest,
    TextEnableNumbersResponse,
    TextEnableTollFreeNumbersRequest,
)
from sinch_qn.phone import is_toll_free
from sinch_qn.retry import ONE_SHOT
from sinch_qn.waiting import watch

_log = logging.getLogger("sinch_qn")

_LONGEST_PAUSE = 60.0

_REGIONS = ("US", "CA")

_MISSES = 3
"""Batches in a row without an order after which no more are tried: it is not about the numbers."""

_HOSTED = frozenset({GlobalProcessState.HOSTING_DONE, GlobalProcessState.HOSTING_FAILED})
_BEING_HOSTED = _HOSTED | {GlobalProcessState.HOSTING_IN_PROGRESS}

_FOLLOWED = (BatchState.ORDERED, BatchState.UNKNOWN)
_LOST = (BatchState.UNKNOWN,)
_FREEABLE = (BatchState.REJECTED, BatchState.UNKNOWN)

_CRASHED = "the process ended before the answer came: the order may exist"
_CUT_OFF = "cut off when the run was left"
_FOUND = "the answer was lost, but its numbers are being hosted: the order exists"
_GONE = "Sinch no longer knows this number"
_FREED = "freed by a person: its numbers may be ordered again"


@attrs.frozen(kw_only=True)
class TextEnableReport:
    """How text-enabling stands: exact, because it is read from the journal."""

    batches: Mapping[BatchState, int]
    """How many batches are in each state."""
    orders: list[str]
    """The ids of the hosting orders that are known to exist, oldest first."""
    hosting: Mapping[GlobalProcessState, int]
    """Numbers that were ordered, or perhaps were, by the state they were last seen in."""
    left: int
    """Verified numbers that are in no batch; REJECTED ones are in theirs."""
    toll_free_left: int
    """How many of those are toll-free: they need a *toll_free_request*."""
    stopped: str | None
    """Why no more batches were tried, if that was before the last; None otherwise."""


class TextEnableRun:
    """Order SMS for the verified numbers of a journal; order nothing twice.

        async with TextEnableRun(client, SqliteJournal("run.db"), request) as run:
            report = await run.finish()

    It is the journal's one runner, so a voice-challenge run on the same journal is left first. May
    be done again at any time: what was verified since is ordered, and what is known goes on to be
    followed. A batch whose answer was lost is UNKNOWN and never sent again by itself.

    A batch that Sinch refused is looked into: numbers that are no longer VERIFIED are put aside and
    the others go into another batch. Otherwise it is REJECTED as a whole, for a person to see to:
    trying its parts would send a letter for each. `free_batch` has its numbers ordered again.
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
        wall: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Take the parts; nothing is opened or sent yet. All times are in seconds.

        *request* is a template: each batch of up to *batch_size* numbers replaces its `numbers`,
        which may be empty, and its `region_code`. Toll-free numbers go to their own operation with
        *toll_free_request*, which keeps its `region_code`; without one they are left, and counted.
        *follow* is how long `finish` watches the orders; 0 is not at all. Raises
        `InvalidRequestError`.
        """
        if isinstance(batch_size, bool) or not 1 <= batch_size <= MAX_NUMBERS:
            raise InvalidRequestError(f"batch_size: {batch_size!r} is not from 1 to {MAX_NUMBERS}")
        if not 0 < batches_per_second < 1e9:
            raise InvalidRequestError(f"batches_per_second: {batches_per_second!r} is not above 0")
        if not 0 <= follow < 1e9:
            raise InvalidRequestError(f"follow: {follow!r} is no number of seconds")
        # Checked with a number in it, so that nothing is refused once an intent is committed.
        check_text_enable(attrs.evolve(request, numbers=[_SOME_NUMBER]), client.project_id)
        if toll_free_request is not None:
            check_text_enable_toll_free(attrs.evolve(toll_free_request, numbers=[_SOME_NUMBER]))
        self._client = client
        self._journal = journal
        self._request = request
        self._toll_free_request = toll_free_request
        self._batch_size = batch_size
        self._interval = 1.0 / batches_per_second
        self._follow = follow
        self._wall = wall
        self._jitter = jitter
        self._sleep = sleep
        self._pause_due = False
        self._misses = 0
        self._pauses = 0
        self._stopped: str | None = None

    async def __aenter__(self) -> Self:
        identity = Identity(self._client.project_id, self._client.base_url)
        await self._journal.open(identity, running=True)
        try:
            for batch in await self._batches_in(BatchState.SENDING):
                await self._settle(batch, BatchState.UNKNOWN, note=_CRASHED)
        except BaseException:
            await self._journal.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._journal.close()

    async def finish(self) -> TextEnableReport:
        """Order what is verified, follow the orders for as long as was asked; return the report."""
        await self.order()
        await self.follow()
        return await self.report()

    async def order(self) -> None:
        """Order what is verified, one batch after the other.

        Waits out outages and limits. Stops when credentials are refused, which is raised, and
        after three batches in a row that came to no order, which the report says.
        """
        for region in _REGIONS:
            while await self._order_batch(toll_free=False, region=region):
                pass
        while self._toll_free_request and await self._order_batch(toll_free=True, region=None):
            pass

    async def follow(self) -> None:
        """Watch the ordered numbers until each is hosted or failed, or the time is over.

        What is seen goes to the journal. A batch whose answer was lost is known to exist once one
        of its numbers is being hosted.
        """
        followed = await asyncio.to_thread(self._followed, await self._batches_in(*_FOLLOWED))
        if not followed or not self._follow:
            return
        unknown = await self._batches_in(BatchState.UNKNOWN)
        looks = self._watch(followed, _HOSTED, timeout=self._follow)
        try:
            async with aclosing(looks):
                async for numbers in looks:
                    hosted = {
                        e.batch for e in await self._see(numbers) if e.remote in _BEING_HOSTED
                    }
                    for batch in unknown & hosted:
                        await self._settle(batch, BatchState.ORDERED, note=_FOUND, only_from=_LOST)
                    unknown -= hosted
        except DeadlineExceededError:
            _log.info("following the orders ends after %.0f s", self._follow)

    async def report(self) -> TextEnableReport:
        """Return how text-enabling stands."""
        batches = await self._journal.batches()
        perhaps = {batch.id for batch in batches if batch.state in _FOLLOWED}
        hosting: Counter[GlobalProcessState] = Counter()
        left = toll_free_left = 0

        def count() -> None:
            nonlocal left, toll_free_left
            for entry in self._journal.rows():
                if can_be_enabled(entry):
                    left += 1
                    toll_free_left += is_toll_free(entry.number)
                elif entry.batch in perhaps and entry.remote is not None:
                    hosting[entry.remote] += 1

        await asyncio.to_thread(count)
        states = Counter(batch.state for batch in batches)
        return TextEnableReport(
            batches={state: states[state] for state in BatchState},
            orders=[batch.order_id for batch in batches if batch.order_id is not None],
            hosting=dict(hosting),
            left=left,
            toll_free_left=toll_free_left,
            stopped=self._stopped,
        )

    # ---- ordering ------------------------------------------------------------------------------

    @property
    def _pipeline(self) -> Pipeline:
        return self._client._pipeline  # noqa: SLF001 - prepared calls are not for everyone

    async def _order_batch(self, *, toll_free: bool, region: str | None) -> bool:
        """Place one order: what it waits for, then the intent, then one request, then the outcome.

        Says whether to go on.
        """
        if self._stopped is not None:
            return False
        if self._pause_due:
            await self._sleep(self._interval)
            self._pause_due = False
        call = await self._prepared()
        batch = await self._intend(toll_free=toll_free, region=region)
        if batch is None:
            return False
        self._pause_due = True
        await self._record(batch, await self._send(batch, call))
        return True

    async def _prepared(self) -> PreparedCall:
        """Take what a call waits for (rate limit, token) before there is an intent."""
        while True:
            try:
                return await self._pipeline.prepare()
            except SinchError as error:
                if is_fatal(error):
                    raise
                await self._pause()

    async def _intend(self, *, toll_free: bool, region: str | None) -> Batch | None:
        """Commit the intent; taken back if this is cut off, as nothing was sent."""
        intent = asyncio.ensure_future(
            self._journal.take_batch(
                toll_free=toll_free, region=region, limit=self._batch_size, at=self._wall()
            )
        )
        try:
            return await asyncio.shield(intent)
        except asyncio.CancelledError:
            if batch := await intent:
                await self._settle(batch.id, BatchState.NOT_SENT, note=_CUT_OFF)
            raise

    async def _send(
        self, batch: Batch, call: PreparedCall
    ) -> TextEnableNumbersResponse | HostingOrder | SinchError:
        numbers = list(batch.numbers)
        try:
            if batch.toll_free and self._toll_free_request is not None:
                return await self._pipeline.call(
                    TEXT_ENABLE_TOLL_FREE_NUMBERS,
                    body=attrs.evolve(self._toll_free_request, numbers=numbers),
                    retry=ONE_SHOT,
                    prepared=call,
                )
            return await self._pipeline.call(
                TEXT_ENABLE_NUMBERS,
                body=attrs.evolve(self._request, numbers=numbers, region_code=batch.region),
                retry=ONE_SHOT,
                prepared=call,
            )
        except SinchError as error:
            return error
        except asyncio.CancelledError:
            perhaps = BatchState.UNKNOWN if call.may_have_been_sent else BatchState.NOT_SENT
            await self._settle(batch.id, perhaps, note=_CUT_OFF)
            raise

    async def _record(
        self, batch: Batch, result: TextEnableNumbersResponse | HostingOrder | SinchError
    ) -> None:
        """Commit what came of *batch*, then wait as long as that asks for."""
        if not isinstance(result, SinchError):
            self._misses = self._pauses = 0
            await self._settle(batch.id, BatchState.ORDERED, order_id=result.hosting_order_id)
            return
        limited = isinstance(result, RateLimitError)
        if result.outcome is Outcome.NOT_SENT or limited or is_fatal(result):
            await self._settle(batch.id, BatchState.NOT_SENT, note=str(result))
            if is_fatal(result) or isinstance(result, InvalidRequestError):
                raise result  # the next batch would fail the same
            await self._pause(result)
            return
        lost = result.outcome is Outcome.UNKNOWN
        await self._settle(
            batch.id, BatchState.UNKNOWN if lost else BatchState.REJECTED, note=str(result)
        )
        if not lost and (moved := await self._look_into(batch)):
            note = f"{result} ({moved} of its numbers have moved on; the others are ordered anew)"
            await self._settle(batch.id, BatchState.NOT_SENT, note=note)
            return
        self._misses += 1
        if self._misses >= _MISSES:
            self._stopped = f"{_MISSES} batches in a row came to no order; the last: {result}"
        elif lost:
            await self._pause(result)

    async def _look_into(self, batch: Batch) -> int:
        """Record where the numbers of a refused batch are; return how many are not VERIFIED."""
        moved = 0
        looks = self._watch(dict.fromkeys(batch.numbers), frozenset(REACHABLE), timeout=60.0)
        try:
            async with aclosing(looks):
                async for numbers in looks:
                    moved += len(await self._see(numbers))
        except SinchError as error:
            # By its name alone: a server's words may hold a number.
            _log.info("batch %d cannot be looked into: %s", batch.id, type(error).__name__)
        return moved

    async def _pause(self, error: SinchError | None = None) -> None:
        """Leave Sinch alone, ever longer, and after anything but a 429 until it answers again."""
        while True:
            asked = error.retry_after if isinstance(error, RateLimitError) else None
            delay = min(_LONGEST_PAUSE, 2.0 ** min(self._pauses, 10)) * (0.5 + 0.5 * self._jitter())
            self._pauses += 1
            await self._sleep(delay if asked is None else asked)
            if error is None or isinstance(error, RateLimitError):
                return
            query = {"states": str(GlobalProcessState.VERIFIED), "pageSize": "1"}
            try:
                await self._pipeline.call_raw(LIST_NUMBERS, query=query, retry=ONE_SHOT)
            except SinchError as trouble:
                if is_fatal(trouble) or isinstance(trouble, NotFoundError):
                    raise  # the project does not exist
            else:
                return

    async def _settle(
        self,
        batch: int,
        state: BatchState,
        *,
        order_id: str | None = None,
        note: str | None = None,
        only_from: Collection[BatchState] | None = None,
    ) -> None:
        settled = await self._journal.settle_batch(
            batch, state, order_id=order_id, note=note, only_from=only_from
        )
        if settled:
            _log.info("text-enabling batch %d: %s", batch, state.value)

    # ---- following -----------------------------------------------------------------------------

    async def _batches_in(self, *states: BatchState) -> set[int]:
        return {batch.id for batch in await self._journal.batches() if batch.state in states}

    def _followed(self, batches: set[int]) -> dict[str, GlobalProcessState | None]:
        """Return the numbers of *batches* that are neither hosted nor failed, as last seen."""
        return {
            entry.number: entry.remote
            for entry in self._journal.rows()
            if entry.batch in batches and entry.remote not in _HOSTED
        }

    def _watch(
        self,
        numbers: Mapping[str, GlobalProcessState | None],
        states: frozenset[GlobalProcessState],
        *,
        timeout: float,
    ) -> AsyncGenerator[list[QualifiedNumber], None]:
        return watch(
            partial(self._client.list_numbers, page_size=LIST_PAGE),
            self._client.get_number,
            numbers,
            states,
            timeout=timeout,
            every_change=True,
            max_delay=_LONGEST_PAUSE,
            jitter=self._jitter,
            sleep=self._sleep,
        )

    async def _see(self, numbers: list[QualifiedNumber]) -> list[Entry]:
        """Commit where *numbers* are; return the entries of those that have moved."""
        changes = []
        for number in numbers:
            entry = await self._journal.get(number.phone_number or "")
            state = number.global_process_state or GlobalProcessState.UNSPECIFIED
            if entry is not None and entry.remote != state:
                gone = _GONE if state is GlobalProcessState.UNSPECIFIED else None
                changes.append(
                    Change(
                        number=entry.number,
                        event=Event.SEEN,
                        at=self._wall(),
                        remote=state,
                        note=gone or why_not_hosted(number) or entry.note,
                    )
                )
        return [entry for entry in await self._journal.apply(changes) if entry is not None]


_SOME_NUMBER = "+12025550100"


async def free_batch(journal: Journal, batch_id: int) -> Batch:
    """Say, for an open *journal*, that a REJECTED or UNKNOWN batch was not ordered.

    Its numbers may then go into another batch. Only a person can know that of an UNKNOWN one: if
    the order does exist, a second Letter of Authorization goes out. Raises `InvalidRequestError`.
    """
    batch = await _find_batch(journal, batch_id)
    # A run may be settling it at this moment, so the journal, not we, looks at its state.
    freed = await journal.settle_batch(
        batch_id, BatchState.NOT_SENT, order_id=None, note=_FREED, only_from=_FREEABLE
    )
    if not freed:
        batch = await _find_batch(journal, batch_id)
        raise InvalidRequestError(f"batch_id: batch {batch_id} is {batch.state.value}")
    return batch


async def _find_batch(journal: Journal, batch_id: int) -> Batch:
    for batch in await journal.batches():
        if batch.id == batch_id:
            return batch
    raise InvalidRequestError(f"batch_id: there is no batch {batch_id!r} in this journal")
