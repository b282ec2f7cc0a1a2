"""Callbacks from Sinch: their signature."""

from __future__ import annotations

import hmac


def sign(body: bytes, secret: str) -> str:
    """Return the signature of a callback's raw *body*: HMAC-SHA1 in hexadecimal.

    It travels in the header `X-Sinch-Signature`. Source:
    https://developers.sinch.com/docs/numbers/api-reference/numbers/tag/Numbers-Callbacks/
    """
    return hmac.digest(secret.encode(), body, "sha1").hex()
