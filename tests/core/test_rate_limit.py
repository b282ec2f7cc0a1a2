"""The client's rate limit."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from sinch_qn.errors import InvalidRequestError
from sinch_qn.rate_limit import RateLimit
from tests.support.virtual_clock import virtual_clock


async def times(limit: RateLimit, requests: int) -> list[float]:
    """Return when each of concurrent requests gets its slot."""
    loop = asyncio.get_running_loop()

    async def turn() -> float:
        await limit.acquire()
        return loop.time()

    return sorted(await asyncio.gather(*(turn() for _ in range(requests))))


@virtual_clock
async def test_requests_are_spaced() -> None:
    """Slots are spaced evenly, *per_second* a second."""
    assert await times(RateLimit(4.0), 9) == pytest.approx([i / 4 for i in range(9)])


@virtual_clock
async def test_a_burst_goes_out_at_once() -> None:
    """*burst* requests may be sent at once; after that the average holds."""
    got = await times(RateLimit(2.0, burst=3), 6)
    assert got == pytest.approx([0, 0, 0, 0.5, 1.0, 1.5])


@virtual_clock
async def test_one_limit_for_several_clients() -> None:
    """A shared instance limits all its clients together."""
    limit = RateLimit(1.0)
    both = await asyncio.gather(times(limit, 2), times(limit, 2))
    assert sorted(both[0] + both[1]) == pytest.approx([0, 1, 2, 3])


@virtual_clock
async def test_a_cancelled_request_frees_its_slot() -> None:
    """A request that is cancelled while waiting does not delay others."""
    limit = RateLimit(1.0)
    await limit.acquire()
    first = asyncio.create_task(limit.acquire())
    await asyncio.sleep(0)
    rest = asyncio.create_task(times(limit, 2))
    await asyncio.sleep(0.5)
    first.cancel()
    assert await rest == pytest.approx([1.0, 2.0])


@pytest.mark.parametrize("per_second", [0, -1, float("nan"), float("inf"), "5", True, None])
def test_impossible_rates(per_second: Any) -> None:
    """A rate is a number above 0; the message names the argument."""
    with pytest.raises(InvalidRequestError, match="per_second"):
        RateLimit(per_second)


@pytest.mark.parametrize("burst", [0, -1, 0.5, 1.5, "5", True, None])
def test_impossible_bursts(burst: Any) -> None:
    """A burst is a whole number from 1, as less would never send a request."""
    with pytest.raises(InvalidRequestError, match="burst"):
        RateLimit(1.0, burst=burst)


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without aiolimiter the error says what to install."""
    monkeypatch.setitem(sys.modules, "aiolimiter", None)
    with pytest.raises(ImportError, match=r"pip install 'sinch-qn\[rate-limit\]'"):
        RateLimit(1.0)
