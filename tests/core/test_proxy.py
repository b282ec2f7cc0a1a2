"""Requests through an HTTP proxy, with own TLS settings and own headers."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import trustme

from sinch_qn import BasicAuth, OAuth2, Proxy, QualifiedNumbersClient, RetryPolicy
from sinch_qn.errors import (
    ConnectError,
    DeadlineExceededError,
    InvalidRequestError,
    Outcome,
    SinchError,
)
from tests.support.http_proxy import HANG, http_proxying

NUMBER = "+12025550134"
ONCE = RetryPolicy(max_attempts=1)
AUTHORITY = trustme.CA()
CANARY = "canary"


def trusting() -> ssl.SSLContext:
    """Return a context that trusts our authority only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    AUTHORITY.configure_trust(context)
    return context


class Api:
    """An API on TLS, for any host that ends with `.invalid`."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.port = 0

    @property
    def options(self) -> dict[str, Any]:
        """The options of a client of it."""
        url = f"https://api.invalid:{self.port}"
        auth = OAuth2("key", "secret", token_url=f"https://auth.invalid:{self.port}/oauth2/token")
        return {"project_id": "p", "auth": auth, "base_url": url, "retry": ONCE}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Respond to each request of a connection, until one asks to close it."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                if "/oauth2/token" in head:
                    await reader.readexactly(len("grant_type=client_credentials"))
                    body = b'{"access_token":"abc","expires_in":3600}'
                else:
                    body = b'{"phoneNumber":"+12025550134"}'
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                if "connection: close" in head.lower():
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(*, client_certificate: bool = False) -> AsyncIterator[Api]:
    """Serve the API, which may ask for a client certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("api.invalid", "auth.invalid", "localhost").configure_cert(context)
    if client_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
        AUTHORITY.configure_trust(context)
    api = Api()
    served: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.add(task)
        await api.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    api.port = server.sockets[0].getsockname()[1]
    try:
        yield api
    finally:
        server.close()
        await asyncio.wait(served or {asyncio.create_task(asyncio.sleep(0))}, timeout=5)


@pytest.mark.parametrize("credentials", ["", "user:p@ss"])
async def test_both_kinds_of_connections_and_the_token_go_through(credentials: str) -> None:
    """Token, GET, a phone call and a prepared one are tunnelled; the target sees no proxy."""
    async with serving() as api, http_proxying(credentials=credentials) as proxy:
        url = proxy.url.replace(
            "//", f"//{credentials.replace('p@', 'p%40')}@" if credentials else "//"
        )
        async with QualifiedNumbersClient(**api.options, proxy=url, ssl=trusting()) as client:
            await client.get_number(NUMBER)
            await client.get_number(NUMBER)
            await client.send_voice_challenge(NUMBER)
            await client.send_voice_challenge(NUMBER, prepared=await client.prepare())
    hosts = [line.split()[1].partition(":")[0] for line in proxy.asked]
    assert all(line.startswith("CONNECT ") for line in proxy.asked)
    assert hosts == ["auth.invalid", *["api.invalid"] * 3], "GETs share one connection"
    assert len(api.heads) == 5
    assert "proxy" not in "".join(api.heads).lower()


@pytest.mark.parametrize("status", [403, 407, 502])
async def test_a_proxy_that_refuses_is_not_sent(status: int) -> None:
    """What a proxy refuses to connect was not sent, phone calls too; no secret is in the error."""
    async with serving() as api, http_proxying(status) as proxy:
        url = proxy.url.replace("//", f"//{CANARY}:{CANARY}@")
        options = {**api.options, "auth": BasicAuth("key", "secret")}
        async with QualifiedNumbersClient(**options, proxy=url, ssl=trusting()) as client:
            for call in (client.get_number, client.send_voice_challenge):
                with pytest.raises(ConnectError) as caught:
                    await call(NUMBER)
                assert caught.value.outcome is Outcome.NOT_SENT
                assert f"the proxy refused to connect: HTTP {status}" in str(caught.value)
                assert CANARY not in f"{caught.value!r} {vars(caught.value)}"
            assert CANARY not in repr(client)
    assert api.heads == []


async def test_a_proxy_that_is_away_or_hangs_is_not_sent() -> None:
    """Without a proxy, or without its response, nothing was sent."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    options: dict[str, Any] = {"project_id": "p", "auth": BasicAuth("k", "s"), "retry": ONCE}
    async with QualifiedNumbersClient(**options, proxy=url) as client:
        with pytest.raises(ConnectError):
            await client.send_voice_challenge(NUMBER)
    async with (
        http_proxying(HANG) as proxy,
        QualifiedNumbersClient(**options, proxy=proxy.url) as client,
    ):
        with pytest.raises(DeadlineExceededError) as late:
            await client.send_voice_challenge(NUMBER, timeout=0.2)
    assert late.value.outcome is Outcome.NOT_SENT


@pytest.mark.parametrize("credentials", ["", "user:pass"])
async def test_plain_http_is_forwarded(sandbox: Any, credentials: str) -> None:
    """To an http:// address the proxy gets the whole address, on kept connections too."""
    sandbox.add([NUMBER])
    auth = OAuth2(sandbox.key_id, sandbox.key_secret, token_url=sandbox.token_url)
    async with http_proxying(credentials=credentials) as proxy:
        url = proxy.url.replace("//", f"//{credentials}@" if credentials else "//")
        async with QualifiedNumbersClient(
            sandbox.project_id, auth, base_url=sandbox.base_url, proxy=url, retry=ONCE
        ) as client:
            await client.send_voice_challenge(NUMBER)
    assert [line.split()[1].startswith(sandbox.base_url) for line in proxy.asked] == [True, True]
    assert sandbox.world.rings(NUMBER) == 1


async def test_a_client_certificate_is_shown() -> None:
    """With a context that has one, a server that asks for a certificate is reached."""
    with_certificate = trusting()
    AUTHORITY.issue_cert("client.invalid").configure_cert(with_certificate)
    async with serving(client_certificate=True) as api, http_proxying() as proxy:
        for context, reached in ((with_certificate, True), (trusting(), False)):
            async with QualifiedNumbersClient(
                **api.options, proxy=proxy.url, ssl=context
            ) as client:
                try:
                    await client.get_number(NUMBER)
                except SinchError:
                    assert not reached
                else:
                    assert reached


async def test_an_authority_that_is_not_trusted_is_not_sent() -> None:
    """Without `ssl=` our authority is unknown: nothing is sent through the tunnel."""
    async with (
        serving() as api,
        http_proxying() as proxy,
        QualifiedNumbersClient(**api.options, proxy=proxy.url) as client,
    ):
        with pytest.raises(SinchError) as caught:
            await client.send_voice_challenge(NUMBER)
    assert caught.value.outcome is Outcome.NOT_SENT
    assert api.heads == []


async def test_headers_and_user_agent_are_sent_everywhere() -> None:
    """They are in requests for tokens, in GETs and in phone calls, with an own session too."""
    more = {"headers": {"X-Team": "blue", "accept": "x/y"}, "user_agent": "shop/1.2"}
    async with serving() as api, http_proxying() as proxy:
        options = {**api.options, **more}
        async with QualifiedNumbersClient(**options, proxy=proxy.url, ssl=trusting()) as client:
            await client.get_number(NUMBER)
            await client.send_voice_challenge(NUMBER)
        connector = aiohttp.TCPConnector(ssl=trusting())
        async with aiohttp.ClientSession(connector=connector, proxy=proxy.url) as session:
            options["auth"] = BasicAuth("k", "s")
            async with QualifiedNumbersClient(**options, session=session) as client:
                await client.get_number(NUMBER)
    assert len(api.heads) == 4
    for head in api.heads:
        lines = [line.lower() for line in head.split("\r\n")]
        assert [line for line in lines if line.startswith("x-team:")] == ["x-team: blue"]
        assert [line for line in lines if line.startswith("accept:")] == ["accept: x/y"]
        (agent,) = [line for line in lines if line.startswith("user-agent:")]
        assert agent.startswith("user-agent: shop/1.2 sinch-qn/")


ENV = {"SINCH_PROJECT_ID": "p", "SINCH_KEY_ID": "k", "SINCH_KEY_SECRET": "s", "SINCH_AUTH": "basic"}


@pytest.mark.parametrize(
    ("more", "through"),
    [
        ({"HTTPS_PROXY": "{proxy}"}, True),
        ({"https_proxy": "{proxy}", "HTTPS_PROXY": "http://127.0.0.1:9"}, True),
        ({"HTTPS_PROXY": "{proxy}", "NO_PROXY": "other.example,invalid"}, False),
        ({"HTTPS_PROXY": "{proxy}", "no_proxy": "*"}, False),
        ({"HTTP_PROXY": "{proxy}"}, False),
    ],
)
async def test_the_usual_variables(more: dict[str, str], through: bool) -> None:  # noqa: FBT001
    """`from_env` takes HTTPS_PROXY and NO_PROXY, in lower case first; an option wins."""
    async with serving() as api, http_proxying() as proxy:
        url = f"https://api.invalid:{api.port}"
        filled = {name: value.format(proxy=proxy.url) for name, value in more.items()}
        environment = {**ENV, **filled, "SINCH_BASE_URL": url}
        make = QualifiedNumbersClient.from_env
        async with make(environment, ssl=trusting(), retry=ONCE) as client:
            if through:
                await client.get_number(NUMBER)
            else:
                with pytest.raises(ConnectError):
                    await client.get_number(NUMBER)
        assert bool(proxy.asked) is through
        proxy.asked.clear()
        async with make(environment, ssl=trusting(), retry=ONCE, proxy=None) as client:
            with pytest.raises(ConnectError):
                await client.get_number(NUMBER)
        assert proxy.asked == []


@pytest.mark.parametrize(
    ("no_proxy", "host", "is_for"),
    [
        ("", "api.example.com", True),
        ("example.com", "api.example.com", False),
        (".example.com", "api.example.com", False),
        ("example.com", "example.com", False),
        ("ample.com", "api.example.com", True),
        (" EXAMPLE.com , x", "Api.Example.Com", False),
        ("api.example.com:443", "api.example.com", False),
        ("api.example.com:8443", "api.example.com", True),
        ("10.0.0.1", "10.0.0.1", False),
        (",", "api.example.com", True),
        ("*", "api.example.com", False),
    ],
)
def test_no_proxy_names_hosts_and_domains(no_proxy: str, host: str, is_for: bool) -> None:  # noqa: FBT001
    """A name excludes that host and all below it, with a port only that one."""
    assert Proxy("http://p:3128", no_proxy=no_proxy).is_for("https", host, 443) is is_for


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"proxy": "p:3128"}, "proxy: expected http://host:port"),
        ({"proxy": "socks5://canary@p:1080"}, "aiohttp-socks"),
        ({"proxy": "http://canary@:3128"}, "proxy: expected"),
        ({"proxy": "http://p:99999"}, "proxy: expected"),
        ({"proxy": "http://p\r\nX: canary"}, "proxy: expected"),
        ({"proxy": 1}, "proxy: expected"),
        ({"ssl": False}, "ssl: expected an ssl.SSLContext"),
        ({"ssl": "ca.pem"}, "ssl: expected an ssl.SSLContext"),
        ({"headers": {"Authorization": "canary"}}, "Authorization is set by the client"),
        ({"headers": {"X": "a\r\nY: canary"}}, "the value of X is not one line"),
        ({"headers": ["X"]}, "headers: expected a mapping"),
        ({"user_agent": "a\nb"}, "the value of User-Agent"),
        ({"user_agent": 1}, "the value of User-Agent"),
    ],
)
def test_bad_options_are_refused(options: Any, named: str) -> None:
    """An option that cannot be used is named when the client is made; no secret is shown."""
    with pytest.raises(InvalidRequestError) as caught:
        QualifiedNumbersClient("p", BasicAuth("k", "s"), **options)
    assert named in str(caught.value)
    assert CANARY not in str(caught.value)


async def test_an_external_session_has_its_own() -> None:
    """Beside an external session, proxy and TLS settings are refused: they would do nothing."""
    async with aiohttp.ClientSession() as session:
        several: list[dict[str, Any]] = [{"proxy": "http://p:1"}, {"ssl": trusting()}]
        for options in several:
            with pytest.raises(InvalidRequestError, match="external session"):
                QualifiedNumbersClient("p", BasicAuth("k", "s"), session=session, **options)
        environment = {**ENV, "HTTPS_PROXY": "http://p:1"}
        QualifiedNumbersClient.from_env(environment, session=session)
