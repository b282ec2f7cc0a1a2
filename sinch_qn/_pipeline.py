"""One call from operation to response: deadline, rate limit, token, transport, retry."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar, cast
from urllib.parse import quote, urlencode

import attrs
import orjson

from sinch_qn._checks import check_above_zero, check_order_id, check_rule
from sinch_qn._codec import encode
from sinch_qn._connections import Progress
from sinch_qn._deadlines import Deadline, Deadlines
from sinch_qn._error_context import add_context, add_response
from sinch_qn._http import Request, Response, read_json, read_model
from sinch_qn._observation import Observation
from sinch_qn._operations import Operation
from sinch_qn._raw import CapturedResponses, RawRequest, RawResponse, read_raw
from sinch_qn._redaction import redact, sensitive_values
from sinch_qn._transport import Transport
from sinch_qn.auth import FAILURE_TTL, Auth
from sinch_qn.errors import (
    AuthenticationError,
    ConnectError,
    DeadlineExceededError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    SinchError,
    TokenError,
)
from sinch_qn.instrumentation.hooks import Hooks
from sinch_qn.instrumentation.log_lines import LogLines
from sinch_qn.phone import check_e164
from sinch_qn.rate_limit import RateLimit
from sinch_qn.retry import Failure, RetryQuota, RetryRule, is_retryable

_log = logging.getLogger("sinch_qn")

_LOG_LINES = (LogLines(),)

_MAX_DAMPING = 60.0
"""Seconds for which refused tokens are not replaced, if fresh ones were refused, too."""

T = TypeVar("T")
R = TypeVar("R")


@attrs.define(eq=False)
class CallState(Progress):
    """The state of one call across its attempts."""

    attempts: int = 0
    retries: int = 0
    token_renewed: bool = False
    """The token was refused and replaced once already."""
    may_have_succeeded: bool = False
    """An earlier attempt ended with an unknown outcome."""
    authorization: str = attrs.field(default="", repr=False)
    """The header of this attempt; for the first one, `prepare` may have acquired it."""
    body: object = attrs.field(default=None, repr=False)
    """The request's model; its personal and secret texts are redacted in errors."""
    phone_number: str | None = attrs.field(default=None, repr=False)
    """The number that the call is about."""
    observation: Observation | None = attrs.field(default=None, repr=False)
    """Set if there are hooks, or a log to be written, or responses to be captured."""

    @property
    def may_have_been_sent(self) -> bool:
        """Whether the request may have reached the server and was not rejected by it.

        Valid at any time: before, during and after the call, after an error or a cancellation.
        """
        return self.connection_acquired or self.may_have_succeeded


@attrs.define(eq=False, kw_only=True)
class PreparedCall(CallState):
    """A rate-limit slot, an access token and a connection, acquired in advance for one call.

    `QualifiedNumbersClient.prepare` makes it; pass it as `prepared=` to one call of that client.
    `may_have_been_sent` says at any time whether that call may have reached the server.
    """

    owner: object = attrs.field(repr=False)
    """Only the pipeline that acquired it can use it."""
    used: bool = False

    def close(self) -> None:
        """Close the connection if no call uses it; it closes by itself after two seconds."""
        if self.ahead is not None:
            self.ahead.close()


class Pipeline:
    """Combines the parts between the client and the transport; each works by itself."""

    def __init__(
        self,
        *,
        root: str,
        auth: Auth,
        transport: Transport,
        timeout: float,
        retry: RetryRule,
        rate_limit: RateLimit | None = None,
        quota: RetryQuota | None = None,
        hooks: tuple[Hooks, ...] = (),
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Store the parts; *root* is the address down to and including the project."""
        self._root = root
        self._auth = auth
        self._transport = transport
        self._timeout = timeout
        self._retry = retry
        self._rate_limit = rate_limit
        self._quota = quota or RetryQuota()
        self._hooks = hooks
        self._sleep = sleep
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deadlines = Deadlines()
        self._refusals = 0
        """Fresh tokens refused since a call succeeded, at most one a window."""
        self._renew_at = 0.0
        """In the event loop's time: no token is replaced before, as fresh ones were refused."""

    def call(
        self,
        operation: Operation[T],
        *,
        phone_number: str | None = None,
        order_id: str | None = None,
        body: object = None,
        timeout: float | None = None,
        retry: RetryRule | None = None,
        prepared: PreparedCall | None = None,
    ) -> Coroutine[Any, Any, T]:
        """Return a coroutine that carries out *operation* and returns the response's model.

        *timeout* limits the whole call in seconds, waits included. With *prepared* the first
        attempt acquires nothing.
        """
        request = self._request(operation, phone_number=phone_number, order_id=order_id, body=body)
        call = CallState() if prepared is None else self._claim(prepared)
        call.body, call.phone_number = body, phone_number
        return self._start(timeout, operation, request, call, retry, read_model)

    async def prepare(self, *, timeout: float | None = None) -> PreparedCall:
        """Acquire a rate-limit slot and a token in advance, and open the connection.

        Nothing then waits between a write-ahead intent and its request: a crash there leaves an
        unknown outcome.
        """
        self._check_loop()
        seconds = self._timeout if timeout is None else check_above_zero(timeout, "timeout")
        call = PreparedCall(owner=self)
        try:
            with Deadline(self._deadlines, seconds):
                call.authorization = await self._acquire(call)
                call.stage = "a connection"
                call.ahead = await self._transport.open_ahead(self._root)
        except TimeoutError as error:
            raise _deadline_error(call, seconds) from error
        return call

    def call_raw(
        self,
        operation: Operation[Any],
        *,
        order_id: str | None = None,
        query: Mapping[str, str],
        timeout: float | None = None,
        retry: RetryRule | None = None,
    ) -> Coroutine[Any, Any, dict[str, Any] | None]:
        """Return a coroutine as `call` does, but for the response's JSON object."""
        request = self._request(operation, order_id=order_id, query=query)
        return self._start(timeout, operation, request, CallState(), retry, _read_json)

    def call_path(
        self, raw: RawRequest, *, timeout: float | None = None, retry: RetryRule | None = None
    ) -> Coroutine[Any, Any, RawResponse]:
        """Return a coroutine as `call` does, but for any path below the project."""
        call = CallState(body={"json": raw.json}, phone_number=raw.phone_number)
        return self._start(timeout, raw.operation, raw.below(self._root), call, retry, read_raw)

    async def close(self) -> None:
        """Close the sockets and cancel the tasks that were opened here."""
        self._transport.stop()  # or a caller that waits for a token would start another request
        await self._auth.close()
        await self._transport.close()
        self._deadlines.close()

    def _claim(self, prepared: object) -> PreparedCall:
        """Mark *prepared* as used and return it; reject one that this call cannot use."""
        if not isinstance(prepared, PreparedCall):
            problem = f"expected a PreparedCall, not {type(prepared).__name__}"
        elif prepared.owner is not self:
            problem = "it was prepared by another client"
        elif self._loop is not asyncio.get_running_loop():
            problem = "it was prepared in another event loop"
        elif prepared.used:
            problem = "it was used already: prepare each call anew"
        else:
            prepared.used = True
            return prepared
        raise InvalidRequestError(f"prepared: {problem}")

    def _check_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise RuntimeError(
                "this client is bound to the event loop of its first call: "
                "make one client for each event loop"
            )

    def _request(
        self,
        operation: Operation[Any],
        *,
        phone_number: str | None = None,
        order_id: str | None = None,
        query: Mapping[str, str] | None = None,
        body: object = None,
    ) -> Request:
        """Build the request: the only place where values become part of an address."""
        path = operation.path
        # Neither an E.164 number nor an order's id has a character that ends its path segment.
        if "{phoneNumber}" in path:
            path = path.replace("{phoneNumber}", check_e164(phone_number))
        if "{hostingOrderId}" in path:
            path = path.replace("{hostingOrderId}", check_order_id(order_id))
        return Request(
            operation.method,
            self._root + path + ("?" + urlencode(query, quote_via=quote, safe="") if query else ""),
            {} if body is None else {"Content-Type": "application/json"},
            None if body is None else orjson.dumps(encode(body)),
            fresh_connection=not operation.idempotent,
            phone_number=phone_number,
        )

    def _start(
        self,
        timeout: float | None,
        operation: Operation[Any],
        request: Request,
        call: CallState,
        retry: RetryRule | None,
        read: Callable[[Operation[Any], Response, str | None], R],
    ) -> Coroutine[Any, Any, R]:
        """Return the coroutine of a call, observed if anybody wants to know of it."""
        running = self._run(timeout, operation, request, call, retry, read)
        hooks = self._hooks
        if _log.isEnabledFor(logging.INFO):
            hooks = _LOG_LINES + hooks
        if not hooks and not CapturedResponses.open_blocks:
            return running
        call.observation = Observation(hooks, operation, call, self._root, self._transport.send)
        return call.observation.run(running)

    async def _run(
        self,
        timeout: float | None,
        operation: Operation[Any],
        request: Request,
        call: CallState,
        retry: RetryRule | None,
        read: Callable[[Operation[Any], Response, str | None], R],
    ) -> R:
        self._check_loop()
        seconds = self._timeout if timeout is None else check_above_zero(timeout, "timeout")
        if retry is not None:
            check_rule(retry, "retry")
        try:
            with Deadline(self._deadlines, seconds) as deadline:
                while True:
                    call.attempts += 1
                    response = None
                    try:
                        call.authorization = call.authorization or await self._acquire(call)
                        request.headers["Authorization"] = call.authorization
                        response = await (call.observation or self._transport).send(request, call)
                        result = read(operation, response, request.phone_number)
                    except SinchError as error:
                        failure = error
                    else:
                        self._quota.refund(call.retries)
                        self._refusals = 0
                        return result
                    try:
                        if _is_repeated_delete(operation, call, failure):
                            self._quota.refund(call.retries)
                            return cast("R", None)
                        if not await self._recover(
                            operation, failure, response, call, retry or self._retry, deadline
                        ):
                            raise failure
                    finally:
                        del failure  # its traceback holds this frame: break the cycle
        except TimeoutError as error:
            raise _deadline_error(call, seconds, operation.id) from error
        except SinchError as error:
            if operation.method == "DELETE" and call.may_have_succeeded:
                error.outcome = Outcome.UNKNOWN  # an earlier attempt may have deleted it
            raise

    async def _recover(
        self,
        operation: Operation[Any],
        failure: SinchError,
        response: Response | None,
        call: CallState,
        retry: RetryRule,
        deadline: Deadline,
    ) -> bool:
        """Complete the error of an attempt; wait for the next, or return False if there is none."""
        authorization, call.authorization = call.authorization, ""
        secrets = [authorization.partition(" ")[2], *sensitive_values(call.body)]
        if response is None:
            redact(failure, secrets)
        else:
            add_response(failure, response, secrets, keep_body=not operation.secret_response)
        add_context(failure, operation.id, call.phone_number)
        failure.attempts = call.attempts
        call.connection_acquired = False
        call.may_have_succeeded |= failure.outcome is Outcome.UNKNOWN
        if self._try_fresh_token(failure, authorization, call):
            if call.observation is not None:
                call.observation.retry(failure, 0.0)
            return True
        return await self._wait_to_retry(operation, failure, call, retry, deadline)

    async def _acquire(self, call: CallState) -> str:
        """Acquire a rate-limit slot and a token; return the Authorization header's value."""
        if self._rate_limit is not None:
            call.stage = "the rate limit"
            await self._rate_limit.acquire()
        call.stage = "an access token"
        return await self._auth.authorize(self._transport.send)

    def _try_fresh_token(self, failure: SinchError, authorization: str, call: CallState) -> bool:
        """Invalidate a rejected token, at most once per call; return whether to try a fresh one."""
        if not isinstance(failure, AuthenticationError) or failure.outcome is not Outcome.REJECTED:
            return False
        now = asyncio.get_running_loop().time()
        if now < self._renew_at and self._refusals:
            return False
        if call.token_renewed:
            # Refused though fresh: not the token is the reason. Spare the token endpoint.
            self._refusals += 1
            self._renew_at = now + min(_MAX_DAMPING, 2.0**self._refusals)
            return False
        call.token_renewed = self._auth.invalidate(authorization)
        return call.token_renewed

    async def _wait_to_retry(
        self,
        operation: Operation[Any],
        failure: SinchError,
        call: CallState,
        retry: RetryRule,
        deadline: Deadline,
    ) -> bool:
        """Wait for the next attempt; return False if there is none."""
        if not is_retryable(operation, failure):
            return False
        remaining = deadline.when - asyncio.get_running_loop().time()
        attempt = call.attempts - call.token_renewed
        delay = retry(Failure(operation, failure, attempt, remaining))
        if not isinstance(delay, int | float) or not delay >= 0:
            if delay is not None:
                _log.error("the retry rule returned no number of seconds: %s", type(delay).__name__)
            return False
        # Concurrent calls share one token request, so their retries do not multiply an outage;
        # but until its cached failure expires they would only get it again.
        shared = isinstance(failure, TokenError)
        if shared:
            delay += FAILURE_TTL
        if delay >= remaining or not (shared or self._quota.spend()):
            return False
        call.retries += not shared
        call.stage = "the next attempt"
        if call.observation is not None:
            call.observation.retry(failure, delay)
        await self._sleep(delay)
        return True


def _read_json(
    operation: Operation[Any], response: Response, _: str | None
) -> dict[str, Any] | None:
    return read_json(operation, response)


def _is_repeated_delete(operation: Operation[Any], call: CallState, failure: SinchError) -> bool:
    """Whether a 404 means that an earlier attempt with an unknown outcome deleted the number."""
    return (
        operation.method == "DELETE"
        and operation.response_model is not RawResponse  # whose callers see what the server sent
        and call.may_have_succeeded
        and isinstance(failure, NotFoundError)
    )


def _deadline_error(call: CallState, seconds: float, operation: str | None = None) -> SinchError:
    message = f"not done within {seconds:g} s: timed out waiting for {call.stage}"
    sent = call.may_have_been_sent
    if not sent and call.stage == "a free connection":
        error: SinchError = ConnectError(message, attempts=call.attempts)
    else:
        outcome = Outcome.UNKNOWN if sent else Outcome.NOT_SENT
        error = DeadlineExceededError(message, outcome=outcome, attempts=call.attempts)
    add_context(error, operation, call.phone_number)
    return error
