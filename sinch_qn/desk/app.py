"""The desk's aiohttp application: `create_app`."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from sinch_qn.bulk.journal.protocol import Journal
from sinch_qn.bulk.run import VoiceChallengeRun
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.desk.links import Links
from sinch_qn.desk.pages import static_file
from sinch_qn.desk.security import add_headers, refuse_foreign_writes
from sinch_qn.desk.state import DESK, Desk
from sinch_qn.desk.watch import Watch

_MAX_BODY = 64 * 1024
"""Bytes of a request's body; an upload of numbers is streamed, and has a limit of its own."""


def create_app(
    client: QualifiedNumbersClient,
    journal: Journal,
    *,
    secret: str | bytes,
    public_url: str,
    run: VoiceChallengeRun | None = None,
) -> web.Application:
    """Return the desk of an open *journal*, to serve, or to mount with `add_subapp`.

    *secret*, at least 32 bytes, signs links and logins: keep it, or all links end. *public_url* is
    where people's browsers reach the application, path included. *run* is the run of this process;
    without it the journal's runners are elsewhere, and pages act through the journal.
    """
    key = secret.encode() if isinstance(secret, str) else secret
    app = web.Application(client_max_size=_MAX_BODY, middlewares=[refuse_foreign_writes])
    app[DESK] = Desk(
        client=client,
        journal=journal,
        run=run,
        public_url=public_url.rstrip("/"),
        links=Links(journal, key),
        watch=Watch(journal),
    )
    app.router.add_get("/static/{name}", static_file)
    app.on_response_prepare.append(add_headers)
    app.cleanup_ctx.append(_close_watch)
    return app


async def _close_watch(app: web.Application) -> AsyncIterator[None]:
    yield
    await app[DESK].watch.close()
