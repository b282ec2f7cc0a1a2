"""The thread of a SQLite journal: group commit, cache, errors, closing."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sinch_qn.bulk import SqliteJournal, Submission
from sinch_qn.bulk.journal import sqlite_thread
from sinch_qn.bulk.states import ChallengeState, Change, Entry, Event, Todo
from sinch_qn.errors import JournalError
from tests.support.journals import MINE, called, opened, query, take_code
from tests.support.runs import NUMBER

CODE = "8264917350"


async def test_each_commit_is_on_disk(path: Path) -> None:
    """P8: commits go to the write-ahead log with fsync, counts included; deletes overwrite."""
    journal = await opened(path)
    await called(journal, NUMBER)
    assert query(path, "SELECT state, n FROM counts WHERE n <> 0") == [("awaiting_code", 1)]

    def settings(database: sqlite3.Connection) -> list[Any]:
        names = ("journal_mode", "synchronous", "secure_delete")
        return [database.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    assert await journal._read(settings) == ["wal", 2, 1]
    await journal.close()


async def test_concurrent_writers_share_commits(path: Path) -> None:
    """Group commit: 200 concurrent writers need fewer than 50 commits; each has its own result."""
    journal = await opened(path)
    statements: list[str] = []
    assert journal._thread is not None
    journal._thread._database.set_trace_callback(statements.append)
    wanted = [f"+1{2025550000 + index}" for index in range(200)]
    added = await asyncio.gather(*(journal.add([Entry(number=number)]) for number in wanted))
    assert added == [1] * 200
    commits = statements.count("COMMIT")
    assert 1 <= commits < 50
    assert statements.count("BEGIN IMMEDIATE") == commits
    statements.clear()
    await journal.get(NUMBER)
    assert "COMMIT" not in statements
    await journal.close()


async def test_a_single_writer_does_not_wait(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group commit is delayed only while there are concurrent writers, and never for readers."""
    sleeps: list[float] = []
    monkeypatch.setattr(time, "sleep", sleeps.append)
    journal = await opened(path)
    wanted = [Entry(number=f"+1{2025550000 + index}") for index in range(60)]
    for entry in wanted[:10]:
        await journal.add([entry])
    assert sleeps == []
    await asyncio.gather(*(journal.add([entry]) for entry in wanted[10:]))
    await journal.add([wanted[0]])
    assert 1 <= len(sleeps) < 10  # the thread may take the first ones before the others are there
    sleeps.clear()
    await asyncio.gather(*(journal.get(entry.number) for entry in wanted))
    assert sleeps == []
    await journal.close()


@pytest.mark.parametrize(("commit", "delay"), [(0.0005, 0.0005), (0.5, 0.002)])
async def test_a_group_waits_as_long_as_a_commit_takes(
    path: Path, monkeypatch: pytest.MonkeyPatch, commit: float, delay: float
) -> None:
    """A group commit is delayed by the time of the last commit, by 2 ms at most."""
    sleeps: list[float] = []
    ticks = itertools.count()
    monkeypatch.setattr(time, "sleep", sleeps.append)
    monkeypatch.setattr(time, "perf_counter", lambda: commit * next(ticks))
    journal = await opened(path)
    wanted = [Entry(number=f"+1{2025550000 + index}") for index in range(60)]
    await journal.add([wanted[0]])
    await asyncio.gather(*(journal.add([entry]) for entry in wanted))
    await journal.add([wanted[0]])
    assert sleeps == pytest.approx([delay] * len(sleeps))
    assert sleeps
    await journal.close()


async def test_a_large_group_is_split(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit has `_MAX_GROUP` writes at most; the others are in the next."""
    monkeypatch.setattr(sqlite_thread, "_MAX_GROUP", 3)
    journal = await opened(path)
    gate = threading.Event()
    held = asyncio.create_task(journal._read(lambda _: gate.wait(10)))
    await asyncio.sleep(0)
    adding = [asyncio.create_task(journal.add([Entry(number=f"+1202555{n:04}")])) for n in range(8)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*adding) == [1] * 8
    assert await held
    await journal.close()


async def test_a_cancelled_write_is_committed(path: Path) -> None:
    """Rule 3: a write that was queued is committed, though its caller was cancelled."""
    journal = await opened(path)
    gate = threading.Event()
    held = asyncio.create_task(journal._read(lambda _: gate.wait(10)))
    await asyncio.sleep(0)
    write = asyncio.create_task(journal.add([Entry(number=NUMBER)]))
    read = asyncio.create_task(journal.get(NUMBER))
    await asyncio.sleep(0)
    write.cancel()
    read.cancel()
    await asyncio.gather(write, read, return_exceptions=True)
    assert write.cancelled()
    assert read.cancelled()
    gate.set()
    await held
    assert await journal.get(NUMBER) is not None
    await journal.close()


async def test_two_processes_count_together(path: Path) -> None:
    """Rule 21: counts are exact while two processes change states."""
    journal, other = await opened(path), await opened(path, running=False)
    for index in range(20):
        each = journal if index % 2 else other
        await called(each, f"+1202555{index + 100:04}")
        recall = Change(number=f"+1202555{index + 100:04}", event=Event.RECALL, at=2.0)
        await (other if index % 2 else journal).apply([recall])
    counts = {state.value: n for state, n in (await journal.counts()).items() if n}
    assert counts == dict(query(path, "SELECT state, count(*) FROM numbers GROUP BY state"))
    await other.close()
    await journal.close()


async def test_the_cache_drops_what_others_have_written(path: Path) -> None:
    """A cached entry is read anew once another process has changed it."""
    journal, other = await opened(path), await opened(path, running=False)
    await called(journal, NUMBER)
    assert (await other.submit_code(NUMBER, CODE, 2.0))[0] is Submission.ACCEPTED
    entry = await journal.get(NUMBER)
    assert entry is not None
    assert entry.codes_waiting == 1
    assert await take_code(journal, NUMBER, 3.0) is not None
    assert await take_code(other, NUMBER, 3.0) is None
    await other.close()
    await journal.close()


async def test_the_cache_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P10: the cache has `_CACHE_SIZE` entries at most, however many numbers change."""
    monkeypatch.setattr(sqlite_thread, "_CACHE_SIZE", 10)
    journal = await opened(path)
    for index in range(25):
        await called(journal, f"+1202555{index + 100:04}")
    assert await journal._read(lambda database: len(database._cache)) <= 10
    await journal.close()


async def test_a_full_disk_stops_the_journal(path: Path) -> None:
    """Rule 4: after a write that fails each call is a JournalError; earlier commits are intact."""
    journal = await opened(path)
    await called(journal, NUMBER)

    def fill(database: sqlite3.Connection) -> None:
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        database.execute(f"PRAGMA max_page_count = {pages}")

    await journal._read(fill)
    many = [Entry(number=f"+1{2025550000 + n}", note="x" * 500) for n in range(200)]
    together = await asyncio.gather(
        journal.add(many), journal.add([Entry(number="+12025559999")]), return_exceptions=True
    )
    assert any(isinstance(each, JournalError) and "full" in str(each) for each in together)
    with pytest.raises(JournalError, match="the journal failed"):
        await journal.get(NUMBER)
    await journal.close()
    journal = await opened(path)
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    entry = await journal.get(NUMBER)
    assert entry is not None
    assert entry.state is ChallengeState.AWAITING_CODE
    assert await journal.get(many[0].number) is None
    await journal.close()


async def test_an_exception_in_the_thread_reaches_the_callers(path: Path) -> None:
    """After an unexpected exception in the thread each call raises, and the journal can close."""
    journal = await opened(path)

    def wrong(_: sqlite3.Connection) -> None:
        raise ZeroDivisionError("a bug")

    with pytest.raises(JournalError, match="a bug") as caught:
        await journal._write(wrong)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(JournalError, match="a bug"):
        await journal.add([Entry(number=NUMBER)])
    await journal.close()
    with pytest.raises(JournalError, match="not open"):
        await journal.get(NUMBER)
    await journal.close()


async def test_a_closing_journal_refuses_calls(path: Path) -> None:
    """Once `close` was called a call is refused; a write before it is committed."""
    journal = await opened(path)
    adding = asyncio.create_task(journal.add([Entry(number=NUMBER)]))
    await asyncio.sleep(0)
    closing = asyncio.create_task(journal.close())
    await asyncio.sleep(0)
    with pytest.raises(JournalError, match="not open"):
        await journal.get(NUMBER)
    assert await adding == 1
    await closing


def test_an_event_loop_that_has_closed(path: Path) -> None:
    """A result for an event loop that has closed is dropped; the journal works on."""
    gate = threading.Event()
    journal = SqliteJournal(path)

    async def leave() -> None:
        await journal.open(MINE, running=True)
        held = asyncio.ensure_future(
            journal._database.submit(lambda _: gate.wait(10), writes=False)
        )
        await asyncio.sleep(0)
        held.cancel()

    async def come_back() -> None:
        gate.set()
        assert await journal.add([Entry(number=NUMBER)]) == 1
        assert await journal.backlog(Todo.LOOK_UP) == 1
        assert (await journal.submit_code(NUMBER, "1", 1.0))[0] is Submission.REFUSED
        await journal.close()

    asyncio.run(leave())
    asyncio.run(come_back())
