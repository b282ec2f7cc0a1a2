"""One contract, kept by every journal: what was accepted stays, and is applied once."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import pytest
import pytest_asyncio

from sinch_qn.bulk import BatchState, MemoryJournal, SqliteJournal, Submission
from sinch_qn.bulk.journal import Identity, Journal, can_be_enabled, logged_write
from sinch_qn.bulk.states import ChallengeState, Change, Entry, Event, Todo
from sinch_qn.errors import JournalError
from sinch_qn.models import GlobalProcessState as SinchState

MINE = Identity("project", "https://api.example")
NUMBER = "+12025550134"
OTHER = "+12025550135"
TOLL_FREE = "+18335550134"


class Kind(NamedTuple):
    """A journal, and what a test needs to reach behind it."""

    journal: Journal
    path: Path | None

    def forget(self, number: str) -> None:
        """Put *number* back to before its first call, as a broken program might."""
        if self.path is None:
            assert isinstance(self.journal, MemoryJournal)
            before = self.journal._entries[number]
            self.journal._save(
                before, attrs.evolve(before, state=ChallengeState.PENDING, attempt=0)
            )
            return
        with sqlite3.connect(self.path) as database:
            database.execute(
                "UPDATE numbers SET state = 'pending', attempt = 0 WHERE number = ?", (number,)
            )
        database.close()

    def outcomes(self, operation: str) -> list[str | None]:
        """Return what is logged of *operation*, by number."""
        if self.path is None:
            assert isinstance(self.journal, MemoryJournal)
            return [o for key, o in sorted(self.journal._log.items()) if key[0] == operation]
        query = "SELECT outcome FROM log WHERE operation = ? ORDER BY number"
        with closing(sqlite3.connect(self.path)) as database:
            return [outcome for (outcome,) in database.execute(query, (operation,))]

    def codes(self) -> list[str]:
        """Return the codes that are kept."""
        if self.path is None:
            assert isinstance(self.journal, MemoryJournal)
            return [code for inbox in self.journal._inbox.values() for _, code in inbox]
        database = sqlite3.connect(self.path)
        try:
            return [code for (code,) in database.execute("SELECT code FROM inbox")]
        finally:
            database.close()


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def kind(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kind]:
    """Return an open journal of each kind."""
    path = tmp_path / "run.db" if request.param == "sqlite" else None
    journal: Journal = MemoryJournal() if path is None else SqliteJournal(path)
    await journal.open(MINE, running=True)
    try:
        yield Kind(journal, path)
    finally:
        await journal.close()


@pytest.fixture
def journal(kind: Kind) -> Journal:
    """Return an open journal of each kind."""
    return kind.journal


def numbers(count: int, start: int = 2_025_550_000) -> list[str]:
    """Return *count* numbers."""
    return [f"+1{start + index}" for index in range(count)]


async def happen(journal: Journal, number: str, *events: Event, **more: Any) -> Entry:
    """Let *events* happen to *number*; all must be possible."""
    more = {"at": 1.0, "window": 100.0, "max_codes": 3} | more
    last = await journal.get(number)
    for event in events:
        assert last is not None
        more["intent"] = last.intent
        change = Change(number=number, event=event, **more)
        (last,) = await journal.apply([change])
        assert last is not None, event
    assert last is not None
    return last


async def submitted(journal: Journal, number: str, code: str, at: float) -> Submission:
    """Hand a code in; return what became of it."""
    submission, _ = await journal.submit_code(number, code, at)
    return submission


async def rows(journal: Journal) -> list[Entry]:
    """Return all rows, read outside the event loop."""
    return await asyncio.to_thread(lambda: list(journal.rows()))


async def called(journal: Journal, *wanted: str) -> None:
    """Add numbers and let each be called."""
    await journal.add([Entry(number=number) for number in wanted])
    for number in wanted:
        await happen(
            journal, number, Event.LOOKED_UP, Event.CALL, Event.CALLED, remote=SinchState.ELIGIBLE
        )


class TestContract:
    """What a run asks of its journal."""

    async def test_a_number_is_added_once(self, journal: Journal) -> None:
        """Rule 10: what is there already, in whatever state, is left alone and not counted."""
        assert await journal.add([]) == 0
        first = Entry(number=NUMBER, ref="ticket 1", line=7, region="US")
        assert await journal.add([first, Entry(number=OTHER), first]) == 2
        await happen(journal, NUMBER, Event.CALL)
        assert await journal.add([Entry(number=NUMBER, ref="ticket 2")]) == 0
        entry = await journal.get(NUMBER)
        assert entry is not None
        assert (entry.ref, entry.line, entry.region) == ("ticket 1", 7, "US")
        assert entry.state is ChallengeState.CALLING
        assert await journal.get("+12025550199") is None

    async def test_every_field_comes_back(self, journal: Journal) -> None:
        """An entry that was stored is read as it was, whatever its fields are."""
        full = Entry(
            number=NUMBER,
            ref="ü;\n",
            line=3,
            state=ChallengeState.UNKNOWN,
            attempt=2,
            intent=(7 << 32) + 5,
            codes_used=1,
            codes_waiting=0,
            called_at=5.5,
            settled_at=7.25,
            due=float("inf"),
            window_end=9.0,
            remote=SinchState("GLOBAL_PROCESS_STATE_TO_COME"),
            region="CA",
            added=True,
            note="a note",
            to_ring=False,
            tries=1,
            batch=4,
        )
        await journal.add([full])
        assert await journal.get(NUMBER) == full
        assert await rows(journal) == [full]

    async def test_a_change_is_applied_where_it_is_possible(self, journal: Journal) -> None:
        """Changes are applied one after the other; one that is not possible changes nothing."""
        await journal.add([Entry(number=NUMBER)])
        call = Change(number=NUMBER, event=Event.CALL, at=1.0)
        done = await journal.apply([call, call, attrs.evolve(call, number=OTHER)])
        assert done[0] is not None
        assert done[1:] == [None, None]
        assert await journal.get(NUMBER) == done[0]
        token = done[0].intent
        assert token is not None
        stale = Change(number=NUMBER, event=Event.CALLED, at=2.0, intent=token - 1)
        assert await journal.apply([stale, attrs.evolve(stale, intent=None)]) == [None, None]
        elsewhere = attrs.evolve(stale, intent=token, from_state=ChallengeState.PENDING)
        assert await journal.apply([elsewhere]) == [None]
        assert await journal.apply([]) == []

    async def test_an_intent_is_logged_once(self, kind: Kind) -> None:
        """P1: a second intent for an attempt that may have rung is a JournalError."""
        await called(kind.journal, NUMBER)
        kind.forget(NUMBER)
        with pytest.raises(JournalError, match="call attempt 1 was made before"):
            await kind.journal.apply([Change(number=NUMBER, event=Event.CALL, at=2.0)])

    async def test_an_attempt_that_was_not_made_may_be_made(self, journal: Journal) -> None:
        """Rule 2: after NOT_CALLED the same attempt has its intent again, as often as need be."""
        await journal.add([Entry(number=NUMBER)])
        for _ in range(3):
            await happen(journal, NUMBER, Event.CALL, Event.CALL_NOT_SENT)
        entry = await happen(journal, NUMBER, Event.CALL, Event.CALLED)
        assert entry.attempt == 1
        await journal.submit_code(NUMBER, "1111", 2.0)
        for _ in range(3):
            assert await journal.claim_code(NUMBER, 2.0) is not None
            await happen(journal, NUMBER, Event.CODE_NOT_SENT)
        taken = await journal.claim_code(NUMBER, 2.0)
        assert taken is not None
        assert taken[0].codes_used == 1

    async def test_codes_of_a_call_that_was_not_made(self, journal: Journal) -> None:
        """Rule 12: an early code for a recall that was not made does not collide with old codes."""
        await called(journal, NUMBER)
        await journal.submit_code(NUMBER, "1111", 2.0)
        await journal.claim_code(NUMBER, 2.0)
        await happen(journal, NUMBER, Event.CODE_REJECTED, Event.RECALL)
        await happen(journal, NUMBER, Event.LOOKED_UP, Event.CALL, remote=SinchState.ELIGIBLE)
        await journal.submit_code(NUMBER, "2222", 3.0)
        await happen(journal, NUMBER, Event.CALL_NOT_SENT)
        taken = await journal.claim_code(NUMBER, 4.0)
        assert taken is not None
        assert taken[1] == "2222"
        assert (await happen(journal, NUMBER, Event.VERIFIED)).state is ChallengeState.VERIFIED

    async def test_codes_are_kept_as_they_came(self, kind: Kind) -> None:
        """Rule 12: a code waits until it is taken, oldest first, leading zeros and all."""
        journal = kind.journal
        assert await submitted(journal, NUMBER, "0001", 1.0) is Submission.REFUSED
        await journal.add([Entry(number=NUMBER)])
        assert await submitted(journal, NUMBER, "0001", 1.0) is Submission.REFUSED
        assert await journal.claim_code(NUMBER, 1.0) is None
        assert await journal.claim_code(OTHER, 1.0) is None
        await happen(journal, NUMBER, Event.CALL)
        assert await submitted(journal, NUMBER, "0001", 1.0) is Submission.ACCEPTED
        assert await submitted(journal, NUMBER, "01", 1.0) is Submission.ACCEPTED
        assert await submitted(journal, NUMBER, "0001", 1.0) is Submission.DUPLICATE
        assert await journal.claim_code(NUMBER, 1.0) is None  # still being called
        await happen(journal, NUMBER, Event.CALLED)
        for code in ("0001", "01"):
            taken = await journal.claim_code(NUMBER, 1.0)
            assert taken is not None
            assert taken[1] == code
            assert await journal.claim_code(NUMBER, 1.0) is None
            assert await submitted(journal, NUMBER, code, 1.0) is Submission.DUPLICATE
            await happen(journal, NUMBER, Event.CODE_REJECTED)
        assert sorted(kind.codes()) == ["0001", "01"]
        assert await submitted(journal, NUMBER, "0001", 2.0) is Submission.DUPLICATE
        # A new call has new codes, though they be the same.
        await happen(journal, NUMBER, Event.RECALL)
        await happen(
            journal, NUMBER, Event.LOOKED_UP, Event.CALL, Event.CALLED, remote=SinchState.ELIGIBLE
        )
        assert await submitted(journal, NUMBER, "0001", 3.0) is Submission.ACCEPTED

    async def test_the_code_that_is_tried_again_is_the_same(self, journal: Journal) -> None:
        """Rule 15: after a lost answer the code in hand goes first, before those that wait."""
        await called(journal, NUMBER)
        for code in ("1111", "2222"):
            await journal.submit_code(NUMBER, code, 1.0)
        await journal.claim_code(NUMBER, 1.0)
        await happen(journal, NUMBER, Event.VERIFY_UNKNOWN, Event.RETRY_CODE)
        taken = await journal.claim_code(NUMBER, 1.0)
        assert taken is not None
        assert taken[1] == "1111"
        assert taken[0].codes_used == 2

    async def test_a_refused_code_is_not_tried_again(self, journal: Journal) -> None:
        """Rule 15: the code that comes back is the one in hand, none that was refused before."""
        await called(journal, NUMBER)
        for code in ("1111", "2222"):
            await journal.submit_code(NUMBER, code, 1.0)
        await journal.claim_code(NUMBER, 1.0)
        await happen(journal, NUMBER, Event.CODE_REJECTED)
        await journal.claim_code(NUMBER, 1.0)
        await happen(journal, NUMBER, Event.CODE_NOT_SENT)
        taken = await journal.claim_code(NUMBER, 1.0)
        assert taken is not None
        assert taken[1] == "2222"

    async def test_a_person_who_was_asked_may_say_the_same(self, journal: Journal) -> None:
        """Rule 15: the code that a person is asked for once more is no duplicate then."""
        await called(journal, NUMBER)
        await journal.submit_code(NUMBER, "1111", 1.0)
        await journal.claim_code(NUMBER, 1.0)
        await happen(journal, NUMBER, Event.VERIFY_UNKNOWN, Event.RETRY_CODE)
        await journal.claim_code(NUMBER, 1.0)
        await happen(journal, NUMBER, Event.VERIFY_UNKNOWN, Event.REQUEST_CODE)
        assert await submitted(journal, NUMBER, "1111", 2.0) is Submission.ACCEPTED

    @pytest.mark.parametrize("end", [Event.VERIFIED, Event.BLOCKED, Event.CODE_REJECTED])
    async def test_codes_are_erased_when_their_number_settles(self, kind: Kind, end: Event) -> None:
        """Rule 16: once a number is settled no code of it is kept, not even one that waited."""
        await called(kind.journal, NUMBER, OTHER)
        for code in ("1111", "2222"):
            await kind.journal.submit_code(NUMBER, code, 1.0)
        await kind.journal.submit_code(OTHER, "3333", 1.0)
        await kind.journal.claim_code(NUMBER, 1.0)
        entry = await happen(kind.journal, NUMBER, end, max_codes=1)
        assert entry.settled_at is not None
        assert kind.codes() == ["3333"]
        if end is Event.CODE_REJECTED:
            assert entry.state is ChallengeState.FAILED
            again = await happen(kind.journal, NUMBER, Event.RECALL)
            assert again.todo is Todo.LOOK_UP
            assert await kind.journal.claim_code(NUMBER, 2.0) is None
        else:
            assert await submitted(kind.journal, NUMBER, "1111", 2.0) is Submission.REFUSED

    async def test_what_is_due_is_picked_longest_due_first(self, journal: Journal) -> None:
        """Rule 8: what is to be done next comes from the journal, by its kind and time, once."""
        first, second, third = numbers(3)
        await journal.add([Entry(number=number) for number in (first, second, third)])
        await happen(journal, first, Event.POSTPONED, due=50.0)
        await happen(journal, second, Event.POSTPONED, due=20.0)
        await happen(journal, second, Event.POSTPONED, due=30.0)
        await happen(journal, second, Event.POSTPONED, due=20.0)
        picked = await journal.due(Todo.LOOK_UP, 40.0, 10)
        assert [entry.number for entry in picked] == [third, second]
        assert await journal.due(Todo.LOOK_UP, 40.0, 10) == picked
        assert len(await journal.due(Todo.LOOK_UP, 50.0, 2)) == 2
        assert await journal.backlog(Todo.LOOK_UP, 40.0) == 2
        assert await journal.backlog(Todo.LOOK_UP, 50.0) == 3
        assert await journal.due(Todo.CALL, 50.0, 10) == []
        assert await journal.backlog(Todo.CALL, 50.0) == 0
        await happen(journal, third, Event.LOOKED_UP, remote=SinchState.ELIGIBLE)
        assert [e.number for e in await journal.due(Todo.CALL, 40.0, 10)] == [third]

    async def test_when_the_next_is_due(self, journal: Journal) -> None:
        """Rule 19: nothing is due once all is settled; what waits for an answer never is."""
        assert await journal.next_due() is None
        await journal.add([Entry(number=NUMBER), Entry(number=OTHER)])
        await happen(journal, NUMBER, Event.POSTPONED, due=70.0)
        await happen(journal, OTHER, Event.POSTPONED, due=60.0)
        assert await journal.next_due() == 60.0
        await happen(journal, OTHER, Event.ALREADY_VERIFIED)
        assert await journal.next_due() == 70.0
        await happen(
            journal, NUMBER, Event.LOOKED_UP, Event.CALL, Event.CALLED, remote=SinchState.ELIGIBLE
        )
        assert await journal.next_due() == 101.0  # its window
        await journal.submit_code(NUMBER, "1111", 2.0)
        assert await journal.next_due() == 0.0
        await journal.claim_code(NUMBER, 2.0)
        assert await journal.next_due() == float("inf")
        await happen(journal, NUMBER, Event.VERIFIED)
        assert await journal.next_due() is None

    async def test_what_a_crash_has_left(self, journal: Journal) -> None:
        """P8: an intent without an outcome is found again, and nothing else is."""
        calling, verifying, *rest = numbers(4)
        await called(journal, verifying, *rest)
        await journal.add([Entry(number=calling), Entry(number=OTHER)])
        await happen(journal, calling, Event.CALL)
        await journal.submit_code(verifying, "1111", 1.0)
        await journal.claim_code(verifying, 1.0)
        unfinished = await journal.open_intents()
        assert {entry.number for entry in unfinished} == {calling, verifying}

    async def test_who_was_called_lately(self, journal: Journal) -> None:
        """Rule 9: the last calls are known by the time of their intents, oldest first."""
        wanted = numbers(4)
        await journal.add([Entry(number=number) for number in wanted])
        for at, number in zip((30.0, 10.0, 20.0), wanted, strict=False):
            await happen(journal, number, Event.CALL, at=at)
        assert [e.called_at for e in await journal.called_since(0.0)] == [10.0, 20.0, 30.0]
        assert [e.called_at for e in await journal.called_since(10.0)] == [20.0, 30.0]
        await happen(journal, wanted[0], Event.CALL_NOT_SENT)
        assert [e.called_at for e in await journal.called_since(10.0)] == [20.0]

    async def test_counts_are_exact(self, journal: Journal) -> None:
        """Rule 21: counts have every state, and are those of the rows after random changes."""
        chance = random.Random(11)
        wanted = numbers(40)
        await journal.add([Entry(number=number) for number in wanted])
        await journal.add([Entry(number="x", state=ChallengeState.INVALID, settled_at=1.0)])
        for moment in range(300):
            picked = [await journal.get(chance.choice(wanted)) for _ in range(5)]
            changes = [
                Change(
                    number=entry.number,
                    event=chance.choice(list(Event)),
                    at=float(moment),
                    intent=entry.intent,
                    window=10.0,
                    max_codes=2,
                )
                for entry in picked
                if entry is not None
            ]
            await journal.apply([c for c in changes if c.event not in {Event.CODE, Event.VERIFY}])
            number = chance.choice(wanted)
            await journal.submit_code(number, str(chance.randrange(3)), float(moment))
            await journal.claim_code(number, float(moment))
        counts = await journal.counts()
        assert set(counts) == set(ChallengeState)
        found = Counter(entry.state for entry in await rows(journal))
        assert {state: n for state, n in counts.items() if n} == found
        assert sum(counts.values()) == 41

    async def test_counts_follow_at_once(self, journal: Journal) -> None:
        """Counts that are asked for after a change have it in them, committed yet or not."""
        await journal.add([Entry(number=NUMBER)])
        call = Change(number=NUMBER, event=Event.CALL, at=1.0)
        _, counts = await asyncio.gather(journal.apply([call]), journal.counts())
        assert (counts[ChallengeState.PENDING], counts[ChallengeState.CALLING]) == (0, 1)

    async def test_an_entry_knows_its_batch_at_once(self, journal: Journal) -> None:
        """An entry that was read before its batch was taken, or freed, is not what comes after."""

        async def batch() -> int | None:
            entry = await journal.get(NUMBER)
            assert entry is not None
            return entry.batch

        await journal.add(
            [Entry(number=NUMBER, state=ChallengeState.VERIFIED, remote=SinchState.VERIFIED)]
        )
        assert await batch() is None
        taken = await journal.claim_batch(toll_free=False, region=None, limit=1, at=1.0)
        assert taken is not None
        assert await batch() == taken.id
        sending = [BatchState.SENDING]
        await journal.record_batch_outcome(taken.id, BatchState.NOT_SENT, only_from=sending)
        assert await batch() is None

    async def test_rows_come_in_the_order_they_were_added(self, journal: Journal) -> None:
        """Rule 20: all rows come back, in order, also after the journal was closed."""
        wanted = numbers(4100)
        await journal.add([Entry(number=number) for number in reversed(wanted)])
        assert [entry.number for entry in await rows(journal)] == wanted[::-1]
        await journal.close()
        assert len(await rows(journal)) == 4100

    async def test_it_belongs_to_one_project(self, kind: Kind) -> None:
        """Rule 11: a journal of another project id or base URL is a JournalError."""
        journal = kind.journal
        await journal.close()
        for other in (
            Identity("another", MINE.base_url),
            Identity(MINE.project_id, "https://elsewhere.example"),
        ):
            with pytest.raises(JournalError, match="belongs to project project"):
                await journal.open(other, running=True)
        await journal.open(MINE, running=True)

    async def test_one_runner_at_a_time(self, kind: Kind) -> None:
        """Rule 11: a second runner is refused until the first has gone; a submitter is not."""
        journal = kind.journal
        second = journal if kind.path is None else SqliteJournal(kind.path)
        with pytest.raises(JournalError, match="another run is using this journal"):
            await second.open(MINE, running=True)
        await second.open(None, running=False)
        assert await second.get(NUMBER) is None
        if second is not journal:
            await second.close()
        await journal.close()
        await second.open(MINE, running=True)
        await second.close()

    async def test_batches(self, journal: Journal) -> None:
        """Rule 23: verified numbers go into one batch each; toll-free ones into their own."""
        us, ca, unsure, skipped, pending = numbers(5)
        everyone = [
            Entry(number=us, region="US"),
            Entry(number=ca, region="CA"),
            Entry(number=unsure),
            Entry(number=TOLL_FREE, region="US"),
            Entry(number=skipped, region="US"),
            Entry(number=pending, region="US"),
        ]
        await journal.add(everyone)
        take = journal.claim_batch
        assert await take(toll_free=False, region="US", limit=500, at=1.0) is None
        for number in (us, ca, unsure, TOLL_FREE):
            await happen(journal, number, Event.CALL, Event.VERIFIED, remote=SinchState.VERIFIED)
        await happen(journal, skipped, Event.ALREADY_VERIFIED, remote=SinchState.VERIFIED)
        first = await take(toll_free=False, region="US", limit=2, at=5.0)
        assert first is not None
        assert (first.numbers, first.region, first.state) == (
            (us, unsure),
            "US",
            BatchState.SENDING,
        )
        second = await take(toll_free=False, region="CA", limit=9, at=6.0)
        assert second is not None
        assert second.numbers == (ca,)
        free = await take(toll_free=True, region=None, limit=9, at=7.0)
        assert free is not None
        assert (free.numbers, free.toll_free) == ((TOLL_FREE,), True)
        third = await take(toll_free=False, region=None, limit=9, at=8.0)
        assert third is not None
        assert third.numbers == (skipped,)
        assert await take(toll_free=False, region=None, limit=9, at=9.0) is None
        record = partial(journal.record_batch_outcome, only_from=[BatchState.SENDING])
        await record(first.id, BatchState.ORDERED, order_id="order")
        await record(second.id, BatchState.UNKNOWN, note="lost")
        await record(third.id, BatchState.NOT_SENT, note="down")
        batches = await journal.batches()
        assert [batch.id for batch in batches] == [first.id, second.id, free.id, third.id]
        assert [batch.state for batch in batches] == [
            BatchState.ORDERED,
            BatchState.UNKNOWN,
            BatchState.SENDING,
            BatchState.NOT_SENT,
        ]
        assert (batches[0].order_id, batches[0].at, batches[0].numbers) == (
            "order",
            5.0,
            (us, unsure),
        )
        assert batches[1].note == "lost"
        # What was not sent is free for another; what is unknown is never taken again.
        again = await take(toll_free=False, region=None, limit=9, at=10.0)
        assert again is not None
        assert again.numbers == (skipped,)
        entry = await journal.get(us)
        assert entry is not None
        assert entry.batch == first.id
        assert not can_be_enabled(entry)

    async def test_an_outcome_of_a_batch_that_moved_on_is_refused(self, journal: Journal) -> None:
        """Rule 23: a batch that has moved on meanwhile is left alone, and so are its numbers."""
        await journal.add(
            [Entry(number=NUMBER, state=ChallengeState.VERIFIED, remote=SinchState.VERIFIED)]
        )
        batch = await journal.claim_batch(toll_free=False, region=None, limit=9, at=1.0)
        assert batch is not None
        lost, ordered, freed = BatchState.UNKNOWN, BatchState.ORDERED, BatchState.NOT_SENT
        record = journal.record_batch_outcome
        assert await record(batch.id, ordered, only_from=[BatchState.SENDING])
        before = await journal.batches()
        assert not await record(batch.id, freed, note="freed", only_from=[lost])
        assert not await record(batch.id, freed, only_from=[])
        assert not await record(batch.id + 1, freed, only_from=list(BatchState))
        assert await journal.batches() == before
        assert before[0].numbers == (NUMBER,)
        assert await record(batch.id, freed, only_from=[lost, ordered])
        (after,) = await journal.batches()
        assert (after.state, after.numbers) == (freed, ())

    async def test_a_number_that_was_added_has_an_outcome(self, kind: Kind) -> None:
        """P8: what Sinch says of a number that was added is the outcome of adding it."""
        wanted = numbers(5)
        await kind.journal.add([Entry(number=number) for number in wanted])
        for number in wanted:
            await happen(kind.journal, number, Event.ADD)
        learnt = (Event.LOOKED_UP, Event.ALREADY_VERIFIED, Event.NOT_CALLABLE, Event.BLOCKED)
        for number, event in zip(wanted, learnt, strict=False):
            await happen(kind.journal, number, event, remote=SinchState.ELIGIBLE)
        await happen(kind.journal, wanted[-1], Event.NOT_CALLABLE)  # it is still not known there
        assert kind.outcomes("add") == ["done"] * 4 + [None]

    async def test_many_at_once(self, journal: Journal) -> None:
        """Callers that come at the same time are each served, and none twice."""
        wanted = numbers(60)
        added = await asyncio.gather(
            *(journal.add([Entry(number=number)]) for number in wanted + wanted)
        )
        assert sum(added) == 60
        calls = [Change(number=number, event=Event.CALL, at=1.0) for number in wanted + wanted]
        done = await asyncio.gather(*(journal.apply([call]) for call in calls))
        assert sum(entry is not None for (entry,) in done) == 60
        assert (await journal.counts())[ChallengeState.CALLING] == 60


def without_tokens(answer: Any) -> Any:
    """Return *answer* without the tokens of intents, which each journal gives as it likes."""
    if isinstance(answer, list | tuple):
        return [without_tokens(part) for part in answer]
    return attrs.evolve(answer, intent=None) if isinstance(answer, Entry) else answer


async def test_both_kinds_agree(tmp_path: Path) -> None:
    """The same history in each kind of journal ends in the same rows, codes and answers."""
    memory, sqlite = MemoryJournal(), SqliteJournal(tmp_path / "run.db")
    journals: list[Journal] = [memory, sqlite]
    for each in journals:
        await each.open(MINE, running=True)
        await each.add([Entry(number=number) for number in numbers(8)])
    chance = random.Random(5)
    for moment in range(600):
        number, at = chance.choice(numbers(8)), float(moment)
        kind = chance.randrange(6)
        event = chance.choice([e for e in Event if e not in {Event.CODE, Event.VERIFY}])
        change = Change(
            number=number,
            event=event,
            at=at,
            due=chance.choice([None, at + 5]),
            window=20.0,
            max_codes=2,
            remote=chance.choice([None, SinchState.ELIGIBLE, SinchState.VERIFIED]),
        )
        code, todo = str(chance.randrange(4)), chance.choice(list(Todo)[1:])
        answers: list[Any] = []
        for each in journals:
            if kind == 0:
                answers.append(await each.submit_code(number, code, at))
            elif kind == 1:
                answers.append(await each.claim_code(number, at))
            elif kind == 2:
                answers.append(await each.due(todo, at, 3))
            elif kind == 3:
                answers.append((await each.next_due(), await each.backlog(todo, at)))
            else:
                entry = await each.get(number)
                token = None if entry is None else entry.intent
                answers.append(await each.apply([attrs.evolve(change, intent=token)]))
        assert without_tokens(answers[0]) == without_tokens(answers[1]), (moment, kind, change)
    assert without_tokens(await rows(memory)) == without_tokens(await rows(sqlite))
    await sqlite.close()
    found = sqlite3.connect(tmp_path / "run.db")
    inbox_rows = found.execute("SELECT number, attempt, code, status FROM inbox").fetchall()
    found.close()
    assert sorted(inbox_rows) == sorted(
        (number, *key, status)
        for number, inbox in memory._inbox.items()
        for key, status in inbox.items()
    )


def test_what_is_logged_of_an_unsafe_write() -> None:
    """P8: each unsafe write has an intent and an outcome in the log; other events have no row."""
    before = Entry(number=NUMBER, attempt=1, state=ChallengeState.CALLING)
    after = attrs.evolve(before, attempt=2)
    assert logged_write(before, after, Event.LOOKED_UP) is None
    assert (
        logged_write(attrs.evolve(before, state=ChallengeState.PENDING), after, Event.BLOCKED)
        is None
    )
    intent = logged_write(before, after, Event.CALL)
    assert intent is not None
    assert (intent.operation, intent.attempt, intent.outcome) == ("call", 2, None)
