"""Waiting for states: it ends with the state, once that is unreachable, or at the timeout."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, suppress
from itertools import islice

import pytest

from sinch_qn import errors
from sinch_qn.errors import (
    DeadlineExceededError,
    OrderRejectedError,
    Outcome,
    SinchError,
    UnexpectedStateError,
)
from sinch_qn.lifecycle import REACHABLE
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.models import HostingOrder, QualifiedNumber
from sinch_qn.models import HostingOrderState as OrderState
from sinch_qn.retry import RetryRule
from sinch_qn.waiting import backoff, until_reachable, wait_for_order, wait_for_state, watch
from tests.support.virtual_clock import virtual_clock

NUMBER = "+12025550134"


class Server:
    """Returns one state after the other, the last repeatedly."""

    def __init__(self, *answers: SinchState | str | SinchError | None) -> None:
        self.answers = answers
        self.polls: list[float] = []

    async def get_number(self, phone_number: str) -> QualifiedNumber:
        """Return the number in its next state."""
        assert phone_number == NUMBER
        self.polls.append(asyncio.get_running_loop().time())
        answer = self.answers[min(len(self.polls), len(self.answers)) - 1]
        if isinstance(answer, SinchError):
            raise answer
        state = None if answer is None else SinchState(answer)
        return QualifiedNumber(phone_number=phone_number, global_process_state=state)

    async def wait(
        self, *states: SinchState, timeout: float = 3600.0, jitter: float = 1.0
    ) -> QualifiedNumber:
        """Wait for one of *states*."""
        return await wait_for_state(
            self.get_number, NUMBER, frozenset(states), timeout=timeout, jitter=lambda: jitter
        )


@virtual_clock
async def test_the_state_is_reached() -> None:
    """The wait ends with the number in the awaited state, at once if it is there."""
    server = Server(
        SinchState.ELIGIBLE_CHECK_PENDING, SinchState.ELIGIBLE_CHECK_PENDING, SinchState.ELIGIBLE
    )
    number = await server.wait(SinchState.ELIGIBLE)
    assert number.global_process_state is SinchState.ELIGIBLE
    assert len(server.polls) == 3
    here = Server(SinchState.VERIFIED)
    before = asyncio.get_running_loop().time()
    await here.wait(SinchState.VERIFIED, SinchState.ELIGIBLE)
    assert asyncio.get_running_loop().time() == before


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        (SinchState.NOT_ELIGIBLE, {SinchState.ELIGIBLE}),
        (SinchState.VERIFICATION_BLOCKED, {SinchState.VERIFIED}),
        (SinchState.HOSTING_FAILED, {SinchState.HOSTING_DONE}),
        (SinchState.HOSTING_DONE, {SinchState.HOSTING_FAILED, SinchState.VERIFIED}),
        (SinchState.VERIFIED, {SinchState.ELIGIBLE}),
        (SinchState.HOSTING_IN_PROGRESS, {SinchState.VERIFIED, SinchState.NOT_ELIGIBLE}),
    ],
)
@virtual_clock
async def test_an_unreachable_state(seen: SinchState, wanted: Iterable[SinchState]) -> None:
    """Once the number moves to where no awaited state is reachable, the wait ends with it."""
    server = Server(SinchState.ELIGIBLE_CHECK_PENDING, seen, SinchState.VERIFICATION_PENDING)
    with pytest.raises(UnexpectedStateError) as caught:
        await server.wait(*wanted)
    assert caught.value.number.global_process_state is seen
    assert seen.name in str(caught.value)
    for state in wanted:
        assert state.name in str(caught.value)
    assert len(server.polls) == 2


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (SinchState.NOT_ELIGIBLE, SinchState.ELIGIBLE),
        (SinchState.VERIFICATION_BLOCKED, SinchState.VERIFIED),
        (SinchState.HOSTING_FAILED, SinchState.HOSTING_DONE),
    ],
)
@virtual_clock
async def test_a_state_that_is_being_mended_is_waited_out(
    found: SinchState, wanted: SinchState
) -> None:
    """A state that the number was in before the wait does not end it: support may mend it."""
    server = Server(found, found, wanted)
    await server.wait(wanted)
    assert len(server.polls) == 3


@virtual_clock
async def test_unless_names_the_states_that_end_the_wait() -> None:
    """With `unless` only those states end the wait, also if the number was in one before."""
    server = Server(SinchState.VERIFICATION_BLOCKED, SinchState.NOT_ELIGIBLE, SinchState.VERIFIED)
    for unless, polls in ((SinchState.VERIFICATION_BLOCKED, 1), (SinchState.HOSTING_FAILED, 3)):
        server.polls.clear()
        wait = wait_for_state(
            server.get_number, NUMBER, frozenset({SinchState.VERIFIED}), timeout=60, unless={unless}
        )
        with suppress(UnexpectedStateError):
            await wait
        assert len(server.polls) == polls


@virtual_clock
async def test_a_404_ends_the_wait_only_if_it_lasts() -> None:
    """A number that was just added may not be found for some seconds."""
    gone = errors.NotFoundError(status_code=404)
    server = Server(gone, gone, SinchState.ELIGIBLE)
    await server.wait(SinchState.ELIGIBLE)
    before = asyncio.get_running_loop().time()
    with pytest.raises(errors.NotFoundError):
        await Server(gone).wait(SinchState.ELIGIBLE)
    assert 5.0 <= asyncio.get_running_loop().time() - before < 10.0


@virtual_clock
async def test_a_reachable_state_is_awaited() -> None:
    """A failed verification can be repeated, so it does not end a wait for VERIFIED."""
    server = Server(
        SinchState.VERIFICATION_FAILED, SinchState.VERIFICATION_PENDING, SinchState.VERIFIED
    )
    await server.wait(SinchState.VERIFIED)
    assert len(server.polls) == 3


@virtual_clock
async def test_unknown_states_keep_waiting() -> None:
    """An unknown, unspecified or missing state does not end the wait."""
    server = Server(
        "GLOBAL_PROCESS_STATE_IN_ORBIT", SinchState.UNSPECIFIED, None, SinchState.VERIFIED
    )
    await server.wait(SinchState.VERIFIED)
    assert len(server.polls) == 4


@virtual_clock
async def test_the_timeout_names_states() -> None:
    """The timeout error names the awaited states and the last one seen."""
    server = Server(SinchState.ELIGIBLE_CHECK_PENDING)
    with pytest.raises(DeadlineExceededError) as caught:
        await server.wait(SinchState.ELIGIBLE, SinchState.VERIFIED, timeout=100.0)
    assert asyncio.get_running_loop().time() == 100.0
    assert "ELIGIBLE or VERIFIED" in str(caught.value)
    assert SinchState.ELIGIBLE_CHECK_PENDING in str(caught.value)
    assert caught.value.outcome is Outcome.NOT_SENT
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("state", [SinchState.ELIGIBLE, SinchState.NOT_ELIGIBLE])
@virtual_clock
async def test_the_error_of_a_wait_names_its_operation_and_number(state: SinchState) -> None:
    """A deadline and an unexpected state are no errors of a request, but have its context."""
    server = Server(SinchState.ELIGIBLE, state)
    with pytest.raises(SinchError) as caught:
        await server.wait(SinchState.VERIFIED, timeout=100.0)
    error = caught.value
    assert isinstance(error, DeadlineExceededError | UnexpectedStateError)
    assert (error.operation, error.phone_number) == ("getQualifiedNumber", NUMBER)
    assert str(error).endswith("(getQualifiedNumber, +1202•••0134)")
    with pytest.raises(SinchError) as caught:
        await wait_for_order(orders(OrderState.SUBMITTED, OrderState.REJECTED), timeout=60.0)
    assert caught.value.operation == "getHostingOrder"
    with pytest.raises(errors.InvalidRequestError) as refused:
        await Server(errors.InvalidRequestError("bad")).wait(SinchState.VERIFIED)
    assert refused.value.operation is None, "nothing was called"


@virtual_clock
async def test_the_timeout_cancels_a_poll() -> None:
    """The timeout cancels a poll that hangs."""

    async def hang(_: str) -> QualifiedNumber:
        await asyncio.sleep(1e6)
        raise AssertionError

    with pytest.raises(DeadlineExceededError, match="nothing yet"):
        await wait_for_state(hang, NUMBER, frozenset({SinchState.VERIFIED}), timeout=5.0)
    assert asyncio.get_running_loop().time() == 5.0


TRANSIENT: list[SinchError] = [
    errors.TransportError("reset"),
    errors.ConnectError("refused"),
    errors.ServerError(status_code=503),
    errors.RateLimitError(status_code=429),
    errors.TokenError("down"),
    errors.DeadlineExceededError("slow"),
    errors.StatusError(status_code=408, outcome=Outcome.UNKNOWN),
    errors.StatusError(status_code=499, outcome=Outcome.UNKNOWN),
]


@virtual_clock
async def test_transient_errors_do_not_end_the_wait() -> None:
    """Transient errors do not end the wait."""
    server = Server(*TRANSIENT, SinchState.VERIFIED)
    await server.wait(SinchState.VERIFIED)
    assert len(server.polls) == len(TRANSIENT) + 1


@pytest.mark.parametrize("error", TRANSIENT, ids=lambda error: type(error).__name__)
@virtual_clock
async def test_a_transient_error_is_the_cause(error: SinchError) -> None:
    """If the last poll failed, the timeout error is chained to its error."""
    server = Server(SinchState.ELIGIBLE, error)
    with pytest.raises(DeadlineExceededError, match="STATE_ELIGIBLE") as caught:
        await server.wait(SinchState.VERIFIED, timeout=60.0)
    assert caught.value.__cause__ is error
    server = Server(error, SinchState.ELIGIBLE)
    with pytest.raises(DeadlineExceededError) as caught:
        await server.wait(SinchState.VERIFIED, timeout=60.0)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "error",
    [
        errors.NotFoundError(status_code=404),
        errors.AuthenticationError(status_code=401),
        errors.PermissionDeniedError(status_code=403),
        errors.InvalidRequestError("bad"),
        errors.ClosedError("closed"),
        errors.InvalidResponseError("garbage"),
    ],
    ids=lambda error: type(error).__name__,
)
@virtual_clock
async def test_other_errors_end_the_wait(error: SinchError) -> None:
    """Other errors, such as a deleted number or refused credentials, end the wait at once."""
    server = Server(SinchState.ELIGIBLE, error, SinchState.VERIFIED)
    with pytest.raises(type(error)):
        await server.wait(SinchState.VERIFIED)
    assert len(server.polls) == 2


@pytest.mark.parametrize(("jitter", "share"), [(0.0, 0.5), (1.0, 1.0)])
@virtual_clock
async def test_delays_grow(jitter: float, share: float) -> None:
    """Delays grow by half from 1 s to 30 s; jitter cuts each by up to a half."""
    server = Server(SinchState.ELIGIBLE)
    with pytest.raises(DeadlineExceededError):
        await server.wait(SinchState.VERIFIED, timeout=400.0, jitter=jitter)
    gaps = [b - a for a, b in zip(server.polls, server.polls[1:], strict=False)]
    expected = [share * min(30.0, 1.5**i) for i in range(len(gaps))]
    assert gaps == pytest.approx(expected)
    assert len(gaps) > 12


NUMBERS = [f"+1202555{i:04}" for i in range(500)]
HOSTED = frozenset({SinchState.HOSTING_DONE, SinchState.HOSTING_FAILED})


class Project:
    """Numbers that change state, listed by state and looked up one by one."""

    def __init__(self, numbers: Mapping[str, SinchState | str | None]) -> None:
        self.numbers = dict(numbers)
        self.calls: Counter[str] = Counter()
        self.listed: list[tuple[SinchState, ...]] = []
        self.read = 0
        self.errors_to_raise: list[SinchError] = []
        self.hidden: set[str] = set()

    def _number(self, phone_number: str) -> QualifiedNumber:
        state = self.numbers[phone_number]
        return QualifiedNumber(
            phone_number=phone_number,
            global_process_state=None if state is None else SinchState(state),
        )

    async def list_numbers(self, *states: SinchState) -> AsyncGenerator[QualifiedNumber, None]:
        """Yield the numbers in *states*, one state after the other."""
        self.calls["list"] += 1
        self.listed.append(states)
        if self.errors_to_raise:
            raise self.errors_to_raise.pop(0)
        for state in states:
            for phone_number in [n for n, s in self.numbers.items() if s == state]:
                if phone_number not in self.hidden:
                    self.read += 1
                    yield self._number(phone_number)

    async def get_number(self, phone_number: str) -> QualifiedNumber:
        """Return one number."""
        self.calls["get"] += 1
        if self.errors_to_raise:
            raise self.errors_to_raise.pop(0)
        if phone_number not in self.numbers:
            raise errors.NotFoundError(status_code=404)
        return self._number(phone_number)

    def watch(
        self,
        numbers: Iterable[str] | Mapping[str, SinchState | None],
        *states: SinchState,
        timeout: float = 3600.0,
        every_change: bool = False,
    ) -> AsyncGenerator[list[QualifiedNumber], None]:
        """Watch *numbers*."""
        return watch(
            self.list_numbers,
            self.get_number,
            numbers,
            states or HOSTED,
            timeout=timeout,
            every_change=every_change,
            jitter=lambda: 1.0,
        )


def states_of(poll: list[QualifiedNumber]) -> dict[str | None, SinchState | None]:
    """Return the states that a poll yielded."""
    return {number.phone_number: number.global_process_state for number in poll}


@virtual_clock
async def test_many_are_watched_with_listings() -> None:
    """Many numbers cost listings, not a GET each, and each is yielded once, on arrival."""
    polls = []
    project = Project(dict.fromkeys(NUMBERS, SinchState.HOSTING_IN_PROGRESS))
    project.numbers.update(dict.fromkeys(NUMBERS[:100], SinchState.HOSTING_DONE))
    async for poll in project.watch(NUMBERS):
        polls.append(states_of(poll))
        project.numbers.update(dict.fromkeys(NUMBERS[100:], SinchState.HOSTING_FAILED))
    assert polls == [
        dict.fromkeys(NUMBERS[:100], SinchState.HOSTING_DONE),
        dict.fromkeys(NUMBERS[100:], SinchState.HOSTING_FAILED),
    ]
    assert project.calls == {"list": 2}


@virtual_clock
async def test_only_possible_states_are_listed() -> None:
    """A poll lists the states that its numbers can be in, in the order of a number's life."""
    project = Project(dict.fromkeys(NUMBERS, SinchState.HOSTING_DONE))
    async with aclosing(project.watch(dict.fromkeys(NUMBERS, SinchState.VERIFIED))) as polls:
        await anext(polls)
    hosting = (SinchState.HOSTING_IN_PROGRESS, SinchState.HOSTING_DONE, SinchState.HOSTING_FAILED)
    assert project.listed == [(SinchState.VERIFIED, *hosting)]
    async with aclosing(project.watch(NUMBERS)) as polls:
        await anext(polls)
    assert project.listed[1] == tuple(REACHABLE)


@virtual_clock
async def test_a_listing_is_read_only_while_it_is_cheaper() -> None:
    """A few numbers among very many are looked up: the listing is not read to its end."""
    project = Project({f"+1303{i:07}": SinchState.ELIGIBLE for i in range(20_000)})
    few = NUMBERS[:20]
    project.numbers.update(dict.fromkeys(few, SinchState.HOSTING_DONE))
    assert [states_of(poll) async for poll in project.watch(few)] == [
        dict.fromkeys(few, SinchState.HOSTING_DONE)
    ]
    assert project.calls == {"list": 1, "get": 20}
    assert project.read == 2000
    one = [states_of(poll) async for poll in project.watch(few[:1])]
    assert one == [{few[0]: SinchState.HOSTING_DONE}]
    assert project.calls["list"] == 1, "fewer numbers than states are looked up one by one"


@virtual_clock
async def test_absence_is_confirmed_by_a_get() -> None:
    """A number that no listing has is looked up; a deleted one is yielded without a state."""
    project = Project(dict.fromkeys(NUMBERS, SinchState.HOSTING_DONE))
    project.hidden = {NUMBERS[7]}
    del project.numbers[NUMBERS[8]]
    (poll,) = [states_of(poll) async for poll in project.watch(NUMBERS)]
    assert poll[NUMBERS[7]] is SinchState.HOSTING_DONE
    assert poll[NUMBERS[8]] is None
    assert len(poll) == len(NUMBERS)
    assert project.calls == {"list": 1, "get": 2}


@virtual_clock
async def test_unreachable_numbers_are_not_watched() -> None:
    """A number that cannot reach an awaited state is yielded, and the others are watched on."""
    numbers = NUMBERS[:3]
    project = Project(dict.fromkeys(numbers, SinchState.VERIFICATION_PENDING))
    project.numbers[numbers[0]] = SinchState.VERIFICATION_BLOCKED
    polls = []
    async for poll in project.watch(numbers, SinchState.VERIFIED):
        polls.append(states_of(poll))
        project.numbers.update(dict.fromkeys(numbers[1:], SinchState.VERIFIED))
    assert polls[0] == {numbers[0]: SinchState.VERIFICATION_BLOCKED}
    assert polls[1] == dict.fromkeys(numbers[1:], SinchState.VERIFIED)


@virtual_clock
async def test_every_change_is_yielded_once() -> None:
    """With *every_change* a number is yielded at each change of its state, and not in between."""
    life = [
        SinchState.VERIFIED,
        SinchState.VERIFIED,
        None,
        SinchState.HOSTING_IN_PROGRESS,
        "GLOBAL_PROCESS_STATE_IN_ORBIT",
        "GLOBAL_PROCESS_STATE_IN_ORBIT",
        SinchState.HOSTING_DONE,
    ]
    project = Project({NUMBER: SinchState.VERIFIED})
    get_number = project.get_number

    async def moving(phone_number: str) -> QualifiedNumber:
        project.numbers[phone_number] = life.pop(0)
        return await get_number(phone_number)

    project.get_number = moving  # type: ignore[method-assign]
    seen = {NUMBER: SinchState.VERIFIED}
    polls = [states_of(poll)[NUMBER] async for poll in project.watch(seen, every_change=True)]
    assert polls == [
        SinchState.HOSTING_IN_PROGRESS,
        SinchState("GLOBAL_PROCESS_STATE_IN_ORBIT"),
        SinchState.HOSTING_DONE,
    ]
    assert not life


@virtual_clock
async def test_a_watch_ends_in_time() -> None:
    """The timeout error says how many are missing; the numbers seen before were yielded."""
    project = Project(dict.fromkeys(NUMBERS, SinchState.HOSTING_IN_PROGRESS))
    project.numbers[NUMBERS[0]] = SinchState.HOSTING_DONE
    polls = project.watch(NUMBERS, timeout=100.0)
    assert states_of(await anext(polls)) == {NUMBERS[0]: SinchState.HOSTING_DONE}
    with pytest.raises(DeadlineExceededError, match=r"499 of 500 .* HOSTING_DONE or") as caught:
        await anext(polls)
    assert asyncio.get_running_loop().time() == 100.0
    assert caught.value.outcome is Outcome.NOT_SENT
    assert caught.value.__cause__ is None


@virtual_clock
async def test_transient_errors_do_not_end_a_watch() -> None:
    """Transient errors do not end a watch; the last one is the cause of a timeout."""
    project = Project(dict.fromkeys(NUMBERS, SinchState.HOSTING_DONE))
    project.errors_to_raise = list(TRANSIENT)
    (poll,) = [poll async for poll in project.watch(NUMBERS)]
    assert len(poll) == 500
    assert project.calls == {"list": len(TRANSIENT) + 1}
    error = TRANSIENT[0]
    project.errors_to_raise = [error] * 100
    with pytest.raises(DeadlineExceededError) as caught:
        _ = [poll async for poll in project.watch(NUMBERS[:1], timeout=60.0)]
    assert caught.value.__cause__ is error


@virtual_clock
async def test_other_errors_end_a_watch() -> None:
    """Refused credentials end a watch, in a listing or a GET."""
    for numbers in (NUMBERS, NUMBERS[:1]):
        project = Project(dict.fromkeys(NUMBERS, SinchState.HOSTING_DONE))
        project.errors_to_raise = [errors.AuthenticationError(status_code=401)]
        with pytest.raises(errors.AuthenticationError):
            _ = [poll async for poll in project.watch(numbers)]


@virtual_clock
async def test_no_numbers_cost_nothing() -> None:
    """A watch of no numbers ends at once."""
    project = Project({})
    assert [poll async for poll in project.watch([])] == []
    assert not project.calls


# ---- outages -----------------------------------------------------------------------------------


class Outage:
    """A listing that fails with one error after the other, then always succeeds."""

    def __init__(self, *failures: SinchError) -> None:
        self.failures = list(failures)
        self.probes: list[float] = []

    async def list_number_pages(
        self, state: SinchState, *, page_size: int, retry: RetryRule
    ) -> AsyncGenerator[object, None]:
        """Fail, or yield a page."""
        assert (state, page_size) == (SinchState.VERIFIED, 1)
        assert getattr(retry, "max_attempts", None) == 1
        self.probes.append(asyncio.get_running_loop().time())
        if self.failures:
            raise self.failures.pop(0)
        yield object()


def test_backoff_doubles_up_to_its_maximum() -> None:
    """Delays double from 1 s to 60 s; jitter cuts each by up to a half."""
    expected = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert list(islice(backoff(jitter=lambda: 1.0), 8)) == expected
    assert list(islice(backoff(jitter=lambda: 0.0), 8)) == [0.5 * each for each in expected]
    assert list(islice(backoff(3.0, 10.0, factor=1.5, jitter=lambda: 1.0), 5)) == [
        3.0,
        4.5,
        6.75,
        10.0,
        10.0,
    ]


@pytest.mark.parametrize("stop", [False, True], ids=["forever", "stoppable"])
@virtual_clock
async def test_an_outage_ends_with_the_first_response(stop: bool) -> None:  # noqa: FBT001
    """Probes continue with growing delays until one succeeds; each failure is reported."""
    failures = [*TRANSIENT, errors.InvalidResponseError("garbage")]
    outage, seen = Outage(*failures), list[SinchError]()
    assert await until_reachable(
        outage.list_number_pages,
        delays=backoff(jitter=lambda: 1.0),
        stop=asyncio.Event() if stop else None,
        on_failure=seen.append,
    )
    assert seen == failures
    assert outage.probes == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 123.0, 183.0, 243.0]


@pytest.mark.parametrize(
    "error",
    [
        errors.AuthenticationError(status_code=401),
        errors.PermissionDeniedError(status_code=403),
        errors.NotFoundError(status_code=404),
    ],
    ids=lambda error: type(error).__name__,
)
@virtual_clock
async def test_refused_credentials_are_no_outage(error: SinchError) -> None:
    """Refused credentials and a missing project are raised at once."""
    outage = Outage(TRANSIENT[0], error)
    with pytest.raises(type(error)):
        await until_reachable(outage.list_number_pages, delays=backoff(jitter=lambda: 1.0))
    assert outage.probes == [0.0, 1.0]


@virtual_clock
async def test_a_probe_is_stopped_between_attempts() -> None:
    """Setting *stop* ends the wait at once; if set before, nothing is sent."""
    outage, stop = Outage(*TRANSIENT * 9), asyncio.Event()
    asyncio.get_running_loop().call_later(10.0, stop.set)
    probe = until_reachable(outage.list_number_pages, delays=backoff(jitter=lambda: 1.0), stop=stop)
    assert not await probe
    assert asyncio.get_running_loop().time() == 10.0
    assert len(outage.probes) == 4
    assert not await until_reachable(outage.list_number_pages, delays=backoff(), stop=stop)
    assert len(outage.probes) == 4


# ---- an order ----------------------------------------------------------------------------------


def orders(*answers: OrderState | SinchError | None) -> Callable[[], Awaitable[HostingOrder]]:
    """Return a function that returns an order in one state after the other, the last repeatedly."""
    left = list(answers)

    async def get() -> HostingOrder:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, SinchError):
            raise answer
        return HostingOrder(hosting_order_id="01arz3", state=answer)

    return get


@virtual_clock
async def test_an_order_is_completed() -> None:
    """The wait for an order ends with COMPLETED, whatever comes before, failed polls too."""
    get = orders(
        errors.NotFoundError(status_code=404),
        OrderState.SUBMITTED,
        OrderState.WAITING_FOR_LOA_SIGNATURE,
        errors.ServerError(status_code=503),
        OrderState("ON_ITS_WAY"),
        None,
        OrderState.IN_PROGRESS,
        OrderState.COMPLETED,
    )
    order = await wait_for_order(get, timeout=3600.0)
    assert order.state is OrderState.COMPLETED


@virtual_clock
async def test_a_rejected_order_ends_the_wait() -> None:
    """A rejected order is an OrderRejectedError with the order, and its outcome is REJECTED."""
    with pytest.raises(OrderRejectedError, match="01arz3 is REJECTED") as caught:
        await wait_for_order(orders(OrderState.SUBMITTED, OrderState.REJECTED), timeout=3600.0)
    assert caught.value.order.state is OrderState.REJECTED
    assert caught.value.outcome is Outcome.REJECTED


@virtual_clock
async def test_a_wait_for_an_order_ends_in_time() -> None:
    """At the timeout the error names the goal and the last state; an unknown order ends it."""
    get = orders(OrderState.WAITING_FOR_LOA_SIGNATURE)
    with pytest.raises(DeadlineExceededError, match=r"COMPLETED .*WAITING_FOR_LOA_SIGNATURE"):
        await wait_for_order(get, timeout=60.0)
    with pytest.raises(errors.NotFoundError):
        await wait_for_order(orders(errors.NotFoundError(status_code=404)), timeout=60.0)
