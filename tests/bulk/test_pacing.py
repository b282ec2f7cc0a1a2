"""When the next phone may be called: slots, rate, backoff, outages; time is passed in."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinch_qn.bulk.pacing import STREAK, CallResult, Pacing, Responses
from sinch_qn.bulk.permits import Slots, Told, Turn
from sinch_qn.bulk.states import Entry, Todo
from sinch_qn.errors import BadRequestError, ConnectError, RateLimitError, TransportError
from sinch_qn.models import QualifiedNumber


class Pace:
    """The permits of one runner, with a call's steps as methods; a turn is used at once."""

    def __init__(self, **more: Any) -> None:
        usual: dict[str, Any] = {"max_ringing": 1000, "ring_window": 90.0, "calls_per_second": 10.0}
        self.slots = Slots(Pacing(**usual | more))
        self.responses = Responses()
        self._turns: dict[str, Turn] = {}

    @property
    def ringing(self) -> int:
        return self.slots.permits([], want=0, due=0, now=-math.inf).ringing

    @property
    def paused(self) -> bool:
        return self.slots.pacing.paused

    @property
    def rate(self) -> float:
        return self.slots.pacing.rate

    def wait(self, now: float) -> float | None:
        """Return the seconds until a phone may be called; None: not before something happens."""
        before = self.slots.pacing
        permits = self.slots.permits([], want=1, due=10**6, now=now)
        self.slots.pacing = before
        for turn in permits.turns:
            self.slots.give_up(turn)
            return max(0.0, turn.at - now)
        # The turns are given out a little ahead.
        return None if permits.wait is None else max(0.0, before.next_at - now, permits.wait)

    def reserve(self, number: str, now: float) -> None:
        """Take a turn for *number*."""
        (turn,) = self.slots.permits([], want=1, due=10**6, now=now).turns
        assert self.slots.take(turn, now)
        self._turns[number] = turn

    def call_started(self, number: str, now: float) -> None:
        self.slots.rings(number, now + self.slots.pacing.ring_window)

    def call_finished(self, number: str) -> None:
        self.tell(CallResult.NOT_SENT, number)

    def release(self, number: str) -> None:
        self.slots.update(Entry(number=number))

    def tell(self, result: CallResult | None, number: str | None = None, now: float = 0.0) -> None:
        """Tell a result, of the call of *number* if there is one."""
        if result is not None:
            turn = None if number is None else self._turns.pop(number, None)
            told = Told(result=result, slot=turn.slot if turn else None)
            self.slots.permits([told], want=0, due=0, now=now)

    def observe(self, number: str, todo: Todo, response: object) -> float | None:
        """Observe a response, and tell what it means."""
        result, delay = self.responses.observe(number, todo, response)
        self.tell(result)
        return delay

    def answered(self, number: str) -> None:
        self.observe(number, Todo.CALL, QualifiedNumber())

    def unanswered(self) -> None:
        self.observe("", Todo.CALL, TransportError("reset"))

    def probed(self, *, answered: bool) -> None:
        response = QualifiedNumber() if answered else TransportError("reset")
        self.observe("", Todo.LOOK_UP, response)

    def rate_limited(self, number: str, retry_after: float | None) -> float | None:
        error = RateLimitError("slow", status_code=429, retry_after=retry_after)
        return self.observe(number, Todo.CALL, error)

    def resume(self, now: float) -> None:
        self.tell(CallResult.REACHABLE, now=now)


def pacing(**more: Any) -> Pace:
    """Return a pace that is not paused."""
    made = Pace(**more)
    made.resume(0.0)
    return made


def test_calling_starts_with_a_probe() -> None:
    """Rule 6: a run starts paused, so that with refused credentials no phone is called."""
    made = Pace(max_ringing=1, calls_per_second=1.0)
    assert made.wait(0.0) is None
    made.resume(0.0)
    assert made.wait(0.0) == 0


def test_calls_are_an_interval_apart() -> None:
    """Calls keep to `calls_per_second`; a late call is not followed by a burst."""
    made = pacing(calls_per_second=2.0)
    assert made.rate == 2.0
    made.reserve("a", 0.0)
    assert made.wait(0.1) == pytest.approx(0.4)
    assert made.wait(0.5) == 0
    made.reserve("b", 100.0)
    assert made.wait(100.0) == pytest.approx(0.5)


@given(
    late=st.lists(st.floats(0.0, 0.02), min_size=50, max_size=200),
    rate=st.floats(1.0, 1000.0),
)
def test_turns_that_are_a_little_late_lose_no_rate(late: list[float], rate: float) -> None:
    """The n-th call is at most 20 ms late, however late the calls before it were."""
    made, now = pacing(calls_per_second=rate), 1000.0
    for n, lateness in enumerate(late):
        wait = made.wait(now)
        assert wait is not None
        now += wait + (lateness if wait else 0.0)
        assert now <= 1000.0 + n / rate + 0.02 + 1e-6
        made.reserve(str(n), now)
        made.call_finished(str(n))


@given(
    late=st.lists(st.floats(0.0, 0.1) | st.floats(0.0, 3.0), min_size=50, max_size=300),
    rate=st.floats(1.0, 1000.0),
)
def test_no_second_has_a_burst(late: list[float], rate: float) -> None:
    """No second has more calls than 5 % + 1 above the rate, however late the turns are."""
    made, now = pacing(calls_per_second=rate), 1000.0
    calls: list[float] = []
    for n, lateness in enumerate(late):
        wait = made.wait(now)
        assert wait is not None
        now += wait + lateness
        while made.wait(now) == 0 and len(calls) < 2000:
            calls.append(now)
            made.reserve(f"{n}-{len(calls)}", now)
            made.call_finished(f"{n}-{len(calls)}")
    most = max(bisect_left(calls, at + 1.0) - index for index, at in enumerate(calls))
    assert most <= 1.05 * rate + 1


def called(made: Pace, number: str, now: float) -> None:
    """Reserve a slot, and commit the intent at once."""
    made.reserve(number, now)
    made.call_started(number, now)


def test_a_slot_is_held_until_the_window_ends_or_a_code_comes() -> None:
    """Rule 9: `max_ringing` phones hold a slot until a code comes or the ring window ends."""
    made = pacing(max_ringing=2, calls_per_second=1000.0)
    called(made, "a", 0.0)
    called(made, "b", 1.0)
    assert made.ringing == 2
    assert made.wait(10.0) == pytest.approx(80.0)
    made.release("a")
    made.release("a")
    assert made.wait(10.0) == 0
    called(made, "c", 10.0)
    assert made.wait(90.9) == pytest.approx(0.1)
    assert made.wait(91.0) == 0
    assert made.ringing == 1


def test_a_slot_is_restored_after_a_restart() -> None:
    """Rule 9: a slot from before a restart counts; a second call has a ring window of its own."""
    made = pacing(max_ringing=2, calls_per_second=1000.0)
    made.slots.rings("a", 30.0)
    made.slots.rings("b", 40.0)
    assert made.wait(0.0) == pytest.approx(30.0)
    assert made.wait(30.0) == 0
    called(made, "b", 30.0)
    assert made.ringing == 1
    called(made, "c", 31.0)
    assert made.wait(41.0) == pytest.approx(79.0)


def unanswered_calls(made: Pace, *, in_flight: int) -> int:
    """Return how many calls an outage leaves unanswered, with so many in flight."""
    flying: list[str] = []
    numbers, lost, now = (str(n) for n in itertools.count()), 0, 0.0
    while True:
        now += 1.0
        while len(flying) < in_flight and made.wait(now) == 0:
            flying.append(next(numbers))
            made.reserve(flying[-1], now)
            now += 1.0
        if not flying:
            return lost
        made.call_finished(flying.pop(0))
        made.unanswered()
        lost += 1


@pytest.mark.parametrize("in_flight", [1, 5, 1000])
@pytest.mark.parametrize("max_unknown", [1, 2, 7, 39, 40, 200])
def test_an_outage_leaves_max_unknown_at_most(in_flight: int, max_unknown: int) -> None:
    """Rule 5: an outage leaves `max_unknown` numbers UNKNOWN at most, and pauses calling."""
    made = pacing(max_ringing=10_000, max_unknown=max_unknown)
    assert unanswered_calls(made, in_flight=in_flight) <= max_unknown
    assert made.paused


@pytest.mark.parametrize("in_flight", [1, 5, 1000])
def test_an_outage_is_bounded_whatever_is_in_flight(in_flight: int) -> None:
    """Rule 5: 20 unanswered calls in a row pause calling: under 50, with those in flight."""
    made = pacing(max_ringing=10_000)
    assert STREAK <= unanswered_calls(made, in_flight=in_flight) < 50
    assert made.paused


def test_calling_resumes_slowly() -> None:
    """Rule 5: after an outage one call is in flight, then two, then four, then eight."""
    made = pacing()
    unanswered_calls(made, in_flight=1)
    made.resume(1000.0)
    now, allowed = 1000.0, []
    for step in range(4):
        flying: list[str] = []
        while made.wait(now) == 0:
            flying.append(f"{step}-{len(flying)}")
            made.reserve(flying[-1], now)
            now += 1.0
        allowed.append(len(flying))
        for number in flying:
            made.call_finished(number)
        made.answered(flying[0])
    assert allowed == [1, 2, 4, 8]


def test_a_response_ends_the_streak() -> None:
    """Rule 5: only unanswered calls in a row pause calling; a 429 is a response."""
    made = pacing()
    for _ in range(10):
        for _ in range(STREAK - 1):
            made.unanswered()
        made.answered("a")
    assert not made.paused
    for _ in range(STREAK - 1):
        made.unanswered()
    made.rate_limited("a", None)
    made.unanswered()
    assert not made.paused


@pytest.mark.parametrize("result", [CallResult.UNANSWERED, CallResult.OUTAGE])
def test_since_when_calling_is_paused(result: CallResult) -> None:
    """`paused_since` is when an outage began to pause the run, whatever follows in it."""
    made = pacing().slots.pacing
    for now in range(100, 150):
        made = made.after(result, float(now))
    assert made.paused
    assert made.paused_since == (100.0 if result is CallResult.OUTAGE else 100.0 + STREAK - 1)


def test_if_only_calls_fail_they_resume_with_backoff() -> None:
    """Rule 5: an hour in which only calls have no response leaves fewer than 35 unknown."""
    made = pacing()
    lost, now = 0, 0.0
    while now < 3600.0:
        if made.paused:
            made.resume(now)
        wait = made.wait(now)
        if wait == 0:
            made.reserve("a", now)
            made.call_finished("a")
            made.unanswered()
            lost += 1
        now += wait or 0.01
    assert STREAK < lost < 35
    made.answered("a")
    made.unanswered()
    made.unanswered()
    made.resume(now)
    assert (made.wait(now + 1.0) or 0) == 0


def test_other_requests_have_a_streak_of_their_own() -> None:
    """Rule 5: look-ups without a response pause the run, too, without slowing calls after it."""
    made = pacing()
    for _ in range(STREAK - 1):
        made.probed(answered=False)
    made.probed(answered=True)
    for _ in range(STREAK - 1):
        made.probed(answered=False)
        made.answered("a")
    assert made.wait(0.0) == 0
    made.probed(answered=False)
    assert made.wait(0.0) is None
    made.resume(0.0)
    made.reserve("a", 0.0)
    assert made.wait(1.0) == 0  # no slow start


def test_a_429_slows_the_run_and_postpones_its_number() -> None:
    """Rule 2: a 429 halves the rate down to one a minute, and responses restore it.

    Its number is postponed by Retry-After, or with backoff.
    """
    made = pacing(calls_per_second=8.0)
    assert made.rate_limited("a", 17.0) == 17.0
    assert made.rate == pytest.approx(4.0)
    assert made.rate_limited("b", None) == 5.0
    assert made.rate == pytest.approx(2.0)
    for _ in range(50):
        made.answered("c")
    assert made.rate == pytest.approx(8.0)
    for number in range(40):
        made.rate_limited(str(number), None)
    assert made.rate == pytest.approx(1 / 60)


def test_a_number_that_alone_is_limited_is_postponed_alone() -> None:
    """Rule 2: a number that alone gets a 429 is postponed, each time longer; the rate stays."""
    made = pacing(calls_per_second=8.0)
    delays = []
    for _ in range(6):
        delays.append(made.rate_limited("a", None))
        for _ in range(20):
            made.answered("b")
    assert delays == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0]
    made.rate_limited("a", None)
    assert made.rate == pytest.approx(8.0)
    made.rate_limited("a", None)  # no response in between: the limit may be everybody's
    assert made.rate == pytest.approx(4.0)
    made.answered("a")
    assert made.rate_limited("a", None) == 5.0


def test_limited_numbers_are_bounded() -> None:
    """P10: of many numbers that get a 429, some hundreds are kept in memory."""
    made = pacing()
    for number in range(5000):
        made.rate_limited(str(number), None)
    assert len(made.responses._limited) <= 400


@pytest.mark.parametrize(
    ("todo", "delay", "rate"),
    [(Todo.CALL, 17.0, 5.0), (Todo.VERIFY, 17.0, 5.0), (Todo.LOOK_UP, None, 10.0)],
)
def test_a_429_is_observed(todo: Todo, delay: float | None, rate: float) -> None:
    """Rule 2: a 429 to a call or a code slows the run; look-ups have delays of their own."""
    made = pacing(calls_per_second=10.0)
    limited = RateLimitError("slow", status_code=429, retry_after=17.0)
    assert made.observe("a", todo, limited) == delay
    assert made.rate == pytest.approx(rate)


@pytest.mark.parametrize(
    ("response", "pauses"),
    [
        (TransportError("reset"), True),
        (ConnectError("refused"), True),
        (BadRequestError("no", status_code=400), False),
        (QualifiedNumber(), False),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("todo", [Todo.CALL, Todo.LOOK_UP])
def test_requests_without_a_response_pause_calling(
    *, todo: Todo, response: object, pauses: bool
) -> None:
    """Rule 5: errors without a response pause calling after twenty in a row; a refusal is one."""
    made = pacing()
    for n in range(STREAK):
        made.observe(str(n), todo, response)
    assert made.paused is pauses
