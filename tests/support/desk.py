"""A code desk on loopback, and an operator's browser without JavaScript."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape
from typing import Any

import attrs
from aiohttp import ClientResponse, FormData, web
from aiohttp.test_utils import TestClient, TestServer

from sinch_qn.bulk import MemoryJournal, VoiceChallengeRun
from sinch_qn.bulk.journal import Journal
from sinch_qn.desk import create_app
from sinch_qn.desk.state import DESK
from sinch_qn.sandbox import Sandbox

SECRET = b"0123456789abcdef0123456789abcdef"
PUBLIC = "http://desk.example"


@attrs.frozen
class Page:
    """A response, read."""

    status: int
    path: str
    text: str
    headers: Any

    @property
    def words(self) -> str:
        """What a person reads."""
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", self.text)).split())

    def field(self, name: str) -> str:
        """Return the value of the first input of this name."""
        found = re.search(rf'name="{name}"[^>]* value="([^"]*)"', self.text)
        assert found, f"no field {name} in {self.path}"
        return unescape(found[1])

    def link(self, pattern: str) -> str:
        """Return the first target of a link or form that matches."""
        for target in re.findall(r'(?:href|action)="([^"]*)"', self.text):
            if re.search(pattern, unescape(target)):
                return unescape(target)
        raise AssertionError(f"no link {pattern} in {self.path}")


@attrs.define
class Browser:
    """A browser that keeps cookies and follows redirects."""

    client: TestClient[web.Request, web.Application]
    app: web.Application

    async def get(self, path: str, **options: Any) -> Page:
        """Open a page."""
        async with self.client.get(path, **options) as response:
            return await _read(response)

    async def post(
        self, path: str, form: dict[str, Any] | FormData | None = None, **options: Any
    ) -> Page:
        """Submit a form."""
        async with self.client.post(path, data=form or {}, **options) as response:
            return await _read(response)

    async def log_in(self, secret: str | None = None, path: str = "/operator/login") -> Page:
        """Log in with *secret*, or the right one."""
        page = await self.get(path)
        form = {"token": page.field("token")}
        form["secret"] = secret or await self.app[DESK].sessions.operator_secret()
        return await self.post(page.link("/operator/login"), form)


async def _read(response: ClientResponse) -> Page:
    text = await response.text()
    return Page(response.status, response.url.path_qs, text, response.headers)


@asynccontextmanager
async def browsing(app: web.Application, outer: web.Application | None = None) -> Any:
    """Serve *app*, in *outer* if it is mounted there; yield a browser."""
    async with TestClient(TestServer(outer or app)) as client:
        yield Browser(client, app)


@attrs.define
class Site:
    """A desk beside a run on a sandbox."""

    sandbox: Sandbox
    run: VoiceChallengeRun
    journal: Journal
    app: web.Application
    browser: Browser


@asynccontextmanager
async def site(
    sandbox: Sandbox, journal: Journal | None = None, **options: Any
) -> AsyncIterator[Site]:
    """Run on *sandbox*, with a desk beside it and an operator who is logged in."""
    journal = journal or MemoryJournal()
    settings = {"calls_per_second": 1000.0, "max_ringing": 1000, "recheck": 0.1} | options
    async with sandbox.client() as client, VoiceChallengeRun(client, journal, **settings) as run:
        app = create_app(client, journal, secret=SECRET, public_url=PUBLIC, run=run, title="run.db")
        async with browsing(app) as browser:
            await browser.log_in()
            yield Site(sandbox, run, journal, app, browser)
