"""The sandbox's listings, page by page."""

from __future__ import annotations

import pytest

from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.sandbox import Sandbox
from tests.sandbox.curl import NUMBER, running


async def test_a_listing_is_cut_into_pages() -> None:
    """Pages are at most as long as the server's limit, and list each number once."""
    numbers = [f"+1202555{line:04}" for line in range(250)]
    async with running(page_size_cap=100) as (sandbox, _), sandbox.client() as client:
        sandbox.add(numbers)
        pages = [
            page async for page in client.list_number_pages(SinchState.ELIGIBLE, page_size=1000)
        ]
        assert [len(page.items) for page in pages] == [100, 100, 50]
        assert {page.total_size for page in pages} == {250}
        assert [number.phone_number for page in pages for number in page.items] == numbers
        pages = [
            page async for page in client.list_number_pages(SinchState.ELIGIBLE, page_size=200)
        ]
        assert len(pages[0].items) == 100


async def test_page_tokens_outlive_the_server() -> None:
    """A page token is valid after the sandbox was left and entered again."""
    sandbox = Sandbox(page_size_cap=2)
    sandbox.add([f"+1202555{line:04}" for line in range(3)])
    async with sandbox, sandbox.client() as client:
        first = await anext(client.list_number_pages(SinchState.ELIGIBLE))
    port = sandbox.port
    async with sandbox, sandbox.client() as client:
        assert sandbox.port == port
        listing = client.list_number_pages(SinchState.ELIGIBLE, page_token=first.next_page_token)
        assert [len(page.items) async for page in listing] == [1]


async def test_a_listing_can_be_filtered_and_ordered() -> None:
    """A listing is filtered by region, and ordered by the time of the last change."""
    async with running() as (sandbox, curl):
        sandbox.add([NUMBER, "+14165550134", "+12025550135"])
        sandbox.clock.advance(1)
        sandbox.add([NUMBER])
        path = f"/qualifiedNumbers?states={SinchState.ELIGIBLE.value}"
        _, canadian, _ = await curl.send("GET", path + "&regionCode=CA")
        assert [each["phoneNumber"] for each in canadian["qualifiedNumbers"]] == ["+14165550134"]
        assert canadian["totalSize"] == 1
        _, changed, _ = await curl.send("GET", path + "&orderBy=updatedTime")
        assert changed["qualifiedNumbers"][-1]["phoneNumber"] == NUMBER
        assert "nextPageToken" not in changed


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("pageSize=-1", "pageSize"),
        ("orderBy=size", "orderBy"),
        ("pageToken=!", "pageToken"),
        ("pageToken=bm9uc2Vuc2U=", "pageToken"),
        ("pageToken=MQ==", "pageToken"),
        ("pageToken=WzEsMl0=", "pageToken"),
    ],
)
async def test_a_listing_that_makes_no_sense_is_refused(query: str, field: str) -> None:
    """An invalid parameter or page token is a 400 that names the parameter."""
    async with running() as (_, curl):
        path = f"/qualifiedNumbers?states={SinchState.ELIGIBLE.value}&{query}"
        status, error, _ = await curl.send("GET", path)
        assert status == 400
        assert error["details"][0]["fieldViolations"][0]["field"] == field


async def test_a_page_token_is_for_its_own_listing() -> None:
    """A page token of one state's listing is invalid in another's."""
    async with running(page_size_cap=1) as (sandbox, curl):
        sandbox.add([NUMBER, "+12025550135"])
        _, page, _ = await curl.send("GET", f"/qualifiedNumbers?states={SinchState.ELIGIBLE.value}")
        token = page["nextPageToken"]
        path = f"/qualifiedNumbers?states={SinchState.VERIFIED.value}&pageToken={token}"
        assert (await curl.send("GET", path))[0] == 400
