"""The journal of a run, as a command names it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sinch_qn.bulk import SqliteJournal


@asynccontextmanager
async def open_journal(path: Path) -> AsyncIterator[SqliteJournal]:
    """Open a journal that another process may be running."""
    journal = SqliteJournal(path)
    await journal.open(None, running=False)
    try:
        yield journal
    finally:
        await journal.close()
