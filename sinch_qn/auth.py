"""Credentials, and the cached access token that all calls share."""

from __future__ import annotations

import asyncio
import base64
import copy
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, Self

import attrs

from sinch_qn._checks import check_environment, check_secret
from sinch_qn._headers import kept_headers, request_id
from sinch_qn._http import Request, Response, parse_json, status_error
from sinch_qn._redaction import redact
from sinch_qn.errors import (
    AuthenticationError,
    ClosedError,
    InvalidResponseError,
    Outcome,
    SinchError,
    TokenError,
    TransportError,
)

TOKEN_URL = "https://auth.sinch.com/oauth2/token"  # noqa: S105 - an address, not a secret

_TOKEN_TIMEOUT = 30.0
"""Seconds for one token request; the calls that wait for it have their own deadlines."""

FAILURE_TTL = 1.0
"""Seconds for which a failed token request is cached."""

_DEFAULT_LIFETIME = 300.0
"""Seconds; the lifetime of a token whose response has no usable `expires_in`."""

_MAX_LIFETIME = 86_400.0
"""Seconds; servers say 2^31 and more for a token that never expires."""

_MAX_RETRY_AFTER = 3_600.0
"""Seconds for which a `Retry-After` of the token endpoint is obeyed at most."""

_BAD_CREDENTIALS = frozenset({400, 401, 403})
"""Statuses with which the token endpoint refuses credentials: a retry would not help."""

_BEARER = re.compile(r"[!-~]{1,16384}", re.ASCII)

Send = Callable[[Request], Awaitable[Response]]


class Auth(Protocol):
    """Provides the `Authorization` header."""

    async def authorize(self, send: Send) -> str:
        """Return the header's value, requesting a token over *send* if none is cached."""
        ...

    def invalidate(self, authorization: str) -> bool:
        """Forget *authorization*, which got a 401; return whether a fresh one may be accepted."""
        ...

    async def close(self) -> None:
        """Cancel pending tasks."""
        ...


def _basic(key_id: str, key_secret: str) -> str:
    return "Basic " + base64.b64encode(f"{key_id}:{key_secret}".encode()).decode()


def _check_key_id(_: Any, __: Any, value: str) -> None:
    check_secret(value, "key_id", forbidden=":")


def _check_key_secret(_: Any, __: Any, value: str) -> None:
    check_secret(value, "key_secret")


@attrs.frozen
class BasicAuth:
    """HTTP Basic on every call: for testing only, as Sinch limits its rate heavily."""

    key_id: str = attrs.field(repr=False, validator=_check_key_id)
    key_secret: str = attrs.field(repr=False, validator=_check_key_secret)

    async def authorize(self, send: Send) -> str:  # noqa: ARG002 - as OAuth2's
        """Return the header's value, which never changes."""
        return _basic(self.key_id, self.key_secret)

    def invalidate(self, authorization: str) -> bool:  # noqa: ARG002 - as OAuth2's
        """Return False: the header never changes."""
        return False

    async def close(self) -> None:
        """Do nothing."""


@attrs.frozen
class Token:
    """An access token and its times of refresh and expiry, in monotonic seconds."""

    value: str = attrs.field(repr=False)
    refresh_at: float
    """From then on a new token is fetched in the background while this one is used."""
    expires_at: float
    """From then on it is not used: the real expiry less a margin of min(60 s, 10 %)."""

    @classmethod
    def from_lifetime(cls, value: str, lifetime: float, *, since: float) -> Token:
        """Create a token that is valid for *lifetime* seconds from *since*."""
        margin = min(60.0, lifetime * 0.1)
        return cls(value, since + lifetime - 2 * margin, since + lifetime - margin)


class TokenCache:
    """One token, fetched once for all concurrent callers.

    The fetch is a task of the cache, so cancelling one caller does not affect the others. A failed
    fetch is cached for *failure_ttl* seconds, or for as long as the endpoint's `Retry-After` asks,
    so that a failing token endpoint gets at most one request in that time.
    """

    def __init__(
        self, *, failure_ttl: float = FAILURE_TTL, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._failure_ttl = failure_ttl
        self._monotonic = monotonic
        self._token: Token | None = None
        self._failure: SinchError | None = None
        self._failed_until = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    def cached(self) -> str | None:
        """Return the token if it needs no refresh yet."""
        token = self._token
        return token.value if token is not None and self._monotonic() < token.refresh_at else None

    async def get(self, fetch: Callable[[], Awaitable[Token]]) -> str:
        """Return the token, calling *fetch* if there is none or it is about to expire.

        Raises the errors of *fetch*.
        """
        while True:
            now = self._monotonic()
            token = self._token
            if token is not None and now < token.expires_at:
                if now >= token.refresh_at and now >= self._failed_until:
                    self._start(fetch)
                return token.value
            if self._failure is not None and now < self._failed_until:
                raise self._cached_failure(now)
            running = self._running()
            task = running or self._start(fetch)
            await asyncio.wait([task])
            # What another client's fetch raises, such as that this client was closed, is not for
            # this caller: it fetches anew.
            if running is None and not task.cancelled():
                task.result()
            # A token that has expired already still serves the callers that waited for it.
            if self._token is not None and self._token is not token:
                return self._token.value

    def invalidate(self, value: str) -> None:
        """Forget the token *value*; a newer one stays."""
        if self._token is not None and self._token.value == value:
            self._token = None

    async def close(self) -> None:
        """Cancel a pending fetch and wait for its end."""
        task = self._fetching
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            task.cancel()
            await asyncio.wait([task])

    def _cached_failure(self, now: float) -> SinchError:
        assert self._failure is not None  # noqa: S101 - the caller has checked it
        failure = copy.copy(self._failure)
        if failure.retry_after is not None:
            failure.retry_after = self._failed_until - now
        return failure

    def _running(self) -> asyncio.Task[None] | None:
        """Return the pending fetch of this event loop."""
        task = self._fetching
        return task if task and task.get_loop() is asyncio.get_running_loop() else None

    def _start(self, fetch: Callable[[], Awaitable[Token]]) -> asyncio.Task[None]:
        """Return the pending fetch of this event loop, or start one."""
        task = self._running()
        if task is None:
            task = asyncio.create_task(self._fetch(fetch), name="sinch_qn token")
            task.add_done_callback(self._finished)
            self._fetching = task
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        if self._fetching is task:
            self._fetching = None

    async def _fetch(self, fetch: Callable[[], Awaitable[Token]]) -> None:
        try:
            self._token, self._failure = await fetch(), None
        except ClosedError:
            raise  # not a failure of the endpoint
        except SinchError as error:
            wait = max(self._failure_ttl, min(error.retry_after or 0.0, _MAX_RETRY_AFTER))
            self._failure, self._failed_until = error, self._monotonic() + wait


@attrs.frozen(eq=False)
class OAuth2:
    """OAuth2 client credentials, as Sinch recommends; the token is cached and shared.

    Several clients may use one instance; they then share its token.
    """

    key_id: str = attrs.field(repr=False, validator=_check_key_id)
    key_secret: str = attrs.field(repr=False, validator=_check_key_secret)
    token_url: str = attrs.field(default=TOKEN_URL, kw_only=True)
    _monotonic: Callable[[], float] = attrs.field(default=time.monotonic, kw_only=True, repr=False)
    _cache: TokenCache = attrs.field(init=False, repr=False)

    @_cache.default
    def _empty_cache(self) -> TokenCache:
        return TokenCache(monotonic=self._monotonic)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Make credentials of `SINCH_KEY_ID` and `SINCH_KEY_SECRET`, and `SINCH_TOKEN_URL` if set.

        For processes that make many clients of one key: they share its token. Raises
        `InvalidRequestError`, which names all missing variables.
        """
        env = os.environ if environ is None else environ
        key_id, key_secret = check_environment(env, "SINCH_KEY_ID", "SINCH_KEY_SECRET")
        return cls(key_id, key_secret, token_url=env.get("SINCH_TOKEN_URL") or TOKEN_URL)

    async def authorize(self, send: Send) -> str:
        """Return `Bearer …` with the cached token or a new one.

        Raises `TokenError` if there is no token, `AuthenticationError` if the key was refused.
        """
        token = self._cache.cached()
        if token is None:
            token = await self._cache.get(lambda: self._request_token(send))
        return "Bearer " + token

    def invalidate(self, authorization: str) -> bool:
        """Forget the token in *authorization* if it is still the cached one."""
        self._cache.invalidate(authorization.removeprefix("Bearer "))
        return True

    async def close(self) -> None:
        """Cancel a pending token request."""
        await self._cache.close()

    async def _request_token(self, send: Send) -> Token:
        request = Request(
            "POST",
            self.token_url,
            {
                "Authorization": _basic(self.key_id, self.key_secret),
                "Content-Type": "application/x-www-form-urlencoded",
            },
            b"grant_type=client_credentials",
        )
        since = self._monotonic()
        try:
            async with asyncio.timeout(_TOKEN_TIMEOUT):
                response = await send(request)
        except ClosedError:
            raise
        except (TransportError, InvalidResponseError) as error:
            raise TokenError(f"the token endpoint cannot be used: {error}") from error
        except TimeoutError as error:
            raise TokenError(f"no token within {_TOKEN_TIMEOUT:.0f} s") from error
        try:
            return _read_token(response, since)
        except SinchError as error:
            error.headers = kept_headers(response.headers)
            error.request_id = request_id(error.headers)
            redact(error, [request.headers["Authorization"].partition(" ")[2], self.key_secret])
            raise


def _read_token(response: Response, since: float) -> Token:
    """Read a token response (RFC 6749, 5.1 and 5.2); its body is never quoted."""
    if response.status in _BAD_CREDENTIALS:
        raise AuthenticationError(
            "the token endpoint refused the credentials: check the key id and its secret",
            status_code=response.status,
            outcome=Outcome.NOT_SENT,
        )
    if response.status != 200:
        said = status_error(response)
        raise TokenError(
            f"the token endpoint returned HTTP {response.status}",
            retry_after=said.retry_after,
            retry_at=said.retry_at,
        )
    body = parse_json(response.body)
    value = body.get("access_token") if isinstance(body, dict) else None
    if not isinstance(value, str) or not _BEARER.fullmatch(value):
        raise TokenError("the token endpoint's response cannot be read")
    return Token.from_lifetime(value, _lifetime(body.get("expires_in")), since=since)


def _lifetime(expires_in: object) -> float:
    """Return a lifetime in seconds; what is no positive number says nothing about it."""
    try:
        seconds = float(expires_in)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return _DEFAULT_LIFETIME
    if isinstance(expires_in, bool) or not seconds > 0:
        return _DEFAULT_LIFETIME
    return min(seconds, _MAX_LIFETIME)
