"""Which column of a table has the phone numbers: by its heading and by its data."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from sinch_qn.parsing.phone_numbers import SPREADSHEET
from sinch_qn.parsing.rows import Row, has_digits

_MAX_TITLES: Final = 20
"""Rows that may stand above the headings."""

_PHONE: Final = re.compile(
    r"(e164|msisdn|(tele|mobile|cell)?phone|mobile|cell|tel|number)(number|no|nr)?s?"
)
_ALSO_PHONE: Final = re.compile(
    r"(?!.*(fax|pager)).*(phone|mobile|cell|telef|téléph|msisdn|e164).*"
    r"|(work|home|office|business|main|direct|primary|contact|caller|calling|called|billing"
    r"|tollfree)?(did|d?tn|ani|btn|wtn|clid?|callerid|line|number|num|no|nr|tel|ph|contact)"
    r"(number|num|no|nr)?s?[0-9]*"
)
_NOT_PHONE: Final = re.compile(
    r".*(fax|pager|account|order|invoice|ticket|ssn|serial|emergency).*"
    r"|.*(note|comment|remark|memo|descri|message).*|.*id"
)
"""Headings of what may look like phone numbers of customers: not chosen by its data."""
_DATE: Final = re.compile(
    r"[0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}.*|[0-9]{1,2}[/.][0-9]{1,2}[/.].*"
)


class ColumnError(ValueError):
    """The column of the numbers is ambiguous or missing; the message lists the columns."""


@attrs.frozen
class Column:
    """The column that the numbers are read from."""

    index: int
    """Counted from 1."""
    heading: str | None
    of: int
    """How many columns there are."""

    def __str__(self) -> str:
        """Return how people find it, such as `column 2, 'Work Phone'`."""
        return f"column {self.index}" + (f", {self.heading!r}" if self.heading else "")


@attrs.frozen
class Layout:
    """Where a table has its data."""

    first_row: int
    """The index of the first row that is no title or heading."""
    column: Column
    ref_index: int | None


def find_layout(
    rows: Sequence[Row], column: str | None, ref: str, is_valid: Callable[[str], bool]
) -> Layout:
    """Find the headings and the column of the numbers in the first *rows* of a table.

    Raises `ColumnError` if several columns fit, or none.
    """
    heading_row = _heading_row(rows, column, is_valid)
    headings = None if heading_row is None else rows[heading_row].cells
    body = rows if heading_row is None else rows[heading_row + 1 :]
    data = [row.cells for row in body if row.problem is None]
    width = max(len(cells) for cells in [headings or [], *data, rows[0].cells])
    shown = headings or rows[0].cells
    if column is not None:
        index = _named(shown, column, has_headings=headings is not None)
    else:
        index = _choose(headings, data, width, is_valid, shown)
    heading = headings[index].strip() if headings and index < len(headings) else None
    if headings and not heading and heading_row == 0 and data and column is None:
        return Layout(0, Column(index + 1, None, width), None)  # a row without its number
    ref_index = None if headings is None else next(iter(_matches(headings, ref)), None)
    first_row = 0 if heading_row is None else heading_row + 1
    return Layout(first_row, Column(index + 1, heading, width), ref_index)


# ── Headings ────────────────────────────────────────────────────────────────────────────────────


def _heading_row(
    rows: Sequence[Row], column: str | None, is_valid: Callable[[str], bool]
) -> int | None:
    """Distinguish headings from titles above them, and from a first row whose number is invalid."""
    top: list[list[str]] = []
    for row in rows[: _MAX_TITLES + 1]:
        if any(_is_number(cell, is_valid) for cell in row.cells):
            break
        top.append(row.cells)
    width = max((len(cells) for cells in top), default=1)
    wide = [i for i, cells in enumerate(top) if width == 1 or _filled(cells) > 1]
    known = [i for i, cells in enumerate(top) if _has_heading(cells, column)]
    without_digits = [i for i in (wide or [0])[:1] if top and not any(map(_has_digit, top[i]))]
    found = [*(i for i in known if i in wide), *without_digits, *known]
    return found[0] if found else None


def _filled(cells: Sequence[str]) -> int:
    return sum(bool(cell.strip()) for cell in cells)


def _is_number(cell: str, is_valid: Callable[[str], bool]) -> bool:
    cell = cell.strip()
    if SPREADSHEET.fullmatch(cell):
        return True
    if not has_digits(cell):
        return False
    return not (any(map(str.isalpha, cell)) or _DATE.fullmatch(cell)) or is_valid(cell)


def _has_digit(cell: str) -> bool:
    return any(map(str.isdigit, cell))


def _has_heading(cells: Sequence[str], column: str | None) -> bool:
    if column is not None and _matches(cells, column):
        return True
    return any(_PHONE.fullmatch(_plain(cell)) or _is_also_phone(cell) for cell in cells)


def _is_also_phone(cell: str) -> bool:
    return len(cell) < 40 and bool(_ALSO_PHONE.fullmatch(_plain(cell)))


def _plain(heading: str) -> str:
    """Return *heading* without case, spaces and signs: `Phone-Number` becomes `phonenumber`."""
    return "".join(char for char in heading.casefold() if char.isalnum())


def _matches(headings: Sequence[str], wanted: str) -> list[int]:
    """Return the columns with the heading *wanted*: written so, else in any case, else spelling."""
    for form in (str.strip, lambda text: text.strip().casefold(), _plain):
        name = form(wanted)
        found = [index for index, heading in enumerate(headings) if name and form(heading) == name]
        if found:
            return found
    return []


# ── Columns ─────────────────────────────────────────────────────────────────────────────────────


def _named(cells: Sequence[str], column: str, *, has_headings: bool) -> int:
    found = _matches(cells, column) if has_headings else []
    if len(found) > 1:
        raise ColumnError(f"several columns are named {column!r}: there are {_columns(cells)}")
    # Python raises an error for an integer of thousands of digits.
    is_index = column.isdecimal() and len(column) < 9
    if not found and is_index and 1 <= int(column) <= len(cells):
        return int(column) - 1
    if not found:
        raise ColumnError(f"no column {column!r}: there are {_columns(cells)}")
    return found[0]


def _choose(
    headings: Sequence[str] | None,
    data: Sequence[Sequence[str]],
    width: int,
    is_valid: Callable[[str], bool],
    shown: Sequence[str],
) -> int:
    plain = [_plain(heading) for heading in headings or ()]
    columns = [[row[i].strip() for row in data if i < len(row)] for i in range(width)]
    numeric = [[cell for cell in cells if _looks_numeric(cell)] for cells in columns]
    valid = [sum(map(is_valid, cells)) for cells in numeric]
    by_data = [
        i
        for i in range(width)
        if valid[i]
        and valid[i] * 2 >= sum(map(bool, columns[i]))
        and not (i < len(plain) and _NOT_PHONE.fullmatch(plain[i]))
    ]
    phone = [i for i, heading in enumerate(plain) if _PHONE.fullmatch(heading)]
    also_phone = [i for i, _ in enumerate(plain) if headings and _is_also_phone(headings[i])]
    for named in (phone, also_phone):
        filled = [i for i in named if numeric[i]]
        if any(valid[i] for i in filled):
            return _only([i for i in filled if valid[i]], shown)
        if filled:
            return _only(sorted({*filled, *by_data}), shown)
    if headings is None:
        by_data = by_data or [i for i in range(width) if numeric[i]]
    if width == 1:
        return 0
    return _only(by_data or phone or also_phone, shown)


def _looks_numeric(cell: str) -> bool:
    return has_digits(cell) or bool(SPREADSHEET.fullmatch(cell))


def _only(found: Sequence[int], shown: Sequence[str]) -> int:
    if len(found) != 1:
        raise ColumnError(f"the column of the numbers is not clear: there are {_columns(shown)}")
    return found[0]


def _columns(cells: Sequence[str]) -> str:
    return ", ".join(f"{index}: {cell.strip()!r}" for index, cell in enumerate(cells, 1))
