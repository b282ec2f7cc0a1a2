"""How a run stands, in words: what it does now, what it waits for, and until when."""

from __future__ import annotations

import shlex
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final

import attrs

from sinch_qn._redaction import printable
from sinch_qn.bulk import ChallengeState, VoiceChallengeRun
from sinch_qn.bulk.states import LOOK_UPS, Todo
from sinch_qn.cli.journals import StoredJournal
from sinch_qn.cli.session_settings import SessionSettings
from sinch_qn.cli.times import clock, rounded

_RATE_WINDOW: Final = 60.0
"""Seconds of history for the estimate of the time left."""
_SOON: Final = 2.0
"""Seconds; what is due by then is not worth a time of day."""


@attrs.define(eq=False)
class RunStatus:
    """The counts of *run*, and what it waits for."""

    run: VoiceChallengeRun
    journal: StoredJournal
    settings: SessionSettings
    has_prompt: bool = attrs.field(kw_only=True)
    counts: Mapping[ChallengeState, int] = attrs.field(init=False, factory=dict)
    last_error: str = ""
    _next: dict[Todo, float] = attrs.field(init=False, factory=dict)
    """When the next number is due, by what is to be done."""
    _requested: int = attrs.field(init=False, default=0)
    """Requested calls that are due."""
    _samples: deque[tuple[float, int]] = attrs.field(init=False, factory=deque)

    async def update(self) -> None:
        """Read the counts from the journal."""
        self.counts = await self.run.counts()
        self._next.clear()
        for todo in (Todo.REQUESTED_CALL, Todo.CALL, *LOOK_UPS, Todo.EXPIRE):
            due = await self.journal.next_due(todo)
            if due is not None:
                self._next[todo] = due
        if self.settings.on_request:
            self._requested = await self.journal.backlog(Todo.REQUESTED_CALL)
        now = time.monotonic()
        self._samples.append((now, self.counts[ChallengeState.PENDING]))
        while len(self._samples) > 2 and self._samples[0][0] < now - _RATE_WINDOW:
            self._samples.popleft()

    def line(self) -> str:
        """Return the status in one line."""
        states = ", ".join(
            f"{state.value.replace('_', ' ')} {n}" for state, n in self.counts.items() if n
        )
        error = [f"last error: {self.last_error}"] if self.last_error else []
        return "; ".join([*([states] if states else []), *self.parts(), *error])

    def parts(self) -> Iterator[str]:
        """Yield what the run does now, and what it waits for."""
        if not sum(self.counts.values()):
            yield "adding the numbers"
        if not self.run.rate:
            yield self._why_paused()
        elif self.run.ringing:
            phones = "1 phone" if self.run.ringing == 1 else f"{self.run.ringing} phones"
            yield f"{phones} ringing, at most {self.run.rate:.3g} calls a second"
        if pending := self.counts[ChallengeState.PENDING]:
            yield from self._pending(pending)
        if awaited := self.counts[ChallengeState.AWAITING_CODE]:
            yield self._awaited(awaited)

    def _why_paused(self) -> str:
        if self.run.last_error is None:
            return "checking that Sinch responds"
        return f"calls are paused until Sinch responds: {printable(self.run.last_error)}"

    def _pending(self, pending: int) -> Iterator[str]:
        """Yield why the numbers wait that are not called yet, and how long, as far as is known."""
        now = time.time()
        call = self._first(Todo.REQUESTED_CALL, Todo.CALL)
        look_up = self._first(*LOOK_UPS)
        if call is None and look_up is not None:
            again = f", again at {clock(look_up)}" if look_up > now + _SOON else ""
            yield f"{pending} to look up at Sinch{again}"
        elif self.settings.on_request:
            yield from self._on_request(pending)
        elif call is not None and call > now + _SOON and self.settings.hours is not None:
            yield f"{pending} to call, within calling hours: from {clock(call)}"
        else:
            (start, had), (end, has) = self._samples[0], self._samples[-1]
            left = "" if had <= has or end <= start else rounded(has * (end - start) / (had - has))
            yield f"{pending} to call" + (f", in about {left}" if left else "")

    def _first(self, *todos: Todo) -> float | None:
        return min((self._next[todo] for todo in todos if todo in self._next), default=None)

    def _on_request(self, pending: int) -> Iterator[str]:
        """Yield how many calls are asked for, and how to ask for one."""
        after = self._next.get(Todo.REQUESTED_CALL)
        if self._requested:
            yield f"{self._requested} requested, called next"
        elif after is not None:
            yield f"the next requested call is due at {clock(after)}"
        if waiting := pending - self._requested:
            path = shlex.quote(str(self.settings.journal))
            yield f"{waiting} called on request: sinch-qn request {path} NUMBER"

    def _awaited(self, awaited: int) -> str:
        """Return how many codes are awaited, until when, and how to submit them."""
        until = self._next.get(Todo.EXPIRE)
        codes = "1 code is" if awaited == 1 else f"{awaited} codes are"
        first = "" if until is None else f", the first until {clock(until)}"
        path = shlex.quote(str(self.settings.journal))
        ways = []
        if self.has_prompt:
            ways.append("type NUMBER CODE here")
        if self.settings.codes is not None:
            ways.append(f"append NUMBER,CODE to {self.settings.codes}")
        ways.append(f"sinch-qn code {path} NUMBER")
        return f"{codes} awaited{first}: {', or '.join(ways)}"
