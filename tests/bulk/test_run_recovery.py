"""A run that resumes from its journal, and journals that fail."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from sinch_qn._operations import SEND_VOICE_CHALLENGE, Operation
from sinch_qn.bulk import (
    ChallengeState,
    Entry,
    MemoryJournal,
    SqliteJournal,
    Submission,
    VoiceChallengeRun,
    submit_code,
)
from sinch_qn.errors import JournalError, TokenError
from tests.support.fake_sinch import Sinch
from tests.support.journals import query
from tests.support.runs import (
    NUMBER,
    OTHER,
    Recording,
    WallClock,
    finish,
    numbers,
    run_of,
    state_of,
    until,
    until_state,
)
from tests.support.virtual_clock import virtual_clock


@virtual_clock
async def test_a_journal_has_one_runner_and_one_project() -> None:
    """Rule 11: a journal that is in use, or of another project, is refused before any request."""
    sinch, journal = Sinch([NUMBER]), MemoryJournal()
    async with run_of(sinch, journal):
        with pytest.raises(JournalError, match="another run"):
            await run_of(sinch, journal).__aenter__()
    other = Sinch()
    other.project_id = "another"
    with pytest.raises(JournalError, match="belongs to"):
        await run_of(other, journal).__aenter__()
    assert other.log == []
    async with run_of(sinch, journal):
        pass


@virtual_clock
async def test_a_run_that_cannot_start_releases_its_journal() -> None:
    """P9: a run whose recovery fails leaves no lock."""
    sinch, journal = Sinch(), MemoryJournal()

    async def broken(window: float) -> list[Entry]:
        raise JournalError(f"cannot be read, nor be written: {window}")

    journal.reap = broken  # type: ignore[method-assign]
    with pytest.raises(JournalError):
        await run_of(sinch, journal).__aenter__()
    assert journal._runner is None


@virtual_clock
async def test_slots_outlive_a_restart() -> None:
    """Rule 9: after a restart phones hold their slots until their ring windows end.

    A code frees a slot, and a recall waits for one.
    """
    many = numbers(9)
    sinch = Sinch(many)
    wall = WallClock()
    journal = MemoryJournal()
    clock = asyncio.get_running_loop().time
    async with run_of(sinch, journal, max_ringing=3, clock=wall) as run:
        await run.add(many)
        await until(lambda: len(sinch.rings) == 3)
        await run.submit_code(many[0], sinch.codes[many[0]])
        await until(lambda: len(sinch.rings) == 4)
        await until_state(run, ChallengeState.VERIFIED, many[0])
        await run.recall(many[1])
    await asyncio.sleep(30)
    async with run_of(sinch, journal, max_ringing=3, clock=wall) as run:
        await asyncio.sleep(30)
        assert (len(sinch.rings), run.ringing) == (4, 3)
        await until(lambda: sum(sinch.rings.values()) == 7)
        assert 90.0 <= clock() < 95.0


@virtual_clock
async def test_a_restart_after_the_clock_jumped_back() -> None:
    """Rule 17: a call with an intent in the future holds its slot for one ring window at most."""
    sinch, wall, journal = Sinch(numbers(2)), WallClock(), MemoryJournal()
    async with run_of(sinch, journal, clock=wall, max_ringing=1) as run:
        await run.add(numbers(2))
        await until(lambda: len(sinch.rings) == 1)
        await asyncio.sleep(1)
    wall.at -= 86_400.0
    start = asyncio.get_running_loop().time()
    async with run_of(sinch, journal, clock=wall, max_ringing=1):
        await until(lambda: len(sinch.rings) == 2)
    assert asyncio.get_running_loop().time() - start < 95.0


@virtual_clock
async def test_codes_are_sent_before_numbers_expire() -> None:
    """Rule 13: codes that came while no run was active are sent first, however late it is."""
    sinch, wall = Sinch(numbers(20)), WallClock()
    journal = Recording(sinch.log)
    async with run_of(sinch, journal, clock=wall) as run:
        await run.add(numbers(20))
        await until(lambda: len(sinch.rings) == 20)
        await asyncio.sleep(1)
    for number in numbers(20)[:10]:
        assert await submit_code(journal, number, sinch.codes[number]) is Submission.ACCEPTED
    wall.at += 10_000.0
    async with run_of(sinch, journal, clock=wall) as run:
        report = await run.finish()
        assert (report.counts[ChallengeState.VERIFIED], report.counts[ChallengeState.EXPIRED]) == (
            10,
            10,
        )
    expired = {number for what, number in sinch.log if what == "commit late"}
    assert expired == set(numbers(20)[10:])


async def test_a_full_disk_stops_the_run(tmp_path: Path) -> None:
    """Rule 4: an outcome that cannot be written stops the run; the next run has it as UNKNOWN."""
    sinch = Sinch([NUMBER], latency=0.0)
    journal = SqliteJournal(tmp_path / "run.db")

    def fill(operation: Operation[Any], _: str | None) -> None:
        if operation is SEND_VOICE_CHALLENGE:
            # As a full disk, it can be read and not written.
            full = "PRAGMA query_only = ON"
            journal._database.submit(lambda database: database.execute(full), writes=False)

    sinch.before = fill

    async def use(run: VoiceChallengeRun) -> None:
        async with run:
            await run.add([NUMBER])
            with pytest.raises(JournalError):
                await run.finish()
            with pytest.raises(JournalError):
                await run.add([OTHER])
            with pytest.raises(JournalError):
                await run.submit_code(NUMBER, "1234")

    with pytest.raises(JournalError):
        await use(run_of(sinch, journal))
    sinch.before = lambda _operation, _number: None
    async with run_of(sinch, SqliteJournal(tmp_path / "run.db")) as run:
        assert await state_of(run) is ChallengeState.UNKNOWN
        assert sinch.rings[NUMBER] == 1
        await run.submit_code(NUMBER, sinch.codes[NUMBER])
        assert (await run.finish()).counts[ChallengeState.VERIFIED] == 1


@virtual_clock
async def test_a_journal_that_cannot_be_read_stops_the_run() -> None:
    """Rule 4: a journal that fails under the scheduler stops the run with its error."""

    class Broken(MemoryJournal):
        async def claim(self, *_: object) -> list[Entry]:
            raise JournalError("gone")

    with pytest.raises(JournalError, match="gone"):
        await finish(run_of(Sinch(), Broken()), numbers(3))


async def test_what_was_accepted_is_on_disk(tmp_path: Path) -> None:
    """P8: a number and a code are on disk when `add` and `submit_code` return."""
    path = tmp_path / "run.db"
    sinch = Sinch([NUMBER], latency=0.0)
    async with run_of(sinch, SqliteJournal(path)) as run:
        await run.add([NUMBER])
        assert query(path, "SELECT number FROM numbers") == [(NUMBER,)]
        await until_state(run, ChallengeState.AWAITING_CODE)
        sinch.prepare_fails = [TokenError("down")] * 5
        await run.submit_code(NUMBER, "0001")
        assert query(path, "SELECT code FROM inbox") == [("0001",)]
