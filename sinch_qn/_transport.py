"""Sends a request over aiohttp, reads a bounded response, maps exceptions."""

from __future__ import annotations

import asyncio
import sys
import warnings
from typing import TypeAlias

import aiohttp
import attrs
import yarl
from aiohttp.client_middlewares import ClientHandlerType
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection

from sinch_qn._connections import (
    MAX_HEADER,
    NO_TIMEOUT,
    AheadConnection,
    ConnectionOptions,
    Connector,
    Progress,
    SingleUseConnector,
    open_session,
    progress_of_request,
)
from sinch_qn._http import Request, Response
from sinch_qn.errors import (
    ClosedError,
    ConnectError,
    InvalidResponseError,
    SinchError,
    TransportError,
)

ClientSession: TypeAlias = aiohttp.ClientSession
"""For annotations elsewhere: only this file, `_connections` and the servers import aiohttp."""

MAX_BODY = 16 * 1024 * 1024
"""Bytes read of a response at most: a listing page of 10,000 numbers is under 5 MiB."""

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

_REQUEST = vars(aiohttp.ClientSession)["_request"]
"""What libraries that mock responses replace: then there is nothing to connect to."""

_DISTRUST = 600.0
"""Seconds without connections ahead, after a server has closed one."""

_DEFAULTS = ConnectionOptions()

_BEFORE_SENDING = (ValueError, TypeError, RuntimeError)
"""What aiohttp raises for settings that contradict each other, or for a closed session."""

_CONNECTING = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ClientProxyConnectionError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    UnicodeError,  # a host name that IDNA refuses
)
"""Exceptions of a request that got no connection."""


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


class _Slots:
    """As many slots as connections may be open; taken without waiting while some are free."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._waiting = 0
        self._passed_on = asyncio.Semaphore(0)

    def take(self) -> bool:
        """Take a slot if one is free."""
        if not self._free:
            return False
        self._free -= 1
        return True

    async def wait(self) -> None:
        """Wait for the next slot that is released; first come, first served."""
        self._waiting += 1
        try:
            await self._passed_on.acquire()
        finally:
            self._waiting -= 1

    def release(self) -> None:
        """Pass the slot on to who waits for it."""
        if self._waiting:
            self._passed_on.release()
        else:
            self._free += 1


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
        options: ConnectionOptions = _DEFAULTS,
        created_at: str = "",
    ) -> None:
        self._external_session = session
        self._options = options
        self._max_body = max_body
        self._created_at = created_at
        # An external session has its own limit; waiting for ours is not the server's delay.
        self._slots = _Slots(sys.maxsize if session else max_connections)
        self._keepalive_session: aiohttp.ClientSession | None = None
        self._single_use_session: aiohttp.ClientSession | None = None
        self._ahead: dict[AheadConnection, None] = {}
        """Connections that wait for their requests, each with a slot."""
        self._next_ahead = 0.0
        """From when on, in the event loop's time, connections may be opened ahead."""
        self._closed = False

    async def send(self, request: Request, progress: Progress | None = None) -> Response:
        """Return the response, whatever its status.

        Raises `ConnectError` if nothing can have been sent, else `TransportError`, and
        `InvalidResponseError` for a response that is not HTTP or exceeds the size limit.
        """
        progress = progress or Progress()
        if not self._take_slot(progress):
            progress.stage = "a free connection"
            await self._slots.wait()
        try:
            session = self._session(single_use=request.fresh_connection)
            progress.stage = "a connection"
            if self._external_session is not None:
                return await self._send_externally(session, request, progress)
            progress.connection_acquired = False
            progress_of_request.set(progress)
            response = await session.request(
                request.method,
                yarl.URL(request.url, encoded=True),
                data=request.body,
                headers=request.headers,
                allow_redirects=False,
            )
            return self._read_at_once(response) or await self._read(response)
        except SinchError:
            raise
        except (asyncio.CancelledError, Exception) as error:
            if _is_cancelled_here(error):
                raise
            failure = _translate(error, connected=progress.connection_acquired)
            if not isinstance(error, _QUOTING):
                _cut_frames(error)
                raise failure from error
        finally:
            self._slots.release()
            if progress.ahead is not None:
                progress.ahead.close()
        try:
            raise failure
        finally:
            del failure  # its traceback holds this frame: break the cycle

    async def _send_externally(
        self, session: aiohttp.ClientSession, request: Request, progress: Progress
    ) -> Response:
        # Should aiohttp not call the middleware, it is not known what was sent: assume the worst.
        progress.connection_acquired = True
        headers = {**self._options.headers, **request.headers}
        replaces_auth = session.auth is not None or session.trust_env
        # aiohttp refuses the header beside `auth=` or a .netrc; a middleware may still set it.
        authorization = headers.pop("Authorization", None) if replaces_auth else None
        ours = _ExternalRequest(progress, authorization)
        without_body = request.body is None and request.method != "GET"
        try:
            response = await session.request(
                request.method,
                yarl.URL(request.url, encoded=True),
                data=request.body,
                headers=headers,
                skip_auto_headers=_CONTENT_TYPE if without_body else None,
                allow_redirects=False,
                raise_for_status=False,
                timeout=NO_TIMEOUT,
                max_line_size=MAX_HEADER,
                max_field_size=MAX_HEADER,
                middlewares=(*getattr(session, "_middlewares", ()), ours),
            )
            return await self._read(response)
        except _CONNECTING:
            # A middleware may send again: this is the last attempt, and an earlier one was sent.
            progress.connection_acquired = ours.sent
            raise
        except _BEFORE_SENDING:
            progress.connection_acquired &= ours.reached
            raise

    def _read_at_once(self, response: aiohttp.ClientResponse) -> Response | None:
        """Return the response if it has arrived as a whole, as most do; else None."""
        content, headers = response.content, response.headers
        is_whole = content.is_eof() and content.total_bytes <= self._max_body
        if not is_whole or "Content-Encoding" in headers:
            return None
        return Response(response.status, headers, content.read_nowait())

    async def _read(self, response: aiohttp.ClientResponse) -> Response:
        status, headers = response.status, response.headers
        try:
            encoding = headers.get("Content-Encoding")
            if encoding is not None and encoding.strip().lower() not in _UNENCODED:
                encoding = encoding.strip().lower()
                shown = encoding if encoding.isalpha() and len(encoding) < 20 else "unknown"
                raise InvalidResponseError(f"encoded body ({shown}) refused", status_code=status)
            content = response.content
            chunks = [await content.readany()]
            size = len(chunks[0])
            while size <= self._max_body:
                if content.at_eof():
                    body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
                    return Response(status, headers, body)
                chunks.append(await content.readany())
                size += len(chunks[-1])
            chunks.clear()  # the error's traceback holds this frame
            raise InvalidResponseError(
                f"body of more than {self._max_body} bytes refused", status_code=status
            )
        except (InvalidResponseError, aiohttp.ClientError, OSError):
            # The body of an error status only explains it, so it may be missing.
            if status < 400:
                raise
            return Response(status, headers, b"")
        finally:
            if not response.closed:  # aiohttp closes it at the end of its body
                response.close()

    async def open_ahead(self, url: str) -> AheadConnection | None:
        """Open a connection for a request to the host of *url* that must have one of its own.

        None if no slot is free, for an external session, and for a while after a server has closed
        such a connection: the next one could be closed while a request is on its way. Raises
        `ConnectError`.
        """
        loop = asyncio.get_running_loop()
        is_mocked = vars(aiohttp.ClientSession)["_request"] is not _REQUEST
        if self._external_session is not None or is_mocked or loop.time() < self._next_ahead:
            return None
        connector = self._session(single_use=True).connector
        assert isinstance(connector, SingleUseConnector)  # noqa: S101 - our own session's
        if not self._slots.take():
            return None
        try:
            connection = await connector.open(url)
        except (asyncio.CancelledError, Exception) as error:
            self._slots.release()
            if _is_cancelled_here(error):
                raise
            raise _translate(error, connected=False) from error
        ahead = AheadConnection(connection, on_end=self._forget_ahead)
        self._ahead[ahead] = None
        return ahead

    def _take_slot(self, progress: Progress) -> bool:
        """Take a slot: that of the connection ahead, a free one, or another connection's."""
        if progress.ahead is not None:
            if self._ahead.pop(progress.ahead, ...) is None:
                return True
            progress.ahead = None  # it has ended, and its slot is free
        if not self._slots.take():
            if not self._ahead:
                return False
            next(iter(self._ahead)).close()  # this request goes before one that is still to come
            return self._slots.take()
        return True

    def _forget_ahead(self, ahead: AheadConnection) -> None:
        if ahead.ended_by_peer:
            self._next_ahead = asyncio.get_running_loop().time() + _DISTRUST
        if ahead in self._ahead:
            del self._ahead[ahead]
            self._slots.release()

    def _session(self, *, single_use: bool) -> aiohttp.ClientSession:
        if self._closed:  # perhaps while this request waited for a slot
            raise ClosedError("this client is closed")
        if self._external_session is not None:
            if self._external_session.closed:
                raise ClosedError("the external aiohttp session is closed")
            return self._external_session
        if single_use:
            if self._single_use_session is None:
                self._single_use_session = open_session(self._options, single_use=True)
            return self._single_use_session
        if self._keepalive_session is None:
            self._keepalive_session = open_session(self._options, single_use=False)
        return self._keepalive_session

    def stop(self) -> None:
        """Refuse further requests with a `ClosedError`."""
        self._closed = True

    async def close(self) -> None:
        """Close the sessions that were opened here; an external one stays open."""
        self.stop()
        for ahead in [*self._ahead]:
            ahead.close()
        for session in self._own_sessions():
            await session.close()
        self._keepalive_session = self._single_use_session = None

    def _own_sessions(self) -> list[aiohttp.ClientSession]:
        return [s for s in (self._keepalive_session, self._single_use_session) if s is not None]

    def __del__(self) -> None:
        # aiohttp would warn too, but could not name the client.
        left = self._own_sessions()
        for session in left:
            if isinstance(session.connector, Connector):
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


def _is_cancelled_here(error: BaseException) -> bool:
    """Whether this task is cancelled; otherwise the session was closed, and its task cancelled."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling() > 0)


def _cut_frames(error: BaseException) -> None:
    """Forget aiohttp's frames: reporters that read local variables would find the token there."""
    if isinstance(error, aiohttp.ClientError | OSError) and error.__traceback__ is not None:
        error.__traceback__.tb_next = None


def _unquoted(error: BaseException) -> str:
    """Return what went wrong without the error's text, which may repeat the request."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy refused to connect: HTTP {error.status}"
    cause = error.__cause__ if isinstance(error, aiohttp.ClientResponseError) else None
    return type(cause or error).__name__


def _translate(error: BaseException, *, connected: bool) -> SinchError:
    """Return the `SinchError` for what aiohttp, a connector or a socket has raised."""
    quotes = isinstance(error, _QUOTING)
    reason = (_unquoted(error) if quotes else str(error)) or type(error).__name__
    if not connected:
        return ConnectError(f"no connection: {reason}")
    if isinstance(error, aiohttp.ClientResponseError):
        return InvalidResponseError(f"the response is not HTTP: {reason}")
    return TransportError(f"the connection broke: {reason}")
