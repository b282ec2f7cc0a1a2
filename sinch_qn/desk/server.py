"""Serves a desk on a port of its own; what its replicas share is in the journal."""

from __future__ import annotations

import secrets
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Final

import attrs
from aiohttp import web

from sinch_qn.bulk.journal.protocol import Journal
from sinch_qn.bulk.run import VoiceChallengeRun
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.desk.app import create_app
from sinch_qn.desk.links import Subject
from sinch_qn.desk.state import DESK, Desk
from sinch_qn.errors import InvalidRequestError

_SECRET: Final = "desk secret"  # noqa: S105 - the name of a bookmark
_SHOWN: Final = "desk secret shown"
_URL: Final = "desk url"
_SHUTDOWN_TIMEOUT: Final = 2.0
"""Seconds that requests may take once the desk ends."""


@attrs.frozen(kw_only=True)
class ServedDesk:
    """A desk that is being served."""

    public_url: str
    new_secret: str | None = attrs.field(repr=False)
    """The operators' secret, if nobody was shown it before."""
    _desk: Desk = attrs.field(repr=False)

    @property
    def operator_url(self) -> str:
        """Where operators begin."""
        return f"{self.public_url}/operator"

    async def person_url(self, number: str) -> str:
        """Return the link to the page of *number*."""
        return await self._desk.url(Subject.NUMBER, number)


def listen(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """Return a socket that listens on *host*; *port* 0 is any free one. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


@asynccontextmanager
async def serve_desk(
    client: QualifiedNumbersClient | None,
    journal: Journal,
    listening: socket.socket,
    *,
    public_url: str | None = None,
    run: VoiceChallengeRun | None = None,
    title: str = "Voice challenges",
    trusted_proxies: Iterable[str] = (),
) -> AsyncIterator[ServedDesk]:
    """Serve the desk of an open *journal* while the block runs, on a socket from `listen`.

    *public_url* is where browsers reach it; by default its own address. Other options are those of
    `create_app`. The signing secret is in the journal, so links and logins survive a restart, and
    replicas agree. Raises `InvalidRequestError`.
    """
    with listening:
        app = create_app(
            client,
            journal,
            secret=await signing_secret(journal),
            public_url=public_url or _own_url(listening),
            run=run,
            title=title,
            trusted_proxies=trusted_proxies,
        )
        # No access log: the URL of a person's page is the key to it.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_TIMEOUT)
        await runner.setup()
        try:
            await web.SockSite(runner, listening).start()
            await journal.set_bookmark(_URL, app[DESK].public_url)
            own = secrets.token_hex(8)
            is_first = await journal.keep_bookmark(_SHOWN, own) == own
            yield ServedDesk(
                public_url=app[DESK].public_url,
                new_secret=await app[DESK].sessions.operator_secret() if is_first else None,
                desk=app[DESK],
            )
        finally:
            await runner.cleanup()


def _own_url(listening: socket.socket) -> str:
    host, port, *_ = listening.getsockname()
    if ip_address(host).is_unspecified:
        raise InvalidRequestError(
            "public_url: needed for a desk that listens on all addresses, such as"
            " https://desk.example"
        )
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def signing_secret(journal: Journal) -> bytes:
    """Return the secret that signs the links and logins of *journal*; made when first needed."""
    return (await journal.keep_bookmark(_SECRET, secrets.token_urlsafe(48))).encode()


async def last_served_url(journal: Journal) -> str | None:
    """Return where a desk of *journal* was served last."""
    return await journal.bookmark(_URL)
