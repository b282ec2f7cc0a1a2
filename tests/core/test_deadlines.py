"""Deadlines: each call times out at its own time, with one timer for all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sinch_qn._deadlines import Deadline, Deadlines
from tests.support.virtual_clock import VirtualClockLoop, virtual_clock


def now() -> float:
    """Return the event loop's time."""
    return asyncio.get_running_loop().time()


def timers() -> list[Any]:
    """Return the timers of the event loop."""
    loop: Any = asyncio.get_running_loop()
    return [timer for timer in loop._scheduled if not timer.cancelled()]


async def hold(deadlines: Deadlines, seconds: float, work: float) -> float | None:
    """Work under a deadline; return when it expired."""
    try:
        with Deadline(deadlines, seconds) as deadline:
            assert deadline.when == now() + seconds
            await asyncio.sleep(work)
    except TimeoutError:
        return now()
    return None


@virtual_clock
async def test_each_expires_at_its_own_time() -> None:
    """Whatever their lengths and order, each deadline expires at its own time, or not at all."""
    deadlines = Deadlines()
    lengths = [30.0, 5.0, 30.0, 0.5, 12.25, 5.0]
    cut_off = [hold(deadlines, seconds, 1000.0) for seconds in lengths]
    finished = [hold(deadlines, seconds, seconds - 0.25) for seconds in lengths]
    ends = await asyncio.gather(*cut_off, *finished)
    assert ends == [*lengths, *[None] * len(lengths)]


@virtual_clock
async def test_those_that_begin_later_end_later() -> None:
    """A deadline counts from its own start, and a later one may expire first."""
    deadlines = Deadlines()
    first = asyncio.create_task(hold(deadlines, 30.0, 1000.0))
    await asyncio.sleep(10.0)
    second = asyncio.create_task(hold(deadlines, 30.0, 1000.0))
    short = asyncio.create_task(hold(deadlines, 3.0, 1000.0))
    assert [*await asyncio.gather(first, second, short)] == [30.0, 40.0, 13.0]


@virtual_clock
async def test_one_timer_for_all() -> None:
    """However many calls are or were in flight, the event loop has one timer."""
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
    """P9: a deadline that has ended is not kept, and closing cancels the timer."""
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
async def test_closing_keeps_deadlines() -> None:
    """P3: a call in flight when its client is closed still times out."""
    deadlines = Deadlines()
    task = asyncio.create_task(hold(deadlines, 5.0, 1000.0))
    await asyncio.sleep(1.0)
    deadlines.close()
    assert await task == 5.0
    assert timers() == []


@virtual_clock
async def test_one_bad_future_takes_no_deadline_from_the_others() -> None:
    """An error while cancelling one task does not affect the other deadlines."""

    class BadFuture(asyncio.Future[None]):
        def cancel(self, msg: Any = None) -> bool:
            raise ZeroDivisionError(msg)

    async def hang() -> None:
        with Deadline(deadlines, 1.0):
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
    """A task cancelled from elsewhere, even at its deadline, is cancelled and not timed out."""
    deadlines = Deadlines()
    task = asyncio.create_task(hold(deadlines, 5.0, 1000.0))
    asyncio.get_running_loop().call_at(5.0, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    deadlines.close()


@virtual_clock
async def test_they_nest() -> None:
    """A task may continue after its timeout, and an inner deadline does not affect an outer one."""
    deadlines = Deadlines()

    async def outer() -> None:
        with Deadline(deadlines, 10.0):
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
    """A timer may fire a clock's tick early: its deadline expires all the same."""
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
    """Outside a task a deadline raises."""
    loop = VirtualClockLoop()

    def enter() -> None:
        with pytest.raises(RuntimeError, match="task"), Deadline(Deadlines(), 1.0):
            raise AssertionError("entered")
        loop.stop()

    loop.call_soon(enter)
    loop.run_forever()
    loop.close()


@virtual_clock
async def test_an_error_of_an_expired_call_takes_precedence() -> None:
    """An error that a call raises on its timeout is not hidden by the timeout."""

    async def ends_badly() -> None:
        with Deadline(Deadlines(), 1.0):
            try:
                await asyncio.sleep(1000.0)
            except asyncio.CancelledError:
                raise KeyError("its own") from None

    with pytest.raises(KeyError):
        await ends_badly()
