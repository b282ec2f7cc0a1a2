"""A text-enabling run that is killed, cancelled or left."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest

from sinch_qn import QualifiedNumbersClient
from sinch_qn._pipeline import PreparedCall
from sinch_qn.bulk import SqliteJournal
from sinch_qn.bulk.journal import Batch, BatchState, Journal, MemoryJournal
from sinch_qn.bulk.text_enable import TextEnableRun
from sinch_qn.errors import NotFoundError
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.models import HostingOrder, QualifiedNumber, TextEnableNumbersRequest
from tests.support.cancellation import cancel_everywhere, cancelled_after, cancelled_at
from tests.support.text_enabling import (
    CA,
    REQUEST,
    US,
    FaultySandbox,
    RunOf,
    finish,
    journal_with,
    states_of,
    verified,
)

CHILD = """
import asyncio, os, signal, sys
from sinch_qn import QualifiedNumbersClient
from sinch_qn.bulk import SqliteJournal
from sinch_qn.bulk.text_enable import TextEnableRun
from sinch_qn.models import BlanketLoaInfo, TextEnableNumbersRequest

path, moment = sys.argv[1:]

class Killed(SqliteJournal):
    async def claim_batch(self, **options):
        batch = await super().claim_batch(**options)
        if moment == "before sending":
            os.kill(os.getpid(), signal.SIGKILL)
        return batch

    async def record_batch_outcome(self, *args, **options):
        if moment == "before the outcome":
            os.kill(os.getpid(), signal.SIGKILL)
        await super().record_batch_outcome(*args, **options)

async def main():
    request = TextEnableNumbersRequest(
        region_code="US", numbers=[], service_plan_id="p", blanket_loa_info=BlanketLoaInfo()
    )
    async with QualifiedNumbersClient.from_env() as client:
        async with TextEnableRun(client, Killed(path), request) as run:
            await run.finish()

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("moment", "orders"),
    [("before sending", 0), ("in flight", 1), ("before the outcome", 1)],
)
async def test_kill_9_orders_nothing_twice(
    sandbox: FaultySandbox,
    run_of: RunOf,
    tmp_path: Path,
    moment: str,
    orders: int,
) -> None:
    """P1: after a kill between intent and outcome a batch is UNKNOWN, and ordered once at most."""
    path = tmp_path / "run.db"
    await journal_with(sandbox, US[:3], SqliteJournal(path))
    respond = asyncio.Event()
    if moment == "in flight":
        sandbox.order_faults.append(respond)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, str(path), moment, env=sandbox.environment()
    )
    if moment == "in flight":
        await sandbox.arrived.wait()
        child.send_signal(signal.SIGKILL)
    assert await child.wait() == -signal.SIGKILL
    respond.set()
    if moment == "in flight":
        await sandbox.answered.wait()
    async with run_of(SqliteJournal(path), follow=0.2 if orders == 0 else 30.0) as run:
        before = await run.report()
        after = await run.finish()
    assert before.batches[BatchState.UNKNOWN] == 1
    assert sandbox.orders == len(sandbox.sent) == orders
    assert after.hosting == {SinchState.HOSTING_DONE if orders else SinchState.VERIFIED: 3}
    assert after.batches[BatchState.ORDERED if orders else BatchState.UNKNOWN] == 1


@pytest.mark.parametrize("journal_kind", ["memory", "file"])
async def test_an_order_that_outlasts_the_drain_is_unknown(
    sandbox: FaultySandbox,
    run_of: RunOf,
    tmp_path: Path,
    journal_kind: str,
) -> None:
    """P9: an order in flight that outlasts `drain_timeout` is UNKNOWN, and the journal is free."""
    journal: Journal = MemoryJournal()
    if journal_kind == "file":
        journal = SqliteJournal(tmp_path / "run.db")
    await journal_with(sandbox, US[:3], journal)
    respond = asyncio.Event()
    sandbox.order_faults.append(respond)
    finishing = asyncio.create_task(finish(run_of(journal)))
    await sandbox.arrived.wait()
    finishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await finishing
    async with run_of(journal) as run:
        assert (await run.report()).batches[BatchState.UNKNOWN] == 1
    respond.set()


async def test_leaving_waits_for_the_order_in_flight(sandbox: FaultySandbox, run_of: RunOf) -> None:
    """P9: leaving a run waits for the outcome of the order in flight, and places no other."""
    journal = await journal_with(sandbox, US[:4])
    respond = asyncio.Event()
    sandbox.order_faults.append(respond)
    run = run_of(journal, batch_size=2, drain_timeout=30.0)
    finishing = asyncio.create_task(finish(run))
    await sandbox.arrived.wait()
    finishing.cancel()
    await asyncio.sleep(0)
    respond.set()
    with pytest.raises(asyncio.CancelledError):
        await finishing
    assert await states_of(journal) == [BatchState.ORDERED]
    assert sandbox.sent == [US[:2]]


async def test_a_drained_run_places_no_order(sandbox: FaultySandbox, run_of: RunOf) -> None:
    """After `drain` a run reports, and orders nothing more."""
    journal = await journal_with(sandbox, US[:4])
    async with run_of(journal, batch_size=2) as run:
        await run.drain()
        await run.order()
        assert (await run.report()).left == 4
    assert sandbox.sent == []


async def test_an_order_that_was_not_sent_is_freed(
    sandbox: FaultySandbox,
    client: QualifiedNumbersClient,
    run_of: RunOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rule 3: an order that is cancelled between its intent and its sending is freed."""
    journal = await journal_with(sandbox, US[:3])
    ordering = asyncio.Event()

    async def hang(*_: Any, **__: Any) -> None:
        ordering.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(client, "text_enable_numbers", hang)
    finishing = asyncio.create_task(finish(run_of(journal)))
    await ordering.wait()
    finishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await finishing
    assert await states_of(journal) == [BatchState.NOT_SENT]


async def test_an_order_whose_intent_is_being_committed_is_freed(
    sandbox: FaultySandbox, run_of: RunOf
) -> None:
    """Rule 3: an order that is cancelled while its intent is committed is freed."""
    committing = asyncio.Event()

    class Slow(MemoryJournal):
        async def claim_batch(self, **options: Any) -> Any:
            committing.set()
            await asyncio.sleep(0.01)
            return await super().claim_batch(**options)

    journal = await journal_with(sandbox, US[:3], Slow())
    finishing = asyncio.create_task(finish(run_of(journal, drain_timeout=0.001)))
    await committing.wait()
    finishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await finishing
    assert await states_of(journal) == [BatchState.NOT_SENT]
    assert sandbox.sent == []


async def test_nothing_is_ordered_twice_whatever_happens(
    sandbox: FaultySandbox, run_of: RunOf
) -> None:
    """Over random faults and cancellations, no number is in two orders and none is lost."""
    for seed in range(25):
        random = Random(seed)
        numbers = [f"+1303{seed + 200}{i:04}" for i in range(100, 130)]
        journal = await journal_with(sandbox, numbers)
        sandbox.sent.clear()
        kinds = ["", "", "limited", "refused", "unavailable", "lost on the way"]
        sandbox.order_faults.extend(random.choices([*kinds, "lost on the way back"], k=8))
        for _ in range(6):
            drain_timeout = random.choice([0.0001, 0.05])
            run = run_of(journal, batch_size=7, follow=0.0, drain_timeout=drain_timeout)
            await cancelled_at(finish(run), random.randrange(1, 40))
        report = await finish(run_of(journal, batch_size=7, follow=0.0))
        sandbox.order_faults.clear()
        times = Counter(number for batch in sandbox.sent for number in batch)
        assert max(times.values(), default=0) <= 1, seed
        batches = [b for b in await journal.batches() if b.state is not BatchState.NOT_SENT]
        kept = [number for batch in batches for number in batch.numbers]
        assert len(kept) == len(set(kept)) == len(numbers) - report.left, seed
        assert BatchState.SENDING not in {batch.state for batch in batches}


class Unlisted:
    """Hosting orders that cannot be read: their numbers say what becomes of them."""

    async def get(self, _: str) -> HostingOrder:
        """Find no order."""
        await asyncio.sleep(1)
        raise NotFoundError("no such order", status_code=404)


class Orders:
    """A fake client: it takes orders, and each number is hosted at its second look-up.

    A request has its effect in the middle of the two seconds that it takes.
    """

    project_id, base_url = "project", "https://api.example"

    def __init__(self, numbers: Iterable[str]) -> None:
        self.states = dict.fromkeys(numbers, SinchState.VERIFIED)
        self.sent: list[list[str]] = []
        self.hosting_orders = Unlisted()

    async def prepare(self) -> PreparedCall:
        """Acquire a token."""
        await asyncio.sleep(1)
        return PreparedCall(owner=self)

    async def text_enable_numbers(
        self, request: TextEnableNumbersRequest, *, prepared: PreparedCall, **_: object
    ) -> str:
        """Take an order."""
        await asyncio.sleep(0)
        prepared.connection_acquired = True
        await asyncio.sleep(1)
        self.sent.append(request.numbers)
        self.states |= dict.fromkeys(request.numbers, SinchState.HOSTING_IN_PROGRESS)
        await asyncio.sleep(1)
        return f"order {len(self.sent)}"

    async def get_number(self, number: str) -> QualifiedNumber:
        """Return the number as it is."""
        await asyncio.sleep(1)
        state = self.states[number]
        if state is SinchState.HOSTING_IN_PROGRESS:
            self.states[number] = SinchState.HOSTING_DONE
        return QualifiedNumber(phone_number=number, global_process_state=state)

    async def list_numbers(self, *_: SinchState, **__: object) -> AsyncIterator[QualifiedNumber]:
        """Yield all numbers."""
        for number in self.states:
            yield await self.get_number(number)


class Suspending(MemoryJournal):
    """A journal that suspends before and after a commit."""

    async def claim_batch(self, **options: Any) -> Batch | None:
        await asyncio.sleep(0)
        batch = await super().claim_batch(**options)
        await asyncio.sleep(0)
        return batch

    async def record_batch_outcome(self, *batch: Any, **options: Any) -> bool:
        await asyncio.sleep(0)
        recorded = await super().record_batch_outcome(*batch, **options)
        await asyncio.sleep(0)
        return recorded


async def cancel_and_repeat(drain_timeout: float, *iterations: int) -> bool:
    """Cancel a run, check what it left, and run again; return whether it was cancelled."""
    two = {US[0], CA[0]}
    api, journal = Orders(two), Suspending()
    await journal.add(verified(sorted(two)))

    def run() -> TextEnableRun:
        client = cast("QualifiedNumbersClient", api)
        return TextEnableRun(
            client,
            journal,
            REQUEST,
            jitter=lambda: 1.0,
            follow=60.0,
            drain_timeout=drain_timeout,
        )

    task = await cancelled_after(finish(run()), *iterations)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not journal._runner is not None
    ordered = {number for numbers in api.sent for number in numbers}
    batches = await journal.batches()
    assert BatchState.SENDING not in {batch.state for batch in batches}
    assert ordered <= {number for batch in batches for number in batch.numbers}
    report = await finish(run())
    lost = [b for b in await journal.batches() if b.state is BatchState.UNKNOWN]
    times = Counter(number for numbers in api.sent for number in numbers)
    assert set(times.values()) == {1}
    assert two - times.keys() == {number for batch in lost for number in batch.numbers}
    assert report.left == 0
    if not task.cancelled():
        task.result()
        assert not lost
    return task.cancelled()


@pytest.mark.parametrize("drain_timeout", [60.0, 0.001])
@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
def test_cancellation_at_every_iteration(
    *, drain_timeout: float, twice: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P9: left at any moment, a run leaves no task, lock or open batch; nothing is ordered twice.

    So it is also if leaving is cancelled, or if the order in flight outlasts `drain_timeout`.
    """

    async def at_once(work: Callable[..., Any], *arguments: object) -> Any:
        await asyncio.sleep(0)
        return work(*arguments)

    monkeypatch.setattr(asyncio, "to_thread", at_once)  # a virtual clock waits for no thread
    ran = cancel_everywhere(
        lambda k: cancel_and_repeat(drain_timeout, *((k, k + 1) if twice else (k,)))
    )
    assert ran > 30
