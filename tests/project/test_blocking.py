"""Laws of the detector that watches every other test: nothing of ours blocks an event loop."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from blockbuster import BlockingError

from examples.webhook_aiohttp import Inbox
from sinch_qn import RetryPolicy
from sinch_qn.bulk import SqliteJournal
from sinch_qn.bulk.journal import Identity
from sinch_qn.errors import ServerError
from sinch_qn.retry import Failure
from sinch_qn.sandbox import Fault, Sandbox
from sinch_qn.sandbox.faults import Answer
from tests.support.blocking import watched

NUMBER = "+12025550134"


async def test_a_blocking_call_raises_where_it_is_made() -> None:
    """What blocks the event loop below our code is caught, with what led to it."""

    def block(failure: Failure) -> float:
        time.sleep(0)
        return failure.remaining

    with watched() as found:
        async with Sandbox() as sandbox, sandbox.client(retry=block) as client:
            sandbox.faults.add(Fault.status(503))
            with pytest.raises(BlockingError, match=r"time\.sleep"):
                await client.get_number(NUMBER)
    assert len(found) == 1
    assert "in block" in found[0]


async def test_a_blocking_call_that_is_swallowed_is_known() -> None:
    """An error that a server or a worker made something else of is found all the same."""

    def block(answer: Answer) -> Answer:
        time.sleep(0)
        return answer

    once = RetryPolicy(max_attempts=1)
    with watched() as found:
        async with Sandbox() as sandbox, sandbox.client(retry=once) as client:
            sandbox.faults.add(Fault(transform=block))
            with pytest.raises(ServerError):
                await client.get_number(NUMBER)
    assert len(found) == 1


async def test_files_and_databases_are_watched(tmp_path: Path) -> None:
    """Reading a journal's rows in the event loop is caught, and so is a database of an example."""
    journal = SqliteJournal(tmp_path / "run.db")
    await journal.open(Identity("project", "url"), running=True)
    await journal.close()
    inbox = await asyncio.to_thread(Inbox, str(tmp_path / "callbacks.db"))
    with watched() as found:
        with pytest.raises(BlockingError, match="sqlite3"):
            next(journal.rows())
        with pytest.raises(BlockingError, match="sqlite3"):
            inbox.waiting()
    assert len(found) == 2
    await asyncio.to_thread(inbox.close)
