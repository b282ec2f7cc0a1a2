"""One call: which requests are retried, one deadline, one fresh token after a 401."""

from __future__ import annotations

import asyncio
import copy
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import attrs
import orjson
import pytest

from sinch_qn import QualifiedNumbersClient, RateLimit, errors
from sinch_qn._connections import Progress
from sinch_qn._http import Request, Response
from sinch_qn._operations import (
    ADD_NUMBERS,
    DELETE_NUMBER,
    GET_NUMBER,
    GET_ORDER,
    LIST_NUMBERS,
    OPERATIONS,
    SEND_VOICE_CHALLENGE,
    Operation,
)
from sinch_qn._pipeline import Pipeline
from sinch_qn._transport import Transport
from sinch_qn.auth import Auth, BasicAuth, OAuth2, Send
from sinch_qn.errors import (
    AuthenticationError,
    ConnectError,
    DeadlineExceededError,
    InvalidRequestError,
    InvalidResponseError,
    NotFoundError,
    Outcome,
    RateLimitError,
    ServerError,
    SinchError,
    TokenError,
    TransportError,
)
from sinch_qn.models import AddNumbersRequest, QualifiedNumber
from sinch_qn.retry import ONE_SHOT, Failure, RetryPolicy, RetryQuota, RetryRule
from tests.support.cancellation import cancelled_at
from tests.support.matrices import EACH_KIND
from tests.support.virtual_clock import virtual_clock

ROOT = "https://api.example/v1/projects/p"
TOKEN_URL = "https://auth.example/token"
NUMBER = "+12025550134"

IDS: dict[str, Any] = {"phoneNumber": NUMBER, "hostingOrderId": "order-1", "qualifiedNumbers": []}
LISTINGS = [operation for operation in OPERATIONS if operation.id.startswith("list")]
IDEMPOTENT = [operation for operation in EACH_KIND if operation.idempotent]
NON_IDEMPOTENT = [operation for operation in EACH_KIND if not operation.idempotent]


def answer(status: int = 200, body: object = None, **headers: str) -> Response:
    """Return a response; `retry_after=` stands for the header `Retry-After`."""
    named = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return Response(status, named, b"" if body is None else orjson.dumps(body))


def success(operation: Operation[Any]) -> Response:
    """Return a valid response to *operation*."""
    if operation.response_model is type(None):
        return answer(200)
    field = operation.required_field
    return answer(200, {} if field is None else {field: IDS[field]})


OK = success(GET_NUMBER)

Step = Response | SinchError | Callable[[Progress], Awaitable[Response]]


class ScriptedTransport(Transport):
    """Takes one step of its script for each request; the last step repeats."""

    def __init__(self, *steps: Step) -> None:
        super().__init__()
        self.steps = steps
        self.sent: list[Request] = []
        self.times: list[float] = []
        self.closed = False

    async def send(self, request: Request, progress: Progress | None = None) -> Response:
        """Record the request and run the next step."""
        self.times.append(asyncio.get_running_loop().time())
        # A retry is the same request with another token.
        self.sent.append(attrs.evolve(request, headers=dict(request.headers)))
        assert len(self.sent) < 10_000, "endless loop"
        step = self.steps[min(len(self.sent), len(self.steps)) - 1]
        if isinstance(step, Response):
            return step
        if isinstance(step, SinchError):
            raise copy.copy(step)
        return await step(progress or Progress())

    async def open_ahead(self, url: str) -> None:
        """Open no connection."""

    async def close(self) -> None:
        """Record it."""
        self.closed = True


class Tokens:
    """Provides `Bearer 1`, `Bearer 2` … : each until it is invalidated."""

    def __init__(self, *, delay: float = 0.0) -> None:
        self.number = 1
        self.delay = delay
        self.closed = False

    async def authorize(self, send: Send) -> str:  # noqa: ARG002 - the protocol's
        """Return the current header."""
        await asyncio.sleep(self.delay)
        return f"Bearer {self.number}"

    def invalidate(self, authorization: str) -> bool:
        """Advance to the next, by value."""
        if authorization == f"Bearer {self.number}":
            self.number += 1
        return True

    async def close(self) -> None:
        """Record it."""
        self.closed = True


def pipeline(
    transport: Transport,
    *,
    auth: Auth | None = None,
    timeout: float = 600.0,
    retry: RetryRule | None = None,
    rate_limit: RateLimit | None = None,
    quota: RetryQuota | None = None,
) -> Pipeline:
    """Return a pipeline over *transport*."""
    return Pipeline(
        root=ROOT,
        auth=auth or BasicAuth("key", "secret"),
        transport=transport,
        timeout=timeout,
        retry=retry or RetryPolicy(),
        rate_limit=rate_limit,
        quota=quota,
    )


async def call(
    to: Pipeline,
    operation: Operation[Any],
    *,
    timeout: float | None = None,
    retry: RetryRule | None = None,
) -> Any:
    """Carry out any of the operations."""
    order_id = "order-1" if "{hostingOrderId}" in operation.path else None
    if operation in LISTINGS:
        return await to.call_raw(
            operation, order_id=order_id, query={"states": "x"}, timeout=timeout, retry=retry
        )
    return await to.call(
        operation,
        phone_number=NUMBER if "{phoneNumber}" in operation.path else None,
        order_id=order_id,
        timeout=timeout,
        retry=retry,
    )


async def failing(to: Pipeline, operation: Operation[Any], **options: Any) -> SinchError:
    """Return the error that the call raises."""
    with pytest.raises(SinchError) as caught:
        await call(to, operation, **options)
    return caught.value


async def hang(progress: Progress) -> Response:
    """Take the request and never respond."""
    progress.connection_acquired = True
    progress.stage = "the response"
    future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
    return await future


async def never_connect(progress: Progress) -> Response:
    """Never get a connection from the pool."""
    progress.stage = "a free connection"
    future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
    return await future


# ---- retry rules -------------------------------------------------------------------------------


class Fault(NamedTuple):
    """One kind of failure, with its error, outcome and numbers of attempts."""

    step: Step
    error: type[SinchError]
    outcome: Outcome
    idempotent_attempts: int
    other_attempts: int


FAULTS = {
    "refused": Fault(ConnectError("refused"), ConnectError, Outcome.NOT_SENT, 4, 4),
    "broken": Fault(TransportError("reset"), TransportError, Outcome.UNKNOWN, 4, 1),
    "not HTTP": Fault(InvalidResponseError("?"), InvalidResponseError, Outcome.UNKNOWN, 1, 1),
    "redirect": Fault(answer(302), InvalidResponseError, Outcome.UNKNOWN, 1, 1),
    "not JSON": Fault(Response(200, {}, b"<html>"), InvalidResponseError, Outcome.UNKNOWN, 1, 1),
    "error in a 200": Fault(
        answer(200, {"error": {"message": "no"}}), InvalidResponseError, Outcome.UNKNOWN, 1, 1
    ),
    "400": Fault(answer(400), errors.BadRequestError, Outcome.REJECTED, 1, 1),
    "401": Fault(answer(401), AuthenticationError, Outcome.REJECTED, 1, 1),
    "403": Fault(answer(403), errors.PermissionDeniedError, Outcome.REJECTED, 1, 1),
    "404": Fault(answer(404), NotFoundError, Outcome.REJECTED, 1, 1),
    "408": Fault(answer(408), errors.StatusError, Outcome.UNKNOWN, 4, 1),
    "409": Fault(answer(409), errors.ConflictError, Outcome.REJECTED, 1, 1),
    "418": Fault(answer(418), errors.StatusError, Outcome.REJECTED, 1, 1),
    "429": Fault(answer(429), RateLimitError, Outcome.REJECTED, 4, 4),
    "429, wait": Fault(answer(429, retry_after="7"), RateLimitError, Outcome.REJECTED, 4, 4),
    "500": Fault(answer(500), ServerError, Outcome.UNKNOWN, 4, 1),
    "503": Fault(answer(503, retry_after="7"), ServerError, Outcome.UNKNOWN, 4, 1),
}


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("operation", EACH_KIND, ids=lambda operation: str(operation.id))
@virtual_clock
async def test_retry_rules(operation: Operation[Any], kind: str) -> None:
    """The number of attempts depends on the operation's idempotence and the failure's outcome."""
    fault = FAULTS[kind]
    transport = ScriptedTransport(fault.step)
    error = await failing(pipeline(transport), operation)
    tries = fault.idempotent_attempts if operation.idempotent else fault.other_attempts
    assert type(error) is fault.error
    assert error.outcome is fault.outcome
    assert len(transport.sent) == tries
    assert error.attempts == tries


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("operation", NON_IDEMPOTENT, ids=lambda operation: str(operation.id))
@virtual_clock
async def test_no_policy_overrides_safety(operation: Operation[Any], kind: str) -> None:
    """A custom retry rule cannot retry a request that may have succeeded or was rejected."""
    fault = FAULTS[kind]
    shown: list[Failure] = []

    def stubborn(failure: Failure) -> float | None:
        shown.append(failure)
        return 0.0 if len(shown) < 9 else None

    transport = ScriptedTransport(fault.step)
    await failing(pipeline(transport, retry=stubborn), operation)
    assert len(transport.sent) == (9 if fault.other_attempts > 1 else 1)
    assert len(shown) == (9 if fault.other_attempts > 1 else 0)


@pytest.mark.parametrize("operation", EACH_KIND, ids=lambda operation: str(operation.id))
@pytest.mark.parametrize("step", [ConnectError("refused"), answer(429)], ids=["refused", "429"])
@virtual_clock
async def test_a_request_without_effect_is_retried(operation: Operation[Any], step: Step) -> None:
    """After a failure without effect each operation is retried, and can succeed."""
    transport = ScriptedTransport(step, step, step, success(operation))
    await call(pipeline(transport), operation)
    assert len(transport.sent) == 4


@pytest.mark.parametrize("kind", ["refused", "broken", "429", "503"])
@pytest.mark.parametrize("operation", EACH_KIND, ids=lambda operation: str(operation.id))
@virtual_clock
async def test_one_shot(operation: Operation[Any], kind: str) -> None:
    """`RetryPolicy(max_attempts=1)` sends once, whatever the failure."""
    transport = ScriptedTransport(FAULTS[kind].step)
    error = await failing(pipeline(transport), operation, retry=RetryPolicy(max_attempts=1))
    assert len(transport.sent) == error.attempts == 1


@virtual_clock
async def test_a_rule_sees_each_failure() -> None:
    """A rule gets the operation, the error, the number of the attempt and the remaining time."""
    seen: list[Failure] = []

    def rule(failure: Failure) -> float | None:
        seen.append(failure)
        return 10.0 if len(seen) < 3 else None

    transport = ScriptedTransport(answer(503))
    error = await failing(pipeline(transport), GET_NUMBER, retry=rule, timeout=100.0)
    assert [failure.attempt for failure in seen] == [1, 2, 3]
    assert [failure.remaining for failure in seen] == [100.0, 90.0, 80.0]
    assert {failure.operation.id for failure in seen} == {GET_NUMBER.id}
    assert seen[-1].error is error
    assert transport.times == [0.0, 10.0, 20.0]


@pytest.mark.parametrize(
    "delay",
    ["1", float("nan"), -1.0, [], object()],
    ids=["text", "nan", "negative", "list", "object"],
)
@virtual_clock
async def test_a_rule_that_returns_no_seconds_gives_up(delay: Any) -> None:
    """A rule that returns anything but seconds does not hide the failure."""
    transport = ScriptedTransport(answer(429))
    error = await failing(pipeline(transport), SEND_VOICE_CHALLENGE, retry=lambda _: delay)
    assert isinstance(error, RateLimitError)
    assert len(transport.sent) == 1


async def _async_rule(_: Failure) -> float:
    return 1.0


class _AsyncRule:
    async def __call__(self, _: Failure) -> float:
        return 1.0


@pytest.mark.parametrize(
    "rule", [3, "x", _async_rule, _AsyncRule()], ids=["3", "x", "function", "object"]
)
async def test_what_is_no_rule_is_rejected_before_anything_is_sent(rule: Any) -> None:
    """A number of retries or an async function is an InvalidRequestError, not a later TypeError."""
    transport = ScriptedTransport(OK)
    error = await failing(pipeline(transport), GET_NUMBER, retry=rule)
    assert isinstance(error, InvalidRequestError)
    assert transport.sent == []
    with pytest.raises(InvalidRequestError, match="retry: "):
        QualifiedNumbersClient("p", BasicAuth("key", "secret"), retry=rule)


@virtual_clock
async def test_the_calls_rule_overrides_the_clients() -> None:
    """A call's `retry=` overrides the client's."""
    transport = ScriptedTransport(answer(503))
    await failing(pipeline(transport, retry=RetryPolicy(max_attempts=7)), GET_NUMBER)
    assert len(transport.sent) == 7


# ---- deleting ----------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", ["broken", "500", "408"])
@virtual_clock
async def test_delete_retried_after_an_unknown_outcome(lost: str) -> None:
    """A 404 to the retry of a DELETE with an unknown outcome is a success."""
    transport = ScriptedTransport(FAULTS[lost].step, answer(404))
    assert await call(pipeline(transport), DELETE_NUMBER) is None
    assert len(transport.sent) == 2


@pytest.mark.parametrize("harmless", ["refused", "429"])
@virtual_clock
async def test_delete_of_what_never_was(harmless: str) -> None:
    """A 404 is an error if no earlier attempt can have deleted the number."""
    transport = ScriptedTransport(FAULTS[harmless].step, answer(404))
    error = await failing(pipeline(transport), DELETE_NUMBER)
    assert isinstance(error, NotFoundError)
    assert error.outcome is Outcome.REJECTED


@virtual_clock
async def test_a_404_to_a_retried_get_is_an_error() -> None:
    """A 404 to the retry of a GET is an error: a GET cannot have deleted the number."""
    error = await failing(pipeline(ScriptedTransport(answer(500), answer(404))), GET_NUMBER)
    assert isinstance(error, NotFoundError)


@pytest.mark.parametrize("last", ["refused", "429", "403"])
@virtual_clock
async def test_delete_remembers_an_unknown_outcome(last: str) -> None:
    """A DELETE with one unknown outcome stays UNKNOWN, whatever its last attempt."""
    transport = ScriptedTransport(TransportError("reset"), FAULTS[last].step)
    error = await failing(pipeline(transport), DELETE_NUMBER)
    assert type(error) is FAULTS[last].error
    assert error.outcome is Outcome.UNKNOWN


# ---- a refused token ---------------------------------------------------------------------------


@pytest.mark.parametrize("attempts", [1, 4])
@pytest.mark.parametrize("operation", EACH_KIND, ids=lambda operation: str(operation.id))
@virtual_clock
async def test_a_rejected_token_is_replaced_once(operation: Operation[Any], attempts: int) -> None:
    """Any 401 is retried at once with a fresh token, even by a one-shot call."""
    transport = ScriptedTransport(answer(401), success(operation))
    to = pipeline(transport, auth=Tokens(), retry=RetryPolicy(max_attempts=attempts))
    await call(to, operation)
    sent = [request.headers["Authorization"] for request in transport.sent]
    assert sent == ["Bearer 1", "Bearer 2"]
    assert transport.times == [0.0, 0.0]


@pytest.mark.parametrize("operation", EACH_KIND, ids=lambda operation: str(operation.id))
@virtual_clock
async def test_a_second_401_is_final(operation: Operation[Any]) -> None:
    """A 401 to the fresh token, too, is an AuthenticationError, REJECTED, after two requests."""
    transport = ScriptedTransport(answer(401))
    error = await failing(pipeline(transport, auth=Tokens()), operation)
    assert type(error) is AuthenticationError
    assert error.outcome is Outcome.REJECTED
    assert error.status_code == 401
    assert len(transport.sent) == error.attempts == 2


@virtual_clock
async def test_fresh_tokens_that_keep_being_refused_are_damped() -> None:
    """If a fresh token is refused, too, the next one is taken later and later, up to a minute."""
    tokens = Tokens()
    transport = ScriptedTransport(answer(401))
    to = pipeline(transport, auth=tokens)
    for _ in range(600):
        assert type(await failing(to, GET_NUMBER)) is AuthenticationError
        await asyncio.sleep(0.5)
    assert tokens.number < 12
    transport.steps = (OK,)
    await call(to, GET_NUMBER)
    transport.steps, transport.sent = (answer(401), OK), []
    await call(to, GET_NUMBER)  # an accepted token, once refused, is replaced at once


@virtual_clock
async def test_a_fresh_token_is_not_a_retry() -> None:
    """A fresh token counts neither against the policy's attempts nor against the quota."""
    quota = RetryQuota()
    transport = ScriptedTransport(answer(401), answer(503), answer(503), OK)
    to = pipeline(transport, auth=Tokens(), retry=RetryPolicy(max_attempts=3), quota=quota)
    await call(to, GET_NUMBER)
    assert len(transport.sent) == 4
    one_shot = ScriptedTransport(answer(401), answer(503))
    to = pipeline(one_shot, auth=Tokens(), retry=RetryPolicy(max_attempts=1))
    assert isinstance(await failing(to, GET_NUMBER), ServerError)
    assert len(one_shot.sent) == 2


@virtual_clock
async def test_basic_credentials_are_not_replaced() -> None:
    """A 401 to HTTP Basic is final, as the same key would be rejected again."""
    transport = ScriptedTransport(answer(401))
    await failing(pipeline(transport), GET_NUMBER)
    assert len(transport.sent) == 1


class Api(Transport):
    """A token endpoint and an API; each returns the responses of its list, the last repeatedly."""

    def __init__(self, *, tokens: list[Step], calls: list[Step]) -> None:
        super().__init__()
        self.tokens = ScriptedTransport(*tokens)
        self.calls = ScriptedTransport(*calls)

    async def send(self, request: Request, progress: Progress | None = None) -> Response:
        """Route the request to the API or the token endpoint."""
        to = self.tokens if request.url == TOKEN_URL else self.calls
        return await to.send(request, progress)

    async def open_ahead(self, url: str) -> None:
        """Open no connection."""


def oauth2() -> OAuth2:
    """Return OAuth2 on the event loop's clock."""
    monotonic = asyncio.get_running_loop().time
    return OAuth2("key", "secret", token_url=TOKEN_URL, monotonic=monotonic)


def token(value: str = "t", expires_in: float = 3600) -> Response:
    """Return a token response."""
    return answer(200, {"access_token": value, "expires_in": expires_in})


@pytest.mark.parametrize("status", [400, 401, 403])
@virtual_clock
async def test_refused_credentials_are_final(status: int) -> None:
    """Credentials refused by the token endpoint: NOT_SENT, after one token request."""
    api = Api(tokens=[answer(status)], calls=[OK])
    error = await failing(pipeline(api, auth=oauth2()), GET_NUMBER)
    assert type(error) is AuthenticationError
    assert error.outcome is Outcome.NOT_SENT
    assert error.attempts == 1
    assert (len(api.tokens.sent), len(api.calls.sent)) == (1, 0)


@virtual_clock
async def test_a_failing_token_endpoint_is_retried() -> None:
    """A token endpoint that fails and recovers fails no call, whatever the operation."""
    api = Api(
        tokens=[answer(503), ConnectError("refused"), token()],
        calls=[success(SEND_VOICE_CHALLENGE)],
    )
    retry = RetryPolicy(random=lambda: 1.0, base_delay=2.0)
    await call(pipeline(api, auth=oauth2(), retry=retry), SEND_VOICE_CHALLENGE)
    assert (len(api.tokens.sent), len(api.calls.sent)) == (3, 1)


@virtual_clock
async def test_a_failing_token_endpoint_is_not_hammered() -> None:
    """A thousand calls send a failing token endpoint at most one request a second."""
    api = Api(tokens=[answer(500)], calls=[OK])
    retry = RetryPolicy(random=lambda: 1.0)  # delays of 0.5, 1 and 2 s, plus a second each
    to = pipeline(api, auth=oauth2(), retry=retry, quota=RetryQuota(capacity=1e9))
    failures = await asyncio.gather(*(failing(to, SEND_VOICE_CHALLENGE) for _ in range(1000)))
    assert {type(failure) for failure in failures} == {TokenError}
    assert {failure.outcome for failure in failures} == {Outcome.NOT_SENT}
    assert api.tokens.times == [0.0, 1.5, 3.5, 6.5]
    assert api.calls.sent == []


# ---- the deadline ------------------------------------------------------------------------------


@virtual_clock
async def test_deadline_while_waiting_for_the_response() -> None:
    """A deadline that passes after the request may have been sent is UNKNOWN."""
    loop = asyncio.get_running_loop()
    error = await failing(pipeline(ScriptedTransport(hang)), SEND_VOICE_CHALLENGE, timeout=3.0)
    assert type(error) is DeadlineExceededError
    assert error.outcome is Outcome.UNKNOWN
    assert error.attempts == 1
    assert "the response" in str(error)
    assert loop.time() == 3.0


@virtual_clock
async def test_deadline_while_waiting_for_a_token() -> None:
    """The deadline includes the token request; nothing was sent."""
    transport = ScriptedTransport(OK)
    to = pipeline(transport, auth=Tokens(delay=1e6), timeout=5.0)
    error = await failing(to, SEND_VOICE_CHALLENGE)
    assert type(error) is DeadlineExceededError
    assert error.outcome is Outcome.NOT_SENT
    assert "access token" in str(error)
    assert asyncio.get_running_loop().time() == 5.0
    assert transport.sent == []


@virtual_clock
async def test_deadline_while_waiting_for_the_rate_limit() -> None:
    """The deadline includes the rate limit; nothing was sent."""
    transport = ScriptedTransport(OK)
    to = pipeline(transport, rate_limit=RateLimit(0.01))
    await call(to, GET_NUMBER)
    error = await failing(to, SEND_VOICE_CHALLENGE, timeout=5.0)
    assert type(error) is DeadlineExceededError
    assert error.outcome is Outcome.NOT_SENT
    assert "rate limit" in str(error)
    assert asyncio.get_running_loop().time() == 5.0
    assert len(transport.sent) == 1


@virtual_clock
async def test_deadline_while_waiting_for_a_connection() -> None:
    """No free connection in time is a ConnectError: nothing was sent."""
    to = pipeline(ScriptedTransport(never_connect))
    error = await failing(to, SEND_VOICE_CHALLENGE, timeout=5.0)
    assert type(error) is ConnectError
    assert error.outcome is Outcome.NOT_SENT
    assert "a free connection" in str(error)


@virtual_clock
async def test_deadline_after_a_lost_attempt() -> None:
    """After an attempt with an unknown outcome the deadline is UNKNOWN, whenever it passes."""
    transport = ScriptedTransport(TransportError("reset"), never_connect)
    error = await failing(pipeline(transport), DELETE_NUMBER, timeout=50.0)
    assert type(error) is DeadlineExceededError
    assert error.outcome is Outcome.UNKNOWN
    assert error.attempts == 2


@virtual_clock
async def test_deadline_after_a_rejected_attempt() -> None:
    """An earlier attempt's connection does not count for an attempt that times out."""

    async def reject(progress: Progress) -> Response:
        progress.connection_acquired = True
        return answer(429)

    to = pipeline(ScriptedTransport(reject, OK), rate_limit=RateLimit(0.001), retry=lambda _: 1.0)
    error = await failing(to, SEND_VOICE_CHALLENGE, timeout=50.0)
    assert type(error) is DeadlineExceededError
    assert error.outcome is Outcome.NOT_SENT


@virtual_clock
async def test_one_deadline_covers_everything() -> None:
    """Rate limit, token, attempts and delays share one deadline."""

    async def slow(_: Progress) -> Response:
        await asyncio.sleep(3.0)
        return answer(503)

    to = pipeline(
        ScriptedTransport(slow),
        auth=Tokens(delay=2.0),
        rate_limit=RateLimit(0.1),
        retry=lambda _: 1.0,
    )
    # 0: token, 2: sent, 5: 503, 6: limiter, 10: token, 12: sent, 15: 503, 16: limiter, 20: token
    error = await failing(to, GET_NUMBER, timeout=21.0)
    assert asyncio.get_running_loop().time() == 21.0
    assert isinstance(error, DeadlineExceededError)
    assert error.attempts == 3
    assert "access token" in str(error)


@virtual_clock
async def test_no_wait_reaches_beyond_the_deadline() -> None:
    """If the delay would exceed the deadline, the failure is raised at once."""
    transport = ScriptedTransport(answer(503))
    error = await failing(pipeline(transport), GET_NUMBER, timeout=9.0, retry=lambda _: 10.0)
    assert isinstance(error, ServerError)
    assert asyncio.get_running_loop().time() == 0.0
    assert len(transport.sent) == 1


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), True, "1"])
@virtual_clock
async def test_invalid_timeouts(timeout: Any) -> None:
    """A timeout that is not a number above zero is rejected before anything is sent."""
    transport = ScriptedTransport(OK)
    error = await failing(pipeline(transport), GET_NUMBER, timeout=timeout)
    assert isinstance(error, InvalidRequestError)
    assert transport.sent == []


@virtual_clock
async def test_a_token_request_outlives_a_call() -> None:
    """A token request continues for other calls after a call that waited for it timed out."""

    async def slow_token(_: Progress) -> Response:
        await asyncio.sleep(10.0)
        return token()

    api = Api(tokens=[slow_token], calls=[OK])
    to = pipeline(api, auth=oauth2())
    error = await failing(to, GET_NUMBER, timeout=4.0)
    assert isinstance(error, DeadlineExceededError)
    await call(to, GET_NUMBER)
    assert asyncio.get_running_loop().time() == 10.0
    assert len(api.tokens.sent) == 1


# ---- prepared calls ----------------------------------------------------------------------------


@virtual_clock
async def test_a_prepared_call_waits_for_nothing() -> None:
    """Rate-limit slot and token are acquired in advance, so that the request is sent at once."""
    transport = ScriptedTransport(success(SEND_VOICE_CHALLENGE))
    to = pipeline(transport, auth=Tokens(delay=2.0), rate_limit=RateLimit(0.1))
    for sent_at in (2.0, 12.0):
        prepared = await to.prepare()
        now = asyncio.get_running_loop().time()
        assert now == pytest.approx(sent_at)
        assert not prepared.may_have_been_sent
        assert "Bearer" not in repr(prepared)
        await to.call(SEND_VOICE_CHALLENGE, phone_number=NUMBER, prepared=prepared)
        assert transport.times[-1] == now


@virtual_clock
async def test_a_prepared_token_is_used_once() -> None:
    """A prepared token that is rejected is replaced like any other."""
    transport = ScriptedTransport(answer(401), success(SEND_VOICE_CHALLENGE))
    to = pipeline(transport, auth=Tokens())
    prepared = await to.prepare()
    await to.call(SEND_VOICE_CHALLENGE, phone_number=NUMBER, prepared=prepared)
    sent = [request.headers["Authorization"] for request in transport.sent]
    assert sent == ["Bearer 1", "Bearer 2"]


@virtual_clock
async def test_preparing_has_a_deadline() -> None:
    """Preparing times out, and then nothing was sent."""
    to = pipeline(ScriptedTransport(OK), auth=Tokens(delay=1e6), timeout=7.0)
    for timeout, end in ((None, 7.0), (3.0, 10.0)):
        with pytest.raises(DeadlineExceededError, match="access token") as caught:
            await to.prepare(timeout=timeout)
        assert caught.value.outcome is Outcome.NOT_SENT
        assert asyncio.get_running_loop().time() == end
    with pytest.raises(InvalidRequestError):
        await to.prepare(timeout=0.0)


@pytest.mark.parametrize(("step", "left"), [(hang, True), (never_connect, False)])
@virtual_clock
async def test_a_cancelled_call_knows_whether_it_may_have_been_sent(
    step: Step,
    left: bool,  # noqa: FBT001
) -> None:
    """After a cancellation a prepared call says whether the phone may ring."""
    to = pipeline(ScriptedTransport(step))
    prepared = await to.prepare()

    call_it = to.call(SEND_VOICE_CHALLENGE, phone_number=NUMBER, prepared=prepared)
    task = asyncio.create_task(call_it)
    await asyncio.sleep(1.0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert prepared.may_have_been_sent is left


@pytest.mark.parametrize(
    ("last", "sent"),
    [
        (success(SEND_VOICE_CHALLENGE), True),
        (answer(500), True),
        (TransportError("reset"), True),
        (ConnectError("refused"), False),
        (answer(400), False),
    ],
    ids=["success", "500", "reset", "refused", "400"],
)
async def test_a_prepared_call_knows_its_outcome(last: Step, sent: bool) -> None:  # noqa: FBT001
    """`may_have_been_sent` is true after a success and after an unknown outcome, else false."""

    async def send(progress: Progress) -> Response:
        progress.connection_acquired = not isinstance(last, ConnectError)
        assert prepared.may_have_been_sent is progress.connection_acquired
        return await ScriptedTransport(last).send(Request("POST", ROOT, {}))

    to = pipeline(ScriptedTransport(send), retry=ONE_SHOT)
    prepared = await to.prepare()
    call_it = to.call(SEND_VOICE_CHALLENGE, phone_number=NUMBER, prepared=prepared)
    results: list[object] = await asyncio.gather(call_it, return_exceptions=True)
    for error in results:
        assert not isinstance(error, SinchError) or (error.outcome is Outcome.UNKNOWN) is sent
    assert prepared.may_have_been_sent is sent


async def test_a_prepared_call_is_for_one_call_of_its_client() -> None:
    """A call prepared by another client, a used one, or another object sends nothing."""
    transport, other = (
        ScriptedTransport(success(SEND_VOICE_CHALLENGE)),
        pipeline(ScriptedTransport(OK)),
    )
    to = pipeline(transport)
    used, foreign = await to.prepare(), await other.prepare()
    await to.call(SEND_VOICE_CHALLENGE, phone_number=NUMBER, prepared=used)
    wrong: list[tuple[Any, str]] = [(used, "used"), (foreign, "another client"), ("x", "not str")]
    for prepared, problem in wrong:
        with pytest.raises(InvalidRequestError, match=f"prepared: .*{problem}"):
            await to.call(SEND_VOICE_CHALLENGE, phone_number=NUMBER, prepared=prepared)
    assert len(transport.sent) == 1
    await other.call(SEND_VOICE_CHALLENGE, phone_number=NUMBER, prepared=foreign)


# ---- Retry-After, jitter, quota ----------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"retry_after": "120"},
        # 9 years off this machine's clock: only the difference counts
        {
            "retry_after": "Wed, 21 Oct 2015 07:30:00 GMT",
            "date": "Wed, 21 Oct 2015 07:28:00 GMT",
        },
    ],
    ids=["seconds", "date"],
)
@pytest.mark.parametrize("status", [429, 503])
@virtual_clock
async def test_retry_after_is_honoured(status: int, headers: Mapping[str, str]) -> None:
    """The next attempt starts when the server says, by the server's clock, and not before."""
    transport = ScriptedTransport(answer(status, **headers), OK)
    await call(pipeline(transport), GET_NUMBER)
    assert transport.times == [0.0, 120.0]


@pytest.mark.parametrize(
    "headers",
    [
        {"retry_after": "120"},
        {
            "retry_after": "Wed, 21 Oct 2015 07:30:00 GMT",
            "date": "Wed, 21 Oct 2015 07:28:00 GMT",
        },
    ],
    ids=["seconds", "date"],
)
@virtual_clock
async def test_retry_after_beyond_the_deadline(headers: Mapping[str, str]) -> None:
    """A Retry-After beyond the deadline raises at once, and says until when."""
    transport = ScriptedTransport(answer(429, **headers))
    error = await failing(pipeline(transport), SEND_VOICE_CHALLENGE, timeout=119.0)
    assert isinstance(error, RateLimitError)
    assert asyncio.get_running_loop().time() == 0.0
    assert error.retry_after == 120.0
    assert error.retry_at is not None
    assert error.retry_at.utcoffset() is not None
    assert len(transport.sent) == 1


@virtual_clock
async def test_full_jitter() -> None:
    """Without Retry-After the delays are between 0 and a bound that doubles up to a maximum."""
    for jitter, waits in ((0.0, [0, 0, 0, 0]), (1.0, [1, 2, 4, 5]), (0.5, [0.5, 1, 2, 2.5])):
        transport = ScriptedTransport(answer(503))

        def fraction(value: float = jitter) -> float:
            return value

        retry = RetryPolicy(max_attempts=5, base_delay=1.0, max_delay=5.0, random=fraction)
        await failing(pipeline(transport, retry=retry), GET_NUMBER)
        gaps = [b - a for a, b in zip(transport.times, transport.times[1:], strict=False)]
        assert gaps == waits


@virtual_clock
async def test_an_outage_is_not_multiplied() -> None:
    """When the client's retry quota is used up, calls fail at their first error."""
    transport = ScriptedTransport(answer(503))
    to = pipeline(transport, quota=RetryQuota(capacity=20.0))
    for _ in range(50):
        await failing(to, GET_NUMBER)
    assert len(transport.sent) == 50 + 4
    transport.steps = (OK,)
    for _ in range(5):
        await call(to, GET_NUMBER)  # each refunds 1 of the 5 that a retry costs
    transport.steps = (answer(503),)
    transport.sent.clear()
    await failing(to, GET_NUMBER)
    assert len(transport.sent) == 2


@virtual_clock
async def test_success_refunds_its_retries() -> None:
    """A success refunds its retries."""
    transport = ScriptedTransport(OK)
    to = pipeline(transport, quota=RetryQuota(capacity=10.0))
    for _ in range(20):
        transport.steps = (answer(503), answer(503), OK)
        transport.sent.clear()
        await call(to, GET_NUMBER)


@virtual_clock
async def test_a_404_to_a_repeated_delete_refunds_its_retries() -> None:
    """A DELETE that succeeds by a 404 refunds its retries as any other success."""
    transport = ScriptedTransport(OK)
    to = pipeline(transport, quota=RetryQuota(capacity=10.0))
    for _ in range(20):
        transport.steps, transport.sent = (answer(503), answer(503), answer(404)), []
        await call(to, DELETE_NUMBER)


# ---- what is sent ------------------------------------------------------------------------------


@virtual_clock
async def test_the_request() -> None:
    """A request's address, headers and body depend on the operation's row only."""
    transport = ScriptedTransport(success(ADD_NUMBERS))
    to = pipeline(transport)
    await to.call(ADD_NUMBERS, body=AddNumbersRequest(phone_numbers=[NUMBER]))
    (request,) = transport.sent
    assert (request.method, request.url) == ("POST", ROOT + "/qualifiedNumbers:addNumbers")
    assert request.body == b'{"phoneNumbers":["+12025550134"]}'
    assert request.headers["Content-Type"] == "application/json"
    transport.steps = (success(LIST_NUMBERS),)
    await to.call_raw(LIST_NUMBERS, query={"states": "a b&c", "pageToken": "=+/"})
    request = transport.sent[-1]
    assert request.body is None
    assert "Content-Type" not in request.headers
    assert parse_qs(urlsplit(request.url).query) == {"states": ["a b&c"], "pageToken": ["=+/"]}


@pytest.mark.parametrize("operation", EACH_KIND, ids=lambda operation: str(operation.id))
@virtual_clock
async def test_non_idempotent_requests_use_a_new_connection(
    operation: Operation[Any],
) -> None:
    """A non-idempotent request never uses a connection that may be stale."""
    transport = ScriptedTransport(success(operation))
    await call(pipeline(transport), operation)
    assert transport.sent[0].fresh_connection is (not operation.idempotent)


@pytest.mark.parametrize(
    "number", ["", "12025550134", "+1202555013a", "+1/../../x", "+12025550134\r\nHost: x", None, 7]
)
@virtual_clock
async def test_nothing_but_a_number_becomes_part_of_a_path(number: Any) -> None:
    """Anything but an E.164 number is rejected before anything is sent."""
    transport = ScriptedTransport(OK)
    with pytest.raises(InvalidRequestError) as caught:
        await pipeline(transport).call(GET_NUMBER, phone_number=number)
    assert caught.value.outcome is Outcome.NOT_SENT
    assert transport.sent == []


@pytest.mark.parametrize(
    "order_id",
    ["", "..", "a/b", "a:importNumbers", "a?b", "a%2Fb", "a\r\nHost: x", None, 7, "x" * 65],
)
@virtual_clock
async def test_nothing_but_an_id_becomes_part_of_a_path(order_id: Any) -> None:
    """Anything but letters, digits, - and _ is rejected before anything is sent."""
    transport = ScriptedTransport(OK)
    with pytest.raises(InvalidRequestError, match="order_id:") as caught:
        await pipeline(transport).call(GET_ORDER, order_id=order_id)
    assert caught.value.outcome is Outcome.NOT_SENT
    assert transport.sent == []


@virtual_clock
async def test_the_result_is_a_model() -> None:
    """A call returns the operation's response model."""
    number = await pipeline(ScriptedTransport(OK)).call(GET_NUMBER, phone_number=NUMBER)
    assert number == QualifiedNumber(phone_number=NUMBER)


@virtual_clock
async def test_a_rate_limit_counts_attempts() -> None:
    """Retries use rate-limit slots like any other request."""
    transport = ScriptedTransport(answer(503))
    await failing(pipeline(transport, rate_limit=RateLimit(0.5), retry=RetryPolicy()), GET_NUMBER)
    gaps = [b - a for a, b in zip(transport.times, transport.times[1:], strict=False)]
    assert min(gaps) == pytest.approx(2.0)


# ---- its life ----------------------------------------------------------------------------------


def test_a_second_event_loop_is_refused() -> None:
    """A client is bound to the event loop of its first call."""
    to = pipeline(ScriptedTransport(OK))
    asyncio.run(call(to, GET_NUMBER))
    with pytest.raises(RuntimeError, match="one client for each event loop"):
        asyncio.run(call(to, GET_NUMBER))


@virtual_clock
async def test_close_reaches_every_part() -> None:
    """Closing closes the credentials and the transport."""
    transport, auth = ScriptedTransport(OK), Tokens()
    await pipeline(transport, auth=auth).close()
    assert transport.closed
    assert auth.closed


@virtual_clock
async def test_cancelled_anywhere() -> None:
    """Cancelled at any await, a call ends with CancelledError and leaves no task behind."""

    async def slow(_: Progress) -> Response:
        await asyncio.sleep(1.0)
        return OK

    cancelled = 0
    for k in range(1, 100):
        api = Api(
            tokens=[answer(503), token("a"), token("b")], calls=[answer(401), answer(503), slow]
        )
        to = pipeline(api, auth=oauth2(), retry=lambda _: 1.5, rate_limit=RateLimit(1.0))
        task = await cancelled_at(call(to, GET_NUMBER), k)
        cancelled += task.cancelled()
        if not task.cancelled():
            assert task.result() == QualifiedNumber(phone_number=NUMBER)
        await to.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        if not task.cancelled():
            break
    assert cancelled == 7  # 3 tokens, 2 delays, 1 rate-limit slot, 1 response


@virtual_clock
async def test_the_log_names_operations_only(caplog: pytest.LogCaptureFixture) -> None:
    """Each attempt is logged by path template and status: no number, token or code."""
    caplog.set_level(logging.DEBUG)
    to = pipeline(ScriptedTransport(answer(503), OK), retry=lambda _: 2.0)
    await call(to, GET_NUMBER)
    assert [record.getMessage() for record in caplog.records if record.name == "sinch_qn"] == [
        "project p: GET /qualifiedNumbers/{phoneNumber} -> 503 in 0 ms",
        "project p: getQualifiedNumber failed (ServerError): retry in 2.0 s",
        "project p: GET /qualifiedNumbers/{phoneNumber} -> 200 in 0 ms",
    ]


@virtual_clock
async def test_calls_do_not_disturb_each_other() -> None:
    """Under a mix of faults each of many calls gets its own number's response."""
    chance = random.Random(7)

    class Chaos(Transport):
        async def send(self, request: Request, _: Progress | None = None) -> Response:
            await asyncio.sleep(chance.random())
            kind = chance.choice(["ok", "ok", "429", "503", "refused"])
            if kind == "ok":
                return answer(200, {"phoneNumber": request.url.rsplit("/", 1)[1]})
            step = FAULTS[kind].step
            if isinstance(step, SinchError):
                raise copy.copy(step)
            assert isinstance(step, Response)
            return step

    to = pipeline(Chaos(), retry=RetryPolicy(max_attempts=30), quota=RetryQuota(capacity=1e9))
    numbers = [f"+1202555{i:04}" for i in range(300)]
    answers = await asyncio.gather(*(to.call(GET_NUMBER, phone_number=n) for n in numbers))
    assert [number.phone_number for number in answers] == numbers
