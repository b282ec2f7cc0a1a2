"""Test numbers and campaigns that misbehave, known by their endings as test cards are."""

from __future__ import annotations

import enum


class MisbehavingNumber(enum.StrEnum):
    """The last seven digits of a number, and how it misbehaves.

    They are in the 555 exchange of every area code, where no real phone rings.
    """

    CARRIER_REFUSES = "5559989"
    """It is hosted, but T-Mobile refuses its SMS."""
    NOT_ELIGIBLE = "5559990"
    """The eligibility check ends in NOT_ELIGIBLE."""
    SLOW_ELIGIBILITY = "5559991"
    """The eligibility check takes ten times as long, at least 5 s."""
    NOBODY_ANSWERS = "5559992"
    """The phone rings, but nobody hears a code."""
    FIRST_CALL_MISSED = "5559993"
    """The first call is missed, the second is answered."""
    MISHEARD = "5559994"
    """`code_for` returns a wrong code after each call, until the number is blocked."""
    BLOCKED = "5559995"
    """A call blocks the number; the phone does not ring."""
    LOST_RESPONSE = "5559996"
    """The phone rings, but the response to `sendVoiceChallenge` is a 500."""
    HOSTING_FAILS = "5559997"
    """Its order completes, but the hosting of this number fails."""
    LOA_REJECTED = "5559998"
    """Its order is rejected once signed: hosting fails for all numbers of the order."""
    LOA_UNSIGNED = "5559999"
    """Its order is not signed until `sign_loa`."""

    def matches(self, phone_number: str) -> bool:
        """Return whether *phone_number* ends in these digits."""
        return phone_number.endswith(self)


class MisbehavingCampaign(enum.StrEnum):
    """The ending of a campaign's id, and how the campaign misbehaves."""

    MISSING = "MISSING"
    """There is no such campaign: what names it is refused."""
    EXPIRED = "EXPIRED"
    """It has expired: numbers are hosted, but cannot be linked to it."""

    def matches(self, campaign_id: str | None) -> bool:
        """Return whether *campaign_id* ends in this word."""
        return (campaign_id or "").endswith(self)
