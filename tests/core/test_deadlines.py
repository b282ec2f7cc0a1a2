"""Deadlines: each call is cut off at its own time, by one timer for all of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sinch_qn._deadlines import Deadlines
from tests.conftest import VirtualClockLoop, virtual_clock


def now() -> float:
    """Return the event loop's time."""
    return asyncio.get_running_loop().time()


def timers() -> list[Any]:
    """Return the timers that the event loop has to watch."""
    loop: Any = asyncio.get_running_loop()
    return [timer for timer in loop._scheduled if not timer.cancelled()]


async def hold(deadlines: Deadlines, seconds: float, work: float) -> float | None:
    """Work under a deadline; return when it was cut off."""
    try:
        with deadlines.timeout(seconds) as deadline:
            assert deadline.when == now() + seconds
            await asyncio.sleep(work)
    except TimeoutError:
        return now()
    return None


@virtual_clock
async def test_each_is_cut_off_at_its_own_time() -> None:
    """Whatever their lengths and their order, each is cut off at its own time, or not at all."""
    deadlines = Deadlines()
    lengths = [30.0, 5.0, 30.0, 0.5, 12.25, 5.0]
    cut_off = [hold(deadlines, seconds, 1000.0) for seconds in lengths]
    finished = [hold(deadlines, seconds, seconds - 0.25) for seconds in lengths]
    ends = await asyncio.gather(*cut_off, *finished)
    assert ends == [*lengths, *[None] * len(lengths)]


@virtual_clock
async def test_those_that_begin_later_end_later() -> None:
    """A deadline counts from its own beginning, and one that begins later may well end first."""
    deadlines = Deadlines()
    first = asyncio.create_task(hold(deadlines, 30.0, 1000.0))
    await asyncio.sleep(10.0)
    second = asyncio.create_task(hold(deadlines, 30.0, 1000.0))
    short = asyncio.create_task(hold(deadlines, 3.0, 1000.0))
    assert [*await asyncio.gather(first, second, short)] == [30.0, 40.0, 13.0]


@virtual_clock
async def test_one_timer_for_all() -> None:
    """However many calls are under way, or have been, the event loop has one timer to watch."""
    deadlines = Deadlines()
    for _ in range(100):
        assert await hold(deadlines, 30.0, 0.0) is None
    waiting = [asyncio.create_task(hold(deadlines, 20.0 + i % 7, 1000.0)) for i in range(500)]
    await asyncio.sleep(0)
    works = 500  # their sleeps are timers, too
    assert len(timers()) == works + 1
    await asyncio.gather(*waiting)
    assert timers() == []
    assert deadlines._running == {}


@virtual_clock
async def test_nothing_is_kept() -> None:
    """P9: what has ended, in whichever way, is not kept, and closing lets go of the timer."""
    deadlines = Deadlines()
    await asyncio.gather(hold(deadlines, 1.0, 5.0), hold(deadlines, 2.0, 0.5))
    task = asyncio.create_task(hold(deadlines, 60.0, 1000.0))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert deadlines._running == {}
    deadlines.close()
    assert timers() == []
    deadlines.close()


@virtual_clock
async def test_closing_leaves_nobody_without_a_deadline() -> None:
    """P3: what is under way when its client is closed is still cut off at its time."""
    deadlines = Deadlines()
    task = asyncio.create_task(hold(deadlines, 5.0, 1000.0))
    await asyncio.sleep(1.0)
    deadlines.close()
    assert await task == 5.0
    assert timers() == []


@virtual_clock
async def test_one_bad_future_takes_no_deadline_from_the_others() -> None:
    """Whatever goes wrong when one task is cut off, the others are cut off all the same."""

    class BadFuture(asyncio.Future[None]):
        def cancel(self, msg: Any = None) -> bool:
            raise ZeroDivisionError(msg)

    async def hang() -> None:
        with deadlines.timeout(1.0):
            await bad

    deadlines, bad = Deadlines(), BadFuture()
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: told.append(about))
    hanging = asyncio.create_task(hang())
    ends = await asyncio.gather(hold(deadlines, 1.0, 1000.0), hold(deadlines, 3.0, 1000.0))
    assert [*ends] == [1.0, 3.0]
    assert isinstance(told[0]["exception"], ZeroDivisionError)
    bad.set_result(None)
    await hanging


@virtual_clock
async def test_a_cancellation_is_no_timeout() -> None:
    """A task that somebody cancels, be it at the deadline itself, is cancelled, not timed out."""
    deadlines = Deadlines()
    task = asyncio.create_task(hold(deadlines, 5.0, 1000.0))
    asyncio.get_running_loop().call_at(5.0, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    deadlines.close()


@virtual_clock
async def test_they_nest() -> None:
    """A task may go on after its timeout, and the inner of two deadlines leaves the outer alone."""
    deadlines = Deadlines()

    async def outer() -> None:
        with deadlines.timeout(10.0):
            assert await hold(deadlines, 3.0, 1000.0) == 3.0
            await asyncio.sleep(1000.0)

    with pytest.raises(TimeoutError):
        await outer()
    assert now() == 10.0
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@virtual_clock
async def test_a_timer_that_comes_early() -> None:
    """A timer may come a clock's tick early: who it was set for is over all the same."""
    loop = asyncio.get_running_loop()
    deadlines = Deadlines()
    task = asyncio.create_task(hold(deadlines, 3600.0, 7200.0))
    await asyncio.sleep(0)
    (same_length,) = deadlines._running.values()
    (deadline,) = same_length
    deadlines._expire_due(deadline.when)
    assert await task is not None
    assert deadlines._timer is None
    assert loop.time() < deadline.when


def test_only_tasks_have_deadlines() -> None:
    """Outside a task there is nobody to cut off."""
    loop = VirtualClockLoop()

    def enter() -> None:
        with pytest.raises(RuntimeError, match="task"), Deadlines().timeout(1.0):
            raise AssertionError("entered")
        loop.stop()

    loop.call_soon(enter)
    loop.run_forever()
    loop.close()


@virtual_clock
async def test_what_a_cut_off_call_says_goes_first() -> None:
    """An error that the call itself ends with when it is cut off is not hidden by the timeout."""

    async def ends_badly() -> None:
        with Deadlines().timeout(1.0):
            try:
                await asyncio.sleep(1000.0)
            except asyncio.CancelledError:
                raise KeyError("its own") from None

    with pytest.raises(KeyError):
        await ends_badly()
