"""When a run calls: slots, rate limits, calling hours, a wall clock that jumps."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sinch_qn._operations import SEND_VOICE_CHALLENGE, Operation
from sinch_qn.bulk import CallingHours, ChallengeState, Entry, MemoryJournal, submit_code
from sinch_qn.errors import RateLimitError, SinchError, TransportError
from tests.support.fake_sinch import Sinch
from tests.support.runs import (
    EPOCH,
    WallClock,
    counts,
    numbers,
    run_of,
    state_of,
    until,
    until_state,
)
from tests.support.virtual_clock import virtual_clock


@virtual_clock
async def test_max_ringing() -> None:
    """Rule 9: `max_ringing` phones hold a slot, UNKNOWN ones too, until a code or the window's end.

    A code from another process frees the slot as well.
    """
    many = numbers(12)
    sinch = Sinch(many)
    sinch.after = lambda operation, number: (
        TransportError("reset") if operation is SEND_VOICE_CHALLENGE and number == many[0] else None
    )
    clock = asyncio.get_running_loop().time
    async with run_of(sinch, max_ringing=3, ring_window=90.0) as run:
        await run.add(many)
        await until(lambda: len(sinch.rings) == 3)
        await asyncio.sleep(30)
        assert (len(sinch.rings), run.ringing) == (3, 3)
        await run.submit_code(many[1], sinch.codes[many[1]])
        await until(lambda: len(sinch.rings) == 4)
        assert clock() < 35.0
        await asyncio.sleep(30)
        assert len(sinch.rings) == 4
        await until(lambda: len(sinch.rings) == 6)
        assert 90.0 <= clock() < 93.0
        await submit_code(run._journal, many[3], sinch.codes[many[3]])
        await until(lambda: len(sinch.rings) == 7)
        assert clock() < 95.0


@virtual_clock
async def test_a_ring_window_starts_at_the_intent() -> None:
    """Rule 9: the time that a call waits for its token is not part of its ring window."""
    sinch = Sinch(numbers(2))
    sinch.prepare_latency = 30.0
    async with run_of(sinch, max_ringing=1, ring_window=90.0) as run:
        await run.add(numbers(2))
        await until(lambda: len(sinch.rings) == 2)
    first, second = sinch.rang_at
    assert first == pytest.approx(30.0, abs=1.0)
    assert 90.0 <= second - first <= 90.0 + 30.0 + 1.0


@virtual_clock
async def test_only_the_limited_number_is_postponed() -> None:
    """Rule 2: a number that alone gets a 429 is postponed with backoff; the others keep the rate.

    A listing does not undo its delay.
    """
    sinch = Sinch(numbers(100))
    limited = numbers(1)[0]

    def fail(operation: Operation[Any], number: str | None) -> SinchError | None:
        too_many = operation is SEND_VOICE_CHALLENGE and number == limited
        return RateLimitError("slow", status_code=429) if too_many else None

    sinch.before = fail
    run = run_of(sinch, calls_per_second=2.0)
    async with run:
        await run.add(numbers(100))
        await until(lambda: len(sinch.rings) == 99)
        assert asyncio.get_running_loop().time() < 70.0
        await asyncio.sleep(400)
        assert await state_of(run, limited) is ChallengeState.PENDING
        assert 3 < sum(item == (SEND_VOICE_CHALLENGE.id, limited) for item in sinch.log) < 9


@virtual_clock
async def test_a_clock_that_jumps_back() -> None:
    """Rule 17: a backward jump of the wall clock expires nothing and frees no slot."""
    sinch, wall = Sinch(numbers(4)), WallClock()
    clock = asyncio.get_running_loop().time
    async with run_of(sinch, clock=wall, max_ringing=2) as run:
        await run.add(numbers(4))
        await until(lambda: len(sinch.rings) == 2)
        wall.at -= 7200.0
        await asyncio.sleep(30)
        assert (await counts(run))[ChallengeState.AWAITING_CODE] == 2
        assert len(sinch.rings) == 2
        await until(lambda: len(sinch.rings) == 4)
        assert 90.0 <= clock() < 93.0  # ring windows are monotonic
        for number in numbers(4):
            await until_state(run, ChallengeState.AWAITING_CODE, number)
            await run.submit_code(number, sinch.codes[number])
        assert (await run.finish()).counts[ChallengeState.VERIFIED] == 4


@virtual_clock
async def test_a_clock_that_jumps_forward() -> None:
    """Rule 17: a forward jump may expire numbers early, which loses no code, and frees no slot."""
    sinch, wall = Sinch(numbers(4)), WallClock()
    async with run_of(sinch, clock=wall, max_ringing=2) as run:
        await run.add(numbers(4))
        await until(lambda: len(sinch.rings) == 2)
        await asyncio.sleep(1)
        wall.at += 7200.0
        await asyncio.sleep(30)
        assert (await counts(run)) == {ChallengeState.EXPIRED: 2, ChallengeState.PENDING: 2}
        assert len(sinch.rings) == 2
        for number in list(sinch.rings):
            await run.submit_code(number, sinch.codes[number])
            await until_state(run, ChallengeState.VERIFIED, number)


@virtual_clock
async def test_phones_ring_in_their_own_hours() -> None:
    """Rule 18: calling hours are local to each number, not to the program."""
    new_york, los_angeles = "+12125550134", "+12135550134"
    sinch = Sinch([new_york, los_angeles])
    wall = WallClock(EPOCH + 14 * 3600 - 60)  # 08:59 in New York
    async with run_of(sinch, clock=wall, calling_hours="09:00-20:00") as run:
        await run.add([new_york, los_angeles])
        await asyncio.sleep(50)
        assert not sinch.rings
        held = await run.result(new_york)
        assert held is not None
        assert held.note == "outside its calling hours"
        await until(lambda: sinch.rings, seconds=12.0)
        wall.at += 3 * 3600 - 70  # 08:59 in Los Angeles
        await asyncio.sleep(50)
        assert sinch.rings == {new_york: 1}
        await until(lambda: sinch.rings[los_angeles], seconds=22.0)
    assert wall() == pytest.approx(EPOCH + 17 * 3600, abs=2.0)


@virtual_clock
async def test_a_number_without_a_time_zone_is_refused() -> None:
    """Rule 18: with calling hours and no default zone, toll-free numbers are INVALID."""
    async with run_of(Sinch(), calling_hours="09:00-20:00") as run:
        (refused,) = (await run.add(["+18335550134"])).invalid
        assert (refused.number, refused.line) == ("+18335550134", 1)
        assert "default_zone" in refused.reason


@virtual_clock
async def test_calling_hours_that_come_with_a_restart() -> None:
    """Rule 18: a toll-free number from a run without calling hours waits for a default zone."""
    toll_free = "+18335550134"
    sinch, journal = Sinch([toll_free]), MemoryJournal()
    await journal.add([Entry(number=toll_free)])
    async with run_of(sinch, journal, calling_hours=CallingHours("09:00-20:00")):
        await asyncio.sleep(100)
    assert not sinch.rings
    hours = CallingHours("00:00-23:59", default_zone="America/New_York")
    async with run_of(sinch, journal, calling_hours=hours, clock=WallClock(EPOCH + 5e6)):
        await until(lambda: sinch.rings[toll_free], seconds=1000.0)
