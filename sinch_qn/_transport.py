"""The client's only use of aiohttp: sends a request, reads a bounded response, maps exceptions."""

from __future__ import annotations

import asyncio
import sys
import warnings
from contextvars import ContextVar
from typing import TypeAlias

import aiohttp
import attrs
import yarl
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from sinch_qn._http import Request, Response
from sinch_qn._version import __version__
from sinch_qn.errors import ConnectError, InvalidResponseError, SinchError, TransportError

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

_QUOTING = (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError)
"""Exceptions whose text may quote a response; neither it nor they are passed on."""

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

    def close_nowait(self) -> None:
        """Close synchronously: a garbage-collected client cannot await close()."""
        self._close()


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
            # Without our connector this is not known, so assume the worst.
            progress.connection_acquired = self._external_session is not None
            _progress.set(progress)
            return await self._exchange(session, request)
        except aiohttp.ClientResponseError as error:
            # Not chained: it holds the request, and with it the Authorization header.
            # After the colon it quotes the response, which may repeat the request.
            reason = error.message.partition(":")[0]
            failure: SinchError = InvalidResponseError(f"the response is not HTTP: {reason}")
        except _QUOTING as error:
            failure = _translate(
                error, type(error).__name__, connected=progress.connection_acquired
            )
        except (aiohttp.ClientError, OSError) as error:
            raise _translate(error, str(error), connected=progress.connection_acquired) from error
        finally:
            self._slots.release()
        try:
            raise failure
        finally:
            del failure  # its traceback holds this frame: break the cycle

    async def _exchange(self, session: aiohttp.ClientSession, request: Request) -> Response:
        headers = (
            request.headers if self._external_session is None else {**_HEADERS, **request.headers}
        )
        response = await session.request(
            request.method,
            yarl.URL(request.url, encoded=True),
            data=request.body,
            headers=headers,
            allow_redirects=False,
            timeout=_NO_TIMEOUT,
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
        if encoding not in ("identity", ""):
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
            raise RuntimeError("this client is closed")
        if self._external_session is not None:
            if self._external_session.closed:
                raise RuntimeError("the external aiohttp session is closed")
            return self._external_session
        if single_use:
            if self._single_use_session is None:
                self._single_use_session = _open_session(_Connector(limit=0, force_close=True))
            return self._single_use_session
        if self._keepalive_session is None:
            self._keepalive_session = _open_session(_Connector(limit=0))
        return self._keepalive_session

    async def close(self) -> None:
        """Close the sessions that were opened here; an external one stays open."""
        self._closed = True
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


def _translate(error: Exception, reason: str, *, connected: bool) -> TransportError:
    """Return the `TransportError` for an exception of aiohttp or the socket."""
    reason = reason or type(error).__name__
    if not connected or isinstance(
        error,
        aiohttp.ClientConnectorError
        | aiohttp.ClientProxyConnectionError
        | aiohttp.ConnectionTimeoutError
        | aiohttp.InvalidURL,
    ):
        return ConnectError(f"no connection: {reason}")
    return TransportError(f"the connection broke: {reason}")
