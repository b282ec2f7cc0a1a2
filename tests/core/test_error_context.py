"""What an error says of its call: operation, number, response; enough for a support ticket."""

from __future__ import annotations

import asyncio
import html
import json
import pickle
from typing import Any

import pytest

from sinch_qn._error_context import add_context, add_response
from sinch_qn._headers import Headers, kept_headers
from sinch_qn._http import Response
from sinch_qn._operations import (
    GET_CALLBACK_CONFIGURATION,
    GET_NUMBER,
    LIST_NUMBERS,
    SEND_VOICE_CHALLENGE,
)
from sinch_qn._raw import raw_request
from sinch_qn.auth import OAuth2
from sinch_qn.errors import (
    DeadlineExceededError,
    NotFoundError,
    SinchError,
    StatusError,
    TokenError,
    TransportError,
)
from tests.core.test_pipeline import (
    NUMBER,
    TOKEN_URL,
    ScriptedTransport,
    answer,
    failing,
    hang,
    pipeline,
)
from tests.support.virtual_clock import virtual_clock

MASKED = "+1202•••0134"
LOST = TransportError("the connection broke")


@virtual_clock
async def test_every_error_of_a_call_names_its_operation_and_number() -> None:
    """Whatever ends a call, its error has the operationId and the number; the text masks that."""
    auth = OAuth2("key", "secret", token_url=TOKEN_URL)
    for transport, options in (
        (ScriptedTransport(answer(404, {"message": f"{NUMBER} is not known"})), {}),
        (ScriptedTransport(LOST), {}),
        (ScriptedTransport(hang), {"timeout": 1.0}),
        (ScriptedTransport(answer(503)), {"auth": auth, "timeout": 1.0}),
        (ScriptedTransport(Response(200, {}, b"<html>")), {}),
    ):
        error = await failing(pipeline(transport, **options), SEND_VOICE_CHALLENGE)
        assert (error.operation, error.phone_number) == ("sendVoiceChallenge", NUMBER)
        assert str(error).endswith(f"(sendVoiceChallenge, {MASKED})")
        assert NUMBER not in f"{error} {error!r} {error.message} {error.reason}"


async def test_an_error_without_a_number_names_the_operation() -> None:
    """A listing is about no number."""
    error = await failing(pipeline(ScriptedTransport(answer(404))), LIST_NUMBERS)
    assert (error.operation, error.phone_number) == ("listQualifiedNumbers", None)
    assert str(error) == "HTTP 404: Not Found (listQualifiedNumbers)"
    assert error.reason == "HTTP 404: Not Found"


async def test_an_error_has_its_response() -> None:
    """Headers, request id and body are those of the response; the text has the request id."""
    response = Response(
        409, {"X-Request-Id": "7f3a", "Set-Cookie": "session=1"}, b'{"message": "taken"}'
    )
    error = await failing(pipeline(ScriptedTransport(response)), GET_NUMBER)
    assert error.request_id == error.headers["x-request-id"] == error.headers["X-REQUEST-ID"]
    assert error.headers == {"x-request-id": "7f3a", "set-cookie": "•••"}
    assert error.body == '{"message": "taken"}'
    assert str(error) == f"HTTP 409: taken (getQualifiedNumber, {MASKED}, request 7f3a)"
    back = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (vars(back), str(back)) == (vars(error), str(error))
    assert back.headers["X-Request-Id"] == "7f3a"


@pytest.mark.parametrize("status", [200, 400, 503])
async def test_a_body_that_may_hold_the_secret_of_callbacks_is_not_kept(status: int) -> None:
    """An unreadable response of the callback configuration shows its secret in no error."""
    body = b'{"hmacSecret": "hmac-canary", "message": '
    transport = ScriptedTransport(Response(status, {"X-Request-Id": "7"}, body))
    to = pipeline(transport, retry=lambda _: None)
    errors = [await failing(to, GET_CALLBACK_CONFIGURATION)]
    if status != 200:  # a raw 200 is returned as it came
        raw = raw_request(
            "GET", "/callbackConfiguration", query=None, json=None, headers=None, idempotent=None
        )
        with pytest.raises(SinchError) as caught:
            await to.call_path(raw)
        errors.append(caught.value)
    for error in errors:
        assert (error.request_id, error.body) == ("7", "")
        assert "hmac-canary" not in f"{error} {vars(error)}"


async def test_the_response_of_the_last_attempt_is_kept() -> None:
    """An error without a response has none of an earlier attempt."""
    steps = (answer(503, x_request_id="first"), LOST)
    error = await failing(pipeline(ScriptedTransport(*steps), retry=one_retry), GET_NUMBER)
    assert (error.attempts, error.request_id, error.headers, error.body) == (2, None, {}, "")


def one_retry(failure: Any) -> float | None:
    """Retry once, at once."""
    return 0.0 if failure.attempt == 1 else None


async def test_the_token_endpoint_s_request_id_is_kept_and_its_body_is_not() -> None:
    """A TokenError has the request id of the token endpoint, and nothing that it echoes."""
    echo = Response(500, {"X-Request-Id": "t1", "X-Echo": "Basic a2V5OnNlY3JldA== secret"}, b"body")
    auth = OAuth2("key", "secret", token_url=TOKEN_URL)
    to = pipeline(ScriptedTransport(echo), auth=auth, retry=lambda _: None)
    error = await failing(to, GET_NUMBER)
    assert isinstance(error, TokenError)
    assert (error.request_id, error.body) == ("t1", "")
    assert error.headers["X-Echo"] == "Basic ••• •••"


@pytest.mark.parametrize("start", [0, 500, 1000, 1015, 1023])
@pytest.mark.parametrize("secret", ["Jürgen Ott", "a-secret-of-more-than-twelve", '"quoted"'])
def test_a_secret_at_the_end_of_the_first_kib_is_redacted(start: int, secret: str) -> None:
    """No part of a secret is kept, wherever in the body it stands, raw or escaped twice."""
    once = json.dumps(secret)[1:-1]
    for form in (secret, once, json.dumps(once)[1:-1], html.escape(secret)):
        error = StatusError("no", status_code=400)
        body = " " * start + form + " " * 2000
        add_response(error, Response(400, {}, body.encode()), [secret])
        assert error.body.strip() == "•••"[: 1024 - start]
        assert len(error.body) == 1024


def test_headers_are_bounded_and_printable() -> None:
    """At most 100 headers of at most 1,024 printable characters are kept."""
    many = {f"X-{i}": "\x1b[31m" + "v" * 5000 for i in range(500)}
    kept = kept_headers(many)
    assert len(kept) == 100
    assert all(value.isprintable() and len(value) == 1024 for value in kept.values())
    headers = Headers({"a": "1"})
    assert ("A" in headers, "b" in headers) == (True, False)
    assert (headers.get("A"), headers.get("b"), headers.get("b", "2")) == ("1", None, "2")


def test_a_request_id_cannot_forge_a_line() -> None:
    """The server's id is cut and made printable in the error's text."""
    error = NotFoundError("no", status_code=404)
    error.request_id = "x\r\nERROR forged" + "y" * 1000
    assert str(error).isprintable()
    assert len(str(error)) < 200


def test_the_number_is_masked_in_what_the_server_says_of_a_field() -> None:
    """The details keep the number; the text that is made of them masks it."""
    details = [{"fieldViolations": [{"field": "phoneNumber", "description": f"{NUMBER}: no"}]}]
    error = StatusError("no", status_code=400, details=details)
    add_context(error, "getQualifiedNumber", NUMBER)
    assert str(error) == f"HTTP 400: no: phoneNumber: {MASKED}: no (getQualifiedNumber, {MASKED})"
    assert error.details == details


async def test_errors_of_a_task_group_are_caught_by_their_class() -> None:
    """`except*` sorts the errors of concurrent calls by class."""
    lost, gone = ScriptedTransport(LOST), ScriptedTransport(answer(404))
    caught: list[SinchError] = []
    try:
        async with asyncio.TaskGroup() as group:
            for transport in (lost, gone):
                to = pipeline(transport)
                group.create_task(to.call(SEND_VOICE_CHALLENGE, phone_number=NUMBER))
    except* NotFoundError as group_of:
        caught += [each for each in group_of.exceptions if isinstance(each, NotFoundError)]
    except* SinchError as group_of:
        caught += [each for each in group_of.exceptions if isinstance(each, SinchError)]
    assert {type(each) for each in caught} == {NotFoundError, TransportError}
    assert {each.operation for each in caught} == {"sendVoiceChallenge"}


@virtual_clock
async def test_a_deadline_s_error_names_the_operation() -> None:
    """An expired deadline is no error of an attempt, but has the same context."""
    error = await failing(pipeline(ScriptedTransport(hang), timeout=2.0), GET_NUMBER)
    assert isinstance(error, DeadlineExceededError)
    assert (error.operation, error.phone_number) == ("getQualifiedNumber", NUMBER)
