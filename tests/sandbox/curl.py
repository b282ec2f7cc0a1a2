"""Shared by the sandbox's tests: a plain HTTP client and a receiver of callbacks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from random import Random
from typing import Any, Self

import aiohttp
import attrs
import jsonschema_rs
from aiohttp import web
from yarl import URL

from sinch_qn.sandbox import Clock, Sandbox

NUMBER = "+12025550134"
TOLL_FREE = "+18335550134"


def order_of(*numbers: str, **more: Any) -> dict[str, Any]:
    """Return a body of textEnableNumbers."""
    body = {"regionCode": "US", "numbers": list(numbers), "servicePlanId": "plan"}
    return {**body, "blanketLoaInfo": {}, **more}


def conforms(component: str, value: Any) -> None:
    """Check *value* against a component of the API description."""
    text = resources.files("sinch_qn.sandbox").joinpath("openapi.json").read_text()
    schema = {"$ref": f"#/components/schemas/{component}", **json.loads(text)}
    jsonschema_rs.validate(schema, value, validate_formats=True)


@attrs.frozen
class Received:
    """A response as a plain HTTP client receives it."""

    status: int
    headers: Any
    body: bytes
    broken: bool = False
    """The connection ended before the body did."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Curl:
    """A plain HTTP client, independent of the library's."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession) -> None:
        self._sandbox = sandbox
        self._session = session
        session._retry_connection = False

    def key(self, key_secret: str | None = None) -> str:
        sandbox = self._sandbox
        return aiohttp.encode_basic_auth(sandbox.key_id, key_secret or sandbox.key_secret)

    async def fetch(
        self,
        method: str = "GET",
        path: str = f"/qualifiedNumbers/{NUMBER}",
        body: Any = None,
        *,
        data: bytes | None = None,
        authorization: str | None = None,
    ) -> Received:
        """Return the response, up to about 1 MB; *path* is the part after the project."""
        if not path.startswith(("/_sandbox", "/oauth2")):
            path = f"/v1/projects/{self._sandbox.project_id}{path}"
        async with self._session.request(
            method,
            URL(self._sandbox.base_url + path, encoded=True),
            data=(data := data if body is None else json.dumps(body).encode()),
            headers={
                "Authorization": authorization or self.key(),
                **({} if data is None else {"Content-Type": "application/json"}),
            },
            skip_auto_headers=["Content-Type"],
            allow_redirects=False,
        ) as response:
            read = b""
            try:
                while len(read) < 1_000_000 and (piece := await response.content.readany()):
                    read += piece
            except aiohttp.ClientPayloadError:
                return Received(response.status, response.headers, read, broken=True)
            return Received(response.status, response.headers, read)

    async def send(
        self, method: str, path: str, body: Any = None, **options: Any
    ) -> tuple[int, Any, Any]:
        """Return status, JSON and headers of a response; see `fetch`."""
        response = await self.fetch(method, path, body, **options)
        return response.status, response.json if response.body else None, response.headers

    async def token(self, key_secret: str | None = None, grant: str = "client_credentials") -> Any:
        return await self.send(
            "POST",
            "/oauth2/token",
            data=f"grant_type={grant}".encode(),
            authorization=self.key(key_secret),
        )


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[tuple[Sandbox, Curl]]:
    """Run a sandbox with a fixed random seed and a clock moved by hand."""
    settings = {"clock": Clock.stopped(), "random": Random(7), **settings}
    async with (
        Sandbox(**settings) as sandbox,
        aiohttp.ClientSession(auto_decompress=False) as session,
    ):
        yield sandbox, Curl(sandbox, session)


class Receiver:
    """Receives callbacks; responds to each with the next of *statuses*, then with 200."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.got: list[tuple[bytes, str]] = []
        self.paths: set[str] = set()
        self.arrived = asyncio.Event()
        self.url = ""

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_post("/{path}", self._take)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/hook"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        self.paths.add(request.path)
        self.got.append((await request.read(), request.headers["X-Sinch-Signature"]))
        self.arrived.set()
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, headers={"Location": "/elsewhere"})
