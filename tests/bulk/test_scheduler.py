"""What the scheduler does with the result of a step: it commits, paces, publishes and wakes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import attrs
import pytest

from sinch_qn.bulk import ChallengeState, Entry, MemoryJournal, request_call
from sinch_qn.bulk.journal.protocol import RunSettings
from sinch_qn.bulk.pacing import STREAK
from sinch_qn.bulk.permits import Turn
from sinch_qn.bulk.states import Change, Event, Todo
from sinch_qn.bulk.steps import StepResult
from sinch_qn.errors import AuthenticationError, BadRequestError, SinchError, TransportError
from sinch_qn.models import GlobalProcessState as SinchState
from tests.support.fake_sinch import Sinch
from tests.support.journals import called, happen, take_code
from tests.support.runs import NUMBER, OTHER, numbers, run_of, until
from tests.support.scheduling import (
    NOW,
    RESPONSE,
    SETTINGS,
    Observing,
    Setup,
    callable_now,
    missing,
    outcome,
    postponed,
)
from tests.support.virtual_clock import virtual_clock


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


@pytest.mark.parametrize("concurrency", [1, 4])
@virtual_clock
async def test_what_a_person_asked_for_is_looked_up_first(concurrency: int) -> None:
    """A requested number that was postponed goes before all that were never looked up."""
    setup = Setup()
    setup.scheduler.concurrency = concurrency
    many = numbers(20)
    await setup.journal.add([Entry(number=each) for each in many])
    await happen(setup.journal, many[7], Event.POSTPONED, due=NOW - 1.0)
    await request_call(setup.journal, many[7])
    async with setup.running():
        await until(lambda: len(setup.steps.log) == len(many))
    assert setup.steps.log[0][1:] == ("look_up", (many[7],))


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
    if step == "call":
        await setup.journal.add(callable_now(NUMBER))
    elif step == "look_up":
        await setup.journal.add([Entry(number=NUMBER)])
    else:
        await called(setup.journal, NUMBER)
        await setup.journal.submit_code(NUMBER, "0042", NOW)
    if step == "resolve":
        claimed = await take_code(setup.journal, NUMBER, NOW)
        assert claimed is not None
        await setup.journal.apply(outcome([claimed[0]], Event.VERIFY_UNKNOWN))
    setup.steps.results[step] = lambda _: StepResult(request=todo, response=RESPONSE)
    async with setup.running():
        await until(lambda: setup.responses.seen)
    assert setup.responses.seen[0] == (NUMBER, todo, RESPONSE)


@virtual_clock
async def test_a_step_without_a_requestis_not_observed() -> None:
    """A step that sent nothing, such as an expiry, is no response for pacing."""
    setup = Setup()
    await called(setup.journal, NUMBER)
    async with setup.running():
        await until(lambda: setup.published)
    assert [event for event, _ in setup.published] == [Event.CODE_TIMEOUT]
    assert setup.responses.seen == []


@virtual_clock
async def test_a_number_is_postponed_by_the_delay_of_pacing() -> None:
    """Rule 2: a change is due after the delay that pacing returns, not when the step says."""
    setup = Setup(responses=Observing(delay=123.0))
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
    """A change that makes a number due starts its next step at once, before the next poll."""
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
    assert resolved - verified < 0.01


@virtual_clock
async def test_every_turn_is_used() -> None:
    """A turn wakes the scheduler, also when it has started all numbers that it had fetched."""
    setup = Setup(settings=pace(max_ringing=5, ring_window=0.19, calls_per_second=20.0))
    await setup.journal.add(callable_now(*numbers(100)))
    async with setup.running():
        await until(lambda: len(setup.steps.log) == 100)
    started = [at for at, _, _ in setup.steps.log]
    assert started == pytest.approx([started[0] + n * 0.05 for n in range(100)], abs=0.001)


def pace(**options: Any) -> RunSettings:
    """Return the settings of tests with another pace."""
    return attrs.evolve(SETTINGS, **options)


def all_published(setup: Setup, count: int) -> bool:
    """Return whether *count* events are published."""
    return len(setup.published) == count


@virtual_clock
async def test_a_rate_that_cannot_be_reached(caplog: pytest.LogCaptureFixture) -> None:
    """A rate that `max_unknown` or the concurrency does not allow is logged once, with both."""
    for option, value in (("max_unknown", 5), ("concurrency", 10)):
        caplog.clear()
        setup = Setup(settings=pace(calls_per_second=100.0), latency=0.5)
        if option == "max_unknown":
            setup = Setup(settings=pace(calls_per_second=100.0, max_unknown=5), latency=0.5)
        setup.scheduler.concurrency = 10
        setup.steps.results["call"] = lambda entries: StepResult(
            changes=outcome(entries, Event.CALLED, window=600.0),
            request=Todo.CALL,
            response=RESPONSE,
        )
        await setup.journal.add(callable_now(*numbers(150)))
        async with setup.running():
            await until(partial(all_published, setup, 150))
        (logged,) = caplog.records
        assert logged.getMessage() == (
            f"project {setup.steps.client.project_id}: calls_per_second=100"
            f" cannot be reached: a call takes 0.5 s, so {option}={value}"
            f" allows {value / 0.5:.3g} calls a second"
        )


@pytest.mark.parametrize(("rate", "max_ringing"), [(8.0, 1000), (100.0, 4)])
@virtual_clock
async def test_a_rate_that_something_else_limits(
    rate: float, max_ringing: int, caplog: pytest.LogCaptureFixture
) -> None:
    """There is no warning while a rate is reached, or `max_ringing` limits it."""
    setup = Setup(
        settings=pace(
            max_ringing=max_ringing, ring_window=0.5, calls_per_second=rate, max_unknown=5
        ),
        latency=0.5,
    )
    setup.steps.results["call"] = lambda entries: StepResult(
        changes=outcome(entries, Event.CALLED, window=600.0), request=Todo.CALL, response=RESPONSE
    )
    await setup.journal.add(callable_now(*numbers(150)))
    async with setup.running():
        await until(lambda: len(setup.published) == 150)
    assert not caplog.records
    assert setup.scheduler.ceiling is None


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
async def test_with_one_place_look_ups_and_calls_share_it() -> None:
    """With `concurrency=1` look-ups hold up no call, and are made between the turns of calls."""
    setup = Setup(latency=0.1, settings=attrs.evolve(SETTINGS, calls_per_second=2.0))
    setup.scheduler.concurrency = 1
    await setup.journal.add([Entry(number=number) for number in numbers(110)[10:]])
    await setup.journal.add(callable_now(*numbers(10)))
    async with setup.running():
        await until(lambda: setup.steps.names().count("call") == 10, seconds=20.0)
    took = setup.steps.log[-1][0] - setup.steps.log[0][0]
    assert took < 7.0  # ten turns at two a second, each up to a look-up late
    assert setup.steps.names().count("look_up") > 20


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
    await setup.journal.open(None, running=True, settings=SETTINGS)
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
    """P9: a task cancelled at once creates no unawaited coroutine."""
    scheduler = run_of(Sinch([NUMBER]), MemoryJournal())._scheduler
    created = []

    async def work() -> None:
        raise AssertionError

    def create() -> asyncio.Future[None]:
        created.append(NUMBER)
        return work()  # type: ignore[return-value]

    async with asyncio.TaskGroup() as group:
        scheduler._start(group, create)  # type: ignore[arg-type]
        (task,) = scheduler._tasks
        task.cancel()
    assert not created
    assert not scheduler._tasks


class Slow(MemoryJournal):
    """Takes long for all that is read beside calls."""

    async def claim(self, todo: Todo, limit: int, hold: float) -> list[Entry]:
        await asyncio.sleep(60.0)
        return await super().claim(todo, limit, hold)

    async def backlog(self, todo: Todo, limit: int | None = None) -> int:
        await asyncio.sleep(60.0)
        return await super().backlog(todo, limit)

    async def next_due(self, *todos: Todo) -> float | None:
        await asyncio.sleep(60.0 if todos else 0.0)
        return await super().next_due(*todos)


@virtual_clock
async def test_calls_wait_for_no_other_reading_of_the_journal() -> None:
    """While the journal is read for other steps, calls go on at their rate."""
    setup = Setup(journal=Slow(clock=lambda: NOW))
    await setup.journal.add(callable_now(*numbers(200)))
    async with setup.running():
        await asyncio.sleep(10.0)
    calls = [at for at, step, _ in setup.steps.log if step == "call"]
    assert len(calls) == 200
    assert calls[-1] - calls[0] < 2.0


class Logging(MemoryJournal):
    """Logs when it looks for intents without an outcome, and when it has one itself."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: NOW)
        self.log: list[str] = []

    async def reap(self, window: float) -> list[Entry]:
        self.log.append("reap")
        return await super().reap(window)

    async def start_call(
        self, turn: Turn, opens_in: Callable[[str, float], float] | None = None
    ) -> Entry | None:
        self.log.append("call")
        return await super().start_call(turn, opens_in)


@virtual_clock
async def test_what_an_ended_run_left_is_seen_to_before_the_first_call() -> None:
    """Intents without an outcome are those of others: this run has none of its own yet."""
    journal = Logging()
    await journal.add(callable_now(NUMBER))
    setup = Setup(journal=journal)
    async with setup.running():
        await until(lambda: "call" in journal.log)
    assert journal.log[0] == "reap"
