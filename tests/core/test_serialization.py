"""Models travel as JSON, and copies and pickles of them are equal."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from sinch_qn import converter, from_dict, models, to_dict, to_json
from sinch_qn._codec import decode
from sinch_qn.errors import InvalidRequestError
from sinch_qn.models import (
    GlobalProcessState,
    HostedNumberDetails,
    HostingStatus,
    ListQualifiedNumbersResponse,
    QualifiedNumber,
)
from tests.support.loa import DIRECT

NUMBER = QualifiedNumber(
    phone_number="+12025550134",
    global_process_state=GlobalProcessState.VERIFIED,
    hosted_number=HostedNumberDetails(status=HostingStatus.HOSTED),
    created_time=datetime(2024, 5, 1, 12, tzinfo=UTC),
)
WIRE = {
    "phoneNumber": "+12025550134",
    "globalProcessState": "GLOBAL_PROCESS_STATE_VERIFIED",
    "hostedNumber": {"status": 1},
    "createdTime": "2024-05-01T12:00:00Z",
}
CANARY = "canary-value-that-no-message-may-show"


def test_a_model_is_written_as_the_api_writes_it() -> None:
    """A dict has wire names, plain values and no None; any JSON library takes it."""
    assert to_dict(NUMBER) == WIRE
    assert json.loads(json.dumps(to_dict(NUMBER))) == json.loads(to_json(NUMBER)) == WIRE
    assert type(to_dict(NUMBER)["globalProcessState"]) is str


def test_what_was_written_is_read() -> None:
    """Reading what was written gives an equal model; so does reading a response."""
    assert from_dict(QualifiedNumber, json.loads(to_json(NUMBER))) == NUMBER
    assert from_dict(QualifiedNumber, WIRE) == decode(WIRE, QualifiedNumber)
    page = ListQualifiedNumbersResponse(qualified_numbers=[NUMBER, NUMBER], next_page_token="x")
    assert from_dict(ListQualifiedNumbersResponse, to_dict(page)) == page


def test_what_the_api_adds_is_no_error() -> None:
    """Unknown fields are dropped, unknown enum values kept: stored data may be newer than this."""
    newer = {**WIRE, "new": 1, "globalProcessState": "GLOBAL_PROCESS_STATE_NEW"}
    read = from_dict(QualifiedNumber, newer)
    assert read.global_process_state == "GLOBAL_PROCESS_STATE_NEW"
    assert attrs.evolve(read, global_process_state=GlobalProcessState.VERIFIED) == NUMBER


@pytest.mark.parametrize(
    ("model", "data", "problem"),
    [
        ("QualifiedNumber", {"phoneNumber": [CANARY]}, "QualifiedNumber: phoneNumber is list"),
        ("QualifiedNumber", {"createdTime": CANARY}, "QualifiedNumber: createdTime is str"),
        ("QualifiedNumber", {"hostedNumber": 1}, "QualifiedNumber: hostedNumber is int"),
        (
            "ListQualifiedNumbersResponse",
            {"qualifiedNumbers": [{}, {"hostedNumber": {"error": {}}}]},
            "HostedNumberDetails: error is dict",
        ),
        ("AuthorizedPerson", {"firstName": CANARY}, "AuthorizedPerson: lastName is missing"),
        ("QualifiedNumber", [CANARY], "expected an object for QualifiedNumber, not list"),
        ("QualifiedNumber", None, "expected an object for QualifiedNumber, not null"),
    ],
)
def test_what_cannot_be_read_is_named(model: str, data: Any, problem: str) -> None:
    """Other than in a response, a wrong field is an error: it names the field, not its value."""
    with pytest.raises(InvalidRequestError) as caught:
        from_dict(getattr(models, model), data)
    assert str(caught.value).startswith(problem)
    assert CANARY not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("value", [None, {}, QualifiedNumber, "text", [NUMBER]])
def test_only_models_are_written(value: Any) -> None:
    """Anything but a model is refused, and named."""
    with pytest.raises(InvalidRequestError, match="expected a model of sinch_qn, not "):
        to_dict(value)


@attrs.frozen
class Ticket:
    """A class of a user's own."""

    title: str
    number: QualifiedNumber


def test_the_converter_takes_classes_around_the_models() -> None:
    """`converter` writes and reads models inside other attrs classes."""
    ticket = Ticket("a", NUMBER)
    data = converter.unstructure(ticket, Ticket)
    assert json.loads(json.dumps(data)) == {"title": "a", "number": WIRE}


def pickled(model: Any) -> Any:
    """Pickle and unpickle *model*."""
    return pickle.loads(pickle.dumps(model))  # noqa: S301 - our own


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled])
@pytest.mark.parametrize("model", [NUMBER, DIRECT], ids=lambda m: type(m).__name__)
def test_copies_are_equal_and_evolve(model: Any, copied: Any) -> None:
    """Copies and pickles are equal; `attrs.evolve` changes a field of a copy only."""
    other = copied(model)
    assert other == model
    assert to_dict(other) == to_dict(model)
    field = attrs.fields(type(model))[0].name
    assert attrs.evolve(other, **{field: getattr(model, field)}) == model
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(other, field, None)
