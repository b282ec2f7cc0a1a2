"""The content of a journal in memory, which all its runners share."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Collection, Iterator
from typing import TypeAlias

import attrs

from sinch_qn.bulk.journal.deliveries import MemoryDeliveries
from sinch_qn.bulk.journal.protocol import (
    CODE_STATUS_AFTER,
    HAS_INTENT,
    Batch,
    BatchState,
    Identity,
    LoggedWrite,
    Readiness,
    RunSettings,
    can_be_enabled,
    logged_write,
)
from sinch_qn.bulk.journal.queries import (
    EntryPage,
    EntryQuery,
    HistoryItem,
    check_limit,
    from_cursor,
    has_text,
    history_of,
    key_of,
    page_of,
)
from sinch_qn.bulk.permits import Slots, holds_slot
from sinch_qn.bulk.states import INTENTS, ChallengeState, Change, Entry, Event, Todo
from sinch_qn.bulk.transitions import step
from sinch_qn.errors import JournalError
from sinch_qn.phone import is_toll_free

LEASE = 15.0
"""Seconds that a runner is taken to live, without a sign of life."""


_Item: TypeAlias = tuple[float, float, int, str]
"""When an entry is due, when its call was requested, its place in the order of adding, its number.

Requested calls that are due at once are made in the order of their requests."""


@attrs.define
class Runner:
    """A runner with a lease. All times are the journal's."""

    id: int
    until: float
    since: float
    """From when on it has kept its lease."""


@attrs.define
class LogRow:
    """One row of the log: an intent, and its outcome once there is one."""

    at: float
    outcome: str | None = None
    outcome_at: float | None = None


@attrs.define
class ReceivedCode:
    """A code in the inbox."""

    at: float
    status: str = "waiting"


class MemoryStore:
    """Entries, inbox, log, batches, runners and slots."""

    def __init__(self) -> None:
        self.identity: Identity | None = None
        self.settings: RunSettings | None = None
        self.slots: Slots | None = None
        self.stopped: str | None = None
        self.runners: dict[int, Runner] = {}
        self.runner_ids = itertools.count(1)
        self.owners: dict[str, int] = {}
        """The runner of each number's open intent."""
        self.chores: dict[str, tuple[int, float]] = {}
        self.entries: dict[str, Entry] = {}
        self.log: dict[tuple[str, str, int, int], LogRow] = {}
        self.inbox: dict[str, dict[tuple[int, str], ReceivedCode]] = {}
        self.counts: Counter[ChallengeState] = Counter()
        self.batches: dict[int, Batch] = {}
        self.batch_owners: dict[int, int] = {}
        """The runner that made each batch."""
        self.bookmarks: dict[str, str] = {}
        self.deliveries = MemoryDeliveries()
        self._order: dict[str, int] = {}
        self._sequence = itertools.count()
        self._heaps: dict[Todo, list[_Item]] = {todo: [] for todo in Todo}
        self._tokens = itertools.count(1)

    def start(self, settings: RunSettings, now: float, ticks: float) -> None:
        """Begin a run: its pace is paused, and phones that may ring keep their slots."""
        self.settings, self.stopped = settings, None
        self.slots = Slots(settings.pacing())
        held = [(e.called_at, e.number) for e in self.entries.values() if holds_slot(e)]
        for called_at, number in sorted((at, number) for at, number in held if at is not None):
            age = max(0.0, now - called_at)
            if age < settings.ring_window:
                self.slots.rings(number, ticks + settings.ring_window - age)

    def register(self, now: float) -> Runner:
        """Return a new runner."""
        runner = Runner(next(self.runner_ids), now + LEASE, now)
        self.runners[runner.id] = runner
        return runner

    def drop(self, runner: int) -> None:
        """Remove a runner, its turns and its chores."""
        self.runners.pop(runner, None)
        self.chores = {what: who for what, who in self.chores.items() if who[0] != runner}
        if self.slots is not None:
            self.slots.forget(runner)

    def readiness(self, now: float) -> Readiness:
        """Return whether calls are made."""
        has_runner = any(runner.until > now for runner in self.runners.values())
        return Readiness(
            settings=self.settings,
            has_runner=has_runner and self.slots is not None and self.stopped is None,
            paused=self.slots is None or self.slots.pacing.paused,
        )

    def take_code(self, now: float, runner: int) -> tuple[Entry, str] | None:
        """Log the intent to verify the oldest code of the number that is due longest."""
        for due in self.due(Todo.VERIFY, now, 1):
            change = Change(number=due.number, event=Event.VERIFY, at=now)
            entry = self.apply(change, runner)
            if entry is not None:
                inbox = self.inbox[entry.number]
                key = next(key for key, code in inbox.items() if code.status == "waiting")
                inbox[key].status = "in flight"
                return entry, key[1]
        return None

    def find(self, query: EntryQuery, limit: int, after: str | None) -> EntryPage:
        """Return up to *limit* entries, those behind the cursor *after*."""
        limit = check_limit(limit)
        keys = {
            key_of(query, self._order[entry.number], entry): entry
            for entry in self.entries.values()
            if (not query.states or entry.state in query.states)
            and (not query.prefix or has_text(query, entry))
            and query.ref in (None, entry.ref)
        }
        found = sorted(keys, reverse=query.descending)
        if after is not None:
            last = from_cursor(query, after)
            found = [key for key in found if (key < last if query.descending else key > last)]
        page = [keys[key] for key in found[: limit + 1]]
        return page_of(query, [(self._order[entry.number], entry) for entry in page], limit)

    def history(self, number: str) -> list[HistoryItem]:
        """Return what happened to *number*, oldest first."""
        writes = [
            HistoryItem(
                what=what,
                attempt=attempt,
                at=row.at,
                outcome=row.outcome,
                outcome_at=row.outcome_at,
            )
            for (what, about, attempt, _), row in self.log.items()
            if about == number and row.outcome != "not sent"
        ]
        codes = [
            HistoryItem(
                what="code", attempt=attempt, at=code.at, outcome=code.status, outcome_at=None
            )
            for (attempt, _), code in self.inbox.get(number, {}).items()
        ]
        return history_of([*writes, *codes])

    def insert(self, entry: Entry) -> None:
        """Store a new entry."""
        self._order[entry.number] = next(self._sequence)
        self.save(None, entry)

    def remove(self, entry: Entry) -> None:
        """Remove an entry."""
        del self.entries[entry.number]
        self.counts[entry.state] -= 1

    def due(self, todo: Todo, now: float, limit: int) -> Iterator[Entry]:
        """Yield up to *limit* entries with *todo* that are due, the longest due first."""
        heap = self._heaps[todo]
        found: list[_Item] = []
        while heap and len(found) < limit and heap[0][0] <= now:
            item = heapq.heappop(heap)
            if self._is_current(todo, item) and item not in found[-1:]:
                found.append(item)
        for item in found:
            heapq.heappush(heap, item)
        return iter([self.entries[number] for *_, number in found])

    def due_calls(self, now: float, limit: int) -> Iterator[Entry]:
        """Yield up to *limit* entries that are due to be called, in the order of their calls."""
        calls = RunSettings().calls if self.settings is None else self.settings.calls
        due = itertools.chain.from_iterable(self.due(todo, now, limit) for todo in calls)
        return itertools.islice(due, limit)

    def first_calls(self, now: float, limit: int) -> Iterator[Entry]:
        """Yield, up to *limit* times, the entry whose call is due first by then."""
        for _ in range(limit):
            yield from (first := list(self.due_calls(now, 1)))
            if not first:
                return

    def next_due(self, *todos: Todo) -> float | None:
        """Return when the next entry (with one of *todos*) is due."""
        dues = []
        for todo in todos or Todo:
            heap = self._heaps[todo]
            while heap and not self._is_current(todo, heap[0]):
                heapq.heappop(heap)
            if heap and todo is not Todo.NOTHING:
                dues.append(heap[0][0])
        return min(dues, default=None)

    def apply(self, change: Change, runner: int = 0) -> Entry | None:
        """Apply *change* if `step` allows it, and log it; an intent is *runner*'s."""
        before = self.entries.get(change.number)
        if change.event in INTENTS:
            change = attrs.evolve(change, intent=next(self._tokens))
        after = None if before is None else step(before, change)
        if before is None or after is None:
            return None
        if logged := logged_write(before, after, change.event):
            self._log_write(change, logged)
        self.save(before, after)
        self._update_inbox(after, change.event)
        if change.event in INTENTS:
            self.owners[after.number] = runner
        elif after.state not in HAS_INTENT:
            self.owners.pop(after.number, None)
        if self.slots is not None:
            self.slots.update(after)
        return after

    def _log_write(self, change: Change, logged: LoggedWrite) -> None:
        key = (logged.operation, change.number, logged.attempt, logged.nth)
        row = self.log.get(key)
        if logged.outcome is not None:
            if row is not None:
                row.outcome, row.outcome_at = logged.outcome, change.at
            return
        if row is not None and row.outcome != "not sent":
            raise JournalError(f"{logged.operation} attempt {logged.attempt} was made before")
        self.log[key] = LogRow(change.at)

    def save(self, before: Entry | None, after: Entry) -> None:
        """Store the new version of an entry."""
        self.entries[after.number] = after
        if before is not None:
            self.counts[before.state] -= 1
        self.counts[after.state] += 1
        item = (after.due, after.requested_at or 0.0, self._order[after.number], after.number)
        heapq.heappush(self._heaps[after.todo], item)

    def _is_current(self, todo: Todo, item: _Item) -> bool:
        entry = self.entries.get(item[-1])
        if entry is None or entry.todo is not todo:
            return False
        return (entry.due, entry.requested_at or 0.0) == item[:2]

    def _update_inbox(self, after: Entry, event: Event) -> None:
        if after.settled_at is not None:
            self.inbox.pop(after.number, None)
            return
        inbox = self.inbox.get(after.number, {})
        for key in [key for key, code in inbox.items() if code.status == "in flight"]:
            status_after = CODE_STATUS_AFTER.get(event, "in flight")
            if status_after is None:
                del inbox[key]
            else:
                inbox[key].status = status_after

    def claim_batch(
        self, runner: int, *, toll_free: bool, region: str | None, limit: int, at: float
    ) -> Batch | None:
        """Make a batch of up to *limit* verified numbers."""
        fitting = (
            e
            for e in self.entries.values()
            if can_be_enabled(e)
            and is_toll_free(e.number) is toll_free
            and (region is None or e.region in (region, None))
        )
        entries = list(itertools.islice(fitting, limit))
        if not entries:
            return None
        batch = Batch(
            id=len(self.batches) + 1,
            toll_free=toll_free,
            region=region or "US",
            numbers=tuple(e.number for e in entries),
            state=BatchState.SENDING,
            at=at,
        )
        self.batches[batch.id] = batch
        self.batch_owners[batch.id] = runner
        for entry in entries:
            self.save(entry, attrs.evolve(entry, batch=batch.id))
        return batch

    def save_batch(self, batch: Batch) -> None:
        """Store the outcome of a batch; NOT_SENT frees its numbers."""
        if batch.state is BatchState.NOT_SENT:
            for number in batch.numbers:
                entry = self.entries[number]
                self.save(entry, attrs.evolve(entry, batch=None))
            batch = attrs.evolve(batch, numbers=())
        self.batches[batch.id] = batch


class MemoryQueries:
    """Questions about the numbers of a store."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def find(
        self, query: EntryQuery, *, limit: int = 50, after: str | None = None
    ) -> EntryPage:
        """Return up to *limit* entries, those behind the cursor *after*."""
        return self._store.find(query, limit, after)

    async def get_many(self, numbers: Collection[str]) -> dict[str, Entry]:
        """Return the entries of those of *numbers* that have one."""
        return {
            number: self._store.entries[number]
            for number in numbers
            if number in self._store.entries
        }

    async def history(self, number: str) -> list[HistoryItem]:
        """Return what happened to *number*, oldest first."""
        return self._store.history(number)

    async def keep_bookmark(self, name: str, value: str) -> str:
        """Store *value* as *name* if nothing is stored there; return what is."""
        return self._store.bookmarks.setdefault(name, value)

    async def bookmarks(self, prefix: str) -> dict[str, str]:
        """Return all bookmarks whose name begins with *prefix*."""
        stored = self._store.bookmarks
        return {name: value for name, value in stored.items() if name.startswith(prefix)}
