"""One phone number as people write it: `(202) 555-0134` in, `+12025550134` or a reason out.

Nothing is guessed: what may have lost digits, names an extension or spells a word is refused with
the reason, because a wrong guess rings a stranger.
"""

from __future__ import annotations

import re
from typing import Final

import attrs
import phonenumbers
from phonenumbers import ValidationResult

from sinch_qn.phone import is_toll_free

REGIONS: Final = ("US", "CA")
"""The only regions whose numbers Sinch can qualify."""

# `+1` is twenty-five countries and territories, which surprises people: those are named.
_NAMES: Final = {
    "AG": "Antigua and Barbuda",
    "AI": "Anguilla",
    "AS": "American Samoa",
    "BB": "Barbados",
    "BM": "Bermuda",
    "BS": "Bahamas",
    "DM": "Dominica",
    "DO": "Dominican Republic",
    "FR": "France",
    "GD": "Grenada",
    "GU": "Guam",
    "JM": "Jamaica",
    "KN": "Saint Kitts and Nevis",
    "KY": "Cayman Islands",
    "LC": "Saint Lucia",
    "MP": "Northern Mariana Islands",
    "MS": "Montserrat",
    "MX": "Mexico",
    "PR": "Puerto Rico",
    "SX": "Sint Maarten",
    "TC": "Turks and Caicos Islands",
    "TT": "Trinidad and Tobago",
    "VC": "Saint Vincent and the Grenadines",
    "VG": "British Virgin Islands",
    "VI": "US Virgin Islands",
}

SPREADSHEET: Final = re.compile(r"[0-9]+(?:[.,][0-9]+)?[eE]\+?[0-9]+|[0-9]{7,}[.,]0+")
"""What is left of a number that a spreadsheet took for a quantity."""

_NOT_DIGITS = re.compile(r"\D")
_LETTERS = re.compile(r"[^\W\d_]")


class RefusedNumber(ValueError):  # noqa: N818 - a value that the readers report, not a failure
    """What was written is not a US or CA phone number; the message says why."""


@attrs.frozen
class Number:
    """A US or CA phone number."""

    e164: str
    region: str
    toll_free: bool


def read(text: str) -> Number:
    """Read a US or CA number as people write it.

    Raises `RefusedNumber` with a reason to show. Whether anyone answers there is for the call to
    find out; this finds typos, by length, area code and exchange.
    """
    text = text.strip()
    if SPREADSHEET.fullmatch(text):
        raise RefusedNumber(
            "a spreadsheet turned this number into a decimal, and digits may be lost:"
            " format the column as text and export it again"
        )
    try:
        parsed = phonenumbers.parse(text, REGIONS[0])
    except phonenumbers.NumberParseException as error:
        raise RefusedNumber(_not_a_number(text)) from error
    if parsed.extension:
        raise RefusedNumber(f"extension {parsed.extension}: a voice challenge cannot dial it")
    if _LETTERS.search(text):
        raise RefusedNumber("letters in the number: write the digits")
    _check_length(parsed)
    region = _check_region(parsed)
    national = str(parsed.national_number)
    # phonenumbers takes `1.1.2025550134` for 2025550134: only 1 and 011 1 may lead.
    digits = _NOT_DIGITS.sub("", text)
    if len(digits) not in (10, 11, 14) or int(digits[-10:]) != parsed.national_number:
        raise RefusedNumber("not understood as one phone number")
    e164 = f"+1{national}"
    return Number(e164, region, toll_free=is_toll_free(e164))


def _not_a_number(text: str) -> str:
    if not text:
        return "no number here"
    return "letters in the number" if _LETTERS.search(text) else "not a phone number"


def _check_length(parsed: phonenumbers.PhoneNumber) -> None:
    verdict = phonenumbers.is_possible_number_with_reason(parsed)
    if verdict == ValidationResult.IS_POSSIBLE:
        return
    if verdict == ValidationResult.IS_POSSIBLE_LOCAL_ONLY:
        raise RefusedNumber("no area code")
    digits = len(phonenumbers.national_significant_number(parsed))
    reason = "too short" if verdict == ValidationResult.TOO_SHORT else "too long"
    expected = "; a US or CA number has 10" if parsed.country_code == 1 else ""
    raise RefusedNumber(f"{reason}: {digits} digits{expected}")


def _check_region(parsed: phonenumbers.PhoneNumber) -> str:
    """Return US or CA.

    The region is found by area code *and* exchange, so a number in no plan has none: that is what
    tells a typo. `is_valid_number` would ask the same tables a second time. Both accept the
    numbers reserved for examples (555-0100 to 555-0199) in every area code that is in use.
    """
    region = phonenumbers.region_code_for_number(parsed)
    if region in REGIONS:
        return str(region)
    if region is None and parsed.country_code == 1:
        raise RefusedNumber(
            "no such area code or exchange"
            f" (as far as phonenumbers {phonenumbers.__version__} knows)"
        )
    known = region or "no country"
    where = f"{_NAMES[known]} ({known})" if known in _NAMES else f"+{parsed.country_code} ({known})"
    raise RefusedNumber(f"{where}: only US and CA numbers can be qualified")
