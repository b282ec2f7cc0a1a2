"""Callbacks from Sinch: signature verification and typed events. No I/O.

Source: https://developers.sinch.com/docs/numbers/api-reference/numbers/tag/Numbers-Callbacks/
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

import orjson

from sinch_qn._codec import decode
from sinch_qn.errors import InvalidRequestError, InvalidResponseError, WebhookError
from sinch_qn.models import CallbackEvent

SIGNATURE_HEADER = "X-Sinch-Signature"

MAX_SIZE = 64 * 1024
"""Bytes of a callback: one event is under 1 KiB."""


def sign(body: bytes, secret: str) -> str:
    """Return the signature of a callback's raw *body*: HMAC-SHA1 in hexadecimal.

    Sinch sends it in the header `X-Sinch-Signature`.
    """
    return hmac.digest(secret.encode(), body, "sha1").hex()


def parse(
    body: bytes, headers: Mapping[str, str], secret: str | None, *, max_size: int = MAX_SIZE
) -> CallbackEvent:
    """Verify the signature of a callback's raw *body* and return its event.

    *secret* is the project's callback secret. None disables verification: anyone who knows the
    address can then post events, so use them only as a hint to get the number.
    Raises `WebhookError`, also for *headers* that are not a mapping of texts; it shows nothing of
    the body: respond with 400; Sinch may retry.

    A signature includes no time, so it can be replayed, and deliveries may repeat and arrive in
    any order: process each `event_id` once, and get the number for its latest state.
    """
    if not isinstance(body, bytes):
        raise InvalidRequestError(f"body: expected the raw bytes, not {type(body).__name__}")
    if secret is not None and (not isinstance(secret, str) or not secret):
        raise InvalidRequestError(
            "secret: expected text, or None to accept unsigned callbacks (the value is not shown)"
        )
    if len(body) > max_size:
        raise WebhookError(f"a callback of more than {max_size} bytes is refused")
    if secret is not None:
        _check_signature(body, headers, secret)
    return _read(body)


def _check_signature(body: bytes, headers: Mapping[str, str], secret: str) -> None:
    wanted = SIGNATURE_HEADER.lower()
    try:
        found = [value for name, value in headers.items() if name.lower() == wanted]
    except AttributeError:  # not a mapping of texts
        found = []
    if len(found) != 1 or not isinstance(found[0], str):
        raise WebhookError(
            f"expected one {SIGNATURE_HEADER} header of text, not {len(found)}: "
            "pass the headers as a mapping of names to values"
        )
    # As bytes: only these and ASCII text can be compared in constant time.
    given = found[0].strip().lower().encode(errors="replace")
    if not hmac.compare_digest(given, sign(body, secret).encode()):
        raise WebhookError("the signature is wrong")


def _read(body: bytes) -> CallbackEvent:
    event: CallbackEvent | None = None
    try:
        event = decode(orjson.loads(body), CallbackEvent)
    except orjson.JSONDecodeError:
        problem = "it is not JSON"
    except InvalidResponseError as error:
        problem = error.message
    else:
        if event.event_id:
            return event
        problem = "it has no eventId"
    # Raised outside the `except`: the decoder's error holds the body and would be chained.
    raise WebhookError(f"a callback cannot be read: {problem}")
