"""Several runners on one journal: no phone rings twice, and they share rate, slots and pauses."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinch_qn._operations import SEND_VOICE_CHALLENGE
from sinch_qn.bulk import ChallengeState, MemoryJournal
from sinch_qn.bulk.journal.memory_store import LEASE
from sinch_qn.bulk.journal.protocol import RunSettings
from sinch_qn.bulk.pacing import CallResult
from sinch_qn.bulk.permits import Told
from sinch_qn.bulk.states import Change, Event
from sinch_qn.errors import AuthenticationError, JournalError, TransportError
from tests.support.fake_sinch import Sinch, always
from tests.support.journals import MINE
from tests.support.runs import NUMBER, WallClock, counts, numbers, run_of, until
from tests.support.scheduling import callable_now
from tests.support.virtual_clock import run_virtually, virtual_clock


@virtual_clock
async def test_two_runs_share_one_journal() -> None:
    """P1: two runs call each number once, together at the rate, and verify the codes of both."""
    many = numbers(200)
    sinch, journal = Sinch(many), MemoryJournal()
    async with (
        run_of(sinch, journal, calls_per_second=20.0) as one,
        run_of(sinch, journal.another(), calls_per_second=20.0) as other,
    ):
        await one.add(many)
        started = asyncio.get_running_loop().time()
        while sum((await counts(one)).values()) < 200 or not await verified(one, 200):
            for number in many:
                if sinch.rings[number] and (code := sinch.codes.get(number)):
                    run = other if int(number) % 2 else one
                    if (entry := await run.result(number)) and entry.state.accepts_code:
                        await run.submit_code(number, code)
            await asyncio.sleep(0.1)
        assert set(sinch.rings.values()) == {1}
        assert asyncio.get_running_loop().time() - started < 200 / 20.0 + 3.0
        at = sinch.rang_at
        assert max(bisect_left(at, t + 1.0) - n for n, t in enumerate(at)) <= 22


async def verified(run: Any, count: int) -> bool:
    """Return whether *count* numbers are verified."""
    return (await counts(run)).get(ChallengeState.VERIFIED, 0) == count


@virtual_clock
async def test_a_runner_with_other_settings_is_refused() -> None:
    """A runner that joins others must have their settings; the error names those that differ."""
    journal = MemoryJournal()
    async with run_of(Sinch(), journal):
        with pytest.raises(JournalError, match="max_codes=5 instead of 3"):
            await run_of(Sinch(), journal.another(), max_codes=5).__aenter__()
    async with run_of(Sinch(), journal.another(), max_codes=5):
        pass


@virtual_clock
async def test_refused_credentials_stop_all_runners() -> None:
    """Rule 6: credentials that are refused stop all runners."""
    many = numbers(9)
    sinch, slow, journal = Sinch(many), Sinch(many), MemoryJournal()
    slow.prepare_latency = 30.0  # the other runner makes the calls
    sinch.before = always(SEND_VOICE_CHALLENGE, AuthenticationError("no", status_code=401))
    async with run_of(slow, journal) as other:
        await other.add(many)
        with pytest.raises(AuthenticationError):
            async with run_of(sinch, journal.another()) as run:
                await run.finish()
        await until(other._scheduler.stopping.is_set, seconds=10.0)
        with pytest.raises(JournalError, match="another runner stopped this run: HTTP 401"):
            await other.finish()
        other._scheduler.fatal_error = None


@virtual_clock
async def test_a_runner_in_a_pause_hears_that_the_run_is_stopped() -> None:
    """Rule 6: a run that another runner stopped ends at once, also while it waits for Sinch."""
    journal, sinch = MemoryJournal(), Sinch([NUMBER])
    sinch.before = lambda *_: TransportError("down")
    async with run_of(sinch, journal) as run:
        await run.add([NUMBER])
        await asyncio.sleep(5.0)
        assert run.rate == 0.0
        await journal.another().stop_run("credentials refused")
        with pytest.raises(JournalError, match="another runner stopped this run: credentials"):
            async with asyncio.timeout(5.0):
                await run.finish()
        run._scheduler.fatal_error = None


@virtual_clock
async def test_an_outage_pauses_all_runners() -> None:
    """Rule 5: an outage leaves `max_unknown` numbers UNKNOWN at most, over all runners."""
    many = numbers(300)
    sinch, journal = Sinch(many), MemoryJournal()
    sinch.after = always(SEND_VOICE_CHALLENGE, TransportError("reset"))
    sinch.before = lambda operation, _: (
        TransportError("down") if operation.id == "listQualifiedNumbers" and sinch.rings else None
    )
    async with run_of(sinch, journal) as one, run_of(sinch, journal.another()) as other:
        await one.add(many)
        await asyncio.sleep(60.0)
        assert 20 <= (await counts(one))[ChallengeState.UNKNOWN] <= 40
        assert one.rate == other.rate == 0.0


@virtual_clock
async def test_the_calls_of_a_dead_runner_are_unknown() -> None:
    """A runner's intents are closed once its lease is over, not before, and never called again."""
    journal = MemoryJournal(clock=WallClock())
    dead, alive = journal.another(), journal.another()
    shared = RunSettings(calls_per_second=1000.0)
    await dead.open(MINE, running=True, settings=shared)
    await alive.open(MINE, running=True, settings=shared)
    await dead.add(callable_now(NUMBER))
    (turn,) = (await dead.permits([Told(result=CallResult.REACHABLE)], 1)).turns
    intent = await dead.start_call(turn)
    assert intent is not None
    for _ in range(int(LEASE) - 1):
        await asyncio.sleep(1.0)
        assert await alive.reap(600.0) == []
    await asyncio.sleep(2.0)
    (reaped,) = await alive.reap(600.0)
    assert reaped.state is ChallengeState.UNKNOWN
    # It was only paused: its turns and its intents are void, its late outcome is not.
    assert await dead.start_call(turn) is None
    assert await dead.take_code() is None
    late = Change(number=NUMBER, event=Event.CALLED, at=9.0, intent=intent.intent, window=600.0)
    (entry,) = await dead.apply([late])
    assert entry is not None
    assert entry.state is ChallengeState.AWAITING_CODE


@virtual_clock
async def test_after_a_pause_of_all_runners_none_is_reaped() -> None:
    """Who reaps has kept its own lease for a whole one: the others may first renew theirs."""
    journal = MemoryJournal(clock=WallClock())
    one, other = journal.another(), journal.another()
    for each in (one, other):
        await each.open(MINE, running=True, settings=RunSettings(calls_per_second=1000.0))
    await one.add(callable_now(NUMBER))
    (turn,) = (await one.permits([Told(result=CallResult.REACHABLE)], 1)).turns
    assert await one.start_call(turn) is not None
    await asyncio.sleep(10 * LEASE)
    assert await other.reap(600.0) == []
    await one.permits([], 0)
    await asyncio.sleep(0.9 * LEASE)
    await one.permits([], 0)
    assert await other.reap(600.0) == []
    await asyncio.sleep(0.9 * LEASE)
    await one.permits([], 0)
    assert await other.reap(600.0) == []


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_runners_in_any_order(data: st.DataObject) -> None:
    """P1: whoever goes next, rings each number once an attempt, within slots, risk and rate."""
    run_virtually(any_order(data.draw))


async def any_order(draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
    """Let three runners ask, call, tell and die as *draw* decides."""
    clock = asyncio.get_running_loop().time
    journal = MemoryJournal(clock=WallClock())
    shared = RunSettings(calls_per_second=5.0, max_ringing=4, ring_window=30.0, max_unknown=6)
    runners = [journal.another() for _ in range(3)]
    for runner in runners:
        await runner.open(MINE, running=True, settings=shared)
    await runners[0].add(callable_now(*numbers(40)))
    await runners[0].permits([Told(result=CallResult.REACHABLE)], 0)
    turns: list[list[Any]] = [[], [], []]
    flying: list[dict[int, Any]] = [{}, {}, {}]
    called_at: list[float] = []
    attempts: set[tuple[str, int]] = set()
    for _ in range(draw(st.integers(20, 80))):
        who = draw(st.integers(0, 2))
        runner = runners[who]
        match draw(st.sampled_from(["ask", "call", "call", "tell", "wait", "die", "reap"])):
            case "ask":
                permits = await runner.permits([], draw(st.integers(0, 6)))
                turns[who] += permits.turns
                assert permits.ringing <= 4
            case "call" if turns[who]:
                turn = turns[who].pop(0)
                await asyncio.sleep(max(0.0, turn.at - clock()))
                if (entry := await runner.start_call(turn)) is not None:
                    flying[who][turn.slot] = entry
                    called_at.append(clock())
                    assert (entry.number, entry.attempt) not in attempts
                    attempts.add((entry.number, entry.attempt))
                    assert sum(map(len, flying)) <= 6
                    assert sum(clock() - at < 30.0 for at in called_at) <= 4 + 0
            case "tell" if flying[who]:
                slot = draw(st.sampled_from(sorted(flying[who])))
                del flying[who][slot]
                told = Told(result=CallResult.ANSWERED, slot=slot)
                await runner.permits([told] * draw(st.integers(1, 2)), 0)
            case "wait":
                await asyncio.sleep(draw(st.sampled_from([0.01, 0.2, 5.0, 40.0])))
            case "die":
                runners[who] = journal.another()
                turns[who], flying[who] = [], {}
                await runners[who].open(MINE, running=True, settings=shared)
            case "reap":
                await runner.reap(600.0)
    assert (
        max((bisect_left(called_at, at + 1.0) - n for n, at in enumerate(called_at)), default=0)
        <= 6
    )
