"""How a number misbehaves in the sandbox: its last digits say it, as those of test cards do."""

from __future__ import annotations

import enum


class MisbehavingNumber(enum.StrEnum):
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
    LOST_RESPONSE = "5559996"
    """Its phone rings, but the answer to `sendVoiceChallenge` is a 500."""
    HOSTING_FAILS = "5559997"
    """Its order completes, but its own hosting fails."""
    LOA_REJECTED = "5559998"
    """An order that holds it is rejected once signed, and hosting fails for all its numbers."""
    LOA_UNSIGNED = "5559999"
    """An order that holds it is not signed until `sign_loa`."""

    def matches(self, phone_number: str) -> bool:
        """Return whether *phone_number* ends in these digits."""
        return phone_number.endswith(self)
