"""Where a run is kept: what has to survive a crash, and nothing else.

A journal stores entries, applies changes to them one at a time by `states.step`, keeps the inbox of
codes, and logs every unsafe write: its intent before, its outcome after. `SqliteJournal` is a file;
`MemoryJournal` is for tests and for runs that may be lost. Nothing here assumes one process.
"""

from __future__ import annotations

import enum
import heapq
import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

import attrs

from sinch_qn.bulk.states import ChallengeState, Change, Entry, Event, Todo, step
from sinch_qn.errors import JournalError
from sinch_qn.models import GlobalProcessState
from sinch_qn.phone import is_toll_free


@attrs.frozen
class Identity:
    """What a journal belongs to: a run may not go on in another project."""

    project_id: str
    base_url: str


class Submission(enum.Enum):
    """What became of a code that was handed in."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    """The same code was there already for this call: it stays one code."""
    REFUSED = "refused"
    """The number was never called, or is settled, or is not in this journal."""


class BatchState(enum.Enum):
    """Where a text-enabling order is."""

    SENDING = "sending"
    ORDERED = "ordered"
    REJECTED = "rejected"
    NOT_SENT = "not sent"
    UNKNOWN = "unknown"
    """The answer was lost: the order may exist. It is never sent again by itself."""


@attrs.frozen(kw_only=True)
class Batch:
    """One text-enabling order: its intent, and what came of it."""

    id: int
    toll_free: bool
    region: str
    numbers: tuple[str, ...]
    """Those that are in it: none once it is NOT_SENT, as it was freed."""
    state: BatchState
    at: float
    order_id: str | None = None
    note: str | None = None


@attrs.frozen
class Act:
    """One unsafe write of one number, as it is logged."""

    operation: str
    attempt: int
    nth: int
    outcome: str | None
    """None: the intent."""


class Journal(Protocol):
    """What a run asks of its journal; whatever a method has returned from has been made durable."""

    async def open(self, identity: Identity | None, *, running: bool) -> None:
        """Open it, as the one runner or beside it. Raises `JournalError`."""
        ...

    async def close(self) -> None:
        """Let it go; what was accepted stays."""
        ...

    async def add(self, entries: Sequence[Entry]) -> int:
        """Store those whose number is not known yet; return how many that were."""
        ...

    async def get(self, number: str) -> Entry | None:
        """Return the entry of *number*."""
        ...

    async def apply(self, changes: Sequence[Change]) -> list[Entry | None]:
        """Apply each change where `step` allows it; return the entries after, None if refused."""
        ...

    async def submit_code(
        self, number: str, code: str, at: float
    ) -> tuple[Submission, Entry | None]:
        """Put *code* into the inbox of *number*; return the entry after, too, if it is known."""
        ...

    async def take_code(self, number: str, at: float) -> tuple[Entry, str] | None:
        """Log the intent to verify the oldest waiting code, and return it; None if none is."""
        ...

    async def pick(self, todo: Todo, now: float, limit: int) -> list[Entry]:
        """Return up to *limit* entries with *todo* whose time has come, the longest due first."""
        ...

    async def backlog(self, todo: Todo, now: float) -> int:
        """Return how many `pick` would return without a limit."""
        ...

    async def next_due(self) -> float | None:
        """Return when the next entry is due; None if nothing is left to do for any."""
        ...

    async def unfinished(self) -> list[Entry]:
        """Return the entries with an intent that has no outcome: what a crash has left."""
        ...

    async def called_since(self, since: float) -> list[Entry]:
        """Return the entries whose last call's intent is younger than *since*, oldest first."""
        ...

    async def counts(self) -> Mapping[ChallengeState, int]:
        """Return how many entries are in each state."""
        ...

    def rows(self) -> Iterator[Entry]:
        """Yield all entries in the order they were added; readable after `close`, too."""
        ...

    async def take_batch(
        self, *, toll_free: bool, region: str | None, limit: int, at: float
    ) -> Batch | None:
        """Log the intent to text-enable up to *limit* verified numbers; None if there are none."""
        ...

    async def settle_batch(
        self,
        batch: int,
        state: BatchState,
        *,
        order_id: str | None,
        note: str | None,
        only_from: Collection[BatchState] | None = None,
    ) -> bool:
        """Log what came of it; NOT_SENT frees its numbers for another.

        Changes nothing and returns False if there is no such batch, or it is not *only_from* one
        of these states.
        """
        ...

    async def batches(self) -> list[Batch]:
        """Return all batches, oldest first."""
        ...


IN_HAND_AFTER: Mapping[Event, str | None] = {
    Event.NOT_VERIFIED: "waiting",
    Event.AGAIN: "waiting",
    Event.WRONG: "used",
    # Its person is asked for the same code once more, which must not be taken for a duplicate.
    Event.ASK: None,
}
"""What becomes of the code in hand, None: it is erased. With its number's settling, all are."""

_OUTCOMES = {
    Event.CALLED: "done",
    Event.VERIFIED: "done",
    Event.NOT_CALLED: "not sent",
    Event.NOT_VERIFIED: "not sent",
    Event.LOST: "unknown",
    Event.UNSURE: "unknown",
    Event.CANNOT: "rejected",
    Event.WRONG: "rejected",
    Event.BLOCKED: "rejected",
}

_LOOKED_UP = frozenset({Event.LEARNT, Event.NOTHING_TO_DO, Event.CANNOT, Event.BLOCKED})
"""Of a pending number these are what Sinch said of it: if it knows its state, it was added."""


def act(before: Entry, after: Entry, event: Event) -> Act | None:  # noqa: PLR0911 - a table
    """Return the row to log for *event*: the intent or the outcome of an unsafe write."""
    match event:
        case Event.ADD:
            return Act("add", 1, 0, None)
        case Event.NOT_ADDED:
            return Act("add", 1, 0, "not sent")
        case Event.CALL:
            return Act("call", after.attempt, 0, None)
        case Event.VERIFY:
            return Act("verify", after.attempt, after.codes_used, None)
    if before.added and event in _LOOKED_UP and before.state is ChallengeState.PENDING:
        return None if after.remote is None else Act("add", 1, 0, "done")
    outcome = _OUTCOMES.get(event)
    if outcome is None:
        return None
    if before.state is ChallengeState.CALLING:
        return Act("call", before.attempt, 0, outcome)
    if before.state is ChallengeState.VERIFYING:
        return Act("verify", before.attempt, before.codes_used, outcome)
    return None


def can_be_enabled(entry: Entry) -> bool:
    """Say whether *entry* can go into a text-enabling order."""
    return (
        entry.batch is None
        and entry.remote is GlobalProcessState.VERIFIED
        and entry.state in _VERIFIED
    )


_VERIFIED = (ChallengeState.VERIFIED, ChallengeState.SKIPPED)


class MemoryJournal:
    """A journal that is gone with its process."""

    def __init__(self) -> None:
        self._identity: Identity | None = None
        self._running = False
        self._entries: dict[str, Entry] = {}
        self._order: dict[str, int] = {}
        self._heaps: dict[Todo, list[tuple[float, int, str]]] = {todo: [] for todo in Todo}
        self._inbox: dict[str, dict[tuple[int, str], str]] = {}
        self._acts: dict[tuple[str, str, int, int], str | None] = {}
        self._counts: Counter[ChallengeState] = Counter()
        self._batches: dict[int, Batch] = {}

    async def open(self, identity: Identity | None, *, running: bool) -> None:
        """Open it, as the one runner or beside it."""
        if running and self._running:
            raise JournalError("another run is using this journal")
        if identity is not None:
            check_identity(self._identity or identity, identity)
            self._identity = identity
        self._running |= running

    async def close(self) -> None:
        """Let the next runner in."""
        self._running = False

    async def add(self, entries: Sequence[Entry]) -> int:
        """Store those whose number is not known yet."""
        new = 0
        for entry in entries:
            if entry.number not in self._entries:
                self._order[entry.number] = len(self._order)
                self._save(None, entry)
                new += 1
        return new

    async def get(self, number: str) -> Entry | None:
        """Return the entry of *number*."""
        return self._entries.get(number)

    async def apply(self, changes: Sequence[Change]) -> list[Entry | None]:
        """Apply each change where `step` allows it."""
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

    async def take_code(self, number: str, at: float) -> tuple[Entry, str] | None:
        """Log the intent to verify the oldest waiting code, and return it."""
        entry = self._apply(Change(number=number, event=Event.VERIFY, at=at))
        if entry is None:
            return None
        inbox = self._inbox[number]
        key = next(key for key, status in inbox.items() if status == "waiting")
        inbox[key] = "in hand"
        return entry, key[1]

    async def pick(self, todo: Todo, now: float, limit: int) -> list[Entry]:
        """Return up to *limit* entries with *todo* whose time has come."""
        heap = self._heaps[todo]
        picked: list[tuple[float, int, str]] = []
        while heap and len(picked) < limit and heap[0][0] <= now:
            item = heapq.heappop(heap)
            if self._is_current(todo, item) and item not in picked[-1:]:
                picked.append(item)
        for item in picked:
            heapq.heappush(heap, item)
        return [self._entries[number] for _, _, number in picked]

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

    async def unfinished(self) -> list[Entry]:
        """Return the entries with an intent that has no outcome."""
        return [e for e in self._entries.values() if e.state in _WITH_INTENT]

    async def called_since(self, since: float) -> list[Entry]:
        """Return the entries whose last call's intent is younger than *since*."""
        entries = self._entries.values()
        called = [(e.called_at, e) for e in entries if e.called_at is not None]
        return [e for at, e in sorted(called, key=lambda pair: pair[0]) if at > since]

    async def counts(self) -> Mapping[ChallengeState, int]:
        """Return how many entries are in each state."""
        return {state: self._counts[state] for state in ChallengeState}

    def rows(self) -> Iterator[Entry]:
        """Yield all entries in the order they were added."""
        yield from list(self._entries.values())

    async def take_batch(
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

    async def settle_batch(
        self,
        batch: int,
        state: BatchState,
        *,
        order_id: str | None,
        note: str | None,
        only_from: Collection[BatchState] | None = None,
    ) -> bool:
        """Log what came of it."""
        row = self._batches.get(batch)
        if row is None or (only_from is not None and row.state not in only_from):
            return False
        self._batches[batch] = attrs.evolve(row, state=state, order_id=order_id, note=note)
        if state is BatchState.NOT_SENT:
            self._batches[batch] = attrs.evolve(self._batches[batch], numbers=())
            for number in row.numbers:
                entry = self._entries[number]
                self._save(entry, attrs.evolve(entry, batch=None))
        return True

    async def batches(self) -> list[Batch]:
        """Return all batches, oldest first."""
        return list(self._batches.values())

    def _apply(self, change: Change) -> Entry | None:
        before = self._entries.get(change.number)
        after = None if before is None else step(before, change)
        if before is None or after is None:
            return None
        if logged := act(before, after, change.event):
            key = (logged.operation, change.number, logged.attempt, logged.nth)
            if logged.outcome is None and self._acts.get(key, "not sent") != "not sent":
                raise JournalError(f"{logged.operation} attempt {logged.attempt} was made before")
            self._acts[key] = logged.outcome
        self._save(before, after)
        self._keep_inbox(after, change.event)
        return after

    def _save(self, before: Entry | None, after: Entry) -> None:
        self._entries[after.number] = after
        if before is not None:
            self._counts[before.state] -= 1
        self._counts[after.state] += 1
        item = (after.due, self._order[after.number], after.number)
        heapq.heappush(self._heaps[after.todo], item)

    def _is_current(self, todo: Todo, item: tuple[float, int, str]) -> bool:
        entry = self._entries[item[2]]
        return entry.todo is todo and entry.due == item[0]

    def _keep_inbox(self, after: Entry, event: Event) -> None:
        if after.settled_at is not None:
            self._inbox.pop(after.number, None)
            return
        inbox = self._inbox.get(after.number, {})
        for key in [key for key, status in inbox.items() if status == "in hand"]:
            becomes = IN_HAND_AFTER.get(event, "in hand")
            if becomes is None:
                del inbox[key]
            else:
                inbox[key] = becomes


_WITH_INTENT = (ChallengeState.CALLING, ChallengeState.VERIFYING)


def check_identity(written: Identity, wanted: Identity) -> None:
    """Refuse a journal of another project or another server."""
    if written != wanted:
        raise JournalError(
            f"this journal belongs to project {written.project_id} at {written.base_url}, "
            f"not to {wanted.project_id} at {wanted.base_url}"
        )
