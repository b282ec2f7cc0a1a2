"""Credentials, and the one cached access token that all calls share."""

from __future__ import annotations

import asyncio
import base64
import copy
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import attrs
import orjson

from sinch_qn._checks import check_secret
from sinch_qn._http import Request, Response
from sinch_qn.errors import (
    AuthenticationError,
    InvalidResponseError,
    Outcome,
    SinchError,
    TokenError,
    TransportError,
)

TOKEN_URL = "https://auth.sinch.com/oauth2/token"  # noqa: S105 - an address, not a secret

_TOKEN_TIMEOUT = 30.0
"""Seconds for one token request; those who wait for it have deadlines of their own."""

FAILURE_TTL = 1.0
"""Seconds for which a failed token request is told to all who ask."""

_DEFAULT_LIFETIME = 300.0
"""Seconds that a token is trusted for when its answer names no `expires_in`."""

_BAD_CREDENTIALS = frozenset({400, 401, 403})
"""What the token endpoint answers to bad credentials: the same again would not help."""

_BEARER = re.compile(r"[!-~]{1,16384}", re.ASCII)

Send = Callable[[Request], Awaitable[Response]]


class Auth(Protocol):
    """Anything that can fill in the `Authorization` header."""

    async def authorize(self, send: Send) -> str:
        """Return the header's value, asking for a token over *send* if none is at hand."""
        ...

    def invalidate(self, authorization: str) -> bool:
        """Forget *authorization*, which was answered 401; say whether a fresh one may do better."""
        ...

    async def close(self) -> None:
        """Leave no task behind."""
        ...


def _basic(key_id: str, key_secret: str) -> str:
    return "Basic " + base64.b64encode(f"{key_id}:{key_secret}".encode()).decode()


def _check_key_id(_: Any, __: Any, value: str) -> None:
    check_secret(value, "key_id", forbidden=":")


def _check_key_secret(_: Any, __: Any, value: str) -> None:
    check_secret(value, "key_secret")


@attrs.frozen
class BasicAuth:
    """HTTP Basic on every call: meant for testing, and heavily rate limited by Sinch."""

    key_id: str = attrs.field(repr=False, validator=_check_key_id)
    key_secret: str = attrs.field(repr=False, validator=_check_key_secret)

    async def authorize(self, send: Send) -> str:  # noqa: ARG002 - as OAuth2's
        """Return the header's value, which never changes."""
        return _basic(self.key_id, self.key_secret)

    def invalidate(self, authorization: str) -> bool:  # noqa: ARG002 - as OAuth2's
        """Say that asking again is of no use."""
        return False

    async def close(self) -> None:
        """Do nothing: there is nothing to leave behind."""


@attrs.frozen
class Token:
    """An access token and the moments, in monotonic seconds, from which it is too old."""

    value: str = attrs.field(repr=False)
    refresh_at: float
    """From here a new one is fetched meanwhile, and this one is still used."""
    expires_at: float
    """From here it is not used any more: the real end less a margin of min(60 s, 10 %)."""

    @classmethod
    def from_lifetime(cls, value: str, lifetime: float, *, since: float) -> Token:
        """Make a token that the server lets live for *lifetime* seconds, counted from *since*."""
        margin = min(60.0, lifetime * 0.1)
        return cls(value, since + lifetime - 2 * margin, since + lifetime - margin)


class TokenCache:
    """One token, fetched once however many callers wait for it.

    The fetch is a task of the cache's own, so a cancelled caller strands nobody. A failed fetch is
    remembered for *failure_ttl* seconds and told to all who ask meanwhile, so that a token endpoint
    in trouble is not hammered.
    """

    def __init__(
        self, *, failure_ttl: float = FAILURE_TTL, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._failure_ttl = failure_ttl
        self._monotonic = monotonic
        self._token: Token | None = None
        self._failure: SinchError | None = None
        self._failed_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    def cached(self) -> str | None:
        """Return the token if nothing has to be done about it yet."""
        token = self._token
        return token.value if token is not None and self._monotonic() < token.refresh_at else None

    async def get(self, fetch: Callable[[], Awaitable[Token]]) -> str:
        """Return the token, calling *fetch* if there is none or it is about to expire.

        Raises what *fetch* raised.
        """
        while True:
            now = self._monotonic()
            token = self._token
            if token is not None and now < token.expires_at:
                if now >= token.refresh_at and not self._in_failure_ttl(now):
                    self._start(fetch)
                return token.value
            if self._failure is not None and self._in_failure_ttl(now):
                raise copy.copy(self._failure)
            task = self._start(fetch)
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()
            # One that lasts no time at all still serves those who waited for it.
            if self._token is not None and self._token is not token:
                return self._token.value

    def invalidate(self, value: str) -> None:
        """Forget the token *value*; a newer one stays."""
        if self._token is not None and self._token.value == value:
            self._token = None

    async def close(self) -> None:
        """Cancel a fetch under way, and wait until it has gone."""
        task = self._fetching
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            task.cancel()
            await asyncio.wait([task])

    def _in_failure_ttl(self, now: float) -> bool:
        return now < self._failed_at + self._failure_ttl

    def _start(self, fetch: Callable[[], Awaitable[Token]]) -> asyncio.Task[None]:
        """Return the fetch under way in this event loop, starting one if there is none."""
        task = self._fetching
        if task is None or task.get_loop() is not asyncio.get_running_loop():
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
        except SinchError as error:
            self._failure, self._failed_at = error, self._monotonic()


@attrs.frozen(eq=False)
class OAuth2:
    """OAuth2 client credentials, as Sinch recommends; the token is cached and shared.

    One instance may serve several clients: they then share its one token.
    """

    key_id: str = attrs.field(repr=False, validator=_check_key_id)
    key_secret: str = attrs.field(repr=False, validator=_check_key_secret)
    token_url: str = attrs.field(default=TOKEN_URL, kw_only=True)
    _monotonic: Callable[[], float] = attrs.field(default=time.monotonic, kw_only=True, repr=False)
    _cache: TokenCache = attrs.field(init=False, repr=False)

    @_cache.default
    def _empty_cache(self) -> TokenCache:
        return TokenCache(monotonic=self._monotonic)

    async def authorize(self, send: Send) -> str:
        """Return `Bearer …` with the cached token, or with a new one.

        Raises `TokenError` if none could be had, `AuthenticationError` if the key was refused.
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
        """Cancel a token request under way."""
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
        except (TransportError, InvalidResponseError) as error:
            raise TokenError(f"the token endpoint cannot be used: {error}") from error
        except TimeoutError as error:
            raise TokenError(f"no token within {_TOKEN_TIMEOUT:.0f} s") from error
        return _read_token(response, since)


def _read_token(response: Response, since: float) -> Token:
    """Read a token endpoint's answer (RFC 6749, 5.1 and 5.2); its body is never quoted."""
    if response.status in _BAD_CREDENTIALS:
        raise AuthenticationError(
            "the token endpoint refused the credentials: check the key id and its secret",
            status_code=response.status,
            outcome=Outcome.NOT_SENT,
        )
    if response.status != 200:
        raise TokenError(f"the token endpoint answered HTTP {response.status}")
    try:
        answer = orjson.loads(response.body)
        value = answer["access_token"]
        lifetime = float(answer.get("expires_in") or _DEFAULT_LIFETIME)
    except (ValueError, TypeError, KeyError, AttributeError):
        # Not chained: the decoder's error would carry the body, and with it the token.
        value, lifetime = None, 0.0
    if not isinstance(value, str) or not _BEARER.fullmatch(value) or not 0 < lifetime < 1e9:
        raise TokenError("the token endpoint's answer cannot be read")
    return Token.from_lifetime(value, lifetime, since=since)
