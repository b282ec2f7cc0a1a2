"""The scheduler: what it starts, and how it ends."""

from __future__ import annotations

import asyncio

from sinch_qn.bulk import MemoryJournal
from tests.support.fake_sinch import Sinch
from tests.support.runs import NUMBER, run_of


async def test_work_that_is_cancelled_before_it_starts_is_not_created() -> None:
    """P9: a task cancelled at once creates no unawaited coroutine, and frees its number."""
    scheduler = run_of(Sinch([NUMBER]), MemoryJournal())._scheduler
    created = []

    async def work() -> None:
        raise AssertionError

    def create() -> asyncio.Future[None]:
        created.append(NUMBER)
        return work()  # type: ignore[return-value]

    async with asyncio.TaskGroup() as group:
        scheduler._start(group, create, NUMBER)  # type: ignore[arg-type]
        (task,) = scheduler._tasks
        task.cancel()
    assert not created
    assert not scheduler._tasks
    assert NUMBER not in scheduler._busy
