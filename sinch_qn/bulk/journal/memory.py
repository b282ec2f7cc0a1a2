"""A journal in memory: for tests, and for runs that may be lost with their process."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import attrs

from sinch_qn.bulk import outcomes
from sinch_qn.bulk.journal.memory_store import (
    LEASE,
    MemoryQueries,
    MemoryStore,
    ReceivedCode,
    Runner,
)
from sinch_qn.bulk.journal.protocol import (
    ADVANCED,
    HAS_INTENT,
    MAX_POSTPONED,
    OUTSIDE_HOURS,
    Batch,
    BatchState,
    Identity,
    Readiness,
    RunSettings,
    Submission,
    check_identity,
    check_settings,
    is_line,
)
from sinch_qn.bulk.permits import Permits, Slots, Told, Turn
from sinch_qn.bulk.states import NEVER, ChallengeState, Change, Entry, Event, Todo
from sinch_qn.errors import JournalError

_INVALID = ChallengeState.INVALID

_AHEAD = 20
"""Numbers that are counted beyond those that are needed."""


class MemoryJournal(MemoryQueries):
    """A journal that is lost with its process; the reference for the others.

    Several objects may be runners of one content, each with a lease: see `another`.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.time, store: MemoryStore | None = None
    ) -> None:
        self.clock = clock
        super().__init__(store or MemoryStore())
        self._runner: Runner | None = None
        self.deliveries = self._store.deliveries
        """The messages that are delivered at most once."""

    def another(self) -> MemoryJournal:
        """Return another journal with the same content, for another runner."""
        return MemoryJournal(clock=self.clock, store=self._store)

    def now(self) -> float:
        """Return the wall clock's time."""
        return self.clock()

    async def open(
        self,
        identity: Identity | None,
        *,
        running: bool,
        settings: RunSettings | None = None,
        calls: bool = True,
    ) -> None:
        """Open the journal, as a runner or beside it."""
        store = self._store
        if running and self._runner is not None:
            raise JournalError("another run is using this journal")
        if identity is not None:
            check_identity(store.identity or identity, identity)
            store.identity = identity
        if not running:
            return
        if settings is not None and (calls or store.settings is None):
            is_first = store.slots is None or not self._others()
            if not is_first and store.settings is not None:
                check_settings(store.settings, settings)
            if is_first:
                store.start(settings, self.now(), asyncio.get_running_loop().time())
        self._runner = store.register(self.now())

    async def close(self) -> None:
        """Close the journal; a runner gives up its lease."""
        if self._runner is not None:
            self._store.drop(self._runner.id)
        self._runner = None

    # ---- runners -------------------------------------------------------------------------------

    def _others(self) -> list[Runner]:
        now, mine = self.now(), self._runner
        return [r for r in self._store.runners.values() if r is not mine and r.until > now]

    def _renew(self) -> int:
        """Renew the lease; a runner that was reaped is a new one. Return its id; 0: no runner."""
        if self._runner is None:
            return 0
        if self._runner.id not in self._store.runners:
            self._runner = self._store.register(self.now())
        now = self.now()
        if self._runner.until <= now:
            self._runner.since = now
        self._runner.until = now + LEASE
        return self._runner.id

    def _has_lease(self) -> bool:
        """Return whether an intent may be committed: not by a runner whose lease is over."""
        runner = self._runner
        if runner is None:
            return True  # a test's, or a tool's
        return runner.id in self._store.runners and runner.until > self.now()

    async def reap(self, window: float) -> list[Entry]:
        """Commit the outcomes of intents whose runner is gone."""
        self._renew()
        store, now = self._store, self.now()
        gone = {r.id for r in store.runners.values() if r.until <= now}
        runner = self._runner
        if gone and runner is not None and now - runner.since < LEASE:
            gone = set()  # after a pause of all runners each may first renew its lease
        for each in gone:
            self._store.drop(each)
        open_intents = [
            entry
            for entry in store.entries.values()
            if entry.state in HAS_INTENT
            and (entry.state is ChallengeState.CALLING or entry.due == NEVER)
            and store.owners.get(entry.number) not in store.runners
        ]
        changes = [outcomes.without_outcome(entry, now, window=window) for entry in open_intents]
        return [entry for entry in await self.apply(changes) if entry is not None]

    # ---- calls ---------------------------------------------------------------------------------

    async def permits(self, told: Sequence[Told], want: int) -> Permits:
        """Tell how calls ended, and ask for up to *want* turns."""
        runner, store = self._renew(), self._store
        slots = self._slots()
        limit = want + slots.turns_out + _AHEAD
        due = len(list(store.due_calls(self.now(), limit)))
        ticks = asyncio.get_running_loop().time()
        permits = slots.permits(told, want=want, due=due, now=ticks, runner=runner)
        return attrs.evolve(permits, stopped=store.stopped)

    async def start_call(
        self, turn: Turn, opens_in: Callable[[str, float], float] | None = None
    ) -> Entry | None:
        """Use *turn*: commit the intent to call the number that is due longest."""
        slots, ticks, now = self._slots(), asyncio.get_running_loop().time(), self.now()
        runner = self._runner.id if self._runner else 0
        if not self._has_lease() or not slots.take(turn, ticks, runner):
            slots.give_up(turn)
            return None
        for entry in self._store.first_calls(now, MAX_POSTPONED):
            closed = opens_in(entry.number, now) if opens_in is not None else 0.0
            change = Change(number=entry.number, event=Event.CALL, at=now)
            if closed:
                change = attrs.evolve(
                    change, event=Event.POSTPONED, due=now + closed, note=OUTSIDE_HOURS
                )
            called = self._store.apply(change, runner)
            if called is not None and not closed:
                slots.rings(called.number, ticks + slots.pacing.ring_window)
                return called
        slots.give_up(turn)
        return None

    def _slots(self) -> Slots:
        if self._store.slots is None:
            raise JournalError("the journal is not open for a run of calls")
        return self._store.slots

    async def take_code(self) -> tuple[Entry, str] | None:
        """Commit the intent to verify the oldest code of the number that is due longest."""
        now = self.now()
        if not self._has_lease():
            return None
        runner = self._runner.id if self._runner else 0
        return self._store.take_code(now, runner)

    # ---- safe work -----------------------------------------------------------------------------

    async def claim(self, todo: Todo, limit: int, hold: float) -> list[Entry]:
        """Return up to *limit* entries with *todo* that are due, and make them due later."""
        self._renew()
        now = self.now()
        claimed = list(self._store.due(todo, now, limit))
        for entry in claimed:
            self._store.save(entry, attrs.evolve(entry, due=now + hold))
        return claimed

    async def backlog(self, todo: Todo, limit: int | None = None) -> int:
        """Return how many entries with *todo* are due, counted up to *limit*."""
        return len(list(self._store.due(todo, self.now(), sys.maxsize if limit is None else limit)))

    async def chore(self, what: str, hold: float) -> bool:
        """Return whether this runner does *what* for the next *hold* seconds."""
        runner, now = self._renew(), self.now()
        who, until = self._store.chores.get(what, (runner, now))
        if who != runner and until > now:
            return False
        self._store.chores[what] = (runner, now + hold)
        return True

    async def changed(self, timeout: float) -> None:
        """Wait for *timeout* seconds."""
        self._renew()
        await asyncio.sleep(timeout)

    async def open_numbers(self) -> bool:
        """Return whether any number is not settled."""
        is_due = self._store.next_due() is not None
        return is_due or self._store.counts[ChallengeState.CALLING] > 0

    async def readiness(self) -> Readiness:
        """Return whether calls are made now."""
        return self._store.readiness(self.now())

    async def stop_run(self, reason: str) -> None:
        """Stop all runners: their permits have the *reason*."""
        self._store.stopped = reason

    # ---- numbers -------------------------------------------------------------------------------

    async def add(self, entries: Sequence[Entry]) -> int:
        """Store the entries whose number is new, or was INVALID and no longer is."""
        new = 0
        for entry in entries:
            known = self._store.entries.get(entry.number)
            if known is not None and known.state is _INVALID is not entry.state:
                self._store.remove(known)
            if entry.number not in self._store.entries:
                self._store.insert(entry)
                new += 1
        return new

    async def remove_corrected(self, lines: Mapping[int, str]) -> None:
        """Remove the INVALID entries of *lines* of a file, except those of the numbers given."""
        for entry in list(self._store.entries.values()):
            number = lines.get(entry.line or 0)
            if number not in (None, entry.number) and is_line(entry):
                self._store.remove(entry)

    async def get(self, number: str) -> Entry | None:
        """Return the entry of *number*."""
        return self._store.entries.get(number)

    async def apply(self, changes: Sequence[Change]) -> list[Entry | None]:
        """Apply each change that `step` allows."""
        runner = self._runner.id if self._runner else 0
        return [self._store.apply(change, runner) for change in changes]

    async def submit_code(
        self, number: str, code: str, at: float
    ) -> tuple[Submission, Entry | None]:
        """Put *code* into the inbox of *number*."""
        before = self._store.entries.get(number)
        if before is None:
            return Submission.REFUSED, None
        if (before.attempt, code) in self._store.inbox.get(number, {}):
            return Submission.DUPLICATE, before
        after = self._store.apply(Change(number=number, event=Event.CODE, at=at))
        if after is None:
            return Submission.REFUSED, before
        self._store.inbox.setdefault(number, {})[after.attempt, code] = ReceivedCode(at)
        return Submission.ACCEPTED, after

    async def next_due(self, *todos: Todo) -> float | None:
        """Return when the next entry is due."""
        return self._store.next_due(*todos)

    async def advance_due(self, seconds: float, *, after: float) -> None:
        """Make the steps that are due *after* a time due *seconds* earlier."""
        for entry in list(self._store.entries.values()):
            if entry.todo in ADVANCED and entry.due > after:
                self._store.save(entry, attrs.evolve(entry, due=entry.due - seconds))

    async def counts(self) -> Mapping[ChallengeState, int]:
        """Return the number of entries in each state."""
        return {state: self._store.counts[state] for state in ChallengeState}

    def rows(self) -> Iterator[Entry]:
        """Yield all entries in the order they were added."""
        yield from list(self._store.entries.values())

    async def claim_batch(
        self, *, toll_free: bool, region: str | None, limit: int, at: float
    ) -> Batch | None:
        """Log the intent to text-enable up to *limit* verified numbers."""
        runner = self._renew()
        return self._store.claim_batch(
            runner, toll_free=toll_free, region=region, limit=limit, at=at
        )

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
        row = self._store.batches.get(batch)
        if row is None or row.state not in only_from:
            return False
        self._store.save_batch(attrs.evolve(row, state=state, order_id=order_id, note=note))
        return True

    async def batches(self) -> list[Batch]:
        """Return all batches, oldest first."""
        return list(self._store.batches.values())

    async def interrupted_batches(self) -> list[Batch]:
        """Return the batches that are SENDING and whose runner is gone."""
        self._renew()
        now, store = self.now(), self._store
        live = {runner.id for runner in store.runners.values() if runner.until > now}
        return [
            batch
            for batch in store.batches.values()
            if batch.state is BatchState.SENDING and store.batch_owners[batch.id] not in live
        ]

    async def bookmark(self, name: str) -> str | None:
        """Return what `set_bookmark` stored as *name*."""
        return self._store.bookmarks.get(name)

    async def set_bookmark(self, name: str, value: str) -> None:
        """Store *value* as *name*."""
        self._store.bookmarks[name] = value
