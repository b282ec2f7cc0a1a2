"""Results of a run for programs: CSV and JSON lines.

Files are replaced atomically and are readable by their owner only; devices and pipes are written
through. They contain unmasked phone numbers, and never a code.
"""

from __future__ import annotations

import csv
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from sinch_qn.bulk.journal.deliveries import Delivery, delivered_numbers
from sinch_qn.bulk.report.records import entry_record
from sinch_qn.bulk.states import Entry

_FORMULA = re.compile(r'[\t\r\n]|[\s"]*(?:[=@\uff1d\uff20\uff0b\uff0d]|[+-](?![0-9.]*$))')
"""Text that a spreadsheet evaluates, unlike a phone number or a chat id such as -100123."""
_INNER_FORMULA = re.compile(r'([\t\r\n;,|]"?)(?=[=@+\-\uff1d\uff20\uff0b\uff0d])')
"""The same after a separator or a line end: a spreadsheet may split the cell there."""


def write_csv(
    rows: Iterable[Entry], path: str | os.PathLike[str], *, deliveries: Iterable[Delivery] = ()
) -> None:
    """Write a CSV line for each of *rows*; a `'` disarms formulas.

    *deliveries* are the emails with invoices: `await journal.deliveries.all()`.
    """
    emailed = delivered_numbers(deliveries)
    with output_file(path) as file:
        writer = csv.writer(file)
        writer.writerow(entry_record(Entry(number="")))
        for entry in rows:
            writer.writerow(
                [disarm(value) for value in entry_record(entry, emailed=emailed).values()]
            )


def write_json_lines(
    rows: Iterable[Entry], path: str | os.PathLike[str], *, deliveries: Iterable[Delivery] = ()
) -> None:
    """Write a JSON object on its own line for each of *rows*; see `write_csv`."""
    emailed = delivered_numbers(deliveries)
    with output_file(path) as file:
        for entry in rows:
            file.write(json.dumps(entry_record(entry, emailed=emailed)) + "\n")


def disarm(value: str | int | None) -> str | int | None:
    """Return *value* so that no spreadsheet takes it for a formula."""
    if not isinstance(value, str):
        return value
    value = _INNER_FORMULA.sub(r"\1'", value)
    return f"'{value}" if _FORMULA.match(value) else value


@contextmanager
def output_file(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """Open a file, mode 0600, that replaces *path* once it is complete and on disk.

    The file that a link names is replaced, not the link. A device, a pipe, or the file that
    standard output is redirected to, is written through.
    """
    opened = _through(path)
    if opened is not None:
        with _text(opened) as file:
            yield file
        return
    target = Path(os.path.realpath(path))
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    written = Path(name)
    try:
        with _text(descriptor) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        written.replace(target)
    except BaseException:
        with suppress(OSError):
            written.unlink()
        raise


def _text(descriptor: int) -> TextIO:
    return open(descriptor, "w", encoding="utf-8", errors="backslashreplace", newline="")


def _through(path: str | os.PathLike[str]) -> int | None:
    """Return a descriptor to write through, if *path* is no file that can be replaced."""
    try:
        there = os.stat(path)  # noqa: PTH116 - of a link's target
    except FileNotFoundError:
        return None
    for number in (1, 2):
        with suppress(OSError):  # it is closed
            if os.path.samestat(there, os.fstat(number)):
                return os.dup(number)
    return None if stat.S_ISREG(there.st_mode) else os.open(path, os.O_WRONLY)
