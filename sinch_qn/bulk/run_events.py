"""What the subscribers of a run hear: events without codes, and the bounded queue of each."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Literal, TypeAlias, cast

import attrs

from sinch_qn.bulk.states import ChallengeState, Entry, Event

EventName: TypeAlias = Literal[
    "nothing to do",
    "cannot",
    "not added",
    "called",
    "not called",
    "lost",
    "code",
    "verified",
    "wrong",
    "not verified",
    "unsure",
    "again",
    "ask",
    "blocked",
    "late",
    "recall",
    "request",
]
"""The names of a run's events: type checkers report a comparison with any other."""


@attrs.frozen(kw_only=True)
class RunEvent:
    """Something that happened to a number. Codes are never in it."""

    what: EventName
    """`called`, `code`, `verified`, `wrong`, `lost`, …: see `docs/guides/bulk-runs.md`."""
    number: str
    ref: str | None
    state: ChallengeState
    attempt: int
    note: str | None
    """The reason for this event, for people; never that of an earlier one."""
    dropped: int = 0
    """How many events before this one were dropped because the subscriber was slow."""

    @classmethod
    def of(cls, event: Event, entry: Entry) -> RunEvent:
        """Return *event* of a number, which is *entry* since then."""
        return cls(
            what=cast("EventName", event.value),
            number=entry.number,
            ref=entry.ref,
            state=entry.state,
            attempt=entry.attempt,
            # A code leaves the number in its state, and with the reason for that.
            note=None if event is Event.CODE else entry.note,
        )


class EventQueue:
    """The events that wait for one subscriber, who may be slow: at most *size*."""

    def __init__(self, size: int) -> None:
        self.waiting: deque[RunEvent] = deque()
        self.arrived = asyncio.Event()
        self._size = size
        self._dropped = 0

    def put(self, event: RunEvent) -> None:
        """Append *event*; drop the oldest one if there are too many."""
        if len(self.waiting) >= self._size:
            self.waiting.popleft()
            self._dropped += 1
        self.waiting.append(event)
        self.arrived.set()

    def take(self) -> RunEvent:
        """Remove and return the oldest event; it says how many were dropped before it."""
        event = self.waiting.popleft()
        if self._dropped:
            event = attrs.evolve(event, dropped=self._dropped)
            self._dropped = 0
        return event
