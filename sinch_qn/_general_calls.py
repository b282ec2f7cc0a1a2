"""The client's methods that are no single operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sinch_qn._pipeline import Pipeline, PreparedCall
from sinch_qn._raw import RawResponse, raw_request
from sinch_qn.retry import RetryRule


class GeneralCalls:
    """What a client does for any operation: acquire in advance, and reach any path."""

    _pipeline: Pipeline

    async def prepare(self, *, timeout: float | None = None) -> PreparedCall:
        """Acquire a rate-limit slot, a token and a connection in advance, for one call.

        With `prepared=` nothing waits between your write-ahead intent and the request. It can be
        used once, with this client; the connection waits two seconds, an external session opens
        none. Raises `TokenError`, `AuthenticationError`, `ConnectError`, all NOT_SENT.
        """
        return await self._pipeline.prepare(timeout=timeout)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        json: object = None,
        headers: Mapping[str, str] | None = None,
        idempotent: bool | None = None,
        timeout: float | None = None,
        retry: RetryRule | None = None,
    ) -> RawResponse:
        """Send a request to any *path* below the project, such as `/hostingOrders/01ABC/report`.

        For what has no method yet: with the same token, deadline, rate limit, retries, hooks and
        errors. *idempotent* says whether a retry is safe when the outcome is unknown; by default
        it is for GET, HEAD, PUT and DELETE. A 2xx is returned as it came; raises a `StatusError`
        for an error status, and `InvalidRequestError` for a path that could lead elsewhere.
        """
        raw = raw_request(
            method, path, query=query, json=json, headers=headers, idempotent=idempotent
        )
        return await self._pipeline.call_path(raw, timeout=timeout, retry=retry)
