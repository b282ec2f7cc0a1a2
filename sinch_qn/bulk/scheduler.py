"""When a run asks what: one loop that looks at what is due and starts a worker for it.

A number that waits has a row in the journal and nothing else: no task, no timer, no connection.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import attrs

from sinch_qn.bulk.calling_hours import CallingHours
from sinch_qn.bulk.states import Entry, Todo
from sinch_qn.bulk.workers import Workers
from sinch_qn.errors import SinchError

_POLL = 0.25
"""Seconds between two looks for what other processes put into the journal."""

_BUFFER = 200
"""Entries fetched from the journal at a time, to be started as their turn comes."""

_LIST_FROM = 50
"""Numbers to be looked up from which on a listing may be cheaper."""

_MAX_ADD = 500
"""Numbers in one addNumbers request, as many as Sinch's dashboard takes."""


@attrs.define(kw_only=True, eq=False)
class Scheduler:
    """Starts workers, at most *concurrency* at once."""

    workers: Workers
    concurrency: int
    hours: CallingHours | None
    failure: BaseException | None = None
    """What stopped the run."""
    settled: asyncio.Event = attrs.field(factory=asyncio.Event)
    """Set while there is nothing left to do for any number."""
    _wake: asyncio.Event = attrs.field(factory=asyncio.Event)
    _buffers: dict[Todo, deque[Entry]] = attrs.field(init=False)
    _look_at: dict[Todo, float] = attrs.field(factory=dict)
    _busy: set[str] = attrs.field(factory=set)
    _tasks: set[asyncio.Task[None]] = attrs.field(factory=set)
    _probing: bool = False
    _listing: bool = False
    _list_at: float = 0.0

    def __attrs_post_init__(self) -> None:
        self.workers.look_again = self.look_again

    @_buffers.default
    def _empty_buffers(self) -> dict[Todo, deque[Entry]]:
        return {todo: deque() for todo in Todo}

    async def run(self) -> None:
        """Start what is due until the run is left or cannot go on."""
        try:
            async with asyncio.TaskGroup() as group:
                while not self.workers.leaving.is_set():
                    if not await self._start_due(group):
                        await self._wait()
        except* Exception as failures:  # noqa: BLE001 - kept, and raised to whoever waits
            self.failure = self.failure or _first(failures)

    async def _start_due(self, group: asyncio.TaskGroup) -> bool:
        """Start workers for what is due; say whether any was started."""
        if self.workers.pacing.paused:
            if not self._probing:
                self._probing = True
                self._start(group, self._probe)
            return False
        if await self._should_list():
            self._listing = True
            self._start(group, self._list)
        started = await self._start_adding(group)
        for todo, work in (
            (Todo.VERIFY, self.workers.verify),
            (Todo.RESOLVE, self.workers.look),
            (Todo.EXPIRE, self.workers.expire),
            (Todo.LOOK_UP, self.workers.learn),
        ):
            while len(self._tasks) < self.concurrency and (entry := await self._due(todo)):
                self._start(group, partial(work, entry), entry.number)
                started = True
        return await self._start_ringing(group) or started

    async def _start_ringing(self, group: asyncio.TaskGroup) -> bool:
        """Start the calls that slots, pace and calling hours permit now."""
        started = False
        clock = asyncio.get_running_loop().time
        while len(self._tasks) < self.concurrency and self.workers.pacing.wait(clock()) == 0:
            entry = await self._due(Todo.CALL)
            if entry is None:
                break
            closed = self.hours.opens_in(entry.number, self.workers.wall()) if self.hours else 0
            if closed:
                held = partial(self.workers.later, entry, closed, "outside its calling hours")
                self._start(group, held, entry.number)
            else:
                self.workers.pacing.take(entry.number, clock())
                self._start(group, partial(self.workers.ring, entry), entry.number)
            started = True
        return started

    async def _start_adding(self, group: asyncio.TaskGroup) -> bool:
        """Start adding what is missing, in as few requests as can be."""
        missing = self.workers.missing
        learning = self._listing or self._buffers[Todo.LOOK_UP] or self.workers.learning
        if not missing or (len(missing) < _MAX_ADD and learning):
            return False
        batch = missing[:_MAX_ADD]
        del missing[:_MAX_ADD]
        self._start(group, partial(self.workers.add, batch), *(entry.number for entry in batch))
        return True

    async def _probe(self) -> None:
        try:
            await self.workers.probe()
        finally:
            self._probing = False

    async def _list(self) -> None:
        try:
            await self.workers.list()
        finally:
            self._listing = False
            clock = asyncio.get_running_loop().time()
            self._list_at = clock + self.workers.recheck
            self.look_again(Todo.LOOK_UP, Todo.CALL)

    def _start(
        self,
        group: asyncio.TaskGroup,
        work: Callable[[], Coroutine[Any, Any, None]],
        *numbers: str,
    ) -> None:
        async def worker() -> None:
            try:
                await work()
            except SinchError as error:
                self.fail(error)

        def finished(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._busy.difference_update(numbers)
            self._wake.set()

        self._busy.update(numbers)
        task = group.create_task(worker())
        self._tasks.add(task)
        task.add_done_callback(finished)

    def fail(self, error: BaseException) -> None:
        """Stop the run because of *error*: what is in flight finishes, nothing new starts."""
        self.failure = self.failure or error
        self.leave()

    def leave(self) -> None:
        """Start nothing new; the run ends when what is in flight has finished."""
        self.workers.leaving.set()
        self._wake.set()

    async def _due(self, todo: Todo) -> Entry | None:
        """Return the next entry to work on, fetching some from the journal when it is time to."""
        buffer = self._buffers[todo]
        clock = asyncio.get_running_loop().time()
        if not buffer and clock >= self._look_at.get(todo, 0.0):
            if todo is Todo.LOOK_UP and self._listing:
                return None
            # No more than can ring at once: a recall must not wait behind what is only buffered.
            most = self.workers.pacing.max_ringing if todo is Todo.CALL else _BUFFER
            limit = min(_BUFFER, most) + len(self._busy)
            picked = await self.workers.journal.due(todo, self.workers.wall(), limit)
            buffer.extend(entry for entry in picked if entry.number not in self._busy)
            self._busy.update(entry.number for entry in buffer)
            if not buffer:
                self._look_at[todo] = clock + _POLL
        return buffer.popleft() if buffer else None

    def look_again(self, *todos: Todo) -> None:
        """Have the scheduler look for *todos* at once."""
        self.settled.clear()
        for todo in todos:
            self._look_at.pop(todo, None)
        self._wake.set()

    async def _wait(self) -> None:
        """Wait until something happens or is due; note whether all is settled."""
        self._wake.clear()
        timeout = _POLL
        if self._buffers[Todo.CALL]:
            clock = asyncio.get_running_loop().time()
            timeout = min(timeout, self.workers.pacing.wait(clock) or timeout)
        if not (self._busy or self.workers.missing or self._listing):
            if await self.workers.journal.next_due() is None:
                if not self._wake.is_set():  # else it was read before something came
                    self.settled.set()
            else:
                self.settled.clear()
        if not self._wake.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._wake.wait()

    async def _should_list(self) -> bool:
        """Say whether so many numbers are to be looked up that listing may be cheaper."""
        clock = asyncio.get_running_loop().time()
        if self._listing or clock < max(self._list_at, self._look_at.get(Todo.LOOK_UP, 0.0)):
            return False
        if self._buffers[Todo.LOOK_UP]:
            return False
        due = await self.workers.journal.due(Todo.LOOK_UP, self.workers.wall(), _LIST_FROM)
        return len(due) >= _LIST_FROM


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first single failure in *failures*."""
    failure: BaseException = failures
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure
