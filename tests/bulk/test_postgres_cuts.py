"""A connection to PostgreSQL that is cut: no result changes, and nothing happens twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from sinch_qn.bulk.journal import BatchState, postgres, postgres_claims, postgres_writer
from sinch_qn.bulk.journal.postgres import PostgresJournal
from sinch_qn.bulk.journal.protocol import RunSettings
from sinch_qn.bulk.pacing import CallResult
from sinch_qn.bulk.permits import Told
from sinch_qn.bulk.states import Entry, Event, Todo
from sinch_qn.models import GlobalProcessState
from tests.support.journals import MINE, Backend, happen
from tests.support.postgres import Cluster
from tests.support.postgres_proxy import Cut, PostgresProxy, proxy
from tests.support.runs import NUMBER, OTHER

LOG = """
    SELECT operation, outcome FROM log JOIN runs ON runs.id = run
    WHERE name = ? AND outcome IS DISTINCT FROM 'not sent' ORDER BY operation
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
    monkeypatch.setattr(postgres, "_RETRY", 0.001)
    monkeypatch.setattr(postgres_claims, "TURN_LIFETIME", 5.0)


async def life(journal: PostgresJournal) -> list[Any]:
    """Take a number from its addition to a text-enabling order; return what became of it."""
    eligible, verified = GlobalProcessState.ELIGIBLE, GlobalProcessState.VERIFIED
    added = await journal.add([Entry(number=NUMBER), Entry(number=OTHER)])
    (found,) = await journal.claim(Todo.LOOK_UP, 1, 60.0)
    found = await happen(journal, found.number, Event.LOOKED_UP, remote=eligible)
    called, turn, rung = None, None, 0
    told = [Told(result=CallResult.REACHABLE)]
    while called is None:
        journal._next_ask = 0.0
        for turn in (await journal.permits(told, 1)).turns:
            called = await journal.start_call(turn)
            rung += called is not None
    assert turn is not None
    await happen(journal, called.number, Event.CALLED)
    journal._next_ask = 0.0
    permits = await journal.permits([Told(result=CallResult.ANSWERED, slot=turn.slot)], 0)
    submission, _ = await journal.submit_code(called.number, "1111", 2.0)
    while (taken := await journal.take_code()) is None:
        pass
    await happen(journal, called.number, Event.VERIFIED, remote=verified)
    batch = await journal.claim_batch(toll_free=False, region=None, limit=5, at=4.0)
    assert batch is not None
    ordered, sending = BatchState.ORDERED, {BatchState.SENDING}
    recorded = await journal.record_batch_outcome(batch.id, ordered, only_from=sending)
    entry = await journal.get(called.number)
    assert entry is not None
    return [
        added,
        submission,
        permits.ringing,
        taken[1],
        batch.numbers,
        recorded,
        rung,
        entry.state,
    ]


async def results_of(cutter: PostgresProxy, url: str, cut_at: int | None) -> Any:
    """Return the results of a life in a run of its own, whose *cut_at*-th round trip is cut."""
    proxied = url.replace("january", f"run-{cut_at}")
    proxied = proxied.replace(str(cutter.server.parent), str(cutter.folder))
    journal = PostgresJournal(proxied, require_durable=False)
    await journal.open(MINE, running=True, settings=RunSettings(calls_per_second=1000.0))
    cutter.begin(cut_at)
    try:
        return await life(journal)
    finally:
        cutter.end()
        await journal.close()


@pytest.mark.parametrize("cut", Cut)
async def test_a_cut_changes_no_result(cutter: PostgresProxy, url: str, cut: Cut) -> None:
    """P1, P8: wherever a round trip is cut, each result is that of an intact connection.

    So are the counts, and the log has each unsafe write that may have been sent once. (4.6)
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
