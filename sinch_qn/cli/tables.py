"""Tables on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sinch_qn.cli.messages import has_styles

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


def make_console(**options: Any) -> Console:
    """Return a console for tables, without styles where there may be none."""
    return Console(color_system="auto" if has_styles() else None, **options)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print *rows* of printable text; a column without text is left out."""
    used = [any(column) for column in zip(*rows, strict=True)]
    table = Table(box=box.SIMPLE_HEAD)
    for heading, is_used in zip(headings, used, strict=True):
        if is_used:
            table.add_column(heading, overflow="fold", no_wrap=heading in {"NUMBER", "ORDER"})
    for row in rows:
        cells = [cell for cell, is_used in zip(row, used, strict=True) if is_used]
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in cells))
    make_console().print(table)
