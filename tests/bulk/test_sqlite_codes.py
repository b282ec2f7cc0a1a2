"""Erased codes are in none of a SQLite journal's files."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from sinch_qn.bulk import SqliteJournal
from sinch_qn.bulk.journal import sqlite_file, sqlite_thread
from sinch_qn.bulk.states import ChallengeState, Entry, Event
from tests.support.journals import MINE, called, happen, opened, take_code
from tests.support.runs import NUMBER

CODE = "8264917350"


def is_readable(path: Path) -> bool:
    """Return whether the code's bytes are in any of the journal's files."""
    return any(CODE.encode() in file.read_bytes() for file in path.parent.iterdir())


async def is_erased(path: Path) -> bool:
    """Return whether the code's bytes are gone from all of the files within two seconds."""
    for _ in range(200):
        if not is_readable(path):
            return True
        await asyncio.sleep(0.01)
    return False


async def verified(journal: SqliteJournal, path: Path) -> None:
    """Verify a number with the code, which is in a file until then."""
    await called(journal, NUMBER)
    await journal.submit_code(NUMBER, CODE, 2.0)
    claimed = await take_code(journal, NUMBER, 2.0)
    assert claimed is not None
    assert is_readable(path)
    await happen(journal, NUMBER, Event.VERIFIED)


async def test_an_erased_code_is_in_no_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 16: at the checkpoint after a number is settled, its code is in none of the files."""
    monkeypatch.setattr(sqlite_thread, "_CHECKPOINT_INTERVAL", 0.05)
    journal = await opened(path)
    companion = await opened(path, running=False)
    await verified(journal, path)
    assert await is_erased(path)
    await journal.close()
    await companion.close()
    assert not is_readable(path)


async def test_a_busy_journal_erases_codes_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 16: codes are erased from the write-ahead log between writes, not only when idle."""
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
    """Rule 16: closing erases the codes of settled numbers, also with other connections open."""
    monkeypatch.setattr(sqlite_thread, "_CHECKPOINT_INTERVAL", 1000.0)
    companion = await opened(path)
    journal = SqliteJournal(path)
    await journal.open(MINE, running=False)
    await verified(journal, path)
    assert is_readable(path)
    await journal.close()
    assert not is_readable(path)
    await companion.close()


async def test_opening_erases_old_codes(path: Path) -> None:
    """Rule 16: the next opening erases codes that a killed run left in the write-ahead log."""
    journal = await opened(path)
    await called(journal, NUMBER)
    await journal.submit_code(NUMBER, CODE, 2.0)
    claimed = await take_code(journal, NUMBER, 2.0)
    assert claimed is not None
    beside = sqlite3.connect(path)
    beside.execute("BEGIN")
    beside.execute("SELECT count(*) FROM numbers").fetchone()  # blocks checkpoints
    await happen(journal, NUMBER, Event.VERIFIED)
    await journal.close()
    beside.rollback()
    assert is_readable(path)
    journal = await opened(path)
    assert await is_erased(path)
    await journal.close()
    beside.close()


async def test_a_reader_delays_a_checkpoint_only(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 16: while another process reads, the journal writes on; codes are erased after that."""
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
    assert entry.state is ChallengeState.VERIFIED
    waits = await journal._read(lambda db: db.execute("PRAGMA busy_timeout").fetchone())
    assert waits == (1000 * sqlite_file.BUSY_TIMEOUT,)
    reader.close()
    assert await is_erased(path)
    await journal.close()
