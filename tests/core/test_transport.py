"""The transport: every failure of a socket has one error and one outcome, on real sockets."""

from __future__ import annotations

import asyncio
import gc
import re
import socket
import ssl
import struct
import tracemalloc
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sinch_qn import BasicAuth, OAuth2, QualifiedNumbersClient, RetryPolicy
from sinch_qn._connections import Progress
from sinch_qn._http import Request, Response
from sinch_qn._transport import Transport
from sinch_qn.auth import Token
from sinch_qn.errors import (
    ClosedError,
    ConnectError,
    DeadlineExceededError,
    InvalidResponseError,
    Outcome,
    PermissionDeniedError,
    RateLimitError,
    SinchError,
    StatusError,
    TokenError,
    TransportError,
)

NUMBER = "+12025550134"
SECRET = "canary0123456789"
ONCE = RetryPolicy(max_attempts=1)
SOON = RetryPolicy(base_delay=0.0)

Reply = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


def http(
    body: bytes = b'{"phoneNumber": "+12025550134"}', head: str = "", status: int = 200
) -> bytes:
    """Return a response that keeps the connection alive."""
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body


async def eof(writer: asyncio.StreamWriter) -> None:
    """Close without a response."""
    writer.close()


async def reset(writer: asyncio.StreamWriter) -> None:
    """Reset: RST instead of FIN."""
    peer = writer.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def hang(writer: asyncio.StreamWriter) -> None:
    """Never respond."""
    await asyncio.Event().wait()


def half(answer: bytes, then: Callable[[asyncio.StreamWriter], Awaitable[None]] = eof) -> Reply:
    """Return a reply that ends before its last bytes."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(answer[:-5])
        await writer.drain()
        await then(writer)

    return reply


def endless(head: str, chunk: bytes = b" " * 65536) -> Reply:
    """Return a reply whose body is much larger than any limit here."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode())
        with suppress(OSError):
            for _ in range(100_000_000 // len(chunk)):
                writer.write(chunk)
                await writer.drain()
        writer.close()

    return reply


async def byte_by_byte(writer: asyncio.StreamWriter) -> None:
    """Send one byte at a time."""
    for byte in http():
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0)


class Server:
    """A raw server: one reply from its list for each request, the last one repeatedly."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = replies
        self.heads: list[str] = []
        self.connections = 0
        self.asked = asyncio.Event()
        self.url = ""
        self._tasks: set[asyncio.Task[Any]] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with suppress(asyncio.CancelledError, asyncio.IncompleteReadError, OSError):
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                self.asked.set()
                reply = self.replies[min(len(self.heads), len(self.replies)) - 1]
                if callable(reply):
                    await reply(writer)
                else:
                    writer.write(reply)
                    await writer.drain()
        writer.close()

    async def stop(self) -> None:
        """Close all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def serving(*replies: Reply) -> AsyncIterator[Server]:
    """Run a raw server."""
    server = Server(*replies)
    async with await asyncio.start_server(server.handle, "127.0.0.1", 0) as listening:
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        try:
            yield server
        finally:
            await server.stop()


def make_client(url: str, **options: Any) -> QualifiedNumbersClient:
    """Return a client of the server at *url*."""
    return QualifiedNumbersClient("p", BasicAuth("key", SECRET), base_url=url, **options)


@asynccontextmanager
async def transport(**options: Any) -> AsyncIterator[Transport]:
    """Return a transport that is closed at the end."""
    made = Transport(**options)
    try:
        yield made
    finally:
        await made.close()


def get(url: str, *, fresh: bool = False) -> Request:
    """Return a request with a secret in it."""
    return Request("GET", url, {"Authorization": SECRET}, None, fresh)


async def failing(call: Awaitable[object]) -> SinchError:
    """Return the error of the call, after searching it for secrets."""
    with pytest.raises(SinchError) as caught:
        await call
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in repr(error) + str(error) + repr(vars(error))
        assert not hasattr(error, "request_info")
        error = error.__cause__ or error.__context__
    return caught.value


# ---- connections that break --------------------------------------------------------------------

BROKEN: dict[str, Reply] = {
    "EOF before the answer": eof,
    "RST before the answer": reset,
    "EOF in the head": half(b"HTTP/1.1 200 OK\r\nContent-"),
    "EOF in the body": half(http()),
    "RST in the body": half(http(), reset),
    "EOF in a chunk": half(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{}....."),
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_broken_after_sending(kind: str) -> None:
    """A connection that breaks after sending is UNKNOWN; a voice call is not retried."""
    async with serving(BROKEN[kind]) as server, make_client(server.url, retry=SOON) as client:
        error = await failing(client.send_voice_challenge(NUMBER))
        assert type(error) is TransportError
        assert error.outcome is Outcome.UNKNOWN
        assert error.attempts == len(server.heads) == 1


@pytest.mark.parametrize("kind", BROKEN)
async def test_get_survives_a_broken_connection(kind: str) -> None:
    """A GET is retried after a broken connection, exactly as often as its policy says."""
    async with serving(BROKEN[kind], http()) as server, make_client(server.url) as client:
        assert (await client.get_number(NUMBER, retry=SOON)).phone_number == NUMBER
        assert len(server.heads) == 2
    async with serving(BROKEN[kind]) as server, make_client(server.url) as client:
        error = await failing(client.get_number(NUMBER, retry=SOON))
        assert type(error) is TransportError
        assert error.attempts == len(server.heads) == 4


@pytest.mark.parametrize("kind", ["EOF before the answer", "RST before the answer"])
async def test_no_hidden_reconnect(kind: str) -> None:
    """Aiohttp retries nothing itself, not even on a connection that the server has just closed."""
    async with serving(http(), BROKEN[kind]) as server, make_client(server.url) as client:
        await client.get_number(NUMBER)
        error = await failing(client.get_number(NUMBER, retry=ONCE))
        assert type(error) is TransportError
        assert server.connections == 1  # it was the kept-alive connection
        assert len(server.heads) == 2
        error = await failing(client.delete_number(NUMBER, retry=ONCE))
        assert len(server.heads) == 3


async def test_non_idempotent_requests_use_a_new_connection() -> None:
    """GETs share a connection; a voice call never uses one that was used before."""
    async with serving(http()) as server, make_client(server.url) as client:
        for _ in range(3):
            await client.get_number(NUMBER)
        assert server.connections == 1
        for _ in range(3):
            await client.send_voice_challenge(NUMBER)
        assert server.connections == 4
        await client.get_number(NUMBER)
        assert server.connections == 4


async def test_refused() -> None:
    """A refused connection is a ConnectError, NOT_SENT, for every operation."""
    async with serving(http()) as server:
        url = server.url
    async with make_client(url) as client:
        for call in (client.send_voice_challenge, client.get_number):
            error = await failing(call(NUMBER, retry=SOON))
            assert type(error) is ConnectError
            assert error.outcome is Outcome.NOT_SENT
            assert error.attempts == 4


async def test_a_voice_call_waits_for_a_server_that_comes_up() -> None:
    """A refused connection called no phone, so the voice call is retried."""
    async with serving(http()) as server:
        url = server.url
    up: list[asyncio.Server] = []
    server = Server(http())

    async def start() -> None:
        up.append(await asyncio.start_server(server.handle, "127.0.0.1", int(url.split(":")[2])))

    starting: list[asyncio.Task[None]] = []

    def rule(failure: object) -> float | None:
        starting.append(asyncio.create_task(start()))
        return 0.05

    async with make_client(url, retry=rule) as client:
        await client.send_voice_challenge(NUMBER)
    assert len(starting) == len(server.heads) == 1
    up[0].close()
    await server.stop()


async def test_tls_that_fails() -> None:
    """A failed TLS handshake sends nothing: ConnectError, NOT_SENT."""

    async def no_tls(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(no_tls, "127.0.0.1", 0) as listening:
        url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with make_client(url) as client:
            error = await failing(client.send_voice_challenge(NUMBER, retry=ONCE))
    assert type(error) is ConnectError
    assert error.outcome is Outcome.NOT_SENT
    assert isinstance(error.__cause__, ssl.SSLError | aiohttp.ClientSSLError)


async def test_a_name_that_does_not_resolve() -> None:
    """A host name that DNS cannot resolve: ConnectError, NOT_SENT."""

    class NoSuchHost(aiohttp.abc.AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[aiohttp.abc.ResolveResult]:
            raise OSError(None, f"no such host: {host}, {port}, {family}")

        async def close(self) -> None:
            """Do nothing."""

    connector = aiohttp.TCPConnector(resolver=NoSuchHost())
    async with aiohttp.ClientSession(connector=connector) as session:
        client = make_client("https://nowhere.invalid", session=session)
        error = await failing(client.send_voice_challenge(NUMBER, retry=ONCE))
        assert type(error) is ConnectError
        assert error.outcome is Outcome.NOT_SENT


async def test_a_slow_response() -> None:
    """A server that accepts a voice call and never responds: the deadline passes, UNKNOWN."""
    async with serving(hang) as server, make_client(server.url) as client:
        error = await failing(client.send_voice_challenge(NUMBER, timeout=0.3))
        assert type(error) is DeadlineExceededError
        assert error.outcome is Outcome.UNKNOWN
        assert "waiting for the response" in str(error)
        assert len(server.heads) == 1


async def test_a_slow_loris() -> None:
    """A response that trickles in forever ends at the deadline, too."""

    async def trickle(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with serving(trickle) as server, make_client(server.url) as client:
        error = await failing(client.send_voice_challenge(NUMBER, timeout=0.3))
        assert type(error) is DeadlineExceededError
        assert error.outcome is Outcome.UNKNOWN


async def test_no_connection_free_in_time() -> None:
    """A call without a free connection in time was not sent, says so, and the next one works."""
    async with (
        serving(hang, http()) as server,
        make_client(server.url, max_connections=1) as client,
    ):
        first = asyncio.create_task(client.send_voice_challenge(NUMBER))
        await server.asked.wait()
        error = await failing(client.send_voice_challenge(NUMBER, timeout=0.05))
        assert type(error) is ConnectError
        assert error.outcome is Outcome.NOT_SENT
        assert "waiting for a free connection" in str(error)
        assert len(server.heads) == 1
        first.cancel()
        await asyncio.wait([first])
        assert first.cancelled()
        await client.send_voice_challenge(NUMBER)
        assert len(server.heads) == 2


async def test_cancelling_closes_the_connection() -> None:
    """A cancelled call closes its connection and leaves no task."""
    gone = asyncio.Event()

    class Watched(asyncio.Protocol):
        def data_received(self, _: bytes) -> None:
            asked.set()

        def connection_lost(self, _: Exception | None) -> None:
            gone.set()

    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with await loop.create_server(Watched, "127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with make_client(url) as client:
            before = asyncio.all_tasks()
            call = asyncio.create_task(client.get_number(NUMBER))
            await asked.wait()
            call.cancel()
            await asyncio.wait([call])
            assert call.cancelled()
            await asyncio.wait_for(gone.wait(), 5)
            assert asyncio.all_tasks() == before


# ---- answers that are refused ------------------------------------------------------------------


async def test_identity_is_asked_for() -> None:
    """Every request asks for an uncompressed response."""
    async with serving(http()) as server, make_client(server.url) as client:
        await client.get_number(NUMBER)
        await client.send_voice_challenge(NUMBER)
    for head in server.heads:
        assert head.count("User-Agent: sinch-qn/") == 1
        assert head.count("Accept-Encoding: identity\r\n") == 1
        assert "gzip" not in head


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, identity", "GZIP"])
async def test_an_encoded_body_is_refused(encoding: str) -> None:
    """A compressed body, which could be a bomb, is not unpacked: InvalidResponseError, UNKNOWN."""
    head = f"Content-Encoding: {encoding}\r\n"
    async with (
        serving(http(b"\x1f\x8b" + b"x" * 100, head)) as server,
        make_client(server.url) as client,
    ):
        error = await failing(client.get_number(NUMBER))
        assert type(error) is InvalidResponseError
        assert error.outcome is Outcome.UNKNOWN
        assert error.status_code == 200
        assert "encoded" in str(error)
        assert len(server.heads) == 1


@pytest.mark.parametrize("encoding", ["Identity", "utf-8", "UTF8", "none", ""])
async def test_what_is_no_encoding(encoding: str) -> None:
    """A body with the identity encoding is read, and one with a charset in that header's place."""
    async with (
        serving(http(head=f"Content-Encoding: {encoding}\r\n")) as server,
        make_client(server.url) as client,
    ):
        assert (await client.get_number(NUMBER)).phone_number == NUMBER


ENDLESS = {
    "chunked": endless(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"10000\r\n" + b" " * 65536 + b"\r\n",
    ),
    "until EOF": endless("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"),
    "announced": endless("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"),
}


@pytest.mark.parametrize("kind", ENDLESS)
async def test_an_endless_body_is_rejected(kind: str) -> None:
    """A body is read up to the limit only: InvalidResponseError, and little memory."""
    async with serving(ENDLESS[kind]) as server, transport(max_body=1_000_000) as wire:
        tracemalloc.start()
        try:
            error = await failing(wire.send(get(server.url)))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert type(error) is InvalidResponseError
        assert error.outcome is Outcome.UNKNOWN
        assert "1000000 bytes" in str(error)
        assert peak < 5_000_000


async def test_a_body_of_the_size_limit() -> None:
    """A body of exactly the limit is read."""
    async with serving(http(b"x" * 100_000)) as server, transport(max_body=100_000) as wire:
        assert (await wire.send(get(server.url))).body == b"x" * 100_000


async def test_one_byte_at_a_time() -> None:
    """A response may arrive in chunks of any size."""
    async with serving(byte_by_byte) as server, make_client(server.url) as client:
        assert (await client.get_number(NUMBER)).phone_number == NUMBER


UNREADABLE: dict[str, Reply] = {
    "encoded": http(b"\x1f\x8b", "Content-Encoding: gzip\r\n", 403),
    "endless": endless("HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n", b"x" * 4_000_000),
    "cut off": half(http(b'{"message": "no"}', status=403)),
    "reset": half(http(b'{"message": "no"}', status=403), reset),
    "HTML": http(b"<html>", status=403),
    "empty": http(b"", status=403),
}


@pytest.mark.parametrize("kind", UNREADABLE)
async def test_an_error_status_needs_no_body(kind: str) -> None:
    """An error status is REJECTED, even if its body is unreadable."""
    async with serving(UNREADABLE[kind]) as server, make_client(server.url) as client:
        error = await failing(client.send_voice_challenge(NUMBER))
        assert type(error) is PermissionDeniedError
        assert error.outcome is Outcome.REJECTED
        assert len(server.heads) == 1


async def test_limits_survive_an_unreadable_body() -> None:
    """The headers of an error with an unreadable body are used."""
    limited = half(http(b"too many", "Retry-After: 99\r\n", 429))
    async with serving(limited) as server, make_client(server.url) as client:
        error = await failing(client.send_voice_challenge(NUMBER, timeout=5.0))
        assert isinstance(error, RateLimitError)
        assert error.retry_after == 99


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    """A redirect is never followed: the credentials go to no other host."""
    async with serving(http()) as elsewhere:
        moved = http(b"", f"Location: {elsewhere.url}/\r\n", status)
        async with serving(moved) as server, make_client(server.url) as client:
            for call in (client.get_number, client.send_voice_challenge):
                error = await failing(call(NUMBER))
                assert type(error) is InvalidResponseError
                assert error.outcome is Outcome.UNKNOWN
        assert elsewhere.heads == []
        assert len(server.heads) == 2


@pytest.mark.parametrize(
    "garbage",
    [
        b"220 smtp.example ESMTP\r\n\r\n",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    ],
    ids=["another protocol", "no status", "no header", "huge header", "bad length"],
)
async def test_not_http(garbage: bytes) -> None:
    """A response that is not HTTP is an InvalidResponseError, UNKNOWN, without any secret."""
    async with serving(garbage) as server, make_client(server.url) as client:
        error = await failing(client.send_voice_challenge(NUMBER))
        assert isinstance(error, InvalidResponseError | TransportError)
        assert error.outcome is Outcome.UNKNOWN
        assert len(server.heads) == 1


# ---- sessions ----------------------------------------------------------------------------------


async def test_an_external_session_is_left_open() -> None:
    """An external session is used and left open."""
    async with serving(http()) as server, aiohttp.ClientSession() as session:
        async with make_client(server.url, session=session) as client:
            await client.get_number(NUMBER)
            await client.send_voice_challenge(NUMBER)
        assert not session.closed
        assert len(server.heads) == 2
        with pytest.raises(RuntimeError, match="this client is closed"):
            await client.get_number(NUMBER)


async def test_an_external_session_has_its_own_limit() -> None:
    """A call over an external session waits for no slot of the client."""
    async with (
        serving(hang, http()) as server,
        aiohttp.ClientSession() as session,
        make_client(server.url, session=session, max_connections=1) as client,
    ):
        first = asyncio.create_task(client.get_number(NUMBER))
        await server.asked.wait()
        await client.get_number(NUMBER)
        first.cancel()
        await asyncio.wait([first])


async def test_a_broken_external_session_is_unknown() -> None:
    """A request that was sent over an external session is UNKNOWN once its connection breaks."""
    async with serving(eof) as server, aiohttp.ClientSession() as session:
        error = await failing(make_client(server.url, session=session).send_voice_challenge(NUMBER))
        assert type(error) is TransportError
        assert error.outcome is Outcome.UNKNOWN
        assert len(server.heads) == 1


@pytest.mark.parametrize("status", [404, 401, 429, 500])
async def test_an_external_session_that_raises_for_status(status: int) -> None:
    """`raise_for_status=True` changes neither the errors nor the retries."""
    replies = (http(b"{}", "Retry-After: 0\r\n", status), http())
    async with (
        serving(*replies) as server,
        aiohttp.ClientSession(raise_for_status=True) as session,
    ):
        auth = OAuth2("key", SECRET, token_url=server.url + "/token")
        auth._cache._token = Token("t", 2e9, 2e9)
        client = QualifiedNumbersClient("p", auth, base_url=server.url, session=session, retry=ONCE)
        error = await failing(client.send_voice_challenge(NUMBER))
    assert isinstance(error, StatusError | TokenError)
    if isinstance(error, StatusError):
        assert error.status_code == status


@pytest.mark.filterwarnings("ignore:.*(BasicAuth|'auth' param):DeprecationWarning")
@pytest.mark.parametrize("kind", ["auth=", ".netrc", "middleware"])
async def test_our_credentials_win_over_those_of_an_external_session(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever credentials a session has or finds, the client's are sent; its middlewares run."""
    netrc = tmp_path / "netrc"
    await asyncio.to_thread(netrc.write_text, "default login u password p")
    monkeypatch.setenv("NETRC", str(netrc))
    called: list[str] = []

    async def middleware(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        called.append(request.method)
        request.headers["Authorization"] = "theirs"
        return await handler(request)

    options: dict[str, dict[str, Any]] = {
        "auth=": {"auth": aiohttp.BasicAuth("u", "p")},
        ".netrc": {"trust_env": True},
        "middleware": {"middlewares": [middleware], "trust_env": True},
    }
    async with (
        serving(http()) as server,
        aiohttp.ClientSession(**options[kind]) as session,
        make_client(server.url, session=session) as client,
    ):
        await client.get_number(NUMBER)
        await client.send_voice_challenge(NUMBER)
    ours = BasicAuth("key", SECRET)
    expected = await ours.authorize(lambda _: asyncio.sleep(0))  # type: ignore[arg-type,return-value]
    assert [f"Authorization: {expected}" in head for head in server.heads] == [True, True]
    assert called == (["GET", "POST"] if kind == "middleware" else [])


@pytest.mark.parametrize(
    "last",
    [aiohttp.ConnectionTimeoutError(), aiohttp.InvalidURL("x"), UnicodeError("x"), None],
)
async def test_a_middleware_that_sends_again(last: Exception | None) -> None:
    """What was sent once is UNKNOWN, though the last attempt of a middleware got no connection."""

    async def again(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        with suppress(aiohttp.ClientError):
            await handler(request)
        if last is not None:
            raise last
        request.url = request.url.with_port(1)  # nobody listens there
        return await handler(request)

    async with (
        serving(reset) as server,
        aiohttp.ClientSession(middlewares=[again]) as session,
        make_client(server.url, session=session, retry=ONCE) as client,
    ):
        error = await failing(client.send_voice_challenge(NUMBER))
    assert len(server.heads) == 1
    assert (type(error), error.outcome) == (TransportError, Outcome.UNKNOWN)


@pytest.mark.parametrize("status", [b"407 Proxy Authentication Required", b"503 Unavailable"])
async def test_a_proxy_that_refuses_to_connect(status: bytes) -> None:
    """A CONNECT that is refused never reached the API: ConnectError, NOT_SENT."""
    refusal = b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n"
    async with (
        serving(refusal) as proxy,
        aiohttp.ClientSession(proxy=proxy.url) as session,
        make_client("https://api.example.invalid", session=session, retry=ONCE) as client,
    ):
        error = await failing(client.send_voice_challenge(NUMBER))
    assert type(error) is ConnectError
    assert error.outcome is Outcome.NOT_SENT
    assert f"HTTP {status[:3].decode()}" in str(error)


class OddError(Exception):
    """An exception that is not aiohttp's, of a session's own code."""


async def test_a_trace_that_fails_after_sending() -> None:
    """What a session's own code raises after sending is a TransportError, UNKNOWN."""

    async def fail(*_: object) -> None:
        raise OddError("a defect")

    trace = aiohttp.TraceConfig()
    trace.on_response_chunk_received.append(fail)
    trace.on_request_end.append(fail)
    async with (
        serving(http()) as server,
        aiohttp.ClientSession(trace_configs=[trace]) as session,
    ):
        client = make_client(server.url, session=session)
        error = await failing(client.send_voice_challenge(NUMBER))
    assert type(error) is TransportError
    assert error.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("host", ["imported..numbers.example", "a" * 64 + ".example"])
@pytest.mark.parametrize("external", [False, True])
async def test_a_host_that_is_no_name(host: str, external: bool) -> None:  # noqa: FBT001
    """A name with an empty or over-long label is a ConnectError, for the API and for tokens."""
    async with aiohttp.ClientSession() as session:
        options: dict[str, Any] = {"session": session if external else None, "retry": ONCE}
        async with make_client(f"https://{host}", **options) as client:
            error = await failing(client.send_voice_challenge(NUMBER))
        assert type(error) is ConnectError
        auth = OAuth2("key", SECRET, token_url=f"https://{host}/token")
        async with QualifiedNumbersClient("p", auth, **options) as client:
            assert type(await failing(client.get_number(NUMBER))) is TokenError


@pytest.mark.parametrize("external", [False, True])
async def test_closing_while_a_request_is_in_flight(external: bool) -> None:  # noqa: FBT001
    """A request that was sent when its client or session is closed is UNKNOWN."""
    async with serving(hang) as server, aiohttp.ClientSession() as session:
        client = make_client(server.url, session=session if external else None, retry=ONCE)
        call = asyncio.create_task(failing(client.send_voice_challenge(NUMBER)))
        await server.asked.wait()
        await (session if external else client).close()
        error = await call
        await client.close()
    assert isinstance(error, TransportError)
    assert error.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("external", [False, True])
async def test_closing_while_a_name_is_looked_up(
    external: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A request without a connection when its client or session is closed is NOT_SENT."""
    asked = asyncio.Event()

    async def resolve(*_: object, **__: object) -> Any:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", resolve)
    connector = aiohttp.TCPConnector(resolver=aiohttp.ThreadedResolver())
    async with aiohttp.ClientSession(connector=connector) as session:
        monkeypatch.setattr("aiohttp.connector.DefaultResolver", aiohttp.ThreadedResolver)
        options = {"session": session if external else None, "timeout": 5.0, "retry": ONCE}
        client = make_client("https://api.example.invalid", **options)
        call = asyncio.create_task(failing(client.send_voice_challenge(NUMBER)))
        await asked.wait()
        await (session if external else client).close()
        error = await call
        await client.close()
    assert isinstance(error, ConnectError)
    assert error.outcome is Outcome.NOT_SENT


# ---- headers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("external", [False, True])
async def test_a_request_without_a_body_has_no_content_type(external: bool) -> None:  # noqa: FBT001
    """Only a request with a body has a Content-Type, and its own; on the wire, not in a mock."""
    headers = {"Content-Type": "application/x-of-the-session"}
    async with serving(http()) as server, aiohttp.ClientSession(headers=headers) as session:
        client = make_client(server.url, session=session if external else None)
        async with client:
            await client.send_voice_challenge(NUMBER)
            await client.get_number(NUMBER)
            await client.delete_number(NUMBER)
            await client.verify_voice_challenge(NUMBER, "0123")
    found = [re.findall("(?im)^content-type: (.*)\r$", head) for head in server.heads]
    assert found == [[], [], [], ["application/json"]]


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("size", [9_000, 65_000])
async def test_large_response_headers_are_read(size: int, external: bool) -> None:  # noqa: FBT001
    """A response header of up to 64 KiB, as of policies and proxies, costs no outcome."""
    head = f"Content-Security-Policy: {'a' * size}\r\n"
    async with (
        serving(http(head=head)) as server,
        aiohttp.ClientSession() as session,
        make_client(server.url, session=session if external else None) as client,
    ):
        await client.send_voice_challenge(NUMBER)


@pytest.mark.parametrize("extra", [b"\r\n", b"\0", b"more", b'{"a": 1}', b"HTTP/1.1 500 X\r\n\r\n"])
async def test_bytes_after_the_end_of_the_body(extra: bytes) -> None:
    """What a server sends after the body costs no response, whatever the request."""
    async with serving(http() + extra) as server, make_client(server.url) as client:
        for _ in range(3):
            await client.send_voice_challenge(NUMBER)
            await client.get_number(NUMBER, retry=ONCE)


async def test_bytes_after_a_body_that_is_cut_off() -> None:
    """A response that is not whole stays one that is lost."""
    reply = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}   more"
    async with serving(reply) as server, make_client(server.url) as client:
        for call in (client.send_voice_challenge, client.get_number):
            with pytest.raises((TransportError, InvalidResponseError)) as caught:
                await call(NUMBER, retry=ONCE)
            assert caught.value.outcome is Outcome.UNKNOWN


async def test_a_closed_external_session() -> None:
    """The error for a closed external session names it."""
    session = aiohttp.ClientSession()
    await session.close()
    client = make_client("http://127.0.0.1:9", session=session)
    with pytest.raises(ClosedError, match="external aiohttp session is closed"):
        await client.get_number(NUMBER)


async def test_own_sessions_are_closed() -> None:
    """close() closes own sessions and can be called twice; then nothing is sent."""
    async with serving(http()) as server:
        client = make_client(server.url)
        await client.get_number(NUMBER)
        await client.send_voice_challenge(NUMBER)
        wire = client._pipeline._transport
        sessions = [wire._keepalive_session, wire._single_use_session]
        await client.close()
        await client.close()
        assert all(session is not None and session.closed for session in sessions)
        with pytest.raises(RuntimeError, match="this client is closed"):
            await client.get_number(NUMBER)
        assert len(server.heads) == 2


async def test_closing_stops_waiting_calls() -> None:
    """A call that waits for a connection when its client is closed is not sent."""
    async with serving(hang) as server:
        client = make_client(server.url, max_connections=1, retry=ONCE)
        first = asyncio.create_task(client.get_number(NUMBER))
        await server.asked.wait()
        second = asyncio.create_task(client.get_number(NUMBER))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await client.close()
        results = await asyncio.gather(first, second, return_exceptions=True)
        assert isinstance(results[0], TransportError)
        assert isinstance(results[1], ClosedError)
        assert results[1].outcome is Outcome.NOT_SENT
        assert len(server.heads) == 1


async def test_cookies_are_not_kept() -> None:
    """Cookies are never sent back."""
    async with (
        serving(http(head="Set-Cookie: a=b\r\n")) as server,
        # aiohttp keeps no cookies of IP addresses
        make_client(server.url.replace("127.0.0.1", "localhost")) as client,
    ):
        await client.get_number(NUMBER)
        await client.get_number(NUMBER)
    assert len(server.heads) == 2
    assert "cookie" not in server.heads[1].lower()


@pytest.mark.parametrize(
    "error", [OSError("no route"), aiohttp.ClientConnectionError("closed"), TimeoutError()], ids=str
)
async def test_without_connection_nothing_was_sent(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Any exception before there is a connection is NOT_SENT."""

    async def connect(*_: object) -> None:
        raise error

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", connect)
    async with transport() as wire:
        failure = await failing(wire.send(get("http://127.0.0.1:9")))
    assert type(failure) is ConnectError
    assert failure.outcome is Outcome.NOT_SENT


@pytest.mark.parametrize("used", ["get_number", "send_voice_challenge"])
async def test_an_unclosed_client_warns(used: str) -> None:
    """An unclosed client gives one ResourceWarning with the file and line of its creation."""
    async with serving(http()) as server:
        gc.collect()
        client = make_client(server.url)
        line = make_client.__code__.co_firstlineno + 2
        await getattr(client, used)(NUMBER)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del client
            gc.collect()
            await asyncio.sleep(0)
    (warning,) = caught
    assert warning.category is ResourceWarning
    assert f"{__file__}:{line} was not closed" in str(warning.message)


async def test_a_closed_or_unused_client_does_not_warn() -> None:
    """Without an open session there is no warning."""
    async with serving(http()) as server:
        gc.collect()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            client = make_client(server.url)
            await client.get_number(NUMBER)
            await client.close()
            del client
            make_client(server.url)
            gc.collect()
    assert caught == []


async def test_progress() -> None:
    """A request records its progress for the deadline."""
    async with serving(hang) as server, transport(max_connections=1) as wire:
        first, second = Progress(), Progress()
        assert not first.connection_acquired
        tasks = [asyncio.create_task(wire.send(get(server.url), first))]
        await server.asked.wait()
        tasks.append(asyncio.create_task(wire.send(get(server.url), second)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (first.connection_acquired, first.stage) == (True, "the response")
        assert (second.connection_acquired, second.stage) == (False, "a free connection")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_status_and_headers_are_unchanged() -> None:
    """The transport returns any status and headers unchanged."""
    async with serving(http(b"x", "X-A: b\r\n", 599)) as server, transport() as wire:
        answer = await wire.send(get(server.url))
        assert isinstance(answer, Response)
        assert (answer.status, answer.headers["x-a"], answer.body) == (599, "b", b"x")
