"""Listings, page by page: bounded in memory, resumable, always finite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Generic, TypeVar

import attrs

from sinch_qn._codec import decode, decode_items
from sinch_qn._error_context import naming
from sinch_qn._operations import LIST_NUMBERS, Operation
from sinch_qn.errors import InvalidResponseError, PaginationError
from sinch_qn.models import GlobalProcessState, QualifiedNumber

T = TypeVar("T")

_CHUNK = 100
"""Items decoded, in about 1 ms, before the event loop runs other tasks."""

_EMPTY_PAGES = 1000
"""Pages in a row without an item, each with a new token: a listing that does not end."""

FetchPage = Callable[[str | None], Awaitable[dict[str, Any] | None]]
"""From a page token (None: the first page) to the page's JSON object."""


@attrs.frozen(kw_only=True)
class Page:
    """One page of a listing."""

    items: list[QualifiedNumber]
    next_page_token: str | None
    """Where to resume, also after an error or a restart; None on the last page."""
    total_size: int | None
    """Numbers in the whole listing according to the server, or None."""
    state: GlobalProcessState
    """The state that was listed."""


@attrs.frozen
class Listing(Generic[T]):
    """What the pages of one listing are made of."""

    operation: Operation[Any]
    """Its response has the fields `next_page_token` and `total_size`."""
    field: str
    """The wire name of the items."""
    item_model: type[T]


QUALIFIED_NUMBERS = Listing(LIST_NUMBERS, "qualifiedNumbers", QualifiedNumber)


async def pages(
    fetch: FetchPage, state: GlobalProcessState, page_token: str | None, *, prefetch: bool
) -> AsyncGenerator[Page, None]:
    """Yield pages of qualified numbers from *page_token* on; see `walk`."""
    walked = walk(fetch, QUALIFIED_NUMBERS, page_token, prefetch=prefetch)
    with naming(LIST_NUMBERS.id):
        async with aclosing(walked) as listing:
            async for items, token, total_size in listing:
                yield Page(items=items, next_page_token=token, total_size=total_size, state=state)


async def items(fetch: FetchPage, listing: Listing[T]) -> AsyncGenerator[T, None]:
    """Yield the items of *listing*, one page in memory at a time."""
    with naming(listing.operation.id):
        async with aclosing(walk(fetch, listing)) as walked:
            async for page, _, _ in walked:
                for item in page:
                    yield item


async def walk(
    fetch: FetchPage,
    listing: Listing[T],
    page_token: str | None = None,
    *,
    prefetch: bool = False,
) -> AsyncGenerator[tuple[list[T], str | None, int | None], None]:
    """Yield the items of each page from *page_token* on, the next page's token and the total size.

    *prefetch* requests the next page early. Raises `PaginationError` if a token repeats or page
    after page is empty, and the errors of *fetch*.
    """
    seen: set[str | None] = set()
    empty = 0
    prefetched: asyncio.Future[dict[str, Any] | None] | None = None
    try:
        while True:
            body = await (prefetched or fetch(page_token)) or {}
            head = decode({**body, listing.field: None}, listing.operation.response_model)
            seen.add(page_token)
            page_token = head.next_page_token or None
            repeats = page_token is not None and page_token in seen
            go_on = page_token is not None and not repeats
            # Before this page's items are decoded, to use that time.
            prefetched = asyncio.ensure_future(fetch(page_token)) if prefetch and go_on else None
            page = await _read_items(body.pop(listing.field, None), listing)
            empty = 0 if page else empty + 1
            yield page, page_token, head.total_size
            if repeats:
                raise PaginationError(
                    f"the page token of page {len(seen)} repeats: this listing would never end"
                )
            if page_token is None:
                return
            if empty >= _EMPTY_PAGES:
                raise PaginationError(
                    f"{empty} pages in a row are empty, each with a new token: "
                    "this listing would never end"
                )
    finally:
        if prefetched is not None:
            prefetched.cancel()
            await asyncio.gather(prefetched, return_exceptions=True)


async def _read_items(raw: object, listing: Listing[T]) -> list[T]:
    if raw is None:
        return []
    if not isinstance(raw, list):
        raise InvalidResponseError(f"the response's {listing.field} is not a list")
    read: list[T] = []
    for start in range(0, len(raw), _CHUNK):
        # A page of thousands must not block the event loop, nor the next page's request.
        await asyncio.sleep(0)
        read.extend(decode_items(raw[start : start + _CHUNK], listing.item_model))
    return read
