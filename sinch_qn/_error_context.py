"""What an error says about its request: operation, number, response; without what is secret."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from sinch_qn._headers import kept_headers, request_id
from sinch_qn._http import Response
from sinch_qn._redaction import masked_number, redact
from sinch_qn.errors import InvalidRequestError, SinchError

_MAX_BODY = 1024
"""Characters of a response's body that an error keeps."""

_LONGEST_FORM = 12
"""Bytes of a character in a body at most: escaped in JSON, within JSON."""


def add_response(
    error: SinchError, response: Response, secrets: Iterable[str], *, keep_body: bool = True
) -> None:
    """Add headers, request id and the first KiB of the body to *error*; redact *secrets*."""
    secrets = list(secrets)
    # A secret at the cut is redacted as a whole.
    size = _MAX_BODY + _LONGEST_FORM * max(map(len, secrets), default=0)
    error.headers = kept_headers(response.headers)
    error.request_id = request_id(error.headers)
    error.body = response.body[:size].decode(errors="replace") if keep_body else ""
    redact(error, secrets)
    error.body = error.body[:_MAX_BODY]


def add_context(error: SinchError, operation: str | None, phone_number: str | None) -> None:
    """Name the call in *error*, and mask its number in what the server says."""
    error.operation, error.phone_number = operation, phone_number
    if phone_number:
        masked = masked_number(phone_number)
        error.message = error.message.replace(phone_number, masked)
        error.args = tuple(
            each.replace(phone_number, masked) if isinstance(each, str) else each
            for each in error.args
        )


@contextlib.contextmanager
def naming(operation: str, phone_number: str | None = None) -> Iterator[None]:
    """Name the call in an error of the block that is not that of one request.

    Such as the deadline of a wait, or a listing that does not end. An `InvalidRequestError` is of
    no call.
    """
    try:
        yield
    except SinchError as error:
        if error.operation is None and not isinstance(error, InvalidRequestError):
            add_context(error, operation, phone_number or error.phone_number)
        raise
