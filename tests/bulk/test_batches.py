"""Text-enabling batches in a journal: no number is in two that may be orders."""

from __future__ import annotations

from collections import Counter
from functools import partial

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sinch_qn.bulk import Batch, BatchState, ChallengeState, Entry, MemoryJournal
from sinch_qn.bulk.journal import Journal, can_be_enabled
from sinch_qn.bulk.states import Event
from sinch_qn.models import GlobalProcessState as SinchState
from tests.support.journals import MINE, Backend, at_once, happen
from tests.support.runs import NUMBER, numbers

TOLL_FREE = "+18335550134"
NUMBERS = [f"+1202555{n:04d}" for n in range(12)] + [f"+1800555{n:04d}" for n in range(3)]
PERHAPS = {BatchState.SENDING, BatchState.ORDERED, BatchState.UNKNOWN}
"""States of a batch whose order exists, or may exist."""


class LifeOfABatch(RuleBasedStateMachine):
    """Rule 23: a batch is sent at most once, and no verified number is lost."""

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
            remote=SinchState.VERIFIED,
            region="US",
        )
        at_once(self.journal.add([entry]))
        self.verified.add(number)

    @precondition(lambda self: self.out is None)
    @rule(toll_free=st.booleans(), limit=st.integers(1, 5))
    def send(self, *, toll_free: bool, limit: int) -> None:
        """Claim a batch, and send it."""
        region = None if toll_free else "US"
        self.out = at_once(
            self.journal.claim_batch(toll_free=toll_free, region=region, limit=limit, at=1.0)
        )
        if self.out is not None:
            assert len(self.out.numbers) <= limit
            self.sent[self.out.id] += 1

    @precondition(lambda self: self.out is not None)
    @rule(state=st.sampled_from([s for s in BatchState if s is not BatchState.SENDING]))
    def record(self, state: BatchState) -> None:
        """Record its outcome; after a crash that is UNKNOWN."""
        assert self.out is not None
        order_id = "order" if state is BatchState.ORDERED else None
        sending = [BatchState.SENDING]
        at_once(
            self.journal.record_batch_outcome(
                self.out.id, state, only_from=sending, order_id=order_id
            )
        )
        self.out = None

    @invariant()
    def at_most_one_order(self) -> None:
        """Law: no batch is sent twice, and no number is in two that may be orders."""
        assert all(times == 1 for times in self.sent.values())
        batches = at_once(self.journal.batches())
        members = Counter(n for b in batches if b.state in PERHAPS for n in b.numbers)
        assert all(times == 1 for times in members.values())

    @invariant()
    def no_number_is_lost(self) -> None:
        """Law: each verified number is in a batch, or free for the next."""
        inside = {n for b in at_once(self.journal.batches()) for n in b.numbers}
        free = {entry.number for entry in self.journal.rows() if entry.batch is None}
        assert inside | free == self.verified
        assert not inside & free


TestLifeOfABatch = LifeOfABatch.TestCase
TestLifeOfABatch.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, derandomize=True, database=None
)


SENDING = [BatchState.SENDING]


async def test_a_batch_has_one_region(journal: Journal) -> None:
    """Rule 23: a batch has the numbers of one region, in their order, those without one included.

    Toll-free numbers have batches of their own.
    """
    us, ca, unsure, skipped, pending = numbers(5)
    await journal.add(
        [
            Entry(number=us, region="US"),
            Entry(number=ca, region="CA"),
            Entry(number=unsure),
            Entry(number=TOLL_FREE, region="US"),
            Entry(number=skipped, region="US"),
            Entry(number=pending, region="US"),
        ]
    )
    claim = journal.claim_batch
    assert await claim(toll_free=False, region="US", limit=500, at=1.0) is None
    verified = SinchState.VERIFIED
    for number in (us, ca, unsure, TOLL_FREE):
        await happen(journal, number, Event.CALL, Event.VERIFIED, remote=verified)
    await happen(journal, skipped, Event.ALREADY_VERIFIED, remote=verified)
    first = await claim(toll_free=False, region="US", limit=2, at=5.0)
    assert first == Batch(
        id=1,
        toll_free=False,
        region="US",
        numbers=(us, unsure),
        state=BatchState.SENDING,
        at=5.0,
    )
    second = await claim(toll_free=False, region="CA", limit=9, at=6.0)
    assert second is not None
    assert second.numbers == (ca,)
    third = await claim(toll_free=True, region=None, limit=9, at=7.0)
    assert third is not None
    assert (third.numbers, third.toll_free) == ((TOLL_FREE,), True)
    fourth = await claim(toll_free=False, region=None, limit=9, at=8.0)
    assert fourth is not None
    assert fourth.numbers == (skipped,)
    assert await claim(toll_free=False, region=None, limit=9, at=9.0) is None
    assert await journal.batches() == [first, second, third, fourth]
    entry = await journal.get(us)
    assert entry is not None
    assert entry.batch == first.id
    assert not can_be_enabled(entry)


async def test_the_outcome_of_a_batch(journal: Journal) -> None:
    """Rule 23: a batch keeps its order id and note; only NOT_SENT frees its numbers."""
    await journal.add(
        [
            Entry(number=number, state=ChallengeState.VERIFIED, remote=SinchState.VERIFIED)
            for number in numbers(3)
        ]
    )
    claim = partial(journal.claim_batch, toll_free=False, region=None, limit=1, at=1.0)
    record = partial(journal.record_batch_outcome, only_from=SENDING)
    ordered, lost, freed = [await claim() for _ in range(3)]
    assert ordered is not None
    assert lost is not None
    assert freed is not None
    assert await record(ordered.id, BatchState.ORDERED, order_id="order")
    assert await record(lost.id, BatchState.UNKNOWN, note="lost")
    assert await record(freed.id, BatchState.NOT_SENT, note="down")
    assert await journal.batches() == [
        attrs.evolve(ordered, state=BatchState.ORDERED, order_id="order"),
        attrs.evolve(lost, state=BatchState.UNKNOWN, note="lost"),
        attrs.evolve(freed, state=BatchState.NOT_SENT, note="down", numbers=()),
    ]
    again = await claim()
    assert again is not None
    assert again.numbers == freed.numbers
    assert await claim() is None


async def test_an_entry_knows_its_batch_at_once(journal: Journal) -> None:
    """An entry that was read before its batch was claimed, or freed, is read anew after it."""

    async def batch() -> int | None:
        entry = await journal.get(NUMBER)
        assert entry is not None
        return entry.batch

    await journal.add(
        [Entry(number=NUMBER, state=ChallengeState.VERIFIED, remote=SinchState.VERIFIED)]
    )
    assert await batch() is None
    claimed = await journal.claim_batch(toll_free=False, region=None, limit=1, at=1.0)
    assert claimed is not None
    assert await batch() == claimed.id
    await journal.record_batch_outcome(claimed.id, BatchState.NOT_SENT, only_from=SENDING)
    assert await batch() is None


async def test_an_outcome_is_refused_in_another_state(journal: Journal) -> None:
    """Rule 23: an outcome changes a batch in the expected states only, and its numbers."""
    await journal.add(
        [Entry(number=NUMBER, state=ChallengeState.VERIFIED, remote=SinchState.VERIFIED)]
    )
    batch = await journal.claim_batch(toll_free=False, region=None, limit=9, at=1.0)
    assert batch is not None
    lost, ordered, freed = BatchState.UNKNOWN, BatchState.ORDERED, BatchState.NOT_SENT
    record = journal.record_batch_outcome
    assert await record(batch.id, ordered, only_from=SENDING)
    before = await journal.batches()
    assert not await record(batch.id, freed, note="freed", only_from=[lost])
    assert not await record(batch.id, freed, only_from=[])
    assert not await record(batch.id + 1, freed, only_from=list(BatchState))
    assert await journal.batches() == before
    assert before[0].numbers == (NUMBER,)
    assert await record(batch.id, freed, only_from=[lost, ordered])
    (after,) = await journal.batches()
    assert (after.state, after.numbers) == (freed, ())


async def test_a_batch_is_interrupted_once_its_runner_is_gone(backend: Backend) -> None:
    """Rule 23: a batch in flight is its runner's, until that is gone without an outcome."""
    journal = backend.journal
    await journal.add(
        [
            Entry(number=number, state=ChallengeState.VERIFIED, remote=SinchState.VERIFIED)
            for number in numbers(2)
        ]
    )
    claim = partial(journal.claim_batch, toll_free=False, region=None, limit=1, at=1.0)
    told, untold = await claim(), await claim()
    assert told is not None
    assert untold is not None
    await journal.record_batch_outcome(told.id, BatchState.ORDERED, only_from=SENDING)
    assert await journal.interrupted_batches() == []
    await journal.close()
    await journal.open(MINE, running=True)
    assert await journal.interrupted_batches() == [untold]
    await journal.record_batch_outcome(untold.id, BatchState.UNKNOWN, only_from=SENDING)
    assert await journal.interrupted_batches() == []
