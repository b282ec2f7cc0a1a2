"""Several runners on one run in PostgreSQL: claims, leases, fences, one shared pace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import psycopg
import pytest
import pytest_asyncio

from sinch_qn.bulk.journal import postgres, postgres_claims, postgres_lease
from sinch_qn.bulk.journal.postgres import PostgresJournal
from sinch_qn.bulk.journal.postgres_control import PostgresControl
from sinch_qn.bulk.journal.postgres_lease import Seat
from sinch_qn.bulk.journal.postgres_transaction import Transaction
from sinch_qn.bulk.journal.postgres_url import parse_url
from sinch_qn.bulk.journal.protocol import RunSettings
from sinch_qn.bulk.pacing import CallResult
from sinch_qn.bulk.permits import Permits, Told, Turn
from sinch_qn.bulk.states import ChallengeState, Change, Entry, Event, Todo
from sinch_qn.errors import JournalError
from sinch_qn.models import GlobalProcessState
from tests.support.journals import MINE, happen
from tests.support.postgres import at_time, execute
from tests.support.runs import NUMBER, numbers

FAST = RunSettings(calls_per_second=1000.0, max_ringing=50)
REACHABLE = Told(result=CallResult.REACHABLE)


class Fleet:
    """Journals of one run, all of which are closed at the end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.stack = AsyncExitStack()

    async def runner(self, settings: RunSettings = FAST) -> PostgresJournal:
        """Return another runner's journal."""
        return await self._opened(running=True, settings=settings)

    async def submitter(self) -> PostgresJournal:
        """Return the journal of a process that hands codes in."""
        return await self._opened(running=False, settings=None)

    async def _opened(self, *, running: bool, settings: RunSettings | None) -> PostgresJournal:
        journal = PostgresJournal(self.url, require_durable=False)
        await journal.open(MINE, running=running, settings=settings)
        self.stack.push_async_callback(journal.close)
        return journal

    def silence(self, journal: PostgresJournal) -> None:
        """Let the lease of *journal* be over, as if its process had been stopped for long."""
        lease = journal._held_lease
        execute(self.url, "UPDATE writers SET lease_end = 1 WHERE id = %s", lease.seat.id)

    def steady(self, journal: PostgresJournal) -> None:
        """Let *journal* have kept its lease for long."""
        journal._held_lease._kept_since = -1e9


@pytest_asyncio.fixture
async def fleet(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Fleet]:
    """Return the journals of one run, whose turns do not end while a test looks at them."""
    monkeypatch.setattr(postgres_claims, "TURN_LIFETIME", 60.0)
    fleet = Fleet(url)
    async with fleet.stack:
        yield fleet


async def eligible(journal: PostgresJournal, count: int) -> list[str]:
    """Add *count* numbers that are due to be called; return them."""
    found = GlobalProcessState.ELIGIBLE
    wanted = numbers(count)
    await journal.add([Entry(number=number, remote=found) for number in wanted])
    return wanted


async def turns_for(journal: PostgresJournal, want: int) -> list[Turn]:
    """Return *want* turns, however many requests that takes."""
    turns: list[Turn] = []
    while len(turns) < want:
        permits = await journal.permits([REACHABLE], want - len(turns))
        turns += permits.turns
    return turns


async def test_two_runners_call_no_number_twice(fleet: Fleet) -> None:
    """P1: however many runners start calls at once, each number is called by one."""
    runners = [await fleet.runner() for _ in range(3)]
    wanted = await eligible(runners[0], 30)

    async def work(journal: PostgresJournal) -> list[Entry]:
        entries = []
        for turn in await turns_for(journal, 10):
            entry = await journal.start_call(turn)
            if entry is not None:
                entries.append(entry)
        return entries

    called = [entry for each in await asyncio.gather(*map(work, runners)) for entry in each]
    assert sorted(entry.number for entry in called) == sorted(wanted)
    assert len({entry.intent for entry in called}) == 30
    assert {entry.attempt for entry in called} == {1}
    log = execute(fleet.url, "SELECT number, outcome FROM log ORDER BY number")
    assert log == [(number, None) for number in sorted(wanted)]


async def test_a_turn_is_for_one_call(fleet: Fleet) -> None:
    """A turn is used once; one that is void, or another runner's, starts nothing."""
    one, two = [await fleet.runner() for _ in range(2)]
    await eligible(one, 5)
    first, second, third = await turns_for(one, 3)
    assert await two.start_call(first) is None
    assert await one.start_call(first) is None  # given up
    assert await one.start_call(second) is not None
    assert await one.start_call(second) is None
    execute(fleet.url, "UPDATE slots SET until = 0 WHERE id = %s", third.slot)
    assert await one.start_call(third) is None
    assert len(execute(fleet.url, "SELECT 1 FROM log")) == 1


async def test_an_outcome_needs_the_token_of_its_intent(fleet: Fleet) -> None:
    """Rule 29: a withdrawal by one runner leaves the later intent of another one alone."""
    one, two = [await fleet.runner() for _ in range(2)]
    (number,) = await eligible(one, 1)
    (turn,) = await turns_for(one, 1)
    stale = await one.start_call(turn)
    assert stale is not None
    withdrawal = Change(number=number, event=Event.CALL_NOT_SENT, at=one.now(), intent=stale.intent)
    assert (await one.apply([withdrawal])) != [None]
    (turn,) = await turns_for(two, 1)
    called = await two.start_call(turn)
    assert called is not None
    assert called.attempt == stale.attempt
    assert await one.apply([withdrawal]) == [None]
    entry = await two.get(number)
    assert entry is not None
    assert entry.state is ChallengeState.CALLING


async def test_a_code_is_taken_by_one_runner(fleet: Fleet) -> None:
    """P1: codes that a submitter hands in are each taken once, oldest first for a number."""
    one, two = [await fleet.runner() for _ in range(2)]
    desk = await fleet.submitter()
    wanted = await eligible(one, 6)
    for number in wanted:
        await happen(one, number, Event.CALL, Event.CALLED, at=one.now())
        await desk.submit_code(number, f"1{number[-4:]}", desk.now())
        await desk.submit_code(number, f"2{number[-4:]}", desk.now())
    taken = await asyncio.gather(*(each.take_code() for each in (one, two) * 5))
    pairs = [(entry.number, code) for entry, code in filter(None, taken)]
    assert sorted(pairs) == sorted((number, f"1{number[-4:]}") for number in wanted)
    assert await one.take_code() is None


async def test_a_lost_lease_is_a_fence(fleet: Fleet) -> None:
    """A runner whose lease is over commits no intent; its outcome is still the truth."""
    one, two = [await fleet.runner() for _ in range(2)]
    third = (await eligible(one, 3))[-1]
    first, second = await turns_for(one, 2)
    called = await one.start_call(first)
    assert called is not None
    fleet.silence(one)
    assert await one.start_call(second) is None
    assert await one.take_code() is None
    add = Change(number=third, event=Event.ADD, at=one.now())
    assert await one.apply([add]) == [None]
    assert (await asked(one, [REACHABLE])).turns == []
    # Others settle what it left, but not at once after an outage.
    assert await two.reap(100.0) == []
    fleet.steady(two)
    (reaped,) = await two.reap(100.0)
    assert (reaped.number, reaped.state) == (called.number, ChallengeState.UNKNOWN)
    assert await two.reap(100.0) == []
    late = Change(
        number=called.number, event=Event.CALLED, at=one.now(), intent=called.intent, window=9.0
    )
    (entry,) = await one.apply([late])
    assert entry is not None
    assert entry.state is ChallengeState.AWAITING_CODE
    # It gets another row, and goes on.
    seat = one._held_lease.seat
    async with one._held_lease.connection() as connection:
        await one._held_lease._renew(connection)
    assert one._held_lease.seat is not seat
    (turn,) = await turns_for(one, 1)
    again = await one.start_call(turn)
    assert again is not None
    assert again.intent is not None
    assert again.intent >> 32 == one._held_lease.seat.id


async def test_an_outage_reaps_nobody(fleet: Fleet) -> None:
    """4.4.4: whoever is back first after an outage has not kept its own lease, and must wait."""
    one, two = [await fleet.runner() for _ in range(2)]
    await eligible(one, 1)
    (turn,) = await turns_for(one, 1)
    assert await one.start_call(turn) is not None
    fleet.steady(two)
    for each in (one, two):
        fleet.silence(each)
    lease = two._held_lease
    async with lease.connection() as connection:
        await lease._renew(connection)
    assert lease.holds()
    assert not lease.is_steady()
    assert await two.reap(100.0) == []


async def test_an_intent_that_is_late_is_withdrawn(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4.4.2: what was committed too late to be sent is taken back, with its slot."""
    one = await fleet.runner()
    number, coded = await eligible(one, 2)
    await happen(one, coded, Event.CALL, Event.CALLED, at=one.now())
    await one.submit_code(coded, "1111", one.now())
    (turn,) = await turns_for(one, 1)
    monkeypatch.setattr(postgres, "_SEND_BY", -1.0)
    assert await one.start_call(turn) is None
    assert await one.take_code() is None
    monkeypatch.setattr(postgres, "_SEND_BY", 60.0)
    entry = await one.get(number)
    assert entry is not None
    assert (entry.state, entry.attempt) == (ChallengeState.PENDING, 0)
    assert execute(fleet.url, "SELECT * FROM slots") == []
    taken = await one.take_code()
    assert taken is not None
    assert taken[1] == "1111"


async def test_all_runners_share_slots_and_pace(fleet: Fleet) -> None:
    """`max_ringing` and the rate hold over all runners; a code frees a slot once its call ended."""
    settings = RunSettings(calls_per_second=1000.0, max_ringing=3)
    one, two = [await fleet.runner(settings) for _ in range(2)]
    await eligible(one, 10)
    turns = await turns_for(one, 2)
    turns += await turns_for(two, 1)
    called = [await one.start_call(turns[0]), await one.start_call(turns[1])]
    called.append(await two.start_call(turns[2]))
    full = await asked(two, [])
    assert (full.turns, full.ringing) == ([], 3)
    first = called[0]
    assert first is not None
    await happen(one, first.number, Event.CALLED, at=one.now())
    await one.submit_code(first.number, "1111", one.now())
    assert (await asked(one, [])).ringing == 3  # in flight, as far as is known
    told = [Told(result=CallResult.ANSWERED, slot=turns[0].slot)]
    permits = await asked(one, told, want=0)
    assert permits.ringing == 2
    assert len((await asked(two, told, want=5)).turns) == 1


async def asked(journal: PostgresJournal, told: list[Told], want: int = 5) -> Permits:
    """Return permits, asked for without regard to the last time."""
    journal._next_ask = 0.0
    return await journal.permits(told, want)


async def test_told_twice_is_told_once(fleet: Fleet) -> None:
    """4.6: the end of a call counts once, however often it is told."""
    one = await fleet.runner()
    await eligible(one, 3)
    (turn,) = await turns_for(one, 1)
    assert await one.start_call(turn) is not None
    told = [Told(result=CallResult.UNANSWERED, slot=turn.slot)]
    for _ in range(3):
        await asked(one, told, want=0)
    (((value),),) = execute(fleet.url, "SELECT value FROM pacing")
    assert value["streak"] == 1


async def test_a_claim_comes_back_by_itself(fleet: Fleet) -> None:
    """Safe work is claimed by one runner for a while, and is due again if nothing comes of it."""
    one, two = [await fleet.runner() for _ in range(2)]
    await one.add([Entry(number=number) for number in numbers(5)])
    mine, theirs = await asyncio.gather(
        one.claim(Todo.LOOK_UP, 3, 60.0), two.claim(Todo.LOOK_UP, 3, 60.0)
    )
    assert len({entry.number for entry in mine + theirs}) == 5
    assert await one.claim(Todo.LOOK_UP, 3, 60.0) == []
    assert await one.backlog(Todo.LOOK_UP) == 0
    execute(fleet.url, "UPDATE numbers SET due = due - 100")
    assert await one.backlog(Todo.LOOK_UP) == 5
    assert await one.backlog(Todo.LOOK_UP, 2) == 2
    assert len(await two.claim(Todo.LOOK_UP, 9, 60.0)) == 5


async def test_a_chore_is_one_runners(fleet: Fleet) -> None:
    """A chore belongs to one runner until it gives it up, is over, or its runner is gone."""
    one, two = [await fleet.runner() for _ in range(2)]
    assert await one.chore("list", 60.0)
    assert await one.chore("list", 60.0)
    assert not await two.chore("list", 60.0)
    assert await two.chore("probe", 60.0)
    await one.chore("list", 0)
    assert await two.chore("list", 60.0)
    execute(fleet.url, "UPDATE chores SET until = 0")
    assert await one.chore("list", 60.0)
    fleet.silence(one)
    fleet.steady(two)
    await two.reap(1.0)
    assert await two.chore("list", 60.0)


async def test_hours_are_checked_in_the_commit(fleet: Fleet) -> None:
    """Rule 18: numbers outside their hours are postponed, and the next one is called."""
    one = await fleet.runner()
    wanted = await eligible(one, 5)
    opening = dict.fromkeys(wanted[:4], 3600.0)

    def opens_in(number: str, now: float) -> float:
        assert abs(now - one.now()) < 60
        return opening.get(number, 0.0)

    first, second = await turns_for(one, 2)
    called, nothing = await asyncio.gather(
        one.start_call(first, opens_in), one.start_call(second, opens_in)
    )
    assert called is not None
    assert called.number == wanted[4]
    assert nothing is None
    late = await one.get(wanted[0])
    assert late is not None
    assert late.due > one.now() + 3000
    assert late.note == "outside its calling hours"


async def test_settings_are_the_runs(fleet: Fleet) -> None:
    """A runner with other settings is refused while others live; the first one begins anew."""
    one = await fleet.runner()
    with pytest.raises(JournalError):
        await fleet.runner(RunSettings(calls_per_second=1.0))
    two = await fleet.runner()
    await asked(one, [REACHABLE])
    await two.stop_run("credentials refused")
    stopped = await asked(one, [])
    assert stopped.stopped == "credentials refused"
    await fleet.stack.aclose()
    slow = await fleet.runner(RunSettings(calls_per_second=1.0))
    fresh = await asked(slow, [])
    assert (fresh.stopped, fresh.paused) == (None, True)


async def test_who_only_adds_leaves_the_settings(fleet: Fleet) -> None:
    """Adding numbers changes neither the settings of a run, nor its pace, nor its stop."""
    hours = RunSettings(calls_per_second=1.0, calling_hours="09:00-20:00")
    query = "SELECT settings, stopped, value FROM runs JOIN pacing ON run = id"

    async def add() -> None:
        journal = PostgresJournal(fleet.url, require_durable=False)
        await journal.open(MINE, running=True, settings=FAST, calls=False)
        await journal.close()

    await add()
    ((new, _, _),) = execute(fleet.url, query)
    assert new["calls_per_second"] == FAST.calls_per_second
    runner = await fleet.runner(hours)
    await asked(runner, [REACHABLE])
    await runner.stop_run("credentials refused")
    before = execute(fleet.url, query)
    assert before[0][0]["calling_hours"] == hours.calling_hours
    for _ in range(2):
        await add()
        assert execute(fleet.url, query) == before
        await runner.close()


async def test_a_submitter_wakes_runners(fleet: Fleet) -> None:
    """A runner that waits hears of what submitters write; the poll is the rest."""
    one = await fleet.runner()
    desk = await fleet.submitter()
    await asyncio.wait_for(one.changed(60), 10)  # it listens from now on
    for write in (
        lambda: desk.add([Entry(number=NUMBER, remote=GlobalProcessState.ELIGIBLE)]),
        lambda: desk.apply([Change(number=NUMBER, event=Event.POSTPONED, at=1.0)]),
    ):
        await write()
        await asyncio.wait_for(one.changed(60), 10)


async def test_open_numbers(fleet: Fleet) -> None:
    """A run is idle only if no number is open anywhere, calls of other runners included."""
    one, two = [await fleet.runner() for _ in range(2)]
    assert not await one.open_numbers()
    (number,) = await eligible(one, 1)
    assert await two.open_numbers()
    (turn,) = await turns_for(one, 1)
    assert await one.start_call(turn) is not None
    assert await two.open_numbers()
    await happen(one, number, Event.NOT_CALLABLE)
    assert not await two.open_numbers()


async def test_a_runner_that_leaves_is_not_waited_for(fleet: Fleet) -> None:
    """What a runner left open when it closed is seen to at once; then nothing of it is left."""
    one, two = [await fleet.runner() for _ in range(2)]
    await eligible(one, 1)
    (turn,) = await turns_for(one, 1)
    assert await one.start_call(turn) is not None
    await one.close()
    fleet.steady(two)
    (entry,) = await two.reap(100.0)
    assert entry.state is ChallengeState.UNKNOWN


@pytest.mark.parametrize("hours", [-1, 1])
async def test_the_hosts_clock_is_not_asked(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """4.4.6: a host whose clock is wrong does and writes the same as the others."""
    real = time.time()
    monkeypatch.setattr(time, "time", lambda: real + 3600 * hours)
    wrong = await fleet.runner()
    (number,) = await eligible(wrong, 1)
    ((now,),) = execute(fleet.url, "SELECT epoch()")
    assert wrong.now() == pytest.approx(now, abs=60)
    (turn,) = await turns_for(wrong, 1)
    entry = await wrong.start_call(turn)
    assert entry is not None
    assert entry.called_at == pytest.approx(now, abs=60)
    await happen(wrong, number, Event.CALLED, at=wrong.now(), window=600.0)
    assert await wrong.claim(Todo.EXPIRE, 1, 60.0) == []


async def test_a_clock_that_is_set_back_is_corrected_once(fleet: Fleet) -> None:
    """Rule 17: however many runners notice that the database's clock was set back, one corrects."""
    one, two = [await fleet.runner() for _ in range(2)]
    await one.add([Entry(number=NUMBER, due=5000.0)])
    for each in (one, two):
        await each.advance_due(1000.0, after=100.0)
    entry = await two.get(NUMBER)
    assert entry is not None
    assert entry.due == 4000.0


async def test_a_clock_that_is_set_back_stops_no_calls(fleet: Fleet) -> None:
    """Rule 17: neither the next turn nor a ringing phone waits until the clock has caught up."""
    one = await fleet.runner(RunSettings(calls_per_second=0.5, max_ringing=1, ring_window=90.0))
    await eligible(one, 2)
    (turn,) = await turns_for(one, 1)
    assert await one.start_call(turn) is not None
    told = [Told(result=CallResult.ANSWERED, slot=turn.slot)]
    back = one.now() - 3600.0
    with at_time(one._address, back):
        assert (await asked(one, told)).turns == []
    with at_time(one._address, back + 91.0):
        assert len((await asked(one, [])).turns) == 1


async def test_an_unused_turn_ends_when_the_clock_is_set_back(fleet: Fleet) -> None:
    """Rule 17: the turn of a runner that died holds its place for a moment, by any clock."""
    dead, one = [await fleet.runner(RunSettings(calls_per_second=50, max_ringing=1)) for _ in "12"]
    await eligible(one, 2)
    await turns_for(dead, 1)
    assert (await asked(one, [])).ringing == 1
    with at_time(one._address, one.now() - 3600.0):
        assert (await asked(one, [])).ringing == 0


async def at_risk(fleet: Fleet) -> int:
    """Return how many calls count as in flight."""
    return (await PostgresControl(fleet.url).standing()).at_risk


async def test_calls_that_nobody_ends_are_ended(fleet: Fleet) -> None:
    """A call in flight of no runner, as earlier versions left, counts until the run begins anew."""
    one = await fleet.runner()
    await one.close()
    slot = "INSERT INTO slots (run, writer, number, until) VALUES (1, %s, %s, 0)"
    execute(fleet.url, slot, 999, NUMBER)
    assert await at_risk(fleet) == 1
    two = await fleet.runner()
    assert await at_risk(fleet) == 0
    execute(fleet.url, slot, two._held_lease.seat.id, NUMBER)
    await fleet.runner()
    assert await at_risk(fleet) == 1


async def test_a_lease_that_cannot_be_renewed_fails_the_journal(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4.4: whatever ends the renewal of a lease ends the run, rather than going unseen."""
    monkeypatch.setattr(postgres_lease, "RENEWAL", 0.01)
    one = await fleet.runner()

    async def fail(_: object) -> None:
        raise ValueError("not a number")

    monkeypatch.setattr(one._held_lease, "_renew", fail)
    assert one._held_lease._task is not None
    await asyncio.wait([one._held_lease._task], timeout=10.0)
    with pytest.raises(JournalError, match="its lease cannot be renewed: ValueError"):
        await one.next_due()


def test_statements_of_many_jobs_are_executed_together_and_each_jobs_in_order() -> None:
    """The same statement of several jobs is sent once; no job's statements change places."""
    tx = Transaction(run=1, seat=Seat(1))
    jobs = {"one": ["a", "b", "a"], "two": ["b", "a"], "three": ["a", "c", "b"]}
    for job, statements in jobs.items():
        tx.position = 0
        for sql in statements:
            tx.execute(sql, job)
    sent = [(each.sql, [job for (job,) in each.sets or [each.parameters]]) for each in tx.take()]
    for job, statements in jobs.items():
        assert [sql for sql, sets in sent for each in sets if each == job] == statements
    assert len(sent) == 5


async def test_turns_wait_for_no_call(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a commit has slots locked, all runners have turns; what it hid is told again."""
    monkeypatch.setattr(postgres_claims, "MIN_WAIT", 0.0)
    one, two = [await fleet.runner() for _ in range(2)]
    await eligible(one, 5)
    called, void = await turns_for(one, 2)
    assert await one.start_call(called) is not None
    ended = Told(result=CallResult.ANSWERED, slot=called.slot)
    in_flight = "SELECT in_flight FROM slots WHERE id = %s"
    execute(fleet.url, "UPDATE slots SET until = 0 WHERE id = %s", void.slot)
    with psycopg.connect(parse_url(fleet.url, allow_insecure=False).conninfo) as other:
        slots = [called.slot, void.slot]
        other.execute("SELECT 1 FROM sinch_qn.slots WHERE id = ANY(%s) FOR UPDATE", [slots])
        async with asyncio.timeout(5.0):  # the server's lock_timeout is twice as long
            await one.permits([ended], 0)
            assert len(await turns_for(two, 1)) == 1
    assert execute(fleet.url, in_flight, called.slot) == [(True,)]
    await one.permits([], 0)
    assert execute(fleet.url, in_flight, called.slot) == [(False,)]
    assert execute(fleet.url, in_flight, void.slot) == []
