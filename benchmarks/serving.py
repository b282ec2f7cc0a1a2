"""Starts `server.py` in a process of its own, on another core, for as long as a block lasts."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def serving(*options: str) -> Iterator[str]:
    """Yield the base URL of a server; client and server are pinned to a core each."""
    cores = sorted(os.sched_getaffinity(0))
    command = [sys.executable, str(Path(__file__).with_name("server.py")), *options]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        os.sched_setaffinity(process.pid, cores[-1:])
        os.sched_setaffinity(0, cores[:1])
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        os.sched_setaffinity(0, cores)
        process.stdin.close()
        process.wait(10)


def cpu() -> float:
    """Return the CPU seconds that this process has used, all its threads together."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
