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
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from sinch_qn.bulk.journal.deliveries import Delivery, delivered_numbers
from sinch_qn.bulk.journal.protocol import Batch
from sinch_qn.bulk.report.advice import what_to_do, what_to_do_about, what_to_do_about_delivery
from sinch_qn.bulk.states import Entry
from sinch_qn.models import GlobalProcessState

_FORMULA = re.compile(r'[\t\r\n]|[\s"]*(?:[=@\uff1d\uff20\uff0b\uff0d]|[+-](?![0-9.]*$))')
"""Text that a spreadsheet evaluates, unlike a phone number or a chat id such as -100123."""
_INNER_FORMULA = re.compile(r'([\t\r\n;,|]"?)(?=[=@+\-\uff1d\uff20\uff0b\uff0d])')
"""The same after a separator or a line end: a spreadsheet may split the cell there."""


def entry_record(entry: Entry, *, emailed: Collection[str] = ()) -> dict[str, str | int | None]:
    """Return *entry* as written to CSV and JSON, with the API's names; times are UTC."""
    return {
        "phoneNumber": entry.number,
        "ref": entry.ref,
        "line": entry.line,
        "state": entry.state.value,
        "attempt": entry.attempt,
        "calledAt": _time(entry.called_at),
        "settledAt": _time(entry.settled_at),
        "globalProcessState": None if entry.remote is None else entry.remote.value,
        "regionCode": entry.region,
        "batch": entry.batch,
        "note": entry.note,
        "whatToDo": what_to_do(entry, emailed=emailed),
    }


def batch_record(batch: Batch) -> dict[str, str | int | None]:
    """Return a text-enabling *batch* as written to JSON."""
    return {
        "batch": batch.id,
        "state": batch.state.value,
        "regionCode": batch.region,
        "tollFree": batch.toll_free,
        "numbers": len(batch.numbers),
        "hostingOrderId": batch.order_id,
        "note": batch.note,
        "whatToDo": what_to_do_about(batch),
    }


def state_name(state: GlobalProcessState | None) -> str | None:
    """Return *state* without the prefix that all values share, also if it is an unknown one."""
    return None if state is None else state.value.removeprefix("GLOBAL_PROCESS_STATE_")


def delivery_record(delivery: Delivery) -> dict[str, str | int | None]:
    """Return an email with invoices as written to JSON."""
    return {
        "email": delivery.key,
        "state": delivery.state.value,
        "numbers": len(delivery.numbers),
        "at": _time(delivery.at),
        "note": delivery.note,
        "whatToDo": what_to_do_about_delivery(delivery),
    }


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
                [_disarm(value) for value in entry_record(entry, emailed=emailed).values()]
            )


def write_json_lines(
    rows: Iterable[Entry], path: str | os.PathLike[str], *, deliveries: Iterable[Delivery] = ()
) -> None:
    """Write a JSON object on its own line for each of *rows*; see `write_csv`."""
    emailed = delivered_numbers(deliveries)
    with output_file(path) as file:
        for entry in rows:
            file.write(json.dumps(entry_record(entry, emailed=emailed)) + "\n")


def _disarm(value: str | int | None) -> str | int | None:
    if not isinstance(value, str):
        return value
    value = _INNER_FORMULA.sub(r"\1'", value)
    return f"'{value}" if _FORMULA.match(value) else value


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")[:19] + "Z"


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
