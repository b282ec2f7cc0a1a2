"""The orders of a text-enabling run are followed until their numbers are hosted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import orjson
import pytest
from aiohttp import web

from sinch_qn import QualifiedNumbersClient
from sinch_qn.bulk import MemoryJournal, SqliteJournal
from sinch_qn.bulk.callback_inbox import count_callbacks
from sinch_qn.bulk.callback_receiver import callback_handler
from sinch_qn.bulk.journal import Journal
from sinch_qn.bulk.order_records import OrderRecord, load_record
from sinch_qn.errors import StatusError
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.sandbox import Fault
from sinch_qn.webhooks import SIGNATURE_HEADER, sign
from tests.support.loa import DIRECT
from tests.support.text_enabling import REQUEST, US, FaultySandbox, RunOf, finish, journal_with

LETTER = attrs.evolve(REQUEST, blanket_loa_info=None, direct_loa_info=DIRECT, campaign_id="C1")
UNSIGNED = "+12025559999"


async def test_orders_are_followed_to_their_end(sandbox: FaultySandbox, run_of: RunOf) -> None:
    """The state of each number is recorded until it is hosted, or failed with Sinch's reason.

    `settled_at` and the note of a verified number stay.
    """
    fails = "+12025559997"
    journal = await journal_with(sandbox, [*US[:50], fails])
    report = await finish(run_of(journal))
    assert report.hosting == {SinchState.HOSTING_DONE: 50, SinchState.HOSTING_FAILED: 1}
    entry = await journal.get(fails)
    assert entry is not None
    assert (entry.remote, entry.settled_at) == (SinchState.HOSTING_FAILED, 5.0)
    assert entry.note == "hosting failed: The number could not be hosted."
    entry = await journal.get(US[0])
    assert entry is not None
    assert (entry.remote, entry.note) == (SinchState.HOSTING_DONE, "by a code")
    assert sandbox.calls.total("getQualifiedNumber") == 0


async def test_another_run_resumes_following(
    sandbox: FaultySandbox, run_of: RunOf, tmp_path: Path
) -> None:
    """Following ends after `follow` seconds, without an error; another run resumes it.

    Once all numbers are hosted nothing is requested.
    """
    unsigned = "+12025559999"
    path = tmp_path / "run.db"
    await journal_with(sandbox, [unsigned, *US[:2]], SqliteJournal(path))
    letter = attrs.evolve(REQUEST, blanket_loa_info=None, direct_loa_info=DIRECT)
    report = await finish(run_of(SqliteJournal(path), letter, follow=0.3))
    assert report.hosting == {SinchState.HOSTING_IN_PROGRESS: 3}
    sandbox.sign_loa(report.orders[0])
    report = await finish(run_of(SqliteJournal(path), letter))
    assert report.hosting == {SinchState.HOSTING_DONE: 3}
    looked_up = sandbox.calls.totals()
    assert (await finish(run_of(SqliteJournal(path), letter))).hosting == report.hosting
    assert sandbox.calls.totals() == looked_up


async def record_of(journal: Journal, batch: int = 1) -> OrderRecord:
    """Return the record of a batch."""
    record = await load_record(journal, batch)
    assert record is not None
    return record


async def test_an_order_is_followed_by_its_state_and_totals(
    sandbox: FaultySandbox, run_of: RunOf
) -> None:
    """The journal says whose signature an order waits for, since when, and then what was done.

    A number that one carrier refuses is named, with carrier and code.
    """
    refused = "+12025559989"
    journal = await journal_with(sandbox, [UNSIGNED, refused, *US[:2]])
    report = await finish(run_of(journal, LETTER, follow=0.3))
    record = await record_of(journal)
    order = sandbox.world.orders[report.orders[0]]
    assert record.state == "WAITING_FOR_LOA_SIGNATURE"
    assert (record.signer, record.since) == ("j•••@example.com", order.updated)
    assert (record.total, record.done) == (None, None)
    sandbox.sign_loa(order.id)
    await finish(run_of(journal, LETTER))
    record = await record_of(journal)
    assert (record.state, record.total, record.done) == ("COMPLETED", 4, 4)
    (failure,) = record.failures
    assert (failure.phone_number, failure.where) == (refused, "SMS at T-Mobile")
    assert failure.code


async def test_only_what_changed_is_looked_at_in_detail(
    sandbox: FaultySandbox, run_of: RunOf
) -> None:
    """While an order waits for a signature its numbers cost no request."""
    journal = await journal_with(sandbox, [UNSIGNED, *US[:50]])
    await finish(run_of(journal, LETTER, follow=0.3))
    before = sandbox.calls.totals()
    async with run_of(journal, LETTER, follow=0.3) as run:
        await run.follow()
    after = sandbox.calls.totals()
    grown = {name for name, count in after.items() if count > before.get(name, 0)}
    assert "getHostingOrder" in grown
    assert not grown & {"listHostingOrderNumbers", "listQualifiedNumbers", "getQualifiedNumber"}


async def test_a_rejected_order_ends(sandbox: FaultySandbox, run_of: RunOf) -> None:
    """An order that is rejected once signed ends the following; all its numbers have failed."""
    journal = await journal_with(sandbox, ["+12025559998", US[0]])
    sandbox.world.settings.loa_delay = 5.0
    report = await finish(run_of(journal, LETTER))
    assert report.hosting == {SinchState.HOSTING_FAILED: 2}
    record = await record_of(journal)
    assert (record.state, record.done) == ("REJECTED", 0)


async def test_following_ends_in_an_outage(sandbox: FaultySandbox, run_of: RunOf) -> None:
    """The time limit holds also if Sinch fails from the first poll on."""
    journal = await journal_with(sandbox, US[:2])
    async with run_of(journal) as run:
        await run.order()
    sandbox.faults.add(Fault.status(500, times=1000), operation="getHostingOrder")

    async with asyncio.timeout(20):
        async with run_of(journal, follow=0.2, sleep=lambda _: asyncio.sleep(0.001)) as run:
            await run.follow()
    assert sandbox.calls.total("getHostingOrder") > 0


async def test_an_order_that_is_not_shown(
    sandbox: FaultySandbox,
    client: QualifiedNumbersClient,
    run_of: RunOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One order that Sinch refuses to show keeps no other from being followed."""
    journal = await journal_with(sandbox, US[:2])
    get = client.hosting_orders.get
    async with run_of(journal, batch_size=1, follow=2.0) as run:
        await run.order()
        first = next(iter(sandbox.world.orders))

        async def refuse(order_id: str, **options: Any) -> Any:
            if order_id == first:
                raise StatusError("no", status_code=400)
            return await get(order_id, **options)

        monkeypatch.setattr(client.hosting_orders, "get", refuse)
        await run.follow()
    assert (await record_of(journal, 2)).state == "COMPLETED"


async def test_details_are_refreshed(sandbox: FaultySandbox, run_of: RunOf) -> None:
    """An order in progress is looked at in detail every ten minutes: totals count no failures."""
    journal, now = await journal_with(sandbox, US[:2]), [1_000_000_000.0]
    sandbox.world.settings.hosting_delay = 1_000_000.0
    asked = []

    async def stop(_: float) -> None:
        raise _EnoughError

    async with run_of(journal) as run:
        await run.order()
    for minutes in (0, 9, 2, 9):
        now[0] += 60.0 * minutes
        with pytest.raises(_EnoughError):
            async with run_of(journal, clock=lambda: now[0], sleep=stop) as run:
                await run.follow()
        asked.append(sandbox.calls.total("listHostingOrderNumbers"))
    assert (await record_of(journal)).state == "IN_PROGRESS"
    assert asked == [1, 1, 2, 2]


# ── Callbacks ───────────────────────────────────────────────────────────────────────────────────

SECRET = "secret"


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[MemoryJournal, str]]:
    """Run a receiver on a journal; return both."""
    journal = MemoryJournal()
    app = web.Application()
    app.router.add_post("/sinch", callback_handler(journal, SECRET))
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield journal, f"http://{host}:{port}/sinch"
    await runner.cleanup()


async def deliver(url: str, event_id: str, resource: str, *, secret: str = SECRET) -> int:
    """Deliver one event; return the status of the response."""
    body = orjson.dumps(
        {
            "resourceType": "HOSTING_ORDER_NUMBER",
            "eventType": "OSR_UPDATE",
            "eventId": event_id,
            "timestamp": "2026-01-13T14:30:00Z",
            "projectId": "p",
            "resourceId": resource,
            "status": "SUCCEEDED",
        }
    )
    headers = {SIGNATURE_HEADER: sign(body, secret)}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=body, headers=headers) as response,
    ):
        return response.status


async def test_callbacks_are_noted_once(
    sandbox: FaultySandbox, run_of: RunOf, receiver: tuple[MemoryJournal, str]
) -> None:
    """An event is noted once, by its id, for the batch of its number or order; 200 for each."""
    journal, url = receiver
    await journal_with(sandbox, US[:2], journal)
    await finish(run_of(journal, follow=0.0))
    assert await count_callbacks(journal) is None
    for event, resource in (("a", US[0]), ("a", US[0]), ("b", *sandbox.world.orders)):
        assert await deliver(url, event, resource) == 200
    assert await deliver(url, "c", "+12025550999") == 200
    assert await count_callbacks(journal) == {1: 2}


async def test_callbacks_that_are_not_authentic(receiver: tuple[MemoryJournal, str]) -> None:
    """A wrong signature is refused, and nothing is noted."""
    journal, url = receiver
    assert await deliver(url, "a", US[0], secret="another") == 400
    assert await count_callbacks(journal) is None
    with pytest.raises(ValueError, match="secret"):
        callback_handler(journal, "")


async def test_a_callback_is_faster_than_a_poll(
    sandbox: FaultySandbox, run_of: RunOf, receiver: tuple[MemoryJournal, str]
) -> None:
    """A callback has its order looked at within a second of the run's time, and no other."""
    journal, url = receiver
    await journal_with(sandbox, [UNSIGNED, "+12125559999"], journal)
    slept: list[float] = []
    async with run_of(journal, LETTER, batch_size=1, follow=0.0) as run:
        await run.order()
    await deliver(url, "first", UNSIGNED)
    first, second = sandbox.world.orders

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        sandbox.clock.advance(seconds)
        if len(slept) == 300:  # the delays are long by now
            sandbox.sign_loa(first)
            sandbox.clock.advance(60)
            before.update(sandbox.calls.totals())
            await deliver(url, "second", UNSIGNED)
        if len(slept) == 301:
            after.update(sandbox.calls.totals())
            raise _EnoughError

    before: dict[str, int] = {}
    after: dict[str, int] = {}
    with pytest.raises(_EnoughError):
        async with run_of(journal, LETTER, follow=60.0, sleep=sleep) as run:
            await run.follow()
    assert max(slept[-300:]) <= 1.0
    assert after["getHostingOrder"] == before["getHostingOrder"] + 1
    assert (await record_of(journal, 1)).state == "COMPLETED"
    assert (await record_of(journal, 2)).state == "WAITING_FOR_LOA_SIGNATURE"
    assert second in sandbox.world.orders


class _EnoughError(Exception):
    """The test has seen enough."""
