"""Any response is read as a result or as one error, whatever its bytes."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sinch_qn import errors, models
from sinch_qn._codec import decode
from sinch_qn._http import Request, Response, read_model, status_error
from sinch_qn._operations import (
    ADD_NUMBERS,
    DELETE_NUMBER,
    GET_NUMBER,
    LIST_NUMBERS,
    OPERATIONS,
    SEND_VOICE_CHALLENGE,
    TEXT_ENABLE_NUMBERS,
    TEXT_ENABLE_TOLL_FREE_NUMBERS,
    VERIFY_VOICE_CHALLENGE,
    Operation,
)
from sinch_qn.auth import BasicAuth
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.errors import InvalidResponseError, Outcome, SinchError, StatusError
from sinch_qn.models import (
    BlanketLoaInfo,
    GlobalProcessState,
    ImportNumberRequest,
    ImportNumbersRequest,
    ListQualifiedNumbersResponse,
    SmsConfiguration,
    TextEnableNumbersRequest,
)
from sinch_qn.retry import RetryPolicy
from tests.support.loa import DIRECT_JSON
from tests.support.matrices import EACH_KIND

PHONE = "+12025550134"
CANARY = "canary-value-that-no-message-may-show"


def answer(body: object, status: int = 200, **headers: str) -> Response:
    """Return a response with *body* as JSON, or as it is if it is bytes."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return Response(status, {k.replace("_", "-"): v for k, v in headers.items()}, raw)


def test_requests_and_responses_hide_their_contents() -> None:
    """Headers carry tokens and bodies carry codes: neither is in a repr."""
    shown = repr(Request("POST", "https://example.com", {"Authorization": CANARY}, CANARY.encode()))
    assert CANARY not in shown
    assert CANARY not in repr(Response(200, {"X": CANARY}, CANARY.encode()))


# ---- error bodies ------------------------------------------------------------------------------

VIOLATIONS = [{"type": "BadRequest", "fieldViolations": [{"field": "f", "description": "bad"}]}]


@pytest.mark.parametrize(
    ("body", "code", "status", "message", "details"),
    [
        (
            {"code": "404", "message": "gone", "status": "NOT_FOUND", "details": VIOLATIONS},
            "404",
            "NOT_FOUND",
            "gone",
            VIOLATIONS,
        ),
        (
            {
                "error": {
                    "code": 404,
                    "message": "gone",
                    "status": "NOT_FOUND",
                    "details": VIOLATIONS,
                }
            },
            "404",
            "NOT_FOUND",
            "gone",
            VIOLATIONS,
        ),
        ({"error": "x_y", "error_description": "no such"}, None, "x_y", "no such", []),
        ({"error": "x_y"}, None, "x_y", "x_y", []),
        ({"error": "x_y", "error_description": 5}, None, "x_y", "Not Found", []),
        ({"message": "gone"}, None, None, "gone", []),
        ({"error": None, "code": 5}, "5", None, "Not Found", []),
        ({"error": [], "message": ["gone"]}, None, None, "Not Found", []),
        ({"code": True, "message": None, "status": 7}, None, None, "Not Found", []),
        ({"code": 1.5, "details": {"a": 1}}, None, None, "Not Found", []),
        ({"code": "", "details": ["a", None, {"b": 2}]}, None, None, "Not Found", [{"b": 2}]),
        ({"other": 1}, None, None, "Not Found", []),
        ({}, None, None, "Not Found", []),
        ({"title": "Bad", "detail": "gone", "status": 404}, None, None, "gone", []),
        ({"title": "gone", "detail": [], "code": 7}, "7", None, "gone", []),
        ({"code": "syntax", "text": "gone"}, "syntax", None, "gone", []),
        ({"errors": [{"message": "gone"}, "and", 5]}, None, None, "gone; and", []),
        ({"detail": [{"loc": ["body"], "msg": "gone"}]}, None, None, "gone", []),
        ({"error": {"errors": [{"description": "gone"}]}}, None, None, "gone", []),
        (b"no healthy upstream", None, None, "no healthy upstream", []),
        (b'\xef\xbb\xbf{"code": 5, "message": "gone"}', "5", None, "gone", []),
        (b'{"message": "refus\xe9", "code": 3}', "3", None, "refus\ufffd", []),
        ([1], None, None, "Not Found", []),
        (None, None, None, "Not Found", []),
        ("gone", None, None, "gone", []),
        (b"", None, None, "Not Found", []),
        (b"<html><h1>404</h1></html>", None, None, "Not Found", []),
        (b'{"code": "404", "mess', None, None, "Not Found", []),
        (b"\xff\xfe\x00", None, None, "Not Found", []),
    ],
)
def test_error_body_is_read_in_every_shape(
    body: object, code: str | None, status: str | None, message: str, details: list[Any]
) -> None:
    """Flat, wrapped, as in OAuth2, or not an error at all: the status determines the error."""
    error = status_error(answer(body, 404))
    assert type(error) is errors.NotFoundError
    assert (error.code, error.status, error.message) == (code, status, message)
    assert error.details == details
    assert (error.status_code, error.outcome) == (404, Outcome.REJECTED)
    assert (error.retry_after, error.retry_at) == (None, None)


def test_error_text_is_one_printable_line() -> None:
    """A server's text cannot forge a log line, colour a terminal, or flood either."""
    hostile = "\x1b[31mred\r\nforged: line\x00" + "x" * 2_000
    body = {
        "message": hostile,
        "status": hostile,
        "code": hostile,
        "details": [{"fieldViolations": [{"field": hostile, "description": hostile}] * 1_000}],
    }
    error = status_error(answer(body, 400))
    text = str(error)
    assert text.isprintable()
    assert len(text) < 10_000
    assert (error.code or "").isprintable()


@pytest.mark.parametrize("depth", [300, 600, 1000])
def test_deeply_nested_details_do_not_break_the_error(depth: int) -> None:
    """An error stays printable, picklable and copyable however deep its details nest."""
    nest = b'[{"fieldViolations":[{"field":' + b"[" * depth + b"]" * depth + b"}]}]"
    error = status_error(answer(b'{"code":"400","message":"m","details":' + nest + b"}", 400))
    assert str(error) == "HTTP 400: m"
    assert pickle.loads(pickle.dumps(error)).code == copy.deepcopy(error).code == "400"  # noqa: S301


@pytest.mark.parametrize(
    ("status", "kind", "outcome"),
    [
        (400, errors.BadRequestError, Outcome.REJECTED),
        (401, errors.AuthenticationError, Outcome.REJECTED),
        (402, StatusError, Outcome.REJECTED),
        (403, errors.PermissionDeniedError, Outcome.REJECTED),
        (404, errors.NotFoundError, Outcome.REJECTED),
        (408, StatusError, Outcome.UNKNOWN),
        (409, errors.ConflictError, Outcome.REJECTED),
        (429, errors.RateLimitError, Outcome.REJECTED),
        (499, StatusError, Outcome.UNKNOWN),
        (500, errors.ServerError, Outcome.UNKNOWN),
        (503, errors.ServerError, Outcome.UNKNOWN),
        (599, errors.ServerError, Outcome.UNKNOWN),
        (999, errors.ServerError, Outcome.UNKNOWN),
    ],
)
@pytest.mark.parametrize("operation", EACH_KIND, ids=lambda operation: operation.id)
def test_error_status_has_its_class_and_outcome(
    operation: Operation[Any], status: int, kind: type[StatusError], outcome: Outcome
) -> None:
    """A status has its error whatever the operation; 408, 499 and 5xx have an unknown outcome."""
    with pytest.raises(StatusError) as caught:
        read_model(operation, answer({"phoneNumber": PHONE}, status))
    assert type(caught.value) is kind
    assert caught.value.outcome is outcome
    assert caught.value.status_code == status
    assert caught.value.message


# ---- answers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [100, 199, 300, 301, 302, 304, 307, 308, 399])
def test_redirects_are_rejected(status: int) -> None:
    """Any other status than 2xx and errors is rejected; redirects are not followed."""
    with pytest.raises(InvalidResponseError, match=f"HTTP {status} is not followed") as caught:
        read_model(GET_NUMBER, answer({"phoneNumber": PHONE}, status))
    assert caught.value.status_code == status
    assert caught.value.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("body", "kind", "outcome", "status"),
    [
        ({"code": "400", "message": "no"}, errors.BadRequestError, Outcome.REJECTED, 400),
        ({"error": {"code": 400, "message": "no"}}, errors.BadRequestError, Outcome.REJECTED, 400),
        ({"code": "409", "message": "no"}, errors.ConflictError, Outcome.REJECTED, 409),
        ({"code": "404", "message": "no"}, errors.NotFoundError, Outcome.REJECTED, 404),
        ({"error": {"code": 429, "message": "no"}}, errors.RateLimitError, Outcome.REJECTED, 429),
        ({"error": {"code": 500, "message": "no"}}, errors.ServerError, Outcome.UNKNOWN, 500),
        ({"code": 499, "message": "no"}, StatusError, Outcome.UNKNOWN, 499),
        ({"code": 5, "message": "no"}, errors.NotFoundError, Outcome.REJECTED, 404),
        ({"code": 1, "message": "no"}, StatusError, Outcome.UNKNOWN, 499),
        ({"code": 16, "message": "no"}, errors.AuthenticationError, Outcome.REJECTED, 401),
        (
            {"error": {"status": "ALREADY_EXISTS", "message": "no"}},
            errors.ConflictError,
            Outcome.REJECTED,
            409,
        ),
    ],
)
@pytest.mark.parametrize("operation", EACH_KIND, ids=lambda operation: operation.id)
def test_error_in_a_200_is_the_error_that_it_says(
    operation: Operation[Any],
    body: dict[str, Any],
    kind: type[StatusError],
    outcome: Outcome,
    status: int,
) -> None:
    """The code in the body of a 2xx determines class and outcome; code and details are kept."""
    said = body.get("error", body)
    said["details"] = [{"fieldViolations": []}]
    with pytest.raises(StatusError) as caught:
        read_model(operation, answer(body))
    error = caught.value
    assert type(error) is kind
    assert (error.outcome, error.status_code, error.message) == (outcome, status, "no")
    assert error.code == (str(said["code"]) if "code" in said else None)
    assert (error.status, error.details) == (said.get("status"), said["details"])


@pytest.mark.parametrize(
    "body",
    [
        {"error": "not yours"},
        {"error": {"message": "not yours", "code": "odd"}},
        {"code": 0, "message": "not yours"},
        {"code": "200", "message": "not yours"},
        {"code": 17, "message": "not yours"},
        {"errors": [{"message": "not yours"}]},
    ],
)
@pytest.mark.parametrize("operation", EACH_KIND, ids=lambda operation: operation.id)
def test_error_in_a_200_without_a_status(operation: Operation[Any], body: object) -> None:
    """An error in a 200 that says no status is an InvalidResponseError with its message."""
    with pytest.raises(InvalidResponseError, match="an error in a 200: not yours") as caught:
        read_model(operation, answer(body))
    assert caught.value.status_code == 200
    assert caught.value.outcome is Outcome.UNKNOWN


NUMBER_JSON = orjson.dumps({"phoneNumber": PHONE, "new": 1})


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + NUMBER_JSON,
        NUMBER_JSON + b"\0\0",
        NUMBER_JSON + b"\r\n\0",
        NUMBER_JSON.replace(b":1}", b":NaN}"),
        NUMBER_JSON.replace(b":1}", b":-Infinity}"),
        NUMBER_JSON.replace(b":1}", b':"refus\xe9"}'),
    ],
    ids=repr,
)
def test_json_of_careless_servers_is_read(body: bytes) -> None:
    """A mark, NULs, another charset and NaN in a field that nobody reads cost no outcome."""
    assert read_model(SEND_VOICE_CHALLENGE, answer(body)).phone_number == PHONE


@pytest.mark.parametrize("half", [b'"\\ud800"', b'"\\udfff\\ud800"'])
def test_half_a_character_is_not_read(half: bytes) -> None:
    """Half a character could not be written to a file: it is not JSON, with or without NaN."""
    for body in (b'{"phoneNumber":' + half + b"}", b'{"x":NaN,"phoneNumber":' + half + b"}"):
        with pytest.raises(InvalidResponseError, match="not something else"):
            read_model(GET_NUMBER, answer(body))


@pytest.mark.parametrize(
    ("operation", "field"),
    [
        (GET_NUMBER, "phoneNumber"),
        (SEND_VOICE_CHALLENGE, "phoneNumber"),
        (ADD_NUMBERS, "qualifiedNumbers"),
        (TEXT_ENABLE_NUMBERS, "hostingOrderId"),
        (TEXT_ENABLE_TOLL_FREE_NUMBERS, "hostingOrderId"),
    ],
)
def test_a_200_without_its_required_field(operation: Operation[Any], field: str) -> None:
    """A 200 that lacks its required field is an InvalidResponseError that says so."""
    bodies: list[dict[str, object]] = [{}, {"unknown": 1}, {field: None}, {field: ""}]
    for body in bodies:
        with pytest.raises(InvalidResponseError, match=f"lacks its {field}"):
            read_model(operation, answer(body))


def test_an_empty_listing_is_valid() -> None:
    """A listing may have no field at all, and an addition no number."""
    assert read_model(LIST_NUMBERS, answer({})) == ListQualifiedNumbersResponse()
    assert read_model(ADD_NUMBERS, answer({"qualifiedNumbers": []})).qualified_numbers == []


@pytest.mark.parametrize(
    "body",
    [b"", b" \r\n", b"{}", b'{"unknown": 1}', b"null", b'""', b"[]", b"OK", b"12", b"{", b"\xff"],
)
@pytest.mark.parametrize("status", [200, 202, 204])
def test_a_deletion_has_no_body(body: bytes, status: int) -> None:
    """The 2xx of a deletion is a success whatever its body, except an error or a web page."""
    deleted: Any = read_model(DELETE_NUMBER, answer(body, status))
    assert deleted is None


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"null", b"[]", b'"text"', b"12", b"true", b"NaN", b"{", b"\xff"]
)
@pytest.mark.parametrize("operation", EACH_KIND, ids=lambda operation: operation.id)
def test_a_body_that_is_not_an_object(operation: Operation[Any], body: bytes) -> None:
    """A 2xx whose body is not a JSON object is an InvalidResponseError, except for a DELETE."""
    if operation.response_model is type(None) and body != b"<html>":
        return
    with pytest.raises(InvalidResponseError, match="expected a JSON object, not"):
        read_model(operation, answer(body))


# ---- Retry-After -------------------------------------------------------------------------------

DATE = "Wed, 21 Oct 2015 07:28:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": " 7 "}, 7.0),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT", "Date": DATE}, 30.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:27:30 GMT", "Date": DATE}, 0.0),
        ({"Retry-After": DATE}, 0.0),
        ({"Retry-After": "9" * 400}, 315_360_000.0),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, 315_360_000.0),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "292.052"}, 292.052),
        ({"Retry-After": "1."}, 1.0),
        ({"Retry-After": "1.5.2"}, None),
        ({"Retry-After": "1e3"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "Wed, 99 Oct 2015 07:28:30 GMT"}, None),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:30 -0000", "Date": DATE}, 30.0),
        ({"Retry-After": DATE, "Date": "yesterday"}, 0.0),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT", "Date": "yesterday"}, 315_360_000.0),
        ({"Retry-After": "7", "Date": "yesterday"}, 7.0),
    ],
)
def test_retry_after_is_read_in_both_forms(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, or a date relative to `Date`: never negative and bounded; otherwise None."""
    before = datetime.now(UTC)
    error = status_error(Response(429, headers, b""))
    assert error.retry_after == seconds
    if seconds is None:
        assert error.retry_at is None
    else:
        assert error.retry_at is not None
        assert error.retry_at.tzinfo is UTC
        asked = timedelta(seconds=seconds)
        assert before + asked <= error.retry_at <= datetime.now(UTC) + asked


@given(value=st.text(max_size=40), date=st.none() | st.text(max_size=40))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_no_retry_after_breaks_the_error(value: str, date: str | None) -> None:
    """Whatever the headers, there is an error with a reasonable `retry_after` or none."""
    headers = {"Retry-After": value} | ({} if date is None else {"Date": date})
    error = status_error(Response(503, headers, b""))
    assert error.retry_after is None or 0 <= error.retry_after <= 315_360_000


# ---- any answer at all -------------------------------------------------------------------------

NAMES = sorted(
    {
        field.metadata["wire"]
        for m in vars(models).values()
        if attrs.has(m)
        for field in attrs.fields(m)
    }
    | {"error", "code", "message", "status", "details", "fieldViolations", "textEnableInfo"}
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["2019-08-24T14:15:22Z", "DONE", "1", PHONE, "9" * 5000])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=12,
)
BODIES = st.binary(max_size=20) | JSON.map(orjson.dumps)
STATUSES = st.sampled_from([200, 200, 200, 201, 204, 302, 400, 401, 404, 408, 409, 429, 500, 503])

ORDER = TextEnableNumbersRequest(
    region_code="US",
    numbers=[PHONE],
    service_plan_id="plan",
    blanket_loa_info=BlanketLoaInfo(),
    scheduled_osr_update_time=datetime(2023, 1, 13, tzinfo=UTC),
)
TOLL_FREE = decode(
    {
        "regionCode": "US",
        "numbers": ["+18335870229"],
        "servicePlanId": "plan",
        "directLoaInfo": DIRECT_JSON,
    },
    models.TextEnableTollFreeNumbersRequest,
)


IMPORT_ORDER = ImportNumbersRequest(region_code="US", numbers=[PHONE], service_plan_id="plan")
IMPORT = ImportNumberRequest(
    phone_number=PHONE, region_code="US", sms_configuration=SmsConfiguration(campaign_id="C1")
)


async def list_all(client: QualifiedNumbersClient) -> object:
    """Return all the numbers in one state."""
    return [number async for number in client.list_numbers(GlobalProcessState.VERIFIED)]


async def list_orders(client: QualifiedNumbersClient) -> object:
    """Return all the orders in one state."""
    listing = client.hosting_orders.list(
        "COMPLETED", type="IMPORT", service_plan_id="plan", campaign_id="C1"
    )
    return [order async for order in listing]


async def list_order_numbers(client: QualifiedNumbersClient) -> object:
    """Return all the numbers of an order."""
    return [number async for number in client.hosting_orders.list_numbers("1")]


async def list_imported(client: QualifiedNumbersClient) -> object:
    """Return all the numbers of a campaign."""
    listing = client.imported_numbers.list(service_plan_id="plan", campaign_id="C1")
    return [number async for number in listing]


CALLS: dict[str, Callable[[QualifiedNumbersClient], Awaitable[object]]] = {
    "listQualifiedNumbers": list_all,
    "getQualifiedNumber": lambda client: client.get_number(PHONE),
    "deleteQualifiedNumber": lambda client: client.delete_number(PHONE),
    "addQualifiedNumbers": lambda client: client.add_numbers([PHONE]),
    "textEnableNumbers": lambda client: client.text_enable_numbers(ORDER),
    "textEnableTollFreeNumbers": lambda client: client.text_enable_toll_free_numbers(TOLL_FREE),
    "sendVoiceChallenge": lambda client: client.send_voice_challenge(PHONE),
    "verifyVoiceChallenge": lambda client: client.verify_voice_challenge(PHONE, "0123"),
    "listHostingOrders": list_orders,
    "getHostingOrder": lambda client: client.hosting_orders.get("1"),
    "getHostingOrderReport": lambda client: client.hosting_orders.report("1"),
    "listHostingOrderNumbers": list_order_numbers,
    "getHostingOrderNumber": lambda client: client.hosting_orders.get_number("1", PHONE),
    "createImportOrder": lambda client: client.hosting_orders.import_numbers(IMPORT_ORDER),
    "createTextEnableOrder": lambda client: client.hosting_orders.text_enable_numbers(ORDER),
    "createTollFreeTextEnableOrder": lambda client: (
        client.hosting_orders.text_enable_toll_free_numbers(TOLL_FREE)
    ),
    "listImportedNumbers": list_imported,
    "importNumber": lambda client: client.imported_numbers.import_number(IMPORT),
    "getImportedNumber": lambda client: client.imported_numbers.get(PHONE),
    "updateImportedNumber": lambda client: client.imported_numbers.update(PHONE, campaign_id=""),
    "deleteImportedNumber": lambda client: client.imported_numbers.delete(PHONE),
    "getCallbackConfiguration": lambda client: client.callback_configuration.get(),
    "updateCallbackConfiguration": lambda client: client.callback_configuration.update("secret"),
}


async def call_with_response(operation_id: str, response: Response) -> object:
    """Carry out one operation whose responses are all *response*; return its result or error."""
    client = QualifiedNumbersClient(
        "project", BasicAuth("key", "secret"), retry=RetryPolicy(max_attempts=1)
    )

    async def send(*_: object) -> Response:
        return response

    client._pipeline._transport.send = send  # type: ignore[method-assign, assignment]
    async with client:
        try:
            return await CALLS[operation_id](client)
        except SinchError as error:
            return error


def test_every_operation_is_fuzzed() -> None:
    """The fuzzing below includes every operation."""
    assert set(CALLS) == {operation.id for operation in OPERATIONS}


@pytest.mark.parametrize("operation", EACH_KIND, ids=lambda operation: operation.id)
@given(body=BODIES, status=STATUSES)
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
def test_any_response_gives_a_result_or_one_sinch_error(
    operation: Operation[Any], body: bytes, status: int
) -> None:
    """Any body, well-formed or not, gives a result or one SinchError with a printable text."""
    result = asyncio.run(call_with_response(operation.id, Response(status, {}, body)))
    if isinstance(result, SinchError):
        assert str(result).isprintable()
        assert pickle.loads(pickle.dumps(result)).args == result.args  # noqa: S301
    else:
        assert 200 <= status < 300


@pytest.mark.parametrize("operation", [GET_NUMBER, SEND_VOICE_CHALLENGE, VERIFY_VOICE_CHALLENGE])
def test_another_numbers_response_is_an_error(operation: Operation[Any]) -> None:
    """It does not say what has become of this number: UNKNOWN. The message shows neither number."""
    other = "+12025550199"
    with pytest.raises(InvalidResponseError, match="about another number") as caught:
        read_model(operation, answer({"phoneNumber": other}), PHONE)
    assert caught.value.outcome is Outcome.UNKNOWN
    assert "555" not in str(caught.value)


@pytest.mark.parametrize("written", [PHONE, PHONE[1:], int(PHONE), "+1 202-555-0134"])
def test_the_same_number_may_be_written_otherwise(written: object) -> None:
    """A number without its plus, or as a JSON number, is not another one."""
    assert read_model(SEND_VOICE_CHALLENGE, answer({"phoneNumber": written}), PHONE) is not None
