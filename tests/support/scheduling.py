"""A scheduler for tests: its steps return what a test sets, and log what they were started for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import attrs

from sinch_qn import QualifiedNumbersClient
from sinch_qn._pipeline import PreparedCall
from sinch_qn.bulk import Entry, MemoryJournal
from sinch_qn.bulk.journal.protocol import RunSettings
from sinch_qn.bulk.pacing import CallResult, Responses
from sinch_qn.bulk.permits import Turn
from sinch_qn.bulk.scheduler import Scheduler
from sinch_qn.bulk.states import Change, Event, Todo
from sinch_qn.bulk.steps import StepResult, Steps
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.models import QualifiedNumber
from tests.support.fake_sinch import Sinch
from tests.support.runs import NUMBER

NOW = 1000.0
"""The wall clock, which stands still."""
SETTINGS = RunSettings(
    calls_per_second=1000.0,
    max_ringing=1000,
    code_timeout=600.0,
    add_missing=True,
    recheck=5.0,
)
RESPONSE = QualifiedNumber(phone_number=NUMBER)


def outcome(entries: Sequence[Entry], event: Event, **fields: Any) -> list[Change]:
    """Return one outcome for each of *entries*."""
    return [
        Change(number=each.number, event=event, at=NOW, intent=each.intent, **fields)
        for each in entries
    ]


def postponed(entries: Sequence[Entry]) -> StepResult:
    """Return a result after which no number is due."""
    return StepResult(changes=outcome(entries, Event.POSTPONED, due=NOW + 1e9))


def missing(entries: Sequence[Entry]) -> StepResult:
    """Return the result of a look-up that did not find its numbers."""
    return attrs.evolve(postponed(entries), missing=entries)


@attrs.frozen(kw_only=True)
class Scripted(Steps):
    """Steps that log their numbers, and return the results that a test sets."""

    log: list[tuple[float, str, tuple[str, ...]]] = attrs.field(factory=list)
    """The time, the step and its numbers."""
    latency: float = 0.0
    pages: list[list[Change]] = attrs.field(factory=list)
    """The changes of a listing."""
    results: dict[str, Callable[[Sequence[Entry]], StepResult]] = attrs.field(factory=dict)

    async def _step(self, name: str, *entries: Entry) -> StepResult:
        now = asyncio.get_running_loop().time()
        self.log.append((now, name, tuple(entry.number for entry in entries)))
        await asyncio.sleep(self.latency)
        result = self.results.get(name, postponed)(entries)
        return attrs.evolve(result, number=entries[0].number)

    async def call(
        self,
        turn: Turn,
        prepared: PreparedCall,  # noqa: ARG002
        *,
        opens_in: Callable[[str, float], float] | None = None,
    ) -> StepResult:
        intent = await self.journal.start_call(turn, opens_in)
        if intent is None:
            return StepResult()
        return await self._step("call", intent)

    async def verify(self, *, on_intent: Callable[[], None]) -> StepResult:
        taken = await self.journal.take_code()
        on_intent()
        assert taken is not None
        return await self._step("verify", taken[0])

    async def look_up(self, entry: Entry) -> StepResult:
        return await self._step("look_up", entry)

    async def resolve(self, entry: Entry) -> StepResult:
        return await self._step("resolve", entry)

    async def look_up_by_listing(self) -> AsyncGenerator[list[Change], None]:
        await asyncio.sleep(self.latency)
        for page in self.pages:
            yield page

    async def add(self, entries: Sequence[Entry]) -> StepResult:
        return await self._step("add", *entries)

    def names(self) -> list[str]:
        """Return the steps in the order in which they were started."""
        return [name for _, name, _ in self.log]


@attrs.define
class Observing(Responses):
    """Logs what is observed, and returns a delay that a test sets."""

    delay: float | None = None
    seen: list[tuple[str, Todo, object]] = attrs.field(factory=list)

    def observe(
        self, number: str, request: Todo, response: object
    ) -> tuple[CallResult | None, float | None]:
        self.seen.append((number, request, response))
        result, _ = super().observe(number, request, response)
        return result, self.delay


@attrs.define
class Setup:
    """A scheduler and its parts."""

    journal: MemoryJournal = attrs.field(factory=lambda: MemoryJournal(clock=lambda: NOW))
    settings: RunSettings = SETTINGS
    responses: Observing = attrs.field(factory=Observing)
    published: list[tuple[Event, Entry]] = attrs.field(factory=list)
    sinch: Sinch = attrs.field(factory=lambda: Sinch(latency=0.0))
    latency: float = 0.0
    """Seconds that a step takes."""
    steps: Scripted = attrs.field(init=False)
    scheduler: Scheduler = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.steps = Scripted(
            client=cast("QualifiedNumbersClient", self.sinch),
            journal=self.journal,
            settings=self.settings,
            clock=lambda: NOW,
            jitter=lambda: 0.5,
            latency=self.latency,
        )
        self.scheduler = Scheduler(
            steps=self.steps,
            journal=self.journal,
            responses=self.responses,
            concurrency=50,
            hours=None,
            publish=lambda event, entry: self.published.append((event, entry)),
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Run the scheduler until the end of the block."""
        await self.journal.open(None, running=True, settings=self.settings)
        task = asyncio.create_task(self.scheduler.run())
        try:
            yield
        finally:
            self.scheduler.stop()
            await task
            await self.journal.close()

    async def entry(self, number: str = NUMBER) -> Entry:
        """Return the entry of a number."""
        entry = await self.journal.get(number)
        assert entry is not None
        return entry


def callable_now(*wanted: str) -> list[Entry]:
    """Return entries of numbers that are due for a call."""
    return [Entry(number=number, remote=SinchState.ELIGIBLE) for number in wanted]
