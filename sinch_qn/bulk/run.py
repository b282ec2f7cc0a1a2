"""`VoiceChallengeRun`: ring, collect the codes, verify, until every number is settled.

One scheduler looks at what is due and starts a worker for it; a number that waits has a row in the
journal and nothing else: no task, no timer, no connection. `docs/runs.md` tells the rules.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Self

import attrs

from sinch_qn._checks import check_code
from sinch_qn.bulk import outcomes
from sinch_qn.bulk.calling_hours import CallingHours
from sinch_qn.bulk.journal.protocol import Identity, Journal, Submission
from sinch_qn.bulk.pacing import Pacing
from sinch_qn.bulk.scheduler import Scheduler
from sinch_qn.bulk.states import ChallengeState, Change, Entry, Event, Todo
from sinch_qn.bulk.workers import Workers
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.errors import InvalidRequestError, SinchError
from sinch_qn.phone import check_e164, mask, region_of

_CHUNK = 500
"""Numbers accepted in one commit."""

_SHOWN_INVALID = 1000
"""Refused numbers that an AddReport lists; the journal has them all."""


@attrs.frozen(kw_only=True)
class NewNumber:
    """A number to add, with where it comes from."""

    number: str
    ref: str | None = None
    """Your own reference: a chat id, a ticket. It comes back in events and in the report."""
    line: int | None = None
    problem: str | None = None
    """Why it cannot be used: it is recorded as INVALID, so that it is not lost."""


@attrs.frozen(kw_only=True)
class Invalid:
    """A number that was refused."""

    line: int | None
    number: str
    reason: str


@attrs.frozen(kw_only=True)
class AddReport:
    """What became of the numbers that were added."""

    added: int
    already: int
    """Were in the journal before: nothing changed for them."""
    invalid: list[Invalid]
    """The first thousand that were refused; `invalid_count` counts all."""
    invalid_count: int


@attrs.frozen(kw_only=True)
class RunEvent:
    """Something that happened to a number. Codes are never in it."""

    what: str
    """`called`, `code`, `verified`, `wrong`, `lost`, … : a `states.Event`'s value."""
    number: str
    ref: str | None
    state: ChallengeState
    attempt: int
    note: str | None
    dropped: int = 0
    """How many events before this one were dropped because the reader was slow."""


@attrs.frozen(kw_only=True)
class RunReport:
    """How a run stands: exact, because it is read from the journal."""

    counts: Mapping[ChallengeState, int]
    _journal: Journal = attrs.field(repr=False)

    def rows(self) -> Iterable[Entry]:
        """Return an entry for each number, in the order they were added; reads page by page.

        A journal's file is read where it is iterated: in a service, do that in a thread.
        """
        return self._journal.rows()


class VoiceChallengeRun:
    """Ring many phones, collect the codes as they come, verify; survive anything.

        async with VoiceChallengeRun(client, SqliteJournal("run.db")) as run:
            await run.add(["+12025550134"])
            await run.submit_code("+12025550134", "1234")
            report = await run.finish()

    Ringing begins on entering `async with`. The journal is the run: whatever happens to this
    process, the same lines go on where it was. Nobody is rung twice for one request; a call whose
    answer was lost is UNKNOWN, still accepts its code, and is rung again only by `recall`.
    """

    def __init__(
        self,
        client: QualifiedNumbersClient,
        journal: Journal,
        *,
        max_ringing: int = 20,
        ring_window: float = 90.0,
        calls_per_second: float = 5.0,
        concurrency: int = 50,
        code_timeout: float = 86_400.0,
        max_codes: int = 3,
        calling_hours: CallingHours | str | None = None,
        add_missing: bool = False,
        recheck: float = 30.0,
        drain_timeout: float = 60.0,
        wall: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Take the parts; nothing is opened or sent yet. All times are in seconds.

        *max_ringing* phones ring at once, each from its call until its code is there or
        *ring_window* ends; *calls_per_second* is the pace, *concurrency* the API requests in
        flight. A code is waited for *code_timeout*; one call is worth *max_codes* codes.
        *calling_hours*, such as `09:00-20:00`, are local to each number. With *add_missing* a
        number that Sinch does not know is added first (invoices or a call must follow).
        *recheck* is how often a number is looked up whose eligibility is being checked, and
        *drain_timeout* how long leaving waits for answers.
        """
        _check_above_zero(
            ring_window=ring_window,
            calls_per_second=calls_per_second,
            code_timeout=code_timeout,
            recheck=recheck,
            drain_timeout=drain_timeout,
        )
        _check_whole(max_ringing=max_ringing, concurrency=concurrency, max_codes=max_codes)
        if isinstance(calling_hours, str):
            calling_hours = CallingHours(calling_hours)
        self._client = client
        self._journal = journal
        self._wall = wall
        self._drain_timeout = drain_timeout
        self._pacing = Pacing(max_ringing, ring_window, calls_per_second)
        self._workers = Workers(
            client=client,
            journal=journal,
            pacing=self._pacing,
            code_timeout=code_timeout,
            max_codes=max_codes,
            add_missing=add_missing,
            recheck=recheck,
            wall=wall,
            jitter=jitter,
            publish=self._publish,
        )
        # More would queue for a connection after their intent, where a crash makes them UNKNOWN.
        connections = client.max_connections or concurrency
        self._scheduler = Scheduler(
            workers=self._workers,
            concurrency=min(concurrency, connections),
            hours=calling_hours,
        )
        self._task: asyncio.Task[None] | None = None
        self._readers: set[_Reader] = set()

    # ---- for the caller ------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        identity = Identity(self._client.project_id, self._client.base_url)
        await self._journal.open(identity, running=True)
        try:
            await self._recover()
        except BaseException:
            await self._journal.close()
            raise
        self._task = asyncio.create_task(self._scheduler.run(), name="sinch_qn run")
        self._task.add_done_callback(lambda _: self._tell_readers())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self._drain()
        if kind is None and self._scheduler.failure is not None:
            raise self._scheduler.failure

    async def add(self, numbers: Iterable[str | tuple[str, str | None] | NewNumber]) -> AddReport:
        """Accept *numbers*, each alone or with a ref; they are on disk when this returns.

        One that is in the journal already, in whatever state, changes nothing: only `recall`
        rings again. What is no US or CA number is recorded as INVALID, with the reason.
        """
        if isinstance(numbers, str):
            raise InvalidRequestError("numbers: expected many numbers, not one string")
        added = already = refused = 0
        invalid: list[Invalid] = []
        good: list[Entry] = []
        bad: list[Entry] = []

        async def accept() -> None:
            nonlocal added, already
            self._check_alive()
            new = await self._journal.add(good)
            await self._journal.add(bad)
            added, already = added + new, already + len(good) - new
            good.clear()
            bad.clear()

        for line, item in enumerate(numbers, start=1):
            entry = self._entry(item, line)
            if entry.state is ChallengeState.INVALID:
                bad.append(entry)
                refused += 1
                if len(invalid) < _SHOWN_INVALID:
                    reason = entry.note or ""
                    invalid.append(Invalid(line=entry.line, number=entry.number, reason=reason))
            else:
                good.append(entry)
            if len(good) + len(bad) >= _CHUNK:
                await accept()
        await accept()
        self._scheduler.look_again(Todo.LOOK_UP)
        return AddReport(added=added, already=already, invalid=invalid, invalid_count=refused)

    async def submit_code(self, phone_number: str, code: str) -> Submission:
        """Take the code that a person heard; it is on disk when this returns.

        It may come before the call's own answer, or long after. Raises `InvalidRequestError` for
        a number that was never called, or is settled. The same code twice for a call is one code.
        Codes that still wait when a call's `max_codes` are used up are dropped with it.
        """
        self._check_alive()
        submission, entry = await _submit(self._journal, phone_number, code, self._wall())
        if submission is Submission.ACCEPTED:
            self._pacing.release(phone_number)
            self._publish(Event.CODE, entry)
        self._scheduler.look_again(Todo.VERIFY)
        return submission

    async def recall(self, phone_number: str) -> Entry:
        """Ring *phone_number* again, when its turn comes: "I missed it".

        Allowed while a code is awaited, and from EXPIRED, FAILED and UNKNOWN; anything else is an
        `InvalidRequestError`. Saying it again once that call was made rings once more.
        """
        self._check_alive()
        entry = await recall(self._journal, phone_number, at=self._wall())
        self._publish(Event.RECALL, entry)
        self._scheduler.look_again(Todo.LOOK_UP)
        return entry

    async def result(self, phone_number: str) -> Entry | None:
        """Return where *phone_number* is, with its ref; None if it was never added."""
        return await self._journal.get(check_e164(phone_number))

    async def counts(self) -> Mapping[ChallengeState, int]:
        """Return how many numbers are in each state, exactly."""
        return await self._journal.counts()

    @property
    def rate(self) -> float:
        """Calls a second at the most, as slowed by what Sinch answered; 0 while ringing pauses."""
        return 0.0 if self._pacing.paused else self._pacing.rate

    @property
    def trouble(self) -> SinchError | None:
        """The last call that went without an answer, until one is answered again."""
        return self._workers.trouble

    @property
    def ringing(self) -> int:
        """How many phones ring or wait for their code within the ring window."""
        return self._pacing.ringing

    async def events(self, *, buffer: int = 1000) -> AsyncGenerator[RunEvent, None]:
        """Yield what happens from now on, until the run ends.

        At most *buffer* events wait for a slow reader; older ones are dropped, and the next one
        says how many. Counts are exact in `counts` and in the report, whatever was dropped.
        """
        _check_whole(buffer=buffer)
        reader = _Reader(buffer)
        self._readers.add(reader)
        try:
            while True:
                while reader.waiting:
                    yield reader.take()
                if self._task is None or self._task.done():
                    return
                reader.arrived.clear()
                await reader.arrived.wait()
        finally:
            self._readers.discard(reader)

    async def finish(self) -> RunReport:
        """Wait until every number is settled; return the report.

        Raises what stopped the run, if something did: `AuthenticationError`, `JournalError`, ….
        """
        if self._task is None:
            raise InvalidRequestError("a run is finished inside its 'async with'")
        self._scheduler.look_again(*Todo)
        settled = asyncio.ensure_future(self._scheduler.settled.wait())
        try:
            await asyncio.wait({settled, self._task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            settled.cancel()
        if self._scheduler.failure is not None:
            raise self._scheduler.failure
        return RunReport(counts=await self._journal.counts(), journal=self._journal)

    # ---- life ----------------------------------------------------------------------------------

    async def _recover(self) -> None:
        """Take up what the last process left: an intent without an outcome is UNKNOWN."""
        now, ticks = self._wall(), asyncio.get_running_loop().time()
        changes = [
            Change(
                number=entry.number,
                event=Event.CALL_UNKNOWN
                if entry.state is ChallengeState.CALLING
                else Event.VERIFY_UNKNOWN,
                at=now,
                window=self._workers.code_timeout,
                note=outcomes.LOST if entry.state is ChallengeState.CALLING else None,
            )
            for entry in await self._journal.open_intents()
        ]
        await self._journal.apply(changes)
        for entry in await self._journal.called_since(now - self._pacing.ring_window):
            if entry.state in _MAY_RING and not entry.codes_used and not entry.codes_waiting:
                age = max(0.0, now - (entry.called_at or now))
                self._pacing.restore(entry.number, ticks + self._pacing.ring_window - age)

    async def _drain(self) -> None:
        """Let what is in flight finish, start nothing new, and close the journal."""
        self._scheduler.leave()
        task = self._task
        try:
            if task is not None:
                await asyncio.wait([task], timeout=self._drain_timeout)
        finally:
            try:
                if task is not None and not task.done():
                    task.cancel()
                    await asyncio.wait([task])
            finally:
                await self._journal.close()

    def _publish(self, event: Event, entry: Entry) -> None:
        for reader in self._readers:
            reader.put(
                RunEvent(
                    what=event.value,
                    number=entry.number,
                    ref=entry.ref,
                    state=entry.state,
                    attempt=entry.attempt,
                    note=entry.note,
                )
            )

    def _tell_readers(self) -> None:
        for reader in self._readers:
            reader.arrived.set()

    def _check_alive(self) -> None:
        if self._scheduler.failure is not None:
            raise self._scheduler.failure
        if self._task is None or self._workers.leaving.is_set():
            raise InvalidRequestError("a run is used inside its 'async with'")

    def _entry(self, item: object, line: int) -> Entry:
        """Return the entry for something that was added, INVALID with the reason if need be."""
        if isinstance(item, tuple) and len(item) == 2:
            item = NewNumber(number=item[0], ref=item[1])
        new = item if isinstance(item, NewNumber) else NewNumber(number=item)  # type: ignore[arg-type]
        for name, text in (("ref", new.ref), ("problem", new.problem)):
            if text is not None and not (isinstance(text, str) and _is_text(text)):
                raise InvalidRequestError(f"{name}: expected text, not {text!r}")
        at = new.line if new.line is not None else line
        problem = new.problem or self._problem(new.number)
        if problem is None:
            return Entry(number=new.number, ref=new.ref, line=at, region=region_of(new.number))
        text = str(new.number)[:100].encode(errors="backslashreplace").decode()
        return Entry(
            # Each bad line of a file is a row of its own, also where two say the same.
            number=text if new.line is None else f"{text} (line {new.line})",
            ref=new.ref,
            line=at,
            state=ChallengeState.INVALID,
            note=problem,
            settled_at=self._wall(),
        )

    def _problem(self, number: object) -> str | None:
        try:
            e164 = check_e164(number, "number")
        except InvalidRequestError as error:
            return error.message
        if region_of(e164) is None:
            return "only US and CA numbers can be qualified, and +1 is not always one of them"
        if self._scheduler.hours is not None and not self._scheduler.hours.zones(e164):
            return "its time zone is not known: calling hours need a default_zone for it"
        return None


_MAY_RING = frozenset(
    {
        ChallengeState.PENDING,  # recalled
        ChallengeState.AWAITING_CODE,
        ChallengeState.UNKNOWN,
        ChallengeState.EXPIRED,
    }
)


def _check_above_zero(**values: object) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
            raise InvalidRequestError(f"{name}: {value!r} is not a number above 0")


def _check_whole(**values: object) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1e9:
            raise InvalidRequestError(f"{name}: {value!r} is not a whole number from 1")


def _is_text(value: str) -> bool:
    """Say whether *value* can be stored: half of a surrogate pair cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Reader:
    """One reader of events, which may be slow."""

    def __init__(self, buffer: int) -> None:
        self.waiting: deque[RunEvent] = deque()
        self.arrived = asyncio.Event()
        self._buffer = buffer
        self._dropped = 0

    def put(self, event: RunEvent) -> None:
        if len(self.waiting) >= self._buffer:
            self.waiting.popleft()
            self._dropped += 1
        self.waiting.append(event)
        self.arrived.set()

    def take(self) -> RunEvent:
        event = self.waiting.popleft()
        if self._dropped:
            event = attrs.evolve(event, dropped=self._dropped)
            self._dropped = 0
        return event


async def submit_code(
    journal: Journal, phone_number: str, code: str, *, at: float | None = None
) -> Submission:
    """Put a code into an open *journal*, from any process; on disk when this returns.

    Raises `InvalidRequestError` for a number that takes no code. (As `run.submit_code`.)
    """
    submission, _ = await _submit(journal, phone_number, code, time.time() if at is None else at)
    return submission


async def _submit(
    journal: Journal, phone_number: str, code: str, at: float
) -> tuple[Submission, Entry]:
    number, code = check_e164(phone_number), check_code(code)
    submission, entry = await journal.submit_code(number, code, at)
    if submission is Submission.REFUSED or entry is None:
        where = "is not in this run" if entry is None else f"is {entry.state.value}"
        if entry is not None and entry.state is ChallengeState.PENDING:
            where = "was not called yet"
        raise InvalidRequestError(f"phone_number: {mask(number)} {where}: it takes no code")
    return submission, entry


async def recall(journal: Journal, phone_number: str, *, at: float | None = None) -> Entry:
    """Ask in an open *journal*, from any process, for another call. (As `run.recall`.)"""
    number = check_e164(phone_number)
    now = time.time() if at is None else at
    note = "a person asked for another call"
    (entry,) = await journal.apply([Change(number=number, event=Event.RECALL, at=now, note=note)])
    if entry is None:
        known = await journal.get(number)
        where = "is not in this run" if known is None else f"is {known.state.value}"
        raise InvalidRequestError(f"phone_number: {mask(number)} {where}: it cannot be recalled")
    return entry
