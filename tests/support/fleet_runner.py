"""A runner in a process of its own: `python -m tests.support.fleet_runner URL SETTINGS`."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import sys
import time
from typing import Any

import orjson

from sinch_qn import QualifiedNumbersClient
from sinch_qn.bulk import VoiceChallengeRun
from sinch_qn.bulk.journal import postgres_lease
from sinch_qn.bulk.journal.postgres import PostgresJournal


def _shift_clock(seconds: float) -> None:
    """Let the clock of this host be wrong."""
    right = time.time
    time.time = lambda: right() + seconds


async def main(url: str, lease: float, add: int, options: dict[str, Any]) -> None:
    """Run until every number is settled, or SIGTERM.

    Prints the seconds that it took to add *add* numbers, then the most memory, in MB,
    and the seconds of CPU.
    """
    postgres_lease.LEASE = lease
    postgres_lease.RENEWAL, postgres_lease.MARGIN = lease / 6, lease / 3
    journal = PostgresJournal(url, require_durable=False)
    async with (
        QualifiedNumbersClient.from_env() as client,
        VoiceChallengeRun(client, journal, **options) as run,
    ):
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        began = time.monotonic()
        await run.add(f"+1{2_025_600_000 + n}" for n in range(add))
        print(f"started {time.monotonic() - began:.3f}", flush=True)  # noqa: T201 - for the test
        with contextlib.suppress(asyncio.CancelledError):
            await run.finish()
    used = resource.getrusage(resource.RUSAGE_SELF)
    memory, seconds = used.ru_maxrss / 1024, used.ru_utime + used.ru_stime
    print(f"finished {memory:.0f} {seconds:.2f}", flush=True)  # noqa: T201 - for the test


if __name__ == "__main__":
    settings = orjson.loads(sys.argv[2])
    _shift_clock(settings["clock"])
    asyncio.run(main(sys.argv[1], settings["lease"], settings["add"], settings["options"]))
