"""Journals for tests, opened without a run."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from sinch_qn.bulk import SqliteJournal
from sinch_qn.bulk.journal import Identity

MINE = Identity("project", "https://api.example")


async def opened(path: Path, *, running: bool = True) -> SqliteJournal:
    """Return an open journal: the runner's, or one beside it, as another process has it."""
    journal = SqliteJournal(path)
    await journal.open(MINE, running=running)
    return journal


def query(path: Path, statement: str, *parameters: object) -> list[Any]:
    """Return the rows of *statement*, over a connection of its own."""
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute(statement, parameters).fetchall()
        database.commit()
        return rows
