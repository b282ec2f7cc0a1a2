"""What `sinch-qn check` does."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from sinch_qn.cli.exit_codes import Exit
from sinch_qn.cli.messages import print_message
from sinch_qn.cli.options import no_number, read_lines
from sinch_qn.cli.output import Lines
from sinch_qn.parsing import Column, GoodLine, ParsedNumber


def check_file(path: Path, column: str | None, *, as_json: bool) -> None:
    """Print each line of the file that is no new number, then what the file has.

    The exit code is 1 if there are lines without a valid number.
    """
    columns: list[Column] = []
    kinds: Counter[str] = Counter()
    refs = bad = duplicates = 0
    with Lines("LINE", "TEXT", "REASON", as_json=as_json) as lines:
        for line in read_lines(path, column, on_column=columns.append):
            if isinstance(line, GoodLine):
                kinds[_kind(line.number)] += 1
                refs += line.ref is not None
                continue
            bad += line.duplicate_of is None
            duplicates += line.duplicate_of is not None
            record: dict[str, Any] = {"line": line.line, "text": line.text, "reason": line.reason}
            if line.duplicate_of is not None:
                record["duplicateOf"] = line.duplicate_of
            lines.add(record, line.line, line.text, line.reason)
        if as_json:
            found = columns[0] if columns else None
            summary = {
                "file": str(path),
                "column": found and found.index,
                "heading": found and found.heading,
                "numbers": kinds.total(),
                **{name: kinds[name] for name in sorted(kinds)},
                "refs": refs,
                "badLines": bad,
                "duplicates": duplicates,
            }
            lines.add(summary)
    of_column = f", {columns[0]}" if columns and columns[0].of > 1 else ""
    print_message(
        f"{path}{of_column}: {_counted(kinds)}. {refs} with a ref."
        f" Bad lines: {bad}, duplicates: {duplicates}."
    )
    if not kinds:
        raise no_number(path)
    if bad:
        raise click.exceptions.Exit(Exit.FAILED)


def _kind(number: ParsedNumber) -> str:
    return "tollFree" if number.toll_free else number.region


def _counted(kinds: Counter[str]) -> str:
    parts = [f"{kinds[kind]} {kind}".replace("tollFree", "toll-free") for kind in sorted(kinds)]
    numbers = f"{kinds.total()} {'number' if kinds.total() == 1 else 'numbers'}"
    return numbers + (f" ({', '.join(parts)})" if parts else "")
