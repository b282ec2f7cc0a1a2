"""Phone numbers out of CSV files as people have them: good lines and bad lines, none lost.

Read line by line, so a file may be larger than memory. What stays is the number and line of each
good line, to tell duplicates: about 100 bytes each, and nothing where duplicates do not matter.
"""

from __future__ import annotations

import csv
import itertools
import re
from typing import TYPE_CHECKING, Final

import attrs

from sinch_qn.cli import as_written

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_DELIMITERS: Final = ("\t", ";", "|", ",")
"""Best first: a comma is often text, in a file that a tab or semicolon separates."""
_NO_DELIMITER: Final = "\x1f"
_SAMPLE_LINES: Final = 20
_LONGEST_RECORD: Final = 50
"""Lines that one quoted record may span; after that its quote is a stray one."""
_HEADING: Final = re.compile(
    r"(e164|msisdn|(tele|mobile|cell)?phone|mobile|cell|tel|number)(number|no|nr)?s?"
)
_LEAST_DIGITS: Final = 7
"""A cell with so many digits is meant as a number, and never a heading."""


class ColumnError(ValueError):
    """Which column holds the numbers cannot be told; the message names the columns there are."""


@attrs.frozen
class GoodLine:
    """A line with a number that can be used."""

    line: int
    number: as_written.Number
    ref: str | None = None
    """What the `ref` column says: a ticket, a chat id."""


@attrs.frozen
class BadLine:
    """A line without one, and why."""

    line: int
    text: str
    reason: str
    duplicate_of: int | None = None
    """For a repeated number, the line that had it first."""
    ref: str | None = None


def read_file(
    path: Path, *, column: str | None = None, ref: str = "ref", find_duplicates: bool = True
) -> Iterator[GoodLine | BadLine]:
    """Read the numbers of the file at *path*; see `read_lines`.

    UTF-8 and UTF-16 are understood; in any other encoding the digits are, and the rest is
    replaced.
    """
    with path.open("rb") as raw:
        is_utf_16 = raw.read(2) in (b"\xff\xfe", b"\xfe\xff")
    encoding = "utf-16" if is_utf_16 else "utf-8-sig"
    with path.open(encoding=encoding, errors="replace", newline="") as lines:
        yield from read_lines(lines, column=column, ref=ref, find_duplicates=find_duplicates)


def read_lines(
    lines: Iterable[str],
    *,
    column: str | None = None,
    ref: str = "ref",
    find_duplicates: bool = True,
) -> Iterator[GoodLine | BadLine]:
    """Read the numbers of CSV *lines*, in their order; blank lines are skipped.

    *column* is the heading of the column that holds the numbers, or its index counted from 1; by
    default it is the one with a heading such as `phone`, or in a file without headings the one
    with a number in it. *ref* is the heading of a column to hand through. Without
    *find_duplicates* a repeated number is a good line again, and memory stays flat. Raises
    `ColumnError` when the column is not clear.
    """
    rows = _rows(lines)
    first = next(rows, None)
    if first is None:
        return
    line, row = first
    has_headings = _has_headings(row, column)
    where = _find_column(row, column, has_headings=has_headings)
    ref_at = _index(row, ref) if has_headings else None
    seen: dict[int, int] = {}
    for line, row in rows if has_headings else itertools.chain([first], rows):
        text, its_ref = _cell(row, where), _cell(row, ref_at) or None
        try:
            number = as_written.read(text)
        except as_written.RefusedNumber as error:
            yield BadLine(line, text or _shown(row), str(error), ref=its_ref)
            continue
        before = seen.setdefault(int(number.e164[1:]), line) if find_duplicates else line
        if before == line:
            yield GoodLine(line, number, its_ref)
        else:
            yield BadLine(line, text, f"duplicate of line {before}", before, its_ref)


# ── Which column ────────────────────────────────────────────────────────────────────────────────


def _has_headings(row: Sequence[str], column: str | None) -> bool:
    """Tell headings from a first number, which may be a bad one and must not be lost."""
    if any(map(_is_number, row)):
        return False
    if any(map(_is_heading, row)) or (column is not None and _index(row, column) is not None):
        return True
    return not any(char.isdigit() for cell in row for char in cell)


def _find_column(row: Sequence[str], column: str | None, *, has_headings: bool) -> int:
    if column is None:
        fits = _is_heading if has_headings else _is_number
        fitting = [index for index, cell in enumerate(row) if fits(cell)]
        if len(row) == 1 or len(fitting) == 1:
            return fitting[0] if fitting else 0
        raise ColumnError(f"which column holds the numbers? There are {_columns(row)}")
    index = _index(row, column) if has_headings else None
    # Python refuses to make an integer of thousands of digits.
    if index is None and column.isdecimal() and len(column) < 9 and 1 <= int(column) <= len(row):
        index = int(column) - 1
    if index is None:
        raise ColumnError(f"no column {column!r}: there are {_columns(row)}")
    return index


def _is_number(cell: str) -> bool:
    digits = sum(char.isdigit() for char in cell)
    return digits >= _LEAST_DIGITS or bool(as_written.SPREADSHEET.fullmatch(cell.strip()))


def _is_heading(cell: str) -> bool:
    return bool(_HEADING.fullmatch(_plain(cell)))


def _index(row: Sequence[str], heading: str) -> int | None:
    plain = _plain(heading)
    return next((index for index, cell in enumerate(row) if _plain(cell) == plain), None)


def _plain(heading: str) -> str:
    """Return *heading* without case, spaces and signs: `Phone-Number` is `phonenumber`."""
    return "".join(char for char in heading.casefold() if char.isalnum())


def _columns(row: Sequence[str]) -> str:
    return ", ".join(f"{index}: {cell.strip()!r}" for index, cell in enumerate(row, 1))


def _cell(row: Sequence[str], index: int | None) -> str:
    return row[index].strip() if index is not None and index < len(row) else ""


def _shown(row: Sequence[str]) -> str:
    return " ".join(filter(None, map(str.strip, row)))


# ── Rows ────────────────────────────────────────────────────────────────────────────────────────


def _rows(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not blank, with the number of the line it begins on."""
    lines = iter(lines)
    sample = list(itertools.islice(lines, _SAMPLE_LINES))
    delimiter = _sniff(sample)
    for start, record in _records(itertools.chain(sample, lines)):
        for line, row in _split(start, record, delimiter):
            if any(map(str.strip, row)):
                yield line, row


def _sniff(sample: Sequence[str]) -> str:
    """Return the delimiter that most lines have.

    Most, not some: `+1 202-555-0134, ext 5` in a plain list is one bad number, not two columns.
    """
    filled = [line for line in sample if line.strip()]
    best = max(_DELIMITERS, key=lambda delimiter: sum(delimiter in line for line in filled))
    return best if sum(best in line for line in filled) * 2 > len(filled) else _NO_DELIMITER


def _records(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Group *lines* into records: a quote that is open at a line's end goes on in the next."""
    held: list[str] = []
    is_open = False
    for number, line in enumerate(lines, 1):
        held.append(line)
        is_open ^= line.count('"') % 2 == 1
        if not is_open or len(held) == _LONGEST_RECORD:
            yield number - len(held) + 1, held
            held, is_open = [], False
    if held:
        yield number - len(held) + 1, held


def _split(start: int, record: list[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Split a record into rows: one, unless a stray quote has joined what were several."""
    if '"' not in record[0]:
        yield start, record[0].rstrip("\r\n").split(delimiter)
        return
    try:
        rows = list(csv.reader(record, delimiter=delimiter, strict=True))
    except csv.Error:
        rows = []
    if len(rows) == 1:
        yield start, rows[0]
        return
    for line, text in enumerate(record, start):
        yield line, text.replace('"', "").rstrip("\r\n").split(delimiter)
