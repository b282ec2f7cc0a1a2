"""Listings, page by page: bounded in memory, resumable, and never endless."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import attrs

from sinch_qn._wire import decode
from sinch_qn.errors import InvalidResponseError, PaginationError
from sinch_qn.models import GlobalProcessState, ListQualifiedNumbersResponse, QualifiedNumber

_CHUNK = 100
"""Items made in one go, about 1 ms, before other tasks get their turn."""

FetchPage = Callable[[str | None], Awaitable[dict[str, Any] | None]]
"""A page token in (None: the first page), the page's JSON object out."""


@attrs.frozen(kw_only=True)
class Page:
    """One page of a listing."""

    items: list[QualifiedNumber]
    next_page_token: str | None
    """Where to go on, also after an error or a restart; None on the last page."""
    total_size: int | None
    """How many numbers the whole listing has, as the server says; None if it does not."""
    state: GlobalProcessState
    """The state that was listed."""


async def pages(
    fetch: FetchPage, state: GlobalProcessState, page_token: str | None, *, prefetch: bool
) -> AsyncGenerator[Page, None]:
    """Yield pages from *page_token* on; with *prefetch* the next is on its way meanwhile.

    Raises `PaginationError` when a token comes back, and whatever *fetch* raises.
    """
    seen: set[str | None] = set()
    ahead: asyncio.Future[dict[str, Any] | None] | None = None
    try:
        while True:
            page = await _read_page(await (ahead or fetch(page_token)), state)
            seen.add(page_token)
            page_token = page.next_page_token
            repeats = page_token is not None and page_token in seen
            go_on = page_token is not None and not repeats
            ahead = asyncio.ensure_future(fetch(page_token)) if prefetch and go_on else None
            yield page
            if repeats:
                raise PaginationError(
                    f"the page token of page {len(seen)} came back: this listing would never end"
                )
            if page_token is None:
                return
    finally:
        if ahead is not None:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)


async def _read_page(body: dict[str, Any] | None, state: GlobalProcessState) -> Page:
    body = body or {}
    raw = body.pop("qualifiedNumbers", None)
    if raw is None:
        raw = []
    head = decode(body, ListQualifiedNumbersResponse)
    if not isinstance(raw, list):
        raise InvalidResponseError("the answer's qualifiedNumbers is not a list")
    items: list[QualifiedNumber] = []
    for start in range(0, len(raw), _CHUNK):
        if start:
            await asyncio.sleep(0)  # a page of thousands must not hold the event loop
        items.extend(decode(item, QualifiedNumber) for item in raw[start : start + _CHUNK])
    return Page(
        items=items,
        next_page_token=head.next_page_token or None,
        total_size=head.total_size,
        state=state,
    )
