"""When a phone may ring where it is: local hours, computed from UTC at each check."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time
from functools import lru_cache
from typing import Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import attrs

from sinch_qn.errors import InvalidRequestError
from sinch_qn.phone import is_toll_free

_WINDOW = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)
_LOOK_AHEAD = 2 * 24 * 60
"""Minutes."""


@attrs.frozen
class CallingHours:
    """Hours such as `09:00-20:00`, local to each number; a window may cross midnight.

    A number's zone is a guess from its prefix. Where several are possible it rings only when all
    of them are inside. Toll-free numbers are in no zone: they need *default_zone*, such as
    `America/New_York`. Needs phonenumbers (`sinch-qn[parsing]`).
    """

    window: str = attrs.field()
    default_zone: str | None = None
    start: time = attrs.field(init=False)
    end: time = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        match = _WINDOW.fullmatch(self.window) if isinstance(self.window, str) else None
        if match is None:
            raise InvalidRequestError(
                f"calling_hours: {self.window!r} is not a window such as '09:00-20:00'"
            )
        hours = [int(part) for part in match.groups()]
        object.__setattr__(self, "start", time(hours[0], hours[1]))
        object.__setattr__(self, "end", time(hours[2], hours[3]))
        if self.start == self.end:
            raise InvalidRequestError("calling_hours: the window is empty")
        _check_zones_exist()
        if self.default_zone is not None:
            _zone(self.default_zone)
        try:
            import phonenumbers.timezone  # noqa: F401, PLC0415 - an extra, needed at once
        except ImportError as error:
            raise InvalidRequestError(
                "calling_hours: needs phonenumbers: pip install 'sinch-qn[parsing]'"
            ) from error

    def __str__(self) -> str:
        return f"{self.window} {self.default_zone or ''}".rstrip()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the hours of a text such as `09:00-20:00 America/New_York`, as `str` gives it."""
        window, _, zone = text.partition(" ")
        return cls(window, zone or None)

    def zones(self, number: str) -> tuple[str, ...]:
        """Return the possible zones of *number*; none for a toll-free one without a default."""
        if is_toll_free(number):
            return () if self.default_zone is None else (self.default_zone,)
        return _zones_of(number[:8]) or (() if self.default_zone is None else (self.default_zone,))

    def opens_in(self, number: str, now: float) -> float:
        """Return 0 if *number* may ring at *now* (wall-clock seconds), else the seconds until."""
        minute = int(now // 60)
        opens = _opens_at(self.start, self.end, self.zones(number), minute)
        return 0.0 if opens == minute else 60.0 * opens - now

    def end_of_work(self, number: str, now: float, seconds: float) -> float:
        """Return when calls that take *seconds* in all have been made, to numbers like *number*."""
        at = now
        while seconds > 0:
            at += self.opens_in(number, at)
            step = min(seconds, 60.0 - at % 60.0)
            at, seconds = at + step, seconds - step
        return at


@lru_cache(maxsize=4096)
def _opens_at(start: time, end: time, zones: tuple[str, ...], minute: int) -> int:
    """Return the first minute, counted from the epoch, that is inside the hours of all *zones*.

    Searches two days ahead: *zones* may never be open at once, or none may be known.
    """
    clocks = [_zone(name) for name in zones]
    # Step by step, not by adding to local times: that goes wrong when the clocks change.
    for ahead in range(_LOOK_AHEAD if clocks else 0):
        moment = datetime.fromtimestamp(60 * (minute + ahead), UTC)
        if all(_is_inside(start, end, moment.astimezone(clock).time()) for clock in clocks):
            return minute + ahead
    return minute + _LOOK_AHEAD


def _is_inside(start: time, end: time, local: time) -> bool:
    if start < end:
        return start <= local < end
    return local >= start or local < end


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise InvalidRequestError(f"calling_hours: no such time zone: {name!r}") from error


def _check_zones_exist() -> None:
    try:
        ZoneInfo("America/New_York")
    except ZoneInfoNotFoundError as error:
        raise InvalidRequestError(
            "calling_hours: this system has no time zones: pip install tzdata"
        ) from error


@lru_cache(maxsize=4096)
def _zones_of(prefix: str) -> tuple[str, ...]:
    """Return the zones of the numbers that begin with *prefix*: +1, area code and exchange."""
    import phonenumbers  # noqa: PLC0415 - an extra
    from phonenumbers.timezone import time_zones_for_number  # noqa: PLC0415

    zones = time_zones_for_number(phonenumbers.parse(prefix + "0100"))
    return tuple(zone for zone in zones if zone != "Etc/Unknown")
