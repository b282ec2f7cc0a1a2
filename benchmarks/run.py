"""What a bulk run costs beside the same calls in a bare loop over the client, in CPU time.

    python benchmarks/run.py [--numbers 2000] [--rounds 5] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

from serving import cpu, serving

from sinch_qn import GlobalProcessState, OAuth2, QualifiedNumbersClient
from sinch_qn.bulk import MemoryJournal, SqliteJournal, VoiceChallengeRun
from sinch_qn.bulk.journal import Journal

CONCURRENCY = 50


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--numbers", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with serving("--numbers", str(options.numbers)) as base_url:
        figures = asyncio.run(measure(base_url, options.numbers, options.rounds))
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:48} {value:10,.2f}")


async def measure(base_url: str, count: int, rounds: int) -> dict[str, float]:
    """Return the figures by name; the variants take turns, so that drift cancels."""
    numbers = [f"+1{2_000_000_000 + index}" for index in range(count)]
    loops, files, memories, seconds = [], [], [], []
    async with QualifiedNumbersClient(
        "bench", OAuth2("key", "secret", token_url=base_url + "/oauth2/token"), base_url=base_url
    ) as client:
        for _ in range(rounds + 1):  # the first one warms up
            started = cpu()
            await bare_loop(client, numbers)
            loops.append(cpu() - started)
            with tempfile.TemporaryDirectory() as folder:
                started, wall = cpu(), time.perf_counter()
                await run(client, numbers, SqliteJournal(Path(folder) / "run.db"))
                files.append(cpu() - started)
                seconds.append(time.perf_counter() - wall)
            started = cpu()
            await run(client, numbers, MemoryJournal())
            memories.append(cpu() - started)

    def ratio(runs: list[float]) -> float:
        return statistics.median(r / b for r, b in zip(runs[1:], loops[1:], strict=True))

    return {
        "bare loop, CPU ms a number": 1000 * statistics.median(loops[1:]) / count,
        "run with SqliteJournal, CPU ms a number": 1000 * statistics.median(files[1:]) / count,
        "run with MemoryJournal, CPU ms a number": 1000 * statistics.median(memories[1:]) / count,
        "ratio, SqliteJournal": ratio(files),
        "ratio, MemoryJournal": ratio(memories),
        "run with SqliteJournal, numbers/s": count / statistics.median(seconds[1:]),
    }


async def bare_loop(client: QualifiedNumbersClient, numbers: list[str]) -> None:
    """Learn the states, ring, verify: what somebody would write who needs no journal."""
    known = {number.phone_number async for number in client.list_numbers(page_size=1000)}
    left = iter(numbers)

    async def worker() -> None:
        for number in left:
            assert number in known
            await client.send_voice_challenge(number)
            answer = await client.verify_voice_challenge(number, "1234")
            assert answer.global_process_state is GlobalProcessState.VERIFIED

    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))


async def run(client: QualifiedNumbersClient, numbers: list[str], journal: Journal) -> None:
    """Do the same as a run whose people answer at once."""
    async with VoiceChallengeRun(
        client,
        journal,
        max_ringing=len(numbers),
        calls_per_second=100_000,
        concurrency=CONCURRENCY,
    ) as running:

        async def answer() -> None:  # a buffer for all: dropped events would be people who hang up
            async for event in running.events(buffer=10 * len(numbers)):
                if event.what == "called":
                    await running.submit_code(event.number, "1234")

        people = asyncio.create_task(answer())
        await running.add(numbers)
        report = await running.finish()
        assert sum(report.counts.values()) == len(numbers)
    await people


if __name__ == "__main__":
    main()
