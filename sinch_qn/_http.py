"""HTTP messages of the API, and what a response means: a model or an error. No I/O."""

from __future__ import annotations

import http
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar, cast

import attrs
import orjson

from sinch_qn._codec import decode, kind_of
from sinch_qn._operations import Operation
from sinch_qn._redaction import printable
from sinch_qn.errors import InvalidResponseError, Outcome, StatusError, status_error_class

T = TypeVar("T")

_TEN_YEARS = 315_360_000.0


@attrs.define
class Request:
    """One HTTP request."""

    method: str
    url: str
    """Absolute and encoded."""
    headers: dict[str, str] = attrs.field(repr=False)
    body: bytes | None = attrs.field(default=None, repr=False)
    fresh_connection: bool = False
    """Send it on a new connection: on a stale one its outcome could be unknown."""


@attrs.define
class Response:
    """One HTTP response, with its whole body."""

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)


def read_model(operation: Operation[T], response: Response) -> T:
    """Return the response to *operation* as its model; raises like `read_json` and `decode`."""
    body = read_json(operation, response)
    return cast("T", None) if body is None else decode(body, operation.response_model)


def read_json(operation: Operation[Any], response: Response) -> dict[str, Any] | None:
    """Return the JSON object of a 2xx, or None where no body is expected.

    Raises a `StatusError` for an error status, and `InvalidResponseError` for a redirect, a body
    that is not a JSON object, an error in a 200, or a missing required field.
    """
    if response.status >= 400:
        raise status_error(response)
    if not 200 <= response.status < 300:
        raise InvalidResponseError(
            f"HTTP {response.status} is not followed: no redirect is part of this API",
            status_code=response.status,
        )
    expects_body = operation.response_model is not type(None)
    if not expects_body and not response.body.strip():
        return None
    problem = None
    body = _parse(response.body)
    if not isinstance(body, dict):
        problem = f"expected a JSON object, not {kind_of(body)}"
    elif operation.required_field not in body and _is_error(body):
        message = (_error_body(body) or {}).get("message")
        problem = f"an error in a {response.status}: {_text(message)}"
    elif operation.required_field is not None and body.get(operation.required_field) in (None, ""):
        problem = f"the response lacks its {operation.required_field}"
    if problem is not None:
        raise InvalidResponseError(problem, status_code=response.status)
    return body if expects_body else None


def status_error(response: Response) -> StatusError:
    """Return the error for a response with an error status, whatever its body."""
    body = _parse(response.body)
    error = (_error_body(body) if isinstance(body, dict) else None) or {}
    code, status, details = error.get("code"), error.get("status"), error.get("details")
    retry_after = _retry_after(response.headers)
    return status_error_class(response.status)(
        _text(error.get("message")) or _phrase(response.status),
        status_code=response.status,
        code=str(code) if type(code) is int else _text(code) or None,
        status=_text(status) or None,
        details=_details(details),
        retry_after=retry_after,
        retry_at=None
        if retry_after is None
        else datetime.now(UTC) + timedelta(seconds=retry_after),
        # The server may still carry out a request on which a proxy timed out.
        outcome=Outcome.UNKNOWN if response.status == http.HTTPStatus.REQUEST_TIMEOUT else None,
    )


def _details(value: object) -> list[dict[str, Any]]:
    """Return an error's details, unless they nest too deeply to be copied or pickled."""
    try:
        orjson.dumps(value)  # writes 254 levels, but loads reads 1024
    except orjson.JSONEncodeError:
        return []
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _is_error(body: dict[str, Any]) -> bool:
    """Whether the body of a 2xx is an error; `code` or `message` alone may be a new field."""
    return isinstance(body.get("error"), dict | str) or {"code", "message"} <= body.keys()


def _error_body(body: dict[str, Any]) -> dict[str, Any] | None:
    """Return the error in *body*, flat or wrapped in `error`, or None."""
    wrapped = body.get("error")
    if isinstance(wrapped, dict):
        return wrapped
    if isinstance(wrapped, str):  # as in OAuth2
        return {"message": body.get("error_description") or wrapped, "status": wrapped}
    return body if "code" in body or "message" in body else None


def _parse(body: bytes) -> Any:
    """Return the JSON value in *body*, or Ellipsis if it is not JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return ...


def _text(value: object) -> str:
    return printable(value, 1000) if isinstance(value, str) else ""


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "unknown status"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of `Retry-After` (RFC 9110, 10.2.3); a date is relative to `Date`."""
    value = headers.get("Retry-After", "").strip()
    try:
        if value.isdecimal():
            seconds = float(value)
        else:
            until = parsedate_to_datetime(value)
            since = parsedate_to_datetime(headers["Date"]) if "Date" in headers else None
            seconds = (until - (since or datetime.now(UTC))).total_seconds()
    except (ValueError, TypeError, OverflowError):  # TypeError: one of the dates has no zone
        return None
    return min(max(seconds, 0.0), _TEN_YEARS)
