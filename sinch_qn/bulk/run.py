"""`VoiceChallengeRun`: call, collect the codes, verify, until every number is settled.

One scheduler starts a step for each number that is due; a number that waits has a row in the
journal and nothing else: no task, no timer, no connection. See `docs/guides/bulk-runs.md`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
)
from typing import Self

import attrs

from sinch_qn._checks import check_above_zero, check_whole
from sinch_qn.bulk import actions, call_requests
from sinch_qn.bulk.admission import AddReport, Admission, NewNumber
from sinch_qn.bulk.at_most_once import drain
from sinch_qn.bulk.call_requests import CallRequest
from sinch_qn.bulk.calling_hours import CallingHours
from sinch_qn.bulk.journal.protocol import Identity, Journal, RunSettings, Submission
from sinch_qn.bulk.journal.queries import MAX_LIMIT, EntryQuery
from sinch_qn.bulk.pacing import MAX_UNKNOWN
from sinch_qn.bulk.rate_ceiling import RateCeiling
from sinch_qn.bulk.run_events import EventQueue, RunEvent
from sinch_qn.bulk.scheduler import Scheduler
from sinch_qn.bulk.states import ChallengeState, Entry, Event, Todo
from sinch_qn.bulk.steps import Steps
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.errors import InvalidRequestError, SinchError
from sinch_qn.phone import REGIONS, check_e164, check_regions

RING_WINDOW = 90.0
"""Seconds that a phone is taken to ring, unless its code comes before."""


_GRACE = 5.0
"""Seconds that the last outcomes of a run that is left may take; then its journal is closed."""


@attrs.frozen(kw_only=True)
class RunReport:
    """The state of a run: exact, because it is read from the journal."""

    counts: Mapping[ChallengeState, int]
    _journal: Journal = attrs.field(repr=False)

    def rows(self) -> Iterable[Entry]:
        """Return an entry for each number, in the order they were added; reads page by page.

        A journal's file is read where it is iterated: in a service, do that in a thread.
        """
        return self._journal.rows()


class VoiceChallengeRun:
    """Call many phones, collect the codes as they come, verify; survive a crash at any moment.

        async with VoiceChallengeRun(client, SqliteJournal("run.db")) as run:
            await run.add(["+12025550134"])
            await run.submit_code("+12025550134", "1234")
            report = await run.finish()

    Calling begins on entering `async with`. The journal holds the run: after a crash the same
    lines resume it. No phone is called twice for one request; a call whose response was lost is
    UNKNOWN, still accepts its code, and is repeated only by `recall`.
    """

    def __init__(
        self,
        client: QualifiedNumbersClient,
        journal: Journal,
        *,
        max_ringing: int = 20,
        ring_window: float = RING_WINDOW,
        calls_per_second: float = 5.0,
        max_unknown: int = MAX_UNKNOWN,
        concurrency: int = 50,
        code_timeout: float = 86_400.0,
        max_codes: int = 3,
        calling_hours: CallingHours | str | None = None,
        add_missing: bool = False,
        regions: Collection[str] = REGIONS,
        recheck: float = 30.0,
        on_request: bool = False,
        drain_timeout: float = 60.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Take the parts; nothing is opened or sent yet. All times are in seconds.

        *max_ringing* phones ring at once, each from its call until its code is there or
        *ring_window* ends; *calls_per_second* is the rate, *concurrency* the API requests in
        flight. An outage leaves at most *max_unknown* numbers UNKNOWN: so many calls are in flight
        at once, which limits the rate to *max_unknown* ÷ the time of a response. A code is awaited
        for *code_timeout*; one call is worth *max_codes* codes. *calling_hours*, such as
        `09:00-20:00`, are local to each number. With *add_missing* a number that Sinch does not
        know is added first (invoices or a call must follow).
        Numbers of +1 outside *regions* are kept as INVALID: others than US and CA, such as PR, can
        be named. *recheck* is how often a number is looked up whose eligibility is being checked,
        and *drain_timeout* how long leaving waits for responses. With *on_request* a number is
        looked up, but called only once somebody asks for it: `request_call`.
        """
        check_above_zero(drain_timeout, "drain_timeout")
        check_whole(concurrency, "concurrency")
        hours = CallingHours(calling_hours) if isinstance(calling_hours, str) else calling_hours
        self._client, self._journal = client, journal
        self._regions = check_regions(regions)
        self._hours, self._drain_timeout = hours, drain_timeout
        self._settings = RunSettings(
            calls_per_second=calls_per_second,
            max_ringing=max_ringing,
            ring_window=ring_window,
            max_unknown=max_unknown,
            code_timeout=code_timeout,
            max_codes=max_codes,
            calling_hours=None if hours is None else str(hours),
            add_missing=add_missing,
            regions=tuple(sorted(self._regions)),
            recheck=recheck,
            on_request=on_request,
        )
        self._scheduler = Scheduler(
            steps=Steps(
                client=client,
                journal=journal,
                settings=self._settings,
                clock=journal.now,
                jitter=jitter,
            ),
            journal=journal,
            concurrency=min(concurrency, client.max_connections or concurrency),  # see Scheduler
            hours=hours,
            publish=self._publish,
        )
        self._task: asyncio.Task[None] | None = None
        self._subscribers: set[EventQueue] = set()

    # ---- for the caller ------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        identity = Identity(self._client.project_id, self._client.base_url)
        await self._journal.open(identity, running=True, settings=self._settings)
        try:
            await self._journal.reap(self._settings.code_timeout)  # after the last process
        except BaseException:
            await self._journal.close()
            raise
        self._task = asyncio.create_task(self._scheduler.run(), name="sinch_qn run")
        self._task.add_done_callback(lambda _: self._wake_subscribers())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self._drain()
        if kind is None and self._scheduler.fatal_error is not None:
            raise self._scheduler.fatal_error

    async def add(self, numbers: Iterable[str | tuple[str, str | None] | NewNumber]) -> AddReport:
        """Accept *numbers*, each alone or with a ref; they are on disk when this returns.

        A number that is in the journal already, in whatever state, is left unchanged: only
        `recall` calls again. A number that is not of the run's regions is kept as INVALID, until it
        is added again when it can be used, or its line of a file is corrected.
        """
        report = await self._admission(self._check_running).add(numbers)
        self._scheduler.wake(Todo.LOOK_UP)
        return report

    @contextlib.asynccontextmanager
    async def adding(self) -> AsyncIterator[Callable[[Iterable[NewNumber]], Awaitable[AddReport]]]:
        """Add numbers to the run without running it: yields its `add`, and calls nobody.

        For a run whose runners are elsewhere. It keeps its own settings, calling hours included; a
        new run gets these.
        """
        identity = Identity(self._client.project_id, self._client.base_url)
        await self._journal.open(identity, running=True, settings=self._settings, calls=False)
        try:
            yield lambda numbers: self._admission(lambda: None).add(numbers)
        finally:
            await self._journal.close()

    def _admission(self, check_running: Callable[[], None]) -> Admission:
        return Admission(
            journal=self._journal,
            hours=self._hours,
            clock=self._journal.now,
            check_running=check_running,
            regions=self._regions,
        )

    async def submit_code(self, phone_number: str, code: str) -> Submission:
        """Accept the code that a person heard; it is on disk when this returns.

        It may come before the response to the call, or long after. Raises `InvalidRequestError` for
        a number that was never called, or is settled. The same code twice for a call is one code.
        Codes that still wait when a call's `max_codes` are used up are dropped with it.
        """
        self._check_running()
        now = self._journal.now()
        submission, entry = await actions.put_code(self._journal, phone_number, code, now)
        if submission is Submission.ACCEPTED:
            self._publish(Event.CODE, entry)
            self._scheduler.code_arrived(entry, now)
        return submission

    async def recall(self, phone_number: str) -> Entry:
        """Call *phone_number* again, when its turn comes: "I missed it".

        Allowed while a code is awaited, and from EXPIRED, FAILED and UNKNOWN; anything else is an
        `InvalidRequestError`. A recall after that call was made leads to one more call.
        """
        self._check_running()
        entry = await actions.recall(self._journal, phone_number, at=self._journal.now())
        self._publish(Event.RECALL, entry)
        self._scheduler.wake(Todo.REQUESTED_LOOK_UP)
        return entry

    async def request_call(
        self, phone_number: str, *, attempt: int | None = None, intent: int | None = None
    ) -> CallRequest:
        """Call *phone_number* before all that nobody asked for; return when that can be.

        Asked again before the call has an outcome it is the same request. See
        `call_requests.request_call`.
        """
        self._check_running()
        request = await call_requests.request_call(
            self._journal, phone_number, attempt=attempt, intent=intent
        )
        if request.new:
            self._publish(Event.REQUEST, request.entry)
            self._scheduler.wake(Todo.REQUESTED_LOOK_UP, Todo.CALL)
        return request

    async def result(self, phone_number: str) -> Entry | None:
        """Return the entry of *phone_number*, with its ref; None if it was never added."""
        return await self._journal.get(check_e164(phone_number))

    async def result_by_ref(self, ref: str) -> list[Entry]:
        """Return the entries of all numbers with this *ref*, in the order they were added."""
        query, found, cursor = EntryQuery(ref=ref), list[Entry](), None
        while True:
            page = await self._journal.find(query, limit=MAX_LIMIT, after=cursor)
            found += page.entries
            cursor = page.next
            if cursor is None:
                return found

    async def counts(self) -> Mapping[ChallengeState, int]:
        """Return the exact number of numbers in each state."""
        return await self._journal.counts()

    @property
    def rate(self) -> float:
        """Calls a second at most, as slowed by rate limiting; 0 while calling is paused."""
        return self._scheduler.permits.rate

    @property
    def ceiling(self) -> RateCeiling | None:
        """Why `calls_per_second` cannot be reached, once that is known: a warning to show."""
        return self._scheduler.ceiling

    @property
    def last_error(self) -> SinchError | None:
        """The error of the last call without a response; None once Sinch responds again."""
        return self._scheduler.last_error

    @property
    def ringing(self) -> int:
        """How many phones ring or wait for their code within the ring window."""
        return self._scheduler.permits.ringing

    async def events(self, *, buffer: int = 1000) -> AsyncGenerator[RunEvent, None]:
        """Yield what happens from now on, until the run ends.

        At most *buffer* events wait for a slow subscriber; older ones are dropped, and the next
        one says how many. Counts are exact in `counts` and in the report all the same.
        """
        check_whole(buffer, "buffer")
        subscriber = EventQueue(buffer)
        self._subscribers.add(subscriber)
        try:
            while True:
                while subscriber.waiting:
                    yield subscriber.take()
                if self._task is None or self._task.done():
                    return
                subscriber.arrived.clear()
                await subscriber.arrived.wait()
        finally:
            self._subscribers.discard(subscriber)

    async def finish(self) -> RunReport:
        """Wait until every number is settled; return the report.

        Raises the error that stopped the run, if one did: `AuthenticationError`, `JournalError`, ….
        """
        if self._task is None:
            raise InvalidRequestError("a run is finished inside its 'async with'")
        self._scheduler.wake(*Todo)
        idle = asyncio.ensure_future(self._scheduler.idle.wait())
        try:
            await asyncio.wait({idle, self._task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            idle.cancel()
        if self._scheduler.fatal_error is not None:
            raise self._scheduler.fatal_error
        return RunReport(counts=await self._journal.counts(), journal=self._journal)

    # ---- life cycle ----------------------------------------------------------------------------

    async def _drain(self) -> None:
        """Let requests in flight finish, start nothing new, and close the journal."""
        self._scheduler.stop()
        try:
            if self._task is not None:
                await drain(self._task, timeout=self._drain_timeout, grace=_GRACE)
        finally:
            try:
                await self._journal.close()
            finally:
                if self._task is not None:
                    await asyncio.wait([self._task])  # no commit keeps it any more

    def _publish(self, event: Event, entry: Entry) -> None:
        for subscriber in self._subscribers:
            subscriber.put(RunEvent.of(event, entry))

    def _wake_subscribers(self) -> None:
        for subscriber in self._subscribers:
            subscriber.arrived.set()

    def _check_running(self) -> None:
        if self._scheduler.fatal_error is not None:
            raise self._scheduler.fatal_error
        if self._task is None or self._scheduler.stopping.is_set():
            raise InvalidRequestError("a run is used inside its 'async with'")
