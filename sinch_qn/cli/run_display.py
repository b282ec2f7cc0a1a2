"""The progress of a run: a live table, a line now and then, or JSON lines."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import aclosing
from typing import Final, Self

import click
import orjson
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sinch_qn._redaction import printable
from sinch_qn.bulk import ChallengeState, RunEvent, VoiceChallengeRun
from sinch_qn.cli.messages import print_message
from sinch_qn.cli.run_codes import CodePrompt

_REFRESH_INTERVAL: Final = 0.25
"""Seconds between two updates of a live display."""
_MIN_LINE_INTERVAL, _MAX_LINE_INTERVAL = 1.0, 30.0
"""Seconds between two lines where there is no terminal; the interval grows, to keep logs short."""
_RATE_WINDOW: Final = 60.0
"""Seconds of history for the estimate of the time left."""
_BAR_WIDTH: Final = 30

_STYLES: Final = {
    ChallengeState.VERIFIED: "green",
    ChallengeState.SKIPPED: "green",
    ChallengeState.FAILED: "red",
    ChallengeState.BLOCKED: "red",
    ChallengeState.INVALID: "red",
    ChallengeState.EXPIRED: "yellow",
    ChallengeState.UNKNOWN: "yellow",
}
_ERROR_EVENTS: Final = frozenset(
    ("cannot", "not called", "lost", "wrong", "not verified", "unsure", "ask", "blocked", "late")
)
"""Events that report an error, by `RunEvent.what`."""


class RunDisplay:
    """Shows the progress of *run* until it exits: at a terminal as a table that is updated."""

    def __init__(self, run: VoiceChallengeRun, *, as_json: bool, prompt: CodePrompt | None) -> None:
        self._run = run
        self._as_json = as_json
        self._prompt = prompt
        self._last_error = ""
        self._samples: deque[tuple[float, int]] = deque()
        self._live: Live | None = None
        if is_live(as_json=as_json):
            console = Console(stderr=True)
            self._live = Live(
                console=console, auto_refresh=False, transient=True, redirect_stderr=False
            )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def notify(self, text: str, kind: str) -> None:
        """Print a message, above the table if there is one."""
        if self._live is None:
            print_message(text, kind)
            return
        head = Text(f"{kind}: ", style="bold yellow") if kind else Text()
        self._live.console.print(head + Text(printable(text)))

    async def follow(self) -> None:
        """Record errors, and print events if they are wanted as JSON, until the run ends."""
        async with aclosing(self._run.events()) as events:
            async for event in events:
                if event.what in _ERROR_EVENTS and event.note:
                    self._last_error = f"{event.number}: {event.note}"
                if self._as_json:
                    # In a thread: a reader that pauses must not block the run.
                    await asyncio.to_thread(_print_event, event)

    async def show(self) -> None:
        """Update the display until cancelled."""
        interval, before = _MIN_LINE_INTERVAL, ""
        while True:
            counts = await self._run.counts()
            self._record(counts)
            if self._live is not None:
                self._live.update(self._table(counts), refresh=True)
                await asyncio.sleep(_REFRESH_INTERVAL)
                continue
            line = self._line(counts)
            if line != before and not self._as_json:
                print_message(f"{time.strftime('%T')} {line}")
            before = line
            await asyncio.sleep(interval)
            interval = min(_MAX_LINE_INTERVAL, interval * 1.5)

    def _record(self, counts: Mapping[ChallengeState, int]) -> None:
        now = time.monotonic()
        self._samples.append((now, counts[ChallengeState.PENDING]))
        while len(self._samples) > 2 and self._samples[0][0] < now - _RATE_WINDOW:
            self._samples.popleft()

    def _time_left(self) -> str:
        """Estimate the time until all are called, from the last minute; codes are not included."""
        (start, had), (now, has) = self._samples[0], self._samples[-1]
        if not has:
            return "all are called"
        if had <= has or now <= start:
            return f"{has} to call"
        seconds = has * (now - start) / (had - has)
        return f"{has} to call, in about {_rounded(seconds)}"

    def _pace(self) -> str:
        rate = self._run.rate
        if not rate:
            reason = f": {printable(self._run.last_error)}" if self._run.last_error else ""
            return f"calls are paused until Sinch responds{reason}"
        return f"{self._run.ringing} phones ringing, at most {rate:.3g} calls a second"

    def _line(self, counts: Mapping[ChallengeState, int]) -> str:
        states = ", ".join(f"{state.value} {n}" for state, n in counts.items() if n)
        error = f"; last error: {self._last_error}" if self._last_error else ""
        return f"{states or 'nothing yet'}; {self._pace()}; {self._time_left()}{error}"

    def _table(self, counts: Mapping[ChallengeState, int]) -> Group:
        total = sum(counts.values())
        table = Table.grid(padding=(0, 2))
        for state, count in counts.items():
            if count:
                style = _STYLES.get(state, "")
                bar = "━" * max(1, _BAR_WIDTH * count // total)
                name = state.value.replace("_", " ")
                table.add_row(
                    Text(name, style), Text(f"{count}", justify="right"), Text(bar, style)
                )
        lines = [Text(f"{self._pace()}; {self._time_left()}", style="dim")]
        if self._last_error:
            lines.append(Text(f"last error: {printable(self._last_error)}", style="yellow"))
        if self._prompt is not None:
            lines.append(Text(f"number and code> {self._prompt.text}▏", style="bold"))
        return Group(table, *lines)


def is_live(*, as_json: bool) -> bool:
    """Is the display live: at a terminal, unless it is JSON?"""
    return sys.stderr.isatty() and not as_json


def _print_event(event: RunEvent) -> None:
    record = {
        "event": event.what,
        "phoneNumber": event.number,
        "ref": event.ref,
        "state": event.state.value,
        "attempt": event.attempt,
        "note": event.note,
    }
    click.echo(orjson.dumps(record | ({"dropped": event.dropped} if event.dropped else {})))


def _rounded(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
