"""Waiting for a state: it ends with the state, with certainty that it cannot come, or in time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from sinch_qn import errors
from sinch_qn.errors import DeadlineExceededError, Outcome, SinchError, UnexpectedStateError
from sinch_qn.models import GlobalProcessState as State
from sinch_qn.models import QualifiedNumber
from sinch_qn.waiting import REACHABLE, wait_for_state
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


def test_every_state_has_its_successors() -> None:
    """The table of reachable states covers the ten, and is closed: what follows follows."""
    assert set(REACHABLE) == set(State) - {State.UNSPECIFIED}
    for reachable in REACHABLE.values():
        for state in reachable:
            assert REACHABLE[state] <= reachable


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
