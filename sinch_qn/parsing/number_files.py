"""Phone numbers in CSV files as people have them: good lines and bad lines, none lost.

Files are read line by line, so they may be larger than memory. Only the number and line of each
good line are kept, to find duplicates: about 100 bytes each.
"""

from __future__ import annotations

import csv
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs

from sinch_qn.parsing.phone_numbers import (
    SPREADSHEET,
    InvalidPhoneNumber,
    ParsedNumber,
    parse_phone_number,
)

_DELIMITERS: Final = ("\t", ";", "|", ",")
"""Best first: a comma is often text, in a file that a tab or semicolon separates."""
_NO_DELIMITER: Final = "\x1f"
_SAMPLE_LINES: Final = 20
_MAX_RECORD_LINES: Final = 50
"""Lines that one quoted record may span; after that its quote is a stray one."""
_HEADING: Final = re.compile(
    r"(e164|msisdn|(tele|mobile|cell)?phone|mobile|cell|tel|number)(number|no|nr)?s?"
)
_MIN_DIGITS: Final = 7
"""A cell with this many digits is a phone number, never a heading."""


class ColumnError(ValueError):
    """The column of the numbers is ambiguous or missing; the message lists the columns."""


@attrs.frozen
class GoodLine:
    """A line with a valid number."""

    line: int
    """Counted from 1, as an editor does."""
    number: ParsedNumber
    ref: str | None = None
    """The cell in the `ref` column, such as a ticket or a chat id."""


@attrs.frozen
class BadLine:
    """A line without a valid number, or with a repeated one."""

    line: int
    text: str
    reason: str
    duplicate_of: int | None = None
    """For a repeated number, the line that has it first."""
    ref: str | None = None


def read_numbers(
    source: str | os.PathLike[str] | Iterable[str],
    *,
    column: str | None = None,
    ref: str = "ref",
    find_duplicates: bool = True,
) -> Iterator[GoodLine | BadLine]:
    """Read the phone numbers of a CSV file, or of CSV lines, in their order.

    >>> [line.number.e164 for line in read_numbers(["name,phone", "Ada,(202) 555-0134"])]
    ['+12025550134']

    *source* is the path of a file, or any iterable of lines. Files may be UTF-8 or UTF-16; in other
    encodings digits are read and the rest is replaced. The delimiter is a comma, semicolon, tab or
    bar. Blank lines are skipped, and line numbers count them.

    *column* is the heading of the column with the numbers, or its index from 1. By default it is
    the column with a heading such as `phone`, or in a file without headings the one with a number.
    *ref* is the heading of a column to pass through. Without *find_duplicates* a repeated number is
    a good line again, and memory stays flat.

    Invalid numbers are not errors but `BadLine`s with a reason. Raises `ColumnError` if the column
    is ambiguous or missing, and `OSError` if the file cannot be read, both on the first iteration.
    """
    if isinstance(source, str | os.PathLike):
        yield from _read_file(Path(source), column, ref, find_duplicates=find_duplicates)
    else:
        yield from _read_lines(source, column, ref, find_duplicates=find_duplicates)


def _read_file(
    path: Path, column: str | None, ref: str, *, find_duplicates: bool
) -> Iterator[GoodLine | BadLine]:
    with path.open("rb") as raw:
        is_utf_16 = raw.read(2) in (b"\xff\xfe", b"\xfe\xff")
    encoding = "utf-16" if is_utf_16 else "utf-8-sig"
    with path.open(encoding=encoding, errors="replace", newline="") as lines:
        yield from _read_lines(lines, column, ref, find_duplicates=find_duplicates)


def _read_lines(
    lines: Iterable[str], column: str | None, ref: str, *, find_duplicates: bool
) -> Iterator[GoodLine | BadLine]:
    rows = _rows(lines)
    first = next(rows, None)
    if first is None:
        return
    line, row = first
    has_headings = _has_headings(row, column)
    number_index = _find_column(row, column, has_headings=has_headings)
    ref_index = _index(row, ref) if has_headings else None
    first_lines: dict[int, int] = {}
    for line, row in rows if has_headings else itertools.chain([first], rows):
        text, its_ref = _cell(row, number_index), _cell(row, ref_index) or None
        try:
            number = parse_phone_number(text)
        except InvalidPhoneNumber as error:
            yield BadLine(line, text or _joined(row), str(error), ref=its_ref)
            continue
        before = first_lines.setdefault(int(number.e164[1:]), line) if find_duplicates else line
        if before == line:
            yield GoodLine(line, number, its_ref)
        else:
            yield BadLine(line, text, f"duplicate of line {before}", before, its_ref)


# ── Which column ────────────────────────────────────────────────────────────────────────────────


def _has_headings(row: Sequence[str], column: str | None) -> bool:
    """Distinguish headings from a first number, which may be invalid and must not be lost."""
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
        raise ColumnError(f"the column of the numbers is not clear: there are {_columns(row)}")
    index = _index(row, column) if has_headings else None
    # Python raises an error for an integer of thousands of digits.
    if index is None and column.isdecimal() and len(column) < 9 and 1 <= int(column) <= len(row):
        index = int(column) - 1
    if index is None:
        raise ColumnError(f"no column {column!r}: there are {_columns(row)}")
    return index


def _is_number(cell: str) -> bool:
    digits = sum(char.isdigit() for char in cell)
    return digits >= _MIN_DIGITS or bool(SPREADSHEET.fullmatch(cell.strip()))


def _is_heading(cell: str) -> bool:
    return bool(_HEADING.fullmatch(_plain(cell)))


def _index(row: Sequence[str], heading: str) -> int | None:
    plain = _plain(heading)
    return next((index for index, cell in enumerate(row) if _plain(cell) == plain), None)


def _plain(heading: str) -> str:
    """Return *heading* without case, spaces and signs: `Phone-Number` becomes `phonenumber`."""
    return "".join(char for char in heading.casefold() if char.isalnum())


def _columns(row: Sequence[str]) -> str:
    return ", ".join(f"{index}: {cell.strip()!r}" for index, cell in enumerate(row, 1))


def _cell(row: Sequence[str], index: int | None) -> str:
    return row[index].strip() if index is not None and index < len(row) else ""


def _joined(row: Sequence[str]) -> str:
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
    """Return the delimiter that more than half of the lines have, if any.

    In a plain list `+1 202-555-0134, ext 5` is one invalid number, not two columns.
    """
    filled = [line for line in sample if line.strip()]
    best = max(_DELIMITERS, key=lambda delimiter: sum(delimiter in line for line in filled))
    return best if sum(best in line for line in filled) * 2 > len(filled) else _NO_DELIMITER


def _records(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Group *lines* into records: a quote that is open at a line's end continues in the next."""
    held: list[str] = []
    is_open = False
    for number, line in enumerate(lines, 1):
        held.append(line)
        is_open ^= line.count('"') % 2 == 1
        if not is_open or len(held) == _MAX_RECORD_LINES:
            yield number - len(held) + 1, held
            held, is_open = [], False
    if held:
        yield number - len(held) + 1, held


def _split(start: int, record: list[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Split a record into rows: one, unless a stray quote joined several lines."""
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
