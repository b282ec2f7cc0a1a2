"""The contract of a journal for its runners: turns, slots, intents, claims, chores."""

from __future__ import annotations

import asyncio
from typing import Any

import attrs
import pytest

from sinch_qn.bulk.journal import Journal
from sinch_qn.bulk.journal.protocol import OUTSIDE_HOURS, RunSettings
from sinch_qn.bulk.pacing import CallResult
from sinch_qn.bulk.permits import Permits, Told, Turn
from sinch_qn.bulk.states import ChallengeState, Change, Entry, Event, Todo
from tests.support.journals import MINE, Backend, called, happen
from tests.support.runs import NUMBER, OTHER, numbers, until
from tests.support.scheduling import callable_now

SETTINGS = RunSettings(calls_per_second=1000.0, max_ringing=3, ring_window=60.0)


async def run_on(backend: Backend, **options: Any) -> Journal:
    """Return the journal of a run, whose pace is not paused."""
    journal = backend.journal
    await journal.close()
    await journal.open(MINE, running=True, settings=attrs.evolve(SETTINGS, **options))
    await journal.permits([Told(result=CallResult.REACHABLE)], 0)
    return journal


async def turns(journal: Journal, want: int, *told: Told) -> list[Turn]:
    """Return up to *want* turns, once they are due."""
    permits = await journal.permits(told, want)
    await asyncio.sleep(
        max([0.0, *(t.at - asyncio.get_running_loop().time() for t in permits.turns)])
    )
    return list(permits.turns)


async def ringing(journal: Journal) -> Permits:
    """Return permits without a turn."""
    return await journal.permits([], 0)


def ended(turn: Turn, result: CallResult = CallResult.ANSWERED) -> Told:
    """Return the end of the call of *turn*."""
    return Told(result=result, slot=turn.slot)


async def test_a_run_begins_paused(backend: Backend) -> None:
    """Rule 6: there is no turn until the probe has succeeded."""
    journal = backend.journal
    await journal.add(callable_now(NUMBER))
    await journal.close()
    await journal.open(MINE, running=True, settings=SETTINGS)
    permits = await journal.permits([], 1)
    assert (permits.turns, permits.paused, permits.rate) == ([], True, 0.0)
    permits = await journal.permits([Told(result=CallResult.REACHABLE)], 1)
    assert (len(permits.turns), permits.paused, permits.rate) == (1, False, 1000.0)


async def test_a_turn_is_one_call(backend: Backend) -> None:
    """Rule 1: a turn commits the intent to call the number that is due longest, with its token."""
    journal = await run_on(backend)
    await journal.add([*callable_now(NUMBER), *callable_now(OTHER)])
    await happen(journal, NUMBER, Event.POSTPONED, due=5.0)
    first, second = await turns(journal, 5)
    entry = await journal.start_call(first)
    assert entry is not None
    assert (entry.number, entry.state, entry.attempt) == (OTHER, ChallengeState.CALLING, 1)
    assert entry == await journal.get(OTHER)
    assert entry.intent is not None
    other = await journal.start_call(second)
    assert other is not None
    assert other.number == NUMBER
    assert other.intent != entry.intent
    assert await turns(journal, 5, ended(first), ended(second)) == []  # nothing is due


async def test_the_calls_of_a_runner_that_left_are_over(backend: Backend) -> None:
    """Rule 4: a call whose result was not told is in flight no more once its runner has left."""
    journal = await run_on(backend, max_unknown=1)
    await journal.add(callable_now(*numbers(3)))
    for _ in range(2):
        (turn,) = await turns(journal, 1)
        entry = await journal.start_call(turn)
        assert entry is not None
        change = Change(
            number=entry.number, event=Event.CALLED, at=1.0, intent=entry.intent, window=60.0
        )
        await journal.apply([change])
        assert await turns(journal, 1) == []
        journal = await run_on(backend, max_unknown=1)
    assert len(await turns(journal, 1)) == 1


async def test_a_turn_without_a_number_is_given_up(backend: Backend) -> None:
    """A turn for which nothing is due holds no slot."""
    journal = await run_on(backend)
    await journal.add(callable_now(NUMBER))
    (turn,) = await turns(journal, 1)
    await happen(journal, NUMBER, Event.POSTPONED, due=journal.now() + 1000.0)
    assert await journal.start_call(turn) is None
    assert (await ringing(journal)).ringing == 0


async def test_numbers_outside_their_hours_are_postponed(backend: Backend) -> None:
    """Rule 18: a turn is for the first number within its hours; the others wait until theirs."""
    journal = await run_on(backend)
    closed, open_now = numbers(2)
    await journal.add(callable_now(closed, open_now))
    (turn, *_) = await turns(journal, 1)
    entry = await journal.start_call(turn, lambda number, _: 500.0 if number == closed else 0.0)
    assert entry is not None
    assert entry.number == open_now
    postponed = await journal.get(closed)
    assert postponed is not None
    assert postponed.due == pytest.approx(journal.now() + 500.0, abs=60.0)
    assert (postponed.note, postponed.attempt) == (OUTSIDE_HOURS, 0)


@pytest.mark.parametrize(
    ("events", "rings"),
    [
        ((Event.CALLED,), True),
        ((Event.CALL_UNKNOWN,), True),
        ((Event.CALL_UNKNOWN, Event.CODE_TIMEOUT), True),
        ((Event.CALLED, Event.RECALL), True),
        ((Event.CALL_NOT_SENT,), False),
        ((Event.NOT_CALLABLE,), False),
        ((Event.BLOCKED,), False),
        ((Event.VERIFIED,), False),
    ],
    ids=str,
)
async def test_a_slot_is_held_while_a_phone_may_ring(
    backend: Backend, events: tuple[Event, ...], *, rings: bool
) -> None:
    """Rule 9: a phone holds its slot until its ring window ends, unless it certainly rings no more.

    So it does after a restart.
    """
    journal = await run_on(backend)
    await journal.add(callable_now(NUMBER))
    (turn,) = await turns(journal, 1)
    assert await journal.start_call(turn) is not None
    assert (await ringing(journal)).ringing == 1
    await happen(journal, NUMBER, *events)
    assert (await journal.permits([ended(turn)], 0)).ringing == rings
    if Event.RECALL not in events:
        await run_on(backend)
        assert (await ringing(journal)).ringing == rings


async def test_a_code_frees_its_slot(backend: Backend) -> None:
    """Rule 9: a code frees the slot of its number, also during the call."""
    journal = await run_on(backend)
    await journal.add(callable_now(NUMBER))
    (turn,) = await turns(journal, 1)
    assert await journal.start_call(turn) is not None
    await journal.submit_code(NUMBER, "1111", journal.now())
    assert (await journal.permits([ended(turn)], 0)).ringing == 0


async def test_slots_bound_the_turns(backend: Backend) -> None:
    """Rule 9: turns and ringing phones together are `max_ringing` at most."""
    journal = await run_on(backend)
    await journal.add(callable_now(*numbers(9)))
    given = await turns(journal, 9)
    assert len(given) == 3
    for turn in given:
        assert await journal.start_call(turn) is not None
    assert await turns(journal, 9, *map(ended, given)) == []
    await journal.submit_code(numbers(1)[0], "1111", journal.now())
    assert len(await turns(journal, 9)) == 1


async def test_calls_at_risk_bound_the_turns(backend: Backend) -> None:
    """Rule 5: turns and calls in flight are `max_unknown` at most, also those without a slot.

    What is told again is told once: it frees nothing, and ends no other call.
    """
    journal = await run_on(backend, max_ringing=100, max_unknown=4)
    await journal.add(callable_now(*numbers(20)))
    given = await turns(journal, 9)
    assert len(given) == 4
    for turn in given:
        entry = await journal.start_call(turn)
        assert entry is not None
        await journal.submit_code(entry.number, "1111", journal.now())
    assert await turns(journal, 9) == []
    first = ended(given[0])
    (fifth,) = await turns(journal, 9, first)
    assert await turns(journal, 9, first, first) == []
    assert await journal.start_call(fifth) is not None
    assert await turns(journal, 9) == []


async def test_unanswered_calls_pause_all_turns(backend: Backend) -> None:
    """Rule 5: calls without a response pause the run, until a probe succeeds; then few are made."""
    journal = await run_on(backend, max_ringing=100, max_unknown=4)
    await journal.add(callable_now(*numbers(20)))
    given = await turns(journal, 2)
    for turn in given:
        assert await journal.start_call(turn) is not None
    assert await turns(journal, 9, *(ended(turn, CallResult.UNANSWERED) for turn in given)) == []
    assert (await ringing(journal)).paused
    assert len(await turns(journal, 9, Told(result=CallResult.REACHABLE))) == 1


async def test_an_unused_turn_lapses(backend: Backend) -> None:
    """The turns of a runner that is gone hold no slot for long."""
    journal = await run_on(backend)
    await journal.add(callable_now(*numbers(9)))
    assert len(await turns(journal, 9)) == 3

    async def free() -> bool:
        return (await ringing(journal)).ringing == 0

    await until(free, seconds=10.0, step=0.02)
    assert len(await turns(journal, 9)) == 3


async def test_codes_are_taken_in_order(journal: Journal) -> None:
    """A code is taken with its intent's token, once: the one that waits longest."""
    await called(journal, NUMBER, OTHER)
    assert await journal.take_code() is None
    for code in ("1111", "2222"):
        await journal.submit_code(NUMBER, code, 2.0)
    taken = await journal.take_code()
    assert taken is not None
    entry, code = taken
    assert (entry.number, entry.state, code) == (NUMBER, ChallengeState.VERIFYING, "1111")
    assert entry == await journal.get(NUMBER)
    assert await journal.take_code() is None


async def test_intents_of_the_last_process_are_closed(backend: Backend) -> None:
    """P8: `reap` closes the intents that a crash left open, once, and no others."""
    journal = backend.journal
    calling, verifying, *rest = numbers(4)
    await called(journal, verifying, *rest)
    await journal.add([Entry(number=calling), Entry(number=OTHER)])
    await happen(journal, calling, Event.CALL)
    await journal.submit_code(verifying, "1111", 1.0)
    assert await journal.take_code() is not None
    before = [await journal.get(number) for number in (*rest, OTHER)]
    await journal.close()
    await journal.open(MINE, running=True)
    reaped = {entry.number: entry for entry in await journal.reap(600.0)}
    assert reaped.keys() == {calling, verifying}
    assert reaped[calling].state is ChallengeState.UNKNOWN
    assert reaped[calling].todo is Todo.EXPIRE
    assert reaped[verifying].todo is Todo.RESOLVE
    assert await journal.reap(600.0) == []
    assert [await journal.get(number) for number in (*rest, OTHER)] == before
    intent = reaped[calling].intent
    late = Change(number=calling, event=Event.CALLED, at=9.0, intent=intent, window=600.0)
    (corrected,) = await journal.apply([late])
    assert corrected is not None
    assert corrected.state is ChallengeState.AWAITING_CODE


async def test_open_numbers(journal: Journal) -> None:
    """Rule 19: a number is open until it is settled, also while it is called."""
    assert not await journal.open_numbers()
    await journal.add([Entry(number=NUMBER)])
    assert await journal.open_numbers()
    await happen(journal, NUMBER, Event.CALL)
    assert await journal.open_numbers()
    await happen(journal, NUMBER, Event.NOT_CALLABLE)
    assert not await journal.open_numbers()


async def test_a_chore_and_a_stop(backend: Backend) -> None:
    """The only runner may do every chore, again and again; a reason to stop reaches it."""
    journal = await run_on(backend)
    assert await journal.chore("list", 60.0)
    assert await journal.chore("list", 60.0)
    await journal.stop_run("refused")
    assert (await ringing(journal)).stopped == "refused"
    await run_on(backend)
    assert (await ringing(journal)).stopped is None
