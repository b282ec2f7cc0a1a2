"""Growth of cost: per call with the calls in flight, per number with the size of a run.

    python benchmarks/growth.py [--rounds 5] [--largest 1000000] [--json FILE]

A run is a whole `VoiceChallengeRun`, from a list of numbers until all are verified. The client is
real except for its transport, which responds at once, in process. Each run has its own process.
The result of `--largest` (1,000,000 numbers take 20 minutes) is kept in `largest.json`, which is
part of the repository.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from listings import client
from measuring import arguments, cpu, in_child, machine, peak_mb, present, table
from server import FIRST, Server
from serving import serving

from sinch_qn import QualifiedNumbersClient
from sinch_qn._http import Request, Response
from sinch_qn._transport import Progress, Transport
from sinch_qn.bulk import ChallengeState, MemoryJournal, SqliteJournal, VoiceChallengeRun
from sinch_qn.bulk.journal import Journal

IN_FLIGHT = (1, 10, 100, 1_000, 10_000)
CALLS = 2_000
"""The fewest calls in one block; a block has at least as many as are in flight."""
NUMBERS = (1_000, 10_000, 30_000)
IN_MEMORY = NUMBERS[:2]
"""Sizes with a `MemoryJournal`, which is for tests: no large ones."""
RINGING = 200
NOWHERE = "http://127.0.0.1:9"
LARGEST = Path(__file__).with_name("largest.json")


def main() -> None:
    """Measure, print the tables, and write the JSON file."""
    options = arguments(__doc__, rounds=5, largest=0)
    if options.largest:
        run = in_child(run_of, options.largest, "SqliteJournal")
        on_ram = tempfile.gettempdir().startswith("/dev/shm")  # noqa: S108 - only compared
        run["disk"] = "RAM disk" if on_ram else "disk"
        LARGEST.write_text(json.dumps(machine() | {"run": run}, indent=1) + "\n")
    with serving() as base_url:
        calls = asyncio.run(flights(base_url, options.rounds))
    runs = [in_child(run_of, count, "SqliteJournal") for count in NUMBERS]
    runs += [json.loads(LARGEST.read_text())["run"]] if LARGEST.exists() else []
    runs += [in_child(run_of, count, "MemoryJournal") for count in IN_MEMORY]
    present({"calls": calls, "runs": runs}, markdown, options.json)


# ---- calls in flight -----------------------------------------------------------------------


async def flights(base_url: str, rounds: int) -> dict[str, dict[str, float]]:
    """Return the CPU µs of a call by the number in flight; sizes alternate."""
    taken: dict[int, list[float]] = {size: [] for size in IN_FLIGHT}
    async with client(base_url) as qn:
        for _ in range(rounds + 1):  # the first one warms up
            for size in IN_FLIGHT:
                count = max(CALLS, size)
                left = iter(range(count))

                async def worker(left: Any = left) -> None:
                    for _ in left:
                        await qn.get_number("+12025550134")

                gc.collect()
                started = cpu()
                await asyncio.gather(*(worker() for _ in range(size)))
                taken[size].append(1e6 * (cpu() - started) / count)
    return {
        str(size): dict(
            zip(
                ("q1", "cpu_us", "q3"),
                statistics.quantiles(each[1:], n=4, method="inclusive"),
                strict=True,
            )
        )
        for size, each in taken.items()
    }


# ---- numbers in a run ----------------------------------------------------------------------


class AtOnce(Transport):
    """A transport that responds at once: the rest is the library's own cost."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self._server = Server(numbers, remembers=False)

    async def send(self, request: Request, progress: Progress | None = None) -> Response:
        """Respond like the benchmarks' server."""
        if progress is not None:
            progress.connection_acquired = True
        head = f"{request.method} {request.url.removeprefix(NOWHERE)} HTTP/1.1".encode()
        return Response(200, {}, self._server.answer(head)[0])

    async def open_ahead(self, url: str) -> None:
        """Open nothing: there are no sockets."""


def run_of(count: int, kind: str) -> dict[str, Any]:
    """Run *count* numbers until all are verified; return the cost."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.db"
        journal = SqliteJournal(path) if kind == "SqliteJournal" else MemoryJournal()
        return asyncio.run(_run_of(count, journal, path))


async def _run_of(count: int, journal: Journal, path: Path) -> dict[str, Any]:
    async with client(NOWHERE) as qn:
        qn._pipeline._transport = AtOnce(count)  # noqa: SLF001
        await _verify_all(qn, MemoryJournal(), 50)  # the imports of a first run
        before, used, started = peak_mb(), cpu(), time.perf_counter()
        await _verify_all(qn, journal, count)
        used, seconds = cpu() - used, time.perf_counter() - started
    peak = peak_mb()
    size = sum(file.stat().st_size for file in path.parent.glob("run.db*"))
    return {
        "journal": type(journal).__name__,
        "numbers": count,
        "cpu_us": 1e6 * used / count,
        "seconds": seconds,
        "peak_mb": peak,
        "rss_bytes": (peak - before) * 2**20 / count,
        "disk_bytes": size / count,
    }


async def _verify_all(qn: QualifiedNumbersClient, journal: Journal, count: int) -> None:
    async with VoiceChallengeRun(
        qn, journal, max_ringing=RINGING, calls_per_second=100_000
    ) as running:

        async def answer() -> None:
            # Each code is submitted in a task of its own; at most RINGING calls are in flight.
            async with asyncio.TaskGroup() as people:
                async for event in running.events(buffer=10 * RINGING):
                    if event.what == "called":
                        people.create_task(running.submit_code(event.number, "1234"))

        answering = asyncio.create_task(answer())
        await running.add(f"+1{FIRST + n}" for n in range(count))
        report = await running.finish()
        assert report.counts[ChallengeState.VERIFIED] == count
    await answering


def markdown(figures: dict[str, Any]) -> str:
    """Return the tables."""
    calls = table(
        ("calls in flight", "CPU µs a call (quartiles)"),
        (
            (f"{int(size):,}", f"{f['cpu_us']:.0f} ({f['q1']:.0f} to {f['q3']:.0f})")
            for size, f in figures["calls"].items()
        ),
    )
    runs = table(
        (
            *("numbers in a run", "journal", "CPU µs a number", "peak RSS MB"),
            *("RSS bytes a number", "disk bytes a number"),
        ),
        (
            (
                f"{f['numbers']:,}",
                f"`{f['journal']}`" + (", on a RAM disk" if f.get("disk") == "RAM disk" else ""),
                f"{f['cpu_us']:,.0f}",
                f"{f['peak_mb']:.0f}",
                f"{f['rss_bytes']:,.0f}",
                f"{f['disk_bytes']:,.0f}" if f["disk_bytes"] else "",
            )
            for f in figures["runs"]
        ),
    )
    return f"{calls}\n\n{runs}"


if __name__ == "__main__":
    main()
