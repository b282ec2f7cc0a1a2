"""Whole runs on one PostgreSQL journal: several runners, codes from another process, kill -9."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from random import Random

from sinch_qn.bulk import ChallengeState, Entry, VoiceChallengeRun, submit_code
from sinch_qn.bulk.journal import Identity
from sinch_qn.bulk.journal.postgres import PostgresJournal
from sinch_qn.errors import InvalidRequestError
from sinch_qn.sandbox import Sandbox
from tests.support.postgres import execute

RATE = 150.0
MAX_SECONDS = 60.0
"""A run that takes longer hangs."""

RUNNER = """
import asyncio, sys
from sinch_qn import QualifiedNumbersClient
from sinch_qn.bulk import VoiceChallengeRun
from sinch_qn.bulk.journal import postgres_lease
from sinch_qn.bulk.journal.postgres import PostgresJournal
postgres_lease.LEASE, postgres_lease.RENEWAL, postgres_lease.MARGIN = 1.5, 0.2, 0.3
async def main():
    async with QualifiedNumbersClient.from_env() as client:
        journal = PostgresJournal(sys.argv[1], require_durable=False)
        async with VoiceChallengeRun(
            client, journal, max_ringing=10_000, calls_per_second=40.0, code_timeout=3.0
        ) as run:
            print("started", flush=True)
            await run.finish()
            print("finished", flush=True)
asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def people(url: str, sandbox: Sandbox, numbers: list[str]) -> AsyncIterator[PostgresJournal]:
    """Let people submit their codes once their phones ring, as another process does."""
    desk = PostgresJournal(url, require_durable=False)
    await desk.open(None, running=False)

    async def submit() -> None:
        waiting = set(numbers)
        while True:
            for number in [number for number in waiting if sandbox.code_for(number)]:
                with contextlib.suppress(InvalidRequestError):
                    await submit_code(desk, number, str(sandbox.code_for(number)))
                    waiting.discard(number)
            await asyncio.sleep(0.02)

    task = asyncio.create_task(submit())
    try:
        yield desk
    finally:
        task.cancel()
        await asyncio.wait([task])
        await desk.close()


async def added(url: str, numbers: list[str], sandbox: Sandbox) -> None:
    """Make a run of *numbers*."""
    journal = PostgresJournal(url, require_durable=False)
    await journal.open(Identity(sandbox.project_id, sandbox.base_url), running=True)
    await journal.add([Entry(number=number) for number in numbers])
    await journal.close()


async def test_two_runs_share_a_journal(url: str) -> None:
    """P1: two runs on one journal call each number once, and verify all of them."""
    numbers = [f"+1{2_025_600_000 + n}" for n in range(60)]
    async with Sandbox(random=Random(5), latency=0.02) as sandbox, sandbox.client() as client:
        sandbox.add(numbers)
        await added(url, numbers, sandbox)

        async def run() -> None:
            journal = PostgresJournal(url, require_durable=False)
            async with VoiceChallengeRun(client, journal, calls_per_second=RATE) as one:
                await one.finish()

        async with people(url, sandbox, numbers) as desk, asyncio.timeout(MAX_SECONDS):
            await asyncio.gather(run(), run())
            counts = await desk.counts()
        assert counts[ChallengeState.VERIFIED] == len(numbers)
        assert {sandbox.world.rings(number) for number in numbers} == {1}
        assert sandbox.violations == []
    assert execute(url, "SELECT * FROM inbox") == []
    callers = execute(url, "SELECT DISTINCT intent >> 32 FROM log WHERE operation = 'call'")
    assert len(callers) == 2


async def test_kill_minus_nine(url: str) -> None:
    """P1, P8: runners that are killed leave their work to the others; nobody is called twice.

    UNKNOWN are no more than the calls in flight at the kills.
    """
    numbers = [f"+1{2_025_600_000 + n}" for n in range(90)]
    async with Sandbox(random=Random(5), latency=0.05) as sandbox:
        sandbox.add(numbers)
        await added(url, numbers, sandbox)
        in_flight = 0
        async with people(url, sandbox, numbers) as desk, asyncio.timeout(MAX_SECONDS):
            runners = await asyncio.gather(*(started(url, sandbox) for _ in range(4)))
            for calls in (20, 40):
                while sandbox.calls.total("sendVoiceChallenge") < calls:  # noqa: ASYNC110 - a counter
                    await asyncio.sleep(0.003)
                victim = runners.pop()
                victim.send_signal(signal.SIGKILL)
                await victim.wait()
                counted = execute(url, "SELECT count(*) FROM numbers WHERE writer IS NOT NULL")
                in_flight += counted[0][0]
            await asyncio.gather(*(runner.wait() for runner in runners))
            counts = await desk.counts()
        rings = Counter(sandbox.world.rings(number) for number in numbers)
        assert set(rings) <= {0, 1}
        rang = rings[1]
        assert sandbox.violations == []
    unknown = counts[ChallengeState.UNKNOWN]
    assert counts[ChallengeState.VERIFIED] == rang == len(numbers) - unknown
    assert unknown <= in_flight
    assert execute(url, "SELECT * FROM inbox") == []
    assert execute(url, "SELECT number FROM numbers WHERE writer IS NOT NULL") == []


async def started(url: str, sandbox: Sandbox) -> asyncio.subprocess.Process:
    """Return a runner in a process of its own, once it runs."""
    runner = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        RUNNER,
        url,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | sandbox.environment(),
    )
    assert runner.stdout is not None
    assert await runner.stdout.readline() == b"started\n"
    return runner
