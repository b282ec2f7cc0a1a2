"""Starts `server.py` in its own process on another core, for the length of a block."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def serving(*options: str) -> Iterator[str]:
    """Yield the base URL of a server; client and server are pinned to a core each."""
    command = [sys.executable, str(Path(__file__).with_name("server.py")), *options]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with pinned_away_from(process.pid):
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.stdin.close()
        process.wait(10)


@contextlib.contextmanager
def pinned_away_from(server: int) -> Iterator[None]:
    """Pin this process to the first core and *server* to the last, where the system allows it."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(server, cores[-1:])
    os.sched_setaffinity(0, cores[:1])
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
