"""Connections opened ahead: one round trip to a ringing phone, and no outcome is less certain."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp.connector
import attrs
import pytest
import trustme
from aioresponses import aioresponses

from sinch_qn import BasicAuth, PreparedCall, QualifiedNumbersClient, RetryPolicy, _connections
from sinch_qn._connections import ConnectionOptions, SingleUseConnector, open_session
from sinch_qn.errors import ConnectError, Outcome, TransportError

NUMBER = "+12025550134"
ONCE = RetryPolicy(max_attempts=1)
REQUEST = 150
"""Bytes that a request has at least, and an alert of TLS has not."""

BODY = b'{"phoneNumber": "%s"}' % NUMBER.encode()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)

End = Callable[[socket.socket], None]


def fin(peer: socket.socket) -> None:
    """Close in both directions, as servers do."""
    peer.shutdown(socket.SHUT_WR)


def answer_408(peer: socket.socket) -> None:
    """Say that no request has come, and close, as some servers do."""
    peer.sendall(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
    peer.shutdown(socket.SHUT_WR)


def rst(peer: socket.socket) -> None:
    """Reset."""
    peer.settimeout(0)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Server:
    """Answers calls, and closes each unused connection after its patience; a thread for each."""

    def __init__(self, tls: ssl.SSLContext | None = None, end: End = fin) -> None:
        self.patience: float | None = None
        self.rings = 0
        """Requests that were read and answered."""
        self.unread = 0
        """Connections that were closed although the bytes of a request had left for them."""
        self.accepted = 0
        self.closed = threading.Event()
        """Set once an unused connection was closed."""
        self._tls, self._end = tls, end
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=500)
        self._threads: list[threading.Thread] = []
        host = "localhost" if tls else "127.0.0.1"
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://{host}:{self._listening.getsockname()[1]}"

    def run(self) -> None:
        """Accept connections until the server is stopped."""
        while True:
            try:
                peer, _ = self._listening.accept()
            except OSError:
                return
            self.accepted += 1
            thread = threading.Thread(target=self._serve, args=(peer,))
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Accept no more connections."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def join(self) -> None:
        """Wait for all connections."""
        for thread in self._threads:
            thread.join(10)
        assert not any(thread.is_alive() for thread in self._threads)

    def _serve(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            if self._tls:
                peer.settimeout(5)
                peer = self._tls.wrap_socket(peer, server_side=True)
            stack.callback(peer.close)
            peer.settimeout(self.patience)
            try:
                request = peer.recv(65536)
            except TimeoutError:
                self._close_unused(peer)
                return
            if request:
                self.rings += 1
                peer.sendall(ANSWER)

    def _close_unused(self, peer: socket.socket) -> None:
        """Close without reading a request; note whether one had left."""
        raw = socket.socket(fileno=peer.detach())
        with raw:
            raw.settimeout(0.5)
            self._end(raw)
            received = b""
            if self._end is not rst:
                self.closed.set()
            with contextlib.suppress(OSError):  # what had left, or leaves before its end is seen
                while data := raw.recv(65536):
                    received += data
            self.unread += len(received) >= REQUEST
        self.closed.set()


@pytest.fixture(params=["http", "https"])
def tls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext | None:
    """Return a server's TLS settings that the client trusts, or None."""
    if request.param == "http":
        return None
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", client)
    return server


@contextlib.contextmanager
def serving(tls: ssl.SSLContext | None = None, end: End = fin) -> Iterator[Server]:
    """Run a server in a thread."""
    server = Server(tls, end)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(10)
        server.join()


def client_of(server: Server, max_connections: int = 100) -> QualifiedNumbersClient:
    """Return a client that needs no token."""
    return QualifiedNumbersClient(
        "p", BasicAuth("k", "s"), base_url=server.url, max_connections=max_connections
    )


async def test_a_prepared_call_is_sent_on_the_connection_that_waits(
    tls: ssl.SSLContext | None,
) -> None:
    """`prepare` connects; the call then needs no connection of its own."""
    with serving(tls) as server:
        async with client_of(server) as client:
            prepared = await client.prepare()
            await asyncio.sleep(0.05)  # as the commit of an intent does; session tickets arrive
            assert (server.accepted, server.rings) == (1, 0)
            await client.send_voice_challenge(NUMBER, prepared=prepared, retry=ONCE)
            assert (server.accepted, server.rings) == (1, 1)
            await client.send_voice_challenge(NUMBER, retry=ONCE)
            assert (server.accepted, server.rings) == (2, 2)


async def test_the_next_connection_goes_to_the_same_address(
    tls: ssl.SSLContext | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs no look-up, unless that address accepts no connection any more, or is too old."""
    looked_up: list[str] = []
    connect = aiohttp.TCPConnector.connect

    async def counted(self: Any, *options: Any) -> Any:
        looked_up.append("")
        return await connect(self, *options)

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", counted)
    with serving(tls) as server, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        session = open_session(ConnectionOptions(), single_use=True)
        connector = session.connector
        assert isinstance(connector, SingleUseConnector)

        async def opened() -> tuple[int, int]:
            (await connector.open(server.url)).close()
            await asyncio.sleep(0.01)  # the server accepts in another thread
            return server.accepted, len(looked_up)

        assert [await opened() for _ in range(3)] == [(1, 1), (2, 1), (3, 1)]
        (known,) = connector._peers.values()
        connector._peers[server.url] = attrs.evolve(known, address=closed.getsockname())
        assert [await opened() for _ in range(2)] == [(4, 2), (5, 2)]
        connector._peers[server.url] = attrs.evolve(known, until=0.0)
        assert await opened() == (6, 3)
        await session.close()
        with pytest.raises(aiohttp.ClientConnectionError):
            await connector.open(server.url)
        await asyncio.sleep(0.01)  # what was open by then is closed


async def test_a_connection_waits_for_a_limited_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is closed if its call does not come in time, which then opens another one."""
    monkeypatch.setattr(_connections, "MAX_UNUSED", 0.05)
    with serving() as server:
        async with client_of(server, max_connections=1) as client:
            prepared = await client.prepare()
            await asyncio.sleep(0.2)
            await client.send_voice_challenge(NUMBER, prepared=prepared, retry=ONCE)
            assert (server.accepted, server.rings) == (2, 1)


@pytest.mark.parametrize("seen", [True, False], ids=["seen", "unseen"])
async def test_a_connection_that_the_server_has_closed_is_not_used(
    tls: ssl.SSLContext | None,
    seen: bool,  # noqa: FBT001
) -> None:
    """Also if the event loop has not got to its end yet. The next calls open none ahead."""
    with serving(tls) as server:
        async with client_of(server) as client:
            server.patience = 0.01
            prepared = await client.prepare()
            assert server.closed.wait(5)  # blocks the event loop
            if seen:
                await asyncio.sleep(0.05)
            server.patience = None
            await client.send_voice_challenge(NUMBER, prepared=prepared, retry=ONCE)
            assert (server.accepted, server.rings) == (2, 1)
            await client.prepare()
            assert server.accepted == 2


@pytest.mark.parametrize("end", [fin, rst])
async def test_a_server_that_closes_unused_connections_at_every_moment(
    tls: ssl.SSLContext | None, end: End, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No phone rings twice; only a call whose bytes had left before the end is unknown."""
    monkeypatch.setattr("sinch_qn._transport._DISTRUST", 0.0)  # go on opening ahead
    chance = random.Random(3)
    results = {"rang": 0, "unknown": 0}
    with serving(tls, end) as server:
        async with client_of(server) as client:
            for _ in range(200):
                before = server.rings
                server.patience = chance.uniform(0.001, 0.008)
                try:
                    prepared = await client.prepare()
                except ConnectError:  # its end came before it was open
                    assert server.rings == before
                    continue
                await asyncio.sleep(chance.uniform(0.0, 0.008))
                server.patience = None
                outcome = await _outcome(client, prepared)
                assert outcome in (None, Outcome.UNKNOWN)
                assert server.rings - before == (outcome is None)
                results["unknown" if outcome else "rang"] += 1
    print(results)  # noqa: T201 - quoted in docs/explanation/performance.md
    assert server.rings == results["rang"] >= 150
    if end is not rst:  # a reset hides what had left
        assert results["unknown"] == server.unread


async def _outcome(client: QualifiedNumbersClient, prepared: PreparedCall) -> Outcome | None:
    """Return None if the number was called, else what the error says of that."""
    try:
        await client.send_voice_challenge(NUMBER, prepared=prepared, retry=ONCE)
    except TransportError as error:
        return error.outcome
    return None


async def test_a_connection_that_waits_counts() -> None:
    """It has one of `max_connections`, and gives it up to a request that is ready."""
    with serving() as server:
        async with client_of(server, max_connections=1) as client:
            first, second = await client.prepare(), await client.prepare()
            await client.send_voice_challenge(NUMBER, prepared=second, retry=ONCE)
            assert (server.accepted, server.rings) == (2, 1)
            await client.send_voice_challenge(NUMBER, prepared=first, retry=ONCE)
            assert (server.accepted, server.rings) == (3, 2)


@pytest.mark.parametrize("how", ["prepared", "client"])
async def test_a_connection_that_is_not_used_is_closed(how: str) -> None:
    """By `PreparedCall.close`, and with the client."""
    with serving() as server:
        client = client_of(server, max_connections=1)
        prepared = await client.prepare()
        if how == "prepared":
            prepared.close()
            prepared.close()
            assert (await client.prepare()).ahead is not None  # its slot is free
        await client.close()
        assert server.rings == 0


async def test_what_cannot_be_connected_is_not_prepared() -> None:
    """A server that refuses connections refuses before the intent: NOT_SENT, and no slot lost."""
    with serving() as server:
        url = server.url
    client = QualifiedNumbersClient("p", BasicAuth("k", "s"), base_url=url, max_connections=1)
    async with client:
        for _ in range(2):
            with pytest.raises(ConnectError) as caught:
                await client.prepare()
            assert caught.value.outcome is Outcome.NOT_SENT


async def test_a_mocked_session_connects_to_nothing() -> None:
    """With aioresponses, a prepared call needs no server."""
    url = "https://imported.numbers.api.sinch.com"
    with aioresponses() as mock:
        mock.post(
            f"{url}/v1/projects/p/qualifiedNumbers/{NUMBER}:sendVoiceChallenge",
            payload={"phoneNumber": NUMBER},
        )
        async with QualifiedNumbersClient("p", BasicAuth("k", "s")) as client:
            prepared = await client.prepare()
            number = await client.send_voice_challenge(NUMBER, prepared=prepared)
        assert number.phone_number == NUMBER


async def test_an_early_answer_is_no_answer() -> None:
    """What a server says on an unused connection is not taken for the response to the call."""
    with serving(end=answer_408) as server:
        async with client_of(server) as client:
            server.patience = 0.01
            prepared = await client.prepare()
            assert server.closed.wait(5)
            server.patience = None
            assert await _outcome(client, prepared) is None
            assert (server.accepted, server.rings) == (2, 1)
