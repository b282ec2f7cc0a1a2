"""The cost of durability: group commit against single commits, and a million numbers.

python benchmarks/journal.py [--numbers 250000] [--json FILE]
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measuring import arguments, peak_mb, present, table

from sinch_qn.bulk.journal import Identity, SqliteJournal
from sinch_qn.bulk.states import Change, Entry, Event, Todo
from sinch_qn.models import GlobalProcessState

HERE = Identity("bench", "http://127.0.0.1")
TRANSITIONS = 1000
WRITERS = 50
ROUNDS = 5
CHUNK = 500


def main() -> None:
    """Measure, and print the figures."""
    options = arguments(__doc__, numbers=250_000)
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(Path(folder), options.numbers))
    present(figures, markdown, options.json)


def markdown(figures: dict[str, Any]) -> str:
    """Return the table."""
    return table(
        ("journal (one file, `synchronous=FULL`)", ""),
        ((name, f"{v:,.0f}" if v >= 10 else f"{v:.1f}") for name, v in figures.items()),
    )


async def measure(folder: Path, numbers: int) -> dict[str, float]:
    """Return all figures by name."""
    figures = await commits(folder)
    figures |= await load(folder, numbers)
    return figures


async def commits(folder: Path) -> dict[str, float]:
    """Compare the same durable transitions, 50 at once and one by one, in alternation."""
    journal = SqliteJournal(folder / "commits.db")
    await journal.open(HERE, running=True)
    numbers = [f"+1202{index:07d}" for index in range(2 * ROUNDS * TRANSITIONS)]
    await journal.add([Entry(number=number) for number in numbers])
    one_by_one, grouped = [], []
    left = iter(numbers)

    async def transition() -> None:
        await journal.apply([Change(number=next(left), event=Event.CALL, at=time.time())])

    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(TRANSITIONS):
            await transition()
        one_by_one.append(TRANSITIONS / (time.perf_counter() - started))
        started = time.perf_counter()
        jobs = iter(range(TRANSITIONS))

        async def writer(jobs: Iterator[int] = jobs) -> None:
            for _ in jobs:
                await transition()

        await asyncio.gather(*(writer() for _ in range(WRITERS)))
        grouped.append(TRANSITIONS / (time.perf_counter() - started))
    await journal.close()
    ratio = statistics.median(g / o for g, o in zip(grouped, one_by_one, strict=True))
    return {
        "transitions/s, one by one": statistics.median(one_by_one),
        f"transitions/s, {WRITERS} writers": statistics.median(grouped),
        "times as many": ratio,
    }


async def load(folder: Path, count: int) -> dict[str, float]:
    """Load *count* numbers, record their states, and query counts and due numbers."""
    journal = SqliteJournal(folder / "million.db")
    await journal.open(HERE, running=True)
    before = peak_mb()
    started = time.perf_counter()
    for first in range(0, count, CHUNK):
        last = min(count, first + CHUNK)
        await journal.add(
            [Entry(number=f"+1{2_000_000_000 + n}", line=n) for n in range(first, last)]
        )
    loaded = time.perf_counter() - started
    started = time.perf_counter()
    for first in range(0, count, CHUNK):
        await journal.apply(
            [
                Change(
                    number=f"+1{2_000_000_000 + n}",
                    event=Event.LOOKED_UP,
                    at=time.time(),
                    remote=GlobalProcessState.ELIGIBLE,
                )
                for n in range(first, min(count, first + CHUNK))
            ]
        )
    learnt = time.perf_counter() - started
    counts, picks = [], []
    for _ in range(20):
        started = time.perf_counter()
        await journal.counts()
        counts.append(time.perf_counter() - started)
        started = time.perf_counter()
        await journal.backlog(Todo.CALL, 200)
        picks.append(time.perf_counter() - started)
    peak = peak_mb()
    size = sum(file.stat().st_size for file in folder.glob("million.db*")) / 2**20
    await journal.close()
    return {
        f"{count:,} numbers accepted, s": loaded,
        "their states recorded, s": learnt,
        "counts by state, ms (median)": 1000 * statistics.median(counts),
        "200 due counted, ms (median)": 1000 * statistics.median(picks),
        "peak RSS, MB": peak,
        "of which before that, MB": before,
        "file, MB": size,
    }


if __name__ == "__main__":
    main()
