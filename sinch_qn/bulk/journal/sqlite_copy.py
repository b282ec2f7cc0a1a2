"""A copy of a run from elsewhere, in a new journal file: all that a run can go on from."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sinch_qn.bulk.journal.protocol import Identity
from sinch_qn.bulk.journal.sqlite_file import OWNER_ONLY, Mark, create, set_mark
from sinch_qn.bulk.journal.sqlite_schema import INSERT, check_content, to_row
from sinch_qn.bulk.journal.sqlite_thread import Connection, connect
from sinch_qn.bulk.states import Entry
from sinch_qn.errors import JournalError

Rows = Iterable[tuple[Any, ...]]


class JournalCopy:
    """A file that is being written. Not thread-safe; each method reads or writes the disk."""

    def __init__(self, database: Connection) -> None:
        self._database = database

    def add_entries(self, entries: Iterable[Entry]) -> None:
        """Add numbers, in the order they were added."""
        self._database.executemany(INSERT, map(to_row, entries))

    def add_rows(self, table: str, rows: Rows) -> None:
        """Add rows of another table, with all its columns; a later one replaces its likes."""
        for row in rows:
            marks = ", ".join("?" * len(row))
            query = f"INSERT OR REPLACE INTO {table} VALUES ({marks})"  # noqa: S608 - our tables
            self._database.execute(query, row)

    def reserve_tokens(self, largest: int) -> None:
        """Have the intents of a run on this file get larger tokens than *largest*."""
        self.add_rows("meta", [("token_blocks", str((largest >> 32) + 1))])

    def finish(self, *, complete: bool) -> None:
        """Commit it. If it is not *complete*, a run refuses it until a person accepts it."""
        self._database.execute("COMMIT")
        set_mark(self._database, Mark.CLOSED if complete else Mark.COPY)


@contextlib.contextmanager
def new_copy(target: Path, identity: Identity) -> Iterator[JournalCopy]:
    """Write the new file *target*; deleted if anything goes wrong. Raises `JournalError`."""
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, OWNER_ONLY))
    except OSError as error:
        raise JournalError(f"{target}: the copy cannot be written: {error}") from error
    try:
        create(target)
        with contextlib.closing(connect(target)) as database:
            check_content(database, identity, running=True)
            database.execute("BEGIN IMMEDIATE")
            yield JournalCopy(database)
    except (OSError, sqlite3.Error) as error:
        target.unlink()
        raise JournalError(f"{target}: the copy cannot be written: {error}") from error
    except BaseException:
        target.unlink()
        raise
