"""Two text-enabling runs on one journal, in processes of their own: each settles its own orders."""

from __future__ import annotations

import asyncio

import pytest

from sinch_qn.bulk import MemoryJournal
from sinch_qn.bulk.journal import BatchState, Identity, Journal
from sinch_qn.bulk.journal.postgres import PostgresJournal
from tests.support.postgres import execute
from tests.support.text_enabling import US, FaultySandbox, RunOf, journal_with, states_of


@pytest.mark.parametrize("kind", ["memory", "postgres"])
async def test_an_order_in_flight_is_its_runs(
    kind: str, sandbox: FaultySandbox, run_of: RunOf, request: pytest.FixtureRequest
) -> None:
    """Rule 23: a run that begins leaves the order alone that another one is placing."""
    memory = MemoryJournal()
    journal: Journal = memory
    other: Journal = memory.another()
    if kind == "postgres":
        url: str = request.getfixturevalue("url")
        journal, other = (PostgresJournal(url, require_durable=False) for _ in range(2))
        await journal.open(Identity(sandbox.project_id, sandbox.base_url), running=True)
        await journal.close()
    await journal_with(sandbox, US[:4], journal)
    answered = asyncio.Event()
    sandbox.order_faults.append(answered)
    async with run_of(journal, batch_size=2, follow=0.0, drain_timeout=30.0) as one:
        ordering = asyncio.create_task(one.order())
        await sandbox.arrived.wait()
        async with run_of(other, batch_size=2, follow=0.0) as two:
            await two.order()
        assert await states_of(journal) == [BatchState.SENDING, BatchState.ORDERED]
        answered.set()
        await ordering
        assert await states_of(journal) == [BatchState.ORDERED, BatchState.ORDERED]
    assert sorted(sandbox.sent) == [US[:2], US[2:4]]


async def test_a_run_that_seemed_to_be_gone(
    sandbox: FaultySandbox, run_of: RunOf, url: str
) -> None:
    """Rule 29: an order whose run lost its lease is UNKNOWN, until that run tells its outcome."""
    journal, other = (PostgresJournal(url, require_durable=False) for _ in range(2))
    await journal.open(Identity(sandbox.project_id, sandbox.base_url), running=True)
    await journal.close()
    await journal_with(sandbox, US[:2], journal)
    answered = asyncio.Event()
    sandbox.order_faults.append(answered)
    async with run_of(journal, follow=0.0, drain_timeout=30.0) as one:
        ordering = asyncio.create_task(one.order())
        await sandbox.arrived.wait()
        execute(url, "UPDATE writers SET lease_end = 1")
        async with run_of(other, follow=0.0) as two:
            assert await states_of(journal) == [BatchState.UNKNOWN]
            await two.order()
        answered.set()
        await ordering
        (batch,) = await journal.batches()
    assert (batch.state, batch.order_id) == (BatchState.ORDERED, next(iter(sandbox.world.orders)))
    assert sandbox.sent == [US[:2]]
