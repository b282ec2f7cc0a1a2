"""Phone numbers in E.164: checked before anything is sent, masked before anything is logged."""

from __future__ import annotations

import re

from sinch_qn.errors import InvalidRequestError

# ASCII digits only: \d would let other scripts' digits through. ITU-T E.164: at most 15 digits.
_E164 = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)


def check_e164(value: object, field: str = "phone_number") -> str:
    """Return *value* if it is a phone number in E.164, such as `+12025550134`.

    Raises `InvalidRequestError`, naming *field* and the value, for anything else: a number that is
    not a string, spaces, a missing `+`. Nothing is repaired: use `phonenumbers` to read what
    people write.
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
    """Return *phone_number* fit for a log: `+12025550134` becomes `+1202•••0134`."""
    return f"{phone_number[:5]}•••{phone_number[-4:]}"
