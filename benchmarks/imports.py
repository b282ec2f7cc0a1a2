"""The cost of importing sinch_qn and of one client.

    python benchmarks/imports.py [--rounds 21] [--json FILE]

Each import runs in a fresh interpreter; imports alternate. CPU time, because wall time on a shared
machine includes other processes.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import subprocess
import sys
import tracemalloc
from typing import Any

from measuring import arguments, children_cpu, in_child, present, table
from server import PROJECT
from serving import serving

CODES = {
    "a bare interpreter": "",
    "sinch_qn": "import sinch_qn",
    "sinch_qn.models": "import sinch_qn.models",
    "aiohttp": "import aiohttp",
    "sinch_qn.client": "import sinch_qn.client",
    "sinch_qn.bulk": "import sinch_qn.bulk",
}
BARE = next(iter(CODES))
CLIENTS = 200


def main() -> None:
    """Measure, print the tables, and write the JSON file."""
    options = arguments(__doc__, rounds=21)
    with serving() as base_url:  # also pins this process and its interpreters
        figures = importing(options.rounds)
        figures["client_kib"] = in_child(client_sizes, base_url)
    present(figures, markdown, options.json)


def importing(rounds: int) -> dict[str, Any]:
    """Return the CPU ms of each import over a bare interpreter's, and the client's over aiohttp's.

    Medians of the differences and ratios of each turn.
    """
    taken: dict[str, list[float]] = {name: [] for name in CODES}
    for _ in range(rounds + 1):
        for name, code in CODES.items():
            before = children_cpu()
            subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603
            taken[name].append(1e3 * (children_cpu() - before))
    over = {
        name: [ms - bare for ms, bare in zip(each[1:], taken[BARE][1:], strict=True)]
        for name, each in taken.items()  # the first turn warmed up
    }
    both = zip(over["sinch_qn.client"], over["aiohttp"], strict=True)
    return {
        "cpu_ms": {name: statistics.median(each) for name, each in over.items() if name != BARE},
        "client_of_aiohttp": statistics.median(client / aiohttp for client, aiohttp in both),
    }


def client_sizes(base_url: str) -> dict[str, float]:
    """Return the KiB of one client when created and after its first call, by tracemalloc."""
    from sinch_qn import OAuth2, QualifiedNumbersClient  # noqa: PLC0415 - main() imports nothing

    def make() -> QualifiedNumbersClient:
        auth = OAuth2("key", "secret", token_url=base_url + "/oauth2/token")
        return QualifiedNumbersClient(PROJECT, auth, base_url=base_url)

    def traced() -> float:
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / 1024 / CLIENTS

    async def measure() -> dict[str, float]:
        async with make() as warm:
            await warm.get_number("+12025550134")
        tracemalloc.start()
        before = traced()
        clients = [make() for _ in range(CLIENTS)]
        made = traced() - before
        for client in clients:
            await client.get_number("+12025550134")
        called = traced() - before
        tracemalloc.stop()
        for client in clients:
            await client.close()
        return {"just made": made, "after its first call": called}

    return asyncio.run(measure())


def markdown(figures: dict[str, Any]) -> str:
    """Return the tables."""
    imports = table(
        ("import", "CPU ms over a bare interpreter"),
        ((f"`{name}`", f"{ms:.1f}") for name, ms in figures["cpu_ms"].items()),
    )
    clients = table(
        ("one client", "KiB"), ((name, f"{k:.1f}") for name, k in figures["client_kib"].items())
    )
    return f"{imports}\n\n{clients}"


if __name__ == "__main__":
    main()
