"""Headers of responses that leave the client: looked up in any case, bounded, without cookies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sinch_qn._redaction import MASK, printable

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
