"""The cost of a bulk run, compared with the same calls in a bare loop, and on the sandbox.

    python benchmarks/run.py [--numbers 1000] [--rounds 3] [--sandbox 5000] [--json FILE]

The sandbox is a process of its own, which also plays the people at the phones: it submits each
code to the run's journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import aiohttp
import trustme
from measuring import arguments, cpu, peak_mb, present, table
from server import FIRST
from serving import pinned_away_from, serving

from sinch_qn import GlobalProcessState, OAuth2, QualifiedNumbersClient
from sinch_qn.bulk import (
    ChallengeState,
    MemoryJournal,
    SqliteJournal,
    VoiceChallengeRun,
    submit_code,
)
from sinch_qn.bulk.journal import Journal
from sinch_qn.errors import JournalError

CONCURRENCY = 50


def main() -> None:
    """Measure, and print the figures."""
    if sys.argv[1:2] == ["be-the-sandbox"]:
        asyncio.run(be_the_sandbox(Path(sys.argv[2]), int(sys.argv[3])))
        return
    options = arguments(__doc__, numbers=1000, rounds=3, sandbox=5_000)
    listed = ("--numbers", str(options.numbers))
    with serving(*listed) as base_url:
        figures = asyncio.run(measure(base_url, options.numbers, options.rounds, "http", None))
    with tempfile.TemporaryDirectory() as folder:
        # As with Sinch, each non-idempotent request has a fresh connection, so each call has a
        # TLS handshake.
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
    present(
        {"beside_a_loop": figures, "on_the_sandbox": on_the_sandbox(options.sandbox)},
        markdown,
        options.json,
    )


async def measure(
    base_url: str, count: int, rounds: int, scheme: str, tls: ssl.SSLContext | None
) -> dict[str, dict[str, float]]:
    """Return the figures by name; the variants alternate, so that drift cancels out."""
    numbers = [f"+1{FIRST + index}" for index in range(count)]
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

    def ratios(runs: list[float]) -> list[float]:
        each = [r / b for r, b in zip(runs[1:], loops[1:], strict=True)]
        return [min(each), statistics.median(each), max(each)]

    return {
        scheme: {
            "loop_cpu_ms": 1000 * statistics.median(loops[1:]) / count,
            "memory_times": ratios(memories),
            "sqlite_times": ratios(files),
            "sqlite_numbers_per_second": count / statistics.median(seconds[1:]),
        }
    }


async def bare_loop(client: QualifiedNumbersClient, numbers: list[str]) -> None:
    """Look up the states, call, verify: handwritten code without a journal."""
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
    """Do the same with a run whose codes are submitted at once."""
    async with VoiceChallengeRun(
        client,
        journal,
        max_ringing=len(numbers),
        calls_per_second=100_000,
        concurrency=CONCURRENCY,
    ) as running:

        async def answer() -> None:
            # Each code is submitted in a task of its own; the buffer holds all events.
            async with asyncio.TaskGroup() as people:
                async for event in running.events(buffer=10 * len(numbers)):
                    if event.what == "called":
                        people.create_task(running.submit_code(event.number, "1234"))

        people = asyncio.create_task(answer())
        await running.add(numbers)
        report = await running.finish()
        assert sum(report.counts.values()) == len(numbers)
    await people


# ---- on the sandbox --------------------------------------------------------------------------


def on_the_sandbox(count: int) -> dict[str, float]:
    """Return the cost of a run of *count* numbers on the sandbox, without a rate limit."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.db"
        command = [sys.executable, __file__, "be-the-sandbox", str(path), str(count)]
        sandbox = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
        assert sandbox.stdin is not None
        assert sandbox.stdout is not None
        try:
            with pinned_away_from(sandbox.pid):
                environment = json.loads(sandbox.stdout.readline())
                figures = asyncio.run(run_against(environment, path, count))
            sandbox.stdin.close()
            return figures | {"sandbox_cpu_s": float(sandbox.stdout.readline())}
        finally:
            sandbox.stdin.close()
            sandbox.wait(10)


async def run_against(environment: dict[str, str], path: Path, count: int) -> dict[str, float]:
    """Run *count* numbers with a client of *environment*, until all are verified."""
    started, used = time.perf_counter(), cpu()
    async with (
        QualifiedNumbersClient.from_env(environment) as client,
        VoiceChallengeRun(
            client, SqliteJournal(path), max_ringing=count, calls_per_second=100_000
        ) as running,
    ):
        await running.add(f"+1{FIRST + n}" for n in range(count))
        report = await running.finish()
    assert report.counts[ChallengeState.VERIFIED] == count, report.counts
    return {
        "numbers": count,
        "seconds": time.perf_counter() - started,
        "run_cpu_s": cpu() - used,
        "peak_mb": peak_mb(),
    }


async def be_the_sandbox(path: Path, count: int) -> None:
    """Serve, and submit each code once it was read out, until standard input ends."""
    from sinch_qn.sandbox import Sandbox  # noqa: PLC0415 - slow to load

    numbers = [f"+1{FIRST + n}" for n in range(count)]
    async with Sandbox() as sandbox:
        sandbox.add(numbers)
        print(json.dumps(sandbox.environment()), flush=True)
        used = cpu()

        async def talk() -> None:
            unsaid = dict.fromkeys(numbers)
            journal = SqliteJournal(path)
            while True:
                with contextlib.suppress(JournalError):
                    await journal.open(None, running=False)
                    break
                await asyncio.sleep(0.02)
            while True:
                # A run calls numbers in the order in which they were added.
                heard = [n for n in islice(unsaid, 500) if sandbox.code_for(n)]
                await asyncio.gather(
                    *(submit_code(journal, n, str(sandbox.code_for(n))) for n in heard)
                )
                for number in heard:
                    del unsaid[number]
                await asyncio.sleep(0.01)

        talking = asyncio.create_task(talk())
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        talking.cancel()
        print(cpu() - used, flush=True)


def markdown(figures: dict[str, Any]) -> str:
    """Return the tables."""

    def times(each: list[float]) -> str:
        least, median, most = each
        return f"{median:.2f} times it ({least:.2f} to {most:.2f})"

    loops = table(
        ("", "CPU of the bare loop", "with `MemoryJournal`", "with `SqliteJournal`", "numbers/s"),
        (
            (
                scheme,
                f"{f['loop_cpu_ms']:.2f} ms a number",
                times(f["memory_times"]),
                times(f["sqlite_times"]),
                f"{f['sqlite_numbers_per_second']:,.0f}",
            )
            for scheme, f in figures["beside_a_loop"].items()
        ),
    )
    f = figures["on_the_sandbox"]
    count = f["numbers"]
    sandbox = table(
        (f"{count:,} numbers on the sandbox, no rate limit", ""),
        (
            ("wall", f"{f['seconds']:.1f} s"),
            ("numbers/s", f"{count / f['seconds']:,.0f}"),
            ("CPU of the run", f"{1e3 * f['run_cpu_s'] / count:.2f} ms a number"),
            (
                "CPU of the sandbox, and of the people at the phones",
                f"{1e3 * f['sandbox_cpu_s'] / count:.2f} ms a number",
            ),
            ("peak RSS of the run", f"{f['peak_mb']:.0f} MB"),
        ),
    )
    return f"{loops}\n\n{sandbox}"


if __name__ == "__main__":
    main()
