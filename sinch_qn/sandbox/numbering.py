"""What a number's digits say: its region, whether it is toll-free, and how it misbehaves here."""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping


class Trouble(enum.StrEnum):
    """Numbers that behave badly, known by their last seven digits as test cards are by theirs.

    They are in the 555 exchange of every area code, which rings nobody's phone.
    """

    NOT_ELIGIBLE = "5559990"
    """Found not eligible."""
    SLOW_ELIGIBILITY = "5559991"
    """Its eligibility check takes ten times as long, and 5 s at least."""
    NOBODY_ANSWERS = "5559992"
    """Its phone rings, but no code can ever be read."""
    FIRST_CALL_MISSED = "5559993"
    """Its first call is missed; the second is answered."""
    MISHEARD = "5559994"
    """Its people read a wrong code, call after call, until the number is blocked."""
    BLOCKED = "5559995"
    """Blocked when called: the phone does not ring."""
    LOST_ANSWER = "5559996"
    """Its phone rings, but the answer to `sendVoiceChallenge` is a 500."""
    HOSTING_FAILS = "5559997"
    """Its order completes, but its own hosting fails."""
    LOA_REJECTED = "5559998"
    """An order that holds it is rejected once signed, and hosting fails for all its numbers."""
    LOA_UNSIGNED = "5559999"
    """An order that holds it is not signed until `sign_loa`."""

    @classmethod
    def of(cls, phone_number: str) -> Trouble | None:
        """Return what is wrong with *phone_number*, if anything is."""
        return _TROUBLES.get(phone_number[-7:])


_TROUBLES: Mapping[str, Trouble] = {trouble.value: trouble for trouble in Trouble}

# https://nationalnanpa.com: the area codes of +1 that are not those of the fifty states and DC.
_CANADA = re.compile(
    "204|226|236|249|250|257|263|289|306|343|354|365|367|368|382|387|403|416|418|428|431|437|438"
    "|450|460|468|474|506|514|519|537|548|579|581|584|587|600|604|613|622|639|647|672|683|705|709"
    "|742|753|778|780|782|807|819|825|851|867|873|879|902|905|942"
)
_ELSEWHERE = re.compile(
    "242|246|264|268|284|340|345|441|473|649|658|664|670|671|684|721|758|767|784|787|809|829|849"
    "|868|869|876|939"
)
_PLUS_ONE = re.compile(r"\+1([2-9][0-9]{2})[0-9]{7}", re.ASCII)
_TOLL_FREE = re.compile(r"\+18(?:00|22|33|44|55|66|77|88)[0-9]{7}", re.ASCII)


def region_of(phone_number: str) -> Literal["US", "CA"] | None:
    """Return the region of *phone_number*, None for what is neither US nor CA."""
    match = _PLUS_ONE.fullmatch(phone_number)
    if match is None or _ELSEWHERE.match(match[1]):
        return None
    return "CA" if _CANADA.match(match[1]) else "US"


def is_toll_free(phone_number: str) -> bool:
    """Whether *phone_number* is one that the caller does not pay for."""
    return _TOLL_FREE.fullmatch(phone_number) is not None
