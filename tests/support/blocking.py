"""The detector of blocking calls: whatever our code does in an event loop must not wait.

All of `sinch_qn` is watched, and the examples: files, SQLite, `time.sleep`, blocking sockets and
locks, in whichever thread a loop runs. What may block says why, function by function.
"""

from __future__ import annotations

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
    ("sinch_qn/cli/code_prompt.py", "_read"),
    # The sandbox compiles the description of the API once in a process, before it serves.
    ("sinch_qn/sandbox/request_validation.py", "read_validators"),
    # Coverage measures in its own locks.
    ("coverage/collector.py", "lock_data"),
    # Where log lines go is the program's own choice.
    ("logging/__init__.py", "emit"),
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
            for file, name in _MAY_BLOCK:
                function.can_block_in(file, name)
        yield found
