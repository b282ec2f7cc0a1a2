"""Orders: whatever happens to a batch, none of its numbers is in two orders by the library."""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sinch_qn.bulk import Batch, BatchState, ChallengeState, Entry, MemoryJournal
from sinch_qn.models import GlobalProcessState

T = TypeVar("T")
NUMBERS = [f"+1202555{n:04d}" for n in range(12)] + [f"+1800555{n:04d}" for n in range(3)]
PERHAPS = {BatchState.SENDING, BatchState.ORDERED, BatchState.UNKNOWN}
"""States in which the order exists, or may."""


def done(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that never waits, as a MemoryJournal's do not."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("it waits")


class LifeOfABatch(RuleBasedStateMachine):
    """Rule 23: orders(batch) is at most 1, and no verified number is forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.journal = MemoryJournal()
        self.verified: set[str] = set()
        self.sent: Counter[int] = Counter()
        self.out: Batch | None = None

    @rule(number=st.sampled_from(NUMBERS))
    def verify(self, number: str) -> None:
        """Make a number VERIFIED."""
        entry = Entry(
            number=number,
            state=ChallengeState.VERIFIED,
            remote=GlobalProcessState.VERIFIED,
            region="US",
        )
        done(self.journal.add([entry]))
        self.verified.add(number)

    @precondition(lambda self: self.out is None)
    @rule(toll_free=st.booleans(), limit=st.integers(1, 5))
    def send(self, *, toll_free: bool, limit: int) -> None:
        """Log the next batch's intent, and send it."""
        region = None if toll_free else "US"
        self.out = done(
            self.journal.claim_batch(toll_free=toll_free, region=region, limit=limit, at=1.0)
        )
        if self.out is not None:
            assert len(self.out.numbers) <= limit
            self.sent[self.out.id] += 1

    @precondition(lambda self: self.out is not None)
    @rule(state=st.sampled_from([s for s in BatchState if s is not BatchState.SENDING]))
    def answer(self, state: BatchState) -> None:
        """Log its outcome; after a crash that is UNKNOWN."""
        assert self.out is not None
        order_id = "order" if state is BatchState.ORDERED else None
        sending = [BatchState.SENDING]
        done(
            self.journal.record_batch_outcome(
                self.out.id, state, only_from=sending, order_id=order_id
            )
        )
        self.out = None

    @invariant()
    def at_most_one_order(self) -> None:
        """No batch is sent twice, and no number is in two that may be orders."""
        assert all(times == 1 for times in self.sent.values())
        batches = done(self.journal.batches())
        members = Counter(n for b in batches if b.state in PERHAPS for n in b.numbers)
        assert all(times == 1 for times in members.values())

    @invariant()
    def nothing_is_forgotten(self) -> None:
        """Find each verified number in a batch, or free for the next."""
        inside = {n for b in done(self.journal.batches()) for n in b.numbers}
        free = {entry.number for entry in self.journal.rows() if entry.batch is None}
        assert inside | free == self.verified
        assert not inside & free


TestLifeOfABatch = LifeOfABatch.TestCase
TestLifeOfABatch.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
