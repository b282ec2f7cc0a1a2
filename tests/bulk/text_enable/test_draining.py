"""Leaving a text-enabling run while an order is in flight, from this task or another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from sinch_qn.bulk.journal import BatchState
from sinch_qn.bulk.text_enable import TextEnableRun
from tests.support.text_enabling import US, FaultySandbox, journal_with, states_of

RunOf = Callable[..., TextEnableRun]


async def test_a_run_is_drained_beside_its_orders(sandbox: FaultySandbox, run_of: RunOf) -> None:
    """`drain` waits for the order that another task places, which goes on to its end."""
    journal = await journal_with(sandbox, US[:4])
    answered = asyncio.Event()
    sandbox.order_faults.append(answered)
    async with run_of(journal, batch_size=2, drain_timeout=30.0, follow=0.0) as run:
        ordering = asyncio.create_task(run.order())
        await sandbox.arrived.wait()
        draining = asyncio.create_task(run.drain())
        await asyncio.sleep(0)
        answered.set()
        await draining
        await ordering
    assert await states_of(journal) == [BatchState.ORDERED]
    assert sandbox.sent == [US[:2]]


async def test_a_drain_that_times_out_cancels_nobody_else(
    sandbox: FaultySandbox, run_of: RunOf
) -> None:
    """The order is UNKNOWN; the task that placed it ends as usual."""
    journal = await journal_with(sandbox, US[:2])
    sandbox.order_faults.append(asyncio.Event())
    async with run_of(journal, drain_timeout=0.01) as run:
        ordering = asyncio.create_task(run.order())
        await sandbox.arrived.wait()
        await run.drain()
        await ordering
    assert await states_of(journal) == [BatchState.UNKNOWN]
    sandbox.order_faults.clear()


async def test_an_order_left_by_a_cancelled_task_is_taken_up(
    sandbox: FaultySandbox, run_of: RunOf
) -> None:
    """The next `order` waits for it before it places another: two are never in flight."""
    journal = await journal_with(sandbox, US[:4])
    answered = asyncio.Event()
    sandbox.order_faults.append(answered)
    async with run_of(journal, batch_size=2, follow=0.0) as run:
        cut_off = asyncio.create_task(run.order())
        await sandbox.arrived.wait()
        cut_off.cancel()
        await asyncio.wait([cut_off])
        again = asyncio.create_task(run.order())
        await asyncio.sleep(0)
        assert len(await journal.batches()) == 1
        answered.set()
        await again
    assert await states_of(journal) == [BatchState.ORDERED, BatchState.ORDERED]
    assert sandbox.sent == [US[:2], US[2:4]]


async def test_a_run_may_be_entered_again(sandbox: FaultySandbox, run_of: RunOf) -> None:
    """A second entry orders what was verified since."""
    journal = await journal_with(sandbox, US[:2])
    run = run_of(journal, follow=0.0)
    async with run:
        pass
    async with run:
        await run.order()
    assert sandbox.sent == [US[:2]]


async def test_an_error_in_the_body_is_not_replaced(sandbox: FaultySandbox, run_of: RunOf) -> None:
    """An exception of the body is raised, whatever becomes of the order in flight."""
    journal = await journal_with(sandbox, US[:2])
    sandbox.order_faults.append(asyncio.Event())
    with pytest.raises(KeyError):  # noqa: PT012 - the body of the run raises
        async with run_of(journal, drain_timeout=0.01) as run:
            ordering = asyncio.create_task(run.order())
            await sandbox.arrived.wait()
            ordering.cancel()
            raise KeyError
    sandbox.order_faults.clear()
