"""Who may be rung now: slots, pace, patience, outages; time is passed in."""

from __future__ import annotations

import itertools

import pytest

from sinch_qn.bulk.pacing import STREAK, Pacing


def pacing(**more: float) -> Pacing:
    """Return a pacing that rings already."""
    made = Pacing(
        int(more.get("max_ringing", 1000)),
        more.get("ring_window", 90.0),
        more.get("calls_per_second", 10.0),
    )
    made.resume(0.0)
    return made


def test_nobody_is_rung_before_a_probe_was_answered() -> None:
    """Rule 6: a run begins paused, so that refused credentials ring nobody."""
    made = Pacing(1, 90.0, 1.0)
    assert made.wait(0.0) is None
    made.resume(0.0)
    assert made.wait(0.0) == 0


def test_the_pace_is_kept_and_a_late_turn_lends_nothing() -> None:
    """Calls are an interval apart; a turn that came late is not made up for by a burst."""
    made = pacing(calls_per_second=2.0)
    assert made.rate == 2.0
    made.reserve("a", 0.0)
    assert made.wait(0.1) == pytest.approx(0.4)
    assert made.wait(0.5) == 0
    made.reserve("b", 100.0)
    assert made.wait(100.0) == pytest.approx(0.5)


def called(made: Pacing, number: str, now: float) -> None:
    """Take a slot, and commit the intent at once."""
    made.reserve(number, now)
    made.call_started(number, now)


def test_a_slot_is_held_from_its_intent() -> None:
    """Rule 9: the ring window begins with the intent, however long its permit took."""
    made = pacing(max_ringing=1, calls_per_second=1000.0)
    made.reserve("a", 0.0)
    assert made.wait(1000.0) is None
    made.call_started("a", 1000.0)
    assert made.wait(1001.0) == pytest.approx(89.0)


def test_a_slot_is_held_until_the_window_ends_or_a_code_comes() -> None:
    """Rule 9: so many phones ring at once; a code, or the end of its window, frees a slot."""
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


def test_a_slot_outlives_a_restart_and_is_moved_by_a_recall() -> None:
    """Rule 9: a slot from before a restart counts; a second call holds it from its own time."""
    made = pacing(max_ringing=2, calls_per_second=1000.0)
    made.restore("a", 30.0)
    made.restore("b", 40.0)
    assert made.wait(0.0) == pytest.approx(30.0)
    assert made.wait(30.0) == 0
    called(made, "b", 30.0)
    assert made.ringing == 1
    called(made, "c", 31.0)
    assert made.wait(41.0) == pytest.approx(79.0)


def unanswered_calls(made: Pacing, *, in_flight: int) -> int:
    """Return how many calls an outage swallows that is noticed *in_flight* calls late."""
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
def test_an_outage_is_bounded_whatever_is_in_flight(in_flight: int) -> None:
    """Rule 5: after 20 unanswered calls in a row ringing pauses; with those in flight, under 50."""
    made = pacing(max_ringing=10_000)
    assert STREAK <= unanswered_calls(made, in_flight=in_flight) < 50
    assert made.paused


def test_after_an_outage_it_rings_slowly_and_faster_again() -> None:
    """Rule 5: after an outage one call is in flight, then two, then four …"""
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


def test_an_answer_ends_the_streak() -> None:
    """Rule 5: only calls that go unanswered in a row pause the ringing."""
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


def test_when_only_calls_fail_the_run_waits_longer_each_time() -> None:
    """Rule 5: though look-ups are answered, an hour without answers to calls costs few of them."""
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


def test_questions_that_ring_nobody_have_a_streak_of_their_own() -> None:
    """Rule 5: look-ups without an answer pause the run, too, but say nothing about calls."""
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
    assert made.wait(1.0) == 0  # it was no outage of calls: no slow start


def test_a_429_slows_the_run_and_delays_its_number() -> None:
    """Rule 2: a 429 halves the pace, and calls that pass give it back; Retry-After is kept."""
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


def test_a_number_that_alone_is_limited_is_delayed_alone() -> None:
    """Rule 2: while others pass, the number that gets a 429 each time is delayed, and only it."""
    made = pacing(calls_per_second=8.0)
    delays = []
    for _ in range(6):
        delays.append(made.rate_limited("a", None))
        for _ in range(20):
            made.answered("b")
    assert delays == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0]
    made.rate_limited("a", None)
    assert made.rate == pytest.approx(8.0)
    made.rate_limited("a", None)  # nobody passed meanwhile: it may be everybody's limit
    assert made.rate == pytest.approx(4.0)
    made.answered("a")
    assert made.rate_limited("a", None) == 5.0


def test_what_is_remembered_of_limits_is_bounded() -> None:
    """P10: a million numbers that get a 429 are not all remembered."""
    made = pacing()
    for number in range(5000):
        made.rate_limited(str(number), None)
    assert len(made._limited) <= 400
