"""What people and programs read: tables on a terminal, tab-separated lines in a pipe, or JSON.

Standard output carries results only; all that is said about them goes to standard error.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, Self

import click
import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from sinch_qn.models import HostingOrder, QualifiedNumber

_ROWS_AT_ONCE: Final = 200
"""Rows of one table; a long listing is printed as it comes."""

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
_SAID: Final = {"error": "red", "outcome unknown": "red", "warning": "yellow"}


def say(text: str, kind: str = "") -> None:
    """Tell the person something, on standard error."""
    head = click.style(f"{kind}: ", fg=_SAID.get(kind), bold=True) if kind else ""
    click.echo(head + clean(text), err=True)


def clean(text: object) -> str:
    """Return *text* fit for one cell of one line: what Sinch sends cannot steer a terminal."""
    return "".join(char if char.isprintable() else " " for char in str(text))


class Lines:
    """Results, one after the other, in the form that their reader wants.

    with Lines("NUMBER", "RESULT", as_json=False) as lines:
        lines.add({"phoneNumber": "+12025550134"}, "+12025550134", "deleted")
    """

    def __init__(self, *headings: str, as_json: bool) -> None:
        self._headings = headings
        self._as_json = as_json
        self._as_table = sys.stdout.isatty() and not as_json
        self._rows: list[Sequence[str]] = []

    def add(self, record: Mapping[str, Any], *cells: object) -> None:
        """Print one result: *record* for machines, *cells* for people."""
        if self._as_json:
            click.echo(orjson.dumps(record))
        elif self._as_table:
            self._rows.append([clean(cell) for cell in cells])
            if len(self._rows) == _ROWS_AT_ONCE:
                self._print_table()
        else:
            click.echo("\t".join(clean(cell) for cell in cells))

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
        from rich import box  # noqa: PLC0415 - 80 ms, for terminals only
        from rich.console import Console  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

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
    """Qualified numbers; a column that a table does not need is left out of it."""

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
        from sinch_qn._codec import encode, write_datetime  # noqa: PLC0415 - 80 ms, for answers only

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
    """Return the number's state as the command line writes it: `VERIFIED`."""
    return (number.global_process_state or "").removeprefix("GLOBAL_PROCESS_STATE_")


def _status(part: Any) -> str:
    status = getattr(part, "status", None)
    return "" if status is None else str(getattr(status, "name", status))


def show_number(number: QualifiedNumber, *, as_json: bool) -> None:
    """Print one number."""
    with NumberLines(as_json=as_json) as lines:
        lines.add_number(number)


def show_order(order: HostingOrder, *, as_json: bool) -> None:
    """Print a hosting order, with no name or address from its Letter of Authorization."""
    from sinch_qn._codec import encode  # noqa: PLC0415 - as above

    with Lines("ORDER", "STATE", as_json=as_json) as lines:
        lines.add(encode(order), order.hosting_order_id or "", order.state or "")
