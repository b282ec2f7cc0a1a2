"""Operation handlers: a valid request changes the world and gives the response's JSON."""

from __future__ import annotations

from collections.abc import Mapping

from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.sandbox.hosting_handlers import HOSTING_HANDLERS, Handler
from sinch_qn.sandbox.number_store import Number
from sinch_qn.sandbox.payloads import order_of, page_size, read_token, time_json, write_token
from sinch_qn.sandbox.request_validation import ValidRequest
from sinch_qn.sandbox.world import World

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


def _list(world: World, request: ValidRequest) -> object:
    query, order_by = request.query, order_of(request.query)
    state, region = SinchState(query["states"]), query.get("regionCode")
    listing = [state, region, order_by]
    page, after = world.page(
        state,
        size=page_size(query, world.settings.page_size_cap),
        region=region,
        by_update=order_by == "updatedTime",
        after=read_token(query.get("pageToken"), listing),
    )
    return {
        "qualifiedNumbers": [number_json(world, number) for number in page],
        "totalSize": world.count(state, region),
        **({"nextPageToken": write_token([*listing, *after])} if after else {}),
    }


def _add(world: World, request: ValidRequest) -> object:
    numbers = world.add(request.body["phoneNumbers"])
    return {"qualifiedNumbers": [number_json(world, number) for number in numbers]}


def _get(world: World, request: ValidRequest) -> object:
    return number_json(world, world.read(request.phone_number))


def _delete(world: World, request: ValidRequest) -> None:
    world.delete(request.phone_number)


def _call(world: World, request: ValidRequest) -> object:
    return number_json(world, world.ring(request.phone_number))


def _verify(world: World, request: ValidRequest) -> object:
    return number_json(world, world.verify(request.phone_number, request.body["code"]))


HANDLERS: Mapping[str, Handler] = {
    "listQualifiedNumbers": _list,
    "getQualifiedNumber": _get,
    "deleteQualifiedNumber": _delete,
    "addQualifiedNumbers": _add,
    "sendVoiceChallenge": _call,
    "verifyVoiceChallenge": _verify,
    **HOSTING_HANDLERS,
}
"""The handler of each operation, by `operationId`."""
