"""The detector of blocking calls, which watches every other test."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
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
from tests.support.cli_process import COMMAND

NUMBER = "+12025550134"


@pytest.fixture
def found(blocking_calls: list[str]) -> Iterator[list[str]]:
    """Yield the findings of the detector; here they do not fail the test."""
    yield blocking_calls
    blocking_calls.clear()


async def test_a_blocking_call_raises_where_it_is_made(found: list[str]) -> None:
    """A call that blocks the event loop below this project's code is caught with its stack."""

    def block(failure: Failure) -> float:
        time.sleep(0)
        return failure.remaining

    async with Sandbox() as sandbox, sandbox.client(retry=block) as client:
        sandbox.faults.add(Fault.status(503))
        with pytest.raises(BlockingError, match=r"time\.sleep"):
            await client.get_number(NUMBER)
    assert len(found) == 1
    assert "in block" in found[0]


async def test_a_blocking_call_that_is_swallowed_is_known(found: list[str]) -> None:
    """An error that a server or a task swallowed or translated is still found."""

    def block(answer: Answer) -> Answer:
        time.sleep(0)
        return answer

    once = RetryPolicy(max_attempts=1)
    async with Sandbox() as sandbox, sandbox.client(retry=once) as client:
        sandbox.faults.add(Fault(transform=block))
        with pytest.raises(ServerError):
            await client.get_number(NUMBER)
    assert len(found) == 1


async def test_files_and_databases_are_watched(tmp_path: Path, found: list[str]) -> None:
    """Reading a journal's rows in the event loop is caught, and so is a database of an example."""
    journal = SqliteJournal(tmp_path / "run.db")
    await journal.open(Identity("project", "url"), running=True)
    await journal.close()
    inbox = await asyncio.to_thread(Inbox, str(tmp_path / "callbacks.db"))
    with pytest.raises(BlockingError, match=r"os\.stat"):
        next(journal.rows())
    with pytest.raises(BlockingError, match="sqlite3"):
        inbox.waiting()
    assert len(found) == 2
    await asyncio.to_thread(inbox.close)


def test_a_test_in_which_something_blocked_fails(pytester: pytest.Pytester) -> None:
    """A finding fails its own test and no other."""
    pytester.makeconftest("from tests.conftest import blocking_calls, detector")
    pytester.makepyfile(
        """
        def test_swallowed(blocking_calls): blocking_calls.append("in swallowed")
        def test_next(): pass
        """
    )
    plugins = ("-p", "no:asyncio", "-p", "no:cacheprovider")
    result = pytester.runpytest_inprocess(*plugins)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*AssertionError: in swallowed*", "ERROR *::test_swallowed*"])


def test_a_watched_process_ends_as_it_would_otherwise() -> None:
    """The detector changes neither the exit code nor the output, which goes to a buffer."""
    done = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=True)  # noqa: S603 - our own
    assert done.stdout.startswith("sinch-qn")
