"""Phone numbers in CSV files as people have them: good lines and bad lines, none lost.

Files are read row by row, so they may be larger than memory. Only the number and line of each
good line are kept, to find duplicates: about 100 bytes each.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs

from sinch_qn.parsing.columns import Column, find_layout
from sinch_qn.parsing.phone_numbers import InvalidPhoneNumber, ParsedNumber, parse_phone_number
from sinch_qn.parsing.rows import read_rows
from sinch_qn.parsing.text_files import open_text
from sinch_qn.phone import REGIONS

_SAMPLE_ROWS: Final = 100
"""Rows that the column is found by."""


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
    regions: Collection[str] = REGIONS,
    on_column: Callable[[Column], None] | None = None,
) -> Iterator[GoodLine | BadLine]:
    """Read the phone numbers of a CSV file, or of CSV lines, in their order.

    Examples:
        >>> [line.number.e164 for line in read_numbers(["name,phone", "Ada,(202) 555-0134"])]
        ['+12025550134']

    *source* is the path of a file or a pipe, or any iterable of lines. Files may be UTF-8 or
    UTF-16; in other encodings digits are read and the rest is replaced. The delimiter is a comma,
    semicolon, tab or bar. Blank lines and titles above the headings are skipped, and line numbers
    count them.

    *column* is the heading of the column with the numbers, or its index from 1. By default it is
    the column with a heading such as `phone`, or the one whose cells are phone numbers;
    *on_column* is called with it before the first line. *ref* is the heading of a column to pass
    through. Without *find_duplicates* a repeated number is a good line again, and memory stays
    flat. *regions* is as for `parse_phone_number`.

    Invalid numbers are not errors but `BadLine`s with a reason. Raises, on the first iteration,
    `ColumnError` if the column is ambiguous or missing, `InvalidFile` if the file is not text, and
    `OSError` if it cannot be read.
    """
    options = _Options(column, ref, find_duplicates, regions, on_column)
    if isinstance(source, str | os.PathLike):
        with open_text(Path(source)) as lines:
            yield from _read_lines(lines, options)
    else:
        yield from _read_lines(source, options)


@attrs.frozen
class _Options:
    column: str | None
    ref: str
    find_duplicates: bool
    regions: Collection[str]
    on_column: Callable[[Column], None] | None

    def is_valid(self, cell: str) -> bool:
        try:
            parse_phone_number(cell, regions=self.regions)
        except InvalidPhoneNumber:
            return False
        return True


def _read_lines(lines: Iterable[str], options: _Options) -> Iterator[GoodLine | BadLine]:
    rows = read_rows(lines)
    sample = list(itertools.islice(rows, _SAMPLE_ROWS))
    if not sample:
        return
    layout = find_layout(sample, options.column, options.ref, options.is_valid)
    if options.on_column is not None:
        options.on_column(layout.column)
    first_lines: dict[int, int] = {}
    for line, row, problem in itertools.chain(sample[layout.first_row :], rows):
        text, ref = _cell(row, layout.column.index - 1), _cell(row, layout.ref_index) or None
        try:
            if problem is not None:
                raise InvalidPhoneNumber(problem)
            number = parse_phone_number(text, regions=options.regions)
        except InvalidPhoneNumber as error:
            yield BadLine(line, text or _joined(row), str(error), ref=ref)
            continue
        key = int(number.e164[1:])
        before = first_lines.setdefault(key, line) if options.find_duplicates else line
        if before == line:
            yield GoodLine(line, number, ref)
        else:
            yield BadLine(line, text, f"duplicate of line {before}", before, ref)


def _cell(row: Sequence[str], index: int | None) -> str:
    return row[index].strip() if index is not None and index < len(row) else ""


def _joined(row: Sequence[str]) -> str:
    return " ".join(filter(None, map(str.strip, row)))
