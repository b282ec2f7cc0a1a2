"""The contenders: one GET of one number, or a similar request, with each library.

Each imports its library when it is opened, so that its memory can be measured separately.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from server import PROJECT

NUMBER = "+12025550134"
HEADERS = {"Authorization": "Bearer bench"}
SPEC = Path(__file__).parents[1] / "openapi" / "qualified-numbers.yaml"

Call = Callable[[], Awaitable[Any]]
"""Makes one call."""


def url_of(base_url: str) -> str:
    """Return the URL of the number."""
    return f"{base_url}/v1/projects/{PROJECT}/qualifiedNumbers/{NUMBER}"


@contextlib.asynccontextmanager
async def sinch_qn(base_url: str) -> AsyncIterator[Call]:
    """Ours: token, deadline, retries, connection cap, typed result."""
    ours = import_module("sinch_qn")
    auth = ours.OAuth2("key", "secret", token_url=base_url + "/oauth2/token")
    async with ours.QualifiedNumbersClient(PROJECT, auth, base_url=base_url) as client:
        yield lambda: client.get_number(NUMBER)


@contextlib.asynccontextmanager
async def aiohttp_read(base_url: str) -> AsyncIterator[Call]:
    """Bare aiohttp: the response's bytes only."""
    url = url_of(base_url)
    async with import_module("aiohttp").ClientSession() as session:

        async def call() -> bytes:
            async with session.get(url, headers=HEADERS) as answer:
                return await answer.read()

        yield call


@contextlib.asynccontextmanager
async def snippet(base_url: str) -> AsyncIterator[Call]:
    """Typical handwritten code with aiohttp."""
    url = url_of(base_url)
    async with import_module("aiohttp").ClientSession() as session:

        async def call() -> Any:
            async with session.get(url, headers=HEADERS) as answer:
                answer.raise_for_status()
                return await answer.json()

        yield call


@contextlib.asynccontextmanager
async def httpx_json(base_url: str) -> AsyncIterator[Call]:
    """Typical handwritten code with httpx."""
    url = url_of(base_url)
    httpx = import_module("httpx")
    limits = httpx.Limits(max_connections=1000, max_keepalive_connections=1000)
    async with httpx.AsyncClient(limits=limits) as client:

        async def call() -> Any:
            answer = await client.get(url, headers=HEADERS)
            answer.raise_for_status()
            return answer.json()

        yield call


@contextlib.asynccontextmanager
async def generated(base_url: str) -> AsyncIterator[Call]:
    """A client that openapi-python-client generates from this project's API description."""
    folder = Path(__file__).parents[1] / "build" / "generated"
    if not folder.exists():
        folder.parent.mkdir(exist_ok=True)
        command = [Path(sys.executable).with_name("openapi-python-client"), "generate"]
        options = ["--path", SPEC, "--output-path", folder / "generated_qn", "--meta", "none"]
        folder.mkdir()
        subprocess.run([*command, *options], check=True, capture_output=True)  # noqa: S603
    sys.path.insert(0, str(folder))
    client_module = import_module("generated_qn")
    get = import_module("generated_qn.api.qualified_numbers.get_qualified_number")
    httpx = import_module("httpx")
    limits = httpx.Limits(max_connections=1000, max_keepalive_connections=1000)
    client = client_module.AuthenticatedClient(
        base_url=base_url, token="bench", httpx_args={"limits": limits}
    )
    async with client:
        yield lambda: get.asyncio(PROJECT, NUMBER, client=client)


@contextlib.asynccontextmanager
async def telnyx(base_url: str) -> AsyncIterator[Call]:
    """Telnyx's SDK with a similar call."""
    module = import_module("telnyx")
    async with module.AsyncTelnyx(api_key="bench", base_url=base_url) as client:
        yield lambda: client.verified_numbers.retrieve(NUMBER)


@contextlib.asynccontextmanager
async def vendor(base_url: str) -> AsyncIterator[Call]:
    """The vendor's SDK with a similar call: it is sequential and lacks this API."""
    module = import_module("sinch")
    client = module.SinchClient(project_id=PROJECT, key_id="key", key_secret="secret")
    client.configuration.auth_origin = base_url
    client.configuration.numbers_origin = base_url

    async def call() -> Any:
        return client.numbers.get(phone_number=NUMBER)

    yield call


OURS, READ, BY_HAND, GENERATED, TELNYX, VENDOR = (
    "sinch_qn",
    "aiohttp, read()",
    "aiohttp, json() by hand",
    "openapi-python-client",
    "AsyncTelnyx",
    "sinch SDK (sequential)",
)
CONTENDERS = {
    OURS: sinch_qn,
    READ: aiohttp_read,
    BY_HAND: snippet,
    "httpx, json() by hand": httpx_json,
    GENERATED: generated,
    TELNYX: telnyx,
    VENDOR: vendor,
}
SEQUENTIAL = {VENDOR}
"""The contenders that make only one call at a time."""
