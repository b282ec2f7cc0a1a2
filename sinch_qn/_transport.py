"""The client's only use of aiohttp: sends a request, reads a bounded response, maps exceptions."""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Sequence
from contextvars import ContextVar
from functools import partial
from typing import Self, TypeAlias

import aiohttp
import attrs
import yarl
from aiohttp.client_middlewares import ClientHandlerType
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from sinch_qn._http import Request, Response
from sinch_qn._version import __version__
from sinch_qn.errors import (
    ClosedError,
    ConnectError,
    InvalidResponseError,
    SinchError,
    TransportError,
)

ClientSession: TypeAlias = aiohttp.ClientSession
"""For annotations elsewhere: only this file and the servers import aiohttp."""

MAX_BODY = 16 * 1024 * 1024
"""Bytes read of a response at most: a listing page of 10,000 numbers is under 5 MiB."""

_HEADERS = {
    "Accept": "application/json",
    # A compressed response could be a decompression bomb, and these are small.
    "Accept-Encoding": "identity",
    "User-Agent": f"sinch-qn/{__version__}",
}
"""Headers of every request; own sessions have them, which spares aiohttp a merge per request."""

_MAX_HEADER = 65 * 1024
"""Bytes of one response header at most: proxies add some of more than aiohttp's 8 KiB."""

_CONTENT_TYPE = ("Content-Type",)
"""What aiohttp adds to a POST without a body; a gateway that validates requests refuses it."""

_UNENCODED = frozenset({"", "identity", "none", "utf-8", "utf8", "binary"})
"""Values of `Content-Encoding`, some of them mistakes, with which a body is not compressed."""

_QUOTING = (
    aiohttp.ClientResponseError,
    aiohttp.ServerDisconnectedError,
    aiohttp.ClientPayloadError,
)
"""Exceptions that hold the request or quote a response: they and their text are not passed on."""

_BEFORE_SENDING = (ValueError, TypeError, RuntimeError)
"""What aiohttp raises for settings that contradict each other, or for a closed session."""

# The pipeline has the only deadline; aiohttp's own timers would only cost.
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)


@attrs.define
class Progress:
    """How far a request has got; read when the deadline expires."""

    stage: str = "the start"
    """What the request waits for."""
    connection_acquired: bool = False
    """Once True, the request may have been sent."""


_progress: ContextVar[Progress] = ContextVar("progress")


class _SplitHandler(ResponseHandler):
    """Parses the head of a response by itself.

    Should bytes follow the end of the body, aiohttp's parser would otherwise lose all of it, and
    with it the outcome of a phone call.
    """

    def data_received(self, data: bytes) -> None:
        end = data.find(b"\r\n\r\n") + 4
        if end >= 4:
            super().data_received(data[:end])
            data = data[end:]
        if data:
            super().data_received(data)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """Fail the body as well: aiohttp would have its reader wait for more."""
        super().set_exception(exc, *cause)
        if self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(aiohttp.ClientPayloadError())


class _Connector(aiohttp.TCPConnector):
    """Records when a request acquires its connection; aiohttp's tracing would cost more."""

    async def connect(
        self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        progress = _progress.get()
        progress.connection_acquired = True
        progress.stage = "the response"
        return connection

    def split_responses(self) -> Self:
        """Parse each response's head by itself, which costs a little."""
        self._factory = partial(_SplitHandler, loop=self._loop)  # type: ignore[assignment]
        return self

    def close_nowait(self) -> None:
        """Close synchronously: a garbage-collected client cannot await close()."""
        self._close()


@attrs.define
class _ExternalRequest:
    """A middleware for an external session: our headers win, and sending is recorded."""

    progress: Progress
    authorization: str | None = attrs.field(repr=False)
    reached: bool = False
    """Whether aiohttp has accepted the request; until then nothing can have been sent."""
    sent: bool = False

    async def __call__(
        self, request: ClientRequest, handler: ClientHandlerType
    ) -> aiohttp.ClientResponse:
        self.reached = True
        self.progress.connection_acquired = self.sent
        if self.authorization is not None:
            request.headers["Authorization"] = self.authorization
        if not request.body:
            request.headers.popall("Content-Type", None)
        send = request.send

        async def recorded_send(connection: Connection) -> aiohttp.ClientResponse:
            self.sent = self.progress.connection_acquired = True
            self.progress.stage = "the response"
            return await send(connection)

        request.send = recorded_send  # type: ignore[method-assign,assignment]
        return await handler(request)


class Transport:
    """Sends requests over its own two sessions, or over an external one.

    Own sessions: one keeps connections alive; the other opens a new one for each non-idempotent
    request, because a request on a connection that the server has just closed has an unknown
    outcome.
    """

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession | None = None,
        max_connections: int = 100,
        max_body: int = MAX_BODY,
        created_at: str = "",
    ) -> None:
        self._external_session = session
        self._max_body = max_body
        self._created_at = created_at
        # An external session has its own limit; waiting for ours is not the server's delay.
        self._slots = asyncio.Semaphore(sys.maxsize if session else max_connections)
        self._keepalive_session: aiohttp.ClientSession | None = None
        self._single_use_session: aiohttp.ClientSession | None = None
        self._closed = False

    async def send(self, request: Request, progress: Progress | None = None) -> Response:
        """Return the response, whatever its status.

        Raises `ConnectError` if nothing can have been sent, else `TransportError`, and
        `InvalidResponseError` for a response that is not HTTP or exceeds the size limit.
        """
        progress = progress or Progress()
        progress.stage = "a free connection"
        await self._slots.acquire()
        try:
            session = self._session(single_use=request.fresh_connection)
            progress.stage = "a connection"
            _progress.set(progress)
            if self._external_session is None:
                progress.connection_acquired = False
                return await self._exchange(session, request, request.headers)
            return await self._send_externally(session, request, progress)
        except _QUOTING as error:
            failure = _translate(error, _unquoted(error), connected=progress.connection_acquired)
        except SinchError:
            raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # The connector's task was cancelled and not this one: the session was closed.
            raise _translate(error, "", connected=progress.connection_acquired) from error
        except (aiohttp.ClientError, OSError) as error:
            # Without the inner frames: reporters that read local variables would find the token.
            if error.__traceback__ is not None:
                error.__traceback__.tb_next = None
            raise _translate(error, str(error), connected=progress.connection_acquired) from error
        except Exception as error:
            raise _translate(error, str(error), connected=progress.connection_acquired) from error
        finally:
            self._slots.release()
        try:
            raise failure
        finally:
            del failure  # its traceback holds this frame: break the cycle

    async def _send_externally(
        self, session: aiohttp.ClientSession, request: Request, progress: Progress
    ) -> Response:
        # Should aiohttp not call the middleware, it is not known what was sent: assume the worst.
        progress.connection_acquired = True
        headers = {**_HEADERS, **request.headers}
        replaces_auth = session.auth is not None or session.trust_env
        # aiohttp refuses the header beside `auth=` or a .netrc; a middleware may still set it.
        authorization = headers.pop("Authorization", None) if replaces_auth else None
        ours = _ExternalRequest(progress, authorization)
        try:
            return await self._exchange(
                session, request, headers, (*getattr(session, "_middlewares", ()), ours)
            )
        except _BEFORE_SENDING:
            progress.connection_acquired &= ours.reached
            raise

    async def _exchange(
        self,
        session: aiohttp.ClientSession,
        request: Request,
        headers: dict[str, str],
        middlewares: Sequence[aiohttp.ClientMiddlewareType] | None = None,
    ) -> Response:
        response = await session.request(
            request.method,
            yarl.URL(request.url, encoded=True),
            data=request.body,
            headers=headers,
            skip_auto_headers=_CONTENT_TYPE
            if request.body is None and request.method != "GET"
            else None,
            allow_redirects=False,
            raise_for_status=False,
            timeout=_NO_TIMEOUT,
            max_line_size=_MAX_HEADER,
            max_field_size=_MAX_HEADER,
            middlewares=middlewares,
        )
        try:
            return Response(response.status, response.headers, await self._read(response))
        except (InvalidResponseError, aiohttp.ClientError, OSError):
            # The body of an error status only explains it, so it may be missing.
            if response.status < 400:
                raise
            return Response(response.status, response.headers, b"")
        finally:
            if not response.closed:  # aiohttp closes it at the end of its body
                response.close()

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in _UNENCODED:
            shown = encoding if encoding.isalpha() and len(encoding) < 20 else "unknown"
            raise InvalidResponseError(
                f"encoded body ({shown}) refused", status_code=response.status
            )
        content = response.content
        chunks = [await content.readany()]
        size = len(chunks[0])
        while size <= self._max_body:
            if content.at_eof():
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)
            chunks.append(await content.readany())
            size += len(chunks[-1])
        chunks.clear()  # the error's traceback holds this frame
        raise InvalidResponseError(
            f"body of more than {self._max_body} bytes refused", status_code=response.status
        )

    def _session(self, *, single_use: bool) -> aiohttp.ClientSession:
        if self._closed:  # perhaps while this request waited for a slot
            raise ClosedError("this client is closed")
        if self._external_session is not None:
            if self._external_session.closed:
                raise ClosedError("the external aiohttp session is closed")
            return self._external_session
        if single_use:
            if self._single_use_session is None:
                self._single_use_session = _open_session(
                    _Connector(limit=0, force_close=True).split_responses()
                )
            return self._single_use_session
        if self._keepalive_session is None:
            self._keepalive_session = _open_session(_Connector(limit=0))
        return self._keepalive_session

    def stop(self) -> None:
        """Refuse further requests with a `ClosedError`."""
        self._closed = True

    async def close(self) -> None:
        """Close the sessions that were opened here; an external one stays open."""
        self.stop()
        for session in self._own_sessions():
            await session.close()
        self._keepalive_session = self._single_use_session = None

    def _own_sessions(self) -> list[aiohttp.ClientSession]:
        return [s for s in (self._keepalive_session, self._single_use_session) if s is not None]

    def __del__(self) -> None:
        # aiohttp would warn too, but could not name the client.
        left = self._own_sessions()
        for session in left:
            if isinstance(session.connector, _Connector):
                session.connector.close_nowait()
            session.detach()
        if left:
            warnings.warn(
                f"QualifiedNumbersClient created at {self._created_at} was not closed: "
                "use 'async with' or await client.close()",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )


def _open_session(connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
    session = aiohttp.ClientSession(
        connector=connector,
        headers=_HEADERS,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=_NO_TIMEOUT,
        auto_decompress=False,
    )
    # aiohttp would retry GET, PUT and DELETE once itself; the pipeline counts retries.
    session._retry_connection = False  # noqa: SLF001
    return session


def _unquoted(error: Exception) -> str:
    """Return what went wrong without the error's text, which may repeat the request."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy refused to connect: HTTP {error.status}"
    cause = error.__cause__ if isinstance(error, aiohttp.ClientResponseError) else None
    return type(cause or error).__name__


def _translate(error: BaseException, reason: str, *, connected: bool) -> SinchError:
    """Return the `SinchError` for what aiohttp, a connector or a socket has raised."""
    reason = reason or type(error).__name__
    if not connected or isinstance(
        error,
        aiohttp.ClientConnectorError
        | aiohttp.ClientHttpProxyError
        | aiohttp.ClientProxyConnectionError
        | aiohttp.ConnectionTimeoutError
        | aiohttp.InvalidURL
        | UnicodeError,  # a host name that IDNA refuses
    ):
        return ConnectError(f"no connection: {reason}")
    if isinstance(error, aiohttp.ClientResponseError):
        return InvalidResponseError(f"the response is not HTTP: {reason}")
    return TransportError(f"the connection broke: {reason}")
