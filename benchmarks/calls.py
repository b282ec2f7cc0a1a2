"""One call, compared with the alternatives: CPU, requests/s, latency, memory, as ratios.

    python benchmarks/calls.py [--rounds 32] [--json FILE]

All contenders run in one process, in short alternating blocks, so that drift of the machine
cancels out; the server is a process on another core. Memory is measured in a child per contender.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import statistics
import time
from typing import Any

import attrs
import uvloop
from contenders import CONTENDERS, OURS, SEQUENTIAL, Call
from measuring import arguments, cpu, in_child, peak_mb, present, table
from serving import serving

BLOCK = 0.05
"""Seconds of one block, whatever a call costs: in short blocks, other load of the machine affects
few of them."""
CONCURRENCIES = (1, 10, 50, 200)
BARS = {("asyncio", 1), ("asyncio", 50)}
"""The combinations that have targets: measured in all rounds, the others in a quarter of them."""
LOOPS = {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}


@attrs.define
class Blocks:
    """The measurements of one contender, one value a block."""

    cpu: list[float] = attrs.field(factory=list)
    """Seconds of CPU a call."""
    rate: list[float] = attrs.field(factory=list)
    """Calls a second."""
    latencies: list[float] = attrs.field(factory=list)

    def summary(self, ours: Blocks) -> dict[str, float]:
        """Return medians, quartiles, and the median ratio of our CPU to its own, block by block."""
        ratios = [mine / theirs for theirs, mine in zip(self.cpu, ours.cpu, strict=True)]
        quartiles = statistics.quantiles(self.cpu, n=4, method="inclusive")
        latencies = statistics.quantiles(self.latencies, n=100, method="inclusive")
        return {
            "cpu_us": 1e6 * statistics.median(self.cpu),
            "quartile_1": 1e6 * quartiles[0],
            "quartile_3": 1e6 * quartiles[2],
            "our_cpu_ratio": statistics.median(ratios),
            "calls_per_second": statistics.median(self.rate),
            "p50_ms": 1e3 * latencies[49],
            "p99_ms": 1e3 * latencies[98],
        }


def main() -> None:
    """Measure, print the tables, and write the JSON file."""
    options = arguments(__doc__, rounds=32)
    with serving() as base_url:
        loops = {}
        for name, factory in LOOPS.items():
            with asyncio.Runner(loop_factory=factory) as runner:
                loops[name] = runner.run(measure(base_url, name, options.rounds))
        peaks = {name: in_child(peak_of, name, base_url) for name in CONTENDERS}
    present({"loops": loops, "peak_rss_mb": peaks}, markdown, options.json)


async def measure(base_url: str, loop: str, rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Return each contender's summary at each concurrency."""
    figures = {}
    order = random.Random(7)  # noqa: S311 - only varies the order
    async with contextlib.AsyncExitStack() as stack:
        calls = {
            name: await stack.enter_async_context(make(base_url))
            for name, make in CONTENDERS.items()
        }
        for concurrency in CONCURRENCIES:
            blocks = {
                name: Blocks() for name in calls if concurrency == 1 or name not in SEQUENTIAL
            }
            turns = rounds if (loop, concurrency) in BARS else max(2, rounds // 4)
            for turn in range(turns + 1):
                for name in order.sample(list(blocks), len(blocks)):
                    # The first turn warms up.
                    await block(calls[name], concurrency, blocks[name] if turn else Blocks())
            ours = blocks[OURS]
            figures[str(concurrency)] = {n: b.summary(ours) for n, b in blocks.items()}
    return figures


async def block(call: Call, concurrency: int, into: Blocks) -> None:
    """Make calls for `BLOCK` seconds, *concurrency* at once."""
    latencies: list[float] = []

    async def worker(until: float) -> None:
        now = time.perf_counter()
        while now < until:
            await call()
            latencies.append((after := time.perf_counter()) - now)
            now = after

    # Reconnecting after the other contenders' blocks, and collecting their garbage, is not part
    # of this contender's cost.
    await asyncio.gather(*(call() for _ in range(concurrency)))
    gc.collect()
    used, started = cpu(), time.perf_counter()
    await asyncio.gather(*(worker(started + BLOCK) for _ in range(concurrency)))
    into.rate.append(len(latencies) / (time.perf_counter() - started))
    into.cpu.append((cpu() - used) / len(latencies))
    into.latencies += latencies


def peak_of(name: str, base_url: str) -> float:
    """Return the peak RSS of a process that makes the calls of one contender only, 50 at once."""

    async def run() -> None:
        async with CONTENDERS[name](base_url) as call:
            for _ in range(5):
                await block(call, 1 if name in SEQUENTIAL else 50, Blocks())

    asyncio.run(run())
    return peak_mb()


def markdown(figures: dict[str, Any]) -> str:
    """Return a table for each loop and concurrency: those with targets first, others folded."""
    peaks = figures["peak_rss_mb"]
    tables = {
        f"{loop}, {concurrency} at once": _table(contenders, peaks)
        for loop, by_concurrency in figures["loops"].items()
        for concurrency, contenders in by_concurrency.items()
    }
    first = "asyncio, 50 at once"
    others = "\n\n".join(f"{name}:\n\n{text}" for name, text in tables.items() if name != first)
    return (
        f"{first}:\n\n{tables[first]}\n\n"
        f"<details><summary>At other concurrencies, and with uvloop</summary>\n\n{others}\n\n"
        "</details>"
    )


def _table(contenders: dict[str, dict[str, float]], peaks: dict[str, float]) -> str:
    return table(
        (
            "",
            "CPU µs a call (quartiles)",
            "our CPU ÷ its",
            "calls/s",
            "p50 ms",
            "p99 ms",
            "peak MB",
        ),
        (
            (
                name,
                f"{f['cpu_us']:,.0f} ({f['quartile_1']:,.0f} to {f['quartile_3']:,.0f})",
                f"{f['our_cpu_ratio']:.2f}",
                f"{f['calls_per_second']:,.0f}",
                f"{f['p50_ms']:.2f}",
                f"{f['p99_ms']:.2f}",
                f"{peaks[name]:.0f}",
            )
            for name, f in contenders.items()
        ),
    )


if __name__ == "__main__":
    main()
