"""Listings: no page is lost or repeated, and every listing ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from sinch_qn._paging import Page, pages
from sinch_qn.errors import InvalidResponseError, Outcome, PaginationError, ServerError
from sinch_qn.models import GlobalProcessState as SinchState
from tests.support.cancellation import cancelled_at
from tests.support.virtual_clock import virtual_clock

Json = dict[str, Any]


def page(*numbers: str, token: str | None = None, **more: object) -> Json:
    """Return a page's JSON object."""
    body: Json = {"qualifiedNumbers": [{"phoneNumber": number} for number in numbers], **more}
    return body if token is None else {**body, "nextPageToken": token}


class Listing:
    """A server's listing: pages by token."""

    def __init__(self, by_token: dict[str | None, Json], *, delay: float = 0.0) -> None:
        self.by_token = by_token
        self.delay = delay
        self.asked: list[str | None] = []
        self.broken: set[str | None] = set()

    async def fetch(self, token: str | None) -> Json:
        """Return the page that *token* names."""
        self.asked.append(token)
        assert len(self.asked) < 100, "this listing goes on for ever"
        await asyncio.sleep(self.delay)
        if token in self.broken:
            raise ServerError(status_code=500)
        return dict(self.by_token[token])

    def walk(
        self, token: str | None = None, *, prefetch: bool = False
    ) -> AsyncGenerator[Page, None]:
        """Return the generator of pages."""
        return pages(self.fetch, SinchState.VERIFIED, token, prefetch=prefetch)


def numbers(got: list[Page]) -> list[str | None]:
    """Return the phone numbers of all pages."""
    return [number.phone_number for page in got for number in page.items]


async def collect(walk: AsyncGenerator[Page, None], into: list[Page]) -> None:
    """Add pages to *into*, so that an error does not lose the earlier ones."""
    async for each in walk:
        into.append(each)  # noqa: PERF401 - extend() would lose those before an error


THREE: dict[str | None, Json] = {
    None: page("1", "2", token="a", totalSize=4),
    "a": page("3", token="b"),
    "b": page("4"),
}


@pytest.mark.parametrize("prefetch", [False, True])
@virtual_clock
async def test_all_pages(prefetch: bool) -> None:  # noqa: FBT001
    """Pages follow one another until one has no token."""
    listing = Listing(THREE)
    got = [page async for page in listing.walk(prefetch=prefetch)]
    assert numbers(got) == ["1", "2", "3", "4"]
    assert listing.asked == [None, "a", "b"]
    assert [page.next_page_token for page in got] == ["a", "b", None]
    assert [page.total_size for page in got] == [4, None, None]
    assert {page.state for page in got} == {SinchState.VERIFIED}


@pytest.mark.parametrize(
    "last",
    [{}, {"nextPageToken": ""}, {"nextPageToken": None}, {"qualifiedNumbers": None}, page()],
    ids=str,
)
@virtual_clock
async def test_the_last_page(last: Json) -> None:
    """A token that is absent, empty or null ends the listing; so may an empty object."""
    listing = Listing({None: page("1", token="a"), "a": last})
    got = [page async for page in listing.walk()]
    assert numbers(got) == ["1"]
    assert [page.next_page_token for page in got] == ["a", None]


@virtual_clock
async def test_an_empty_page_with_a_token_goes_on() -> None:
    """A page without numbers is not the end while it has a token."""
    listing = Listing({None: page(token="a"), "a": {"nextPageToken": "b"}, "b": page("1")})
    assert numbers([page async for page in listing.walk()]) == ["1"]


@pytest.mark.parametrize("prefetch", [False, True])
@virtual_clock
async def test_a_listing_of_empty_pages_ends(prefetch: bool) -> None:  # noqa: FBT001
    """Empty pages with ever new tokens end with a PaginationError; a number starts anew."""
    asked = 0

    async def fetch(_: str | None) -> Json:
        nonlocal asked
        asked += 1
        return page("1", token="t900") if asked == 900 else page(token=f"t{asked}")

    got: list[Page] = []
    with pytest.raises(PaginationError, match="1000 pages in a row are empty"):
        await collect(pages(fetch, SinchState.VERIFIED, None, prefetch=prefetch), got)
    assert len(got) == 1900
    assert asked <= 1901


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("back_to", ["a", "b"])
@virtual_clock
async def test_a_repeated_token_ends_the_listing(
    back_to: str,
    prefetch: bool,  # noqa: FBT001
) -> None:
    """A repeated token is a PaginationError, after its page was yielded."""
    listing = Listing({**THREE, "b": page("4", token=back_to)})
    got: list[Page] = []
    with pytest.raises(PaginationError) as caught:
        await collect(listing.walk(prefetch=prefetch), got)
    assert caught.value.operation == "listQualifiedNumbers"
    assert numbers(got) == ["1", "2", "3", "4"]
    assert listing.asked == [None, "a", "b"]


@virtual_clock
async def test_the_token_that_was_passed_in_counts() -> None:
    """A page whose next token is its own is a repeated token, too."""
    listing = Listing({"a": page("3", token="a")})
    with pytest.raises(PaginationError):
        assert [page async for page in listing.walk("a")]
    assert listing.asked == ["a"]


@pytest.mark.parametrize("prefetch", [False, True])
@virtual_clock
async def test_resuming_after_an_error(prefetch: bool) -> None:  # noqa: FBT001
    """After any error a listing resumes from the last page's token, without loss or repetition."""
    listing = Listing(THREE)
    got: list[Page] = []
    listing.broken = {"b"}
    with pytest.raises(ServerError):
        await collect(listing.walk(prefetch=prefetch), got)
    listing.broken = set()
    token = got[-1].next_page_token
    assert token == "b"
    got += [page async for page in listing.walk(token, prefetch=prefetch)]
    assert numbers(got) == ["1", "2", "3", "4"]


@virtual_clock
async def test_prefetch_overlaps() -> None:
    """With prefetch the next page is fetched while this one is used."""
    loop = asyncio.get_running_loop()
    # three pages of 5 s each, used for 4 s each
    for prefetch, taken in ((False, 3 * (5.0 + 4.0)), (True, 3 * 5.0 + 4.0)):
        begun = loop.time()
        async for _ in Listing(THREE, delay=5.0).walk(prefetch=prefetch):
            await asyncio.sleep(4.0)
        assert loop.time() - begun == taken


@virtual_clock
async def test_closing_early_leaves_no_task() -> None:
    """Leaving the loop early cancels the prefetched page."""
    listing = Listing(THREE, delay=5.0)
    async with aclosing(listing.walk(prefetch=True)) as walk:
        async for _ in walk:
            await asyncio.sleep(1.0)
            assert len(asyncio.all_tasks()) == 2
            break
    assert len(asyncio.all_tasks()) == 1
    assert listing.asked == [None, "a"]


@virtual_clock
async def test_closing_early_ignores_a_page_that_failed() -> None:
    """The failure of a prefetched page that is not used is ignored."""
    listing = Listing(THREE)
    async with aclosing(listing.walk(prefetch=True)) as walk:
        async for _ in walk:
            listing.broken = {"a"}
            await asyncio.sleep(1.0)
            break
    assert len(asyncio.all_tasks()) == 1


@virtual_clock
async def test_cancelling_leaves_no_task() -> None:
    """Cancelling a task while a page is in flight leaves no other task."""
    listing = Listing(THREE, delay=5.0)

    async def use() -> None:
        async with aclosing(listing.walk(prefetch=True)) as walk:
            async for _ in walk:
                pass

    using = asyncio.create_task(use())
    await asyncio.sleep(7.0)
    using.cancel()
    await asyncio.wait([using])
    assert using.cancelled()
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("use", [1.0, 9.0])
@virtual_clock
async def test_cancelled_anywhere(prefetch: bool, use: float) -> None:  # noqa: FBT001
    """Cancelled at any await, a listing ends with CancelledError and leaves no task behind.

    No fetch is in flight then, even if its cancellation takes time; later pages are not requested.
    """

    class Slow(Listing):
        """A listing whose fetches also take time to be cancelled."""

        on_their_way = 0

        async def fetch(self, token: str | None) -> Json:
            self.on_their_way += 1
            try:
                return await super().fetch(token)
            finally:
                try:
                    await asyncio.sleep(1.0)
                finally:
                    self.on_their_way -= 1

    async def read(listing: Listing, got: list[Page]) -> None:
        async with aclosing(listing.walk(prefetch=prefetch)) as walk:
            async for each in walk:
                got.append(each)
                await asyncio.sleep(use)

    cancelled = 0
    for k in range(1, 100):
        listing, got = Slow(THREE, delay=5.0), list[Page]()
        task = await cancelled_at(read(listing, got), k)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert listing.on_their_way == 0
        if not task.cancelled():
            break
        cancelled += 1
        # with prefetch the next page is in flight while this one's items are decoded
        assert len(listing.asked) <= len(got) + 1 + prefetch
    task.result()
    assert numbers(got) == ["1", "2", "3", "4"]
    assert cancelled >= 5  # the first fetch and its end, and the use of each page


@virtual_clock
async def test_a_large_page_does_not_block_others() -> None:
    """A page is decoded in chunks: other tasks run in between."""
    listing = Listing({None: page(*(str(i) for i in range(1000)))})
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    async for got in listing.walk():
        assert [number.phone_number for number in got.items] == [str(i) for i in range(1000)]
    ticking.cancel()
    assert turns >= 9


@pytest.mark.parametrize(
    "body",
    [
        {"qualifiedNumbers": {}},
        {"qualifiedNumbers": ""},
        {"qualifiedNumbers": 0},
        {"qualifiedNumbers": "1"},
        {"qualifiedNumbers": [7]},
        {"qualifiedNumbers": [{"phoneNumber": {}}, None]},
        {"nextPageToken": {}},
    ],
    ids=str,
)
@virtual_clock
async def test_unreadable_pages(body: Json) -> None:
    """A page of the wrong shape is an InvalidResponseError."""
    with pytest.raises(InvalidResponseError) as caught:
        assert [page async for page in Listing({None: body}).walk()]
    assert caught.value.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("odd", [7, None, [], {"phoneNumber": {}}], ids=str)
@virtual_clock
async def test_an_unreadable_item_does_not_lose_its_page(odd: object) -> None:
    """An item that cannot be read is left out; its page and the listing go on."""
    body: Json = {**page("1", "2", token="a"), "totalSize": ""}
    body["qualifiedNumbers"].insert(1, odd)
    listing = Listing({None: body, "a": page("3")})
    assert numbers([page async for page in listing.walk()]) == ["1", "2", "3"]
