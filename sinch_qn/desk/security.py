"""What every request and response of the desk goes through: headers, and the origin of writes."""

from __future__ import annotations

import logging
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from sinch_qn.desk.state import DESK
from sinch_qn.errors import InvalidRequestError, JournalError

_log = logging.getLogger("sinch_qn")

Network: TypeAlias = IPv4Network | IPv6Network

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src"
        " 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "X-Robots-Tag": "noindex, nofollow",
    "Server": "sinch-qn desk",
}
_TRANSPORT_SECURITY: Final = "max-age=31536000"

_SAFE_METHODS = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})


@web.middleware
async def refuse_foreign_writes(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a write that a browser sends for another site.

    A request with a bearer token is none: pages of other sites cannot set that header, as the desk
    answers no CORS preflight.
    """
    is_robot = request.headers.get(hdrs.AUTHORIZATION, "").startswith("Bearer ")
    if request.method not in _SAFE_METHODS and not is_robot and is_foreign(request):
        text = "This form was sent from another site. Open your link again."
        return web.Response(status=403, text=text)
    return await handler(request)


@web.middleware
async def answer_outages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer with 503 while the journal cannot be used: its database may be away for a moment."""
    try:
        return await handler(request)
    except JournalError:
        _log.warning("the journal of the desk cannot be used")
        text = "The run's journal cannot be reached now. Try again in a moment."
        headers = {hdrs.RETRY_AFTER: "5"}
        return web.Response(status=503, text=text, headers=headers)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers of every response."""
    response.headers.update(_HEADERS)
    if request.app[DESK].is_https:
        response.headers["Strict-Transport-Security"] = _TRANSPORT_SECURITY


def is_foreign(request: web.Request) -> bool:
    """Return whether a browser says that another site sent *request*.

    Browsers say it in `Sec-Fetch-Site`; without TLS only in `Origin`, which a page without referrer
    sends as `null`: then the token of the form or link decides. Programs send neither.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get(hdrs.ORIGIN, "null")
    own = urlsplit(request.app[DESK].public_url)
    allowed = ("null", f"{own.scheme}://{own.netloc}", f"{request.scheme}://{request.host}")
    return origin not in allowed


def parse_networks(texts: object) -> tuple[Network, ...]:
    """Return the networks of proxies whose `X-Forwarded-For` is believed.

    Each is an address or a network such as `10.0.0.0/8`. Raises `InvalidRequestError`.
    """
    if isinstance(texts, str) or not hasattr(texts, "__iter__"):
        raise InvalidRequestError("trusted_proxies: expected networks, such as ['10.0.0.0/8']")
    try:
        return tuple(ip_network(text) for text in texts)
    except ValueError as error:
        raise InvalidRequestError(f"trusted_proxies: {error}") from error


def client_address(request: web.Request) -> str:
    """Return the address that limits count: of an IPv6 client its network, as it has them all.

    `X-Forwarded-For` is read from its end, for as long as the proxies are trusted ones. Some add a
    header of their own behind the one that the client sent.
    """
    trusted = request.app[DESK].trusted_proxies
    forwarded = ",".join(request.headers.getall("X-Forwarded-For", ()))
    hops = [hop.strip() for hop in forwarded.split(",")]
    text = request.remote or ""
    while hops and (address := _parse(text)) and any(address in each for each in trusted):
        text = hops.pop() or text
    address = _parse(text)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return str(address or "")


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    """Return an address; that of IPv4 in one of IPv6, as a socket for both shows it."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
