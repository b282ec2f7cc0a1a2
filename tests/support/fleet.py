"""Runners in processes of their own on one PostgreSQL journal, and the people that they call."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import attrs
import orjson

import tests
from sinch_qn.bulk import ChallengeState, Entry, Submission
from sinch_qn.bulk.journal import Identity
from sinch_qn.bulk.journal.postgres import PostgresJournal
from sinch_qn.bulk.journal.postgres_lease import LEASE
from sinch_qn.models import GlobalProcessState
from tests.support.lean_sinch import PROJECT, LeanSinch, lean_sinch
from tests.support.postgres import Cluster, execute

ROOT = Path(tests.__path__[0]).parent


@attrs.define(kw_only=True, eq=False)
class Fleet:
    """A run, its runners, its people, and what was counted of them."""

    url: str
    cluster: Cluster
    sinch: LeanSinch
    desk: PostgresJournal
    """Where people submit their codes: in another process than the runners."""
    numbers: Sequence[str]
    options: dict[str, Any]
    """Of `VoiceChallengeRun`."""
    lease: float
    answer_after: tuple[float, float]
    """The least and the most seconds from a call to its code."""
    accepted: set[str] = attrs.field(factory=set)
    """Numbers whose code was taken."""
    open_at_kills: int = 0
    """Intents without an outcome of runners at the moment they were killed."""
    kills: int = 0
    outages: list[tuple[float, float]] = attrs.field(factory=list)
    """From when to when the database was down."""
    adding: float = 0.0
    """Seconds that the last runner's `add` took."""
    memory: list[float] = attrs.field(factory=list)
    """The most memory of each runner that finished, in MB."""
    cpu: list[float] = attrs.field(factory=list)
    """The seconds of CPU of each runner that finished."""
    submitting: list[float] = attrs.field(factory=list)
    """Seconds that each `submit_code` took."""
    runners: list[asyncio.subprocess.Process] = attrs.field(factory=list)
    random: Random = attrs.field(factory=lambda: Random(7))
    people: set[asyncio.Task[None]] = attrs.field(factory=set)

    # ---- people --------------------------------------------------------------------------------

    def hears(self, number: str, code: str) -> None:
        """Have the person at a phone submit the code that was read out."""
        person = asyncio.create_task(self._submit(number, code))
        self.people.add(person)
        person.add_done_callback(self.people.discard)

    async def _submit(self, number: str, code: str) -> None:
        await asyncio.sleep(self.random.uniform(*self.answer_after))
        self.sinch.hang_up(number)
        began = time.monotonic()
        submission, _ = await self.desk.submit_code(number, code, self.desk.now())
        self.submitting.append(time.monotonic() - began)
        if submission is not Submission.REFUSED:
            self.accepted.add(number)

    # ---- runners -------------------------------------------------------------------------------

    async def start(self, *, url: str | None = None, clock: float = 0.0, add: int = 0) -> None:
        """Start a runner; return once it runs.

        Its host's clock is *clock* seconds ahead; it adds *add* numbers.
        """
        settings = {"options": self.options, "lease": self.lease, "clock": clock, "add": add}
        runner = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.support.fleet_runner",
            url or self.url,
            orjson.dumps(settings).decode(),
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env=os.environ | self.sinch.environment() | {"PYTHONPATH": str(ROOT)},
        )
        self.runners.append(runner)
        assert runner.stdout is not None
        started, adding = (await runner.stdout.readline()).split()
        assert started == b"started"
        self.adding = float(adding)

    async def kill(self) -> None:
        """Kill a runner that has open intents, and count them."""
        victim = await self._stop_with_open_intent()
        self.runners.remove(victim)
        victim.send_signal(signal.SIGKILL)
        await victim.wait()
        self.kills += 1
        self.open_at_kills += await self.open_intents(victim)

    async def stop_one(self, seconds: float) -> None:
        """Stop a runner that has an open intent for some time, as a paused machine does."""
        runner = await self._stop_with_open_intent()
        await asyncio.sleep(seconds)
        runner.send_signal(signal.SIGCONT)

    async def _stop_with_open_intent(self) -> asyncio.subprocess.Process:
        while True:
            runner = self.random.choice(self.runners)
            runner.send_signal(signal.SIGSTOP)
            if await self.open_intents(runner):
                return runner
            runner.send_signal(signal.SIGCONT)
            await asyncio.sleep(0.01)

    async def open_intents(self, runner: asyncio.subprocess.Process) -> int:
        """Return how many intents of a runner have no outcome."""
        query = (
            "SELECT count(*) FROM numbers AS n JOIN writers AS w ON w.id = n.writer "
            "WHERE w.name LIKE %s"
        )
        ((count,),) = await asyncio.to_thread(execute, self.url, query, f"%:{runner.pid}")
        return int(count)

    async def crash_database(self, *, rest: float = 0.0) -> None:
        """Stop the database at once, without a checkpoint; start it after *rest* seconds."""
        began = time.monotonic()
        await asyncio.to_thread(self.cluster.stop, signal.SIGQUIT)
        await asyncio.sleep(rest)
        await asyncio.to_thread(self.cluster.start)
        self.outages.append((began, time.monotonic()))

    async def has_called(self, count: int) -> None:
        """Wait until so many calls were made."""
        while len(self.sinch.calls) < count:  # noqa: ASYNC110 - a counter
            await asyncio.sleep(0.003)

    async def finish(self, *, early: bool = False) -> None:
        """Wait until all runners have finished; *early*: have them leave what is not done."""
        for runner in self.runners if early else ():
            runner.terminate()
        for runner in self.runners:
            assert runner.stdout is not None
            finished, memory, cpu = (await runner.stdout.readline()).split()
            assert finished == b"finished"
            self.memory.append(float(memory))
            self.cpu.append(float(cpu))
            assert await runner.wait() == 0

    # ---- what came of it -----------------------------------------------------------------------

    async def states(self) -> Counter[ChallengeState]:
        """Return how many numbers are in each state, counted one by one."""
        entries = await asyncio.to_thread(list, self.desk.rows())
        assert {entry.number for entry in entries} == set(self.numbers)
        states = Counter(entry.state for entry in entries)
        assert states == Counter({s: n for s, n in (await self.desk.counts()).items() if n})
        return states

    @property
    def rate(self) -> float:
        """Calls a second, from the first to the last, in the time in which the database was up."""
        first, last = self.sinch.calls[0][0], self.sinch.calls[-1][0]
        down = sum(end - begin for begin, end in self.outages if begin < last)
        return (len(self.sinch.calls) - 1) / (last - first - down)

    @property
    def most_in_a_second(self) -> int:
        """The most calls within any second."""
        times = [at for at, _ in self.sinch.calls]
        first, most = 0, 0
        for last, at in enumerate(times):
            while at - times[first] >= 1.0:
                first += 1
            most = max(most, last - first + 1)
        return most

    async def check(self, *, most_unknown: int | None = None) -> Counter[ChallengeState]:
        """Check what must always hold at the end; return the number of numbers in each state.

        *most_unknown*: numbers that may be UNKNOWN; as many as had open intents at the kills.
        """
        states = await self.states()
        assert set(states) <= {ChallengeState.VERIFIED, ChallengeState.UNKNOWN}
        assert set(self.sinch.rings.values()) == {1}  # called twice: none
        assert self.sinch.rings.keys() == self.accepted  # every code was taken
        assert self.sinch.verified.keys() == self.accepted  # and handed in
        assert states[ChallengeState.VERIFIED] == len(self.accepted)
        most = self.open_at_kills if most_unknown is None else most_unknown
        assert states[ChallengeState.UNKNOWN] <= most
        assert await asyncio.to_thread(execute, self.url, "SELECT * FROM inbox") == []
        open_intents = "SELECT number FROM numbers WHERE writer IS NOT NULL"
        assert await asyncio.to_thread(execute, self.url, open_intents) == []
        return states


@contextlib.asynccontextmanager
async def fleet(
    cluster: Cluster,
    numbers: Sequence[str],
    *,
    lease: float = LEASE,
    answer_after: tuple[float, float] = (0.05, 0.3),
    latency: float = 0.01,
    **options: Any,
) -> AsyncIterator[Fleet]:
    """Make a run of *numbers* in an emptied journal of *cluster*; end its runners on leaving."""
    url = cluster.url(cluster.empty_journal(), run="january")
    async with lean_sinch(latency=latency) as sinch:
        await _add(url, numbers, sinch)
        desk = PostgresJournal(url, require_durable=False)
        await desk.open(None, running=False)
        running = Fleet(
            url=url,
            cluster=cluster,
            sinch=sinch,
            desk=desk,
            numbers=numbers,
            options=options,
            lease=lease,
            answer_after=answer_after,
        )
        sinch.hears = running.hears
        try:
            yield running
        finally:
            for runner in running.runners:
                if runner.returncode is None:
                    runner.kill()
                    await runner.wait()
            for person in running.people:
                person.cancel()
            await asyncio.gather(*running.people, return_exceptions=True)
            await desk.close()


async def _add(url: str, numbers: Sequence[str], sinch: LeanSinch) -> None:
    journal = PostgresJournal(url, require_durable=False)
    await journal.open(Identity(PROJECT, sinch.base_url), running=True)
    known = GlobalProcessState.ELIGIBLE
    for start in range(0, len(numbers), 10_000):
        page = numbers[start : start + 10_000]
        await journal.add([Entry(number=number, remote=known) for number in page])
    await journal.close()
