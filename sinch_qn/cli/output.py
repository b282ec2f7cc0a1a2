"""Results on standard output: tables on a terminal, tab-separated lines in a pipe, or JSON."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

import click
import orjson

from sinch_qn._redaction import printable

_TABLE_ROWS: Final = 200
"""Rows of one table: a long listing is printed in parts, as it arrives."""


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
        from sinch_qn.cli.tables import print_table  # noqa: PLC0415 - only a terminal needs rich

        print_table(self._headings, self._rows)
        self._rows.clear()
