"""How much of `calls_per_second` a run uses, and its CPU; calls are counted at the server.

    python benchmarks/rate.py [--seconds 15] [--json FILE]

Each number is called and verified, with a `SqliteJournal`; the codes are submitted one after the
other, as a bot does: where they lag behind the calls, fewer numbers a second are verified. The
largest count of calls in any second is compared with the rate, too. The CPU is split by thread (the
event loop's, the journal's), and between user code and the kernel.
"""

from __future__ import annotations

import asyncio
import resource
import tempfile
import threading
import time
from bisect import bisect_left
from pathlib import Path
from typing import Any

import aiohttp
from measuring import arguments, cpu, present, table
from server import FIRST
from serving import serving

from sinch_qn import OAuth2, QualifiedNumbersClient
from sinch_qn.bulk import SqliteJournal, VoiceChallengeRun

CASES = ((5, 0.1, 0.99), (50, 0.1, 0.99), (200, 0.1, 0.99), (500, 0.0, 0.95))
"""Calls a second, the seconds that each response takes, and the share that must be used."""


def main() -> None:
    """Measure, and print the figures."""
    options = arguments(__doc__, seconds=15)
    figures = {}
    for rate, delay, bar in CASES:
        count = rate * options.seconds
        with serving("--numbers", str(count), "--call-delay", str(delay)) as base_url:
            figures[str(rate)] = asyncio.run(measure(base_url, rate, count))
        figures[str(rate)] |= {"delay": delay, "bar": bar}
    present(figures, markdown, options.json)


async def measure(base_url: str, rate: float, count: int) -> dict[str, Any]:
    """Return the figures of a run of *count* numbers at *rate* calls a second."""
    auth = OAuth2("key", "secret", token_url=base_url + "/oauth2/token")
    with tempfile.TemporaryDirectory() as folder:
        async with (
            QualifiedNumbersClient("bench", auth, base_url=base_url) as client,
            VoiceChallengeRun(
                client,
                SqliteJournal(Path(folder) / "run.db"),
                max_ringing=count,
                calls_per_second=rate,
            ) as run,
        ):
            started, used, before = time.perf_counter(), cpu(), split()

            async def answer() -> None:
                async for event in run.events(buffer=10 * count):
                    if event.what == "called":
                        await run.submit_code(event.number, "1234")

            people = asyncio.create_task(answer())
            await run.add([f"+1{FIRST + index}" for index in range(count)])
            await run.finish()
            used, seconds = cpu() - used, time.perf_counter() - started
            parts = {part: 1000 * (s - before[part]) / count for part, s in split().items()}
        await people
    async with aiohttp.ClientSession() as session, session.get(base_url + "/calls") as response:
        called_at = await response.json(content_type=None)
    assert len(called_at) == count
    return {
        "share": (count - 1) / (called_at[-1] - called_at[0]) / rate,
        "most_in_a_second": most_in_a_second(called_at),
        "verified_per_second": count / seconds,
        "cores": used / seconds,
        "cpu_ms": 1000 * used / count,
        "cpu_ms_of": parts,
    }


def split() -> dict[str, float]:
    """Return the CPU seconds so far of the journal's thread, of this one, and of the kernel."""
    (journal,) = [t for t in threading.enumerate() if t.name.startswith("journal ")]
    clock = time.pthread_getcpuclockid(journal.ident or 0)
    return {
        "journal": time.clock_gettime(clock),
        "loop": time.thread_time(),
        "kernel": resource.getrusage(resource.RUSAGE_SELF).ru_stime,
    }


def most_in_a_second(called_at: list[float]) -> int:
    """Return the largest number of calls in any second."""
    return max(bisect_left(called_at, at + 1.0) - index for index, at in enumerate(called_at))


def markdown(figures: dict[str, Any]) -> str:
    """Return the table."""
    return table(
        (
            "`calls_per_second`",
            "a response takes",
            "share used",
            "most in a second",
            "verified a second",
            "CPU, of a core",
            "CPU ms a number",
            "of which the event loop's thread, the journal's",
            "of which in the kernel",
        ),
        (
            (
                rate,
                f"{f['delay'] * 1000:.0f} ms",
                f"{100 * f['share']:.1f} %",
                f["most_in_a_second"],
                f"{f['verified_per_second']:.0f}",
                f"{100 * f['cores']:.1f} %",
                f"{f['cpu_ms']:.2f}",
                f"{f['cpu_ms_of']['loop']:.2f}, {f['cpu_ms_of']['journal']:.2f}",
                f"{f['cpu_ms_of']['kernel']:.2f}",
            )
            for rate, f in figures.items()
        ),
    )


if __name__ == "__main__":
    main()
