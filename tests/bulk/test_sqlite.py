"""The file of a SQLite journal: private, locked, and left unchanged if it is not ours."""

# ruff: noqa: ASYNC240 - small files, and no other task on the event loop

from __future__ import annotations

import asyncio
import os
import stat
import sys
from pathlib import Path

import pytest

from sinch_qn.bulk import SqliteJournal
from sinch_qn.bulk.journal import Identity, sqlite_file
from sinch_qn.bulk.states import Entry, Event
from sinch_qn.errors import JournalError
from tests.support.journals import MINE, called, happen, opened, query, take_code
from tests.support.runs import NUMBER

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


def locks(path: Path) -> int:
    """Return how often this process holds the journal's lock."""
    lock = f"{path}.lock"
    return sum(os.path.realpath(fd) == lock for fd in Path("/proc/self/fd").iterdir())


async def test_files_are_private(path: Path) -> None:
    """P7: the journal's files are 0600, its log and its lock included, whatever the umask."""
    before = os.umask(0)
    try:
        journal = await opened(path)
        await called(journal, NUMBER)
    finally:
        os.umask(before)
    files = list(path.parent.iterdir())
    assert {file.name for file in files} == {"run.db", "run.db-wal", "run.db-shm", "run.db.lock"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    await journal.close()


async def test_a_runner_in_another_process_is_refused_until_it_dies(path: Path) -> None:
    """Rule 11: a second runner is refused until the first process ends, also by kill -9."""
    holder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLDER, str(path)), stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"
    with pytest.raises(JournalError, match="another run"):
        await opened(path)
    assert locks(path) == 0
    holder.kill()
    await holder.wait()
    journal = await opened(path)
    assert locks(path) == 1
    await journal.close()
    assert locks(path) == 0


async def test_a_link_to_a_journal_is_that_journal(path: Path, tmp_path: Path) -> None:
    """Rule 11: a journal has one lock under all names and links."""
    link = tmp_path / "elsewhere" / "link.db"
    link.parent.mkdir()
    link.symlink_to(path)
    journal = await opened(link)  # a link to no file yet
    assert path.exists()
    for name in (path, link, link.parent / ".." / path.name):
        with pytest.raises(JournalError, match="another run"):
            await opened(name)
    await journal.close()
    assert [file.name for file in link.parent.iterdir()] == ["link.db"]


async def test_only_a_runner_creates_a_journal(path: Path) -> None:
    """A mistyped path is an error for all but a runner, and creates no file."""
    with pytest.raises(JournalError, match="there is no such journal"):
        await opened(path, running=False)
    assert not path.exists()
    journal = SqliteJournal(path)
    with pytest.raises(JournalError, match="not open"):
        await journal.get(NUMBER)
    with pytest.raises(JournalError, match="cannot be read"):
        await asyncio.to_thread(list, journal.rows())
    await journal.close()


async def test_a_cancelled_open_or_close_leaves_no_lock(path: Path) -> None:
    """P9: a journal whose opening or closing is cancelled is unlocked."""
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


async def refused(path: Path, match: str, *, identity: Identity = MINE) -> None:
    """Assert that *path* is refused, to a runner and to others, and left unchanged."""
    before = path.read_bytes() if path.is_file() else None
    for running in (True, False):
        with pytest.raises(JournalError, match=match):
            await SqliteJournal(path).open(identity, running=running)
    assert (path.read_bytes() if path.is_file() else None) == before
    assert locks(path) == 0


async def test_a_file_of_another_kind(path: Path) -> None:
    """A file that is not our journal is refused and left unchanged, also if it is SQLite's."""
    for content in (b"number;ref\n", b"SQLite format 3\x00", b"x" * 5000):
        path.write_bytes(content)
        await refused(path, "not a sinch_qn journal")
    path.unlink()
    query(path, "CREATE TABLE mine (a)")
    await refused(path, "not a sinch_qn journal")


async def test_a_newer_journal(path: Path) -> None:
    """A journal of a newer version is refused, with both versions, and left unchanged."""
    await (await opened(path)).close()
    query(path, "PRAGMA user_version = 99")
    mine = sqlite_file.VERSION
    await refused(
        path, f"newer sinch_qn wrote this journal .version 99; this one reads up to {mine}"
    )


async def test_a_damaged_journal(path: Path) -> None:
    """A damaged journal is refused, and left unchanged."""
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


async def test_a_truncated_journal(path: Path) -> None:
    """A journal that lost its end, as in an incomplete copy, is refused and left unchanged."""
    journal = await opened(path)
    await journal.add([Entry(number=f"+1{2025550000 + n}") for n in range(2000)])
    await journal.close()
    content = path.read_bytes()[: 4096 * 6]
    path.write_bytes(content)
    with pytest.raises(JournalError):
        await opened(path)
    assert path.read_bytes() == content


async def test_a_path_that_cannot_be_opened(path: Path) -> None:
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
    """Rule 11: another project's journal is refused and left unchanged."""
    await (await opened(path)).close()
    await refused(path, "belongs to project", identity=Identity("other", MINE.base_url))


async def test_a_file_that_vanishes_is_an_error(path: Path) -> None:
    """A journal that was deleted is an error, not an empty journal."""
    journal = await opened(path)
    await journal.close()
    path.unlink()
    with pytest.raises(JournalError, match="cannot be read"):
        await asyncio.to_thread(list, journal.rows())
    assert not path.exists()


async def test_an_incomplete_file_is_completed(path: Path) -> None:
    """A process that was killed while it created the file leaves one that a runner completes."""
    path.touch()
    journal = await opened(path)
    await journal.close()
    path.unlink()
    # Marked, without tables and write-ahead log.
    query(path, f"PRAGMA application_id = {sqlite_file.Mark.CLOSED.value}")
    journal = await opened(path)
    await called(journal, NUMBER)
    assert query(path, "PRAGMA journal_mode") == [("wal",)]
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    await journal.close()


async def test_tokens_are_unique(path: Path) -> None:
    """Rule 29: no two intents have one token, over all connections and after a restart.

    Each connection reserves a block of 2^32 with its first intent.
    """
    given: list[list[int]] = []
    for _ in range(2):
        one, other = await opened(path), await opened(path, running=False)
        tokens: tuple[list[int], list[int]] = ([], [])
        for _ in range(3):
            for journal, its in zip((one, other), tokens, strict=True):
                number = f"+1202555{sum(map(len, (*given, *tokens))):04}"
                await journal.add([Entry(number=number)])
                entry = await happen(journal, number, Event.CALL)
                assert entry.intent is not None
                its.append(entry.intent)
        given += tokens
        await other.close()
        await one.close()
    assert len({token for block in given for token in block}) == 12
    assert [{token >> 32 for token in block} for block in given] == [{1}, {2}, {3}, {4}]


async def test_the_log_has_the_token_of_each_intent(path: Path) -> None:
    """Rule 29: a row of the log has the token of its intent; a repeated intent has a new one."""
    journal = await opened(path)
    await journal.add([Entry(number=NUMBER)])
    added = await happen(journal, NUMBER, Event.ADD)
    withdrawn = await happen(journal, NUMBER, Event.CALL)
    log = "SELECT operation, intent, outcome FROM log ORDER BY operation"
    assert query(path, log) == [("add", added.intent, None), ("call", withdrawn.intent, None)]
    call = await happen(journal, NUMBER, Event.CALL_NOT_SENT, Event.CALL)
    assert call.intent != withdrawn.intent
    await happen(journal, NUMBER, Event.CALLED)
    await journal.submit_code(NUMBER, "0042", 2.0)
    claimed = await take_code(journal, NUMBER, 2.0)
    assert claimed is not None
    assert query(path, log) == [
        ("add", added.intent, None),
        ("call", call.intent, "done"),
        ("verify", claimed[0].intent, None),
    ]
    await journal.close()
