"""A journal in memory: for tests, and for runs that may be lost with their process."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

import attrs

from sinch_qn.bulk.journal.deliveries import MemoryDeliveries
from sinch_qn.bulk.journal.protocol import (
    ADVANCED,
    CODE_STATUS_AFTER,
    Batch,
    BatchState,
    Identity,
    Submission,
    can_be_enabled,
    check_identity,
    is_line,
    logged_write,
)
from sinch_qn.bulk.states import INTENTS, ChallengeState, Change, Entry, Event, Todo, step
from sinch_qn.errors import JournalError
from sinch_qn.phone import is_toll_free


class MemoryJournal:
    """A journal that is lost with its process; the reference for the others."""

    def __init__(self) -> None:
        self._identity: Identity | None = None
        self._running = False
        self._entries: dict[str, Entry] = {}
        self._order: dict[str, int] = {}
        self._sequence = itertools.count()
        self._heaps: dict[Todo, list[tuple[float, int, str]]] = {todo: [] for todo in Todo}
        self._inbox: dict[str, dict[tuple[int, str], str]] = {}
        self._log: dict[tuple[str, str, int, int], str | None] = {}
        self._counts: Counter[ChallengeState] = Counter()
        self._batches: dict[int, Batch] = {}
        self._bookmarks: dict[str, str] = {}
        self._tokens = itertools.count(1)
        self.deliveries = MemoryDeliveries()
        """The messages that are delivered at most once."""

    async def open(self, identity: Identity | None, *, running: bool) -> None:
        """Open the journal, as its one runner or beside it."""
        if running and self._running:
            raise JournalError("another run is using this journal")
        if identity is not None:
            check_identity(self._identity or identity, identity)
            self._identity = identity
        self._running |= running

    async def close(self) -> None:
        """Close the journal; the next runner may open it."""
        self._running = False

    async def add(self, entries: Sequence[Entry]) -> int:
        """Store the entries whose number is new, or was INVALID and no longer is."""
        new = 0
        for entry in entries:
            known = self._entries.get(entry.number)
            if known is not None and known.state is _INVALID is not entry.state:
                self._remove(known)
            if entry.number not in self._entries:
                self._order[entry.number] = next(self._sequence)
                self._save(None, entry)
                new += 1
        return new

    async def remove_corrected(self, lines: Mapping[int, str]) -> None:
        """Remove the INVALID entries of *lines* of a file, except those of the numbers given."""
        for entry in list(self._entries.values()):
            number = lines.get(entry.line or 0)
            if number not in (None, entry.number) and is_line(entry):
                self._remove(entry)

    def _remove(self, entry: Entry) -> None:
        del self._entries[entry.number]
        self._counts[entry.state] -= 1

    async def get(self, number: str) -> Entry | None:
        """Return the entry of *number*."""
        return self._entries.get(number)

    async def apply(self, changes: Sequence[Change]) -> list[Entry | None]:
        """Apply each change that `step` allows."""
        return [self._apply(change) for change in changes]

    async def submit_code(
        self, number: str, code: str, at: float
    ) -> tuple[Submission, Entry | None]:
        """Put *code* into the inbox of *number*."""
        before = self._entries.get(number)
        if before is None:
            return Submission.REFUSED, None
        if (before.attempt, code) in self._inbox.get(number, {}):
            return Submission.DUPLICATE, before
        after = self._apply(Change(number=number, event=Event.CODE, at=at))
        if after is None:
            return Submission.REFUSED, before
        self._inbox.setdefault(number, {})[after.attempt, code] = "waiting"
        return Submission.ACCEPTED, after

    async def claim_code(self, number: str, at: float) -> tuple[Entry, str] | None:
        """Log the intent to verify the oldest waiting code, and return it."""
        entry = self._apply(Change(number=number, event=Event.VERIFY, at=at))
        if entry is None:
            return None
        inbox = self._inbox[number]
        key = next(key for key, status in inbox.items() if status == "waiting")
        inbox[key] = "in flight"
        return entry, key[1]

    async def due(self, todo: Todo, now: float, limit: int) -> list[Entry]:
        """Return up to *limit* entries with *todo* that are due."""
        heap = self._heaps[todo]
        found: list[tuple[float, int, str]] = []
        while heap and len(found) < limit and heap[0][0] <= now:
            item = heapq.heappop(heap)
            if self._is_current(todo, item) and item not in found[-1:]:
                found.append(item)
        for item in found:
            heapq.heappush(heap, item)
        return [self._entries[number] for _, _, number in found]

    async def backlog(self, todo: Todo, now: float) -> int:
        """Return how many entries with *todo* are due."""
        return sum(e.todo is todo and e.due <= now for e in self._entries.values())

    async def next_due(self) -> float | None:
        """Return when the next entry is due."""
        dues = []
        for todo, heap in self._heaps.items():
            while heap and not self._is_current(todo, heap[0]):
                heapq.heappop(heap)
            if heap and todo is not Todo.NOTHING:
                dues.append(heap[0][0])
        return min(dues, default=None)

    async def advance_due(self, seconds: float, *, after: float) -> None:
        """Make the steps that are due *after* a time due *seconds* earlier."""
        for entry in list(self._entries.values()):
            if entry.todo in ADVANCED and entry.due > after:
                self._save(entry, attrs.evolve(entry, due=entry.due - seconds))

    async def open_intents(self) -> list[Entry]:
        """Return the entries with an intent that has no outcome."""
        return [e for e in self._entries.values() if e.state in _WITH_INTENT]

    async def called_since(self, since: float) -> list[Entry]:
        """Return the entries whose last call's intent is younger than *since*."""
        entries = self._entries.values()
        called = [(e.called_at, e) for e in entries if e.called_at is not None]
        return [e for at, e in sorted(called, key=lambda pair: pair[0]) if at > since]

    async def counts(self) -> Mapping[ChallengeState, int]:
        """Return the number of entries in each state."""
        return {state: self._counts[state] for state in ChallengeState}

    def rows(self) -> Iterator[Entry]:
        """Yield all entries in the order they were added."""
        yield from list(self._entries.values())

    async def claim_batch(
        self, *, toll_free: bool, region: str | None, limit: int, at: float
    ) -> Batch | None:
        """Log the intent to text-enable up to *limit* verified numbers."""
        fitting = (
            e
            for e in self._entries.values()
            if can_be_enabled(e)
            and is_toll_free(e.number) is toll_free
            and (region is None or e.region in (region, None))
        )
        entries = list(itertools.islice(fitting, limit))
        if not entries:
            return None
        batch = Batch(
            id=len(self._batches) + 1,
            toll_free=toll_free,
            region=region or "US",
            numbers=tuple(e.number for e in entries),
            state=BatchState.SENDING,
            at=at,
        )
        self._batches[batch.id] = batch
        for entry in entries:
            self._save(entry, attrs.evolve(entry, batch=batch.id))
        return batch

    async def record_batch_outcome(
        self,
        batch: int,
        state: BatchState,
        *,
        only_from: Collection[BatchState],
        order_id: str | None = None,
        note: str | None = None,
    ) -> bool:
        """Log the outcome of *batch*; NOT_SENT frees its numbers for another batch."""
        row = self._batches.get(batch)
        if row is None or row.state not in only_from:
            return False
        row = attrs.evolve(row, state=state, order_id=order_id, note=note)
        if state is BatchState.NOT_SENT:
            for number in row.numbers:
                entry = self._entries[number]
                self._save(entry, attrs.evolve(entry, batch=None))
            row = attrs.evolve(row, numbers=())
        self._batches[batch] = row
        return True

    async def batches(self) -> list[Batch]:
        """Return all batches, oldest first."""
        return list(self._batches.values())

    async def bookmark(self, name: str) -> str | None:
        """Return what `set_bookmark` stored as *name*."""
        return self._bookmarks.get(name)

    async def set_bookmark(self, name: str, value: str) -> None:
        """Store *value* as *name*."""
        self._bookmarks[name] = value

    def _apply(self, change: Change) -> Entry | None:
        before = self._entries.get(change.number)
        if change.event in INTENTS:
            change = attrs.evolve(change, intent=next(self._tokens))
        after = None if before is None else step(before, change)
        if before is None or after is None:
            return None
        if logged := logged_write(before, after, change.event):
            key = (logged.operation, change.number, logged.attempt, logged.nth)
            if logged.outcome is None and self._log.get(key, "not sent") != "not sent":
                raise JournalError(f"{logged.operation} attempt {logged.attempt} was made before")
            self._log[key] = logged.outcome
        self._save(before, after)
        self._update_inbox(after, change.event)
        return after

    def _save(self, before: Entry | None, after: Entry) -> None:
        self._entries[after.number] = after
        if before is not None:
            self._counts[before.state] -= 1
        self._counts[after.state] += 1
        item = (after.due, self._order[after.number], after.number)
        heapq.heappush(self._heaps[after.todo], item)

    def _is_current(self, todo: Todo, item: tuple[float, int, str]) -> bool:
        entry = self._entries.get(item[2])
        return entry is not None and entry.todo is todo and entry.due == item[0]

    def _update_inbox(self, after: Entry, event: Event) -> None:
        if after.settled_at is not None:
            self._inbox.pop(after.number, None)
            return
        inbox = self._inbox.get(after.number, {})
        for key in [key for key, status in inbox.items() if status == "in flight"]:
            status_after = CODE_STATUS_AFTER.get(event, "in flight")
            if status_after is None:
                del inbox[key]
            else:
                inbox[key] = status_after


_INVALID = ChallengeState.INVALID
_WITH_INTENT = (ChallengeState.CALLING, ChallengeState.VERIFYING)
