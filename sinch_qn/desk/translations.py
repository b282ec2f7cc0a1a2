"""The texts of people's pages, in each language, and which language a reader gets.

A language is one file of `texts/`, found by its name, a BCP 47 tag such as `fr-CA`. To add one,
copy `en.json` and translate its values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, time
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

import attrs
import orjson

_RANGE: Final = re.compile(
    r"\s*(\*|[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*)\s*(?:;\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*)?",
    re.ASCII,
)
_MAX_HEADER: Final = 1000


@attrs.frozen(eq=False)
class Language:
    """One language: its tag and its texts."""

    tag: str
    texts: Mapping[str, str] = attrs.field(repr=False)

    def __call__(self, key: str, **values: object) -> str:
        """Return the text of *key*, with *values* in the places of its placeholders."""
        return self.texts[key].format_map(values) if values else self.texts[key]

    @property
    def name(self) -> str:
        """Its name in itself: `Español`."""
        return self.texts["language"]

    def clock(self, at: time) -> str:
        """Return a time of day: `9:00 am`, `9 h 00`."""
        half = self.texts["halves"].split("|")[at.hour >= 12]
        hour12 = at.hour % 12 or 12
        minute = f"{at.minute:02}"
        return self("clock", hour12=hour12, hour24=at.hour, minute=minute, half=half)

    def moment(self, at: float, now: float, zone: str = "UTC") -> str:
        """Return a time as a clock in *zone* shows it, with the day if it is another one."""
        clock = ZoneInfo(zone)
        local = datetime.fromtimestamp(at, UTC).astimezone(clock)
        shown = {"clock": self.clock(local.time()), "zone": local.tzname()}
        if local.date() == datetime.fromtimestamp(now, UTC).astimezone(clock).date():
            return self("moment", **shown)
        day = self.texts["days"].split("|")[local.weekday()]
        return self("day_moment", day=day, **shown)


def _read() -> dict[str, Language]:
    found = {
        file.name.removesuffix(".json"): orjson.loads(file.read_bytes())
        for file in files("sinch_qn.desk").joinpath("texts").iterdir()
        if file.name.endswith(".json")
    }
    return {tag: Language(tag, found[tag]) for tag in sorted(found)}


LANGUAGES: Final[Mapping[str, Language]] = _read()
"""All languages by tag."""

DEFAULT: Final = LANGUAGES["en"]


def choose_language(wanted: str | None, accepted: str | None) -> Language:
    """Return the language *wanted* by its tag, else the best of an `Accept-Language` header.

    A language of another country is better than English: `fr-FR` and `fr` get `fr-CA`.
    """
    if wanted is not None and wanted in LANGUAGES:
        return LANGUAGES[wanted]
    parts = (accepted or "")[:_MAX_HEADER].split(",")
    ranges = [match for part in parts if (match := _RANGE.fullmatch(part))]
    for match in sorted(ranges, key=_quality, reverse=True):  # those alike stay in their order
        language = DEFAULT if match[1] == "*" else _of_primary(match[1].lower())
        if _quality(match) > 0 and language is not None:
            return language
    return DEFAULT


def _quality(match: re.Match[str]) -> float:
    return float(match[2] or 1)


def _of_primary(tag: str) -> Language | None:
    primary = tag.partition("-")[0]
    alike = [each for each in LANGUAGES.values() if each.tag.partition("-")[0] == primary]
    exact = [each for each in alike if each.tag.lower() == tag]
    return next(iter(exact or alike), None)
