"""What a run would ring: its file's numbers beside its journal's. On disk, so of any length."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

import attrs

from sinch_qn.bulk.run import NewNumber
from sinch_qn.bulk.states import ChallengeState, Entry
from sinch_qn.parsing import BadLine, GoodLine

_SHOWN: Final = 20
"""Bad lines that are told one by one, and duplicates; the report has all."""
_AT_ONCE: Final = 1000
_LONGEST_TEXT: Final = 100
"""What a journal keeps of what is no number."""

_NEW, _OPEN, _SETTLED = 0, 1, 2


@attrs.define(eq=False)
class Plan:
    """The numbers of a file, and what the journal says about them.

    SQLite keeps them in a nameless file of its own: a million cost no memory, and are gone once
    this is closed.
    """

    new: int = 0
    """Numbers that are not in the journal."""
    known: int = 0
    """Numbers of the file that are."""
    settled: int = 0
    """Of those known, the ones that nothing is left to do for."""
    bad: int = 0
    duplicates: int = 0
    journal: Counter[ChallengeState] = attrs.field(factory=Counter)
    """What is in the journal already, in the file or not."""
    _notes: list[tuple[str, str]] = attrs.field(init=False, factory=list)
    _database: sqlite3.Connection = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        # Read in threads, too: one at a time.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute(
            "CREATE TABLE lines (line INTEGER, number TEXT UNIQUE, ref TEXT, problem TEXT,"
            f" known INTEGER DEFAULT {_NEW})"
        )

    def close(self) -> None:
        """Let the file go."""
        self._database.close()

    def read(self, lines: Iterable[GoodLine | BadLine]) -> None:
        """Take in *lines*."""
        insert = "INSERT OR IGNORE INTO lines (line, number, ref, problem) VALUES (?, ?, ?, ?)"
        row: tuple[int, str, str | None, str | None]
        for line in lines:
            if isinstance(line, GoodLine):
                row = (line.line, line.number.e164, line.ref, None)
            else:
                row = (line.line, line.text[:_LONGEST_TEXT], line.ref, line.reason)
            is_new = self._database.execute(insert, row).rowcount == 1
            if isinstance(line, BadLine):
                self.bad += 1
                self._note(self.bad, row[1], f"{line.line}: {line.text}: {line.reason}")
            elif is_new:
                self.new += 1
            else:
                self.duplicates += 1
                query = "SELECT line FROM lines WHERE number = ?"
                (first,) = self._database.execute(query, (line.number.e164,)).fetchone()
                about = f"{line.line}: {line.number.e164}: duplicate of line {first}"
                self._note(self.duplicates, row[1], about)

    def _note(self, nth: int, number: str, text: str) -> None:
        if nth <= _SHOWN:
            self._notes.append((number, text))

    def notes(self) -> Iterator[str]:
        """Yield what is wrong with the first bad lines, and the first duplicates.

        What is in the journal was told when it came there.
        """
        query = f"SELECT 1 FROM lines WHERE number = ? AND known = {_NEW}"  # noqa: S608 - an int
        for number, text in self._notes:
            if self._database.execute(query, (number,)).fetchone():
                yield text

    def compare(self, entries: Iterable[Entry]) -> None:
        """Mark what the journal has already."""
        entries = iter(entries)
        update = "UPDATE lines SET known = ? WHERE number = ?"
        while page := list(islice(entries, _AT_ONCE)):
            self.journal.update(entry.state for entry in page)
            marks = [(_SETTLED if e.state.settled else _OPEN, e.number) for e in page]
            self._database.executemany(update, marks)
        query = "SELECT known, count(*) FROM lines WHERE problem IS NULL GROUP BY known"
        found = dict(self._database.execute(query))
        self.new = found.get(_NEW, 0)
        self.settled = found.get(_SETTLED, 0)
        self.known = found.get(_OPEN, 0) + self.settled

    def additions(self, limit: int | None) -> Iterator[NewNumber]:
        """Yield what is to be added: for a trial the first *limit* that are not settled yet."""
        query = "SELECT line, number, ref, problem FROM lines"
        if limit is not None:
            query += f" WHERE problem IS NULL AND known < {_SETTLED} ORDER BY rowid LIMIT {limit}"
        for line, number, ref, problem in self._database.execute(query):
            yield NewNumber(number=number, ref=ref, line=line, problem=problem)

    def to_add(self, limit: int | None) -> int:
        """Return how many numbers `additions` would bring that are not in the journal."""
        if limit is None:
            return self.new
        query = (
            f"SELECT count(*) FROM (SELECT known FROM lines WHERE problem IS NULL"  # noqa: S608
            f" AND known < {_SETTLED} ORDER BY rowid LIMIT {limit}) WHERE known = {_NEW}"
        )
        (count,) = self._database.execute(query).fetchone()
        return int(count)

    def to_ring(self, limit: int | None) -> int:
        """Return how many phones may be rung: the new ones, and those that still wait."""
        return self.to_add(limit) + self.journal[ChallengeState.PENDING]

    @property
    def open(self) -> int:
        """How many numbers of the journal are not settled."""
        return sum(count for state, count in self.journal.items() if not state.settled)
