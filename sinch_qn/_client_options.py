"""The options of a client: their types, and what they are checked for and made into."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ssl import SSLContext
from typing import TypedDict

from sinch_qn._checks import check_environment, check_url
from sinch_qn._connections import HEADERS, ConnectionOptions
from sinch_qn._transport import ClientSession
from sinch_qn.auth import Auth, BasicAuth, OAuth2
from sinch_qn.errors import InvalidRequestError
from sinch_qn.instrumentation.hooks import Hooks, check_header
from sinch_qn.proxy import Proxy, check_proxy
from sinch_qn.rate_limit import RateLimit
from sinch_qn.retry import RetryRule


class ClientOptions(TypedDict, total=False):
    """The keyword arguments of `QualifiedNumbersClient`, for functions that pass them on.

    def make_client(project_id: str, **options: Unpack[ClientOptions]) -> QualifiedNumbersClient: …
    """

    base_url: str
    session: ClientSession | None
    timeout: float
    retry: RetryRule
    rate_limit: RateLimit | None
    allow_http: bool
    max_connections: int
    max_body: int
    proxy: str | Proxy | None
    ssl: SSLContext | None
    headers: Mapping[str, str] | None
    user_agent: str | None
    hooks: Iterable[Hooks]


def connection_options(
    session: ClientSession | None,
    proxy: str | Proxy | None,
    ssl: SSLContext | None,
    headers: Mapping[str, str] | None,
    user_agent: str | None,
) -> ConnectionOptions:
    """Return how connections are opened. Raises `InvalidRequestError`."""
    if session is not None and (proxy is not None or ssl is not None):
        raise InvalidRequestError("proxy, ssl: an external session has its own; set them there")
    if ssl is not None and not isinstance(ssl, SSLContext):
        raise InvalidRequestError(
            "ssl: expected an ssl.SSLContext, such as ssl.create_default_context(cafile=…)"
        )
    if headers is not None and not isinstance(headers, Mapping):
        raise InvalidRequestError(f"headers: expected a mapping, not {type(headers).__name__}")
    more = dict(headers or {})
    if user_agent is not None:
        check_header("User-Agent", user_agent)
        more["User-Agent"] = f"{user_agent} {HEADERS['User-Agent']}"
    for name, value in more.items():
        check_header(name, value)
    return ConnectionOptions(proxy=check_proxy(proxy), ssl=ssl, headers=_merged(HEADERS, more))


def check_auth(auth: object, *, allow_http: bool) -> None:
    """Raise `InvalidRequestError` unless *auth* provides an `Authorization` header."""
    if isinstance(auth, OAuth2):
        check_url(auth.token_url, "token_url", allow_http=allow_http)
    elif isinstance(auth, str | bytes) or not hasattr(auth, "authorize"):
        raise InvalidRequestError(f"auth: expected OAuth2 or BasicAuth, not {type(auth).__name__}")


def auth_from_env(environ: Mapping[str, str]) -> Auth:
    """Return the credentials that `SINCH_*` describe. Raises `InvalidRequestError`."""
    key_id, key_secret = check_environment(environ, "SINCH_KEY_ID", "SINCH_KEY_SECRET")
    kind = environ.get("SINCH_AUTH") or "oauth2"
    if kind == "oauth2":
        return OAuth2.from_env(environ)
    if kind == "basic":
        return BasicAuth(key_id, key_secret)
    raise InvalidRequestError(f"SINCH_AUTH: {kind[:32]!r} is not oauth2 or basic")


def _merged(headers: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Return *headers*, replaced and completed by *more*, whatever the case of their names."""
    replaced = {name.lower() for name in more}
    kept = {name: value for name, value in headers.items() if name.lower() not in replaced}
    return kept | dict(more)
