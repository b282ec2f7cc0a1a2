"""A phone number as people write it: `(202) 555-0134` in, `+12025550134` or a reason out."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

import attrs

from sinch_qn.phone import REGIONS, is_toll_free

try:
    import phonenumbers
    from phonenumbers import ValidationResult
except ImportError as error:
    raise ImportError("sinch_qn.parsing needs an extra: pip install 'sinch-qn[parsing]'") from error

# Errors name these countries and territories, because few people know that they share `+1`.
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

SPREADSHEET: Final = re.compile(r"[0-9]+(?:[.,][0-9]+)?[eE]\+?[0-9]+")
"""A number that a spreadsheet converted into a power of ten."""

_DECIMAL: Final = re.compile(r"(\+?[0-9]{7,})[.,]0+")
"""A number that a spreadsheet converted into a decimal: no digit is lost."""
_URI: Final = re.compile(
    r"tel:(?P<number>[^;]*)(?:;phone-context=\+1(?=;|$))?(?P<more>.*)", re.IGNORECASE
)
_KIND: Final = re.compile(
    r"\s*\((?:cell|mobile|home|work|office|business|main|direct|landline|phone|[chmow])\.?\)",
    re.IGNORECASE,
)
"""What people write after a number: which of somebody's phones it is."""
_NOT_DIGITS = re.compile(r"\D")
_LETTERS = re.compile(r"[^\W\d_]")


class InvalidPhoneNumber(ValueError):  # noqa: N818 - an invalid value, as a ValueError
    """The text is not a phone number that can be qualified; the message gives the reason."""


@attrs.frozen
class ParsedNumber:
    """A phone number."""

    e164: str
    """Such as `+12025550134`."""
    region: str
    """`US` or `CA`, or another of the regions that were accepted."""
    toll_free: bool


def parse_phone_number(text: str, *, regions: Collection[str] = REGIONS) -> ParsedNumber:
    """Parse a US or CA phone number as people write it.

    Examples:
        >>> parse_phone_number("(202) 555-0134")
        ParsedNumber(e164='+12025550134', region='US', toll_free=False)

    Raises `InvalidPhoneNumber` with a reason to show: a wrong length, an area code or exchange that
    does not exist, another country, an extension, letters, two numbers, or a number that a
    spreadsheet converted into a power of ten. Nothing is guessed or repaired, because a wrong guess
    calls a stranger. Whether the number is in service is not checked.

    *regions* are the regions to accept, of those that share `+1`: the API reference names US and
    CA, but a project may have numbers of others, such as `PR`.
    """
    text = _without_decoration(text.strip())
    if SPREADSHEET.fullmatch(text):
        raise InvalidPhoneNumber(
            "a spreadsheet turned this number into a decimal, and digits may be lost:"
            " format the column as text and export it again"
        )
    try:
        parsed = phonenumbers.parse(text, "US")
    except phonenumbers.NumberParseException as error:
        raise InvalidPhoneNumber(_not_a_number(text)) from error
    if parsed.extension:
        raise InvalidPhoneNumber(f"extension {parsed.extension}: a voice challenge cannot dial it")
    if _LETTERS.search(text):
        raise InvalidPhoneNumber("letters in the number: write the digits")
    _check_length(parsed)
    region = _check_region(parsed, regions)
    national = str(parsed.national_number)
    # phonenumbers takes `1.1.2025550134` for 2025550134: only 1 and 011 1 may lead.
    digits = _NOT_DIGITS.sub("", text)
    if len(digits) not in (10, 11, 14) or int(digits[-10:]) != parsed.national_number:
        raise InvalidPhoneNumber("not understood as one phone number")
    e164 = f"+1{national}"
    return ParsedNumber(e164, region, toll_free=is_toll_free(e164))


def _without_decoration(text: str) -> str:
    """Return *text* without what is no part of its number: `tel:`, `.0`, `(cell)`."""
    if text[-1:] == ")" and (kind := _KIND.search(text)) and kind.end() == len(text):
        text = text[: kind.start()]
    if uri := _URI.fullmatch(text):
        text = uri["number"] + uri["more"]
    decimal = _DECIMAL.fullmatch(text)
    return decimal[1] if decimal else text


def _not_a_number(text: str) -> str:
    if not text:
        return "no number here"
    return "letters in the number" if _LETTERS.search(text) else "not a phone number"


def _check_length(parsed: phonenumbers.PhoneNumber) -> None:
    verdict = phonenumbers.is_possible_number_with_reason(parsed)
    if verdict == ValidationResult.IS_POSSIBLE:
        return
    if verdict == ValidationResult.IS_POSSIBLE_LOCAL_ONLY:
        raise InvalidPhoneNumber("no area code")
    digits = len(phonenumbers.national_significant_number(parsed))
    reason = "too short" if verdict == ValidationResult.TOO_SHORT else "too long"
    expected = "; a US or CA number has 10" if parsed.country_code == 1 else ""
    raise InvalidPhoneNumber(f"{reason}: {digits} digits{expected}")


def _check_region(parsed: phonenumbers.PhoneNumber, regions: Collection[str]) -> str:
    """Return the region, if it is one of *regions*.

    phonenumbers finds the region by area code *and* exchange, so most typos have none;
    `is_valid_number` would read the same tables a second time. Both accept the numbers reserved
    for examples (555-0100 to 555-0199) in every area code in use.
    """
    region = phonenumbers.region_code_for_number(parsed)
    if region in regions and parsed.country_code == 1:
        return str(region)
    if region is None and parsed.country_code == 1:
        raise InvalidPhoneNumber(
            f"no such area code or exchange (by phonenumbers {phonenumbers.__version__})"
        )
    known = region or "no country"
    where = f"{_NAMES[known]} ({known})" if known in _NAMES else f"+{parsed.country_code} ({known})"
    accepted = " and ".join(regions)
    switch = "; allow more with regions= or --region" if parsed.country_code == 1 else ""
    raise InvalidPhoneNumber(f"{where}: only {accepted} numbers can be qualified{switch}")
