"""The desk's aiohttp application: `create_app`."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from aiohttp import web

from sinch_qn.bulk.journal.protocol import Journal
from sinch_qn.bulk.run import VoiceChallengeRun
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.desk.api import add_api_routes
from sinch_qn.desk.links import Links
from sinch_qn.desk.login import add_login_routes
from sinch_qn.desk.operator_pages import add_operator_routes
from sinch_qn.desk.pages import static_file
from sinch_qn.desk.person import add_person_routes
from sinch_qn.desk.problems import answer_problems
from sinch_qn.desk.security import (
    add_headers,
    answer_outages,
    parse_networks,
    refuse_foreign_writes,
)
from sinch_qn.desk.sessions import Sessions
from sinch_qn.desk.state import DESK, Desk
from sinch_qn.desk.tokens import Tokens
from sinch_qn.desk.watch import Watch
from sinch_qn.errors import InvalidRequestError

_MAX_BODY = 64 * 1024
"""Bytes of a request's body; an upload of numbers is streamed, and has a limit of its own."""


def create_app(
    client: QualifiedNumbersClient | None,
    journal: Journal,
    *,
    secret: str | bytes,
    public_url: str,
    run: VoiceChallengeRun | None = None,
    title: str = "Voice challenges",
    trusted_proxies: Iterable[str] = (),
) -> web.Application:
    """Return the desk of an open *journal*, to serve, or to mount with `add_subapp`.

    *secret*, at least 32 bytes, signs links and logins: keep it, or all links end. *public_url* is
    where people's browsers reach the application, path included. *run* is the run of this process;
    without it the journal's runners are elsewhere, pages act through the journal, and *client* may
    be None. *title* names the run to operators. *trusted_proxies* are the addresses or networks of
    proxies whose `X-Forwarded-For` is believed. Raises `InvalidRequestError`.

    Serve it with `access_log=None`: the URL of a person's page is the key to it.
    """
    key = secret.encode() if isinstance(secret, str) else secret
    middlewares = (refuse_foreign_writes, answer_outages, answer_problems)
    app = web.Application(client_max_size=_MAX_BODY, middlewares=middlewares)
    app[DESK] = Desk(
        client=client,
        journal=journal,
        run=run,
        public_url=_check_url(public_url),
        title=title,
        links=Links(journal, key),
        sessions=Sessions(journal, key, journal.now),
        tokens=Tokens(journal),
        watch=Watch(journal),
        trusted_proxies=parse_networks(trusted_proxies),
        clock=journal.now,
    )
    app.router.add_get("/static/{name}", static_file)
    add_login_routes(app)
    add_operator_routes(app)
    add_person_routes(app)
    add_api_routes(app)
    app.on_response_prepare.append(add_headers)
    app.on_shutdown.append(_close_watch)
    return app


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise InvalidRequestError(
            f"public_url: {url!r} is not an address such as 'https://desk.example'"
        )
    return url.rstrip("/")


async def _close_watch(app: web.Application) -> None:
    """End the streams of open pages, which would keep a server from stopping."""
    await app[DESK].watch.close()
