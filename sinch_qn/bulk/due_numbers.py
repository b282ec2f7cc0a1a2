"""The numbers that are due, apart from calls: claimed from the journal in advance."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence

import attrs

from sinch_qn.bulk.journal.protocol import Journal
from sinch_qn.bulk.states import LOOK_UPS, Entry, Todo

POLL = 0.25
"""Seconds between two polls for what other processes write into the journal."""

_BUFFER = 200
"""Entries claimed from the journal at a time, to be started as their turn comes."""

_HOLD = 60.0
"""Seconds that a number is claimed: a step takes less."""

_CLAIMED = (*LOOK_UPS, Todo.VERIFY, Todo.RESOLVE, Todo.EXPIRE)


@attrs.define(kw_only=True, eq=False)
class DueNumbers:
    """Hands out numbers for the steps that may be repeated, and counts the codes that wait."""

    journal: Journal
    taking: int = 0
    """Verifications that have not taken their code yet."""
    _claimed: dict[Todo, deque[Entry]] = attrs.field(factory=lambda: {t: deque() for t in Todo})
    _codes: int = 0
    _arrived: int = 0
    """Codes that arrived since the last poll began."""
    _next_poll: dict[Todo, float] = attrs.field(factory=dict)

    def to_read(self) -> list[Todo]:
        """Return the steps that the journal is to be read for."""
        known = {todo for todo, claimed in self._claimed.items() if claimed}
        if self.has_code():
            known.add(Todo.VERIFY)
        return [todo for todo in _CLAIMED if todo not in known and self.must_poll(todo)]

    async def is_any_due(self, todos: Sequence[Todo]) -> bool:
        """Begin a poll for *todos*; return whether it is worth while: mostly, nothing is due."""
        for todo in todos:
            self._polled(todo)
        if len(todos) == 1:
            return True
        due = await self.journal.next_due(*todos)
        return due is not None and due <= self.journal.now()

    async def claim(self, todos: Iterable[Todo]) -> None:
        """Claim the numbers that are due for *todos*, and count the codes."""
        for todo in todos:
            if todo is Todo.VERIFY:
                self._arrived, limit = 0, self.taking + _BUFFER
                found = await self.journal.backlog(Todo.VERIFY, limit)
                self._codes = found + self._arrived  # one too many finds no code, one too few waits
            else:
                limit = _BUFFER
                claimed = await self.journal.claim(todo, limit, _HOLD)
                self._claimed[todo].extend(claimed)
                found = len(claimed)
            if found >= limit:
                self.poll([todo])

    def next(self, todo: Todo) -> Entry | None:
        """Return the next entry to work on."""
        claimed = self._claimed[todo]
        return claimed.popleft() if claimed else None

    def has_code(self) -> bool:
        """Return whether a code waits that no verification is about to take."""
        return self._codes > self.taking

    def code_arrived(self) -> None:
        """Note that one more code waits, without a poll."""
        self._codes += 1
        self._arrived += 1

    def taken(self) -> None:
        """Note that a verification has taken its code, or found none."""
        self.taking -= 1
        self._codes -= 1

    def delay_codes(self) -> None:
        """Let the codes wait until the next poll: no request can be prepared."""
        self._codes = 0
        self._polled(Todo.VERIFY)

    def has_claimed(self, *todos: Todo) -> bool:
        """Return whether entries with one of *todos* wait here for their step."""
        return any(self._claimed[todo] for todo in todos or Todo)

    def must_poll(self, todo: Todo) -> bool:
        """Return whether the journal is to be read."""
        return asyncio.get_running_loop().time() >= self._next_poll.get(todo, 0.0)

    def poll(self, todos: Iterable[Todo]) -> None:
        """Poll for *todos* at once."""
        for todo in todos:
            self._next_poll.pop(todo, None)

    def _polled(self, todo: Todo) -> None:
        """Note that a poll begins: what comes from here on asks for another one."""
        self._next_poll[todo] = asyncio.get_running_loop().time() + POLL
