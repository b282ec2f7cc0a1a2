"""A number and its code as people write them: `(202) 555-0134, 0417`, in a chat or a CSV line."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection
from typing import Final, NamedTuple

import attrs

from sinch_qn.parsing.phone_numbers import parse_phone_number
from sinch_qn.phone import REGIONS

_DELIMITER: Final = re.compile(r"[\t;,|]")


class InvalidCode(ValueError):  # noqa: N818 - named as `InvalidPhoneNumber` is
    """The text is not a number and a code."""


class ParsedCode(NamedTuple):
    """A code, and the number that it was read out to."""

    number: str
    """In E.164, such as `+12025550134`."""
    code: str
    """Text, as it may begin with zeros."""


def parse_code(text: str, *, regions: Collection[str] = REGIONS) -> ParsedCode:
    """Parse `NUMBER,CODE` or `NUMBER CODE`; further cells are ignored.

    Examples:
        >>> parse_code("(202) 555-0134 0417")
        ParsedCode(number='+12025550134', code='0417')

    The delimiter is a comma, semicolon, tab or bar, or else the last space. Raises `InvalidCode` if
    the number or the code is missing, and `InvalidPhoneNumber` for an invalid number; neither shows
    the code. `submit_code` checks the code itself. *regions* is as for `parse_phone_number`.
    """
    number, code = _split(text)
    return ParsedCode(parse_phone_number(number, regions=regions).e164, code)


def _split(text: str) -> tuple[str, str]:
    delimiter = _DELIMITER.search(text)
    if delimiter is not None:
        try:
            cells = next(csv.reader([text], delimiter=delimiter[0]), [])
        except csv.Error:  # not a ValueError; raised for a carriage return within the line
            cells = []
    else:
        cells = text.rsplit(None, 1)
    number, code = ([cell.strip() for cell in cells] + ["", ""])[:2]
    code = code.removeprefix('="').removesuffix('"').removeprefix("'")
    if not number or not code:
        raise InvalidCode("expected a number and its code, such as +12025550134,0417")
    return number, code


@attrs.define(eq=False)
class LostZeros:
    """Finds codes in a file whose leading zeros a spreadsheet dropped: their lengths differ."""

    _lines: dict[int, int] = attrs.field(init=False, factory=dict)
    """The first line with a numeric code of each length."""

    def check(self, text: str, line: int) -> tuple[int, str] | None:
        """Return the line to warn of and the warning, once, when a second length is found.

        *text* is the content of *line*, as for `parse_code`; invalid lines are ignored.
        """
        try:
            code = _split(text)[1]
        except InvalidCode:
            return None
        if not code.isdecimal() or len(code) in self._lines:
            return None
        self._lines[len(code)] = line
        if len(self._lines) != 2:
            return None
        (digits, shorter), (_, longer) = sorted(self._lines.items())
        return shorter, (
            f"this code has {digits} digits, line {longer} has more."
            " A spreadsheet drops leading zeros: format the column as text."
            " Codes are submitted unchanged."
        )
