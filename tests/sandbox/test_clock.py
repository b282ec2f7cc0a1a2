"""The sandbox's clock."""

from __future__ import annotations

import pytest

from sinch_qn.sandbox import Clock


def test_a_stopped_clock_moves_by_hand_only() -> None:
    """Only `advance` moves a stopped clock, and never back."""
    clock = Clock.stopped(at=100.0)
    assert (clock.now(), clock.now()) == (100.0, 100.0)
    clock.advance(5)
    assert clock.now() == 105.0
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(-1)


def test_a_clock_can_run_on_any_source() -> None:
    """A clock adds its advances to the time of its source."""
    times = iter([10.0, 20.0])
    clock = Clock(lambda: next(times))
    assert clock.now() == 10.0
    clock.advance(3)
    assert clock.now() == 23.0
