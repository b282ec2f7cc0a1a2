"""The client's only aiohttp: a request out, a bounded answer in, its exceptions translated once."""

from __future__ import annotations

import asyncio
import sys
import warnings
from contextvars import ContextVar
from typing import TYPE_CHECKING

import aiohttp
import attrs
import yarl

from sinch_qn._http import Request, Response
from sinch_qn._version import __version__
from sinch_qn.errors import ConnectError, InvalidResponseError, SinchError, TransportError

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

MAX_BODY = 16 * 1024 * 1024
"""No answer is read beyond this many bytes: a listing page of 10,000 numbers is under 5 MiB."""

_HEADERS = {
    "Accept": "application/json",
    # A compressed answer could be a bomb, and these are too small to be worth it.
    "Accept-Encoding": "identity",
    "User-Agent": f"sinch-qn/{__version__}",
}
"""What every request carries; own sessions know them, which spares aiohttp a merge each time."""

_QUOTING = (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError)
"""What may quote the head or body of half an answer; so neither their text nor they go along."""

# The pipeline holds the one deadline; aiohttp's own timers would only cost.
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)


@attrs.define
class Progress:
    """How far a request has come; read when the deadline cuts it off."""

    stage: str = "its turn"
    """What the request waits for."""
    connection_acquired: bool = False
    """Once True, the request may have been sent."""


_progress: ContextVar[Progress] = ContextVar("progress")


class _Connector(aiohttp.TCPConnector):
    """Says when a request has its connection, which aiohttp tells in no cheaper way."""

    async def connect(
        self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        progress = _progress.get()
        progress.connection_acquired = True
        progress.stage = "the answer"
        return connection

    def close_nowait(self) -> None:
        """Close at once; close() is a coroutine, and who was forgotten can wait for nothing."""
        self._close()


class Transport:
    """Sends requests over its own two sessions, or over one that was handed in.

    Own sessions: one keeps connections alive; the other opens a fresh one for each request that
    must not be repeated, because a request on a connection that the server has just dropped is
    lost without a trace, and nobody could say whether the phone rings.
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
        # A brought session has a cap of its own; ours is told apart from a slow server.
        self._slots = asyncio.Semaphore(sys.maxsize if session else max_connections)
        self._keepalive_session: aiohttp.ClientSession | None = None
        self._single_use_session: aiohttp.ClientSession | None = None
        self._closed = False

    async def send(self, request: Request, progress: Progress | None = None) -> Response:
        """Return the answer, whatever its status.

        Raises `ConnectError` while nothing can have left, `TransportError` after, and
        `InvalidResponseError` for what is not HTTP or is over the size cap.
        """
        progress = progress or Progress()
        progress.stage = "a free connection"
        await self._slots.acquire()
        try:
            session = self._session(single_use=request.fresh_connection)
            progress.stage = "a connection"
            # Without our connector there is no telling: be on the safe side.
            progress.connection_acquired = self._external_session is not None
            _progress.set(progress)
            return await self._exchange(session, request)
        except aiohttp.ClientResponseError as error:
            # Not chained: this one holds the request, and with it the Authorization header.
            # What follows the colon are bytes of the answer, which may repeat the request.
            what = error.message.partition(":")[0]
            failure: SinchError = InvalidResponseError(f"the answer is not HTTP: {what}")
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
            del failure  # its traceback holds this frame: do not leave a cycle behind

    async def _exchange(self, session: aiohttp.ClientSession, request: Request) -> Response:
        headers = (
            request.headers if self._external_session is None else {**_HEADERS, **request.headers}
        )
        answer = await session.request(
            request.method,
            yarl.URL(request.url, encoded=True),
            data=request.body,
            headers=headers,
            allow_redirects=False,
            timeout=_NO_TIMEOUT,
        )
        try:
            return Response(answer.status, answer.headers, await self._read(answer))
        except (InvalidResponseError, aiohttp.ClientError, OSError):
            # An error's body is only its explanation, so that one may be missing.
            if answer.status < 400:
                raise
            return Response(answer.status, answer.headers, b"")
        finally:
            if not answer.closed:  # by itself, at the end of its body
                answer.close()

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", ""):
            shown = encoding if encoding.isalpha() and len(encoding) < 20 else "unknown"
            raise InvalidResponseError(f"encoded body ({shown}) refused", status_code=answer.status)
        content = answer.content
        chunks = [await content.readany()]
        size = len(chunks[0])
        while size <= self._max_body:
            if content.at_eof():
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)
            chunks.append(await content.readany())
            size += len(chunks[-1])
        chunks.clear()  # whoever keeps the error keeps this frame
        raise InvalidResponseError(
            f"body of more than {self._max_body} bytes refused", status_code=answer.status
        )

    def _session(self, *, single_use: bool) -> aiohttp.ClientSession:
        if self._closed:  # perhaps while this request waited for its slot
            raise RuntimeError("this client is closed")
        if self._external_session is not None:
            if self._external_session.closed:
                raise RuntimeError("the aiohttp session that was handed in is closed")
            return self._external_session
        if single_use:
            if self._single_use_session is None:
                self._single_use_session = _open_session(_Connector(limit=0, force_close=True))
            return self._single_use_session
        if self._keepalive_session is None:
            self._keepalive_session = _open_session(_Connector(limit=0))
        return self._keepalive_session

    async def close(self) -> None:
        """Close the sessions that were opened here; one that was handed in stays open."""
        self._closed = True
        for session in self._own_sessions():
            await session.close()
        self._keepalive_session = self._single_use_session = None

    def _own_sessions(self) -> list[aiohttp.ClientSession]:
        return [s for s in (self._keepalive_session, self._single_use_session) if s is not None]

    def __del__(self) -> None:
        # aiohttp would warn too, but could not say whose session it was.
        left = self._own_sessions()
        for session in left:
            if isinstance(session.connector, _Connector):
                session.connector.close_nowait()
            session.detach()
        if left:
            warnings.warn(
                f"QualifiedNumbersClient made at {self._created_at} was not closed: "
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
    # aiohttp would repeat GET, PUT and DELETE once by itself; retries are ours to count.
    session._retry_connection = False  # noqa: SLF001
    return session


def _translate(error: Exception, what: str, *, connected: bool) -> TransportError:
    """Return our error for one of aiohttp's or the socket's, and *what* it says."""
    what = what or type(error).__name__
    if not connected or isinstance(
        error,
        aiohttp.ClientConnectorError
        | aiohttp.ClientProxyConnectionError
        | aiohttp.ConnectionTimeoutError
        | aiohttp.InvalidURL,
    ):
        return ConnectError(f"no connection: {what}")
    return TransportError(f"the connection broke: {what}")
