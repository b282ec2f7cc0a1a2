"""Laws of the deliveries in a journal: one intent at a time, and its own outcome only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sinch_qn.bulk import MemoryJournal
from sinch_qn.bulk.journal import Delivery, DeliveryState, delivered_numbers
from sinch_qn.bulk.journal.deliveries import CLAIMABLE, IN_DOUBT, Deliveries
from tests.support.journals import opened

SENDING, SENT, UNKNOWN = DeliveryState.SENDING, DeliveryState.SENT, DeliveryState.UNKNOWN
NOT_SENT, WRITTEN = DeliveryState.NOT_SENT, DeliveryState.WRITTEN


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def deliveries(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Deliveries]:
    """Return the deliveries of a journal of each kind that has them."""
    if request.param == "memory":
        yield MemoryJournal().deliveries
        return
    journal = await opened(path)
    yield journal.deliveries
    await journal.close()


async def test_a_delivery_is_claimed_once(deliveries: Deliveries) -> None:
    """A key is claimed again only once it was not sent."""
    intent = await deliveries.claim("key", ["+12025550134", "+12025550135"], 5.0)
    assert intent is not None
    assert await deliveries.claim("key", [], 6.0) is None
    (row,) = await deliveries.all()
    numbers = ("+12025550134", "+12025550135")
    assert row == Delivery(key="key", intent=intent, numbers=numbers, state=SENDING, at=5.0)
    for state in (UNKNOWN, WRITTEN, SENT):
        assert await deliveries.record("key", intent, state, note="why")
        assert await deliveries.claim("key", [], 7.0) is None
        (row,) = await deliveries.all()
        assert (row.state, row.note, row.numbers) == (state, "why", numbers)
    assert await deliveries.record("key", intent, NOT_SENT)
    again = await deliveries.claim("key", ["+12025550136"], 8.0)
    assert again not in (None, intent)


async def test_runners_in_memory_share_deliveries() -> None:
    """P1: what one runner of a journal in memory claimed, another one does not deliver again."""
    journal = MemoryJournal()
    assert await journal.deliveries.claim("key", [], 5.0) is not None
    assert await journal.another().deliveries.claim("key", [], 5.0) is None


async def test_a_persons_word(deliveries: Deliveries) -> None:
    """What may have been delivered is claimed again only if its state is named."""
    first = await deliveries.claim("key", [], 5.0)
    assert first is not None
    assert await deliveries.claim("key", [], 6.0, again_from=CLAIMABLE) is None
    second = await deliveries.claim("key", [], 7.0, again_from=CLAIMABLE | IN_DOUBT)
    assert second is not None
    assert not await deliveries.record("key", first, SENT)
    assert (await deliveries.all())[0].state is SENDING
    assert await deliveries.record("key", second, UNKNOWN)


async def test_an_outcome_of_nothing(deliveries: Deliveries) -> None:
    """An outcome without an intent changes nothing."""
    assert not await deliveries.record("key", 1, SENT)
    assert await deliveries.all() == []


async def test_the_oldest_is_first(deliveries: Deliveries) -> None:
    """Deliveries are in the order of their intents."""
    for key, at in (("b", 1.0), ("c", 2.0), ("a", 3.0)):
        await deliveries.claim(key, [], at)
    assert [row.key for row in await deliveries.all()] == ["b", "c", "a"]


async def test_which_numbers_were_delivered(deliveries: Deliveries) -> None:
    """A number counts unless all its deliveries were not sent."""
    for n, state in enumerate(DeliveryState):
        intent = await deliveries.claim(f"key {n}", [state.value.replace(" ", "-")], 1.0)
        assert intent is not None
        await deliveries.record(f"key {n}", intent, state)
    assert delivered_numbers(await deliveries.all()) == {"sending", "sent", "written", "unknown"}


async def test_deliveries_beside_a_run(path: Path) -> None:
    """Two processes beside a run share the deliveries: only one of them claims a key."""
    runner = await opened(path)
    one, other = [await opened(path, running=False) for _ in range(2)]
    try:
        intent = await one.deliveries.claim("key", [], 1.0)
        assert await other.deliveries.claim("key", [], 1.0) is None
        assert intent is not None
        await one.deliveries.record("key", intent, NOT_SENT)
        again = await other.deliveries.claim("key", [], 2.0)
        assert again not in (None, intent)
        assert not await one.deliveries.record("key", intent, SENT)
        assert [row.intent for row in await runner.deliveries.all()] == [again]
    finally:
        for journal in (one, other, runner):
            await journal.close()
