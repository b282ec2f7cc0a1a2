"""Phone numbers in E.164: validation, masking, region."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from sinch_qn._redaction import masked_number
from sinch_qn.errors import InvalidRequestError

# ASCII digits only: \d would match other scripts' digits. ITU-T E.164: at most 15 digits.
_E164 = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)


def check_e164(value: object, field: str = "phone_number") -> str:
    """Return *value* if it is a phone number in E.164, such as `+12025550134`.

    Raises `InvalidRequestError`, naming *field* and the value, for anything else: a number that is
    not a string, spaces, a missing `+`. Nothing is corrected: use `phonenumbers` to parse numbers
    that people type.
    """
    if not isinstance(value, str):
        raise InvalidRequestError(
            f"{field}: expected a string such as '+12025550134', not {type(value).__name__}"
        )
    if not _E164.fullmatch(value):
        shown = repr(value) if len(value) <= 32 else f"{value[:32]!r}… ({len(value)} characters)"
        raise InvalidRequestError(
            f"{field}: {shown} is not an E.164 phone number: a '+', then 7 to 15 digits"
        )
    return value


def mask(phone_number: str) -> str:
    """Return *phone_number* masked for logs: `+12025550134` becomes `+1202•••0134`."""
    return masked_number(phone_number)


# https://nationalnanpa.com: the area codes of +1 that are not those of the fifty states and DC.
_CANADA = frozenset(
    "204 226 236 249 250 257 263 273 289 306 343 354 365 367 368 382 387 403 416 418 428 431"
    " 437 438 450 460 468 474 506 514 519 537 548 579 581 584 587 600 604 613 622 633 639 647"
    " 672 683 705 709 742 753 778 780 782 807 819 825 851 867 873 879 902 905 942".split()
)
_ELSEWHERE = {
    area_code: region
    for region, area_codes in {
        "AG": "268", "AI": "264", "AS": "684", "BB": "246", "BM": "441", "BS": "242",
        "DM": "767", "DO": "809 829 849", "GD": "473", "GU": "671", "JM": "658 876",
        "KN": "869", "KY": "345", "LC": "758", "MP": "670", "MS": "664", "PR": "787 939",
        "SX": "721", "TC": "649", "TT": "868", "VC": "784", "VG": "284", "VI": "340",
    }.items()
    for area_code in area_codes.split()
}  # fmt: skip
_PLUS_ONE = re.compile(r"\+1[2-9][0-9]{9}", re.ASCII)

TOLL_FREE_PREFIXES = tuple(f"+1{code}" for code in (800, 833, 844, 855, 866, 877, 888))


REGIONS: tuple[str, ...] = ("US", "CA")
"""The regions whose numbers the API's text names."""

ALL_REGIONS = frozenset({*REGIONS, *_ELSEWHERE.values()})
"""The regions that share `+1`, such as Puerto Rico (PR)."""


def check_regions(value: object) -> tuple[str, ...]:
    """Return *value* if it names regions of +1, such as `("US", "CA", "PR")`."""
    regions = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else ()
    if not regions or not ALL_REGIONS.issuperset(regions):
        raise InvalidRequestError(
            f"regions: expected one or more of {' '.join(sorted(ALL_REGIONS))},"
            f" not {str(value)[:64]!r}"
        )
    return regions


def region_of(phone_number: str, regions: Collection[str] = REGIONS) -> str | None:
    """Return the region of an E.164 number if it is one of *regions*, else None.

    Others of `+1`, such as `PR`, `GU` and `VI`, count only if *regions* names them: the API's text
    says US and CA, but Sinch's dashboard hosts some of the others.
    """
    area_code = phone_number[2:5]
    if not _PLUS_ONE.fullmatch(phone_number):
        return None
    region = _ELSEWHERE.get(area_code) or ("CA" if area_code in _CANADA else "US")
    return region if region in regions else None


def is_toll_free(phone_number: str) -> bool:
    """Whether an E.164 number is toll-free: those have their own operation."""
    return phone_number.startswith(TOLL_FREE_PREFIXES)
