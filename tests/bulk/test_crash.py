"""A run that is killed at random moments loses nothing and calls no phone twice.

`make soak` kills a run of 10,000 numbers 20 times, and prints the counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

from sinch_qn.bulk import ChallengeState, SqliteJournal, request_call, submit_code
from sinch_qn.errors import InvalidRequestError, JournalError
from sinch_qn.sandbox import Sandbox
from tests.support.runs import numbers, until

SOAK = bool(os.environ.get("SINCH_QN_SOAK"))  # make soak
COUNT = 10_000 if SOAK else 120
KILLS = 20 if SOAK else 2
RATE = 300.0 if SOAK else 150.0
LATENCY = 0.02 if SOAK else 0.05
CODE_TIMEOUT = 4.0 if SOAK else 2.0
MAX_SECONDS = 300.0 if SOAK else 30.0
"""A run that takes longer hangs."""
CONCURRENCY = 30
SEED = int(os.environ.get("SINCH_QN_SEED", "7"))

RUNNER = f"""
import asyncio, sys
from sinch_qn import QualifiedNumbersClient
from sinch_qn.bulk import SqliteJournal, VoiceChallengeRun
async def main():
    async with QualifiedNumbersClient.from_env() as client:
        async with VoiceChallengeRun(
            client, SqliteJournal(sys.argv[1]), max_ringing=10_000, calls_per_second={RATE},
            concurrency={CONCURRENCY}, code_timeout={CODE_TIMEOUT}, max_codes=3,
        ) as run:
            await run.add([f"+1{{2_025_600_000 + n}}" for n in range({COUNT})])
            print("started", flush=True)
            report = await run.finish()
            print("finished", flush=True)
asyncio.run(main())
"""


class People:
    """People at the phones, who submit their codes to the journal, as another process does."""

    def __init__(self, sandbox: Sandbox, path: Path, numbers: list[str]) -> None:
        self.sandbox = sandbox
        self.path = path
        self.numbers = numbers
        self.accepted: set[str] = set()

    async def submit(self) -> None:
        """Submit each code once its phone has rung, until cancelled."""
        journal = SqliteJournal(self.path)
        while True:
            with contextlib.suppress(JournalError):
                await journal.open(None, running=False)
                break
            await asyncio.sleep(0.02)
        try:
            while True:
                heard = [n for n in self.numbers if n not in self.accepted and self._code(n)]
                await asyncio.gather(*(self._submit(journal, number) for number in heard))
                await asyncio.sleep(0.02)
        finally:
            await journal.close()

    def _code(self, number: str) -> str | None:
        return self.sandbox.code_for(number)

    async def _submit(self, journal: SqliteJournal, number: str) -> None:
        with contextlib.suppress(InvalidRequestError):
            await submit_code(journal, number, str(self._code(number)))
            self.accepted.add(number)


def in_flight(path: Path) -> int:
    """Return how many calls have an intent and no outcome."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        query = "SELECT count(*) FROM numbers WHERE state = 'calling'"
        return int(database.execute(query).fetchone()[0])


async def run_until(path: Path, sandbox: Sandbox, *, calls: int | None) -> bool:
    """Run; kill it once it has made so many *calls*. Return whether it finished by itself."""
    runner = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        RUNNER,
        str(path),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | sandbox.environment(),
    )
    assert runner.stdout is not None
    assert await runner.stdout.readline() == b"started\n"
    if calls is not None:
        enough = sandbox.calls.total("sendVoiceChallenge") + calls
        async with asyncio.timeout(MAX_SECONDS):
            while sandbox.calls.total("sendVoiceChallenge") < enough:  # noqa: ASYNC110 - a counter
                await asyncio.sleep(0.003)
        runner.send_signal(signal.SIGKILL)
    try:
        async with asyncio.timeout(MAX_SECONDS):
            line = await runner.stdout.readline()
            await runner.wait()
    except TimeoutError:
        runner.kill()
        await runner.wait()
        raise
    return line == b"finished\n"


async def test_kill_minus_nine(tmp_path: Path) -> None:
    """P1, P8: a run that is killed repeatedly loses no number and no code, and calls once.

    UNKNOWN are no more than the calls in flight at the kills, and none of their phones rang.
    """
    chance = Random(SEED)
    path = tmp_path / "run.db"
    numbers = [f"+1{2_025_600_000 + n}" for n in range(COUNT)]
    async with Sandbox(random=Random(SEED), latency=LATENCY) as sandbox:
        sandbox.add(numbers)
        people = People(sandbox, path, numbers)
        submitting = asyncio.create_task(people.submit())
        at_kills = 0
        for _ in range(KILLS):
            assert not await run_until(
                path, sandbox, calls=chance.randrange(1, COUNT // (KILLS + 1))
            )
            at_kills += in_flight(path)
        assert await run_until(path, sandbox, calls=None)
        submitting.cancel()
        await asyncio.wait([submitting])
        rings = Counter(sandbox.world.rings(number) for number in numbers)
        rang = {number for number in numbers if sandbox.world.rings(number)}
    assert set(rings) <= {0, 1}
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("SELECT count(*) FROM inbox").fetchone() == (0,)
    entries = await asyncio.to_thread(list, SqliteJournal(path).rows())
    rows = {entry.number: entry for entry in entries}
    assert set(rows) == set(numbers)
    states = Counter(entry.state for entry in rows.values())
    assert set(states) <= {ChallengeState.VERIFIED, ChallengeState.UNKNOWN}
    assert states[ChallengeState.UNKNOWN] <= at_kills <= KILLS * CONCURRENCY
    assert {entry.attempt for entry in rows.values()} == {1}
    assert (
        people.accepted
        == rang
        == {n for n, e in rows.items() if e.state is ChallengeState.VERIFIED}
    )
    assert at_kills > 0
    assert sandbox.violations == []
    if SOAK:
        counted = ", ".join(f"{n} {state.value}" for state, n in states.items())
        print(  # noqa: T201 - the result of a soak
            f"\n{KILLS} kills over {COUNT} numbers: {counted}; in flight at the kills: {at_kills}; "
            f"called twice: {sum(n for times, n in rings.items() if times > 1)}; "
            f"lost: {COUNT - len(rows)}; integrity: ok"
        )


ON_REQUEST = """
import asyncio, sys
from sinch_qn import QualifiedNumbersClient
from sinch_qn.bulk import SqliteJournal, VoiceChallengeRun
async def main():
    async with QualifiedNumbersClient.from_env() as client:
        async with VoiceChallengeRun(
            client, SqliteJournal(sys.argv[1]), on_request=True, calls_per_second=float(sys.argv[2])
        ) as run:
            await run.add(sys.argv[3:])
            print("started", flush=True)
            await run.finish()
asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def killed_in_the_end(
    path: Path, sandbox: Sandbox, *numbers: str, rate: float = 5.0
) -> AsyncIterator[SqliteJournal]:
    """Run on request, in another process that is killed; yield its journal as it is seen here."""
    runner = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ON_REQUEST, str(path), str(rate), *numbers),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | sandbox.environment(),
    )
    assert runner.stdout is not None
    assert await runner.stdout.readline() == b"started\n"
    journal = SqliteJournal(path)
    await journal.open(None, running=False)
    try:
        yield journal
    finally:
        runner.send_signal(signal.SIGKILL)
        await runner.wait()
        await journal.close()


async def test_a_request_survives_kill_minus_nine(tmp_path: Path) -> None:
    """Rule 26: a request whose runner is killed before its call is called by the next one.

    Killed during the call, the number is UNKNOWN: the same request calls it no more, another does.
    """
    path = tmp_path / "run.db"
    first, second, third = numbers(3)
    async with Sandbox(random=Random(SEED), latency=0.5) as sandbox:
        sandbox.add(numbers(3))

        async def rang(number: str) -> None:
            await until(lambda: sandbox.world.rings(number), seconds=MAX_SECONDS)

        # The next call is made after 100 seconds.
        async with killed_in_the_end(path, sandbox, *numbers(3), rate=0.01) as journal:
            await request_call(journal, first)
            await rang(first)
            assert (await request_call(journal, second, attempt=0)).new
        assert sandbox.calls.count("sendVoiceChallenge", second) == 0
        async with killed_in_the_end(path, sandbox) as journal:
            assert not (await request_call(journal, second, attempt=0)).new
            await until(lambda: in_flight(path), seconds=MAX_SECONDS, step=0.003)
        async with killed_in_the_end(path, sandbox) as journal:
            lost = await request_call(journal, second, attempt=0)
            assert (lost.new, lost.entry.state) == (False, ChallengeState.UNKNOWN)
            await request_call(journal, third)
            await rang(third)  # the runner is at work: it would have called the other one before
            assert sandbox.calls.count("sendVoiceChallenge", second) <= 1
            before = sandbox.world.rings(second)
            assert (await request_call(journal, second, attempt=1)).new
            await until(lambda: sandbox.world.rings(second) > before, seconds=MAX_SECONDS)
        assert [sandbox.world.rings(number) for number in (first, third)] == [1, 1]
        assert sandbox.world.rings(second) == before + 1
