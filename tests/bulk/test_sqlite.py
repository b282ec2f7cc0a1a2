"""The journal's file: private, locked, never half written, and left alone when it is not ours."""

# ruff: noqa: ASYNC240 - nobody else waits for the event loop here

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sinch_qn.bulk import SqliteJournal, Submission
from sinch_qn.bulk.journal import Identity, sqlite_file, sqlite_thread
from sinch_qn.bulk.states import ChallengeState, Change, Entry, Event, Todo
from sinch_qn.errors import JournalError

S = ChallengeState
E = Event
MINE = Identity("project", "https://api.example")
NUMBER = "+12025550134"
CODE = "8264917350"

HOLDER = """
import asyncio, sys
from sinch_qn.bulk import SqliteJournal
from sinch_qn.bulk.journal import Identity
async def main():
    journal = SqliteJournal(sys.argv[1])
    await journal.open(Identity("project", "https://api.example"), running=True)
    print("held", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""

SUBMITTER = """
import asyncio, sys
from sinch_qn.bulk import SqliteJournal, submit_code
async def main():
    journal = SqliteJournal(sys.argv[1])
    await journal.open(None, running=False)
    print((await submit_code(journal, sys.argv[2], sys.argv[3])).value, flush=True)
    await journal.close()
asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the journal is to be."""
    return tmp_path / "run.db"


async def opened(path: Path, *, running: bool = True) -> SqliteJournal:
    """Return an open journal."""
    journal = SqliteJournal(path)
    await journal.open(MINE, running=running)
    return journal


async def called(journal: SqliteJournal, number: str = NUMBER) -> None:
    """Add *number* and call it."""
    await journal.add([Entry(number=number)])
    (intent,) = await journal.apply([Change(number=number, event=E.CALL, at=1.0)])
    assert intent is not None
    assert all(await journal.apply([outcome(intent, E.CALLED)]))


def outcome(intent: Entry, event: Event) -> Change:
    """Return an outcome of *intent*."""
    return Change(number=intent.number, event=event, at=3.0, intent=intent.intent, window=9.0)


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    """Start *script* as another process."""
    return subprocess.Popen(  # noqa: S603 - our own
        [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True
    )


def query(path: Path, statement: str) -> list[Any]:
    """Return what *statement* gives, over a connection of its own."""
    database = sqlite3.connect(path)
    try:
        return database.execute(statement).fetchall()
    finally:
        database.commit()
        database.close()


def locks(path: Path) -> int:
    """Return how many of this process's open files are the journal's lock."""
    lock = f"{path}.lock"
    return sum(os.path.realpath(fd) == lock for fd in Path("/proc/self/fd").iterdir())


# ---- private -----------------------------------------------------------------------------------


async def test_its_files_are_their_owners_only(path: Path) -> None:
    """P7: the journal's files are 0600, its log and its lock too, whatever the umask."""
    before = os.umask(0)
    try:
        journal = await opened(path)
        await called(journal)
    finally:
        os.umask(before)
    files = list(path.parent.iterdir())
    assert {file.name for file in files} == {"run.db", "run.db-wal", "run.db-shm", "run.db.lock"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    await journal.close()


def is_readable(path: Path) -> bool:
    """Say whether the code's bytes are in any of the journal's files."""
    return any(CODE.encode() in file.read_bytes() for file in path.parent.iterdir())


async def is_erased(path: Path) -> bool:
    """Say whether the code's bytes go, or are gone, from all of the journal's files."""
    for _ in range(200):
        if not is_readable(path):
            return True
        await asyncio.sleep(0.01)
    return False


async def verified(journal: SqliteJournal, path: Path) -> None:
    """Have a number verified by the code, which is in a file until then."""
    await called(journal)
    await journal.submit_code(NUMBER, CODE, 2.0)
    claimed = await journal.claim_code(NUMBER, 2.0)
    assert claimed is not None
    assert is_readable(path)
    await journal.apply([outcome(claimed[0], E.VERIFIED)])


async def test_an_erased_code_is_in_no_file(path: Path) -> None:
    """Rule 16: soon after a number has settled, its code's bytes are in none of the files."""
    journal = await opened(path)
    companion = await opened(path, running=False)
    await verified(journal, path)
    assert await is_erased(path)
    await journal.close()
    await companion.close()
    assert not is_readable(path)


async def test_a_busy_journal_erases_codes_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 16: codes go from the log while one write follows the other, not once all is done."""
    monkeypatch.setattr(sqlite_thread, "_CHECKPOINT_INTERVAL", 0.05)
    journal = await opened(path)
    busy = True

    async def write() -> None:
        while busy:
            await journal.add([Entry(number=NUMBER)])

    writers = [asyncio.create_task(write()) for _ in range(2)]
    await verified(journal, path)
    assert await is_erased(path)
    busy = False
    await asyncio.gather(*writers)
    await journal.close()


async def test_a_closed_journal_holds_no_erased_code(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 16: a code that was erased just before the close is in no file, though others stay."""
    monkeypatch.setattr(sqlite_thread, "_CHECKPOINT_INTERVAL", 1000.0)
    companion = await opened(path)
    journal = SqliteJournal(path)
    await journal.open(MINE, running=False)
    await verified(journal, path)
    assert is_readable(path)
    await journal.close()
    assert not is_readable(path)
    await companion.close()


async def test_a_code_that_a_crash_left_is_erased(path: Path) -> None:
    """Rule 16: what a killed run had erased, but not from its log, goes with the next opening."""
    journal = await opened(path)
    await called(journal)
    await journal.submit_code(NUMBER, CODE, 2.0)
    claimed = await journal.claim_code(NUMBER, 2.0)
    assert claimed is not None
    beside = sqlite3.connect(path)
    beside.execute("BEGIN")
    beside.execute("SELECT count(*) FROM numbers").fetchone()  # keeps the log as it is
    await journal.apply([outcome(claimed[0], E.VERIFIED)])
    await journal.close()
    beside.rollback()
    assert is_readable(path)
    journal = await opened(path)
    assert await is_erased(path)
    await journal.close()
    beside.close()


async def test_a_reader_does_not_stop_the_journal(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 16: while another process reads, the journal goes on; codes go once that has ended."""
    monkeypatch.setattr(sqlite_thread, "_CHECKPOINT_INTERVAL", 0.05)
    journal = await opened(path)
    await called(journal, "+12025550199")
    reader = sqlite3.connect(path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM numbers").fetchone()
    await verified(journal, path)
    await asyncio.sleep(0.2)
    assert is_readable(path)
    entry = await journal.get(NUMBER)
    assert entry is not None
    assert entry.state is S.VERIFIED
    waits = await journal._read(lambda db: db.execute("PRAGMA busy_timeout").fetchone())
    assert waits == (1000 * sqlite_file.BUSY_TIMEOUT,)
    reader.close()
    assert await is_erased(path)
    await journal.close()


# ---- locked ------------------------------------------------------------------------------------


async def test_a_runner_in_another_process_is_refused_until_it_dies(path: Path) -> None:
    """Rule 11: one runner at a time, by a lock that dies with its process, even by kill -9."""
    with start(HOLDER, str(path)) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(JournalError, match="another run"):
            await opened(path)
        assert locks(path) == 0
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    journal = await opened(path)
    assert locks(path) == 1
    await journal.close()
    assert locks(path) == 0


async def test_a_link_to_a_journal_is_that_journal(path: Path, tmp_path: Path) -> None:
    """Rule 11: one runner at a time, by whatever name it calls the journal."""
    link = tmp_path / "elsewhere" / "link.db"
    link.parent.mkdir()
    link.symlink_to(path)
    journal = await opened(link)  # it leads nowhere yet
    assert path.exists()
    for name in (path, link, link.parent / ".." / path.name):
        with pytest.raises(JournalError, match="another run"):
            await opened(name)
    await journal.close()
    assert [file.name for file in link.parent.iterdir()] == ["link.db"]


async def test_another_process_submits_a_code(path: Path) -> None:
    """P8: a code from another process is in the live run's inbox once that process says so."""
    journal = await opened(path)
    await called(journal)
    for code, answer in (("0042", "accepted"), ("0042", "duplicate")):
        with start(SUBMITTER, str(path), NUMBER, code) as submitter:
            said, _ = await asyncio.to_thread(submitter.communicate)
        assert said.strip() == answer
    taken = await journal.claim_code(NUMBER, 2.0)
    assert taken is not None
    assert taken[1] == "0042"
    await journal.close()


async def test_what_runs_beside_a_run_makes_no_file(path: Path) -> None:
    """A journal that is only looked into must exist: a slip of the pen makes no empty one."""
    with pytest.raises(JournalError, match="there is no such journal"):
        await opened(path, running=False)
    assert not path.exists()
    journal = SqliteJournal(path)
    with pytest.raises(JournalError, match="not open"):
        await journal.get(NUMBER)
    with pytest.raises(JournalError, match="cannot be read"):
        await asyncio.to_thread(list, journal.rows())
    await journal.close()


# ---- not ours ----------------------------------------------------------------------------------


async def refused(path: Path, match: str, *, identity: Identity = MINE) -> None:
    """Check that *path* is refused, to a runner and to others, and left as it was."""
    before = path.read_bytes() if path.is_file() else None
    for running in (True, False):
        with pytest.raises(JournalError, match=match):
            await SqliteJournal(path).open(identity, running=running)
    assert (path.read_bytes() if path.is_file() else None) == before
    assert locks(path) == 0


async def test_a_file_of_another_kind(path: Path) -> None:
    """A file that is no journal of ours is refused and left untouched, SQLite's or not."""
    for content in (b"number;ref\n", b"SQLite format 3\x00", b"x" * 5000):
        path.write_bytes(content)
        await refused(path, "not a sinch_qn journal")
    path.unlink()
    query(path, "CREATE TABLE mine (a)")
    await refused(path, "not a sinch_qn journal")


async def test_a_newer_journal(path: Path) -> None:
    """A journal that a newer version wrote is refused, with both versions, and untouched."""
    await (await opened(path)).close()
    query(path, "PRAGMA user_version = 99")
    mine = sqlite_file.VERSION
    await refused(
        path, f"newer sinch_qn wrote this journal .version 99; this one reads up to {mine}"
    )


async def test_a_damaged_journal(path: Path) -> None:
    """A damaged journal is refused before anything is rung, and left as it is."""
    journal = await opened(path)
    await journal.add([Entry(number=f"+1{2025550000 + n}") for n in range(2000)])
    await journal.close()
    content = bytearray(path.read_bytes())
    content[4096 * 8 : 4096 * 12] = b"\xff" * 4096 * 4
    path.write_bytes(content)
    with pytest.raises(JournalError, match=r"damaged|malformed"):
        await opened(path)
    assert path.read_bytes() == content
    assert locks(path) == 0


async def test_a_cut_off_journal(path: Path) -> None:
    """A journal that lost its end, as by a bad copy, is refused and left as it is."""
    journal = await opened(path)
    await journal.add([Entry(number=f"+1{2025550000 + n}") for n in range(2000)])
    await journal.close()
    content = path.read_bytes()[: 4096 * 6]
    path.write_bytes(content)
    with pytest.raises(JournalError):
        await opened(path)
    assert path.read_bytes() == content


async def test_what_cannot_be_opened(path: Path) -> None:
    """A directory, a missing folder or a loop of links is a JournalError that names the path."""
    path.mkdir()
    await refused(path, "run.db: the journal cannot be used")
    path.rmdir()
    with pytest.raises(JournalError, match="cannot be used"):
        await opened(path / "deeper" / "run.db")
    path.symlink_to(path)
    with pytest.raises(JournalError):
        await opened(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_an_unreadable_file(path: Path) -> None:
    """A file that may not be read is a JournalError."""
    await (await opened(path)).close()
    path.chmod(0)
    with pytest.raises(JournalError, match="cannot be used"):
        await opened(path)


async def test_another_project(path: Path) -> None:
    """Rule 11: another project's journal is refused and left untouched."""
    await (await opened(path)).close()
    await refused(path, "belongs to project", identity=Identity("other", MINE.base_url))


async def test_a_file_that_vanishes_is_an_error(path: Path) -> None:
    """A journal that is deleted meanwhile is an error, not an empty journal."""
    journal = await opened(path)
    await journal.close()
    path.unlink()
    with pytest.raises(JournalError, match="cannot be read"):
        await asyncio.to_thread(list, journal.rows())
    assert not path.exists()


# ---- two processes ----------------------------------------------------------------------------


async def test_two_processes_count_together(path: Path) -> None:
    """Rule 21: counts are exact while two processes move states."""
    journal, other = await opened(path), await opened(path, running=False)
    for index in range(20):
        each = journal if index % 2 else other
        await called(each, f"+1202555{index + 100:04}")
        recall = Change(number=f"+1202555{index + 100:04}", event=E.RECALL, at=2.0)
        await (other if index % 2 else journal).apply([recall])
    counts = {state.value: n for state, n in (await journal.counts()).items() if n}
    assert counts == dict(query(path, "SELECT state, count(*) FROM numbers GROUP BY state"))
    await other.close()
    await journal.close()


async def test_what_others_write_is_heeded(path: Path) -> None:
    """An entry that is kept in mind is read anew once another process has changed it."""
    journal, other = await opened(path), await opened(path, running=False)
    await called(journal)
    assert (await other.submit_code(NUMBER, CODE, 2.0))[0] is Submission.ACCEPTED
    entry = await journal.get(NUMBER)
    assert entry is not None
    assert entry.codes_waiting == 1
    assert await journal.claim_code(NUMBER, 3.0) is not None
    assert await other.claim_code(NUMBER, 3.0) is None
    await other.close()
    await journal.close()


async def test_no_more_is_kept_in_mind_than_is_useful(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P10: however many numbers change, a bounded number of entries is kept in memory."""
    monkeypatch.setattr(sqlite_thread, "_CACHE_SIZE", 10)
    journal = await opened(path)
    for index in range(35):
        await called(journal, f"+1202555{index + 100:04}")
    assert await journal._read(lambda database: len(database._cache)) <= 10
    await journal.close()


async def test_a_file_that_was_never_finished(path: Path) -> None:
    """A process that died while it made the file leaves one that the next run can finish."""
    path.touch()
    journal = await opened(path)
    await journal.close()
    path.unlink()
    # It has its mark, but no tables and no write-ahead log yet.
    query(path, f"PRAGMA application_id = {sqlite_file.Mark.CLOSED.value}")
    journal = await opened(path)
    await called(journal)
    assert query(path, "PRAGMA journal_mode") == [("wal",)]
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    await journal.close()


async def test_each_commit_is_on_disk(path: Path) -> None:
    """P8: write-ahead log, fsync on every commit, erased bytes overwritten; counts included."""
    journal = await opened(path)
    await called(journal)
    assert query(path, "SELECT state, n FROM counts WHERE n <> 0") == [("awaiting_code", 1)]

    def settings(database: sqlite3.Connection) -> list[Any]:
        names = ("journal_mode", "synchronous", "secure_delete")
        return [database.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    assert await journal._read(settings) == ["wal", 2, 1]
    await journal.close()


# ---- commits -----------------------------------------------------------------------------------


async def test_those_who_come_together_share_a_commit(path: Path) -> None:
    """50 writers at once need far fewer than 50 commits, and each has its own answer."""
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


async def test_nobody_waits_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit waits for company only while there is some: a lone writer is served at once."""
    naps: list[float] = []
    monkeypatch.setattr(time, "sleep", naps.append)
    journal = await opened(path)
    wanted = [Entry(number=f"+1{2025550000 + index}") for index in range(60)]
    for entry in wanted[:10]:
        await journal.add([entry])
    assert naps == []
    await asyncio.gather(*(journal.add([entry]) for entry in wanted[10:]))
    await journal.add([wanted[0]])
    assert set(naps) == {sqlite_thread._GROUP_COMMIT_DELAY}
    naps.clear()
    await asyncio.gather(*(journal.get(entry.number) for entry in wanted))
    assert naps == []
    await journal.close()


async def test_a_large_group_is_split(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One commit takes so many writes and no more; the rest follow in the next."""
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


async def test_a_cancelled_write_is_written(path: Path) -> None:
    """Rule 3: what was handed over is committed, though the caller was cancelled meanwhile."""
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


async def test_a_full_disk_stops_the_journal(path: Path) -> None:
    """Rule 4: what cannot be written is a JournalError, from then on for all; the rest is whole."""
    journal = await opened(path)
    await called(journal)

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
    assert entry.state is S.AWAITING_CODE
    assert await journal.get(many[0].number) is None
    await journal.close()


async def test_nobody_waits_for_ever(path: Path) -> None:
    """Whatever goes wrong in the journal's thread, those who wait are told, and it can close."""
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


async def test_what_comes_while_it_closes_is_refused(path: Path) -> None:
    """From the moment of closing a call is refused, not kept waiting; what came before is done."""
    journal = await opened(path)
    adding = asyncio.create_task(journal.add([Entry(number=NUMBER)]))
    await asyncio.sleep(0)
    closing = asyncio.create_task(journal.close())
    await asyncio.sleep(0)
    with pytest.raises(JournalError, match="not open"):
        await journal.get(NUMBER)
    assert await adding == 1
    await closing


async def test_a_cancelled_open_or_close_leaves_no_lock(path: Path) -> None:
    """P9: a journal whose opening or closing is cancelled is not left locked."""
    journal = SqliteJournal(path)
    opening = asyncio.create_task(journal.open(MINE, running=True))
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait([opening])
    assert opening.cancelled()
    assert locks(path) == 0
    second = SqliteJournal(path.with_name("text.csv"))
    path.with_name("text.csv").write_text("a;b\n")
    opening = asyncio.create_task(second.open(MINE, running=True))
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait([opening])
    assert opening.cancelled()
    await journal.open(MINE, running=True)
    assert journal._thread is not None
    thread = journal._thread._thread
    closing = asyncio.create_task(journal.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    thread.join(5)
    for _ in range(500):
        if not locks(path):
            break
        await asyncio.sleep(0.01)
    assert locks(path) == 0
    await (await opened(path)).close()


def test_an_event_loop_that_is_gone(path: Path) -> None:
    """An answer for an event loop that has closed meanwhile is dropped; the journal goes on."""
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
        assert await journal.due(Todo.LOOK_UP, 1.0, 9) != []
        assert (await journal.submit_code(NUMBER, "1", 1.0))[0] is Submission.REFUSED
        await journal.close()

    asyncio.run(leave())
    asyncio.run(come_back())
