"""The journal's file is one file under one name, never without its write-ahead log."""

# ruff: noqa: ASYNC240 - small files, and no other task on the event loop

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
import stat
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from sinch_qn.bulk import ChallengeState, SqliteJournal, VoiceChallengeRun
from sinch_qn.bulk.journal import sqlite, sqlite_file
from sinch_qn.bulk.journal.sqlite_file import Mark
from sinch_qn.bulk.states import Entry
from sinch_qn.errors import JournalError
from tests.support.fake_sinch import Sinch
from tests.support.journals import called, opened, query, rows
from tests.support.runs import NUMBER, OTHER, numbers, run_of, until

CALLER = """
import asyncio, os, sys
from tests.support.journals import called, opened
async def main():
    journal = await opened(sys.argv[1], running=True)
    await called(journal, sys.argv[2])
    print("called", flush=True)
    if len(sys.argv) > 3:
        os._exit(1)
    await asyncio.sleep(60)
asyncio.run(main())
"""

READER = """
import asyncio, sys
from sinch_qn.bulk import SqliteJournal
async def main():
    journal = SqliteJournal(sys.argv[1])
    await journal.open(None, running=False)
    await journal.counts()
    await journal.close()
    list(journal.rows())
asyncio.run(main())
"""

OTHER_PROGRAM = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("SELECT * FROM numbers").fetchall()
database.close()
"""


async def process(script: str, *arguments: object) -> None:
    """Run *script* in a process of its own."""
    command = (sys.executable, "-c", script, *map(str, arguments))
    process = await asyncio.create_subprocess_exec(*command)
    await process.wait()


async def crashed(path: Path, number: str = NUMBER) -> None:
    """Make a journal whose run called *number* and was killed."""
    await process(CALLER, path, number, "crash")
    assert wal(path).stat().st_size


def wal(path: Path) -> Path:
    """Return the path of the log."""
    return path.with_name(path.name + "-wal")


async def mark(path: Path) -> Mark:
    """Return the mark in the file itself, read outside the event loop."""
    found, _ = await asyncio.to_thread(sqlite_file.read_header, path)
    return found


async def check_refused(path: Path, match: str) -> None:
    """Check that *path* is refused to a run, to others and to readers, and left as it was."""
    before = path.read_bytes()
    for running in (True, False):
        with pytest.raises(JournalError, match=match):
            await opened(path, running=running)
    with pytest.raises(JournalError, match=match):
        await rows(SqliteJournal(path))
    assert path.read_bytes() == before


async def state(path: Path, number: str = NUMBER, *, running: bool = True) -> ChallengeState:
    """Return the state of *number* to somebody who opens and closes the journal."""
    journal = await opened(path, running=running)
    entry = await journal.get(number)
    await journal.close()
    assert entry is not None
    return entry.state


# ---- one name ----------------------------------------------------------------------------------


async def test_a_second_name_is_refused(path: Path, tmp_path: Path) -> None:
    """Rule 27: a journal with a hard link is refused under both names: each has its own log."""
    await (await opened(path)).close()
    other = tmp_path / "other.db"
    other.hardlink_to(path)
    for name in (path, other):
        await check_refused(name, "second name")
    other.unlink()
    await (await opened(path)).close()


async def test_a_second_name_of_an_empty_file_is_refused(path: Path, tmp_path: Path) -> None:
    """Rule 27: a hard link is refused before a journal is made in it, too."""
    path.touch()
    (tmp_path / "other.db").hardlink_to(path)
    with pytest.raises(JournalError, match="second name"):
        await opened(path)
    assert path.stat().st_size == 0


async def test_a_mounted_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 27: a file that is a mount of its own is refused, as its log is not mounted with it."""
    path = tmp_path / "a folder" / "rün.db"
    path.parent.mkdir()
    await (await opened(path)).close()
    mounts = tmp_path / "mountinfo"
    mounts.write_text("24 30 0:22 / /proc rw,relatime - proc proc rw\n")
    monkeypatch.setattr(sqlite_file, "_MOUNTS", mounts)
    await (await opened(path)).close()
    point = str(path).replace(" ", r"\040")
    with mounts.open("a") as file:
        file.write(f"99 30 254:1 /x/run.db {point} rw,relatime shared:1 - ext4 /dev/vda rw\n")
    await check_refused(path, "mounted by itself")
    monkeypatch.setattr(sqlite_file, "_MOUNTS", tmp_path / "missing")  # not on Linux
    await (await opened(path)).close()


# ---- with its log ------------------------------------------------------------------------------


async def test_a_journal_without_its_log_is_refused(path: Path, tmp_path: Path) -> None:
    """Rule 27: after a crash the file alone is refused; with its log the run goes on."""
    await crashed(path)
    moved = tmp_path / "moved" / "run.db"
    moved.parent.mkdir()
    path.rename(moved)
    await check_refused(moved, r"run\.db-wal, which is missing")
    wal(path).rename(wal(moved))
    assert await state(moved) is ChallengeState.AWAITING_CODE


async def test_a_closed_journal_is_one_file(path: Path, tmp_path: Path) -> None:
    """Rule 27: what was closed can be moved or copied as one file."""
    journal = await opened(path)
    await called(journal, NUMBER)
    assert await mark(path) is Mark.OPEN
    await journal.close()
    assert not wal(path).exists()
    copy = tmp_path / "copy.db"
    shutil.copy(path, copy)
    assert await state(copy) is ChallengeState.AWAITING_CODE


@pytest.mark.parametrize("size", [None, 0])
async def test_a_reader_after_a_crash_leaves_a_complete_file(path: Path, size: int | None) -> None:
    """Rule 27: the last to close after a crash moves the log into the file, and says so there."""
    await crashed(path)
    if size == 0:  # its last commits were moved into the file before the crash
        with closing(sqlite3.connect(path)) as beside:
            beside.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            shutil.copy(path, path.with_name("kept"))
        path.with_name("kept").replace(path)
        wal(path).touch()
    await process(READER, path)
    assert not wal(path).exists()
    assert await mark(path) is Mark.CLOSED
    assert await state(path) is ChallengeState.AWAITING_CODE


async def test_what_cannot_be_marked_keeps_its_log(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 27: if the disk is full when a run closes its journal, the log stays beside it."""
    journal = await opened(path)
    await called(journal, NUMBER)

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_file, "set_mark", full)
        await journal.close()
    assert wal(path).exists()
    assert await state(path) is ChallengeState.AWAITING_CODE
    assert not wal(path).exists()


async def test_others_do_not_delete_the_log_of_a_run(path: Path) -> None:
    """Others who close a journal, in this process and another, leave its log to the run."""
    journal = await opened(path)
    await called(journal, NUMBER)
    log = wal(path).stat().st_ino
    for _ in range(2):
        await (await opened(path, running=False)).close()
        assert len(await rows(journal)) == 1
        await process(READER, path)
        await process(OTHER_PROGRAM, path)
        assert wal(path).stat().st_ino == log
        assert await mark(path) is Mark.OPEN
    await called(journal, OTHER)
    await journal.close()
    assert await state(path, OTHER) is ChallengeState.AWAITING_CODE


async def test_a_reader_in_the_way_delays_the_mark(path: Path) -> None:
    """Rule 27: if a reader keeps the mark out of the file, it follows when the reader has gone."""
    await (await opened(path)).close()
    reader = sqlite3.connect(path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM numbers").fetchone()
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("UPDATE counts SET n = n")
        writer.commit()
    journal = await opened(path)
    assert await mark(path) is Mark.CLOSED
    reader.close()

    async def is_marked() -> bool:
        return await mark(path) is Mark.OPEN

    await until(is_marked, seconds=10)
    await journal.close()


# ---- gone --------------------------------------------------------------------------------------


def _delete(path: Path) -> None:
    path.unlink()


def _delete_log(path: Path) -> None:
    wal(path).unlink()


def _move(path: Path) -> None:
    path.rename(path.with_name("moved.db"))


def _replace(path: Path) -> None:
    shutil.copy(path, path.with_name("new"))
    path.with_name("new").replace(path)


@pytest.mark.parametrize("go", [_delete, _delete_log, _move, _replace])
async def test_a_journal_that_is_gone_takes_no_more(path: Path, go: object) -> None:
    """Rule 27: no intent is committed to a file that was deleted, moved or replaced."""
    assert callable(go)
    for running in (True, False):
        owner = await opened(path)
        await owner.add([Entry(number=NUMBER)])
        journal = owner if running else await opened(path, running=False)
        go(path)
        with pytest.raises(JournalError, match="deleted, moved or replaced"):
            await journal.add([Entry(number=OTHER)])
        with pytest.raises(JournalError, match="deleted, moved or replaced"):
            await journal.get(NUMBER)
        await journal.close()
        await owner.close()
        for file in path.parent.iterdir():
            file.unlink()


async def add_and_delete(run: VoiceChallengeRun, path: Path, when: Callable[[], bool]) -> None:
    """Run until *when*, delete the journal, and wait for no more than a second."""
    async with run:
        await run.add(numbers(100))
        await until(when)
        path.unlink()
        async with asyncio.timeout(1.0):
            await run.finish()


async def test_a_run_stops_when_its_journal_is_gone(path: Path) -> None:
    """Rule 27: within a second after its journal was deleted a run has stopped, calling nobody."""
    sinch = Sinch(numbers(100), latency=0.01)
    run = run_of(sinch, SqliteJournal(path), calls_per_second=20.0)
    with pytest.raises(JournalError, match="deleted, moved or replaced"):
        await add_and_delete(run, path, lambda: len(sinch.rang_at) >= 3)
    assert len(sinch.rang_at) <= 4


async def test_a_busy_run_notices_that_its_journal_is_gone(path: Path) -> None:
    """Rule 27: also a run whose requests are all in flight notices it within a second."""
    sinch = Sinch(numbers(100), latency=0.01)
    run = run_of(sinch, SqliteJournal(path), concurrency=2, drain_timeout=0.1)

    def is_busy() -> bool:
        sinch.latency = 3.0
        return sinch.count("sendVoiceChallenge") == 2

    with pytest.raises(JournalError, match="deleted, moved or replaced"):
        await add_and_delete(run, path, is_busy)


# ---- to read only ------------------------------------------------------------------------------


async def test_a_read_only_copy_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 27: a journal that cannot be written is read, and nothing is written beside it."""
    await crashed(path)
    path.with_name(f"{path.name}.lock").unlink()
    monkeypatch.setattr(os, "access", lambda *_: False)
    files = {file: file.read_bytes() for file in path.parent.iterdir() if file.suffix != ".db-shm"}
    assert await state(path, running=False) is ChallengeState.AWAITING_CODE
    assert [entry.number for entry in await rows(SqliteJournal(path))] == [NUMBER]
    kept = {file: file.read_bytes() for file in path.parent.iterdir() if file.suffix != ".db-shm"}
    assert kept == files
    path.with_name(f"{path.name}-shm").unlink()
    with pytest.raises(JournalError, match=r"copy it and run\.db-wal to a folder"):
        await opened(path, running=False)
    monkeypatch.undo()
    await (await opened(path)).close()
    path.with_name(f"{path.name}.lock").unlink()
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert await state(path, running=False) is ChallengeState.AWAITING_CODE
    assert [file.name for file in path.parent.iterdir()] == [path.name]


# ---- copies ------------------------------------------------------------------------------------


async def test_a_copy_of_a_finished_run_goes_on(path: Path, tmp_path: Path) -> None:
    """`backup` writes one private file; it is complete if no run is active, also after a crash."""
    await crashed(path)
    copy = tmp_path / "copy.db"
    assert await asyncio.to_thread(SqliteJournal(path).backup, copy)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert not list(tmp_path.glob("copy.db-*"))
    assert await state(copy) is ChallengeState.AWAITING_CODE
    with pytest.raises(JournalError, match=r"cannot be copied: .*exists"):
        await asyncio.to_thread(SqliteJournal(path).backup, copy)
    assert await state(copy) is ChallengeState.AWAITING_CODE
    with pytest.raises(JournalError, match="nothing is missing"):
        await asyncio.to_thread(SqliteJournal(copy).accept)


async def test_a_copy_of_an_active_run_is_only_read(path: Path, tmp_path: Path) -> None:
    """A copy made during a run can be read; a run refuses it until a person accepts it."""
    journal = await opened(path)
    await called(journal, NUMBER)
    copy, second = tmp_path / "copy.db", tmp_path / "second.db"
    assert not await asyncio.to_thread(SqliteJournal(path).backup, copy)
    assert not await asyncio.to_thread(SqliteJournal(copy).backup, second)
    await called(journal, OTHER)
    await journal.close()
    for each in (copy, second):
        assert await state(each, running=False) is ChallengeState.AWAITING_CODE
        with pytest.raises(JournalError, match="it lacks the calls made since"):
            await opened(each)
    await asyncio.to_thread(SqliteJournal(copy).accept)
    assert await state(copy) is ChallengeState.AWAITING_CODE


async def test_a_journal_whose_log_is_lost_is_accepted(path: Path) -> None:
    """A person may declare that nothing was in a log that is missing."""
    await crashed(path)
    wal(path).unlink()
    await asyncio.to_thread(SqliteJournal(path).accept)
    await (await opened(path)).close()


# ---- SQLite ------------------------------------------------------------------------------------


async def test_an_older_sqlite_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version of SQLite on which nothing was tested is refused when a journal is opened."""
    await (await opened(path)).close()
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 33, 0))
    await check_refused(path, "SQLite .* is too old: 3.34.0 is needed")
    path.unlink()
    with pytest.raises(JournalError, match="too old"):
        await opened(path)
    assert not path.exists()


def test_statements_are_of_the_oldest_sqlite() -> None:
    """No statement needs a newer SQLite: RETURNING, an upsert on any key, STRICT tables, …."""
    newer = r"\bRETURNING\b|ON CONFLICT DO UPDATE|\bSTRICT\b|DROP COLUMN|\bMATERIALIZED\b|FULL JOIN"
    for file in Path(sqlite.__file__).parents[1].rglob("*.py"):
        if file.name.startswith("postgres"):
            continue
        assert not re.search(newer, file.read_text()), file


async def test_a_lock_of_another_program_is_waited_for(path: Path) -> None:
    """A program that keeps the journal locked for a minute delays a run, and does not end it."""
    assert sqlite_file.BUSY_TIMEOUT > 60
    journal = await opened(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        adding = asyncio.create_task(journal.add([Entry(number=NUMBER)]))
        await asyncio.sleep(0.3)
        assert not adding.done()
    assert await adding == 1
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    await journal.close()
