"""CSV text to rows: the delimiter is found, quotes are matched, and a stray quote is contained."""

from __future__ import annotations

import itertools
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

_DELIMITERS: Final = ("\t", ";", "|", ",")
"""Best first: a comma is often text, in a file that a tab or semicolon separates."""
_NO_DELIMITER: Final = "\x1f"
_SAMPLE_LINES: Final = 200
_SAMPLE_SIZE: Final = 1 << 17
"""Characters."""
_MAX_RECORD: Final = 1 << 24
"""Characters that one quoted cell may have; after that its quote is a stray one."""
_SEPARATOR_LINE: Final = re.compile(r'\ufeff?"?sep=(.)"?[\r\n]*', re.IGNORECASE)
"""Excel's own first line, which names the delimiter."""
_OPENING: Final = re.compile(r' *"')
_QUOTED: Final = re.compile(r'[^"]*(?:""[^"]*)*')
_LINE_END: Final = re.compile(r"\r\n|\n|\r")
_MIN_DIGITS: Final = 7


class Row(NamedTuple):
    """A row that is not blank."""

    line: int
    """The line it begins on, counted from 1."""
    cells: list[str]
    problem: str | None = None
    """Why its cells cannot be trusted."""


def read_rows(lines: Iterable[str]) -> Iterator[Row]:
    """Yield the rows of CSV text; a quoted cell may have any number of lines.

    A quote that is not closed, or is followed by other text, is a stray one: only its own line is
    read without it. Rows that a stray quote may have changed have a `problem`.
    """
    lines = iter(lines)
    first = next(lines, "")
    named = _SEPARATOR_LINE.fullmatch(first)
    skipped = 1 if named else 0
    if not named:
        lines = itertools.chain([first.removeprefix("\ufeff")], lines)
    sample = _sample(lines)
    delimiter, width = _sniff(sample, [named[1]] if named else _DELIMITERS)
    source = _Source(itertools.chain(sample, lines), skipped)
    for row in _records(source, delimiter, width):
        if any(map(str.strip, row.cells)):
            yield row


def has_digits(cell: str) -> bool:
    """Return whether *cell* has as many digits as a phone number, or more."""
    return sum(char.isdigit() for char in cell) >= _MIN_DIGITS


# ── Delimiter ───────────────────────────────────────────────────────────────────────────────────


def _sample(lines: Iterator[str]) -> list[str]:
    sample: list[str] = []
    size = 0
    for line in itertools.islice(lines, _SAMPLE_LINES):
        sample.append(line)
        size += len(line)
        if size > _SAMPLE_SIZE:
            break
    return sample


def _sniff(sample: Sequence[str], delimiters: Sequence[str]) -> tuple[str, int]:
    """Return the delimiter that more than half of the rows have, if any, and their width.

    In a plain list `+1 202-555-0134, ext 5` is one invalid number, not two columns.
    """
    best: tuple[float, float] = (0.0, 0.0)
    found, width = _NO_DELIMITER, 1
    for delimiter in delimiters:
        records = _records(_Source(iter(sample)), delimiter, 0, is_sample=True)
        rows = [row.cells for row in records if any(map(str.strip, row.cells))]
        share = sum(len(row) > 1 for row in rows) / max(len(rows), 1)
        if share <= 0.5:
            continue
        with_number = sum(any(_is_plain_number(cell) for cell in row) for row in rows)
        fit = with_number / len(rows), share
        if fit > best:
            best, found = fit, delimiter
            width = Counter(map(len, rows)).most_common(1)[0][0]
    return found, width


def _is_plain_number(cell: str) -> bool:
    return has_digits(cell) and not any(char.isalpha() or char in _DELIMITERS for char in cell)


# ── Records ─────────────────────────────────────────────────────────────────────────────────────


class _Source:
    """Lines that are counted, and can be put back."""

    def __init__(self, lines: Iterator[str], count: int = 0) -> None:
        self._lines = lines
        self._again: deque[str] = deque()
        self.count = count

    def next(self) -> str | None:
        line = self._again.popleft() if self._again else next(self._lines, None)
        if line is not None:
            self.count += 1
        return line

    def put_back(self, lines: Sequence[str]) -> None:
        self._again.extendleft(reversed(lines))
        self.count -= len(lines)

    def is_at_end(self) -> bool:
        """Return whether all lines were read, before some were put back."""
        return next(self._lines, None) is None


def _records(
    source: _Source, delimiter: str, width: int, *, is_sample: bool = False
) -> Iterator[Row]:
    """Yield the rows of *source*; *width* is the usual number of cells.

    A sample may end within a quoted cell: the rows before it are enough.
    """
    closing = re.compile(rf" *(?:({re.escape(delimiter)})|[\r\n]*\Z)")
    stray = 0
    """The line of a stray quote, if the lines after it may belong to its cell."""
    has_rows = False
    while (line := source.next()) is not None:
        start = source.count
        cells: list[str] | None
        problem = None
        if '"' not in line:
            cells = line.rstrip("\r\n").split(delimiter)
        else:
            cells = _read_quoted(line, source, delimiter, closing, width)
        if cells is None:
            if is_sample and has_rows and source.is_at_end():
                return
            cells = line.replace('"', "").rstrip("\r\n").split(delimiter)
            if len(cells) != width:
                problem = "a quote in this line is not closed, or not doubled"
        elif stray and len(cells) != width:
            problem = f"the quote in line {stray} is not closed, or not doubled"
        elif stray:
            stray = 0
        if source.count == start and line.count('"') % 2:
            stray = 0 if stray else start
        has_rows = True
        yield Row(start, cells, problem)
        if source.count > start and width > 1:
            yield from _swallowed(start, cells, delimiter, width)


def _read_quoted(
    line: str, source: _Source, delimiter: str, closing: re.Pattern[str], width: int
) -> list[str] | None:
    """Return the cells of a record; None, with its other lines put back, if a quote is stray.

    So it is if a record of several lines has more cells than the others.
    """
    cells: list[str] = []
    more: list[str] = []
    size = at = 0
    while True:
        opening = _OPENING.match(line, at)
        if opening is None:
            cell, found, _ = line[at:].partition(delimiter)
            cells.append(cell if found else cell.rstrip("\r\n"))
            at += len(cell) + 1
            if found:
                continue
            break
        at = opening.end()
        parts: list[str] = []
        while True:
            quoted = _QUOTED.match(line, at)
            assert quoted is not None  # noqa: S101 - it matches nothing, too
            parts.append(quoted[0])
            at = quoted.end()
            if at < len(line):
                break
            size += len(line)
            continued = source.next() if size < _MAX_RECORD else None
            if continued is None:
                source.put_back(more)
                return None
            more.append(continued)
            line, at = continued, 0
        end = closing.match(line, at + 1)
        if end is None:
            source.put_back(more)
            return None
        cells.append("".join(parts).replace('""', '"'))
        if end[1] is None:
            break
        at = end.end()
    if more and 0 < width < len(cells):
        source.put_back(more)
        return None
    return cells


def _swallowed(start: int, cells: list[str], delimiter: str, width: int) -> Iterator[Row]:
    """Yield the lines of quoted cells that look like rows: stray quotes may have joined them."""
    line = start
    problem = f"within the quotes that begin in line {start}: is one of them stray?"
    for index, cell in enumerate(cells):
        parts = _LINE_END.split(cell)
        last = len(parts) - 1
        for nth, part in enumerate(parts if last else ()):
            inner = part.split(delimiter)
            before = [""] * index if nth == 0 else []
            after = cells[index + 1 :] if nth == last else []
            row = before + inner + after
            if len(inner) > 1 and len(row) == width and any(map(has_digits, inner)):
                yield Row(line + nth, row, problem)
        line += last
