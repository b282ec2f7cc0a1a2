"""The run's scheduler: one loop that starts a step for each number that is due.

A number that waits has a row in the journal and nothing else: no task, no timer, no connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeAlias

import attrs

from sinch_qn.bulk.calling_hours import CallingHours
from sinch_qn.bulk.chores import Listing, Probe
from sinch_qn.bulk.due_numbers import POLL, DueNumbers
from sinch_qn.bulk.journal.protocol import Journal
from sinch_qn.bulk.journal_watch import JournalWatch
from sinch_qn.bulk.outcomes import is_fatal, is_unanswered
from sinch_qn.bulk.pacing import Pacing
from sinch_qn.bulk.rate_ceiling import CallTimes, RateCeiling
from sinch_qn.bulk.refusals import Refusals
from sinch_qn.bulk.states import Change, Entry, Event, Todo
from sinch_qn.bulk.steps import StepResult, Steps
from sinch_qn.errors import SinchError

_log = logging.getLogger("sinch_qn")

_MAX_ADD = 500
"""Numbers in one addNumbers request, as many as Sinch's dashboard takes."""

_Step: TypeAlias = Callable[[Entry], Awaitable[StepResult]]

_NO_EVENT = frozenset({Event.LOOKED_UP, Event.POSTPONED})
"""Changes that are not published."""


@attrs.define(kw_only=True, eq=False)
class Scheduler:
    """Starts steps, at most *concurrency* at once, and acts on their results."""

    steps: Steps
    journal: Journal
    pacing: Pacing
    concurrency: int
    """No more than connections: a call that waited for one after its intent would be UNKNOWN after
    a crash."""
    hours: CallingHours | None
    publish: Callable[[Event, Entry], None]
    fatal_error: BaseException | None = None
    """The error that stopped the run."""
    ceiling: RateCeiling | None = None
    """Why the rate cannot be reached, once that is known."""
    stopping: asyncio.Event = attrs.field(factory=asyncio.Event)
    """Set once nothing new may start."""
    idle: asyncio.Event = attrs.field(factory=asyncio.Event)
    """Set while there is nothing left to do for any number."""
    _probe: Probe = attrs.field(init=False)
    _listing: Listing = attrs.field(init=False)
    _watch: JournalWatch = attrs.field(init=False)
    _due: DueNumbers = attrs.field(init=False)
    _wake: asyncio.Event = attrs.field(factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = attrs.field(factory=set)
    _looking_up: int = 0
    _adding_singly: bool = False
    _missing: deque[Entry] = attrs.field(factory=deque)
    """Numbers to be added to the project, many at a time."""
    _refused_together: deque[Entry] = attrs.field(factory=deque)  # to be added one by one
    _call_times: CallTimes = attrs.field(init=False)
    _refusals: Refusals = attrs.field(factory=Refusals)

    def __attrs_post_init__(self) -> None:
        self._probe = Probe(steps=self.steps, stopping=self.stopping)
        self._listing = Listing(
            steps=self.steps, journal=self.journal, publish=self.publish, stopping=self.stopping
        )
        self._call_times = CallTimes(calls_per_second=self.pacing.calls_per_second)
        self._watch = JournalWatch(self.journal, self.steps.clock)
        self._due = DueNumbers(journal=self.journal, clock=self.steps.clock)

    @property
    def last_error(self) -> SinchError | None:
        """The error of the last call without a response; None once Sinch responds again."""
        return self._probe.last_error

    async def run(self) -> None:
        """Start what is due until the run is stopped or cannot go on."""
        try:
            async with asyncio.TaskGroup() as group:
                while not self.stopping.is_set():
                    await self._watch.check()
                    if not await self._start_due(group):
                        await self._wait()
        except* Exception as failures:  # noqa: BLE001 - kept, and raised to whoever waits
            self.fatal_error = self.fatal_error or _first(failures)

    def stop(self) -> None:
        """Start nothing new; the run ends when what is in flight has finished."""
        self.stopping.set()
        self._wake.set()

    def abort(self, error: BaseException) -> None:
        """Stop the run because of *error*."""
        self.fatal_error = self.fatal_error or error
        self.stop()

    def wake(self, *todos: Todo) -> None:
        """Poll for *todos* at once."""
        self.idle.clear()
        self._due.poll(todos)
        self._wake.set()

    # ---- what to start -------------------------------------------------------------------------

    async def _start_due(self, group: asyncio.TaskGroup) -> bool:
        """Start steps for what is due; return whether any was started."""
        if self.pacing.paused:
            if not self._probe.is_running:
                self._probe.is_running = True
                self._start(group, self._probe_and_resume)
            return False
        if self._due.must_poll(Todo.LOOK_UP) and await self._listing.may_be_cheaper():
            self._listing.is_running = True
            self._start(group, self._list)
        started = self._start_adding(group)
        work: tuple[tuple[Todo, Callable[[Entry], Coroutine[Any, Any, None]]], ...] = (
            (Todo.VERIFY, partial(self._take, self._verify)),
            (Todo.RESOLVE, partial(self._take, self.steps.resolve)),
            (Todo.EXPIRE, partial(self._take, self.steps.expire)),
            (Todo.LOOK_UP, self._look_up),
        )
        for todo, take in work:
            if todo is Todo.LOOK_UP and self._listing.is_running:
                continue
            while self._has_room and (entry := await self._due.next(todo)):
                self._start(group, partial(take, entry), entry.number)
                started = True
        return await self._start_calling(group) or started

    @property
    def _has_room(self) -> bool:
        return len(self._tasks) < self.concurrency

    async def _start_calling(self, group: asyncio.TaskGroup) -> bool:
        """Start the calls that slots, pace and calling hours permit now."""
        started = False
        clock = asyncio.get_running_loop().time
        while self._has_room and self.pacing.wait(clock()) == 0:
            # No more than can ring at once: a recall must not wait behind fetched numbers.
            entry = await self._due.next(Todo.CALL, most=self.pacing.max_ringing)
            if entry is None:
                break
            step: _Step = self._call
            closed = self.hours.opens_in(entry.number, self.steps.clock()) if self.hours else 0
            if closed:
                note = "outside its calling hours"
                step = partial(self.steps.postpone, seconds=closed, note=note)
            else:
                self.pacing.reserve(entry.number, clock())
            self._start(group, partial(self._take, step, entry), entry.number)
            started = True
        return started

    def _start_adding(self, group: asyncio.TaskGroup) -> bool:
        """Start adding missing numbers, in as few requests as possible."""
        if self._refused_together and not self._adding_singly:
            self._adding_singly = True
            numbers = [entry.number for entry in self._refused_together]
            self._start(group, self._add_singly, *numbers)
        listing = self._listing.is_running
        more_to_come = listing or self._due.has_fetched(Todo.LOOK_UP) or self._looking_up
        if not self._missing or (len(self._missing) < _MAX_ADD and more_to_come):
            return False
        batch = [self._missing.popleft() for _ in range(min(_MAX_ADD, len(self._missing)))]
        self._start(group, partial(self._add, batch), *(entry.number for entry in batch))
        return True

    def _start(
        self,
        group: asyncio.TaskGroup,
        work: Callable[[], Coroutine[Any, Any, None]],
        *numbers: str,
    ) -> None:
        # A function, not a coroutine: a task that is cancelled before it starts awaits nothing.
        async def guarded() -> None:
            try:
                await work()
            except SinchError as error:
                self.abort(error)

        def finished(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._due.finished(numbers)
            self._wake.set()

        self._due.busy.update(numbers)
        task = group.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(finished)

    async def _wait(self) -> None:
        """Wait until something happens or is due; note whether the run is idle."""
        self._wake.clear()
        adding = self._missing or self._refused_together
        if not (self._due.busy or adding or self._listing.is_running):
            if await self.journal.next_due() is None:
                if not self._wake.is_set():  # else something came after the journal was read
                    self.idle.set()
            else:
                self.idle.clear()
        if not self._wake.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(POLL, self._next_call_in())):
                    await self._wake.wait()

    def _next_call_in(self) -> float:
        """Return the seconds until another call may be started; infinity: not by time alone."""
        turn = self.pacing.wait(asyncio.get_running_loop().time())
        if turn is None or not self._has_room:
            return math.inf
        return max(0.0, turn, self._due.poll_in(Todo.CALL))

    # ---- steps, and their results --------------------------------------------------------------

    async def _take(self, step: _Step, entry: Entry) -> None:
        await self._act_on(entry.number, await step(entry))

    async def _look_up(self, entry: Entry) -> None:
        self._looking_up += 1  # until its result is acted on: it may be one more to add
        try:
            await self._take(self.steps.look_up, entry)
        finally:
            self._looking_up -= 1

    async def _act_on(self, number: str, result: StepResult) -> None:
        """Tell pacing, commit, publish, wake what became due; raise a fatal error."""
        request, response, delay = result.request, result.response, None
        if request is not None:
            delay = self.pacing.observe(number, request, response)
        if request is Todo.CALL and is_unanswered(response):
            self._probe.last_error = response
        for change in result.changes:
            due = change.due if delay is None else change.at + delay
            await self._commit(attrs.evolve(change, due=due))
        self._missing.extend(result.missing)
        self._refused_together.extend(result.refused_together)
        taken_back = self._refusals.observe(request, response, result.take_back)
        for change in taken_back:
            await self._commit(change)
        if isinstance(response, SinchError) and (taken_back or is_fatal(response)):
            raise response

    async def _commit(self, change: Change) -> None:
        (entry,) = await self.journal.apply([change])
        if entry is None:
            return
        if change.event not in _NO_EVENT:
            self.publish(change.event, entry)
        if entry.due <= change.at:
            self._due.became_due(entry)
            self.wake()

    async def _call(self, entry: Entry) -> StepResult:
        number, clock = entry.number, asyncio.get_running_loop().time
        started = clock()
        try:
            result = await self.steps.call(
                entry, on_intent=lambda: self.pacing.call_started(number, clock())
            )
            if self.ceiling is None and result.request is Todo.CALL:
                self._note_time(clock() - started)
            return result
        finally:
            self.pacing.call_finished(number)

    def _note_time(self, seconds: float) -> None:
        limit = None
        if self.pacing.holds_back:
            limit = "max_unknown", self.pacing.max_unknown
        elif not self._has_room:
            limit = "concurrency", self.concurrency
        self.ceiling = self._call_times.observe(seconds, limit)
        if self.ceiling is not None:
            _log.warning("project %s: %s", self.steps.client.project_id, self.ceiling)

    async def _verify(self, entry: Entry) -> StepResult:
        self.pacing.release(entry.number)
        return await self.steps.verify(entry)

    async def _add(self, entries: Sequence[Entry]) -> None:
        await self._act_on("", await self.steps.add(entries))

    async def _add_singly(self) -> None:
        """Add the numbers that were refused together, one after the other."""
        try:
            while self._refused_together and not self.stopping.is_set():
                await self._add([self._refused_together.popleft()])
        finally:
            self._adding_singly = False

    async def _list(self) -> None:
        try:
            await self._listing.run()
        finally:
            self.wake(Todo.LOOK_UP, Todo.CALL)

    async def _probe_and_resume(self) -> None:
        if await self._probe.run():
            self.pacing.resume(asyncio.get_running_loop().time())


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first single failure in *failures*."""
    failure: BaseException = failures
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure
