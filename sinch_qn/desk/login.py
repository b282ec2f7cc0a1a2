"""The operators' login, and what every page of theirs goes through: session and form token."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from aiohttp import hdrs, web

from sinch_qn.desk.attempts import Attempts
from sinch_qn.desk.forms import read_form
from sinch_qn.desk.links import Link, Subject
from sinch_qn.desk.pages import render
from sinch_qn.desk.security import client_address
from sinch_qn.desk.sessions import LIFETIME, Session
from sinch_qn.desk.state import DESK, Desk

Page: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

SESSION: Final = web.RequestKey("session", Session)
"""Where a page of an operator finds its session."""

_PER_ADDRESS: Final = web.AppKey("attempts_per_address", Attempts)
_IN_ALL: Final = web.AppKey("attempts_in_all", Attempts)
_PERIOD: Final = 300.0
"""Seconds that a wrong secret counts."""
_MESSAGE_AGE: Final = 120.0
"""Seconds that a page says what the action before it did."""

_NEXT: Final = re.compile(r"/operator(/[A-Za-z0-9_-]+)*(\?[A-Za-z0-9_=&-]*)?")
"""The pages that a login leads to: none of another site."""


def add_login_routes(app: web.Application) -> None:
    """Add the login to *app*."""
    app[_PER_ADDRESS] = Attempts(10, _PERIOD)
    app[_IN_ALL] = Attempts(100, _PERIOD)
    app.router.add_get("/", _home)
    app.router.add_get("/operator/login", _show_login)
    app.router.add_post("/operator/login", _log_in)
    app.router.add_post("/operator/logout", as_operator(_log_out))


def as_operator(page: Page, *, is_streamed: bool = False) -> Page:
    """Return *page* for operators only; a POST has to carry the token of its session's forms.

    A page whose body is streamed checks the token itself, by `check_form_token`.
    """

    async def guarded(request: web.Request) -> web.StreamResponse:
        desk = request.app[DESK]
        session = await _read_session(request)
        if session is None or not session.is_operator:
            return _refuse(request, desk)
        request[SESSION] = session
        try:
            if request.method == hdrs.METH_POST and not is_streamed:
                check_form_token(request, (await read_form(request)).get("token"))
            response = await page(request)
        except web.HTTPClientError as error:
            return _message(desk, error.status, error.reason, error.text or "")
        renewed = desk.sessions.renew(session)
        if renewed is not None and not response.prepared and page is not _log_out:
            _set_cookie(response, desk, renewed)
        return response

    return guarded


def check_form_token(request: web.Request, token: object) -> None:
    """Refuse a form that was not made for this session."""
    if not request.app[DESK].sessions.is_form_token(request[SESSION], token):
        raise web.HTTPForbidden(text="This page is too old. Go back, reload it, and try again.")


def operator_page(
    request: web.Request, template: str, *, status: int = 200, **values: Any
) -> web.Response:
    """Return a page for the operator who is logged in."""
    return render(template, status=status, **page_values(request), **values)


def page_values(request: web.Request) -> dict[str, Any]:
    """Return what every page of operators shows, and what its forms carry."""
    desk = request.app[DESK]
    session = request[SESSION]
    return {
        "root": desk.root,
        "title": desk.title,
        "project": desk.client.project_id if desk.client else None,
        "form_token": desk.sessions.form_token(session),
        "said": _said(request, desk),
        "path": desk.path,
        "when": _when,
    }


def _when(at: float) -> tuple[str, str]:
    """Return a time for machines, and for people, whose script shows it in their own zone."""
    then = datetime.fromtimestamp(at, UTC)
    return f"{then:%Y-%m-%dT%H:%M:%SZ}", f"{then:%d %b, %H:%M} UTC"


def see_other(path: str) -> web.Response:
    """Return the redirect to a page that is got, also after a POST."""
    return web.Response(status=303, headers={hdrs.LOCATION: path})


def redirect(desk: Desk, path: str, message: str = "") -> web.Response:
    """Return the redirect after a POST, to *path*, which says *message* there.

    The message is encrypted in the URL: it may have a number in it, and nobody else can make one.
    """
    if message:
        sealed = desk.links.seal(Link(Subject.OPERATOR, f"{desk.clock():.0f} {message}"))
        path += ("&" if "?" in path else "?") + f"said={sealed}"
    return see_other(path)


def _said(request: web.Request, desk: Desk) -> str | None:
    link = desk.links.unseal(request.query.get("said", ""))
    if link is None or link.subject is not Subject.OPERATOR:
        return None
    at, _, message = link.value.partition(" ")
    return message if desk.clock() - float(at) < _MESSAGE_AGE else None


# ── The login ───────────────────────────────────────────────────────────────────────────────────


async def _home(request: web.Request) -> web.StreamResponse:
    return see_other(request.app[DESK].path("operator"))


async def _show_login(request: web.Request, error: str = "", status: int = 200) -> web.Response:
    desk = request.app[DESK]
    session = await _read_session(request)
    if session is not None and session.is_operator:
        return see_other(desk.path("operator"))
    session = session or await desk.sessions.start(is_operator=False)
    response = render(
        "login.html",
        status=status,
        root=desk.root,
        title=desk.title,
        form_token=desk.sessions.form_token(session),
        next=request.query.get("next", ""),
        error=error,
        path=desk.path,
    )
    _set_cookie(response, desk, session)
    return response


async def _log_in(request: web.Request) -> web.StreamResponse:
    desk, form = request.app[DESK], await read_form(request)
    attempts = (request.app[_PER_ADDRESS], client_address(request)), (request.app[_IN_ALL], "")
    wait = max(counter.wait(key) for counter, key in attempts)
    if wait:
        text = f"Too many wrong secrets. Try again in {wait / 60:.0f} min."
        response = await _show_login(request, text, 429)
        response.headers[hdrs.RETRY_AFTER] = f"{wait:.0f}"
        return response
    session = await _read_session(request)
    if session is None or not desk.sessions.is_form_token(session, form.get("token")):
        text = "The page was open for too long, or the browser keeps no cookies. Try again."
        return await _show_login(request, text, 403)
    if not await desk.sessions.is_operator_secret(str(form.get("secret", ""))):
        for counter, key in attempts:
            counter.count(key)
        text = "This is not the operators' secret. `sinch-qn desk JOURNAL --show-secret` shows it."
        return await _show_login(request, text, 403)
    response = see_other(desk.root + _next_path(request))
    _set_cookie(response, desk, await desk.sessions.start(is_operator=True))
    return response


async def _log_out(request: web.Request) -> web.StreamResponse:
    desk = request.app[DESK]
    await desk.sessions.end(request[SESSION])
    response = see_other(desk.path("operator/login"))
    response.del_cookie(_cookie_name(desk), path=desk.root or "/")
    return response


def _refuse(request: web.Request, desk: Desk) -> web.Response:
    """Lead to the login, and back to the page that was asked for."""
    if request.method == hdrs.METH_POST:
        text = "Your login has ended, and nothing was done. Log in, then try again."
        return _message(desk, 403, "Not logged in", text)
    asked = request.path_qs.removeprefix(desk.root) if desk.root else request.path_qs
    return see_other(desk.path("operator/login") + _query(asked))


def _message(desk: Desk, status: int, heading: str, text: str) -> web.Response:
    return render(
        "operator_message.html",
        status=status,
        root=desk.root,
        title=desk.title,
        path=desk.path,
        heading=heading,
        message=text,
    )


def _query(asked: str) -> str:
    plain = _NEXT.fullmatch(asked)
    if plain is None or asked == "/operator":
        return ""
    return f"?next={asked.replace('?', '%3F').replace('&', '%26').replace('=', '%3D')}"


def _next_path(request: web.Request) -> str:
    asked = request.query.get("next", "")
    return asked if _NEXT.fullmatch(asked) else "/operator"


# ── The cookie ──────────────────────────────────────────────────────────────────────────────────


async def _read_session(request: web.Request) -> Session | None:
    desk = request.app[DESK]
    return await desk.sessions.read(request.cookies.get(_cookie_name(desk), ""))


def _cookie_name(desk: Desk) -> str:
    """Return a name of this journal's own: ports of one host share their cookies."""
    own = desk.sessions.name
    return f"__Secure-{own}" if desk.is_https else own


def _set_cookie(response: web.StreamResponse, desk: Desk, session: Session) -> None:
    response.set_cookie(
        _cookie_name(desk),
        desk.sessions.seal(session),
        max_age=int(LIFETIME),
        path=desk.root or "/",
        secure=desk.is_https,
        httponly=True,
        samesite="Strict",
    )
