"""Fixtures of the tests of text-enabling."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sinch_qn import QualifiedNumbersClient
from sinch_qn.bulk.journal import Journal
from sinch_qn.bulk.text_enable import TextEnableRun
from sinch_qn.models import TextEnableNumbersRequest
from sinch_qn.sandbox import Clock
from tests.support.text_enabling import REQUEST, FaultySandbox, RunOf


@pytest.fixture
async def sandbox() -> AsyncIterator[FaultySandbox]:
    """Run a sandbox with a clock that stands still between the sleeps of a run."""
    # Those let tokens expire every few polls, so that any order may meet an expired one.
    sandbox = FaultySandbox(clock=Clock.stopped(), hosting_delay=30.0, token_lifetime=400.0)
    sandbox.order_faults, sandbox.sent = deque(), []
    sandbox.arrived, sandbox.answered = asyncio.Event(), asyncio.Event()
    async with sandbox:
        yield sandbox
    assert not sandbox.violations


@pytest.fixture
def client(sandbox: FaultySandbox) -> QualifiedNumbersClient:
    """Return a client of the sandbox."""
    return sandbox.client()


@pytest.fixture
def sleeps() -> list[float]:
    """Return the sleeps of a run, in seconds."""
    return []


@pytest.fixture
def run_of(sandbox: FaultySandbox, client: QualifiedNumbersClient, sleeps: list[float]) -> RunOf:
    """Return a factory of runs that sleep by advancing the sandbox's clock."""

    async def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        sandbox.clock.advance(seconds)
        await asyncio.sleep(0)

    def make(
        journal: Journal, request: TextEnableNumbersRequest = REQUEST, **options: Any
    ) -> TextEnableRun:
        usual: dict[str, Any] = {"sleep": sleep, "jitter": lambda: 1.0, "drain_timeout": 0.05}
        return TextEnableRun(client, journal, request, **usual | options)

    return make
