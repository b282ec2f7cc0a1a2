"""Shared by all benchmarks: CPU and memory readings, child processes, tables and JSON files."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import multiprocessing
import os
import platform
import resource
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def cpu(who: int = resource.RUSAGE_SELF) -> float:
    """Return the CPU seconds of this process, all threads together."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def children_cpu() -> float:
    """Return the CPU seconds of the finished child processes."""
    return cpu(resource.RUSAGE_CHILDREN)


def peak_mb() -> float:
    """Return the peak RSS of this process, in MiB."""
    try:
        # ru_maxrss would start at the parent's RSS.
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_child(function: Callable[..., Any], *arguments: object) -> Any:
    """Return the result of *function* in a fresh process, to measure its memory alone."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def machine() -> dict[str, str]:
    """Return the date and the machine."""
    python = f"Python {platform.python_version()}"
    cores = f"{os.cpu_count()} shared cores"
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": f"{cores}, {platform.machine()}, {platform.system()}, {python}",
    }


def present(figures: dict[str, Any], markdown: Callable[[Any], str], path: Path | None) -> None:
    """Print the *figures* as Markdown, and write them to *path* with date and machine."""
    print(markdown(figures), "\n")
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(machine() | {"figures": figures}, indent=1) + "\n")


def arguments(doc: str | None, **numbers: int) -> argparse.Namespace:
    """Parse `--json FILE`, and an option for each of *numbers* with its default."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--json", type=Path)
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table."""
    columns = list(head)
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
