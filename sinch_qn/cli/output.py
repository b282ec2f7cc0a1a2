"""Results on standard output: tables on a terminal, tab-separated lines in a pipe, or JSON."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

import click
import orjson
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sinch_qn._codec import encode, write_datetime
from sinch_qn._redaction import printable
from sinch_qn.models import HostingOrder, QualifiedNumber

_TABLE_ROWS: Final = 200
"""Rows of one table: a long listing is printed in parts, as it arrives."""

_STYLES: Final = {
    "HOSTING_DONE": "green",
    "VERIFIED": "green",
    "HOSTING_IN_PROGRESS": "yellow",
    "VERIFICATION_PENDING": "yellow",
    "ELIGIBLE_CHECK_PENDING": "yellow",
    "NOT_ELIGIBLE": "red",
    "VERIFICATION_FAILED": "red",
    "VERIFICATION_BLOCKED": "red",
    "HOSTING_FAILED": "red",
}


class Lines:
    """Prints results one by one, as a table, tab-separated lines or JSON.

    with Lines("NUMBER", "RESULT", as_json=False) as lines:
        lines.add({"phoneNumber": "+12025550134"}, "+12025550134", "deleted")
    """

    def __init__(self, *headings: str, as_json: bool) -> None:
        self._headings = headings
        self._as_json = as_json
        self._as_table = sys.stdout.isatty() and not as_json
        self._rows: list[Sequence[str]] = []

    def add(self, record: Mapping[str, Any], *cells: object) -> None:
        """Print one result: *record* as JSON, or *cells*."""
        if self._as_json:
            click.echo(orjson.dumps(record))
        elif self._as_table:
            self._rows.append([printable(cell) for cell in cells])
            if len(self._rows) == _TABLE_ROWS:
                self._print_table()
        else:
            click.echo("\t".join(printable(cell) for cell in cells))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._rows:
            self._print_table()

    def _print_table(self) -> None:
        used = [any(column) for column in zip(*self._rows, strict=True)]
        table = Table(box=box.SIMPLE_HEAD)
        for heading, is_used in zip(self._headings, used, strict=True):
            if is_used:
                table.add_column(heading, overflow="fold", no_wrap=heading == "NUMBER")
        for row in self._rows:
            cells = [cell for cell, is_used in zip(row, used, strict=True) if is_used]
            table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in cells))
        Console().print(table)
        self._rows.clear()


class NumberLines(Lines):
    """Prints qualified numbers; a table leaves out empty columns."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__(
            *(
                "NUMBER",
                "REGION",
                "STATE",
                "ELIGIBILITY",
                "OWNERSHIP",
                "HOSTING",
                "UPDATED",
                "ERROR",
            ),
            as_json=as_json,
        )

    def add_number(self, number: QualifiedNumber) -> None:
        """Print *number*."""
        parts = (number.osr_eligibility, number.ownership_verification, number.hosted_number)
        updated = number.updated_time
        self.add(
            encode(number),
            number.phone_number or "",
            number.region_code or "",
            state_name(number),
            *(_status(part) for part in parts),
            write_datetime(updated) if updated else "",
            "; ".join(part.error for part in parts if part is not None and part.error),
        )


def state_name(number: QualifiedNumber) -> str:
    """Return the number's state without its prefix, such as `VERIFIED`."""
    return (number.global_process_state or "").removeprefix("GLOBAL_PROCESS_STATE_")


def _status(part: Any) -> str:
    status = getattr(part, "status", None)
    return "" if status is None else str(getattr(status, "name", status))


def show_number(number: QualifiedNumber, *, as_json: bool) -> None:
    """Print one number."""
    with NumberLines(as_json=as_json) as lines:
        lines.add_number(number)


def show_order(order: HostingOrder, *, as_json: bool) -> None:
    """Print a hosting order; cells have no personal data of its LOA."""
    with Lines("ORDER", "STATE", as_json=as_json) as lines:
        lines.add(encode(order), order.hosting_order_id or "", order.state or "")
