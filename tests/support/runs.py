"""A run of voice challenges for tests: fast, deterministic, on a clock that a test may move."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Any, cast

from sinch_qn import QualifiedNumbersClient
from sinch_qn.bulk import (
    ChallengeState,
    Entry,
    Journal,
    MemoryJournal,
    RunReport,
    VoiceChallengeRun,
)
from sinch_qn.bulk.permits import Turn
from sinch_qn.bulk.states import Change

NUMBER = "+12025550134"
OTHER = "+12025550135"
EPOCH = 1_767_225_600.0  # 2026-01-01T00:00:00Z


def numbers(count: int) -> list[str]:
    """Return *count* numbers."""
    return [f"+1{2_025_600_000 + index}" for index in range(count)]


class WallClock:
    """The wall clock: the loop's time as a date, which a test may move."""

    def __init__(self, at: float = EPOCH) -> None:
        self.at = at

    def __call__(self) -> float:
        """Return the time."""
        return self.at + asyncio.get_running_loop().time()


def run_of(client: object, journal: Journal | None = None, **options: Any) -> VoiceChallengeRun:
    """Return a fast, deterministic run; *options* override its settings."""
    usual: dict[str, Any] = {
        "jitter": lambda: 0.5,
        "calls_per_second": 1000.0,
        "max_ringing": 10_000,
        "code_timeout": 600.0,
        "recheck": 5.0,
    }
    journal = MemoryJournal() if journal is None else journal
    cast("MemoryJournal", journal).clock = options.pop("clock", None) or WallClock()
    return VoiceChallengeRun(cast("QualifiedNumbersClient", client), journal, **usual | options)


async def state_of(run: VoiceChallengeRun, number: str = NUMBER) -> ChallengeState:
    """Return the state of a number."""
    entry = await run.result(number)
    assert entry is not None
    return entry.state


async def until(
    condition: Callable[[], Any], *, seconds: float = 600.0, step: float = 0.01
) -> None:
    """Wait until *condition*, a function or coroutine function, holds."""
    async with asyncio.timeout(seconds):
        while True:
            held = condition()
            if asyncio.iscoroutine(held):
                held = await held
            if held:
                return
            await asyncio.sleep(step)


async def until_state(
    run: VoiceChallengeRun, state: ChallengeState, number: str = NUMBER, *, seconds: float = 600.0
) -> Entry:
    """Wait until *number* is in *state* and return its entry."""

    async def there() -> bool:
        return await state_of(run, number) is state

    await until(there, seconds=seconds)
    entry = await run.result(number)
    assert entry is not None
    return entry


async def counts(run: VoiceChallengeRun) -> dict[ChallengeState, int]:
    """Return the counts that are not zero."""
    return {state: n for state, n in (await run.counts()).items() if n}


@contextlib.asynccontextmanager
async def people(
    run: VoiceChallengeRun, code_for: Callable[[str], str | None]
) -> AsyncGenerator[None, None]:
    """Submit the code of each call as soon as it was made."""

    async def answer() -> None:
        async for event in run.events():
            if event.what in {"called", "lost"} and (code := code_for(event.number)):
                await run.submit_code(event.number, code)

    task = asyncio.create_task(answer())
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


async def finish(
    run: VoiceChallengeRun,
    wanted: Iterable[str],
    code_for: Callable[[str], str | None] = lambda _: None,
) -> RunReport:
    """Run from start to end: add the numbers, submit the codes, wait until all are settled."""
    async with run, people(run, code_for):
        await run.add(wanted)
        return await run.finish()


class Recording(MemoryJournal):
    """Appends its commits to the log of a `Sinch`; suspends after each."""

    def __init__(self, log: list[tuple[str, str | None]]) -> None:
        super().__init__()
        self.log = log

    async def apply(self, changes: Sequence[Change]) -> list[Entry | None]:
        """Apply, then suspend, so that a cancellation can occur after the commit."""
        done = await super().apply(changes)
        self.log += [(f"commit {change.event.value}", change.number) for change in changes]
        await asyncio.sleep(0)
        return done

    async def start_call(
        self, turn: Turn, opens_in: Callable[[str, float], float] | None = None
    ) -> Entry | None:
        """Start, then suspend, like `apply`."""
        entry = await super().start_call(turn, opens_in)
        if entry is not None:
            self.log.append(("commit call", entry.number))
        await asyncio.sleep(0)
        return entry

    async def take_code(self) -> tuple[Entry, str] | None:
        """Take, then suspend, like `apply`."""
        taken = await super().take_code()
        if taken is not None:
            self.log.append(("commit verify", taken[0].number))
        await asyncio.sleep(0)
        return taken
