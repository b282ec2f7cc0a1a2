"""What every request and response of the desk goes through: headers, and the origin of writes."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from sinch_qn.desk.state import DESK

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
}

_SAFE_METHODS = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})


@web.middleware
async def refuse_foreign_writes(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a write that a browser sends for another site."""
    if request.method not in _SAFE_METHODS and is_foreign(request):
        text = "This form was sent from another site. Open your link again."
        return web.Response(status=403, text=text)
    return await handler(request)


async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Add the headers of every response."""
    response.headers.update(_HEADERS)


def is_foreign(request: web.Request) -> bool:
    """Return whether a browser says that another site sent *request*.

    Browsers say it in `Sec-Fetch-Site`, older ones in `Origin`. Programs send neither.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site not in ("same-origin", "none"):
        return True
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None:
        return False
    own = urlsplit(request.app[DESK].public_url)
    return origin not in (f"{own.scheme}://{own.netloc}", f"{request.scheme}://{request.host}")
