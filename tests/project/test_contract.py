"""Spec, operation table, client and sandbox have the same endpoints."""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator, Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest
import yaml

from sinch_qn import BasicAuth, QualifiedNumbersClient, models
from sinch_qn._codec import decode
from sinch_qn._http import Request, Response
from sinch_qn._operations import OPERATIONS, Operation
from sinch_qn.auth import TOKEN_URL
from sinch_qn.client import BASE_URL
from sinch_qn.models import GlobalProcessState, HostingOrderType
from sinch_qn.resources import (
    CallbackConfigurationResource,
    HostingOrdersResource,
    ImportedNumbersResource,
)
from sinch_qn.sandbox import Sandbox
from sinch_qn.sandbox.handlers import HANDLERS

ROOT = Path(__file__).parents[2]
SPEC: dict[str, Any] = yaml.safe_load((ROOT / "openapi/qualified-numbers.yaml").read_text())
PROJECT_PATH = "/v1/projects/{projectId}"
PHONE = "+12025550134"

RESOURCES = {
    "hosting_orders": HostingOrdersResource,
    "imported_numbers": ImportedNumbersResource,
    "callback_configuration": CallbackConfigurationResource,
}
BUILT_ON = {
    "list_numbers": {"list_number_pages"},
    "wait_for_state": {"get_number"},
    "hosting_orders.wait": {"hosting_orders.get"},
    "hosting_orders.follow": {"hosting_orders.get", "hosting_orders.report"},
    "imported_numbers.move": {"imported_numbers.get", "imported_numbers.update"},
}
"""Methods without an operation of their own, and the methods that they call."""

NEEDED: dict[str, dict[str, Any]] = {
    "imported_numbers.update": {"display_name": "x"},
    "imported_numbers.move": {"campaign_id": "x"},
}
"""Arguments of methods that need one of several."""


@attrs.frozen
class Described:
    """An operation in the spec."""

    id: str
    method: str
    path: str
    idempotent: bool
    response_model: str | None
    """The component of a 200's body; None if it is empty."""


def described() -> list[Described]:
    """Return the operations of the spec."""
    return [
        Described(
            operation["operationId"],
            method.upper(),
            path,
            operation["x-idempotent"],
            response_model_of(operation),
        )
        for path, item in SPEC["paths"].items()
        for method, operation in item.items()
        if method in {"get", "put", "post", "delete", "patch", "head", "options"}
    ]


def response_model_of(operation: dict[str, Any]) -> str | None:
    """Return the name of the component that is the body of *operation*'s 200."""
    ok = operation["responses"]["200"]
    if "$ref" in ok:
        ok = SPEC["components"]["responses"][ok["$ref"].rpartition("/")[2]]
    content = ok.get("content")
    if content is None:
        return None
    return str(content["application/json"]["schema"]["$ref"]).rpartition("/")[2]


def operation_methods() -> dict[str, Callable[..., Any]]:
    """Return the public methods that send operations, a resource's as `hosting_orders.get`."""
    owners: dict[str, type] = {"": QualifiedNumbersClient, **RESOURCES}
    return {
        f"{owner}.{name}".lstrip("."): method
        for owner, cls in owners.items()
        for name, method in vars(cls).items()
        if not name.startswith("_")
        and (inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method))
        and name not in ("prepare", "close")
    }


def test_operation_table_is_the_spec() -> None:
    """Each row has the spec's method, path, idempotence and response, and there are no others."""
    table = [
        Described(
            row.id,
            row.method,
            PROJECT_PATH + row.path,
            row.idempotent,
            None if row.response_model is type(None) else row.response_model.__name__,
        )
        for row in OPERATIONS
    ]
    assert sorted(table, key=lambda row: row.id) == sorted(described(), key=lambda row: row.id)
    assert len({row.id for row in OPERATIONS}) == len(OPERATIONS) == 23


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_required_field_is_in_the_response_model(operation: Operation[Any]) -> None:
    """The required field is a field of the response model."""
    if operation.required_field is not None:
        assert operation.required_field in {
            f.metadata["wire"] for f in attrs.fields(operation.response_model)
        }


def test_sandbox_serves_the_operation_table() -> None:
    """The sandbox mounts exactly these operations and has one handler for each."""
    assert Sandbox().mounted == {(row.method, PROJECT_PATH + row.path) for row in OPERATIONS}
    assert set(HANDLERS) == {row.id for row in OPERATIONS}


def test_sandbox_counts_each_operation() -> None:
    """The sandbox counts the requests of each operation and of the token endpoint."""
    assert set(Sandbox().calls.totals()) == {row.id for row in OPERATIONS} | {"token"}


def arguments(method: Callable[..., Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return arguments for *method*: a valid value for each required parameter."""
    loa = {
        "authorisedPerson": {"firstName": "J", "lastName": "D", "email": "j@example.com"},
        "address": dict.fromkeys(
            ("buildingNumber", "street", "city", "state", "postalCode", "country"), "x"
        ),
        "currentVoiceCarrier": "x",
    }
    body = {"regionCode": "US", "numbers": [PHONE], "servicePlanId": "p", "directLoaInfo": loa}
    body |= {"phoneNumber": PHONE, "smsConfiguration": {"servicePlanId": "p"}}
    state = GlobalProcessState.VERIFIED
    values = {
        "phone_number": PHONE,
        "phone_numbers": [PHONE],
        "code": "0123",
        "state": state,
        "states": state,
        "timeout": 5.0,
        "order_id": "01arz3",
        "type": HostingOrderType.IMPORT,
        "service_plan_id": "p",
        "campaign_id": "c",
        "hmac_secret": "secret",
    }
    positional: list[Any] = []
    keywords: dict[str, Any] = {}
    for name, parameter in inspect.signature(method).parameters.items():
        if name == "self" or parameter.kind is parameter.VAR_KEYWORD:
            continue
        if name == "request":
            positional.append(
                decode(body, getattr(models, inspect.signature(method).parameters[name].annotation))
            )
        elif parameter.kind is parameter.KEYWORD_ONLY:
            if parameter.default is parameter.empty:
                keywords[name] = values[name]
        else:
            positional.append(values[name])
    return positional, keywords


async def operations_of(name: str) -> set[str]:
    """Return the ids of the operations that the client's method *name* sends."""
    sent: list[Request] = []

    async def send(request: Request, *_: object) -> Response:
        sent.append(request)
        state = GlobalProcessState.VERIFIED.value
        response_model = {"phoneNumber": PHONE, "hostingOrderId": "1", "globalProcessState": state}
        response_model |= {"state": "COMPLETED"}
        return Response(200, {}, orjson.dumps(response_model | {"qualifiedNumbers": []}))

    async with QualifiedNumbersClient("project", BasicAuth("key", "secret")) as client:
        client._pipeline._transport.send = send  # type: ignore[method-assign, assignment]
        method = attrgetter(name)(client)
        positional, keywords = arguments(method)
        result = method(*positional, **keywords, **NEEDED.get(name, {}))
        if isinstance(result, AsyncIterator):
            async for _ in result:
                pass
        else:
            await result
    return {operation_of(request) for request in sent}


def operation_of(request: Request) -> str:
    """Return the id of the row of *request*."""
    path = request.url.partition("?")[0].removeprefix(
        "https://imported.numbers.api.sinch.com/v1/projects/project"
    )
    fitting = [
        row.id
        for row in OPERATIONS
        if row.method == request.method
        and re.fullmatch(
            re.escape(row.path)
            .replace(r"\{phoneNumber\}", r"\+[0-9]+")
            .replace(r"\{hostingOrderId\}", "[a-z0-9]+"),
            path,
        )
    ]
    assert len(fitting) == 1, (request.method, path)
    return fitting[0]


async def test_each_operation_is_one_method_of_the_client() -> None:
    """Exactly one method sends each operation; the others are built on such a method."""
    sent = {name: await operations_of(name) for name in operation_methods()}
    own = [ids for name, ids in sent.items() if name not in BUILT_ON]
    assert all(len(ids) == 1 for ids in own), sent
    assert sorted(next(iter(ids)) for ids in own) == sorted(row.id for row in OPERATIONS)
    for name, bases in BUILT_ON.items():
        assert sent[name] == set().union(*(sent[base] for base in bases)), name


def test_each_method_names_its_operation() -> None:
    """A method's docstring names its operationId at the end."""
    for name, method in operation_methods().items():
        if name == "wait_for_state":
            continue
        named = re.findall(r"\((\w+)(?:, \w+)*\)", inspect.getdoc(method) or "")
        assert named, name
        assert named[-1] in {row.id for row in OPERATIONS}, name


async def test_a_listing_asks_for_the_specs_ten_states() -> None:
    """Without states a listing requests the spec's states in order, except UNSPECIFIED."""
    asked: list[str] = []

    async def send(request: Request, *_: object) -> Response:
        asked.append(request.url.partition("states=")[2])
        return Response(200, {}, b"{}")

    async with QualifiedNumbersClient("project", BasicAuth("key", "secret")) as client:
        client._pipeline._transport.send = send  # type: ignore[method-assign, assignment]
        assert [number async for number in client.list_numbers()] == []
    states = SPEC["components"]["schemas"]["GlobalProcessState"]["enum"]
    assert len(asked) == 10
    assert sorted(asked) == sorted(set(states) - {"GLOBAL_PROCESS_STATE_UNSPECIFIED"})
    assert [state.value for state in GlobalProcessState] == states


def test_addresses_are_the_specs() -> None:
    """The client's default addresses are the spec's server and token endpoint."""
    assert [server["url"] for server in SPEC["servers"]] == [BASE_URL]
    flows = SPEC["components"]["securitySchemes"]["OAuth2.0"]["flows"]
    assert flows["clientCredentials"]["tokenUrl"] == TOKEN_URL
