"""What the one runner of a journal file keeps in memory: slots, claims, how many calls are due."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import attrs

from sinch_qn.bulk.journal.protocol import RunSettings
from sinch_qn.bulk.permits import Permits, Slots, Told
from sinch_qn.bulk.states import Change, Entry, Todo
from sinch_qn.errors import JournalError

_RECOUNT = 0.25
"""Seconds after which numbers are counted again that other processes may have made due."""

_AHEAD = 200
"""Numbers that are counted beyond those that are needed."""


def _ticks() -> float:
    return asyncio.get_running_loop().time()


@attrs.define
class LocalRunner:
    """The runner's side of a journal that has one runner. Times are the event loop's."""

    _slots: Slots | None = None
    settings: RunSettings = attrs.field(factory=RunSettings)
    _due: int = 0
    """Numbers that are due to be called, as far as they were counted."""
    _next_count: float = 0.0
    _claimed: dict[str, float] = attrs.field(factory=dict)
    """Until when a number is claimed."""
    stopped: str | None = None

    @property
    def slots(self) -> Slots:
        """The slots; only a runner that calls has them."""
        if self._slots is None:
            raise JournalError("the journal is not open for a run of calls")
        return self._slots

    @property
    def calls(self) -> tuple[Todo, ...]:
        """The kinds of calls that are made, the first ones first."""
        return self.settings.calls

    @property
    def calls_now(self) -> bool:
        """Whether this is a run of calls, which nothing has stopped."""
        return self._slots is not None and self.stopped is None

    def start(self, settings: RunSettings, called: Sequence[Entry], now: float) -> None:
        """Begin a run; the phones of *called*, oldest first, may still ring. *now* is wall time."""
        self._slots, self.settings = Slots(settings.pacing()), settings
        self.stopped, self._due, self._next_count = None, 0, 0.0
        for entry in called:
            age = max(0.0, now - (entry.called_at or now))
            self._slots.rings(entry.number, _ticks() + settings.ring_window - age)

    def to_count(self, want: int) -> int:
        """Return up to how many due numbers are to be counted; 0: enough are known."""
        needed = want + self.slots.turns_out + 1  # also without a want: calls are prepared ahead
        if self._due >= needed or _ticks() < self._next_count:
            return 0
        return needed + _AHEAD

    def recount(self) -> None:
        """Count the due numbers anew: they were changed in another way than by a change."""
        self._next_count = 0.0

    def counted(self, due: int, limit: int) -> None:
        """Note that *due* numbers are due; there are no more if that is below the *limit*."""
        self._due = due
        if due < limit:
            self._next_count = _ticks() + _RECOUNT

    def permits(self, told: Sequence[Told], want: int) -> Permits:
        """Return the permits."""
        permits = self.slots.permits(told, want=want, due=self._due, now=_ticks())
        return attrs.evolve(permits, stopped=self.stopped)

    def call_started(self, entry: Entry | None) -> None:
        """Note the entry of a call, or that there was none."""
        if entry is None:
            self._due, self._next_count = 0, 0.0
            return
        self._due = max(0, self._due - 1)
        self.slots.rings(entry.number, _ticks() + self.slots.pacing.ring_window)

    def unclaimed(self, entries: Sequence[Entry], limit: int, hold: float) -> list[Entry]:
        """Claim up to *limit* of *entries* for *hold* seconds."""
        now = _ticks()
        free = [e for e in entries if self._claimed.get(e.number, now) <= now][:limit]
        self._claimed |= {entry.number: now + hold for entry in free}
        return free

    def claims(self) -> int:
        """Return how many numbers are claimed."""
        now = _ticks()
        if any(until <= now for until in self._claimed.values()):
            self._claimed = {n: until for n, until in self._claimed.items() if until > now}
        return len(self._claimed)

    def changed(
        self, changes: Sequence[Change], entries: Sequence[Entry | None], now: float
    ) -> None:
        """Note changes and their entries: they end claims, and free slots. *now* is wall time."""
        for change, entry in zip(changes, entries, strict=True):
            self._claimed.pop(change.number, None)
            if entry is not None:
                self._due += entry.todo in self.calls and entry.due <= now
                self.update(entry)

    def update(self, entry: Entry) -> None:
        """Free the slot of a number whose phone rings no more."""
        if self._slots is not None:
            self._slots.update(entry)
