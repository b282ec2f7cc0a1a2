"""A connection to PostgreSQL that is cut: no result changes, and nothing happens twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from sinch_qn.bulk.journal import BatchState, postgres_writer
from sinch_qn.bulk.journal.postgres import PostgresJournal
from sinch_qn.bulk.states import Entry, Event
from sinch_qn.models import GlobalProcessState
from tests.support.journals import MINE, Backend, happen, without_tokens
from tests.support.postgres import Cluster
from tests.support.postgres_proxy import Cut, PostgresProxy, proxy
from tests.support.runs import NUMBER, OTHER

LOG = """
    SELECT operation, outcome FROM log JOIN runs ON runs.id = run WHERE name = ? ORDER BY operation
"""
COUNTS = """
    SELECT state, sum(n) FROM counts JOIN runs ON runs.id = run WHERE name = ?
    GROUP BY state HAVING sum(n) <> 0
"""


@pytest_asyncio.fixture
async def cutter(cluster: Cluster) -> AsyncIterator[PostgresProxy]:
    """Run a proxy before the database."""
    async with proxy(cluster.socket) as running:
        yield running


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect again at once."""
    monkeypatch.setattr(postgres_writer, "_RETRY_INTERVAL", 0.001)


async def life(journal: PostgresJournal) -> list[Any]:
    """Take a number from its addition to a text-enabling order; return all results."""
    results: list[Any] = [await journal.add([Entry(number=NUMBER), Entry(number=OTHER)])]
    eligible, verified = GlobalProcessState.ELIGIBLE, GlobalProcessState.VERIFIED
    results.append(await happen(journal, NUMBER, Event.LOOKED_UP, remote=eligible))
    results.append(await happen(journal, NUMBER, Event.CALL))
    results.append(await happen(journal, NUMBER, Event.CALLED))
    results.append(await journal.submit_code(NUMBER, "1111", 2.0))
    results.append(await journal.claim_code(NUMBER, 3.0))
    results.append(await happen(journal, NUMBER, Event.VERIFIED, remote=verified))
    batch = await journal.claim_batch(toll_free=False, region=None, limit=5, at=4.0)
    assert batch is not None
    results.append(batch)
    ordered = BatchState.ORDERED
    results.append(
        await journal.record_batch_outcome(batch.id, ordered, only_from={BatchState.SENDING})
    )
    return results


async def results_of(cutter: PostgresProxy, url: str, cut_at: int | None) -> Any:
    """Return the results of a life in a run of its own, whose *cut_at*-th round trip is cut."""
    proxied = url.replace("january", f"run-{cut_at}")
    proxied = proxied.replace(str(cutter.server.parent), str(cutter.folder))
    journal = PostgresJournal(proxied, require_durable=False)
    await journal.open(MINE, running=True)
    cutter.begin(cut_at)
    try:
        return without_tokens(await life(journal))
    finally:
        cutter.end()
        await journal.close()


@pytest.mark.parametrize("cut", Cut)
async def test_a_cut_changes_no_result(cutter: PostgresProxy, url: str, cut: Cut) -> None:
    """P1, P8: wherever a round trip is cut, each result is that of an intact connection.

    So are the counts, and the log has each unsafe write once.
    """
    cutter.cut = cut
    intact = await results_of(cutter, url, None)
    trips = cutter.trips
    assert trips > 20
    backend = Backend(PostgresJournal(url), url=url)
    for cut_at in range(1, trips + 1):
        results = await results_of(cutter, url, cut_at)
        assert cutter.cuts == 1, cut_at
        assert results == intact, cut_at
        name = f"run-{cut_at}"
        assert backend.query(LOG, name) == [("call", "done"), ("verify", "done")], cut_at
        assert sorted(backend.query(COUNTS, name)) == [("pending", 1), ("verified", 1)], cut_at
