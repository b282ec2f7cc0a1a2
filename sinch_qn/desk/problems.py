"""Errors of the HTTP API, as RFC 9457 has them: `application/problem+json`."""

from __future__ import annotations

import logging
import math
from typing import Any, Final

import orjson
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from sinch_qn.errors import JournalError

_log = logging.getLogger("sinch_qn")

_PREFIX: Final = "urn:sinch-qn:desk:"
_OUTAGE: Final = 5.0
"""Seconds after which a journal that is away is worth another try."""


class Problem(Exception):  # noqa: N818 - as the RFC names it
    """A request that is answered with an error. Its words have no code, and numbers are masked."""

    def __init__(
        self, status: int, kind: str, detail: str, *, retry_after: float | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail = status, kind, detail
        self.headers: dict[str, str] = {}
        if retry_after is not None:
            self.headers[hdrs.RETRY_AFTER] = str(max(1, math.ceil(retry_after)))
        if status == web.HTTPUnauthorized.status_code:
            self.headers[hdrs.WWW_AUTHENTICATE] = 'Bearer realm="desk"'


@web.middleware
async def answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer robots in JSON whatever goes wrong, also where there is no such path or method."""
    if "/api/" not in request.path:  # wherever it is mounted, and whatever a proxy made of the path
        return await handler(request)
    try:
        return await handler(request)
    except Problem as problem:
        return _answer(problem)
    except JournalError:
        _log.warning("the journal of the desk cannot be used")
        detail = "The run's journal cannot be reached now. Repeat the request in a moment."
        return _answer(Problem(503, "journal-unavailable", detail, retry_after=_OUTAGE))
    except web.HTTPError as error:
        kind = error.reason.lower().replace(" ", "-")
        found = Problem(error.status, kind, f"{error.reason}.")
        if hdrs.ALLOW in error.headers:
            found.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
        return _answer(found)


def _answer(problem: Problem) -> web.Response:
    values: dict[str, Any] = {
        "type": _PREFIX + problem.kind,
        "title": problem.kind.replace("-", " ").capitalize(),
        "status": problem.status,
        "detail": problem.detail,
    }
    return web.Response(
        status=problem.status,
        body=orjson.dumps(values),
        content_type="application/problem+json",
        headers=problem.headers,
    )
