"""Orders that fail: one that may exist is never placed again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import pytest

from sinch_qn import Page, QualifiedNumbersClient, errors
from sinch_qn.bulk.actions import free_batch
from sinch_qn.bulk.journal import Batch, BatchState, MemoryJournal
from sinch_qn.bulk.states import Change, Entry
from sinch_qn.errors import InvalidRequestError
from sinch_qn.models import GlobalProcessState as SinchState
from tests.support.text_enabling import US, FaultySandbox, RunOf, finish, journal_with, states_of


@pytest.mark.parametrize("fault", ["lost on the way", "lost on the way back", "unavailable"])
async def test_an_unknown_batch_is_never_sent_again(
    sandbox: FaultySandbox, run_of: RunOf, fault: str
) -> None:
    """Rule 23: a batch whose response was lost is UNKNOWN and never sent again; others are sent."""
    journal = await journal_with(sandbox, US[:6])
    sandbox.order_faults.append(fault)
    for _ in range(2):
        async with run_of(journal, batch_size=3) as run:
            await run.order()
    assert sandbox.sent == [US[:3], US[3:6]]
    assert await states_of(journal) == [BatchState.UNKNOWN, BatchState.ORDERED]


async def test_hosting_shows_that_a_lost_order_exists(
    sandbox: FaultySandbox, run_of: RunOf
) -> None:
    """An UNKNOWN batch is ORDERED once its numbers are being hosted; otherwise it stays UNKNOWN."""
    journal = await journal_with(sandbox, US[:6])
    sandbox.order_faults.extend(["lost on the way back", "lost on the way"])
    report = await finish(run_of(journal, batch_size=3, follow=0.2))
    async with asyncio.timeout(60):  # how long hosting takes is the sandbox's business
        while SinchState.HOSTING_IN_PROGRESS in report.hosting:
            report = await finish(run_of(journal, batch_size=3, follow=0.2))
    found, lost = await journal.batches()
    assert (found.state, found.order_id) == (BatchState.ORDERED, None)
    assert "exists" in (found.note or "")
    assert lost.state is BatchState.UNKNOWN
    assert report.orders == []
    assert report.hosting == {SinchState.HOSTING_DONE: 3, SinchState.VERIFIED: 3}


def fail_next(
    monkeypatch: pytest.MonkeyPatch,
    client: QualifiedNumbersClient,
    method: str,
    *failures: errors.SinchError,
) -> None:
    """Have the next calls of a coroutine method raise *failures*, one each."""
    real, left = getattr(client, method), list(failures)

    async def call(*args: Any, **options: Any) -> Any:
        if left:
            raise left.pop(0)
        return await real(*args, **options)

    monkeypatch.setattr(client, method, call)


def fail_next_probe(
    monkeypatch: pytest.MonkeyPatch, client: QualifiedNumbersClient, failure: errors.SinchError
) -> None:
    """Have the next listing raise *failure*."""
    real, left = client.list_number_pages, [failure]

    async def pages(*args: Any, **options: Any) -> AsyncIterator[Page]:
        if left:
            raise left.pop()
        async for page in real(*args, **options):
            yield page

    monkeypatch.setattr(client, "list_number_pages", pages)


async def test_a_batch_that_was_limited_is_freed(
    sandbox: FaultySandbox, run_of: RunOf, sleeps: list[float]
) -> None:
    """Rule 2: after a 429 the numbers of a batch go into another one after Retry-After."""
    journal = await journal_with(sandbox, US[:3])
    sandbox.order_faults.append("limited")
    await finish(run_of(journal, follow=0.0))
    assert await states_of(journal) == [BatchState.NOT_SENT, BatchState.ORDERED]
    assert sandbox.sent == [US[:3]]
    assert sleeps[0] == 7.0
    assert (await journal.batches())[0].numbers == ()


async def test_a_batch_that_was_not_sent_is_freed(
    sandbox: FaultySandbox,
    client: QualifiedNumbersClient,
    run_of: RunOf,
    sleeps: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rule 2: without a connection the numbers of a batch go into another one after a probe."""
    journal = await journal_with(sandbox, US[:3])
    refused = errors.ConnectError("refused")
    fail_next(monkeypatch, client, "text_enable_numbers", refused)
    fail_next_probe(monkeypatch, client, refused)
    await finish(run_of(journal, follow=0.0))
    assert await states_of(journal) == [BatchState.NOT_SENT, BatchState.ORDERED]
    assert sandbox.sent == [US[:3]]
    assert sleeps[:2] == [1.0, 2.0]
    assert (await journal.batches())[0].numbers == ()


async def test_an_expired_token_costs_no_batch(
    sandbox: FaultySandbox, client: QualifiedNumbersClient, run_of: RunOf
) -> None:
    """An order with an expired token is sent again with a fresh one: one batch, one order."""
    journal = await journal_with(sandbox, US[:6])
    async with run_of(journal, batch_size=3) as run:
        await client.prepare()
        sandbox.revoke_tokens()
        await run.order()
    assert sandbox.calls.total("textEnableNumbers") == 3
    assert sandbox.sent == [US[:3], US[3:6]]
    assert await states_of(journal) == [BatchState.ORDERED, BatchState.ORDERED]


async def test_an_outage_is_waited_out(
    sandbox: FaultySandbox,
    client: QualifiedNumbersClient,
    run_of: RunOf,
    sleeps: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While no token can be acquired no batch is claimed; the run waits with backoff."""
    journal = await journal_with(sandbox, US[:3])
    fail_next(monkeypatch, client, "prepare", *[errors.TokenError("down")] * 9)
    await finish(run_of(journal, follow=0.0))
    assert sleeps[:9] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert await states_of(journal) == [BatchState.ORDERED]


async def test_after_a_lost_response_the_run_probes(
    sandbox: FaultySandbox,
    run_of: RunOf,
) -> None:
    """After a lost response the next batch is sent once a probe has a response."""
    journal = await journal_with(sandbox, US[:2])
    sandbox.order_faults.append("unavailable")
    before = sandbox.calls.total("listQualifiedNumbers")
    await finish(run_of(journal, batch_size=1, follow=0.0))
    assert sandbox.calls.total("listQualifiedNumbers") == before + 1


@pytest.mark.parametrize(
    ("fault", "state"),
    [("unavailable", BatchState.UNKNOWN), ("refused", BatchState.REJECTED)],
)
async def test_three_failed_batches_in_a_row_stop_the_ordering(
    sandbox: FaultySandbox,
    run_of: RunOf,
    fault: str,
    state: BatchState,
) -> None:
    """Three batches in a row without an order stop the ordering; the report says why."""
    journal = await journal_with(sandbox, US[:20])
    sandbox.order_faults.extend(["", fault, fault, "", fault, fault, fault])
    report = await finish(run_of(journal, batch_size=1, follow=0.0))
    assert report.batches == dict.fromkeys(BatchState, 0) | {state: 5, BatchState.ORDERED: 2}
    assert report.left == 13
    assert "HTTP" in (report.stopped or "")


async def test_refused_credentials_stop_the_run(sandbox: FaultySandbox, run_of: RunOf) -> None:
    """Rule 6: refused credentials stop the run at the first response; the batch is freed."""
    journal = await journal_with(sandbox, US[:4])
    sandbox.order_faults.append("forbidden")
    with pytest.raises(errors.PermissionDeniedError):
        await finish(run_of(journal, batch_size=2))
    assert await states_of(journal) == [BatchState.NOT_SENT]


@pytest.mark.parametrize("prepares", [True, False], ids=["token", "probe"])
async def test_refused_credentials_are_not_waited_out(
    sandbox: FaultySandbox,
    client: QualifiedNumbersClient,
    run_of: RunOf,
    monkeypatch: pytest.MonkeyPatch,
    *,
    prepares: bool,
) -> None:
    """Rule 6: credentials refused for a token, or in the probe after a lost order, stop the run."""
    journal = await journal_with(sandbox, US[:3])
    sandbox.order_faults.append("unavailable")
    refused = errors.AuthenticationError(status_code=401)
    if prepares:
        fail_next(monkeypatch, client, "prepare", refused)
    else:
        fail_next_probe(monkeypatch, client, refused)
    with pytest.raises(errors.AuthenticationError):
        await finish(run_of(journal))
    assert await states_of(journal) == ([] if prepares else [BatchState.UNKNOWN])


async def test_a_rejected_batch_needs_a_person(sandbox: FaultySandbox, run_of: RunOf) -> None:
    """A refused batch stays REJECTED, with the server's reason, until a person frees it."""
    journal = await journal_with(sandbox, US[:4])
    sandbox.order_faults.append("refused")
    report = await finish(run_of(journal))
    (batch,) = await journal.batches()
    assert batch.state is BatchState.REJECTED
    assert "no such plan" in (batch.note or "")
    assert report.stopped is None
    assert await finish(run_of(journal)) == report
    assert sandbox.sent == []
    assert (await free_batch(journal, batch.id)).numbers == batch.numbers
    assert (await finish(run_of(journal))).hosting == {SinchState.HOSTING_DONE: 4}
    assert sandbox.sent == [US[:4]]


async def test_a_refused_batch_is_ordered_without_numbers_that_moved_on(
    sandbox: FaultySandbox, run_of: RunOf
) -> None:
    """A refused batch with numbers that are no longer VERIFIED is ordered without them."""
    journal = await journal_with(sandbox, US[:40])
    sandbox.add(US[:1], SinchState.HOSTING_DONE)
    sandbox.world.delete(US[1])
    report = await finish(run_of(journal))
    assert await states_of(journal) == [BatchState.NOT_SENT, BatchState.ORDERED]
    assert sandbox.orders == 1
    assert sandbox.sent[1] == US[2:40]
    assert report.hosting == {SinchState.HOSTING_DONE: 38}
    assert report.left == 0
    gone = await journal.get(US[1])
    assert gone is not None
    assert (gone.remote, gone.note) == (SinchState.UNSPECIFIED, "Sinch no longer knows this number")


async def test_a_refused_batch_that_cannot_be_rechecked(
    sandbox: FaultySandbox,
    client: QualifiedNumbersClient,
    run_of: RunOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A refused batch stays REJECTED if its numbers cannot be looked up."""
    journal = await journal_with(sandbox, US[:1])
    sandbox.order_faults.append("refused")
    fail_next(monkeypatch, client, "get_number", errors.InvalidResponseError("garbage"))
    async with run_of(journal) as run:
        await run.order()
    assert await states_of(journal) == [BatchState.REJECTED]


async def test_only_a_person_frees_an_unknown_batch(sandbox: FaultySandbox, run_of: RunOf) -> None:
    """A REJECTED or UNKNOWN batch can be freed, no other; then its numbers are ordered again."""
    journal = await journal_with(sandbox, US[:4])
    sandbox.order_faults.append("lost on the way")
    await finish(run_of(journal, batch_size=2, follow=0.2))
    assert await states_of(journal) == [BatchState.UNKNOWN, BatchState.ORDERED]
    with pytest.raises(InvalidRequestError, match="batch 2 is ordered"):
        await free_batch(journal, 2)
    with pytest.raises(InvalidRequestError, match="no batch 9"):
        await free_batch(journal, 9)
    await free_batch(journal, 1)
    await finish(run_of(journal))
    assert sandbox.sent == [US[:2], US[2:4], US[:2]]


class Interrupted(MemoryJournal):
    """A journal in which another process acts, once, right after a method has read or written."""

    after: str = ""
    act: Callable[[], Awaitable[object]]

    async def batches(self) -> list[Batch]:
        """Return the batches as they were before."""
        batches = await super().batches()
        await self._returns("batches")
        return batches

    async def apply(self, changes: Sequence[Change]) -> list[Entry | None]:
        """Return the entries as they were before."""
        entries = await super().apply(changes)
        await self._returns("apply")
        return entries

    async def _returns(self, method: str) -> None:
        if method == self.after:
            self.after = ""
            await self.act()


@pytest.fixture
async def interrupted(sandbox: FaultySandbox, run_of: RunOf) -> Interrupted:
    """Return a journal with an UNKNOWN batch whose order exists."""
    journal = Interrupted()
    await journal_with(sandbox, US[:2], journal)
    sandbox.order_faults.append("lost on the way back")
    await finish(run_of(journal, follow=0.0))
    return journal


async def test_a_batch_that_is_found_is_not_freed(
    sandbox: FaultySandbox, run_of: RunOf, interrupted: Interrupted
) -> None:
    """A batch that a run finds ORDERED while a person frees it is not ordered again."""
    interrupted.act = partial(
        interrupted.record_batch_outcome,
        1,
        BatchState.ORDERED,
        only_from=list(BatchState),
        note="found",
    )
    interrupted.after = "batches"
    with pytest.raises(InvalidRequestError, match="batch 1 is ordered"):
        await free_batch(interrupted, 1)
    await finish(run_of(interrupted))
    assert sandbox.sent == [US[:2]]
    assert (await interrupted.batches())[0].note == "found"


async def test_a_batch_that_is_freed_is_not_found(run_of: RunOf, interrupted: Interrupted) -> None:
    """A batch that a person frees while a run finds it ORDERED stays freed."""
    interrupted.act, interrupted.after = partial(free_batch, interrupted, 1), "apply"
    await finish(run_of(interrupted))
    assert interrupted.after == ""
    assert await states_of(interrupted) == [BatchState.NOT_SENT]
