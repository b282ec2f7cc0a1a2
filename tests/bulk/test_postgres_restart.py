"""Runners whose database restarts: nobody is called twice, and no code is lost."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Iterator

import pytest

from sinch_qn.bulk import Submission
from sinch_qn.bulk.journal import postgres_writer
from sinch_qn.bulk.journal.postgres import PostgresJournal
from sinch_qn.bulk.journal.protocol import RunSettings
from sinch_qn.bulk.pacing import CallResult
from sinch_qn.bulk.permits import Told, Turn
from sinch_qn.bulk.states import ChallengeState, Change, Entry, Event
from sinch_qn.errors import JournalError
from sinch_qn.models import GlobalProcessState
from tests.support import postgres
from tests.support.journals import MINE
from tests.support.postgres import Cluster
from tests.support.runs import NUMBER, numbers

SETTINGS = RunSettings(calls_per_second=100.0, max_ringing=50)


@pytest.fixture
def durable() -> Iterator[Cluster]:
    """Run a server of its own that keeps what it has acknowledged."""
    with postgres.cluster(fsync=True) as running:
        yield running


class World:
    """The phones, and the server that they are called by."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.calls: Counter[tuple[str, int]] = Counter()
        self.codes: Counter[str] = Counter()
        self.accepted = 0
        self._progress = asyncio.Event()

    async def has_verified(self, count: int) -> None:
        """Wait until that many codes were handed in."""
        while len(self.codes) < count:
            self._progress.clear()
            await self._progress.wait()

    async def run(self, journal: PostgresJournal, desk: PostgresJournal) -> None:
        """Call and verify until no number is open."""
        told = [Told(result=CallResult.REACHABLE)]
        while await journal.open_numbers():
            permits = await journal.permits(told, 5)
            told = []
            for turn in permits.turns:
                told.append(await self._call(journal, desk, turn))
            while (taken := await journal.take_code()) is not None:
                entry, code = taken
                self.codes[code] += 1
                self._progress.set()
                verified = Change(
                    number=entry.number,
                    event=Event.VERIFIED,
                    at=journal.now(),
                    intent=entry.intent,
                )
                await journal.apply([verified])
            await asyncio.sleep(permits.wait or 0.05)

    async def _call(self, journal: PostgresJournal, desk: PostgresJournal, turn: Turn) -> Told:
        entry = await journal.start_call(turn)
        if entry is None:
            return Told(result=CallResult.NOT_SENT, slot=turn.slot)
        self.calls[entry.number, entry.attempt] += 1
        called = Change(
            number=entry.number,
            event=Event.CALLED,
            at=journal.now(),
            intent=entry.intent,
            window=600.0,
        )
        await journal.apply([called])
        submission, _ = await desk.submit_code(entry.number, entry.number[-6:], desk.now())
        self.accepted += submission is Submission.ACCEPTED
        return Told(result=CallResult.ANSWERED, slot=turn.slot)


async def test_a_database_that_crashes(durable: Cluster) -> None:
    """P1, P8: the server is killed twice while two runners and a desk work: all is done once."""
    url = durable.url(durable.empty_journal(), run="january")
    one, two, desk = (PostgresJournal(url) for _ in range(3))
    for runner in (one, two):
        await runner.open(MINE, running=True, settings=SETTINGS)
    await desk.open(None, running=False)
    wanted = numbers(80)
    eligible = GlobalProcessState.ELIGIBLE
    await one.add([Entry(number=number, remote=eligible) for number in wanted])
    world = World(url)
    async with asyncio.TaskGroup() as group:
        for runner in (one, two):
            group.create_task(world.run(runner, desk))
        for crash in (1, 2):
            await world.has_verified(20 * crash)
            await asyncio.to_thread(durable.stop, signal.SIGQUIT)
            await asyncio.to_thread(durable.start)
    assert set(world.calls.values()) == {1}
    assert {number for number, _ in world.calls} == set(wanted)
    assert world.accepted == len(wanted)
    assert world.codes == Counter(number[-6:] for number in wanted)
    counts = await desk.counts()
    assert counts[ChallengeState.VERIFIED] == len(wanted)
    for journal in (one, two, desk):
        await journal.close()


async def test_a_runner_is_left_while_its_database_is_down(
    durable: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P8: leaving gives up look-ups at once; outcomes are kept for a while, then it is an error."""
    monkeypatch.setattr(postgres_writer, "PATIENCE", 0.5)
    url = durable.url(durable.empty_journal(), run="january")
    idle, busy = PostgresJournal(url), PostgresJournal(url)
    for runner in (idle, busy):
        await runner.open(MINE, running=True, settings=SETTINGS)
    await asyncio.to_thread(durable.stop)
    reading = asyncio.create_task(idle.next_due())
    writing = asyncio.create_task(busy.apply([Change(number=NUMBER, event=Event.CALLED, at=1.0)]))
    await asyncio.wait([reading, writing], timeout=1.0)
    assert not reading.done()  # a runner at work waits
    assert not writing.done()
    reading.cancel()
    async with asyncio.timeout(20.0):
        await idle.close()
        with pytest.raises(JournalError, match="outcomes are not recorded"):
            await busy.close()
        with pytest.raises(JournalError, match="outcomes are not recorded"):
            await writing
