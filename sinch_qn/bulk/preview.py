"""A file of numbers beside a run's journal: what the run would call. Needs `sinch-qn[parsing]`."""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

import attrs

from sinch_qn.bulk.admission import NewNumber
from sinch_qn.bulk.calling_hours import CallingHours
from sinch_qn.bulk.journal.protocol import is_line
from sinch_qn.bulk.states import ChallengeState, Entry
from sinch_qn.parsing import BadLine, Column, GoodLine

_MAX_WARNINGS: Final = 20
"""Warnings about bad lines, and as many about duplicates; the report has all."""
_PAGE: Final = 1000
_MAX_TEXT: Final = 100
"""Characters of an invalid number that the journal keeps."""

_NO_ZONE: Final = (
    "its time zone is not known, which calling hours need: give it with --default-zone, such as"
    " --default-zone America/New_York"
)

_NEW, _OPEN, _SETTLED = 0, 1, 2
"""Values of the column `known`."""


@attrs.define(eq=False)
class RunPreview:
    """The numbers of a file, and whether they are in the journal.

    Numbers are kept in a temporary SQLite file, so that a million take no memory; `close` deletes
    it.
    """

    new: int = 0
    """Numbers of the file that are not in the journal."""
    known: int = 0
    """Numbers of the file that are in the journal."""
    settled: int = 0
    """Known numbers that are settled."""
    bad: int = 0
    """Lines without a valid number."""
    duplicates: int = 0
    """Lines that repeat a number."""
    counts: Counter[ChallengeState] = attrs.field(factory=Counter)
    """Numbers of the journal by state, whether in the file or not."""
    column: Column | None = None
    """The column that the numbers were read from."""
    _warnings: list[tuple[str | None, str]] = attrs.field(init=False, factory=list)
    _database: sqlite3.Connection = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        # The threads that read it take turns.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute(
            "CREATE TABLE lines (line INTEGER, number TEXT, ref TEXT, region TEXT, problem TEXT,"
            f" known INTEGER DEFAULT {_NEW})"
        )
        self._database.execute("CREATE TABLE gone (line INTEGER)")
        # Bad lines are kept by their line: their text may be that of another line.
        self._database.execute("CREATE UNIQUE INDEX good ON lines (number) WHERE problem IS NULL")

    def close(self) -> None:
        """Delete the temporary file."""
        self._database.close()

    def add_lines(self, lines: Iterable[GoodLine | BadLine]) -> None:
        """Add the lines of a file, read without `find_duplicates`: they are found here.

        Raises `OSError` if they do not fit into the folder for temporary files.
        """
        try:
            self._add_lines(lines)
        except sqlite3.OperationalError as error:
            raise OSError(
                f"the folder for temporary files: {error}. Free space there, or choose another"
                " folder: export SQLITE_TMPDIR=/path"
            ) from error

    def _add_lines(self, lines: Iterable[GoodLine | BadLine]) -> None:
        insert = "INSERT OR IGNORE INTO lines VALUES (?, ?, ?, ?, ?, ?)"
        row: tuple[int, str, str | None, str | None, str | None, int]
        for line in lines:
            if isinstance(line, GoodLine):
                row = (line.line, line.number.e164, line.ref, line.number.region, None, _NEW)
            else:
                row = (line.line, line.text[:_MAX_TEXT], line.ref, None, line.reason, _NEW)
            is_new = self._database.execute(insert, row).rowcount == 1
            if isinstance(line, BadLine):
                self.bad += 1
                self._warn(self.bad, None, f"{line.line}: {line.text}: {line.reason}")
            elif is_new:
                self.new += 1
            else:
                self.duplicates += 1
                query = "SELECT line FROM lines WHERE number = ? AND problem IS NULL"
                (first,) = self._database.execute(query, (line.number.e164,)).fetchone()
                text = f"{line.line}: {line.number.e164}: duplicate of line {first}"
                self._warn(self.duplicates, row[1], text)

    def _warn(self, nth: int, number: str | None, text: str) -> None:
        if nth <= _MAX_WARNINGS:
            self._warnings.append((number, text))

    def warnings(self) -> Iterator[str]:
        """Yield warnings about the first bad lines and duplicates, each with its line number.

        Duplicates of numbers of the journal are left out: the run that added them warned of them.
        """
        query = f"SELECT 1 FROM lines WHERE number = ? AND problem IS NULL AND known = {_NEW}"  # noqa: S608
        for number, text in self._warnings:
            if number is None or self._database.execute(query, (number,)).fetchone():
                yield text

    @property
    def more_warnings(self) -> int:
        """How many bad lines and duplicates `warnings` leaves out, because they are many."""
        return max(0, self.bad - _MAX_WARNINGS) + max(0, self.duplicates - _MAX_WARNINGS)

    def one_of_each_area_code(self) -> Iterator[str]:
        """Yield a valid number of each area code in the file."""
        query = "SELECT min(number) FROM lines WHERE problem IS NULL GROUP BY substr(number, 1, 5)"
        for (number,) in self._database.execute(query):
            yield number

    def mark_known(self, entries: Iterable[Entry]) -> None:
        """Mark the numbers that have an entry in the journal."""
        entries = iter(entries)
        update = "UPDATE lines SET known = ? WHERE number = ? AND problem IS NULL"
        while page := list(islice(entries, _PAGE)):
            self.counts.update(entry.state for entry in page)
            lines = [(entry.line,) for entry in page if is_line(entry)]
            self._database.executemany("INSERT INTO gone VALUES (?)", lines)
            # One that was INVALID is added anew if it is valid now.
            kept = [entry for entry in page if entry.state is not ChallengeState.INVALID]
            marks = [(_SETTLED if e.state.settled else _OPEN, e.number) for e in kept]
            self._database.executemany(update, marks)
        self._database.execute("DELETE FROM gone WHERE line IN (SELECT line FROM lines)")
        query = "SELECT known, count(*) FROM lines WHERE problem IS NULL GROUP BY known"
        found = dict(self._database.execute(query))
        self.new = found.get(_NEW, 0)
        self.settled = found.get(_SETTLED, 0)
        self.known = found.get(_OPEN, 0) + self.settled

    def lines_gone(self) -> Iterator[int]:
        """Yield the lines that are INVALID in the journal, and have no number in the file now."""
        for (line,) in self._database.execute("SELECT line FROM gone"):
            yield line

    def new_numbers(self, limit: int | None) -> Iterator[NewNumber]:
        """Yield the lines to add to the run: all, or the first *limit* valid, unsettled numbers."""
        query = "SELECT line, number, ref, region, problem FROM lines"
        if limit is not None:
            query += f" WHERE problem IS NULL AND known < {_SETTLED} ORDER BY rowid LIMIT {limit}"
        for line, number, ref, region, problem in self._database.execute(query):
            yield NewNumber(number=number, ref=ref, line=line, region=region, problem=problem)

    def to_add(self, limit: int | None) -> int:
        """Return how many of `new_numbers` are valid and not in the journal."""
        if limit is None:
            return self.new
        query = (
            f"SELECT count(*) FROM (SELECT known FROM lines WHERE problem IS NULL"  # noqa: S608
            f" AND known < {_SETTLED} ORDER BY rowid LIMIT {limit}) WHERE known = {_NEW}"
        )
        (count,) = self._database.execute(query).fetchone()
        return int(count)

    def to_call(self, limit: int | None) -> int:
        """Return how many phones may be called: new numbers and pending ones."""
        return self.to_add(limit) + self.counts[ChallengeState.PENDING]

    def calling_ends(
        self,
        to_call: int,
        *,
        calls_per_second: float,
        max_ringing: int,
        ring_window: float,
        hours: CallingHours | None,
        now: float,
    ) -> tuple[float, float]:
        """Return until when *to_call* phones are called: if codes come at once, and if none does.

        Times are in seconds since the epoch.
        """
        fastest = to_call / calls_per_second
        rounds = math.ceil(to_call / max_ringing)
        slowest = max(fastest, (rounds - 1) * ring_window)
        numbers = list(self.one_of_each_area_code()) if hours else []
        if hours is None or not numbers:
            return now + fastest, now + slowest
        first, last = (
            max(hours.end_of_work(number, now, seconds) for number in numbers)
            for seconds in (fastest, slowest)
        )
        return first, last

    @property
    def open(self) -> int:
        """How many numbers of the journal are not settled."""
        return sum(count for state, count in self.counts.items() if not state.settled)


def with_zones(
    lines: Iterable[GoodLine | BadLine], hours: CallingHours | None
) -> Iterator[GoodLine | BadLine]:
    """Yield *lines*; one whose number has no time zone is bad if there are calling *hours*."""
    for line in lines:
        if hours is None or isinstance(line, BadLine) or hours.zones(line.number.e164):
            yield line
        else:
            yield BadLine(line.line, line.number.e164, _NO_ZONE, ref=line.ref)
