"""HTTP messages of the API, and what a response means: a model or an error. No I/O."""

from __future__ import annotations

import http
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar, cast

import attrs
import orjson

from sinch_qn._codec import decode, kind_of
from sinch_qn._operations import Operation
from sinch_qn._redaction import printable
from sinch_qn.errors import (
    InvalidResponseError,
    Outcome,
    SinchError,
    StatusError,
    status_error_class,
)

T = TypeVar("T")

_TEN_YEARS = 315_360_000.0

_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?", re.ASCII)

_STATUS_OF = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}
"""The HTTP status of each gRPC status, in the order of their numbers, which begin with 1."""

_CANCELLED = frozenset({408, 499})
"""Statuses of a request that somebody gave up on; the server may carry it out nevertheless."""

_WORDS = ("message", "detail", "text", "error_description", "title", "description", "msg")
"""Fields in which an error body may say what is wrong: of this API and of other servers."""


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
    phone_number: str | None = attrs.field(default=None, repr=False)
    """The number that the response must be about."""


@attrs.define
class Response:
    """One HTTP response, with its whole body."""

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)


def read_model(operation: Operation[T], response: Response, about: str | None = None) -> T:
    """Return the response to *operation* as its model; raises like `read_json` and `decode`.

    A response about another number than *about* is an `InvalidResponseError`, too.
    """
    body = read_json(operation, response)
    if body is None:
        return cast("T", None)
    if about is not None and operation.required_field == "phoneNumber":
        number = body["phoneNumber"]
        if number != about and _digits(number) != about[1:]:
            raise InvalidResponseError(
                "the response is about another number", status_code=response.status
            )
    return decode(body, operation.response_model)


def read_json(operation: Operation[Any], response: Response) -> dict[str, Any] | None:
    """Return the JSON object of a 2xx, or None where no body is expected.

    Raises a `StatusError` for an error status and for a body that says one, and
    `InvalidResponseError` for a redirect, a body that is not a JSON object, an error without a
    status in a 2xx, or a missing required field.
    """
    if not 200 <= response.status < 300:
        raise status_problem(response)
    expects_body = operation.response_model is not type(None)
    problem = None
    body = parse_json(response.body)
    if not isinstance(body, dict):
        # A web page comes from a proxy or a portal: the request may not have got to the API.
        if not expects_body and not response.body.lstrip().startswith(b"<"):
            return None
        problem = f"expected a JSON object, not {kind_of(body)}"
    elif operation.required_field not in body and _is_error(body):
        error = status_error(response)
        if error.status_code != response.status:
            raise error
        problem = f"an error in a {response.status}: {error.message}"
    elif operation.required_field is not None and body.get(operation.required_field) in (None, ""):
        problem = f"the response lacks its {operation.required_field}"
    if problem is not None:
        raise InvalidResponseError(problem, status_code=response.status)
    return body if expects_body else None


def status_problem(response: Response) -> SinchError:
    """Return the error for a response that is no 2xx: a `StatusError`, or one for a redirect."""
    if response.status >= 400:
        return status_error(response)
    return InvalidResponseError(
        f"HTTP {response.status} is not followed: no redirect is part of this API",
        status_code=response.status,
    )


def _digits(number: object) -> str:
    """Return what makes a number: it may come without its plus, or as a JSON number."""
    return re.sub("[^0-9]", "", str(number))


def status_error(response: Response) -> StatusError:
    """Return the error for a response with an error status, or with an error in a 2xx."""
    body = parse_json(response.body)
    error = _error_body(body) if isinstance(body, dict) else {}
    code, status, details = error.get("code"), error.get("status"), error.get("details")
    status_code = response.status if response.status >= 400 else _said_status(code, status)
    status_code = status_code or response.status
    retry_after = _retry_after(response.headers)
    return status_error_class(status_code)(
        _message(error) or _plain_text(body, response.body) or _phrase(status_code),
        status_code=status_code,
        code=str(code) if type(code) is int else _text(code) or None,
        status=_text(status) or None,
        details=_details(details),
        retry_after=retry_after,
        retry_at=None
        if retry_after is None
        else datetime.now(UTC) + timedelta(seconds=retry_after),
        outcome=Outcome.UNKNOWN if status_code in _CANCELLED else None,
    )


def parse_json(body: bytes) -> Any:
    """Return the JSON value in *body*, or Ellipsis if it is not JSON.

    Read nevertheless: a byte order mark, NULs after the end, another charset, NaN and Infinity.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body.decode("utf-8-sig", "replace").strip("\0 \t\r\n")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        # Escapes could be halves of a character, which cannot be written anywhere.
        if not ("NaN" in text or "Infinity" in text) or "\\u" in text:
            return ...
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return ...


def _said_status(code: object, status: object) -> int | None:
    """Return the error status that a body says: as HTTP's or gRPC's number, or by gRPC's name."""
    number = (
        int(code) if isinstance(code, int | str) and re.fullmatch("[0-9]{1,3}", f"{code}") else 0
    )
    if 400 <= number < 600:
        return number
    if 1 <= number <= len(_STATUS_OF):
        return list(_STATUS_OF.values())[number - 1]
    return _STATUS_OF.get(status) if isinstance(status, str) else None


def _details(value: object) -> list[dict[str, Any]]:
    """Return an error's details, unless they nest too deeply to be copied or pickled."""
    try:
        orjson.dumps(value)  # writes 254 levels, but loads reads 1024
    except orjson.JSONEncodeError:
        return []
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _is_error(body: dict[str, Any]) -> bool:
    """Whether the body of a 2xx is an error; `code` or `message` alone may be a new field."""
    return (
        isinstance(body.get("error"), dict | str)
        or {"code", "message"} <= body.keys()
        or bool(body.get("errors"))
    )


def _error_body(body: dict[str, Any]) -> dict[str, Any]:
    """Return the error in *body*, flat or wrapped in `error`."""
    wrapped = body.get("error")
    if isinstance(wrapped, dict):
        return wrapped
    if isinstance(wrapped, str):  # as in OAuth2
        return {"message": body.get("error_description") or wrapped, "status": wrapped}
    return body


def _message(error: dict[str, Any]) -> str:
    """Return what an error body says is wrong."""
    for name in _WORDS:
        if text := _text(error.get(name)).strip():
            return text
    several = error.get("errors") or error.get("detail")
    if not isinstance(several, list):
        return ""
    words = [_message(each) if isinstance(each, dict) else _text(each) for each in several[:3]]
    return "; ".join(filter(None, words))


def _plain_text(value: object, body: bytes) -> str:
    """Return the words of an error body that is text and no object, nor a part of one or a page."""
    text = value if isinstance(value, str) else ""
    if value is ...:
        text = body[:1000].decode(errors="replace").strip()
    if len(text) > 200:  # not in the middle of a word, which may have to be redacted
        text = text[:200].rpartition(" ")[0]
    return _text(text) if text[:1].isalpha() else ""


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
        if _SECONDS.fullmatch(value):
            seconds = float(value)
        else:
            seconds = (_date(value) - _server_time(headers)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), _TEN_YEARS)


def _server_time(headers: Mapping[str, str]) -> datetime:
    """Return the response's `Date`, or this machine's time if there is none to read."""
    try:
        return _date(headers["Date"])
    except (KeyError, ValueError, TypeError, OverflowError):
        return datetime.now(UTC)


def _date(value: str) -> datetime:
    date = parsedate_to_datetime(value)
    return date.replace(tzinfo=UTC) if date.tzinfo is None else date
