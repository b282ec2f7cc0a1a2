"""One call, against what a user would pick instead: CPU, requests/s, latency, memory, as ratios.

    python benchmarks/calls.py [--loop uvloop] [--json FILE] [--chart FILE.svg]

All contenders run in one process, in short blocks that take turns, so that the machine's drift
cancels; the server is another process, on another core.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import json
import platform
import resource
import statistics
import time
from pathlib import Path
from typing import Any

import attrs
from contenders import CONTENDERS, Call, vendor
from serving import cpu, serving

BLOCK = 300
"""Calls in one block."""
ROUNDS = 30
CONCURRENCIES = (1, 10, 50, 200)
OURS = "sinch_qn"


@attrs.define
class Blocks:
    """What the blocks of one contender took."""

    cpu: list[float] = attrs.field(factory=list)
    """Seconds of CPU a call."""
    rate: list[float] = attrs.field(factory=list)
    """Calls a second."""
    latencies: list[float] = attrs.field(factory=list)

    def summary(self, ours: Blocks) -> dict[str, float]:
        """Return medians, their spread, and how many times our CPU it takes, block by block."""
        times = [theirs / mine for theirs, mine in zip(self.cpu, ours.cpu, strict=True)]
        quartiles = statistics.quantiles(self.cpu, n=4)
        latencies = statistics.quantiles(self.latencies, n=100)
        return {
            "cpu_us": 1e6 * statistics.median(self.cpu),
            "cpu_us_quartile_1": 1e6 * quartiles[0],
            "cpu_us_quartile_3": 1e6 * quartiles[2],
            "times_our_cpu": statistics.median(times),
            "calls_per_second": statistics.median(self.rate),
            "p50_ms": 1e3 * latencies[49],
            "p99_ms": 1e3 * latencies[98],
        }


def main() -> None:
    """Measure, print a table for each concurrency, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--chart", type=Path)
    options = parser.parse_args()
    with serving() as base_url:
        factory = None
        if options.loop == "uvloop":
            import uvloop  # noqa: PLC0415

            factory = uvloop.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            figures = runner.run(measure(base_url, options.rounds))
        figures["1"]["sinch SDK (sequential)"] = sequential(base_url, figures["1"][OURS])
    result = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        "loop": options.loop,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "concurrency": figures,
    }
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    if options.chart:
        from chart import draw_calls  # noqa: PLC0415 - matplotlib is slow to load

        draw_calls(result, options.chart)


async def measure(base_url: str, rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Return each contender's summary at each concurrency."""
    figures = {}
    async with contextlib.AsyncExitStack() as stack:
        calls = {
            name: await stack.enter_async_context(make(base_url))
            for name, make in CONTENDERS.items()
        }
        for concurrency in CONCURRENCIES:
            blocks = {name: Blocks() for name in calls}
            for turn in range(rounds + 1):
                for name, call in calls.items():
                    # The first turn warms up.
                    await block(call, concurrency, blocks[name] if turn else Blocks())
            ours = blocks[OURS]
            figures[str(concurrency)] = {n: b.summary(ours) for n, b in blocks.items()}
    return figures


async def block(call: Call, concurrency: int, into: Blocks) -> None:
    """Make `BLOCK` calls, *concurrency* at once."""
    left = iter(range(BLOCK))

    async def worker() -> None:
        for _ in left:
            started = time.perf_counter()
            await call()
            into.latencies.append(time.perf_counter() - started)

    used, started = cpu(), time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    into.rate.append(BLOCK / (time.perf_counter() - started))
    into.cpu.append((cpu() - used) / BLOCK)


def sequential(base_url: str, ours: dict[str, float]) -> dict[str, float]:
    """Measure the vendor's SDK, whose calls come one after the other."""
    call = vendor(base_url)
    call()
    used, started = cpu(), time.perf_counter()
    for _ in range(BLOCK):
        call()
    seconds = time.perf_counter() - started
    each = 1e6 * (cpu() - used) / BLOCK
    return {
        "cpu_us": each,
        "times_our_cpu": each / ours["cpu_us"],
        "calls_per_second": BLOCK / seconds,
        "p50_ms": 1e3 * seconds / BLOCK,
    }


def show(result: dict[str, Any]) -> None:
    """Print the figures."""
    print(f"{result['date']}, {result['machine']}, {result['loop']}")
    for concurrency, contenders in result["concurrency"].items():
        heading = f"concurrency {concurrency}"
        print(f"\n{heading:24}  CPU µs/call times ours calls/s  p50 ms  p99 ms")
        for name, f in contenders.items():
            print(
                f"{name:24}{f['cpu_us']:13.0f}{f['times_our_cpu']:11.2f}"
                f"{f['calls_per_second']:8.0f}{f['p50_ms']:8.2f}{f.get('p99_ms', 0):8.2f}"
            )


if __name__ == "__main__":
    main()
