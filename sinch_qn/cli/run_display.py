"""The progress of a run: a live table, a line now and then, or JSON lines."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Final

import orjson
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sinch_qn._redaction import printable
from sinch_qn.bulk import ChallengeState, EventName, RunEvent, VoiceChallengeRun
from sinch_qn.bulk.rate_ceiling import RateCeiling
from sinch_qn.cli.background_stream import BackgroundStream
from sinch_qn.cli.code_prompt import CodePrompt
from sinch_qn.cli.journals import StoredJournal
from sinch_qn.cli.messages import in_full, is_dumb, print_message
from sinch_qn.cli.run_status import RunStatus
from sinch_qn.cli.session_settings import SessionSettings
from sinch_qn.cli.tables import make_console

_log = logging.getLogger("sinch_qn")

_REFRESH_INTERVAL: Final = 0.25
"""Seconds between two updates of a live display."""
_MIN_LINE_INTERVAL, _MAX_LINE_INTERVAL = 1.0, 30.0
"""Seconds between two lines where there is no terminal; the interval grows, to keep logs short."""
_FLUSH_TIMEOUT: Final = 1.0
"""Seconds to wait for a terminal that takes no output."""
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
_ERROR_EVENTS: Final[frozenset[EventName]] = frozenset(
    ("cannot", "not called", "lost", "wrong", "not verified", "unsure", "ask", "blocked", "late")
)
"""Events that report an error, by `RunEvent.what`."""


class _Warnings(logging.Handler):
    """Shows the library's warnings; logging itself would wait for who reads stderr."""

    def __init__(self, notify: Callable[[str, str], None]) -> None:
        super().__init__(logging.WARNING)
        self._notify = notify

    def emit(self, record: logging.LogRecord) -> None:
        """Show *record*, unless the display says the same with the names of its options."""
        if not any(isinstance(each, RateCeiling) for each in record.args or ()):
            self._notify(record.getMessage(), "warning")


class RunDisplay:
    """Shows the progress of *run* until it exits: at a terminal as a table that is updated.

    Whoever reads it may pause: what is shown waits then, and the run does not.
    """

    def __init__(
        self,
        run: VoiceChallengeRun,
        journal: StoredJournal,
        settings: SessionSettings,
        prompt: CodePrompt | None,
    ) -> None:
        self._run = run
        self._status = RunStatus(run, journal, settings, has_prompt=prompt is not None)
        self._as_json = settings.as_json
        self._prompt = prompt
        self._messages = BackgroundStream(sys.stderr)
        self._events = BackgroundStream(sys.stdout) if self._as_json else None
        self._warnings = _Warnings(self.notify)
        _log.addHandler(self._warnings)
        self._live: Live | None = None
        if is_live(as_json=self._as_json):
            console = make_console(file=self._messages, force_terminal=True)
            self._live = Live(
                console=console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )

    def resume(self) -> None:
        """Show the table and the prompt; the process is in the foreground."""
        if self._live is not None and not self._live.is_started:
            self._live.start()
        if self._prompt is not None:
            self._prompt.resume()

    async def pause(self) -> None:
        """Remove the table and the prompt, so that the terminal is as it was."""
        if self._prompt is not None:
            self._prompt.pause()
        if self._live is not None and self._live.is_started:
            self._live.stop()
            with suppress(TimeoutError, OSError):
                async with asyncio.timeout(_FLUSH_TIMEOUT):
                    await self._messages.drain()

    async def close(self) -> None:
        """Write what was said last, for a reader that does not pause."""
        _log.removeHandler(self._warnings)
        await self._messages.close(_FLUSH_TIMEOUT)
        if self._events is not None:
            await self._events.close(0.0)

    def notify(self, text: str, kind: str) -> None:
        """Print a message, above the table if there is one."""
        if self._live is None or not self._live.is_started:
            print_message(text, kind, file=self._messages)
            return
        head = Text(f"{kind}: ", style="bold yellow") if kind else Text()
        self._live.console.print(head + Text(printable(in_full(text))))

    async def follow(self) -> None:
        """Record errors, and print events if they are wanted as JSON, until the run ends."""
        async with aclosing(self._run.events()) as events:
            async for event in events:
                if event.what in _ERROR_EVENTS and event.note:
                    self._status.last_error = f"{event.number}: {event.note}"
                elif self._status.last_error.startswith(f"{event.number}: "):
                    self._status.last_error = ""  # the number has gone on
                if self._events is not None:
                    self._events.write(_event_line(event))
                    await self._events.drain()

    async def show(self) -> None:
        """Update the display until cancelled."""
        interval, next_line, before = _MIN_LINE_INTERVAL, 0.0, ""
        warned = False
        while True:
            await self._status.update()
            if self._run.ceiling is not None and not warned:
                warned = True
                self.notify(_why_not_faster(self._run.ceiling), "warning")
            if self._live is not None and self._live.is_started:
                if not self._messages.behind:
                    self._live.update(self._table(), refresh=True)
            elif time.monotonic() >= next_line and not self._as_json:
                line = self._status.line()
                if line != before:
                    self.notify(f"{time.strftime('%T')} {line}", "")
                before, next_line = line, time.monotonic() + interval
                interval = min(_MAX_LINE_INTERVAL, interval * 1.5)
            await asyncio.sleep(_REFRESH_INTERVAL)

    def _table(self) -> Group:
        counts = self._status.counts
        total = sum(counts.values())
        is_unicode = "utf" in self._messages.encoding.lower()
        table = Table.grid(padding=(0, 2))
        for state, count in counts.items():
            if count:
                style = _STYLES.get(state, "")
                bar = ("━" if is_unicode else "-") * max(1, _BAR_WIDTH * count // total)
                name = state.value.replace("_", " ")
                table.add_row(
                    Text(name, style), Text(f"{count}", justify="right"), Text(bar, style)
                )
        lines = [Text(printable(part), style="dim") for part in self._status.parts()]
        if self._status.last_error:
            lines.append(Text(f"last error: {printable(self._status.last_error)}", style="yellow"))
        if self._prompt is not None:
            cursor = "▏" if is_unicode else "_"
            lines.append(Text(f"number and code> {self._prompt.text}{cursor}", style="bold"))
        return Group(table, *lines)


def is_live(*, as_json: bool) -> bool:
    """Is the display live: at a terminal that can move its cursor, unless it is JSON?"""
    return sys.stderr.isatty() and not is_dumb() and not as_json


def _why_not_faster(ceiling: RateCeiling) -> str:
    limit, advice = f"{ceiling.in_flight} requests in flight allow", ""
    if ceiling.option == "max_unknown":
        limit = f"--max-unknown {ceiling.in_flight} allows"
        advice = ". A higher one lets an outage leave more numbers UNKNOWN"
    return (
        f"--rate {ceiling.calls_per_second:g} cannot be reached: a call takes"
        f" {ceiling.response_time:.2g} s, so {limit} {ceiling.reachable:.3g} calls a second{advice}"
    )


def _event_line(event: RunEvent) -> str:
    record = {
        "event": event.what,
        "phoneNumber": event.number,
        "ref": event.ref,
        "state": event.state.value,
        "attempt": event.attempt,
        "note": event.note,
    }
    record |= {"dropped": event.dropped} if event.dropped else {}
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE).decode()
