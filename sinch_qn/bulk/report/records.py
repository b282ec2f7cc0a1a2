"""Results of a run for programs: CSV and JSON lines.

Files are replaced atomically and are readable by their owner only. They contain unmasked phone
numbers, and never a code.
"""

from __future__ import annotations

import csv
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from sinch_qn.bulk.journal.protocol import Batch
from sinch_qn.bulk.report.advice import what_to_do, what_to_do_about
from sinch_qn.bulk.states import Entry
from sinch_qn.models import GlobalProcessState

_FORMULA = re.compile(r"[=@\t\r]|[+-](?![0-9.]*$)")
"""Text that a spreadsheet evaluates, unlike a phone number or a chat id such as -100123."""


def entry_record(entry: Entry) -> dict[str, str | int | None]:
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
        "whatToDo": what_to_do(entry),
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


def write_csv(rows: Iterable[Entry], path: str | os.PathLike[str]) -> None:
    """Write a CSV line for each of *rows*; a leading `'` disarms formulas."""
    with atomic_file(path) as file:
        writer = csv.writer(file)
        writer.writerow(entry_record(Entry(number="")))
        for entry in rows:
            writer.writerow([_disarm(value) for value in entry_record(entry).values()])


def write_json_lines(rows: Iterable[Entry], path: str | os.PathLike[str]) -> None:
    """Write a JSON object on its own line for each of *rows*."""
    with atomic_file(path) as file:
        for entry in rows:
            file.write(json.dumps(entry_record(entry)) + "\n")


def _disarm(value: str | int | None) -> str | int | None:
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")[:19] + "Z"


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """Open a file, mode 0600, that replaces *path* once it is complete and on disk."""
    target = Path(path)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    written = Path(name)
    try:
        with open(  # noqa: PTH123 - a descriptor
            descriptor, "w", encoding="utf-8", errors="backslashreplace", newline=""
        ) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        written.replace(target)
    except BaseException:
        with suppress(OSError):
            written.unlink()
        raise
