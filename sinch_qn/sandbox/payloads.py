"""JSON of the sandbox's responses and callbacks, and its page tokens."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson

from sinch_qn.sandbox.events import Event
from sinch_qn.sandbox.refusal import invalid

T = TypeVar("T")

_HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "ALREADY_EXISTS": 409,
    "INTERNAL": 500,
}


def error_json(
    status: str, message: str, fields: Iterable[tuple[str, str]] = ()
) -> tuple[int, dict[str, Any]]:
    """Return the HTTP status and the JSON of an error; its `code` is a string."""
    code = _HTTP_STATUS[status]
    error: dict[str, Any] = {"code": str(code), "message": message, "status": status}
    if violations := [{"field": field, "description": text} for field, text in fields]:
        error["details"] = [{"type": "BadRequest", "fieldViolations": violations}]
    return code, error


def time_json(seconds: float) -> str:
    """Return *seconds* (Unix time) in RFC 3339 with `Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def event_json(project_id: str, event: Event) -> dict[str, object]:
    """Return *event* as a CallbackEvent."""
    return {
        "resourceType": event.resource_type,
        "eventType": event.type,
        "eventId": event.id,
        "timestamp": time_json(event.time),
        "projectId": project_id,
        "resourceId": event.phone_number,
        "status": "SUCCEEDED" if event.succeeded else "FAILED",
        **({"failureCode": event.failure_code} if event.failure_code else {}),
    }


def page_size(query: Mapping[str, Any], cap: int) -> int:
    """Return how many items a page has at most."""
    size: int = query.get("pageSize") or cap
    if size < 0:
        raise invalid(("pageSize", "is negative"))
    return min(size, cap)


def order_of(query: Mapping[str, Any]) -> str:
    """Return the order of a listing."""
    order_by: str = query.get("orderBy") or "createdTime"
    if order_by not in {"createdTime", "updatedTime"}:
        raise invalid(("orderBy", "is not createdTime or updatedTime"))
    return order_by


def page_json(
    field: str,
    found: Sequence[T],
    query: Mapping[str, Any],
    cap: int,
    *,
    place: Callable[[T], tuple[float, int]],
    to_json: Callable[[T], object],
) -> dict[str, object]:
    """Return the page of *found* that *query* asks for; the smallest *place* comes first."""
    listing = [v for k, v in sorted(query.items()) if k not in {"pageSize", "pageToken"}]
    after = read_token(query.get("pageToken"), listing)
    ahead = sorted((item for item in found if after is None or place(item) > after), key=place)
    size = page_size(query, cap)
    page = ahead[:size]
    token = write_token([*listing, *place(page[-1])]) if len(ahead) > size and page else None
    return {
        field: [to_json(item) for item in page],
        "totalSize": len(found),
        **({"nextPageToken": token} if token else {}),
    }


def write_token(listing_and_place: Iterable[object]) -> str:
    """Return a page token."""
    return base64.urlsafe_b64encode(orjson.dumps(list(listing_and_place))).decode()


def read_token(token: str | None, listing: Sequence[object]) -> tuple[float, int] | None:
    """Return where the page of *token* starts; all of that is in the token, so none is kept."""
    if not token:
        return None
    try:
        *made_for, updated, position = orjson.loads(base64.urlsafe_b64decode(token))
        if made_for == list(listing):
            return float(updated), int(position)
    except (TypeError, ValueError):
        pass  # of somebody's making
    raise invalid(("pageToken", "belongs to another listing"))
