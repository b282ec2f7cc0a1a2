"""The error tree: the outcome of each error, and pickles and copies without loss."""

from __future__ import annotations

import copy
import inspect
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest

from sinch_qn import Outcome, SinchError, errors
from sinch_qn.errors import (
    AuthenticationError,
    BadRequestError,
    ClosedError,
    ConflictError,
    ConnectError,
    DeadlineExceededError,
    EmailError,
    InvalidRequestError,
    InvalidResponseError,
    JournalError,
    NotFoundError,
    OrderRejectedError,
    PaginationError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    StatusError,
    TokenError,
    TransportError,
    UnexpectedStateError,
    UnlinkError,
    WebhookError,
    status_error_class,
)
from sinch_qn.models import (
    GlobalProcessState,
    HostingOrder,
    HostingOrderState,
    ImportedNumber,
    QualifiedNumber,
)

NUMBER = QualifiedNumber(
    phone_number="+12025550134",
    global_process_state=GlobalProcessState("GLOBAL_PROCESS_STATE_BRAND_NEW"),
    created_time=datetime(2026, 1, 2, tzinfo=UTC),
)

TABLE: list[tuple[type[SinchError], tuple[type[Exception], ...], Outcome, dict[str, Any]]] = [
    (SinchError, (Exception,), Outcome.UNKNOWN, {}),
    (InvalidRequestError, (SinchError, ValueError), Outcome.NOT_SENT, {}),
    (TokenError, (SinchError,), Outcome.NOT_SENT, {}),
    (TransportError, (SinchError,), Outcome.UNKNOWN, {}),
    (ConnectError, (TransportError,), Outcome.NOT_SENT, {}),
    (ClosedError, (ConnectError, RuntimeError), Outcome.NOT_SENT, {}),
    (DeadlineExceededError, (SinchError,), Outcome.UNKNOWN, {}),
    (StatusError, (SinchError,), Outcome.REJECTED, {"status_code": 418}),
    (BadRequestError, (StatusError,), Outcome.REJECTED, {"status_code": 400}),
    (AuthenticationError, (StatusError,), Outcome.REJECTED, {"status_code": 401}),
    (PermissionDeniedError, (StatusError,), Outcome.REJECTED, {"status_code": 403}),
    (NotFoundError, (StatusError,), Outcome.REJECTED, {"status_code": 404}),
    (ConflictError, (StatusError,), Outcome.REJECTED, {"status_code": 409}),
    (RateLimitError, (StatusError,), Outcome.REJECTED, {"status_code": 429}),
    (ServerError, (StatusError,), Outcome.UNKNOWN, {"status_code": 500}),
    (InvalidResponseError, (SinchError,), Outcome.UNKNOWN, {"status_code": 200}),
    (PaginationError, (SinchError,), Outcome.UNKNOWN, {}),
    (UnexpectedStateError, (SinchError,), Outcome.UNKNOWN, {"number": NUMBER}),
    (OrderRejectedError, (SinchError,), Outcome.REJECTED, {"order": HostingOrder()}),
    (UnlinkError, (SinchError,), Outcome.UNKNOWN, {"number": ImportedNumber()}),
    (JournalError, (SinchError,), Outcome.UNKNOWN, {}),
    (EmailError, (SinchError,), Outcome.UNKNOWN, {}),
    (WebhookError, (SinchError,), Outcome.NOT_SENT, {}),
]
"""Class, bases, default outcome, and required arguments."""

EXTRAS: dict[str, Any] = {
    "status_code": 429,
    "code": "429",
    "status": "RESOURCE_EXHAUSTED",
    "details": [{"type": "BadRequest", "fieldViolations": [{"field": "a", "description": "b"}]}],
    "retry_after": 7.5,
    "retry_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "outcome": Outcome.NOT_SENT,
    "attempts": 3,
    "number": NUMBER,
    "order": HostingOrder(hosting_order_id="01arz3", state=HostingOrderState("BRAND_NEW")),
}
"""A value for every keyword of any error."""

rows = pytest.mark.parametrize(
    ("kind", "bases", "outcome", "needed"), TABLE, ids=lambda value: getattr(value, "__name__", "")
)


def filled(kind: type[SinchError]) -> SinchError:
    """Return an error of *kind* with every attribute set."""
    keywords = [n for n in inspect.signature(kind).parameters if n != "message"]
    return kind("what went wrong", **{name: EXTRAS[name] for name in keywords})


def test_table_has_every_error() -> None:
    """The table above has every error class."""
    defined = {
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, BaseException)
    }
    assert defined == {kind for kind, *_ in TABLE}


@rows
def test_error_has_its_place_and_outcome(
    kind: type[SinchError],
    bases: tuple[type[Exception], ...],
    outcome: Outcome,
    needed: dict[str, Any],
) -> None:
    """Each error has the base classes and the outcome of the table."""
    error = kind("what went wrong", **needed)
    assert kind.__bases__ == bases
    assert isinstance(error, SinchError)
    assert error.outcome is outcome
    assert error.attempts == 0
    assert error.message == "what went wrong"
    assert error.reason.endswith("what went wrong")
    assert str(error).startswith(error.reason)


@rows
def test_outcome_can_be_told_where_it_depends(
    kind: type[SinchError],
    bases: tuple[type[Exception], ...],
    outcome: Outcome,
    needed: dict[str, Any],
) -> None:
    """An outcome that is passed in overrides that of the class."""
    if kind in (UnexpectedStateError, OrderRejectedError, UnlinkError):
        return
    for told in Outcome:
        error = kind("x", **needed, outcome=told, attempts=4)
        assert (error.outcome, error.attempts) == (told, 4)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@rows
def test_pickle_keeps_every_attribute(
    kind: type[SinchError],
    bases: tuple[type[Exception], ...],
    outcome: Outcome,
    needed: dict[str, Any],
    protocol: int,
) -> None:
    """A pickled error keeps all attributes, including notes, whatever the protocol."""
    error = filled(kind)
    error.operation, error.phone_number, error.request_id = (
        "getQualifiedNumber",
        "+12025550134",
        "7",
    )
    error.headers, error.body = {"x-request-id": "7"}, "{}"
    error.add_note("while listing")
    back = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301
    assert type(back) is kind
    assert back.args == error.args
    assert vars(back) == vars(error)
    assert (str(back), repr(back)) == (str(error), repr(error))


@rows
def test_copies_keep_every_attribute(
    kind: type[SinchError],
    bases: tuple[type[Exception], ...],
    outcome: Outcome,
    needed: dict[str, Any],
) -> None:
    """A shallow or deep copy has all attributes of the error."""
    error = filled(kind)
    for back in (copy.copy(error), copy.deepcopy(error)):
        assert type(back) is kind
        assert back is not error
        assert (back.args, vars(back), str(back)) == (error.args, vars(error), str(error))


def test_deep_copy_shares_nothing_that_can_change() -> None:
    """Changing a deep copy's details does not change the error's."""
    error = NotFoundError("x", status_code=404, details=[{"a": [1]}])
    copy.deepcopy(error).details[0]["a"].append(2)
    assert error.details == [{"a": [1]}]


def test_error_of_a_users_own_can_be_pickled() -> None:
    """A subclass with its own arguments can be pickled as well."""
    back = pickle.loads(pickle.dumps(OwnError(7)))  # noqa: S301
    assert (back.number, back.message, str(back)) == (7, "number 7", "number 7")


class OwnError(SinchError):
    """An error with another signature than its base's."""

    def __init__(self, number: int) -> None:
        super().__init__(f"number {number}")
        self.number = number


def test_text_of_a_status_error_is_one_line() -> None:
    """The text is HTTP status, status, message and invalid fields, where present, on one line."""
    violations = [{"field": "numbers[0]", "description": "is taken"}, {"field": "nnid"}]
    details = [{"type": "BadRequest", "fieldViolations": violations}]
    full = BadRequestError("no", status_code=400, status="INVALID_ARGUMENT", details=details)
    assert str(full) == "HTTP 400 INVALID_ARGUMENT: no: numbers[0]: is taken; nnid: ?"
    assert str(StatusError("no", status_code=418)) == "HTTP 418: no"
    assert str(StatusError(status_code=418, status="TEAPOT")) == "HTTP 418 TEAPOT"


@pytest.mark.parametrize(
    "details",
    [
        [{}],
        [{"fieldViolations": None}],
        [{"fieldViolations": 7}],
        [{"fieldViolations": "text"}],
        [{"fieldViolations": {"field": "a"}}],
        [{"fieldViolations": [None, 7, "text", [], {}]}],
        [{"fieldViolations": [{"field": None, "description": {"a": 1}}]}],
        [{"fieldViolations": [{"field": "\x1b[31m\r\nforged", "description": "\x00\u2028\ud800"}]}],
        [{"fieldViolations": [{"field": "x" * 100_000, "description": "y"}] * 1000}] * 20,
        [None, 7, "text", [], ["fieldViolations"]],
        [{7: 8}],
    ],
)
def test_hostile_details_do_not_break_the_text(details: Any) -> None:
    """Whatever the details, the text is one short printable line."""
    text = str(StatusError("no", status_code=400, details=details))
    assert text.startswith("HTTP 400: no")
    assert text.isprintable()
    assert len(text) < 5000


@pytest.mark.parametrize("status", range(400, 600))
def test_status_has_one_class(status: int) -> None:
    """Every status from 400 to 599 has its class: its own, or the general one of 4xx or 5xx."""
    own = {needed["status_code"]: kind for kind, bases, _, needed in TABLE if StatusError in bases}
    general = ServerError if status >= 500 else StatusError
    assert status_error_class(status) is own.get(status, general)
