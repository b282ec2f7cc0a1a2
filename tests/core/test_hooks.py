"""Hooks: what they see of a call, what they may change, and that they disturb nothing."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from sinch_qn import CallInfo, Hooks, RequestInfo, ResponseInfo
from sinch_qn._http import Response
from sinch_qn._operations import DELETE_NUMBER, GET_NUMBER, SEND_VOICE_CHALLENGE
from sinch_qn._pipeline import Pipeline
from sinch_qn.auth import BasicAuth, OAuth2
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.errors import InvalidRequestError, NotFoundError, Outcome, SinchError, TokenError
from sinch_qn.sandbox import Sandbox
from tests.core.test_pipeline import (
    NUMBER,
    OK,
    ROOT,
    TOKEN_URL,
    ScriptedTransport,
    Tokens,
    answer,
    call,
    failing,
    hang,
)
from tests.support.cancellation import cancelled_at
from tests.support.virtual_clock import virtual_clock


class Recording(Hooks):
    """Records what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.calls: set[int] = set()

    def on_request(self, request: RequestInfo) -> None:
        """Record the request."""
        self.calls.add(id(request.call))
        self.told.append(("request", request.attempt, request.method, request.url_template))

    def on_response(self, request: RequestInfo, response: ResponseInfo, seconds: float) -> None:
        """Record the response."""
        self.told.append(("response", request.attempt, response.status_code, seconds))

    def on_retry(self, request: RequestInfo, error: SinchError, delay: float) -> None:
        """Record the retry."""
        self.told.append(("retry", request.attempt, type(error).__name__, delay))

    def on_call_end(self, call: CallInfo) -> None:
        """Record the end."""
        self.calls.add(id(call))
        error = type(call.error).__name__ if call.error else None
        self.told.append(("end", call.operation, call.attempts, call.seconds, call.outcome, error))
        self.last = call


class Broken(Hooks):
    """Raises wherever it is called."""

    def on_request(self, request: RequestInfo) -> None:
        """Raise."""
        raise RuntimeError(request)

    def on_response(self, request: RequestInfo, response: ResponseInfo, seconds: float) -> None:
        """Raise."""
        raise ValueError(request, response, seconds)

    def on_retry(self, request: RequestInfo, error: SinchError, delay: float) -> None:
        """Raise."""
        raise KeyError(request, error, delay)

    def on_call_end(self, call: CallInfo) -> None:
        """Raise."""
        raise NotFoundError(call.operation, status_code=404)


def hooked(transport: ScriptedTransport, *hooks: Hooks, **options: Any) -> Pipeline:
    """Return a pipeline over *transport* that has *hooks*."""
    return Pipeline(
        **{
            "root": ROOT,
            "auth": BasicAuth("key", "secret"),
            "transport": transport,
            "timeout": 60.0,
            "retry": lambda _: 2.0,
            "hooks": hooks,
            **options,
        }
    )


@virtual_clock
async def test_a_call_is_told_from_its_first_request_to_its_end() -> None:
    """Hooks see each attempt, each wait and the end, with the path template."""
    hook = Recording()
    await call(hooked(ScriptedTransport(answer(503), OK), hook), GET_NUMBER)
    assert hook.told == [
        ("request", 1, "GET", "/qualifiedNumbers/{phoneNumber}"),
        ("response", 1, 503, 0.0),
        ("retry", 1, "ServerError", 2.0),
        ("request", 2, "GET", "/qualifiedNumbers/{phoneNumber}"),
        ("response", 2, 200, 0.0),
        ("end", "getQualifiedNumber", 2, 2.0, None, None),
    ]
    assert len(hook.calls) == 1
    assert (hook.last.project_id, hook.last.phone_number) == ("p", "+1202•••0134")


@virtual_clock
async def test_every_end_is_told() -> None:
    """An error, a deadline, a missing token, a cancellation: each call has one end."""
    for transport, options, operation, outcome, error in (
        (ScriptedTransport(answer(404)), {}, GET_NUMBER, Outcome.REJECTED, "NotFoundError"),
        (
            ScriptedTransport(hang),
            {"timeout": 1.0},
            SEND_VOICE_CHALLENGE,
            Outcome.UNKNOWN,
            "DeadlineExceededError",
        ),
    ):
        hook = Recording()
        await failing(hooked(transport, hook, **options), operation)
        assert hook.told[-1][-2:] == (outcome, error)
        assert [each[0] for each in hook.told].count("end") == 1
        assert hook.last.error is None, "the error's traceback holds the call"


@virtual_clock
async def test_a_call_without_a_token_has_no_request() -> None:
    """A failed token request is a retry and an end, but no request of the call."""
    hook, auth = Recording(), OAuth2("key", "secret", token_url=TOKEN_URL)
    to = hooked(ScriptedTransport(answer(500)), hook, auth=auth, timeout=5.0)
    assert isinstance(await failing(to, GET_NUMBER), TokenError)
    assert [each[0] for each in hook.told] == ["retry", "end"]


@virtual_clock
async def test_a_fresh_token_is_a_retry() -> None:
    """The second attempt after a 401 is told as a retry without delay."""
    hook = Recording()
    await call(hooked(ScriptedTransport(answer(401), OK), hook, auth=Tokens()), GET_NUMBER)
    assert ("retry", 1, "AuthenticationError", 0.0) in hook.told


@virtual_clock
async def test_a_cancelled_call_has_an_end() -> None:
    """A cancellation ends a call; its outcome says whether the request may have been sent."""
    outcomes = []
    for k in (1, 2):
        hook = Recording()
        to = hooked(ScriptedTransport(hang), hook, auth=Tokens())
        await cancelled_at(call(to, SEND_VOICE_CHALLENGE), k)
        (end,) = [each for each in hook.told if each[0] == "end"]
        outcomes.append((end[-2], end[-1]))
    assert outcomes == [
        (Outcome.NOT_SENT, "CancelledError"),
        (Outcome.UNKNOWN, "CancelledError"),
    ]


@virtual_clock
async def test_a_hook_that_raises_disturbs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The call succeeds, the next hook is told, and each failure is logged once."""
    hook = Recording()
    to = hooked(ScriptedTransport(answer(503), OK), Broken(), hook)
    assert (await call(to, GET_NUMBER)).phone_number == NUMBER
    assert len(hook.told) == 6
    failed = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
    assert [text.split()[2] for text in failed] == [
        "Broken.on_request",
        "Broken.on_response",
        "Broken.on_retry",
        "Broken.on_request",
        "Broken.on_response",
        "Broken.on_call_end",
    ]


class Adding(Hooks):
    """Sets a header."""

    def __init__(self, name: str, value: str = "forged") -> None:
        self.name, self.value = name, value
        self.seen: dict[str, str] = {}

    def on_request(self, request: RequestInfo) -> None:
        """Set it, and record all."""
        request.headers[self.name] = self.value
        self.seen = dict(request.headers)


async def test_a_hook_adds_headers() -> None:
    """A header of a hook is sent with every attempt; the token is not shown to it."""
    transport, hook = ScriptedTransport(answer(503), OK), Adding("x-trace", "7")
    await call(hooked(transport, hook, retry=lambda _: 0.0), GET_NUMBER)
    assert [request.headers["X-Trace"] for request in transport.sent] == ["7", "7"]
    assert hook.seen == {"authorization": "•••", "x-trace": "7"}
    assert transport.sent[0].headers["Authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "forged") for name in ("Authorization", "HOST", "content-length", "Cookie")),
        ("Transfer-Encoding", "chunked"),
        ("X-A\r\nHost", "b"),
        ("X-A", "b\r\nHost: c"),
        ("X-A", "\x00"),
        ("", "b"),
    ],
)
async def test_some_headers_cannot_be_set(
    name: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What authorizes, addresses or frames a request is refused with a log line."""
    transport, plain = ScriptedTransport(OK), ScriptedTransport(OK)
    await call(hooked(transport, Adding(name, value)), GET_NUMBER)
    await call(hooked(plain), GET_NUMBER)
    assert transport.sent[0].headers == plain.sent[0].headers
    (record,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert "a hook's header is left out" in record.getMessage()
    assert "forged" not in record.getMessage()
    assert record.getMessage().isprintable()


async def test_hooks_see_no_number_and_no_cookie() -> None:
    """Templates and masked values only, in everything that a hook gets."""
    seen = ""

    class Printing(Hooks):
        def on_response(self, request: RequestInfo, response: ResponseInfo, seconds: float) -> None:
            nonlocal seen
            seen += f"{request} {request.call} {dict(request.headers)} {response} {seconds}"
            seen += f"{dict(response.headers)}"

    response = Response(200, {"Set-Cookie": "canary", "X-Request-Id": "7"}, OK.body)
    await call(hooked(ScriptedTransport(response), Printing()), GET_NUMBER)
    assert "7" in seen
    assert "canary" not in seen
    assert NUMBER not in seen
    assert "Basic " not in seen


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (Recording(), "expected a list of Hooks"),
        ([Recording], "expected a list of Hooks"),
        ([print], "expected a list of Hooks"),
        (None, "expected a list of Hooks"),
    ],
)
def test_what_is_no_hook_is_refused(value: Any, problem: str) -> None:
    """A hook, a class or a function in the place of a list of hooks is refused at once."""
    with pytest.raises(InvalidRequestError, match=problem):
        QualifiedNumbersClient("p", BasicAuth("key", "secret"), hooks=value)


def test_an_async_hook_is_refused() -> None:
    """A coroutine would never be awaited."""

    class Async(Hooks):
        async def on_request(self, request: RequestInfo) -> None:  # type: ignore[override]
            """Wait."""

    with pytest.raises(InvalidRequestError, match=r"Async\.on_request is async"):
        QualifiedNumbersClient("p", BasicAuth("key", "secret"), hooks=[Async()])


async def test_the_client_tells_its_hooks(sandbox: Sandbox) -> None:
    """Typed calls, listings and resources of a client tell its hooks."""
    hook = Recording()
    sandbox.add([NUMBER])
    async with sandbox.client(hooks=[hook]) as client:
        await asyncio.gather(client.get_number(NUMBER), client.send_voice_challenge(NUMBER))
        assert [page async for page in client.list_number_pages("GLOBAL_PROCESS_STATE_VERIFIED")]
        await client.callback_configuration.get()
    ended = [each[1] for each in hook.told if each[0] == "end"]
    assert sorted(ended) == [
        "getCallbackConfiguration",
        "getQualifiedNumber",
        "listQualifiedNumbers",
        "sendVoiceChallenge",
    ]


async def test_a_repeated_delete_ends_as_a_success() -> None:
    """What is a success to the caller is one to hooks."""
    hook = Recording()
    to = hooked(ScriptedTransport(answer(503), answer(404)), hook, retry=lambda _: 0.0)
    await call(to, DELETE_NUMBER)
    assert hook.told[-1][-2:] == (None, None)
