"""Headers of responses that leave the client: looked up in any case, bounded, without cookies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from sinch_qn._redaction import MASK, printable
from sinch_qn.errors import InvalidRequestError

_MAX_HEADERS = 100
"""Headers that are kept of one response."""

_MAX_VALUE = 1024
"""Characters that are kept of one header."""

_SECRET = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})

_REQUEST_ID = ("x-request-id", "request-id", "x-correlation-id")


class Headers(dict[str, str]):
    """Headers by their names in lower case; `headers["X-Request-Id"]` finds `x-request-id`."""

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of *name*, or *default*."""
        return super().get(name.lower(), default)


def kept_headers(headers: Mapping[str, str]) -> Headers:
    """Return *headers* as they may be kept and pickled: short, on one line, without cookies."""
    kept = Headers()
    for name, value in headers.items():
        shown = MASK if name.lower() in _SECRET else printable(value, _MAX_VALUE)
        if name.lower() in kept:
            kept[name.lower()] += f", {shown}"
        elif len(kept) < _MAX_HEADERS:
            kept[printable(name.lower(), 100)] = shown
    return kept


def request_id(headers: Mapping[str, str]) -> str | None:
    """Return the id that the server, or a gateway before it, gave the request."""
    return next((headers[name] for name in _REQUEST_ID if headers.get(name)), None)


UNSETTABLE: Final = _SECRET | frozenset(
    "accept-encoding connection content-length expect host keep-alive te trailer transfer-encoding"
    " upgrade".split()
)
"""Headers that only the client sets: they authorize, address or frame the request."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}", re.ASCII)
_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]{0,8192}")


def check_headers(headers: object, field: str) -> dict[str, str]:
    """Return *headers* if they may be sent beside the client's own."""
    if not isinstance(headers, Mapping):
        raise InvalidRequestError(f"{field}: expected a mapping, not {type(headers).__name__}")
    for name, value in headers.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidRequestError(f"{field}: {str(name)[:40]!r} is not the name of a header")
        if name.lower() in UNSETTABLE:
            raise InvalidRequestError(f"{field}: {name} is set by the client itself")
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise InvalidRequestError(f"{field}: the value of {name} is not one line of Latin-1")
    return dict(headers)
