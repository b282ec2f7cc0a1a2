"""The first hook: one line a response and a retry on the logger `sinch_qn`, at INFO."""

from __future__ import annotations

import logging

from sinch_qn.errors import SinchError
from sinch_qn.instrumentation.hooks import Hooks, RequestInfo, ResponseInfo

_log = logging.getLogger("sinch_qn")


class LogLines(Hooks):
    """Logs project, method, path template, status and time: no number, token or body."""

    def on_response(self, request: RequestInfo, response: ResponseInfo, seconds: float) -> None:
        """Log the response."""
        _log.info(
            "project %s: %s %s -> %d in %.0f ms",
            request.call.project_id,
            request.method,
            request.url_template,
            response.status_code,
            1000 * seconds,
        )

    def on_retry(self, request: RequestInfo, error: SinchError, delay: float) -> None:
        """Log why there is another attempt, and when."""
        _log.info(
            "project %s: %s failed (%s): retry in %.1f s",
            request.call.project_id,
            request.operation,
            type(error).__name__,
            delay,
        )
