"""Callbacks: signatures are verified over the raw bytes; events are read tolerantly."""

from __future__ import annotations

import hmac
import json
import traceback
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from sinch_qn import Outcome, SinchError, errors
from sinch_qn.errors import InvalidRequestError, StatusError, WebhookError
from sinch_qn.models import CallbackEvent, CallbackFailureCode, CallbackStatus
from sinch_qn.webhooks import MAX_SIZE, parse, sign

SECRET = "canary-webhook-secret"
CANARY = "canary-that-no-message-may-show"
EVENT: dict[str, Any] = {
    "resourceType": "HOSTING_ORDER_NUMBER",
    "eventType": "OSR_UPDATE",
    "eventId": "01gy8",
    "timestamp": "2023-06-06T07:45:27.785357Z",
    "projectId": "project",
    "resourceId": "+12345612345",
    "status": "FAILED",
    "failureCode": "INVALID_NNID",
}
BODY = json.dumps(EVENT).encode()


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    """Return the headers of a callback as Sinch sends it."""
    return {"Content-Type": "application/json", "X-Sinch-Signature": sign(body, secret)}


def event(**changes: Any) -> bytes:
    """Return the body of a callback, without fields that are None."""
    return orjson.dumps({k: v for k, v in {**EVENT, **changes}.items() if v is not None})


def test_a_signed_event_is_typed() -> None:
    """The documented example is read as an event with typed enums and time."""
    read = parse(BODY, signed(BODY), SECRET)
    assert (read.event_id, read.resource_id) == ("01gy8", "+12345612345")
    assert read.status is CallbackStatus.FAILED
    assert read.failure_code is CallbackFailureCode.INVALID_NNID
    assert read.timestamp is not None
    assert read.timestamp.isoformat() == "2023-06-06T07:45:27.785357+00:00"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Sinch-Signature": sign(BODY, SECRET)},
        {"x-sinch-signature": sign(BODY, SECRET)},
        {"X-SINCH-SIGNATURE": sign(BODY, SECRET).upper()},
        {"X-Sinch-Signature": f" {sign(BODY, SECRET)}\t"},
        CIMultiDict({"x-Sinch-signature": sign(BODY, SECRET)}),
    ],
)
def test_header_and_digits_are_case_insensitive(headers: Mapping[str, str]) -> None:
    """The signature is found in a dict or a server's headers, in upper or lower case."""
    assert parse(BODY, headers, SECRET).event_id == "01gy8"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Sinch-Signature": ""},
        {"X-Sinch-Signature": sign(BODY, "another")},
        {"X-Sinch-Signature": sign(BODY + b" ", SECRET)},
        {"X-Sinch-Signature": sign(BODY, SECRET)[:-1]},
        {"X-Sinch-Signature": sign(BODY, SECRET) + "0"},
        {"X-Sinch-Signature": "\u212a\udcff" + sign(BODY, SECRET)},
        {"X-Sinch-Signature-2": sign(BODY, SECRET)},
        {"X-Sinch-Signature": sign(BODY, SECRET), "x-sinch-signature": sign(BODY, SECRET)},
    ],
)
def test_a_wrong_signature_is_rejected(headers: dict[str, str]) -> None:
    """A signature that is missing, wrong, truncated, repeated or unprintable is rejected."""
    with pytest.raises(WebhookError, match="ignature") as caught:
        parse(BODY, headers, SECRET)
    assert sign(BODY, SECRET) not in str(caught.value)


@pytest.mark.parametrize(
    "headers",
    [
        None,
        [],
        "x-sinch-signature",
        {"x-sinch-signature": None},
        {"x-sinch-signature": [sign(BODY, SECRET)]},
        {"x-sinch-signature": sign(BODY, SECRET).encode()},
        {b"x-sinch-signature": sign(BODY, SECRET).encode()},
        [(b"x-sinch-signature", sign(BODY, SECRET).encode())],
        {None: None},
    ],
    ids=str,
)
def test_headers_of_another_shape_are_rejected(headers: Any) -> None:
    """Headers that are missing, lists or bytes, as some servers have them, are a WebhookError."""
    with pytest.raises(WebhookError, match="ignature") as caught:
        parse(BODY, headers, SECRET)
    assert sign(BODY, SECRET) not in str(caught.value)


@given(at=st.integers(0, len(BODY) - 1), bit=st.integers(0, 7))
@settings(deadline=None, derandomize=True)
def test_no_bit_can_be_changed(at: int, bit: int) -> None:
    """The signature is over the raw bytes: any changed bit invalidates it."""
    forged = bytearray(BODY)
    forged[at] ^= 1 << bit
    with pytest.raises(WebhookError, match="the signature is wrong"):
        parse(bytes(forged), signed(BODY), SECRET)


def test_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a comparison reveals nothing about the right signature."""
    compared: list[bytes] = []

    def compare(given: bytes, right: bytes) -> bool:
        compared.extend((given, right))
        return given == right

    monkeypatch.setattr(hmac, "compare_digest", compare)
    parse(BODY, signed(BODY), SECRET)
    assert compared == [sign(BODY, SECRET).encode()] * 2


def test_the_same_event_in_other_bytes_is_not_signed() -> None:
    """A body that was parsed and serialized again has another signature."""
    again = orjson.dumps(orjson.loads(BODY))
    assert again != BODY
    with pytest.raises(WebhookError, match="the signature is wrong"):
        parse(again, signed(BODY), SECRET)


def test_only_none_disables_verification() -> None:
    """Only None disables the verification; an empty secret is rejected."""
    assert parse(BODY, {}, None).event_id == "01gy8"
    assert parse(BODY, {"X-Sinch-Signature": "wrong"}, None).event_id == "01gy8"
    wrong: list[Any] = ["", b"secret", 7]
    for secret in wrong:
        with pytest.raises(InvalidRequestError, match="secret: expected text"):
            parse(BODY, signed(BODY), secret)


def test_the_raw_body_is_needed() -> None:
    """A string or a parsed body is rejected with an explanation."""
    bodies: list[Any] = [BODY.decode(), EVENT, None]
    for body in bodies:
        with pytest.raises(InvalidRequestError, match="body: expected the raw bytes"):
            parse(body, {}, SECRET)


def test_an_oversized_body_is_refused_first() -> None:
    """A body over the limit is rejected unread, signed or not; the caller can set the limit."""
    padded = BODY.ljust(MAX_SIZE)
    assert parse(padded, signed(padded), SECRET).event_id == "01gy8"
    too_large = padded + b" "
    with pytest.raises(WebhookError, match="more than 65536 bytes"):
        parse(too_large, signed(too_large), SECRET)
    assert parse(too_large, signed(too_large), SECRET, max_size=100_000).event_id == "01gy8"
    with pytest.raises(WebhookError, match="more than 10 bytes"):
        parse(BODY, signed(BODY), SECRET, max_size=10)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "not JSON"),
        (b"<html>" + CANARY.encode(), "not JSON"),
        (b"\xff\xfe" + CANARY.encode(), "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"eventId": "' + CANARY.encode(), "not JSON"),
        (b"[]", "expected a CallbackEvent object, not list"),
        (b"null", "not null"),
        (b'"' + CANARY.encode() + b'"', "not str"),
        (b"{}", "no eventId"),
        (event(eventId=None), "no eventId"),
        (event(eventId=""), "no eventId"),
        (event(eventId=[CANARY]), "no eventId"),
    ],
)
def test_an_unreadable_body_is_rejected_and_not_shown(body: bytes, problem: str) -> None:
    """An unreadable body, signed or not, is one error that names the field, not the value."""
    with pytest.raises(WebhookError, match=problem) as caught:
        parse(body, signed(body), SECRET, max_size=1_000_000)
    shown = "".join(traceback.TracebackException.from_exception(caught.value).format())
    assert CANARY not in shown + repr(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_unknown_fields_and_values() -> None:
    """Unknown fields are ignored, unknown values kept; only the id is required."""
    read = parse(event(status="PENDING", eventType="MOON", more={"a": [1]}), {}, None)
    assert (str(read.status), str(read.event_type)) == ("PENDING", "MOON")
    assert parse(b'{"eventId": "1"}', {}, None) == CallbackEvent(event_id="1")


@pytest.mark.parametrize("field", ["timestamp", "status", "resourceId"])
def test_an_unreadable_field_does_not_lose_the_event(field: str) -> None:
    """A field that cannot be read is None: an event with an id is an event."""
    read = parse(event(**{field: {CANARY: CANARY}}), {}, None)
    name = {"resourceId": "resource_id"}.get(field, field)
    assert (read.event_id, getattr(read, name)) == ("01gy8", None)


@pytest.mark.parametrize(
    ("came", "read"),
    [("+12345612345", "+12345612345"), (12345612345, "12345612345"), ("01HZK", "01HZK")],
)
def test_a_resource_is_a_number_an_order_or_a_brand(came: object, read: str) -> None:
    """The resource's id may be a phone number, as text or digits, or the id of something else."""
    assert parse(event(resourceId=came), {}, None).resource_id == read


@given(
    body=st.binary(max_size=60)
    | st.builds(
        orjson.dumps,
        st.dictionaries(
            st.sampled_from(sorted(EVENT)), st.none() | st.integers(0, 99) | st.text(max_size=9)
        ),
    )
)
@settings(deadline=None, derandomize=True, max_examples=300)
def test_any_body_gives_an_event_or_a_webhook_error(body: bytes) -> None:
    """Any signed body gives an event with an id or a WebhookError."""
    try:
        read = parse(body, signed(body), SECRET)
    except WebhookError as refused:
        text = str(refused)
    else:
        text = read.event_id or ""
    assert text


def test_a_webhook_error_has_no_status() -> None:
    """A rejected callback is a SinchError, NOT_SENT, without a status."""
    assert issubclass(WebhookError, SinchError)
    assert not issubclass(WebhookError, StatusError)
    assert errors.WebhookError("x").outcome is Outcome.NOT_SENT
