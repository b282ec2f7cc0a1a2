"""What all tests share: a shim, `--fast`, the detector of blocking calls, and a sandbox."""

from __future__ import annotations

import inspect
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

import aiolimiter  # noqa: F401 - RateLimit loads it late: that may block once, and not in a test
import aioresponses.core
import pytest
from aiohttp import ClientResponse
from hypothesis import settings

from sinch_qn.sandbox import Sandbox
from tests.support import postgres
from tests.support.blocking import watched
from tests.support.postgres import Cluster

pytest_plugins = ("pytester",)

# Where the tests are started in the background, Ctrl-C is ignored, and so by all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples each time, however long a loaded machine takes for one.
settings.register_profile("laws", deadline=None, derandomize=True, database=None)
settings.load_profile("laws")

# What the tests start has buffered output, as it has elsewhere.
os.environ.pop("PYTHONUNBUFFERED", None)

if "stream_writer" in inspect.signature(ClientResponse).parameters:
    # aioresponses 0.7.9 does not know this parameter of aiohttp 3.14 yet (its issue 289).
    class _MockResponse(ClientResponse):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.setdefault("stream_writer", SimpleNamespace(output_size=0))
            super().__init__(*args, **kwargs)

    vars(aioresponses.core)["ClientResponse"] = _MockResponse


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--fast`, which `make test-fast` gives."""
    parser.addoption("--fast", action="store_true", help="no slow tests, and no process is started")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that are marked as slow."""
    if config.getoption("fast"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)


@pytest.fixture(scope="session", autouse=True)
def no_process(request: pytest.FixtureRequest) -> None:
    """With `--fast`, skip a test at the moment at which it would start a process."""
    starts = {"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "subprocess.Popen"}

    def skip(event: str, _: object) -> None:
        if event in starts:
            pytest.skip("starts a process")

    if request.config.getoption("fast"):
        sys.addaudithook(skip)


@pytest.fixture(scope="session")
def detector() -> Iterator[list[str]]:
    """Watch for blocking calls, from the first test to the last: to patch costs a millisecond."""
    with watched() as found:
        yield found


@pytest.fixture(autouse=True)
def blocking_calls(detector: list[str]) -> Iterator[list[str]]:
    """Fail a test in which our code blocks the event loop, even if somebody swallows the error."""
    yield detector
    found, detector[:] = detector[:], []
    assert not found, found[0]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Run a PostgreSQL server for all tests of this process."""
    with postgres.cluster() as running:
        yield running


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Run a sandbox with the same codes each time; all requests must keep to the description."""
    async with Sandbox(random=Random(5)) as sandbox:
        yield sandbox
    assert sandbox.violations == []
