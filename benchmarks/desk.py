"""Measure a code desk with many open pages: memory and CPU of its process, latency of updates.

    python benchmarks/desk.py [--pages 1000] [--seconds 10] [--json FILE]

The desk runs in a process of its own, beside a run on the sandbox that calls on request. Each page
follows its number by server-sent events. Then one number after the other is asked for, and the time
is taken from the press until its page is sent the change.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp

from sinch_qn.bulk import SqliteJournal, VoiceChallengeRun
from sinch_qn.desk import listen, serve_desk
from sinch_qn.sandbox import Sandbox

_PRESSES = 50


async def serve(pages: int) -> None:
    """Serve a desk until the standard input ends; print the links as a line of JSON."""
    numbers = [f"+1202555{at:04}" for at in range(pages)]
    with tempfile.TemporaryDirectory() as folder:
        journal = SqliteJournal(Path(folder) / "run.db")
        async with Sandbox() as sandbox, sandbox.client() as client:
            sandbox.add(numbers)
            options: dict[str, Any] = {"calls_per_second": 1000.0, "max_ringing": 10_000}
            async with VoiceChallengeRun(client, journal, on_request=True, **options) as run:
                await run.add(numbers)
                while any(entry.remote is None for entry in journal.rows()):  # noqa: ASYNC110
                    await asyncio.sleep(0.2)
                async with serve_desk(client, journal, listen(), run=run) as desk:
                    links = [await desk.person_url(number) for number in numbers]
                    print(json.dumps(links), flush=True)
                    await asyncio.to_thread(sys.stdin.read)


def usage(pid: int) -> tuple[float, float]:
    """Return the CPU seconds that a process has used, and its memory in MiB (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    memory = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert memory is not None
    return cpu, int(memory[1]) / 1024


class Page:
    """An open page."""

    def __init__(self, link: str, response: aiohttp.ClientResponse) -> None:
        self.link, self._response = link, response
        self.changed = asyncio.Event()

    async def read(self) -> None:
        """Read until cancelled."""
        with suppress(aiohttp.ClientError):
            async for line in self._response.content:
                if line.startswith(b"data"):
                    self.changed.set()


async def press(session: aiohttp.ClientSession, page: Page) -> float:
    """Ask for the call of a page; return the seconds until the page is sent the change."""
    async with session.get(page.link) as response:
        text = await response.text()
    form = dict(re.findall(r'name="(number|attempt)" value="([^"]*)"', text))
    page.changed.clear()
    began = time.perf_counter()
    async with session.post(f"{page.link}/call", data=form, allow_redirects=False) as response:
        assert response.status == 303, response.status
    async with asyncio.timeout(30):
        await page.changed.wait()
    return time.perf_counter() - began


async def measure(links: list[str], pid: int, seconds: float) -> dict[str, float]:
    """Open all pages, let them be, then press; return the figures."""
    cpu, before = usage(pid)
    connector = aiohttp.TCPConnector(limit=0)
    async with AsyncExitStack() as stack:
        timeout = aiohttp.ClientTimeout(total=None)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=connector, timeout=timeout)
        )
        began = time.perf_counter()
        pages = []
        for link in links:
            response = await stack.enter_async_context(session.get(f"{link}/events"))
            pages.append(Page(link, response))
        opened, (opened_cpu, _) = time.perf_counter() - began, usage(pid)
        tasks = [asyncio.create_task(page.read()) for page in pages]
        await asyncio.sleep(2)
        idle, memory = usage(pid)
        await asyncio.sleep(seconds)
        idle_end, _ = usage(pid)
        step = max(1, len(pages) // _PRESSES)
        latencies = sorted([await press(session, page) for page in pages[::step][:_PRESSES]])
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return {
        "pages": len(pages),
        "open_ms_a_page": 1000 * opened / len(pages),
        "open_cpu_ms_a_page": 1000 * (opened_cpu - cpu) / len(pages),
        "idle_cpu_percent": 100 * (idle_end - idle) / seconds,
        "memory_mib": memory,
        "memory_kib_a_page": 1024 * (memory - before) / len(pages),
        "update_ms_median": 1000 * statistics.median(latencies),
        "update_ms_worst": 1000 * latencies[-1],
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.pages))
        return
    command = [sys.executable, __file__, "--serve", "--pages", str(options.pages)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        links = json.loads(process.stdout.readline())
        figures = asyncio.run(measure(links, process.pid, options.seconds))
    finally:
        process.stdin.close()
        process.wait(30)
    for name, value in figures.items():
        print(f"{name:20} {value:10.1f}")
    if options.json is not None:
        options.json.write_text(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
