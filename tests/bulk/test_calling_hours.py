"""Calling hours, local to each number."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, reset_tzpath

import pytest

from sinch_qn.bulk import CallingHours, MemoryJournal, VoiceChallengeRun
from sinch_qn.bulk import calling_hours as module
from sinch_qn.errors import InvalidRequestError

NEW_YORK = "+12125550134"
LOS_ANGELES = "+12135550134"
IDAHO = "+12085550134"
TOLL_FREE = "+18335550134"


def at(moment: str, zone: str = "America/New_York") -> float:
    """Return a local time as seconds since the epoch."""
    return datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("window", "moment", "opens"),
    [
        ("09:00-20:00", "2026-01-15T09:00:00", "2026-01-15T09:00:00"),
        ("09:00-20:00", "2026-01-15T19:59:59.9", "2026-01-15T19:59:59.9"),
        ("09:00-20:00", "2026-01-15T20:00:00", "2026-01-16T09:00:00"),
        ("09:00-20:00", "2026-01-15T08:59:59.5", "2026-01-15T09:00:00"),
        ("09:00-20:00", "2026-01-15T03:17:21", "2026-01-15T09:00:00"),
        ("22:00-02:00", "2026-01-15T23:00:00", "2026-01-15T23:00:00"),
        ("22:00-02:00", "2026-01-15T01:59:00", "2026-01-15T01:59:00"),
        ("22:00-02:00", "2026-01-15T02:00:00", "2026-01-15T22:00:00"),
        ("22:00-02:00", "2026-01-15T12:00:00", "2026-01-15T22:00:00"),
        ("09:00-09:02", "2026-01-15T08:58:30", "2026-01-15T09:00:00"),
        ("00:00-00:01", "2026-01-15T00:01:00", "2026-01-16T00:00:00"),
        # The night when the clocks go forward has 23 hours, the one when they go back 25.
        ("09:00-20:00", "2026-03-07T20:00:00", "2026-03-08T09:00:00"),
        ("09:00-20:00", "2026-10-31T20:00:00", "2026-11-01T09:00:00"),
    ],
)
def test_hours_are_local(window: str, moment: str, opens: str) -> None:
    """Rule 18: hours are local to a number; they may cross midnight, and clocks may change."""
    hours = CallingHours(window)
    now = at(moment)
    assert now + hours.opens_in(NEW_YORK, now) == pytest.approx(at(opens), abs=0.001)


def test_the_hour_that_comes_twice() -> None:
    """Rule 18: an hour that comes twice is open both times; a skipped one is not open that day."""
    hours = CallingHours("01:00-02:00")
    first = datetime(2026, 11, 1, 5, 30, tzinfo=UTC).timestamp()
    assert [hours.opens_in(NEW_YORK, first + 3600 * n) for n in (0, 1)] == [0.0, 0.0]
    assert hours.opens_in(NEW_YORK, first + 7200) > 0
    night = datetime(2026, 3, 8, 6, 30, tzinfo=UTC).timestamp()
    assert CallingHours("02:00-03:00").opens_in(NEW_YORK, night) == 23.5 * 3600


def test_the_wait_ends_when_the_hours_begin() -> None:
    """Rule 18: after the wait the hours are open, and a second before closed, all year round."""
    hours = CallingHours("08:30-21:15")
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    for step in range(400):
        now = (moment + timedelta(hours=22 * step)).timestamp()
        wait = hours.opens_in(LOS_ANGELES, now)
        assert hours.opens_in(LOS_ANGELES, now + wait) == 0
        local = datetime.fromtimestamp(now + wait, ZoneInfo("America/Los_Angeles"))
        assert (8, 30) <= (local.hour, local.minute) < (21, 15)
        if wait:
            assert (local.hour, local.minute, local.second) == (8, 30, 0)
            assert hours.opens_in(LOS_ANGELES, now + wait - 1) == pytest.approx(1.0)


def test_a_number_with_several_zones() -> None:
    """Rule 18: a number that may be in several time zones is called when all are open."""
    hours = CallingHours("09:00-20:00")
    assert set(hours.zones(IDAHO)) >= {"America/Boise", "America/Los_Angeles"}
    assert hours.opens_in(IDAHO, at("2026-01-15T09:30", "America/Boise")) == 1800
    assert hours.opens_in(IDAHO, at("2026-01-15T10:00", "America/Boise")) == 0
    assert hours.opens_in(IDAHO, at("2026-01-15T20:30", "America/Boise")) > 0


def test_zones_that_are_never_open_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 18: a number whose time zones are never open together waits more than a day."""
    zones = ("America/New_York", "America/Los_Angeles")
    monkeypatch.setattr(module, "_zones_of", lambda _: zones)
    hours = CallingHours("09:00-10:00")
    assert hours.opens_in(NEW_YORK, at("2026-01-15T09:30")) > 86_400


def test_toll_free_numbers_need_a_default_zone() -> None:
    """Rule 18: a toll-free number has no time zone: without a default it is not called."""
    now = at("2026-01-15T12:00")
    hours = CallingHours("09:00-20:00")
    assert hours.zones(TOLL_FREE) == ()
    assert hours.opens_in(TOLL_FREE, now) > 86_400
    hours = CallingHours("09:00-20:00", default_zone="America/New_York")
    assert hours.opens_in(TOLL_FREE, now) == 0
    assert hours.opens_in(TOLL_FREE, at("2026-01-15T20:00")) == 13 * 3600


def test_a_prefix_without_a_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 18: a number with an unknown prefix is in the default zone, or not called."""
    monkeypatch.setattr(module, "_zones_of", lambda _: ())
    assert CallingHours("09:00-20:00").zones(NEW_YORK) == ()
    default = CallingHours("09:00-20:00", default_zone="America/Denver")
    assert default.zones(NEW_YORK) == ("America/Denver",)


@pytest.mark.parametrize(
    "window",
    ["", "9-20", "09:00", "24:00-25:00", "09:00-09:00", "09:60-10:00", "٠٩:00-10:00", None, 9],
)
def test_invalid_hours(window: object) -> None:
    """Hours that are not HH:MM-HH:MM are refused at construction."""
    with pytest.raises(InvalidRequestError, match="calling_hours"):
        CallingHours(window)  # type: ignore[arg-type]


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../etc/passwd", ""])
def test_invalid_zones(zone: str) -> None:
    """A default zone that does not exist is refused at construction."""
    with pytest.raises(InvalidRequestError, match="no such time zone"):
        CallingHours("09:00-20:00", default_zone=zone)


@pytest.mark.parametrize("zone", [None, "America/New_York"])
def test_hours_come_back_from_their_text(zone: str | None) -> None:
    """The text of calling hours has all of them: a run's runners share it."""
    hours = CallingHours("21:00-08:00", default_zone=zone)
    assert CallingHours.parse(str(hours)) == hours


def test_hours_without_phonenumbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 18: calling hours without phonenumbers installed are refused at construction."""
    monkeypatch.setitem(sys.modules, "phonenumbers.timezone", None)
    with pytest.raises(InvalidRequestError, match="phonenumbers"):
        CallingHours("09:00-20:00")
    with pytest.raises(InvalidRequestError, match="phonenumbers"):
        VoiceChallengeRun(object(), MemoryJournal(), calling_hours="09:00-20:00")  # type: ignore[arg-type]


def test_without_time_zones_hours_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without a table of time zones is told what it lacks before a phone rings."""
    for name in ("tzdata", *(name for name in sys.modules if name.startswith("tzdata."))):
        monkeypatch.setitem(sys.modules, name, None)
    reset_tzpath(to=[])
    ZoneInfo.clear_cache()
    try:
        with pytest.raises(InvalidRequestError, match="pip install tzdata"):
            CallingHours("09:00-20:00")
    finally:
        reset_tzpath()
