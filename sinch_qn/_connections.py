"""Connections of the client's own sessions: what is written, when, and how it is read."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import socket
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import partial
from http.cookies import SimpleCookie
from inspect import signature
from ssl import SSLContext
from typing import Any, Final

import aiohttp
import attrs
import yarl
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest, ClientResponse, ConnectionKey
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, StreamWriter
from aiohttp.tracing import Trace
from multidict import CIMultiDict

from sinch_qn._version import __version__
from sinch_qn.proxy import Proxy

MAX_UNUSED: Final = 2.0
"""Seconds for which a connection that was opened ahead may wait for its request."""

_SAME_ADDRESS: Final = 10.0
"""Seconds for which an address of a host is used again, as long as aiohttp caches a look-up."""

HEADERS = {
    "Accept": "application/json",
    # A compressed response could be a decompression bomb, and these are small.
    "Accept-Encoding": "identity",
    "User-Agent": f"sinch-qn/{__version__}",
}
"""Headers of every request."""

MAX_HEADER = 65 * 1024
"""Bytes of one response header at most: proxies add some of more than aiohttp's 8 KiB."""

_PARSING: Final[dict[str, Any]] = {
    "auto_decompress": False,
    "max_line_size": MAX_HEADER,
    "max_field_size": MAX_HEADER,
}
"""How our own sessions read responses."""

# The pipeline has the only deadline; aiohttp's own timers would only cost.
NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)

_NO_COOKIES: Final[SimpleCookie] = SimpleCookie()

# For one socket, once: poll needs no object of the kernel, as epoll does. Windows has neither.
_Selector: Final = getattr(selectors, "PollSelector", selectors.SelectSelector)

_TAKES_WRITER: Final = "stream_writer" in signature(ClientResponse.__init__).parameters
"""Of aiohttp's responses: older ones do not."""


@attrs.define(eq=False)
class Progress:
    """How far a request has got; read when the deadline expires."""

    stage: str = "the start"
    """What the request waits for."""
    connection_acquired: bool = False
    """Once True, the request may have been sent."""
    ahead: AheadConnection | None = attrs.field(default=None, repr=False)
    """A connection that was opened for this request in advance."""


progress_of_request: ContextVar[Progress] = ContextVar("progress")
"""The progress of the request that this task sends."""


class _Handler(ResponseHandler):
    """Reads a response whatever follows it.

    aiohttp's parser drops a whole chunk that it cannot read to its end. Should bytes follow the end
    of the body, all of the response would be lost, and with it the outcome of a phone call. So such
    a chunk is read again, the head of the response by itself.
    """

    _chunk = b""

    def data_received(self, data: bytes) -> None:
        self._chunk = data
        super().data_received(data)
        self._chunk = b""

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        chunk, self._chunk = self._chunk, b""
        end = chunk.find(b"\r\n\r\n") + 4
        if end >= 4 and isinstance(exc, HttpProcessingError):
            self.set_response_params(read_until_eof=True, **_PARSING)
            super().data_received(chunk[:end])
            super().data_received(chunk[end:])
            return
        super().set_exception(exc, *cause)
        # aiohttp would have the reader of the body wait for more.
        if self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(aiohttp.ClientPayloadError())


@attrs.frozen(kw_only=True)
class ConnectionOptions:
    """How our own sessions connect, and what every request of theirs says."""

    proxy: Proxy | None = None
    ssl: SSLContext | None = None
    """None: the authorities that Python trusts."""
    headers: Mapping[str, str] = HEADERS


class Connector(aiohttp.TCPConnector):
    """Opens connections for one session."""

    def __init__(self, options: ConnectionOptions, *, force_close: bool = False) -> None:
        ssl = True if options.ssl is None else options.ssl
        super().__init__(limit=0, force_close=force_close, ssl=ssl)
        self._proxy = options.proxy
        self._factory = partial(_Handler, loop=self._loop)  # type: ignore[assignment]
        self.hosts: dict[tuple[str, str], dict[str, Any]] = {}
        """The attributes of requests by scheme and host."""

    def proxy_of(self, url: yarl.URL) -> dict[str, Any]:
        """Return the options of a request to *url* that name its proxy, if it has one."""
        proxy = self._proxy
        if proxy is None or not proxy.is_for(url.scheme, url.host or "", url.port):
            return {}
        return {"proxy": yarl.URL(proxy.address), "proxy_headers": CIMultiDict(proxy.headers)}

    def close_nowait(self) -> None:
        """Close synchronously: a garbage-collected client cannot await close()."""
        self._close()


@attrs.frozen
class _Peer:
    """Where the last connection to a host ended: the next ones go there without a look-up."""

    family: int
    address: tuple[Any, ...]
    tls: Mapping[str, Any]
    """The options of a TLS connection to it; none without TLS."""
    key: ConnectionKey
    until: float
    """In the event loop's time."""


class SingleUseConnector(Connector):
    """Uses the connection that was opened ahead for a request, if that has not ended."""

    def __init__(self, options: ConnectionOptions) -> None:
        super().__init__(options, force_close=True)
        self._peers: dict[str, _Peer] = {}

    async def open(self, url: str) -> Connection:
        """Open a connection to the host of *url*, through the proxy if there is one.

        For a while after one was opened, others go to the same address: aiohttp would make a
        request, look the host up and try its addresses, which costs as much as to connect.
        """
        peer = self._peers.get(url)
        if peer is not None and self._loop.time() < peer.until:
            with contextlib.suppress(OSError):  # another address may be reachable
                return await self._open_directly(peer)
        self._peers.pop(url, None)
        address = yarl.URL(url, encoded=True)
        proxy = self.proxy_of(address)
        request = ClientRequest("POST", address, loop=self._loop, **proxy)
        connection = await super().connect(request, [], NO_TIMEOUT)
        if not proxy and (transport := connection.transport) is not None:
            context, host = transport.get_extra_info("sslcontext"), address.raw_host
            self._peers[url] = _Peer(
                transport.get_extra_info("socket").family,
                transport.get_extra_info("peername"),
                {} if context is None else {"ssl": context, "server_hostname": host},
                request.connection_key,
                self._loop.time() + _SAME_ADDRESS,
            )
        return connection

    async def _open_directly(self, peer: _Peer) -> Connection:
        opened = socket.socket(peer.family, socket.SOCK_STREAM)
        try:
            opened.settimeout(0.0)
            await self._loop.sock_connect(opened, peer.address)
            make = self._loop.create_connection
            _, protocol = await make(self._factory, sock=opened, **peer.tls)
        except BaseException:
            opened.close()
            raise
        if self.closed:
            protocol.close()
            raise aiohttp.ClientConnectionError("Connector is closed.")
        self._acquired.add(protocol)  # closed with the connector, like those that it opens
        return Connection(self, peer.key, protocol, self._loop)

    async def connect(
        self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """Return a connection to write to, which nothing else uses."""
        progress = progress_of_request.get()
        if progress.ahead is not None:
            ahead, progress.ahead = progress.ahead, None
            if (connection := ahead.take()) is not None:
                return connection
        return await super().connect(req, traces, timeout)


class AheadConnection:
    """A connection that was opened for a request which is still to come.

    Only one that was never written to, and whose peer has not closed it, is used: otherwise the
    outcome of the request could be unknown. *on_end* is called once, when it is used or closed.
    """

    def __init__(
        self, connection: Connection, *, on_end: Callable[[AheadConnection], object]
    ) -> None:
        self._connection: Connection | None = connection
        self._on_end = on_end
        self._timer = asyncio.get_running_loop().call_later(MAX_UNUSED, self.close)
        self.ended_by_peer = False
        """Whether the peer did not wait for a request."""

    def take(self) -> Connection | None:
        """Return the connection to write to at once; close it and return None if it ended."""
        connection = self._end()
        if connection is not None and self.ended_by_peer:
            connection.close()
            return None
        return connection

    def close(self) -> None:
        """Close the connection, unless it was taken."""
        if (connection := self._end()) is not None:
            connection.close()

    def _end(self) -> Connection | None:
        self._timer.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            self.ended_by_peer = not _is_unused(connection)
            self._on_end(self)
        return connection


def _is_unused(connection: Connection) -> bool:
    """Whether the peer has neither closed the connection nor sent anything.

    The event loop may not have got to what the socket has received already.
    """
    if connection.closed or connection.protocol is None or connection.protocol.should_close:
        return False
    transport = connection.transport
    peer = transport.get_extra_info("socket") if transport is not None else None
    if peer is None:
        return False
    with _Selector() as selector:
        selector.register(peer.fileno(), selectors.EVENT_READ)
        return not selector.select(0)


class OwnRequest(ClientRequest):
    """A request that is complete as it is given, written in one piece.

    aiohttp derives address, headers, encoding and cookies anew for each request, and writes a body
    in a task of its own, so that it is not known what was sent when that fails. Here each request
    is a copy of the first one to the same host, with its own target, headers and body.
    """

    _copied: dict[str, Any]
    """The attributes of the first request to this host, as aiohttp sets them."""

    def __init__(self, method: str, url: yarl.URL, **options: Any) -> None:
        connector: Connector = options["session"].connector
        headers, data = options.pop("headers"), options.pop("data")
        host = url.host_port_subcomponent or ""
        first = connector.hosts.get((url.scheme, host))
        if first is None:
            super().__init__(method, url, **{**options, **connector.proxy_of(url)})
            self._key = super().connection_key
            self._info = super().request_info
            first = connector.hosts[url.scheme, host] = vars(self).copy()
        self.__dict__.update(first)
        self.method = method
        self.url = self.original_url = url
        self.headers = headers
        headers["Host"] = host  # in the place that the session's headers hold for it: the first
        self._content = data or b""
        if data is not None or method != "GET":
            headers["Content-Length"] = str(len(self._content))

    @property
    def connection_key(self) -> ConnectionKey:
        """What connections are kept by."""
        return self._key

    @property
    def request_info(self) -> aiohttp.RequestInfo:
        """What errors would say of the request; they are not passed on."""
        return self._info

    async def send(self, conn: Connection) -> ClientResponse:
        """Write the request. Nothing waits between the mark that it may be sent and the writing."""
        protocol = conn.protocol
        assert protocol is not None  # noqa: S101 - it was connected just now
        writer = StreamWriter(protocol, self.loop)
        version = self.version
        target = self.url.raw_path_qs
        if self.proxy is not None and self.url.scheme == "http":  # the proxy itself reads it
            target = str(self.url)
            self.headers.update(self.proxy_headers or {})
        line = f"{self.method} {target} HTTP/{version.major}.{version.minor}"
        await writer.write_headers(line, self.headers)
        progress = progress_of_request.get()
        progress.connection_acquired = True
        progress.stage = "the response"
        if self._content:
            await writer.write_eof(self._content)
        else:
            writer.set_eof()
        options: dict[str, Any] = {"stream_writer": writer} if _TAKES_WRITER else {}
        response = self.response_class(
            self.method,
            self.original_url,
            writer=None,
            continue100=None,
            timer=self._timer,
            request_info=self._info,
            traces=[],
            loop=self.loop,
            session=self._session,
            **options,
        )
        untyped: Any = response  # aiohttp's class has it as None
        self.response = untyped
        return response


class _NoCookies(aiohttp.DummyCookieJar):
    """Keeps and sends no cookies; makes no empty collection of them for each request."""

    def filter_cookies(self, request_url: yarl.URL) -> SimpleCookie:  # noqa: ARG002
        return _NO_COOKIES


def open_session(options: ConnectionOptions, *, single_use: bool) -> aiohttp.ClientSession:
    """Return a session of our own; *single_use*: with a connection for each request."""
    session = aiohttp.ClientSession(
        connector=SingleUseConnector(options) if single_use else Connector(options),
        request_class=OwnRequest,
        headers={"Host": "", **options.headers} | ({"Connection": "close"} if single_use else {}),
        cookie_jar=_NoCookies(),
        timeout=NO_TIMEOUT,
        **_PARSING,
    )
    # aiohttp would retry GET, PUT and DELETE once itself; the pipeline counts retries.
    session._retry_connection = False  # noqa: SLF001
    return session
