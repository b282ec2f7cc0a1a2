"""The detector of blocking calls: whatever our code does in an event loop must not wait.

All of `sinch_qn` is watched, and the examples: files, SQLite, `time.sleep`, blocking sockets and
locks, in whichever thread a loop runs. What may block says why, function by function.
"""

from __future__ import annotations

import ctypes
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest import mock

import blockbuster.blockbuster
from blockbuster import BlockingError, blockbuster_ctx

import examples

_MAY_BLOCK: Final = (
    # A module is loaded once in a process: when it is first needed, or before.
    ("<frozen importlib._bootstrap>", "_find_and_load"),
    # So is a time zone, from two thousand bytes.
    ("sinch_qn/bulk/calling_hours.py", "_zone"),
    # A terminal is read only when it has something.
    ("sinch_qn/cli/run_codes.py", "_read"),
    # The sandbox compiles the description of the API once in a process, before it serves.
    ("sinch_qn/sandbox/request_validation.py", "read_validators"),
    # Coverage measures in its own locks.
    ("coverage/collector.py", "lock_data"),
    # Where log lines go is the program's own choice; where results go, its user's.
    ("logging/__init__.py", "emit"),
    ("click/utils.py", "echo"),
    # A constructor cannot wait: it asks for the name of a file, and opens nothing.
    ("sinch_qn/bulk/journal/sqlite.py", "__init__"),
)


@contextmanager
def watched() -> Iterator[list[str]]:
    """Raise `BlockingError` where our code blocks an event loop; yield where that was.

    The list is for errors that somebody swallows: a server answers them with a 500.
    """
    found: list[str] = []

    class RecordedError(BlockingError):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            found.append("".join(traceback.format_stack(limit=12)))

    with (
        mock.patch.object(blockbuster.blockbuster, "BlockingError", RecordedError),
        blockbuster_ctx(["sinch_qn", examples]) as detector,
    ):
        for function in detector.functions.values():
            _keep(getattr(function.module, function.func_name))
            for file, name in _MAY_BLOCK:
                function.can_block_in(file, name)
        yield found


def _keep(replacement: object) -> None:
    """Never free what replaced a method: Python's end would be a segmentation fault.

    It is, on 3.11, where the methods of a file were replaced that stdout is made of.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(replacement))
