"""Models are values, and fields, bodies and results for pydantic, without importing it."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from typing import Annotated, Any

import attrs
import pytest
from fastapi import Body, FastAPI
from fastapi.encoders import jsonable_encoder
from pydantic import BaseModel, TypeAdapter, ValidationError

from sinch_qn import from_dict, models, to_dict
from sinch_qn.models import (
    AuthorizedPerson,
    GlobalProcessState,
    HostedNumberDetails,
    HostingOrder,
    HostingStatus,
    OsrEligibilityDetails,
    QualifiedNumber,
    TextEnableNumbersRequest,
)
from tests.core.test_serialization import NUMBER, WIRE

PHONE = "+12025550134"
MODELS = [value for value in vars(models).values() if attrs.has(value)]

app = FastAPI()


def test_models_compare_and_show_as_values() -> None:
    """Models of one class with equal fields are equal; what is sensitive is not shown."""
    person = AuthorizedPerson(first_name="Ann", last_name="Lee", email="ann@example.com")
    twin = copy.deepcopy(person)
    assert person == twin
    assert {person: 1}[twin] == 1
    assert person != attrs.evolve(person, last_name="Low")
    assert person != attrs.astuple(person)
    assert HostedNumberDetails(error="x") != OsrEligibilityDetails(error="x")
    assert repr(HostedNumberDetails(error="x")) == "HostedNumberDetails(status=None, error='x')"
    assert repr(person) == "AuthorizedPerson()"


@app.get("/annotated")
async def annotated() -> QualifiedNumber:
    """Return a model as the annotation says."""
    return NUMBER


@app.get("/plain", response_model=None)
async def plain() -> Any:
    """Return a model without saying so."""
    return [NUMBER]


@app.post("/orders")
async def order(request: Annotated[TextEnableNumbersRequest, Body()]) -> dict[str, Any]:
    """Take a model as the body."""
    assert isinstance(request, TextEnableNumbersRequest)
    return to_dict(request)


async def ask(method: str, path: str, body: object = None) -> tuple[int, Any]:
    """Return status and JSON of a response of `app`."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    await app(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], json.loads(content)


async def test_routes_return_models() -> None:
    """A route returns a model, annotated or not, as the API's JSON without nulls."""
    assert await ask("GET", "/annotated") == (200, WIRE)
    status, (plain,) = await ask("GET", "/plain")  # FastAPI itself writes the time
    assert (status, from_dict(QualifiedNumber, plain), plain.keys()) == (200, NUMBER, WIRE.keys())
    assert jsonable_encoder(NUMBER) == plain


async def test_routes_accept_models() -> None:
    """A body is read into a model; what is missing or wrong is a 422 that names the field."""
    body = {"regionCode": "US", "numbers": [PHONE], "servicePlanId": "plan"}
    assert await ask("POST", "/orders", body) == (200, body)
    status, problem = await ask("POST", "/orders", {**body, "numbers": PHONE, "regionCode": None})
    assert status == 422
    assert {".".join(each["loc"]) for each in problem["detail"]} == {
        "body.numbers",
        "body.regionCode",
    }


async def test_models_are_documented() -> None:
    """OpenAPI has each model under its name, with the API's fields and the known values."""
    _, document = await ask("GET", "/openapi.json")
    schemas = document["components"]["schemas"]
    assert "+12025550134" not in json.dumps(document)
    required = schemas["TextEnableNumbersRequest"]["required"]
    assert required == ["regionCode", "numbers", "servicePlanId"]
    state = schemas["QualifiedNumber"]["properties"]["globalProcessState"]
    assert "GLOBAL_PROCESS_STATE_VERIFIED" in json.dumps(state)
    assert "HostedNumberDetails" in schemas


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_model_has_a_schema(model: type) -> None:
    """Pydantic can read, write and document each model."""
    adapter: TypeAdapter[Any] = TypeAdapter(model)
    assert adapter.json_schema()["properties"] or not attrs.fields(model)
    assert adapter.json_schema(mode="serialization") == adapter.json_schema()


class Ticket(BaseModel):
    """A user's own model."""

    number: QualifiedNumber
    state: GlobalProcessState = GlobalProcessState.UNSPECIFIED
    status: HostingStatus | None = None


def test_models_are_fields() -> None:
    """In a pydantic model, models and enums are read from JSON and written as JSON."""
    text = json.dumps({"number": WIRE, "state": "VERIFIED", "status": "HOSTED"})
    ticket = Ticket.model_validate_json(text)
    assert ticket.number == NUMBER
    assert ticket.state is GlobalProcessState.VERIFIED
    assert ticket.status is HostingStatus.HOSTED
    written = {"number": WIRE, "state": "GLOBAL_PROCESS_STATE_VERIFIED", "status": 1}
    assert json.loads(ticket.model_dump_json()) == written
    assert Ticket(number=NUMBER).number is NUMBER
    with pytest.raises(ValidationError, match=r"hostedNumber\.status"):
        Ticket.model_validate({"number": {"hostedNumber": {"status": "NEW"}}})


def test_fields_with_two_names_are_read_by_either() -> None:
    """The letter of an order has two wire names in the API; pydantic reads both."""
    order = TypeAdapter(HostingOrder).validate_python({"textEnableInfo": {"businessName": "Acme"}})
    assert dict(order).keys() == {"hostingOrderInfo"}
    assert to_dict(order) == {"hostingOrderInfo": {"businessName": "Acme"}}


def test_a_dict_of_a_model_has_what_is_set() -> None:
    """`dict(model)` has wire names and the values as they are, without None."""
    assert dict(QualifiedNumber(phone_number=PHONE)) == {"phoneNumber": PHONE}
    assert dict(NUMBER)["hostedNumber"] is NUMBER.hosted_number


def test_pydantic_is_not_imported() -> None:
    """Models know how pydantic sees them without it."""
    program = "import sys, sinch_qn.serialization\nassert 'pydantic' not in sys.modules\n"
    subprocess.run([sys.executable, "-c", program], check=True)  # noqa: S603 - a fixed program
