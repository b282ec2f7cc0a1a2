"""One call, observed: its hooks are told, and its responses captured."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

import attrs

from sinch_qn._connections import Progress
from sinch_qn._headers import kept_headers
from sinch_qn._http import Request, Response
from sinch_qn._operations import Operation
from sinch_qn._raw import capture
from sinch_qn._redaction import masked_number
from sinch_qn.errors import Outcome, SinchError
from sinch_qn.instrumentation.hooks import (
    CallInfo,
    Hooks,
    RequestHeaders,
    RequestInfo,
    ResponseInfo,
)

_log = logging.getLogger("sinch_qn")

Send = Callable[[Request, Progress], Awaitable[Response]]
R = TypeVar("R")


class ObservedCall(Protocol):
    """What is read of a call's state."""

    attempts: int
    phone_number: str | None

    @property
    def may_have_been_sent(self) -> bool:
        """Whether the request may have reached the server."""
        ...


class Observation:
    """Tells *hooks* about one call; what they raise is logged, and does not disturb it."""

    def __init__(
        self,
        hooks: tuple[Hooks, ...],
        operation: Operation[Any],
        call: ObservedCall,
        root: str,
        send: Send,
    ) -> None:
        self._hooks, self._operation, self._call = hooks, operation, call
        self._base_url, _, project_id = root.partition("/v1/projects/")
        number = call.phone_number
        self._info = CallInfo(
            project_id=project_id,
            operation=operation.id,
            phone_number=masked_number(number) if number else None,
        )
        self._send = send
        self._time = asyncio.get_running_loop().time
        self._started_at = self._time()

    async def run(self, running: Awaitable[R]) -> R:
        """Return the result of the call, or raise its error, and tell how it ended."""
        self._started_at = self._time()
        try:
            result = await running
        except BaseException as error:
            self._end(error)
            raise
        self._end(None)
        return result

    async def send(self, request: Request, progress: Progress) -> Response:
        """Send *request* with the headers that hooks add."""
        info = self._request_info(request.headers)
        self._tell("on_request", info)
        if info.headers.added:
            request = attrs.evolve(request, headers={**request.headers, **info.headers.added})
        sent_at = self._time()
        response = await self._send(request, progress)
        seconds = self._time() - sent_at
        capture(response, keep_body=not self._operation.secret_response)
        if self._hooks:
            head = ResponseInfo(
                status_code=response.status,
                headers=kept_headers(response.headers),
                size=len(response.body),
            )
            self._tell("on_response", info, head, seconds)
        return response

    def retry(self, error: SinchError, delay: float) -> None:
        """Tell that there will be another attempt."""
        self._tell("on_retry", self._request_info({}), error, delay)

    def _end(self, error: BaseException | None) -> None:
        info = self._current()
        info.error = error
        if isinstance(error, SinchError):
            info.outcome = error.outcome
        elif error is not None:
            sent = self._call.may_have_been_sent
            info.outcome = Outcome.UNKNOWN if sent else Outcome.NOT_SENT
        self._tell("on_call_end", info)
        info.error = None  # its traceback holds this call: break the cycle

    def _current(self) -> CallInfo:
        """Return the call as it is now."""
        self._info.attempts = self._call.attempts
        self._info.seconds = self._time() - self._started_at
        return self._info

    def _request_info(self, headers: Mapping[str, str]) -> RequestInfo:
        return RequestInfo(
            call=self._current(),
            method=self._operation.method,
            url_template=self._operation.path,
            base_url=self._base_url,
            attempt=self._call.attempts,
            headers=RequestHeaders(headers),
        )

    def _tell(self, method: str, *what: object) -> None:
        for hook in self._hooks:
            try:
                getattr(hook, method)(*what)
            except Exception:  # noqa: BLE001 - a hook is not ours
                _log.exception("the hook %s.%s failed", type(hook).__name__, method)
