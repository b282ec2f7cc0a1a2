"""The run's scheduler: one loop that starts a step for each number that is due.

A number that waits has a row in the journal and nothing else: no task, no timer, no connection.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import attrs

from sinch_qn.bulk.calling_hours import CallingHours
from sinch_qn.bulk.calls import Calls
from sinch_qn.bulk.chores import Listing, Probe
from sinch_qn.bulk.due_numbers import POLL, DueNumbers
from sinch_qn.bulk.journal.protocol import Journal
from sinch_qn.bulk.journal_watch import JournalWatch
from sinch_qn.bulk.outcomes import is_fatal, is_unanswered
from sinch_qn.bulk.pacing import CallResult, Responses
from sinch_qn.bulk.permits import Permits
from sinch_qn.bulk.rate_ceiling import RateCeiling
from sinch_qn.bulk.refusals import Refusals
from sinch_qn.bulk.states import LOOK_UPS, Change, Entry, Event, Todo
from sinch_qn.bulk.steps import StepResult, Steps
from sinch_qn.errors import JournalError, SinchError

_MAX_ADD = 500
"""Numbers in one addNumbers request, as many as Sinch's dashboard takes."""

_NO_EVENT = frozenset({Event.LOOKED_UP, Event.POSTPONED})
"""Changes that are not published."""


@attrs.define(kw_only=True, eq=False)
class Scheduler:
    """Starts steps, at most *concurrency* at once, and acts on their results."""

    steps: Steps
    journal: Journal
    concurrency: int
    """No more than connections: a call that waited for one after its intent would be UNKNOWN after
    a crash."""
    hours: CallingHours | None
    publish: Callable[[Event, Entry], None]
    responses: Responses = attrs.field(factory=Responses)
    fatal_error: BaseException | None = None
    """The error that stopped the run."""
    stopping: asyncio.Event = attrs.field(factory=asyncio.Event)
    """Set once nothing new may start."""
    idle: asyncio.Event = attrs.field(factory=asyncio.Event)
    """Set while there is nothing left to do for any number."""
    _probe: Probe = attrs.field(init=False)
    _listing: Listing = attrs.field(init=False)
    _watch: JournalWatch = attrs.field(init=False)
    _calls: Calls = attrs.field(init=False)
    _due: DueNumbers = attrs.field(init=False)
    _wake: asyncio.Event = attrs.field(factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = attrs.field(factory=set)
    _is_reading: bool = False
    _looking_up: int = 0
    _adding_singly: bool = False
    _missing: deque[Entry] = attrs.field(factory=deque)
    """Numbers to be added to the project, many at a time."""
    _refused_together: deque[Entry] = attrs.field(factory=deque)  # to be added one by one
    _refusals: Refusals = attrs.field(factory=Refusals)

    def __attrs_post_init__(self) -> None:
        self._probe = Probe(steps=self.steps, stopping=self.stopping)
        self._listing = Listing(steps=self.steps, publish=self.publish, stopping=self.stopping)
        self._watch = JournalWatch(
            self.journal,
            window=self.steps.settings.code_timeout,
            publish=self.publish,
            on_news=partial(self.wake, *LOOK_UPS, Todo.VERIFY, Todo.CALL),
        )
        self._due = DueNumbers(journal=self.journal)
        self._calls = Calls(
            steps=self.steps,
            journal=self.journal,
            opens_in=None if self.hours is None else self.hours.opens_in,
            wake=self._wake.set,
        )

    @property
    def permits(self) -> Permits:
        """What the journal permitted last."""
        return self._calls.permits

    @property
    def ceiling(self) -> RateCeiling | None:
        """Why the rate cannot be reached, once that is known."""
        return self._calls.ceiling

    @property
    def last_error(self) -> SinchError | None:
        """The error of the last call without a response; None once Sinch responds again."""
        return self._probe.last_error

    async def run(self) -> None:
        """Start what is due until the run is stopped or cannot go on."""
        try:
            await self._watch.check()  # before this run has intents of its own
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._watch.run())
                while not self.stopping.is_set():
                    started = await self._start_due(group)
                    if self.permits.stopped is not None and not self.stopping.is_set():
                        reason = self.permits.stopped
                        self.abort(JournalError(f"another runner stopped this run: {reason}"))
                    elif not started:
                        await self._wait()
                self._calls.end()
                watching.cancel()
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
        if Todo.CALL in todos or Todo.REQUESTED_CALL in todos:
            self._calls.poll()
        self._wake.set()

    def code_arrived(self, entry: Entry, now: float) -> None:
        """Note that a code of *entry* was submitted here, so that it need not be polled for."""
        if entry.todo is Todo.VERIFY and entry.due <= now:
            self._due.code_arrived()
        self.wake(Todo.CALL)  # its slot is free

    # ---- what to start -------------------------------------------------------------------------

    async def _start_due(self, group: asyncio.TaskGroup) -> bool:
        """Start steps for what is due; return whether any was started."""
        if self.permits.paused:
            await self._calls.ask(0)
            if self.permits.paused and await self._probe.begin():
                self._start(group, self._probe_and_resume)
            return not self.permits.paused
        self._start_reading(group)
        started = self._start_adding(group)
        while self._room > 0 and self._due.has_code():
            self._due.taking += 1
            self._start(group, self._verify)
            started = True
        # One place has no half: calls go first, and leave it to look-ups between their turns.
        last = (Todo.CALL, *LOOK_UPS) if self.concurrency == 1 else (*LOOK_UPS, Todo.CALL)
        for todo in (Todo.RESOLVE, Todo.EXPIRE, *last):
            started |= await self._start_taking(group, todo)
        return started

    async def _start_taking(self, group: asyncio.TaskGroup, todo: Todo) -> bool:
        """Start what is due of *todo*, as far as there is room; return whether there was any."""
        started = False
        if todo is Todo.CALL:
            started = await self._calls.ask(self._room)
            for _ in range(self._calls.reserve(self._room)):
                self._start(group, self._call)
                started = True
        while self._has_room_for(todo) and (entry := self._due.next(todo)):  # never a call
            self._looking_up += todo in LOOK_UPS
            self._start(group, partial(self._take, todo, entry))
            started = True
        return started

    @property
    def _room(self) -> int:
        """How many steps may start; a prepared call that waits for its turn is none."""
        return self.concurrency - len(self._tasks) + self._calls.waiting

    def _has_room_for(self, todo: Todo) -> bool:
        """Return whether a step may start; look-ups leave half of the room to calls."""
        if todo is Todo.LOOK_UP and self._listing.is_running:
            return False
        if todo in LOOK_UPS and self.permits.due and self._looking_up >= self.concurrency / 2:
            return False
        return self._room > 0

    def _start_reading(self, group: asyncio.TaskGroup) -> None:
        """Have the journal read for what may start: calls do not wait for it meanwhile."""
        todos = [todo for todo in self._due.to_read() if self._has_room_for(todo)]
        if todos and not self._is_reading:
            self._is_reading = True
            group.create_task(self._read(group, todos))

    async def _read(self, group: asyncio.TaskGroup, todos: list[Todo]) -> None:
        try:
            if await self._due.is_any_due(todos):
                if Todo.LOOK_UP in todos and await self._listing.begin():
                    todos.remove(Todo.LOOK_UP)
                    self._start(group, self._list)
                await self._due.claim(todos)
                self._wake.set()
        finally:
            self._is_reading = False

    def _start_adding(self, group: asyncio.TaskGroup) -> bool:
        """Start adding missing numbers, in as few requests as possible."""
        if self._refused_together and not self._adding_singly:
            self._adding_singly = True
            self._start(group, self._add_singly)
        listing = self._listing.is_running
        more_to_come = listing or self._due.has_claimed(*LOOK_UPS) or self._looking_up
        if not self._missing or (len(self._missing) < _MAX_ADD and more_to_come):
            return False
        batch = [self._missing.popleft() for _ in range(min(_MAX_ADD, len(self._missing)))]
        self._start(group, partial(self._add, batch))
        return True

    def _start(
        self, group: asyncio.TaskGroup, work: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        # A function, not a coroutine: a task that is cancelled before it starts awaits nothing.
        async def guarded() -> None:
            try:
                await work()
            except SinchError as error:
                self.abort(error)
                if not isinstance(error, JournalError):
                    await self.journal.stop_run(str(error))

        def finished(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._wake.set()

        task = group.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(finished)

    async def _wait(self) -> None:
        """Wait until something happens or is due; note whether the run is idle."""
        self._wake.clear()
        if not self._is_busy:
            if await self.journal.open_numbers():
                self.idle.clear()
            elif not self._wake.is_set():  # else something came after the journal was read
                self.idle.set()
        if not self._wake.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(POLL, self._calls.next_in(self._room))):
                    await self._wake.wait()

    @property
    def _is_busy(self) -> bool:
        working = len(self._tasks) > self._calls.waiting
        adding = self._missing or self._refused_together
        return bool(working or adding or self._due.has_claimed())

    # ---- steps, and their results --------------------------------------------------------------

    async def _take(self, todo: Todo, entry: Entry) -> None:
        others = {Todo.RESOLVE: self.steps.resolve, Todo.EXPIRE: self.steps.expire}
        try:
            await self._act_on(await others.get(todo, self.steps.look_up)(entry))
        finally:  # its result is acted on: it may be one more to add
            self._looking_up -= todo in LOOK_UPS

    async def _act_on(self, result: StepResult, slot: int | None = None) -> None:
        """Tell the pace, commit, publish, wake what became due; raise a fatal error."""
        request, response, delay, told = result.request, result.response, None, None
        if request is not None:
            told, delay = self.responses.observe(result.number, request, response)
        self._calls.tell(told, slot)
        if request is Todo.CALL and is_unanswered(response):
            self._probe.last_error = response
        changes = result.changes
        if delay is not None:
            changes = [attrs.evolve(change, due=change.at + delay) for change in changes]
        await self._commit(changes)
        self._missing.extend(result.missing)
        self._refused_together.extend(result.refused_together)
        taken_back = self._refusals.observe(request, response, result.take_back)
        await self._commit(taken_back)
        if isinstance(response, SinchError) and (taken_back or is_fatal(response)):
            raise response

    async def _commit(self, changes: Sequence[Change]) -> None:
        """Commit *changes* at once: a cancellation leaves none of them out."""
        if not changes:
            return
        for change, entry in zip(changes, await self.journal.apply(changes), strict=True):
            if entry is None:
                continue
            if change.event not in _NO_EVENT:
                self.publish(change.event, entry)
            if entry.todo is not Todo.NOTHING and entry.due <= change.at:
                self.wake(entry.todo)

    async def _call(self) -> None:
        await self._act_on(*await self._calls.make_one(self.concurrency))

    async def _verify(self) -> None:
        with contextlib.ExitStack() as untaken:
            untaken.callback(self._due.taken)
            result = await self.steps.verify(on_intent=untaken.close)
        if result.request is Todo.NOTHING:
            self._due.delay_codes()
        await self._act_on(result)

    async def _add(self, entries: Sequence[Entry]) -> None:
        await self._act_on(await self.steps.add(entries))

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
            self.wake(*LOOK_UPS, Todo.CALL)

    async def _probe_and_resume(self) -> None:
        if await self._probe.run():
            self._calls.tell(CallResult.REACHABLE)
            self._calls.poll()
        await self.journal.chore("probe", 0.0)


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first single failure in *failures*."""
    failure: BaseException = failures
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure
