"""What a bulk run costs beside the same calls in a bare loop over the client, in CPU time.

python benchmarks/run.py [--numbers 2000] [--rounds 5] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import ssl
import statistics
import tempfile
import time
from pathlib import Path

import aiohttp
import trustme
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
    listed = ("--numbers", str(options.numbers))
    with serving(*listed) as base_url:
        figures = asyncio.run(measure(base_url, options.numbers, options.rounds, "http", None))
    with tempfile.TemporaryDirectory() as folder:
        # As to Sinch: what must not be repeated goes out on a fresh connection, so each call
        # has a TLS handshake.
        authority = trustme.CA()
        certificate = Path(folder) / "server.pem"
        authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
            str(certificate)
        )
        context = ssl.create_default_context()
        authority.configure_trust(context)
        with serving(*listed, "--certificate", str(certificate)) as base_url:
            secure_url = base_url.replace("http://127.0.0.1", "https://localhost")
            figures |= asyncio.run(
                measure(secure_url, options.numbers, options.rounds, "https", context)
            )
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:56} {value:10,.2f}")


async def measure(
    base_url: str, count: int, rounds: int, scheme: str, tls: ssl.SSLContext | None
) -> dict[str, float]:
    """Return the figures by name; the variants take turns, so that drift cancels."""
    numbers = [f"+1{2_000_000_000 + index}" for index in range(count)]
    loops, files, memories, seconds = [], [], [], []
    async with contextlib.AsyncExitStack() as stack:
        session = None
        if tls is not None:
            connector = aiohttp.TCPConnector(ssl=tls, force_close=True, limit=0)
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        client = await stack.enter_async_context(
            QualifiedNumbersClient(
                "bench",
                OAuth2("key", "secret", token_url=base_url + "/oauth2/token"),
                base_url=base_url,
                session=session,
            )
        )
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

    def each(runs: list[float]) -> float:
        return 1000 * statistics.median(runs[1:]) / count

    return {
        f"{scheme}: bare loop, CPU ms a number": each(loops),
        f"{scheme}: run with SqliteJournal, CPU ms a number": each(files),
        f"{scheme}: run with MemoryJournal, CPU ms a number": each(memories),
        f"{scheme}: run with SqliteJournal, times the bare loop": ratio(files),
        f"{scheme}: run with MemoryJournal, times the bare loop": ratio(memories),
        f"{scheme}: run with SqliteJournal, numbers/s": count / statistics.median(seconds[1:]),
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

        async def answer() -> None:
            # People answer each for themselves; and none is lost for want of a buffer.
            async with asyncio.TaskGroup() as people:
                async for event in running.events(buffer=10 * len(numbers)):
                    if event.what == "called":
                        people.create_task(running.submit_code(event.number, "1234"))

        people = asyncio.create_task(answer())
        await running.add(numbers)
        report = await running.finish()
        assert sum(report.counts.values()) == len(numbers)
    await people


if __name__ == "__main__":
    main()
