"""Orders whose response was lost: found by their names, or not there; never placed again."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from sinch_qn import QualifiedNumbersClient, errors
from sinch_qn.bulk import Batch, BatchState, MemoryJournal, SqliteJournal, free_batch
from sinch_qn.bulk.journal import Journal
from sinch_qn.bulk.lost_orders import ABSENT_AFTER
from sinch_qn.bulk.order_records import (
    NOTE_ABSENT,
    NOTE_FOUND,
    NOTE_UNLISTED,
    NumberFailure,
    OrderRecord,
    is_named,
    is_ours,
    load_record,
    order_name,
    save_record,
)
from sinch_qn.bulk.report import what_to_do_about
from tests.bulk.text_enable.test_cancellation import CHILD
from tests.support.text_enabling import REQUEST, TOLL_FREE, US, FaultySandbox, RunOf, journal_with

LISTED = attrs.evolve(REQUEST, campaign_id="C1", display_name="January")
LOST = "lost on the way back"
NEVER_SENT = "lost on the way"


class Clock:
    """The time of a run."""

    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


async def lose(
    sandbox: FaultySandbox, run_of: RunOf, journal: Journal, fault: str, **options: Any
) -> None:
    """Place one order whose response is lost."""
    sandbox.order_faults.append(fault)
    async with run_of(journal, **{"request": LISTED, "batch_size": 3} | options) as run:
        await run.order()


async def look(run_of: RunOf, journal: Journal, **options: Any) -> list[Batch]:
    """Look for lost orders in another run; return the batches."""
    async with run_of(journal, **{"request": LISTED} | options) as run:
        await run.find_lost_orders()
    return await journal.batches()


async def test_a_lost_order_is_found(sandbox: FaultySandbox, run_of: RunOf) -> None:
    """An order whose response was lost is ORDERED with its id, and is not placed again."""
    journal = await journal_with(sandbox, US[:5])
    await lose(sandbox, run_of, journal, LOST)
    lost, other = await look(run_of, journal)
    first, second = sandbox.world.orders
    assert (lost.state, lost.order_id, lost.note) == (BatchState.ORDERED, first, NOTE_FOUND)
    assert other.order_id == second
    assert sandbox.sent == [US[:3], US[3:5]]


async def test_each_order_has_a_name_of_its_own(sandbox: FaultySandbox, run_of: RunOf) -> None:
    """The user's name is first; the rest tells the journal and the batch."""
    names = []
    for numbers in (US[:2], US[2:4]):
        journal = await journal_with(sandbox, numbers)
        for own in ("January", None):
            template = attrs.evolve(LISTED, display_name=own)
            async with run_of(journal, template, batch_size=1) as run:
                await run.order()
        for batch in await journal.batches():
            record = await load_record(journal, batch.id)
            assert record is not None
            names.append(record.name)
    sent = [str(order.request["displayName"]) for order in sandbox.world.orders.values()]
    assert sent == names
    assert len(set(names)) == 4
    assert all(name.startswith("January (sinch-qn ") for name in names)


async def test_an_order_that_is_not_there(sandbox: FaultySandbox, run_of: RunOf) -> None:
    """An order that is not listed, and not 15 minutes after that either, was not placed.

    How long ago its intent is counts for nothing. Its batch stays UNKNOWN, with what to do; only a
    person's word orders its numbers, once.
    """
    clock = Clock()
    journal = await journal_with(sandbox, US[:3], MemoryJournal(clock=clock))
    await lose(sandbox, run_of, journal, NEVER_SENT)
    clock.now += 2 * ABSENT_AFTER
    await look(run_of, journal)
    clock.now += ABSENT_AFTER - 1
    (batch,) = await look(run_of, journal)
    assert (batch.state, batch.note != NOTE_ABSENT) == (BatchState.UNKNOWN, True)
    clock.now += 1
    (batch,) = await look(run_of, journal)
    assert (batch.state, batch.note) == (BatchState.UNKNOWN, NOTE_ABSENT)
    assert f"sinch-qn free JOURNAL {batch.id}" in (what_to_do_about(batch) or "")
    async with run_of(journal, LISTED) as run:
        await run.order()
    assert sandbox.orders == 0
    await free_batch(journal, batch.id)
    async with run_of(journal, LISTED) as run:
        await run.order()
    assert sandbox.orders == 1


async def test_an_order_that_is_listed_late(sandbox: FaultySandbox, run_of: RunOf) -> None:
    """An order that was not listed at first is found later, also after it was thought absent."""
    journal, clock = await journal_with(sandbox, US[:3]), Clock()
    await lose(sandbox, run_of, journal, LOST, clock=clock)
    hidden = dict(sandbox.world.orders)
    sandbox.world.orders.clear()
    (batch,) = await look(run_of, journal, clock=clock)
    assert batch.state is BatchState.UNKNOWN
    sandbox.world.orders.update(hidden)
    (batch,) = await look(run_of, journal, clock=clock)
    assert (batch.state, batch.order_id) == (BatchState.ORDERED, next(iter(hidden)))


async def test_numbers_that_are_hosted_were_ordered(sandbox: FaultySandbox, run_of: RunOf) -> None:
    """An order that is not listed is not called absent while any number of it is being hosted."""
    journal, clock = await journal_with(sandbox, US[:3]), Clock()
    await lose(sandbox, run_of, journal, NEVER_SENT, clock=clock)
    async with sandbox.client() as client:
        await client.text_enable_numbers(attrs.evolve(REQUEST, numbers=US[2:3]))
    await look(run_of, journal, clock=clock)
    clock.now += 2 * ABSENT_AFTER
    (batch,) = await look(run_of, journal, clock=clock)
    assert (batch.state, batch.note != NOTE_ABSENT) == (BatchState.UNKNOWN, True)


async def test_an_order_that_was_renamed(sandbox: FaultySandbox, run_of: RunOf) -> None:
    """Orders with other names are searched for its numbers, any of them.

    The order of other numbers is left alone.
    """
    journal, clock = await journal_with(sandbox, US[:3]), Clock()
    sandbox.add(US[50:51], "VERIFIED")
    async with sandbox.client() as client:
        await client.text_enable_numbers(
            attrs.evolve(LISTED, numbers=US[50:51], display_name="somebody's")
        )
    await lose(sandbox, run_of, journal, LOST, clock=clock)
    mine = list(sandbox.world.orders.values())[1]
    mine.request = {**mine.request, "displayName": "Renamed", "numbers": US[1:3]}
    (batch,) = await look(run_of, journal, clock=clock)
    assert batch.order_id == mine.id


@pytest.mark.parametrize("toll_free", [False, True])
async def test_orders_without_a_campaign(
    sandbox: FaultySandbox, run_of: RunOf, *, toll_free: bool
) -> None:
    """An order without a campaign cannot be listed: it stays UNKNOWN, and says why."""
    numbers = ["+18335550100"] if toll_free else US[:3]
    journal, clock = await journal_with(sandbox, numbers), Clock()
    options: dict[str, Any] = {"request": REQUEST, "clock": clock}
    if toll_free:
        options["toll_free_request"] = TOLL_FREE
    await lose(sandbox, run_of, journal, NEVER_SENT, **options)
    clock.now += 2 * ABSENT_AFTER
    (batch,) = await look(run_of, journal, **options)
    assert (batch.state, batch.note) == (BatchState.UNKNOWN, NOTE_UNLISTED)
    assert "dashboard" in (what_to_do_about(batch) or "")
    assert sandbox.calls.total("listHostingOrders") == 0


async def test_a_search_that_fails(
    sandbox: FaultySandbox,
    client: QualifiedNumbersClient,
    run_of: RunOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the orders of one batch cannot be listed, it alone is left to the next run."""
    journal, clock = await journal_with(sandbox, US[:6]), Clock()
    sandbox.order_faults.append(NEVER_SENT)
    await lose(sandbox, run_of, journal, LOST, clock=clock)
    clock.now += 2 * ABSENT_AFTER
    orders = client.hosting_orders.list
    searches: list[object] = []

    def fail_once(**options: Any) -> Any:
        searches.append(options)
        if len(searches) == 1:
            raise errors.ServerError("down", status_code=503)
        return orders(**options)

    monkeypatch.setattr(client.hosting_orders, "list", fail_once)
    first, second = await look(run_of, journal, clock=clock)
    assert (first.state, first.note != NOTE_ABSENT) == (BatchState.UNKNOWN, True)
    assert (second.state, second.note) == (BatchState.ORDERED, NOTE_FOUND)


@pytest.mark.parametrize(
    ("moment", "orders"), [("before sending", 0), ("in flight", 1), ("before the outcome", 1)]
)
async def test_kill_minus_nine(
    sandbox: FaultySandbox, run_of: RunOf, tmp_path: Path, moment: str, orders: int
) -> None:
    """Law: after a kill anywhere, a batch has at most one order; what exists is found.

    What does not exist is offered to be freed, and only then ordered.
    """
    path, clock = tmp_path / "run.db", Clock()
    await journal_with(sandbox, US[:3], SqliteJournal(path))
    respond = asyncio.Event()
    if moment == "in flight":
        sandbox.order_faults.append(respond)
    script = CHILD.replace('service_plan_id="p"', 'service_plan_id="plan", campaign_id="C1"')
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(path), moment, env=sandbox.environment()
    )
    if moment == "in flight":
        await sandbox.arrived.wait()
        child.send_signal(signal.SIGKILL)
    assert await child.wait() == -signal.SIGKILL
    respond.set()
    if moment == "in flight":
        await sandbox.answered.wait()
    journal = SqliteJournal(path)
    async with run_of(journal, LISTED) as run:
        await run.order()
        await run.find_lost_orders()
        (batch,) = await journal.batches()
    assert sandbox.orders == orders
    if orders:
        assert (batch.state, batch.order_id) == (BatchState.ORDERED, *sandbox.world.orders)
        return
    clock.now = batch.at + ABSENT_AFTER
    async with run_of(journal, LISTED, clock=clock) as run:
        await run.order()
        await run.find_lost_orders()
        (batch,) = await journal.batches()
        assert sandbox.orders == 0
        # Killed before its name was recorded, in this journal of a test, or after.
        assert batch.note in (NOTE_ABSENT, NOTE_UNLISTED)
        await free_batch(journal, batch.id)
        await run.order()
    assert sandbox.orders == 1


def test_names() -> None:
    """A name is recognised by what is unique in it, whatever is around it."""
    name = order_name("January", "0123456789ab", 7)
    assert name == "January (sinch-qn 0123456789ab-7)"
    assert order_name(None, "0123456789ab", 7) == "sinch-qn 0123456789ab-7"
    assert is_named(name, "Renamed: sinch-qn 0123456789ab-7!")
    assert not is_named(name, order_name("January", "0123456789ab", 77))
    assert not is_named(name, order_name("January", "0123456789ac", 7))
    assert not is_named(name, None)
    assert not is_named("January", "January")
    assert is_ours(name)
    assert not is_ours("January")


async def test_a_record_survives() -> None:
    """A record comes back as it was stored; a batch without one has none."""
    journal = MemoryJournal()
    assert await load_record(journal, 1) is None
    failure = NumberFailure(phone_number=US[0], where="SMS at T-Mobile", code="7", message="no")
    record = OrderRecord(name="a", service_plan_id="p", since=5.0, done=2, failures=(failure,))
    await save_record(journal, 1, record)
    assert await load_record(journal, 1) == record
    assert await load_record(journal, 2) is None
    await journal.set_bookmark("order 2", "[]")
    with pytest.raises(errors.JournalError, match="batch 2"):
        await load_record(journal, 2)
