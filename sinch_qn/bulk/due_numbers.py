"""The numbers that are due: fetched from the journal in advance, one step at a time for each."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

import attrs

from sinch_qn.bulk.journal.protocol import Journal
from sinch_qn.bulk.states import Entry, Todo

POLL = 0.25
"""Seconds between two polls for what other processes write into the journal."""

_BUFFER = 200
"""Entries fetched from the journal at a time, to be started as their turn comes."""


@attrs.define(kw_only=True, eq=False)
class DueNumbers:
    """Hands out due numbers; a number is busy from its fetch until its step has finished."""

    journal: Journal
    clock: Callable[[], float]
    busy: set[str] = attrs.field(factory=set)
    _fetched: dict[Todo, deque[Entry]] = attrs.field(factory=lambda: {t: deque() for t in Todo})
    _next_poll: dict[Todo, float] = attrs.field(factory=dict)
    _due_again: dict[str, Todo] = attrs.field(factory=dict)
    """What became due for busy numbers: a poll before their step has finished misses them."""

    async def next(self, todo: Todo, *, most: int = _BUFFER) -> Entry | None:
        """Return the next entry to work on; fetch up to *most* when a poll is due."""
        fetched = self._fetched[todo]
        if self.must_poll(todo):
            limit = min(_BUFFER, most) + len(self.busy)
            due = await self.journal.due(todo, self.clock(), limit)
            fetched.extend(entry for entry in due if entry.number not in self.busy)
            self.busy.update(entry.number for entry in fetched)
            if not fetched:
                self._next_poll[todo] = asyncio.get_running_loop().time() + POLL
        return fetched.popleft() if fetched else None

    def has_fetched(self, todo: Todo) -> bool:
        """Return whether entries with *todo* are fetched."""
        return bool(self._fetched[todo])

    def must_poll(self, todo: Todo) -> bool:
        """Return whether `next` would read the journal."""
        return not self._fetched[todo] and self.poll_in(todo) <= 0.0

    def poll_in(self, todo: Todo) -> float:
        """Return the seconds until `next` may have an entry with *todo*; not above 0: now."""
        if self._fetched[todo]:
            return 0.0
        return self._next_poll.get(todo, 0.0) - asyncio.get_running_loop().time()

    def poll(self, todos: Iterable[Todo]) -> None:
        """Poll for *todos* at once."""
        for todo in todos:
            self._next_poll.pop(todo, None)

    def became_due(self, entry: Entry) -> None:
        """Poll for what is due for *entry*: at once, or once its step has finished."""
        if entry.number in self.busy:
            self._due_again[entry.number] = entry.todo
        else:
            self.poll([entry.todo])

    def finished(self, numbers: Iterable[str]) -> None:
        """Note that the step of *numbers* has finished."""
        self.busy.difference_update(numbers)
        again = {self._due_again.pop(number, Todo.NOTHING) for number in numbers}
        self.poll(again)
