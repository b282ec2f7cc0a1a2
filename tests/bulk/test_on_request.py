"""Rule 26: calls on request. One request is one call, whoever repeats it, and goes first."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest

from sinch_qn.bulk import (
    CallRequest,
    ChallengeState,
    MemoryJournal,
    SqliteJournal,
    recall,
    request_call,
)
from sinch_qn.bulk.call_requests import BEING_CHECKED, NO_RUNNER, PAUSED
from sinch_qn.bulk.journal import Journal
from sinch_qn.bulk.journal.postgres import PostgresJournal
from sinch_qn.bulk.journal.protocol import OUTSIDE_HOURS
from sinch_qn.bulk.pacing import CallResult
from sinch_qn.bulk.states import LOOK_UPS, Entry, Event, Todo
from sinch_qn.errors import InvalidRequestError
from sinch_qn.models import GlobalProcessState as SinchState
from tests.bulk.test_journal_runners import ended, run_on, turns
from tests.support.journals import Backend, at_time, called, claim, happen
from tests.support.runs import NUMBER, OTHER, numbers
from tests.support.scheduling import callable_now

THIRD = "+12025550136"
HOURS = "09:00-20:00"
NIGHT, MORNING = 1_767_243_600.0, 1_767_276_000.0
"""00:00 and 09:00 on 1 January 2026 in Washington, D.C."""


async def waiting(journal: Journal, *wanted: str) -> None:
    """Add numbers that can be called, and that nobody asked for."""
    await journal.add(callable_now(*wanted))


async def calls(journal: Journal, opens_in: Callable[[str, float], float] | None = None) -> str:
    """Make the call that is first; return its number, or nothing."""
    given = await turns(journal, 1)
    entry = await journal.start_call(given[0], opens_in) if given else None
    if given:
        await journal.permits([ended(given[0])], 0)
    return "" if entry is None else entry.number


@asynccontextmanager
async def beside(backend: Backend) -> AsyncIterator[Journal]:
    """Yield the journal as another process has it."""
    other: Journal
    if backend.path is not None:
        other = SqliteJournal(backend.path)
    elif backend.url is not None:
        other = PostgresJournal(backend.url, require_durable=False)
    else:
        other = cast("MemoryJournal", backend.journal).another()
    await other.open(None, running=False)
    try:
        yield other
    finally:
        await other.close()


async def test_only_requested_numbers_are_due(backend: Backend) -> None:
    """With `on_request` a number that nobody asked for is not due, and is not settled."""
    journal = await run_on(backend, on_request=True)
    await waiting(journal, NUMBER, OTHER)
    assert (await journal.permits([], 5)).due == 0
    assert await journal.open_numbers()
    request = await request_call(journal, OTHER)
    assert (request.new, request.earliest, request.reason) == (True, None, None)
    assert (request.entry.todo, request.entry.state) == (
        Todo.REQUESTED_CALL,
        ChallengeState.PENDING,
    )
    assert await calls(journal) == OTHER
    assert await calls(journal) == ""
    journal = await run_on(backend)  # the same run, without waiting for requests
    assert await calls(journal) == NUMBER


async def test_a_repeated_request_is_the_same(journal: Journal) -> None:
    """A request that is repeated before its call has an outcome changes nothing."""
    await waiting(journal, NUMBER)
    first = await request_call(journal, NUMBER, at=5.0)
    for attempt in (None, 0, 1):
        assert await request_call(journal, NUMBER, attempt=attempt, at=6.0) == CallRequest(
            entry=first.entry, new=False, earliest=first.earliest, reason=first.reason
        )
    calling = await happen(journal, NUMBER, Event.CALL)
    for attempt in (None, 0, 1):
        again = await request_call(journal, NUMBER, attempt=attempt)
        assert (again.new, again.entry, again.reason) == (False, calling, None)


async def test_two_processes_at_once(backend: Backend) -> None:
    """Presses in several processes at once are one request, and lead to one call."""
    journal = await run_on(backend, on_request=True)
    await waiting(journal, NUMBER)
    async with beside(backend) as first, beside(backend) as second:
        pressing = [request_call(each, NUMBER, attempt=0) for each in 5 * (journal, first, second)]
        pressed = await asyncio.gather(*pressing)
        assert sum(request.new for request in pressed) == 1
        assert await calls(journal) == NUMBER
        entry = await happen(journal, NUMBER, Event.CALLED, at=journal.now(), window=600.0)
        pressing = [request_call(each, NUMBER, attempt=0) for each in (journal, first, second)]
        assert [request.entry for request in await asyncio.gather(*pressing)] == 3 * [entry]
        pressing = [request_call(each, NUMBER, attempt=1) for each in (journal, first, second)]
        assert sum(request.new for request in await asyncio.gather(*pressing)) == 1
        await happen(journal, NUMBER, Event.LOOKED_UP, remote=SinchState.ELIGIBLE)
        assert await calls(journal) == NUMBER
        assert await calls(journal) == ""


CALLED_AT = 100.0
OUTCOMES = [
    ((Event.CALLED,), ChallengeState.AWAITING_CODE),
    ((Event.CALL_UNKNOWN,), ChallengeState.UNKNOWN),
    ((Event.CALLED, Event.CODE_TIMEOUT), ChallengeState.EXPIRED),
    ((Event.NOT_CALLABLE,), ChallengeState.FAILED),
]


PRESSES: list[tuple[int | None, float, bool | None]] = [
    (0, 1000.0, False),  # a page of before the call
    (1, 1.0, True),
    (None, 1000.0, True),
    (None, 59.0, None),  # within the ring window
]


async def test_a_request_after_the_call(backend: Backend) -> None:
    """After the outcome a request is a recall, if the asker knew of that call.

    Without `attempt` it is the same request while the phone may still ring.
    """
    journal = await run_on(backend, ring_window=60.0)
    cases = list(itertools.product(OUTCOMES, PRESSES))
    for number, ((events, state), (attempt, after, expected)) in zip(
        numbers(len(cases)), cases, strict=True
    ):
        await waiting(journal, number)
        before = await happen(journal, number, Event.CALL, *events, at=CALLED_AT)
        assert before.state is state
        request = await request_call(journal, number, attempt=attempt, at=CALLED_AT + after)
        may_ring = state in (ChallengeState.AWAITING_CODE, ChallengeState.UNKNOWN)
        is_new = not may_ring if expected is None else expected
        assert request.new is is_new, (state, attempt, after)
        if not is_new:
            assert request.entry == before == await journal.get(number)
            continue
        assert (request.entry.state, request.entry.attempt) == (ChallengeState.PENDING, 1)
        assert request.entry.todo is Todo.REQUESTED_LOOK_UP  # as after a recall
        entry = await happen(journal, number, Event.LOOKED_UP, remote=SinchState.ELIGIBLE)
        assert (entry.todo, entry.due) == (Todo.REQUESTED_CALL, CALLED_AT + after)


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        (None, "is not in this run"),
        ((Event.ALREADY_VERIFIED,), "is skipped: it cannot be called"),
        ((Event.CALL, Event.VERIFIED), "is verified: it cannot be called"),
        ((Event.CALL, Event.BLOCKED), "is blocked: it cannot be called"),
    ],
)
async def test_what_is_settled_for_good_is_refused(
    journal: Journal, events: tuple[Event, ...] | None, reason: str
) -> None:
    """A request for a number that no call can help is an error, and changes nothing."""
    await waiting(journal, OTHER)
    if events is not None:
        await waiting(journal, NUMBER)
        await happen(journal, NUMBER, *events)
    before = await journal.get(NUMBER)
    with pytest.raises(InvalidRequestError, match=reason):
        await request_call(journal, NUMBER)
    if before is not None and before.attempt:  # its page is of before the call
        assert (await request_call(journal, NUMBER, attempt=0)).entry == before
    assert await journal.get(NUMBER) == before
    for attempt in (-1, True, "1"):
        with pytest.raises(InvalidRequestError, match="attempt"):
            await request_call(journal, OTHER, attempt=attempt)  # type: ignore[arg-type]


async def test_a_code_that_is_being_verified(journal: Journal) -> None:
    """A number whose code is being verified is not called, unless a recall is to be made."""
    await called(journal, NUMBER, OTHER)
    recalled = await recall(journal, OTHER)
    for number in (NUMBER, OTHER):
        await journal.submit_code(number, "1111", 1.0)
        assert await journal.take_code() is not None
    with pytest.raises(InvalidRequestError, match="is verifying: it cannot be called"):
        await request_call(journal, NUMBER)
    request = await request_call(journal, OTHER)
    assert (request.new, request.entry.requested_at) == (False, recalled.requested_at)


@pytest.mark.parametrize("lost", [False, True])
async def test_an_attempt_that_is_given_again(
    backend: Backend,
    lost: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """P1: a call that was not sent gives its attempt to the next one, but never its intent.

    Whoever saw the first of them asks for nothing after the second; whoever saw that, for another.
    """
    journal = await run_on(backend, on_request=True)
    await waiting(journal, NUMBER)
    await request_call(journal, NUMBER)
    seen = await happen(journal, NUMBER, Event.CALL, *[Event.CALL_UNKNOWN] * lost, at=CALLED_AT)
    await happen(journal, NUMBER, Event.CALL_NOT_SENT)
    request = await request_call(journal, NUMBER, attempt=seen.attempt, intent=seen.intent)
    assert not request.new  # its call is still to be made
    entry = await happen(journal, NUMBER, Event.CALL, Event.CALLED, at=CALLED_AT)
    assert entry.attempt == seen.attempt
    later = CALLED_AT + 1000.0  # it does not ring any more
    for attempt in (seen.attempt, None):
        request = await request_call(journal, NUMBER, attempt=attempt, intent=seen.intent, at=later)
        assert (request.new, request.entry) == (False, entry)
    assert await journal.get(NUMBER) == entry
    fresh = {"attempt": entry.attempt, "intent": entry.intent}
    assert (await request_call(journal, NUMBER, **fresh, at=later)).new
    assert not (await request_call(journal, NUMBER, **fresh, at=later)).new


async def test_an_intent_that_is_not_of_a_call(journal: Journal) -> None:
    """A number that is added to the project meanwhile is called for the page of before; P1."""
    await journal.add([Entry(number=NUMBER)])
    await journal.add([Entry(number=OTHER)])
    added = await happen(journal, NUMBER, Event.ADD)
    shown = await happen(journal, OTHER, Event.ADD)
    assert (await request_call(journal, NUMBER, attempt=0)).new
    assert (await request_call(journal, OTHER, attempt=0, intent=(added.intent or 0))).new
    assert shown.intent != added.intent
    for intent in (-1, True, "1"):
        with pytest.raises(InvalidRequestError, match="intent"):
            await request_call(journal, OTHER, intent=intent)  # type: ignore[arg-type]


@pytest.mark.parametrize("on_request", [False, True])
async def test_requests_go_first(
    backend: Backend,
    on_request: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Requests go before all other numbers, in the order in which they came; recalls are some."""
    journal = await run_on(backend, max_ringing=100, on_request=on_request)
    many = numbers(6)
    await waiting(journal, *many)
    now = journal.now()
    await happen(journal, many[1], Event.CALL, Event.CALL_UNKNOWN, at=now - 100.0)
    await recall(journal, many[1], at=now - 5.0)
    await happen(journal, many[1], Event.LOOKED_UP, remote=SinchState.ELIGIBLE)
    await request_call(journal, many[5], at=now - 4.0)
    await request_call(journal, many[3], at=now - 3.0)
    asked = [many[1], many[5], many[3]]
    others = [many[0], many[2], many[4]]
    assert [await calls(journal) for _ in asked] == asked
    assert [await calls(journal) for _ in others] == ([""] * 3 if on_request else others)


async def test_a_look_up_that_somebody_waits_for_is_first(journal: Journal) -> None:
    """A request for a number whose state is not known yet has it looked up before all others.

    Also once it was postponed: after a 429, or while Sinch checks its eligibility.
    """
    await journal.add([Entry(number=each) for each in (NUMBER, OTHER, THIRD)])

    async def claimed(at: float) -> list[list[str]]:
        return [await claim(journal, todo, at) for todo in LOOK_UPS]

    now = journal.now()
    await happen(journal, OTHER, Event.POSTPONED, due=now + 5.0)
    for number in (THIRD, OTHER):
        await request_call(journal, number, at=now)
    assert await claimed(now) == [[THIRD], [NUMBER]]
    await happen(journal, THIRD, Event.POSTPONED, due=now + 9.0, note="rate limit exceeded")
    pending = SinchState.ELIGIBLE_CHECK_PENDING
    await happen(journal, OTHER, Event.LOOKED_UP, remote=pending, due=now + 6.0)
    assert await claimed(now + 5.0) == [[], [NUMBER]]
    assert await claimed(now + 10.0) == [[OTHER, THIRD], [NUMBER]]
    # It waits for the result of that look-up, as others do.
    entry = await happen(journal, THIRD, Event.LOOKED_UP, remote=SinchState.ELIGIBLE)
    assert entry.todo is Todo.REQUESTED_CALL


@pytest.mark.parametrize("lost", [False, True])
async def test_a_call_that_was_not_made_keeps_its_request(
    backend: Backend,
    lost: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """NOT_SENT, also told late, and a postponement keep the request: its call is still to be made.

    It waits for as long as it was postponed, however often it is asked for.
    """
    journal = await run_on(backend, on_request=True)
    await waiting(journal, NUMBER)
    first = await request_call(journal, NUMBER)
    assert await calls(journal) == NUMBER
    events = (Event.CALL_UNKNOWN, Event.CALL_NOT_SENT) if lost else (Event.CALL_NOT_SENT,)
    entry = await happen(journal, NUMBER, *events)
    assert (entry.todo, entry.attempt) == (Todo.REQUESTED_CALL, 0)
    assert entry.requested_at == first.entry.requested_at
    later = journal.now() + 100.0
    await happen(journal, NUMBER, Event.POSTPONED, due=later, note="rate limit exceeded")
    again = await request_call(journal, NUMBER)
    assert (again.new, again.earliest, again.reason) == (False, later, "rate limit exceeded")
    assert await calls(journal) == ""
    await happen(journal, NUMBER, Event.POSTPONED, due=journal.now() - 1.0)
    assert await calls(journal) == NUMBER


async def test_a_request_undoes_no_postponement(backend: Backend) -> None:
    """Rule 2: a number that is delayed, after a 429 for instance, stays so when it is asked for."""
    journal = await run_on(backend)
    await waiting(journal, NUMBER)
    later = journal.now() + 100.0
    await happen(journal, NUMBER, Event.POSTPONED, due=later, note="rate limit exceeded")
    request = await request_call(journal, NUMBER)
    assert (request.new, request.earliest, request.reason) == (True, later, "rate limit exceeded")
    assert await calls(journal) == ""


async def test_hours_keep_the_order_of_the_requests(backend: Backend) -> None:
    """Rule 18: requests wait for their calling hours, and keep their order until then."""
    journal = await run_on(backend, on_request=True)
    await waiting(journal, NUMBER, OTHER, THIRD)
    now = journal.now()
    for index, number in enumerate((THIRD, NUMBER)):
        await request_call(journal, number, at=now - 9.0 + index)
    opens = now + 1000.0
    assert await calls(journal, lambda _, now: opens - now) == ""
    for number in (NUMBER, THIRD):
        entry = await journal.get(number)
        assert entry is not None
        assert (entry.due, entry.note) == (opens, OUTSIDE_HOURS)
        await happen(journal, number, Event.POSTPONED, due=now - 5.0)  # time goes by
    await request_call(journal, OTHER, at=now - 4.0)
    assert [await calls(journal) for _ in range(4)] == [THIRD, NUMBER, OTHER, ""]


async def test_another_process_knows_when(backend: Backend) -> None:
    """Whoever asks is told when the call can be: also in another process."""
    pytest.importorskip("phonenumbers")
    journal = backend.journal
    await waiting(journal, NUMBER, OTHER)
    await journal.add([Entry(number=THIRD)])
    async with beside(backend) as other:
        assert (await other.readiness()).settings is None
    await run_on(backend, on_request=True, calling_hours=HOURS)
    async with beside(backend) as other:
        readiness = await other.readiness()
        assert readiness.settings is not None
        assert (readiness.settings.on_request, readiness.settings.calling_hours) == (True, HOURS)
        assert (readiness.has_runner, readiness.paused) == (True, False)
        with at_time(other, NIGHT):
            request = await request_call(other, NUMBER, at=NIGHT)
        assert (request.earliest, request.reason) == (MORNING, OUTSIDE_HOURS)
        noon = MORNING + 10_800.0
        assert (await request_call(other, NUMBER, at=noon)).reason is None
        pending = SinchState.ELIGIBLE_CHECK_PENDING
        await happen(journal, THIRD, Event.LOOKED_UP, remote=pending, due=noon + 30.0)
        request = await request_call(other, THIRD, at=noon)
        assert (request.earliest, request.reason) == (noon + 30.0, BEING_CHECKED)
        await journal.close()
        request = await request_call(other, NUMBER, at=noon)
        assert (request.new, request.earliest, request.reason) == (False, None, NO_RUNNER)


async def test_a_pause_is_told(backend: Backend) -> None:
    """Rule 5: a request in a pause is kept, and the asker is told of the pause."""
    journal = await run_on(backend, on_request=True, max_unknown=2)
    await waiting(journal, NUMBER, OTHER)
    await request_call(journal, NUMBER)
    (turn,) = await turns(journal, 1)
    assert await journal.start_call(turn) is not None
    await journal.permits([ended(turn, CallResult.UNANSWERED)], 0)
    async with beside(backend) as other:
        request = await request_call(other, OTHER)
    assert (request.new, request.earliest, request.reason) == (True, None, PAUSED)
