"""The detector of blocking calls: code of this project must not block an event loop.

It watches `sinch_qn` and the examples for file access, SQLite, `time.sleep`, blocking sockets and
locks, in any thread that runs a loop. Each function that may block has its reason below.
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
    # A module is loaded once in a process, possibly at its first use.
    ("<frozen importlib._bootstrap>", "_find_and_load"),
    # A time zone is loaded once, too: 2 KB.
    ("sinch_qn/bulk/calling_hours.py", "_zone"),
    ("sinch_qn/bulk/calling_hours.py", "_check_zones_exist"),
    ("sinch_qn/desk/translations.py", "moment"),
    # A terminal is read only when it has input.
    ("sinch_qn/cli/code_prompt.py", "_read"),
    # The sandbox compiles the description of the API once in a process, before it serves.
    ("sinch_qn/sandbox/request_validation.py", "read_validators"),
    # Coverage measures in its own locks.
    ("coverage/collector.py", "lock_data"),
    # The program chooses its log handlers, and its user where results go.
    ("logging/__init__.py", "emit"),
    ("click/utils.py", "echo"),
    # A constructor cannot await: it resolves the file's path and opens nothing.
    ("sinch_qn/bulk/journal/sqlite.py", "__init__"),
)


@contextmanager
def watched() -> Iterator[list[str]]:
    """Raise `BlockingError` where this project blocks an event loop; yield the stacks.

    The list also has errors that were swallowed, for example by a server that responds with 500.
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
