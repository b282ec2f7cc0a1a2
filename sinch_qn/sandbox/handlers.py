"""Operation handlers: a valid request changes the world and gives the response's JSON."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeAlias

import orjson

from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.sandbox.number_store import Number
from sinch_qn.sandbox.request_validation import ValidRequest, Violation, ViolationError
from sinch_qn.sandbox.world import Event, Order, Refusal, World

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


_ELIGIBLE = {"osrEligibility": {"status": "DONE"}}
_CALLED = {**_ELIGIBLE, "ownershipVerification": {"status": "IN_PROGRESS"}}
_OWNED = {**_ELIGIBLE, "ownershipVerification": {"status": "DONE"}}
_WRONG = {"ownershipVerification": {"status": "FAILED", "error": "The code was not valid."}}
_BLOCKED = {"ownershipVerification": {"status": "FAILED", "error": "No attempts are left."}}
_FAILED = {"hostedNumber": {"status": 2, "error": "The number could not be hosted."}}
_DETAILS: Mapping[SinchState, Mapping[str, object]] = {
    SinchState.ELIGIBLE_CHECK_PENDING: {"osrEligibility": {"status": "IN_PROGRESS"}},
    SinchState.ELIGIBLE: _ELIGIBLE,
    SinchState.NOT_ELIGIBLE: {"osrEligibility": {"status": "FAILED", "error": "Not eligible."}},
    SinchState.VERIFICATION_PENDING: _CALLED,
    SinchState.VERIFICATION_FAILED: {**_ELIGIBLE, **_WRONG},
    SinchState.VERIFICATION_BLOCKED: {**_ELIGIBLE, **_BLOCKED},
    SinchState.VERIFIED: _OWNED,
    SinchState.HOSTING_IN_PROGRESS: _OWNED,
    SinchState.HOSTING_DONE: {**_OWNED, "hostedNumber": {"status": 1}},
    SinchState.HOSTING_FAILED: {**_OWNED, **_FAILED},
}


def number_json(world: World, number: Number) -> dict[str, object]:
    """Return a QualifiedNumber; only the details that belong to its state are set."""
    return {
        "phoneNumber": number.phone_number,
        "projectId": world.settings.project_id,
        "regionCode": number.region,
        "globalProcessState": number.state,
        **_DETAILS.get(number.state, {}),
        "createdTime": time_json(number.created),
        "updatedTime": time_json(number.updated),
    }


_ECHOED = (
    "displayName",
    "regionCode",
    "servicePlanId",
    "campaignId",
    "callbackUrl",
    "scheduledOsrUpdateTime",
    "migrateToSinchTmo",
)


def order_json(world: World, order: Order) -> dict[str, object]:
    """Return a HostingOrder."""
    request = order.request
    loa = request.get("directLoaInfo") or request.get("resellerLoaInfo") or {}
    kind = {"loaType": "RESELLER" if "resellerLoaInfo" in request else "DIRECT"} if loa else {}
    return {
        "projectId": world.settings.project_id,
        "hostingOrderId": order.id,
        "state": order.state,
        "type": "TYPE_TEXT_ENABLE",
        **{name: request[name] for name in _ECHOED if name in request},
        "hostingOrderInfo": {**loa, **kind},
        "createdTime": time_json(order.created),
        "updatedTime": time_json(order.updated),
    }


def event_json(world: World, event: Event) -> dict[str, object]:
    """Return *event* as a CallbackEvent."""
    return {
        "resourceType": "HOSTING_ORDER_NUMBER",
        "eventType": event.type,
        "eventId": event.id,
        "timestamp": time_json(event.time),
        "projectId": world.settings.project_id,
        "resourceId": event.phone_number,
        "status": "SUCCEEDED" if event.succeeded else "FAILED",
        **({"failureCode": event.failure_code} if event.failure_code else {}),
    }


def _list(world: World, request: ValidRequest) -> object:
    query = request.query
    cap = world.settings.page_size_cap
    size = query.get("pageSize") or cap
    if size < 0:
        raise _invalid("pageSize", "is negative")
    order_by = query.get("orderBy") or "createdTime"
    if order_by not in {"createdTime", "updatedTime"}:
        raise _invalid("orderBy", "is not createdTime or updatedTime")
    state, region = SinchState(query["states"]), query.get("regionCode")
    listing = [state, region, order_by]
    page, after = world.page(
        state,
        size=min(size, cap),
        region=region,
        by_update=order_by == "updatedTime",
        after=_read_token(query.get("pageToken"), listing),
    )
    return {
        "qualifiedNumbers": [number_json(world, number) for number in page],
        "totalSize": world.count(state, region),
        **({"nextPageToken": _token([*listing, *after])} if after else {}),
    }


def _token(listing_and_place: list[object]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(listing_and_place)).decode()


def _read_token(token: str | None, listing: list[str | None]) -> tuple[float, int] | None:
    """Return where the page of *token* starts; all of that is in the token, so none is kept."""
    if not token:
        return None
    try:
        *made_for, updated, position = orjson.loads(base64.urlsafe_b64decode(token))
        place = float(updated), int(position)
    except (TypeError, ValueError):
        made_for = []
    if made_for != listing:
        raise _invalid("pageToken", "belongs to another listing")
    return place


def _invalid(field: str, problem: str) -> Refusal:
    return Refusal("INVALID_ARGUMENT", "The request is not valid.", [(field, problem)])


def _add(world: World, request: ValidRequest) -> object:
    numbers = world.add(request.body["phoneNumbers"])
    return {"qualifiedNumbers": [number_json(world, number) for number in numbers]}


def _get(world: World, request: ValidRequest) -> object:
    return number_json(world, world.read(request.phone_number))


def _delete(world: World, request: ValidRequest) -> None:
    world.delete(request.phone_number)


def _text_enable(world: World, request: ValidRequest, *, toll_free: bool) -> object:
    project_id = world.settings.project_id
    if request.body.get("projectId", project_id) != project_id:
        operation = "textEnableTollFreeNumbers" if toll_free else "textEnableNumbers"
        raise ViolationError([Violation(operation, "projectId", "differs from the path")])
    order = world.text_enable(request.body, toll_free=toll_free)
    return order_json(world, order) if toll_free else {"hostingOrderId": order.id}


def _call(world: World, request: ValidRequest) -> object:
    return number_json(world, world.ring(request.phone_number))


def _verify(world: World, request: ValidRequest) -> object:
    return number_json(world, world.verify(request.phone_number, request.body["code"]))


Handler: TypeAlias = Callable[[World, ValidRequest], object]
"""Changes the world and returns the response's JSON; None is an empty body."""

HANDLERS: Mapping[str, Handler] = {
    "listQualifiedNumbers": _list,
    "getQualifiedNumber": _get,
    "deleteQualifiedNumber": _delete,
    "addQualifiedNumbers": _add,
    "textEnableNumbers": partial(_text_enable, toll_free=False),
    "textEnableTollFreeNumbers": partial(_text_enable, toll_free=True),
    "sendVoiceChallenge": _call,
    "verifyVoiceChallenge": _verify,
}
"""The handler of each operation, by `operationId`."""
