"""Laws of shifts: as many runners as wanted, whatever Procrastinate thinks of its jobs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from sinch_qn.bulk import Entry
from sinch_qn.bulk.fleet import Fleet
from sinch_qn.bulk.journal import Identity, PostgresControl, PostgresJournal
from sinch_qn.bulk.journal.protocol import RunSettings
from sinch_qn.bulk.states import Change, Event
from tests.support.postgres import Cluster, execute

MINE = Identity("project", "https://api.example")
ONE = "+12025550134"


class FakeRun:
    """A runner that has a lease, and works until it is told to end."""

    def __init__(self) -> None:
        self.over = asyncio.Event()

    async def finish(self) -> None:
        await self.over.wait()


@pytest.fixture
def url(cluster: Cluster) -> Iterator[str]:
    """Return the URL of a run of one number, in a database with Procrastinate's tables."""
    with cluster.new_database() as database:
        url = cluster.url(database, run="january")

        async def prepare() -> None:
            async with runner(url) as journal:
                await journal.add([Entry(number=ONE)])
            await fleet(url).init()
            await fleet(url).init()  # twice is fine

        asyncio.run(prepare())
        yield url


@contextlib.asynccontextmanager
async def runner(url: str) -> AsyncIterator[PostgresJournal]:
    """Have a runner's journal open."""
    journal = PostgresJournal(url, require_durable=False)
    await journal.open(MINE, running=True, settings=RunSettings())
    try:
        yield journal
    finally:
        await journal.close()


def fleet(url: str, started: list[FakeRun] | None = None, wanted: int = 2) -> Fleet:
    """Return a fleet whose runs are noted in *started*."""

    @contextlib.asynccontextmanager
    async def make_run() -> AsyncIterator[Any]:
        async with runner(url):
            run = FakeRun()
            if started is not None:
                started.append(run)
            yield run

    return Fleet(url, make_run, wanted=wanted)


def jobs(url: str) -> list[tuple[str, str, dict[str, str]]]:
    """Return the status, the task and the arguments of each job."""
    query = "SELECT status::text, task_name, args FROM procrastinate.procrastinate_jobs ORDER BY id"
    return execute(url, query)


async def eventually(is_so: Any) -> None:
    """Wait until *is_so*, for at most 30 seconds."""
    async with asyncio.timeout(30):
        while not await is_so():  # noqa: ASYNC110 - other tasks and processes change it
            await asyncio.sleep(0.05)


async def tend(url: str, wanted: int = 2) -> None:
    """Tend once."""
    one = fleet(url, wanted=wanted)
    async with one.app.open_async():
        await one.tend()


async def test_missing_runners_are_deferred_once(url: str) -> None:
    """Tending again defers nothing twice; a job has the run's name, and no secret."""
    await tend(url)
    await tend(url)
    await tend(url)
    shift = ("todo", "sinch_qn.shift", {"run": "january"})
    assert jobs(url) == [shift, shift]


async def test_runners_count_by_their_leases_not_by_jobs(url: str) -> None:
    """A runner started by hand counts; twenty jobs that are `doing` for ever change nothing."""
    await tend(url, wanted=20)
    execute(url, "SET search_path TO procrastinate; UPDATE procrastinate_jobs SET status = 'doing'")
    async with runner(url):
        await tend(url)
    assert [status for status, _, _ in jobs(url)] == ["doing"] * 20 + ["todo"]


async def test_nothing_is_deferred_for_a_run_that_is_settled_or_stopped(url: str) -> None:
    """Settled: nothing is left to do. Stopped: a runner said why, such as bad credentials."""
    execute(url, "UPDATE runs SET stopped = 'no such project'")
    await tend(url)
    execute(url, "UPDATE runs SET stopped = NULL")
    async with runner(url) as journal:
        await journal.apply([Change(number=ONE, event=Event.NOT_CALLABLE, at=1.0)])
    await tend(url)
    assert jobs(url) == []


async def test_an_idle_worker_takes_over(url: str) -> None:
    """Three workers share two shifts; the third takes that of one that is stopped."""
    started: list[list[FakeRun]] = [[], [], []]
    workers = [asyncio.create_task(fleet(url, runs).work()) for runs in started]

    async def two_work() -> bool:
        return sum(map(len, started)) == 2

    async def all_have_worked() -> bool:
        return all(started)

    try:
        await eventually(two_work)
        assert sorted(map(len, started)) == [0, 1, 1]
        workers[next(n for n, runs in enumerate(started) if runs)].cancel()
        await eventually(all_have_worked)
        assert len((await PostgresControl(url).standing()).runners) == 2
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.wait(workers)
    assert (await PostgresControl(url).standing()).runners == []
