"""The cost of importing sinch_qn, of one client, and of a command from start to end.

    python benchmarks/imports.py [--rounds 11] [--json FILE]

Each runs in a fresh interpreter; they alternate. CPU time, because wall time on a shared machine
includes other processes.
"""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measuring import arguments, children_cpu, in_child, present, table
from server import PROJECT
from serving import serving

ROOT = Path(__file__).parents[1]
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
JOURNAL = "run.db"
COMMAND = "import sys; from sinch_qn.cli import main; sys.exit(main())"
NUMBER = "NUMBER"
COMMANDS = (
    ("status", JOURNAL),
    ("code", JOURNAL, NUMBER, "0417"),
    ("recall", JOURNAL, NUMBER),
    ("--help",),
    ("run", "--help"),
    ("status", "--help"),
    ("text-enable", "--help"),
)
"""Commands, in a folder with a journal; in each turn `NUMBER` is another one that was called."""


def main() -> None:
    """Measure, print the tables, and write the JSON file."""
    options = arguments(__doc__, rounds=11)
    with serving() as base_url:  # also pins this process and its interpreters
        figures = importing(options.rounds)
        figures["client_kib"] = in_child(client_sizes, base_url)
        figures["commands"] = commands(options.rounds)
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


def commands(rounds: int) -> dict[str, dict[str, float]]:
    """Return the CPU ms of each command from start to end, and how many bare interpreters that is.

    Medians of each turn; its output goes to a pipe.
    """
    bare = [sys.executable, "-c", ""]
    taken: dict[str, list[tuple[float, float]]] = {" ".join(words): [] for words in COMMANDS}
    numbers = [f"+1202555{turn:04}" for turn in range(rounds + 1)]
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(called_once(Path(folder, JOURNAL), numbers))
        for number in numbers:
            alone = command_cpu(bare, folder)
            for words in COMMANDS:
                these = [number if word == NUMBER else word for word in words]
                ms = command_cpu([sys.executable, "-c", COMMAND, *these], folder)
                taken[" ".join(words)].append((ms, alone))
    return {
        name: {
            "cpu_ms": statistics.median(ms for ms, _ in each[1:]),  # the first turn warmed up
            "interpreters": statistics.median(ms / alone for ms, alone in each[1:]),
        }
        for name, each in taken.items()
    }


def command_cpu(command: list[str], folder: str) -> float:
    """Return the CPU ms of *command* in *folder*, with its bytecode cached."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    before = children_cpu()
    subprocess.run(command, check=True, cwd=folder, env=env, capture_output=True)  # noqa: S603
    return 1e3 * (children_cpu() - before)


async def called_once(path: Path, numbers: Sequence[str]) -> None:
    """Make the journal of *numbers* that were called."""
    from sinch_qn.bulk import Entry, SqliteJournal  # noqa: PLC0415 - main() imports nothing
    from sinch_qn.bulk.journal import Identity  # noqa: PLC0415
    from sinch_qn.bulk.states import Change, Event  # noqa: PLC0415

    journal = SqliteJournal(path)
    await journal.open(Identity(PROJECT, "https://api.example"), running=True)
    await journal.add([Entry(number=number) for number in numbers])
    for number in numbers:
        (entry,) = await journal.apply([Change(number=number, event=Event.CALL, at=1.0)])
        token = entry.intent if entry else None
        change = Change(number=number, event=Event.CALLED, at=2.0, intent=token, window=1e9)
        await journal.apply([change])
    await journal.close()


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
    ran = table(
        ("command, from start to end", "CPU ms", "÷ `python -c ''`"),
        (
            (f"`sinch-qn {name}`", f"{each['cpu_ms']:.0f}", f"{each['interpreters']:.1f}")
            for name, each in figures["commands"].items()
        ),
    )
    return f"{imports}\n\n{clients}\n\n{ran}"


if __name__ == "__main__":
    main()
