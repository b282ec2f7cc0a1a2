"""How a run is shown while it goes: a live table, a line now and then, or JSON lines."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, Self

import click
import orjson
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sinch_qn.bulk import ChallengeState
from sinch_qn.cli.output import clean, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sinch_qn.bulk import RunEvent, VoiceChallengeRun
    from sinch_qn.cli.run_codes import Typed

_REFRESH: Final = 0.25
"""Seconds between two pictures of a live display."""
_FIRST_LINE, _SLOWEST_LINE = 1.0, 30.0
"""Seconds between two lines where there is no terminal: more and more, as a log gets long."""
_LOOK_BACK: Final = 60.0
"""Seconds that the time left is reckoned from."""
_BAR: Final = 30

_STYLES: Final = {
    ChallengeState.VERIFIED: "green",
    ChallengeState.SKIPPED: "green",
    ChallengeState.FAILED: "red",
    ChallengeState.BLOCKED: "red",
    ChallengeState.INVALID: "red",
    ChallengeState.EXPIRED: "yellow",
    ChallengeState.UNKNOWN: "yellow",
}
_TROUBLE: Final = frozenset(
    ("cannot", "not called", "lost", "wrong", "not verified", "unsure", "ask", "blocked", "late")
)
"""Events that tell of trouble, by their names in `RunEvent.what`."""


class Display:
    """Shows *run* until it is left: at a terminal as a table that stays in its place."""

    def __init__(self, run: VoiceChallengeRun, *, as_json: bool, typed: Typed | None) -> None:
        self._run = run
        self._as_json = as_json
        self._typed = typed
        self._trouble = ""
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

    def tell(self, text: str, kind: str = "") -> None:
        """Tell the person something, above the table if there is one."""
        if self._live is None:
            say(text, kind)
            return
        head = Text(f"{kind}: ", style="bold yellow") if kind else Text()
        self._live.console.print(head + Text(clean(text)))

    async def follow(self) -> None:
        """Take note of what happens; as JSON, print it. Ends when the run does."""
        async with aclosing(self._run.events()) as events:
            async for event in events:
                if event.what in _TROUBLE and event.note:
                    self._trouble = f"{event.number}: {event.note}"
                if self._as_json:
                    # Not in the loop: a reader that pauses must not stop the run.
                    await asyncio.to_thread(_print_event, event)

    async def show(self) -> None:
        """Keep the picture true, until cancelled."""
        pause, before = _FIRST_LINE, ""
        while True:
            counts = await self._run.counts()
            self._note(counts)
            if self._live is not None:
                self._live.update(self._picture(counts), refresh=True)
                await asyncio.sleep(_REFRESH)
                continue
            line = self._line(counts)
            if line != before and not self._as_json:
                say(f"{time.strftime('%T')} {line}")
            before = line
            await asyncio.sleep(pause)
            pause = min(_SLOWEST_LINE, pause * 1.5)

    def _note(self, counts: Mapping[ChallengeState, int]) -> None:
        now = time.monotonic()
        self._samples.append((now, counts[ChallengeState.PENDING]))
        while len(self._samples) > 2 and self._samples[0][0] < now - _LOOK_BACK:
            self._samples.popleft()

    def _time_left(self) -> str:
        """Say when all are rung, as it has gone lately; codes come when they come."""
        (start, had), (now, has) = self._samples[0], self._samples[-1]
        if not has:
            return "all are rung"
        if had <= has or now <= start:
            return f"{has} to ring"
        seconds = has * (now - start) / (had - has)
        return f"{has} to ring, in about {_rounded(seconds)}"

    def _pace(self) -> str:
        rate = self._run.rate
        if not rate:
            why = f": {clean(str(self._run.trouble))}" if self._run.trouble else ""
            return f"ringing pauses, waiting for Sinch to answer{why}"
        return f"{self._run.ringing} phones ringing, at most {rate:.3g} calls a second"

    def _line(self, counts: Mapping[ChallengeState, int]) -> str:
        states = ", ".join(f"{state.value} {n}" for state, n in counts.items() if n)
        trouble = f"; last trouble: {self._trouble}" if self._trouble else ""
        return f"{states or 'nothing yet'}; {self._pace()}; {self._time_left()}{trouble}"

    def _picture(self, counts: Mapping[ChallengeState, int]) -> Group:
        total = sum(counts.values())
        table = Table.grid(padding=(0, 2))
        for state, count in counts.items():
            if count:
                style = _STYLES.get(state, "")
                bar = "━" * max(1, _BAR * count // total)
                name = state.value.replace("_", " ")
                table.add_row(
                    Text(name, style), Text(f"{count}", justify="right"), Text(bar, style)
                )
        lines = [Text(f"{self._pace()}; {self._time_left()}", style="dim")]
        if self._trouble:
            lines.append(Text(f"last trouble: {clean(self._trouble)}", style="yellow"))
        if self._typed is not None:
            lines.append(Text(f"number and code> {self._typed.text}▏", style="bold"))
        return Group(table, *lines)


def is_live(*, as_json: bool) -> bool:
    """Say whether a run is shown in place: at a terminal, unless machines read it."""
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
