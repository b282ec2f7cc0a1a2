"""What the scheduler does with the result of a step: it commits, paces, publishes and wakes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import attrs
import pytest

from sinch_qn import QualifiedNumbersClient
from sinch_qn.bulk import ChallengeState, Entry, MemoryJournal
from sinch_qn.bulk.pacing import STREAK, Pacing
from sinch_qn.bulk.scheduler import Scheduler
from sinch_qn.bulk.states import Change, Event, Todo
from sinch_qn.bulk.steps import StepResult, Steps
from sinch_qn.errors import AuthenticationError, BadRequestError, SinchError, TransportError
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.models import QualifiedNumber
from tests.support.fake_sinch import Sinch
from tests.support.journals import called
from tests.support.runs import NUMBER, OTHER, numbers, run_of, until
from tests.support.virtual_clock import virtual_clock

NOW = 1000.0
"""The wall clock, which stands still."""
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
        return self.results.get(name, postponed)(entries)

    async def call(self, entry: Entry, *, on_intent: Callable[[], None]) -> StepResult:
        (intent,) = await self.journal.apply(
            [Change(number=entry.number, event=Event.CALL, at=NOW)]
        )
        assert intent is not None
        on_intent()
        return await self._step("call", intent)

    async def verify(self, entry: Entry) -> StepResult:
        claimed = await self.journal.claim_code(entry.number, NOW)
        assert claimed is not None
        return await self._step("verify", claimed[0])

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


class Observing(Pacing):
    """A pacing that logs what it observes, and returns a delay that a test sets."""

    def __init__(self, delay: float | None = None) -> None:
        super().__init__(max_ringing=1000, ring_window=90.0, calls_per_second=1000.0)
        self.delay = delay
        self.seen: list[tuple[str, Todo, object]] = []

    def observe(self, number: str, request: Todo, response: object) -> float | None:
        self.seen.append((number, request, response))
        super().observe(number, request, response)
        return self.delay


@attrs.define
class Setup:
    """A scheduler and its parts."""

    journal: MemoryJournal = attrs.field(factory=MemoryJournal)
    pacing: Pacing = attrs.field(factory=Observing)
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
            code_timeout=600.0,
            max_codes=3,
            add_missing=True,
            recheck=5.0,
            clock=lambda: NOW,
            jitter=lambda: 0.5,
            latency=self.latency,
        )
        self.scheduler = Scheduler(
            steps=self.steps,
            journal=self.journal,
            pacing=self.pacing,
            concurrency=50,
            hours=None,
            publish=lambda event, entry: self.published.append((event, entry)),
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Run the scheduler until the end of the block."""
        task = asyncio.create_task(self.scheduler.run())
        try:
            yield
        finally:
            self.scheduler.stop()
            await task

    async def entry(self, number: str = NUMBER) -> Entry:
        """Return the entry of a number."""
        entry = await self.journal.get(number)
        assert entry is not None
        return entry


def callable_now(*wanted: str) -> list[Entry]:
    """Return entries of numbers that are due for a call."""
    return [Entry(number=number, remote=SinchState.ELIGIBLE) for number in wanted]


@virtual_clock
async def test_each_change_of_a_result_is_committed() -> None:
    """The changes of a result are committed in order, also those of other numbers."""
    setup = Setup()
    setup.steps.results["call"] = lambda entries: StepResult(
        changes=[
            *outcome(entries, Event.CALLED, window=60.0),
            Change(number=OTHER, event=Event.POSTPONED, at=NOW, due=NOW + 60.0, note="after it"),
        ],
        request=Todo.CALL,
        response=RESPONSE,
    )
    await setup.journal.add([*callable_now(NUMBER), Entry(number=OTHER, due=NOW + 1.0)])
    async with setup.running():
        await until(lambda: setup.published)
        await asyncio.sleep(0.1)
        assert (await setup.entry()).state is ChallengeState.AWAITING_CODE
        assert (await setup.entry(OTHER)).note == "after it"


@pytest.mark.parametrize(
    ("step", "todo"),
    [
        ("call", Todo.CALL),
        ("verify", Todo.VERIFY),
        ("resolve", Todo.RESOLVE),
        ("look_up", Todo.LOOK_UP),
    ],
)
@virtual_clock
async def test_pacing_observes_each_response(step: str, todo: Todo) -> None:
    """Pacing observes the response to each request, with the number and the request."""
    setup = Setup()
    pacing = cast("Observing", setup.pacing)
    if step == "call":
        await setup.journal.add(callable_now(NUMBER))
    elif step == "look_up":
        await setup.journal.add([Entry(number=NUMBER)])
    else:
        await called(setup.journal, NUMBER)
        await setup.journal.submit_code(NUMBER, "0042", NOW)
    if step == "resolve":
        claimed = await setup.journal.claim_code(NUMBER, NOW)
        assert claimed is not None
        await setup.journal.apply(outcome([claimed[0]], Event.VERIFY_UNKNOWN))
    setup.steps.results[step] = lambda _: StepResult(request=todo, response=RESPONSE)
    async with setup.running():
        await until(lambda: pacing.seen)
    assert pacing.seen[0] == (NUMBER, todo, RESPONSE)


@virtual_clock
async def test_a_step_without_a_requestis_not_observed() -> None:
    """A step that sent nothing, such as an expiry, is no response for pacing."""
    setup = Setup()
    pacing = cast("Observing", setup.pacing)
    await called(setup.journal, NUMBER)
    async with setup.running():
        await until(lambda: setup.published)
    assert [event for event, _ in setup.published] == [Event.CODE_TIMEOUT]
    assert pacing.seen == []


@virtual_clock
async def test_a_number_is_postponed_by_the_delay_of_pacing() -> None:
    """Rule 2: a change is due after the delay that pacing returns, not when the step says."""
    setup = Setup(pacing=Observing(delay=123.0))
    setup.steps.results["call"] = lambda entries: StepResult(
        changes=outcome(entries, Event.CALL_NOT_SENT, due=NOW + 2.0),
        request=Todo.CALL,
        response=RESPONSE,
    )
    await setup.journal.add(callable_now(NUMBER))
    async with setup.running():
        await until(lambda: setup.published)
        assert (await setup.entry()).due == NOW + 123.0


def unanswered(error: SinchError) -> Callable[[Sequence[Entry]], StepResult]:
    """Return the results of calls that end in *error*, without a response."""
    return lambda entries: StepResult(
        changes=outcome(entries, Event.CALL_UNKNOWN, window=60.0),
        request=Todo.CALL,
        response=error,
    )


@virtual_clock
async def test_unanswered_calls_pause_calling() -> None:
    """Rule 5: a call without a response counts as one: after twenty in a row the run probes."""
    setup = Setup(sinch=Sinch(latency=50.0))
    setup.steps.results["call"] = unanswered(TransportError("reset"))
    setup.scheduler.concurrency = 1
    await setup.journal.add(callable_now(*numbers(STREAK + 1)))
    async with setup.running():
        await until(lambda: len(setup.steps.log) == STREAK)
        await asyncio.sleep(40.0)
        assert len(setup.steps.log) == STREAK
        assert setup.sinch.count("probe") == 2
        await until(lambda: len(setup.steps.log) == STREAK + 1, seconds=20.0)


@virtual_clock
async def test_the_last_error() -> None:
    """`last_error` is the error of the last call without a response, until a probe has one."""
    setup = Setup(sinch=Sinch(latency=50.0))
    error = TransportError("reset")
    setup.steps.results["call"] = unanswered(error)
    await setup.journal.add(callable_now(*numbers(STREAK)))
    async with setup.running():
        await until(lambda: len(setup.steps.log) == STREAK)
        await asyncio.sleep(40.0)
        assert setup.scheduler.last_error is error
        await asyncio.sleep(20.0)
        assert setup.scheduler.last_error is None


@virtual_clock
async def test_a_look_up_without_a_response_is_no_last_error() -> None:
    """`last_error` is an error of calls only."""
    setup = Setup()
    setup.steps.results["look_up"] = lambda entries: StepResult(
        changes=postponed(entries).changes,
        request=Todo.LOOK_UP,
        response=TransportError("reset"),
    )
    await setup.journal.add([Entry(number=NUMBER)])
    async with setup.running():
        await until(lambda: setup.steps.log)
        await asyncio.sleep(1.0)
        assert setup.scheduler.last_error is None


@virtual_clock
async def test_what_is_published() -> None:
    """Each committed change is published with its entry, except look-ups and postponements."""
    setup = Setup()
    setup.steps.results["look_up"] = lambda entries: StepResult(
        changes=outcome(entries, Event.LOOKED_UP, remote=SinchState.ELIGIBLE)
    )
    setup.steps.results["call"] = lambda entries: StepResult(
        changes=[
            *outcome(entries, Event.CALLED, window=60.0),
            *outcome(entries, Event.CALLED, window=60.0),  # refused: it was committed before
        ]
    )
    await setup.journal.add([Entry(number=NUMBER), Entry(number=OTHER)])
    async with setup.running():
        await until(lambda: len(setup.published) == 2)
        await asyncio.sleep(1.0)
    assert setup.published == [
        (Event.CALLED, await setup.entry(NUMBER)),
        (Event.CALLED, await setup.entry(OTHER)),
    ]


@virtual_clock
async def test_a_number_that_became_due() -> None:
    """A change that makes a number due starts its next step within a poll."""
    setup = Setup()
    setup.steps.results["verify"] = lambda entries: StepResult(
        changes=outcome(entries, Event.VERIFY_UNKNOWN)
    )
    setup.steps.results["resolve"] = lambda entries: StepResult(
        changes=outcome(entries, Event.VERIFIED)
    )
    await called(setup.journal, NUMBER)
    await setup.journal.submit_code(NUMBER, "0042", NOW)
    async with setup.running():
        await until(lambda: setup.published, step=0.001)
        await until(lambda: len(setup.steps.log) == 2)
    (verified, _, _), (resolved, _, _) = setup.steps.log
    assert setup.steps.names() == ["verify", "resolve"]
    assert resolved - verified <= 0.25


@virtual_clock
async def test_after_a_listing_its_numbers_are_called_at_once() -> None:
    """A listing wakes the calls of its numbers, and the look-ups of the others."""
    setup = Setup(latency=0.01)
    listed, others = numbers(60)[:40], numbers(60)[40:]
    setup.steps.pages.append(
        [
            Change(number=number, event=Event.LOOKED_UP, at=NOW, remote=SinchState.ELIGIBLE)
            for number in listed
        ]
    )
    await setup.journal.add([Entry(number=number) for number in numbers(60)])
    async with setup.running():
        await until(lambda: len(setup.steps.log) == 60)
    started = {name: (round(at, 3), wanted) for at, name, wanted in reversed(setup.steps.log)}
    assert started == {"call": (0.01, (listed[0],)), "look_up": (0.01, (others[0],))}


@virtual_clock
async def test_missing_numbers_are_added_together() -> None:
    """Rule 7: missing numbers are added in one request, or two, once their look-ups have ended."""
    setup = Setup(latency=0.01)
    setup.scheduler.concurrency = 3
    setup.steps.results["look_up"] = missing
    await setup.journal.add([Entry(number=number) for number in numbers(40)])
    async with setup.running():
        await until(lambda: "add" in setup.steps.names())
        await asyncio.sleep(1.0)
    added = [number for _, name, wanted in setup.steps.log if name == "add" for number in wanted]
    assert sorted(added) == numbers(40)
    assert setup.steps.names().count("add") <= 2


@virtual_clock
async def test_500_numbers_are_added_in_one_request() -> None:
    """A request to add numbers has 500 of them at most."""
    setup = Setup()
    setup.scheduler.concurrency = 2000
    setup.steps.results["look_up"] = missing
    await setup.journal.add([Entry(number=number) for number in numbers(1100)])
    async with setup.running():
        await until(lambda: setup.steps.names().count("add") == 3)
    sizes = [len(added) for _, name, added in setup.steps.log if name == "add"]
    assert sizes == [500, 500, 100]


@virtual_clock
async def test_a_refused_addition_is_repeated_one_by_one() -> None:
    """Rule 7: numbers whose addition was refused together are added one by one."""
    setup = Setup()
    setup.steps.results["look_up"] = missing
    setup.steps.results["add"] = lambda entries: StepResult(
        response=BadRequestError("not valid", status_code=400),
        refused_together=entries if len(entries) > 1 else (),
    )
    await setup.journal.add([Entry(number=number) for number in numbers(4)])
    async with setup.running():
        await until(lambda: setup.steps.names().count("add") == 5)
        await asyncio.sleep(1.0)
    together, *alone = [added for _, name, added in setup.steps.log if name == "add"]
    assert sorted(together) == numbers(4)
    assert sorted(number for (number,) in alone) == numbers(4)


@virtual_clock
async def test_a_fatal_response_stops_the_run_after_its_commit() -> None:
    """Rule 6: a fatal error stops the run once the change of its step is committed."""
    setup = Setup()
    fatal: SinchError = AuthenticationError("refused", status_code=401)
    setup.steps.results["call"] = lambda entries: StepResult(
        changes=outcome(entries, Event.CALL_NOT_SENT, due=NOW + 2.0),
        request=Todo.CALL,
        response=fatal,
    )
    await setup.journal.add(callable_now(NUMBER))
    await asyncio.wait_for(setup.scheduler.run(), 10.0)
    assert setup.scheduler.fatal_error is fatal
    assert (await setup.entry()).state is ChallengeState.PENDING


@virtual_clock
async def test_concurrency() -> None:
    """No more than *concurrency* steps run at once."""
    setup = Setup(latency=1.0)
    setup.scheduler.concurrency = 3
    await setup.journal.add([Entry(number=number) for number in numbers(10)])
    async with setup.running():
        await until(lambda: len(setup.steps.log) == 10)
    assert Counter(round(at) for at, _, _ in setup.steps.log) == {0: 3, 1: 3, 2: 3, 3: 1}


async def test_work_that_is_cancelled_before_it_starts_is_not_created() -> None:
    """P9: a task cancelled at once creates no unawaited coroutine, and frees its number."""
    scheduler = run_of(Sinch([NUMBER]), MemoryJournal())._scheduler
    created = []

    async def work() -> None:
        raise AssertionError

    def create() -> asyncio.Future[None]:
        created.append(NUMBER)
        return work()  # type: ignore[return-value]

    async with asyncio.TaskGroup() as group:
        scheduler._start(group, create, NUMBER)  # type: ignore[arg-type]
        (task,) = scheduler._tasks
        task.cancel()
    assert not created
    assert not scheduler._tasks
    assert NUMBER not in scheduler._busy
