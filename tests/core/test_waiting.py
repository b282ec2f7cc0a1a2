"""Waiting for a state: it ends with the state, with certainty that it cannot come, or in time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from itertools import islice

import pytest

from sinch_qn import errors
from sinch_qn.errors import DeadlineExceededError, Outcome, SinchError, UnexpectedStateError
from sinch_qn.lifecycle import REACHABLE
from sinch_qn.models import GlobalProcessState as State
from sinch_qn.models import QualifiedNumber
from sinch_qn.retry import RetryRule
from sinch_qn.waiting import backoff, until_reachable, wait_for_state, watch
from tests.conftest import virtual_clock

NUMBER = "+12025550134"


class Server:
    """Gives one answer after the other, the last for ever."""

    def __init__(self, *answers: State | str | SinchError | None) -> None:
        self.answers = answers
        self.polls: list[float] = []

    async def get_number(self, phone_number: str) -> QualifiedNumber:
        """Return the number in its next state."""
        assert phone_number == NUMBER
        self.polls.append(asyncio.get_running_loop().time())
        answer = self.answers[min(len(self.polls), len(self.answers)) - 1]
        if isinstance(answer, SinchError):
            raise answer
        state = None if answer is None else State(answer)
        return QualifiedNumber(phone_number=phone_number, global_process_state=state)

    async def wait(
        self, *states: State, timeout: float = 3600.0, jitter: float = 1.0
    ) -> QualifiedNumber:
        """Wait for one of *states*."""
        return await wait_for_state(
            self.get_number, NUMBER, frozenset(states), timeout=timeout, jitter=lambda: jitter
        )


@virtual_clock
async def test_the_state_is_reached() -> None:
    """The wait ends with the number in the state that was waited for, at once if it is there."""
    server = Server(State.ELIGIBLE_CHECK_PENDING, State.ELIGIBLE_CHECK_PENDING, State.ELIGIBLE)
    number = await server.wait(State.ELIGIBLE)
    assert number.global_process_state is State.ELIGIBLE
    assert len(server.polls) == 3
    here = Server(State.VERIFIED)
    before = asyncio.get_running_loop().time()
    await here.wait(State.VERIFIED, State.ELIGIBLE)
    assert asyncio.get_running_loop().time() == before


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        (State.NOT_ELIGIBLE, {State.ELIGIBLE}),
        (State.VERIFICATION_BLOCKED, {State.VERIFIED}),
        (State.HOSTING_FAILED, {State.HOSTING_DONE}),
        (State.HOSTING_DONE, {State.HOSTING_FAILED, State.VERIFIED}),
        (State.VERIFIED, {State.ELIGIBLE}),
        (State.HOSTING_IN_PROGRESS, {State.VERIFIED, State.NOT_ELIGIBLE}),
    ],
)
@virtual_clock
async def test_a_state_that_can_no_longer_come(seen: State, wanted: Iterable[State]) -> None:
    """Once no wanted state can be reached the wait ends at once, with the number as it is."""
    server = Server(seen)
    with pytest.raises(UnexpectedStateError) as caught:
        await server.wait(*wanted)
    assert caught.value.number.global_process_state is seen
    assert seen.name in str(caught.value)
    for state in wanted:
        assert state.name in str(caught.value)
    assert len(server.polls) == 1


@virtual_clock
async def test_what_can_still_come_is_waited_for() -> None:
    """A failed verification can be repeated, so it does not end a wait for VERIFIED."""
    server = Server(State.VERIFICATION_FAILED, State.VERIFICATION_PENDING, State.VERIFIED)
    await server.wait(State.VERIFIED)
    assert len(server.polls) == 3


@virtual_clock
async def test_unknown_states_keep_waiting() -> None:
    """Nobody knows what can come after a state that is new, unspecified or missing."""
    server = Server("GLOBAL_PROCESS_STATE_IN_ORBIT", State.UNSPECIFIED, None, State.VERIFIED)
    await server.wait(State.VERIFIED)
    assert len(server.polls) == 4


@virtual_clock
async def test_the_deadline_names_what_was_seen() -> None:
    """The wait ends in time, and says what it waited for and what it saw last."""
    server = Server(State.ELIGIBLE_CHECK_PENDING)
    with pytest.raises(DeadlineExceededError) as caught:
        await server.wait(State.ELIGIBLE, State.VERIFIED, timeout=100.0)
    assert asyncio.get_running_loop().time() == 100.0
    assert "ELIGIBLE or VERIFIED" in str(caught.value)
    assert State.ELIGIBLE_CHECK_PENDING in str(caught.value)
    assert caught.value.outcome is Outcome.NOT_SENT
    assert caught.value.__cause__ is None


@virtual_clock
async def test_the_deadline_cuts_off_a_poll() -> None:
    """A poll that hangs does not outlast the wait."""

    async def hang(_: str) -> QualifiedNumber:
        await asyncio.sleep(1e6)
        raise AssertionError

    with pytest.raises(DeadlineExceededError, match="nothing yet"):
        await wait_for_state(hang, NUMBER, frozenset({State.VERIFIED}), timeout=5.0)
    assert asyncio.get_running_loop().time() == 5.0


PASSING: list[SinchError] = [
    errors.TransportError("reset"),
    errors.ConnectError("refused"),
    errors.ServerError(status_code=503),
    errors.RateLimitError(status_code=429),
    errors.TokenError("down"),
    errors.DeadlineExceededError("slow"),
]


@virtual_clock
async def test_passing_faults_are_survived() -> None:
    """Faults that pass do not end the wait."""
    server = Server(*PASSING, State.VERIFIED)
    await server.wait(State.VERIFIED)
    assert len(server.polls) == len(PASSING) + 1


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: type(fault).__name__)
@virtual_clock
async def test_a_fault_that_does_not_pass_is_the_cause(fault: SinchError) -> None:
    """A deadline that passes while polls fail is chained to the last failure."""
    server = Server(State.ELIGIBLE, fault)
    with pytest.raises(DeadlineExceededError, match="STATE_ELIGIBLE") as caught:
        await server.wait(State.VERIFIED, timeout=60.0)
    assert caught.value.__cause__ is fault
    server = Server(fault, State.ELIGIBLE)
    with pytest.raises(DeadlineExceededError) as caught:
        await server.wait(State.VERIFIED, timeout=60.0)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "fault",
    [
        errors.NotFoundError(status_code=404),
        errors.AuthenticationError(status_code=401),
        errors.PermissionDeniedError(status_code=403),
        errors.InvalidRequestError("bad"),
        errors.InvalidResponseError("garbage"),
    ],
    ids=lambda fault: type(fault).__name__,
)
@virtual_clock
async def test_lasting_faults_end_the_wait(fault: SinchError) -> None:
    """A number that is gone, refused credentials and the like end the wait at once."""
    server = Server(State.ELIGIBLE, fault, State.VERIFIED)
    with pytest.raises(type(fault)):
        await server.wait(State.VERIFIED)
    assert len(server.polls) == 2


@pytest.mark.parametrize(("jitter", "share"), [(0.0, 0.5), (1.0, 1.0)])
@virtual_clock
async def test_polls_grow_rare(jitter: float, share: float) -> None:
    """Waits grow by half from 1 s to 30 s, each cut by up to a half by chance."""
    server = Server(State.ELIGIBLE)
    with pytest.raises(DeadlineExceededError):
        await server.wait(State.VERIFIED, timeout=400.0, jitter=jitter)
    gaps = [b - a for a, b in zip(server.polls, server.polls[1:], strict=False)]
    expected = [share * min(30.0, 1.5**i) for i in range(len(gaps))]
    assert gaps == pytest.approx(expected)
    assert len(gaps) > 12


NUMBERS = [f"+1202555{i:04}" for i in range(500)]
HOSTED = frozenset({State.HOSTING_DONE, State.HOSTING_FAILED})


class Project:
    """Numbers that move, listed by state and looked up one by one."""

    def __init__(self, numbers: Mapping[str, State | str | None]) -> None:
        self.numbers = dict(numbers)
        self.calls: Counter[str] = Counter()
        self.listed: list[tuple[State, ...]] = []
        self.read = 0
        self.faults: list[SinchError] = []
        self.hidden: set[str] = set()

    def _number(self, phone_number: str) -> QualifiedNumber:
        state = self.numbers[phone_number]
        return QualifiedNumber(
            phone_number=phone_number,
            global_process_state=None if state is None else State(state),
        )

    async def list_numbers(self, *states: State) -> AsyncGenerator[QualifiedNumber, None]:
        """Yield the numbers in *states*, one state after the other."""
        self.calls["list"] += 1
        self.listed.append(states)
        if self.faults:
            raise self.faults.pop(0)
        for state in states:
            for phone_number in [n for n, s in self.numbers.items() if s == state]:
                if phone_number not in self.hidden:
                    self.read += 1
                    yield self._number(phone_number)

    async def get_number(self, phone_number: str) -> QualifiedNumber:
        """Return one number."""
        self.calls["get"] += 1
        if self.faults:
            raise self.faults.pop(0)
        if phone_number not in self.numbers:
            raise errors.NotFoundError(status_code=404)
        return self._number(phone_number)

    def watch(
        self,
        numbers: Iterable[str] | Mapping[str, State | None],
        *states: State,
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


def told(look: list[QualifiedNumber]) -> dict[str | None, State | None]:
    """Return what a look brought."""
    return {number.phone_number: number.global_process_state for number in look}


@virtual_clock
async def test_many_are_watched_with_listings() -> None:
    """Many numbers cost listings rather than a GET each, and each comes once, when it is there."""
    looks = []
    project = Project(dict.fromkeys(NUMBERS, State.HOSTING_IN_PROGRESS))
    project.numbers.update(dict.fromkeys(NUMBERS[:100], State.HOSTING_DONE))
    async for look in project.watch(NUMBERS):
        looks.append(told(look))
        project.numbers.update(dict.fromkeys(NUMBERS[100:], State.HOSTING_FAILED))
    assert looks == [
        dict.fromkeys(NUMBERS[:100], State.HOSTING_DONE),
        dict.fromkeys(NUMBERS[100:], State.HOSTING_FAILED),
    ]
    assert project.calls == {"list": 2}


@virtual_clock
async def test_only_states_that_can_come_are_listed() -> None:
    """A look lists where its numbers can be by now, in the order of a number's life."""
    project = Project(dict.fromkeys(NUMBERS, State.HOSTING_DONE))
    async with aclosing(project.watch(dict.fromkeys(NUMBERS, State.VERIFIED))) as looks:
        await anext(looks)
    hosting = (State.HOSTING_IN_PROGRESS, State.HOSTING_DONE, State.HOSTING_FAILED)
    assert project.listed == [(State.VERIFIED, *hosting)]
    async with aclosing(project.watch(NUMBERS)) as looks:
        await anext(looks)
    assert project.listed[1] == tuple(REACHABLE)


@virtual_clock
async def test_a_listing_is_read_only_while_it_is_cheaper() -> None:
    """A few numbers among very many are looked up: the listing is not read to its end."""
    project = Project({f"+1303{i:07}": State.ELIGIBLE for i in range(20_000)})
    few = NUMBERS[:20]
    project.numbers.update(dict.fromkeys(few, State.HOSTING_DONE))
    assert [told(look) async for look in project.watch(few)] == [
        dict.fromkeys(few, State.HOSTING_DONE)
    ]
    assert project.calls == {"list": 1, "get": 20}
    assert project.read == 2000
    one = [told(look) async for look in project.watch(few[:1])]
    assert one == [{few[0]: State.HOSTING_DONE}]
    assert project.calls["list"] == 1, "fewer numbers than states are looked up at once"


@virtual_clock
async def test_absence_is_confirmed_by_a_get() -> None:
    """A number that no listing showed is looked up; one that is gone comes without a state."""
    project = Project(dict.fromkeys(NUMBERS, State.HOSTING_DONE))
    project.hidden = {NUMBERS[7]}
    del project.numbers[NUMBERS[8]]
    (look,) = [told(look) async for look in project.watch(NUMBERS)]
    assert look[NUMBERS[7]] is State.HOSTING_DONE
    assert look[NUMBERS[8]] is None
    assert len(look) == len(NUMBERS)
    assert project.calls == {"list": 1, "get": 2}


@virtual_clock
async def test_what_can_no_longer_come_is_not_watched() -> None:
    """A number that cannot reach a wanted state any more comes as it is, and the rest go on."""
    numbers = NUMBERS[:3]
    project = Project(dict.fromkeys(numbers, State.VERIFICATION_PENDING))
    project.numbers[numbers[0]] = State.VERIFICATION_BLOCKED
    looks = []
    async for look in project.watch(numbers, State.VERIFIED):
        looks.append(told(look))
        project.numbers.update(dict.fromkeys(numbers[1:], State.VERIFIED))
    assert looks[0] == {numbers[0]: State.VERIFICATION_BLOCKED}
    assert looks[1] == dict.fromkeys(numbers[1:], State.VERIFIED)


@virtual_clock
async def test_steps_come_once_each() -> None:
    """With steps a number comes whenever it has moved, and not when it has not."""
    life = [
        State.VERIFIED,
        State.VERIFIED,
        None,
        State.HOSTING_IN_PROGRESS,
        "GLOBAL_PROCESS_STATE_IN_ORBIT",
        "GLOBAL_PROCESS_STATE_IN_ORBIT",
        State.HOSTING_DONE,
    ]
    project = Project({NUMBER: State.VERIFIED})
    get_number = project.get_number

    async def moving(phone_number: str) -> QualifiedNumber:
        project.numbers[phone_number] = life.pop(0)
        return await get_number(phone_number)

    project.get_number = moving  # type: ignore[method-assign]
    seen = {NUMBER: State.VERIFIED}
    looks = [told(look)[NUMBER] async for look in project.watch(seen, every_change=True)]
    assert looks == [
        State.HOSTING_IN_PROGRESS,
        State("GLOBAL_PROCESS_STATE_IN_ORBIT"),
        State.HOSTING_DONE,
    ]
    assert not life


@virtual_clock
async def test_a_watch_ends_in_time() -> None:
    """The deadline says how many are missing; what was seen before it has come."""
    project = Project(dict.fromkeys(NUMBERS, State.HOSTING_IN_PROGRESS))
    project.numbers[NUMBERS[0]] = State.HOSTING_DONE
    looks = project.watch(NUMBERS, timeout=100.0)
    assert told(await anext(looks)) == {NUMBERS[0]: State.HOSTING_DONE}
    with pytest.raises(DeadlineExceededError, match=r"499 of 500 .* HOSTING_DONE or") as caught:
        await anext(looks)
    assert asyncio.get_running_loop().time() == 100.0
    assert caught.value.outcome is Outcome.NOT_SENT
    assert caught.value.__cause__ is None


@virtual_clock
async def test_a_watch_survives_passing_faults() -> None:
    """Faults that pass do not end a watch; the last is the cause of a deadline missed by it."""
    project = Project(dict.fromkeys(NUMBERS, State.HOSTING_DONE))
    project.faults = list(PASSING)
    (look,) = [look async for look in project.watch(NUMBERS)]
    assert len(look) == 500
    assert project.calls == {"list": len(PASSING) + 1}
    fault = PASSING[0]
    project.faults = [fault] * 100
    with pytest.raises(DeadlineExceededError) as caught:
        _ = [look async for look in project.watch(NUMBERS[:1], timeout=60.0)]
    assert caught.value.__cause__ is fault


@virtual_clock
async def test_a_watch_ends_with_what_does_not_pass() -> None:
    """Refused credentials end a watch, whether listed or looked up."""
    for numbers in (NUMBERS, NUMBERS[:1]):
        project = Project(dict.fromkeys(NUMBERS, State.HOSTING_DONE))
        project.faults = [errors.AuthenticationError(status_code=401)]
        with pytest.raises(errors.AuthenticationError):
            _ = [look async for look in project.watch(numbers)]


@virtual_clock
async def test_nobody_is_watched_at_no_cost() -> None:
    """A watch of nothing ends at once."""
    project = Project({})
    assert [look async for look in project.watch([])] == []
    assert not project.calls


# ---- outages -----------------------------------------------------------------------------------


class Outage:
    """A listing that fails with one error after the other, then for ever succeeds."""

    def __init__(self, *failures: SinchError) -> None:
        self.failures = list(failures)
        self.probes: list[float] = []

    async def list_number_pages(
        self, state: State, *, page_size: int, retry: RetryRule
    ) -> AsyncGenerator[object, None]:
        """Fail, or yield a page."""
        assert (state, page_size) == (State.VERIFIED, 1)
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
    """Probes go on with growing delays until one succeeds; each failure is reported once."""
    failures = [*PASSING, errors.InvalidResponseError("garbage")]
    outage, seen = Outage(*failures), list[SinchError]()
    assert await until_reachable(
        outage.list_number_pages,
        delays=backoff(jitter=lambda: 1.0),
        stop=asyncio.Event() if stop else None,
        on_failure=seen.append,
    )
    assert seen == failures
    assert outage.probes == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 123.0]


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
    outage = Outage(PASSING[0], error)
    with pytest.raises(type(error)):
        await until_reachable(outage.list_number_pages, delays=backoff(jitter=lambda: 1.0))
    assert outage.probes == [0.0, 1.0]


@virtual_clock
async def test_a_probe_is_stopped_between_attempts() -> None:
    """Setting *stop* ends the wait at once; set beforehand, nothing is sent."""
    outage, stop = Outage(*PASSING * 9), asyncio.Event()
    asyncio.get_running_loop().call_later(10.0, stop.set)
    probe = until_reachable(outage.list_number_pages, delays=backoff(jitter=lambda: 1.0), stop=stop)
    assert not await probe
    assert asyncio.get_running_loop().time() == 10.0
    assert len(outage.probes) == 4
    assert not await until_reachable(outage.list_number_pages, delays=backoff(), stop=stop)
    assert len(outage.probes) == 4
