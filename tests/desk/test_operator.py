"""The operators' pages: what they show, and that each action is done once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from sinch_qn.bulk import (
    ChallengeState,
    Entry,
    MemoryJournal,
    NewNumber,
    SqliteJournal,
    VoiceChallengeRun,
)
from sinch_qn.bulk.journal import BatchState
from sinch_qn.bulk.states import Event
from sinch_qn.desk import create_app
from sinch_qn.desk.links import Subject
from sinch_qn.desk.state import DESK
from sinch_qn.models import GlobalProcessState
from sinch_qn.sandbox import Sandbox
from tests.support.desk import PUBLIC, SECRET, Page, Site, browsing, site
from tests.support.journals import MINE, happen
from tests.support.runs import NUMBER, OTHER, numbers, until, until_state

XSS = '"><script>alert(1)</script>'


@pytest.fixture
async def desk(sandbox: Sandbox) -> AsyncIterator[Site]:
    """Serve a desk beside a run that calls on request, with two numbers."""
    sandbox.add([NUMBER, OTHER])
    async with site(sandbox, on_request=True) as desk:
        await desk.run.add([NewNumber(number=NUMBER, ref="Shop 1"), NewNumber(number=OTHER)])
        yield desk


async def page_of(desk: Site, number: str = NUMBER) -> Page:
    """Open the page about a number."""
    return await desk.browser.get(desk.app[DESK].history_path(number))


async def press(desk: Site, page: Page, name: str, **form: str) -> Page:
    """Submit a form of a page."""
    form = {"token": page.field("token"), **form}
    return await desk.browser.post(page.link(f"/{name}$"), form)


def rings(desk: Site, number: str = NUMBER) -> int:
    """Return how often a phone rang."""
    return desk.sandbox.world.get(number).rings


async def test_the_overview_says_what_the_journal_says(desk: Site) -> None:
    """Tiles, states, and what needs a person first are those of the run."""
    await desk.run.add([NewNumber(number="12", line=7, problem="too short", ref=XSS)])

    async def is_advised() -> bool:
        page = await desk.browser.get("/operator")
        return "Correct the lines shown, then run again. 1" in page.words

    await until(is_advised, seconds=20)
    page = await desk.browser.get("/operator")
    assert "Numbers 3 1 invalid" in page.words
    assert XSS in page.words
    assert "<script>alert" not in page.text


async def test_the_overview_is_sent_again_when_it_changes(desk: Site) -> None:
    """The live stream begins with the page as it is, and sends it once the counts change."""
    async with desk.browser.client.get("/operator/events") as response, asyncio.timeout(20):
        assert response.content_type == "text/event-stream"
        async for line in response.content:
            if b"1 invalid" in line:
                break
            if b"0 invalid" in line:
                await desk.run.add([NewNumber(number="12", line=7, problem="too short")])


async def test_one_press_is_one_ring(desk: Site) -> None:
    """Pressed twice, reloaded, or sent again later from an old page, a call is one call."""
    page = await page_of(desk)
    done = await press(desk, page, "call", attempt=page.field("attempt"))
    assert "The call is requested" in done.words
    await until_state(desk.run, ChallengeState.AWAITING_CODE)
    again = await press(desk, page, "call", attempt=page.field("attempt"))
    assert "stays one call" in again.words
    both = [press(desk, page, "call", attempt=page.field("attempt")) for _ in range(5)]
    await asyncio.gather(*both)
    await asyncio.sleep(0.1)
    assert rings(desk) == 1
    newer = await page_of(desk)
    await press(desk, newer, "call", attempt=newer.field("attempt"))
    await until_state(desk.run, ChallengeState.AWAITING_CODE)
    assert rings(desk) == 2


async def test_a_page_of_a_call_that_was_not_sent(desk: Site) -> None:
    """P1: the next call has the same attempt, and a page of the first asks for no other one."""
    for events in ((Event.CALL, Event.CALL_UNKNOWN), (Event.CALL_NOT_SENT, Event.CALL)):
        await happen(desk.journal, OTHER, *events, at=desk.journal.now())
        if Event.CALL_UNKNOWN in events:
            old = await page_of(desk, OTHER)
    await happen(desk.journal, OTHER, Event.CALLED, at=desk.journal.now())
    newer = await page_of(desk, OTHER)
    assert old.field("attempt") == newer.field("attempt")
    both = {"attempt": "1", "intent": old.field("intent")}
    assert "stays one call" in (await press(desk, old, "call", **both)).words
    await asyncio.sleep(0.05)
    assert rings(desk, OTHER) == 0
    both = {"attempt": "1", "intent": newer.field("intent")}
    assert "The call is requested" in (await press(desk, newer, "call", **both)).words
    await until_state(desk.run, ChallengeState.AWAITING_CODE, number=OTHER)
    assert rings(desk, OTHER) == 1


async def test_a_code_is_entered_for_the_call_that_was_seen(desk: Site) -> None:
    """A code verifies; one of a page older than the last call is not taken; none is shown."""
    before = await page_of(desk)
    await press(desk, before, "call", attempt="0")
    await until_state(desk.run, ChallengeState.AWAITING_CODE)
    code = desk.sandbox.code_for(NUMBER) or ""
    page = await page_of(desk)
    stale = await press(desk, page, "code", attempt="0", code=code)
    assert "newer call" in stale.words
    spaced = " ".join(code)
    done = await press(desk, page, "code", attempt="1", code=spaced)
    assert "The code is accepted" in done.words
    await until_state(desk.run, ChallengeState.VERIFIED)
    last = await page_of(desk)
    assert "verified ownership proved" in last.words
    assert "Call 1 done" in last.words
    for shown in (done, last):
        assert code not in shown.words
    refused = await press(desk, page, "code", attempt="1", code=code)
    assert "not accepted" in refused.words
    assert code not in refused.words


@pytest.mark.parametrize(
    ("name", "form", "status"),
    [
        ("call", {"attempt": "x"}, 400),
        ("call", {"attempt": "-1"}, 400),
        ("call", {}, 400),
        ("call", {"attempt": "0", "intent": "x"}, 400),
        ("code", {"attempt": "9" * 99, "code": "1"}, 400),
    ],
)
async def test_a_form_without_its_page_does_nothing(
    desk: Site, name: str, form: dict[str, str], status: int
) -> None:
    """What no page of ours sends is refused, and rings nobody."""
    page = await page_of(desk)
    token = {"token": page.field("token")}
    path = page.link("/call$").removesuffix("call") + name
    assert (await desk.browser.post(path, token | form)).status == status
    assert rings(desk) == 0


async def test_links_are_revoked_once_for_each_press(desk: Site) -> None:
    """Revoking makes a new link, and a second press of the same form leaves that one."""
    links = desk.app[DESK].links
    page = await page_of(desk)
    old = await links.token(Subject.NUMBER, NUMBER)
    form = {"link": page.field("link"), "ref_link": page.field("ref_link")}
    done = await press(desk, page, "revoke", **form)
    new = await links.token(Subject.NUMBER, NUMBER)
    assert "invalid now" in done.words
    assert new in done.text
    assert await links.read(old) is None
    await press(desk, page, "revoke", **form)
    assert await links.token(Subject.NUMBER, NUMBER) == new
    lines = (await desk.browser.get("/operator/links.csv")).text.splitlines()
    assert lines[0] == "number,ref,url"
    assert f"{NUMBER},Shop 1,{PUBLIC}/n/{new}" in lines


async def test_links_are_of_numbers_that_are_not_settled_for_good() -> None:
    """No link for what is verified or no number; formulas of refs are disarmed."""
    journal = MemoryJournal()
    await journal.open(MINE, running=True)
    await journal.add([Entry(number=NUMBER), Entry(number=OTHER, ref="=1+1")])
    state = {"remote": GlobalProcessState.VERIFIED}
    await happen(journal, NUMBER, Event.ALREADY_VERIFIED, **state)
    app = create_app(None, journal, secret=SECRET, public_url=PUBLIC)
    async with browsing(app) as browser:
        await browser.log_in()
        page = await browser.get("/operator/links.csv")
    assert page.headers["Content-Type"] == "text/csv; charset=utf-8"
    (row,) = page.text.splitlines()[1:]
    assert row.startswith(f"{OTHER},'=1+1,{PUBLIC}/n/")


@pytest.mark.slow
async def test_paging_shows_each_number_once_at_size(tmp_path: Path) -> None:
    """Of 10^5 numbers those that are searched are walked page by page, each seen once."""
    journal = SqliteJournal(tmp_path / "run.db")
    await journal.open(MINE, running=True)
    wanted = numbers(100_000)
    await journal.add([Entry(number=number) for number in wanted])
    app = create_app(None, journal, secret=SECRET, public_url=PUBLIC)
    async with browsing(app) as browser:
        page = await browser.log_in(path="/operator/numbers?order=called")
        form = {"token": page.field("token"), "order": "number", "text": "20256000"}
        page = await browser.post("/operator/numbers", form)
        seen: list[str] = []
        while True:
            seen += [word for word in page.words.split() if word in wanted[:100]]
            if 'rel="next"' not in page.text:
                break
            assert "20256000" not in page.path
            page = await browser.get(page.link("after="))
    assert seen == wanted[:100]
    await journal.close()


async def test_a_search_finds_by_digits_ref_and_state(desk: Site) -> None:
    """A search by digits, by the beginning of a ref, and by state; without what it is not."""
    page = await desk.browser.get("/operator/numbers")
    for form, found in (
        ({"text": "555-0135"}, {OTHER}),
        ({"text": "shop"}, {NUMBER}),
        ({"state": "pending"}, {NUMBER, OTHER}),
        ({"state": "verified"}, set()),
        ({"text": XSS}, set()),
    ):
        listed = await desk.browser.post(
            "/operator/numbers", {"token": page.field("token"), **form}
        )
        assert {number for number in (NUMBER, OTHER) if f">{number}<" in listed.text} == found
        assert "<script>alert" not in listed.text


@pytest.mark.parametrize(
    "query", ["after=x", "text=%00", "state=nothing", "order=x&after=", "descending=2", "said=x"]
)
async def test_a_made_up_view_is_the_first_page(desk: Site, query: str) -> None:
    """What a URL says that no page of ours made is left out."""
    page = await desk.browser.get(f"/operator/numbers?{query}")
    assert (page.status, NUMBER in page.text) == (200, True)


async def test_a_place_in_another_order_is_the_first_page(desk: Site) -> None:
    """A cursor that is genuine, but of another order, shows the first page."""
    from sinch_qn.desk.links import Link  # noqa: PLC0415

    links = desk.app[DESK].links
    after = links.seal(Link(Subject.OPERATOR, "WyJudW1iZXIiLGZhbHNlLCIrMSJd"))
    page = await desk.browser.get(f"/operator/numbers?order=called&after={after}")
    assert (page.status, NUMBER in page.text) == (200, True)


async def test_a_person_link_is_no_page_of_operators(desk: Site) -> None:
    """The token of a person's page opens no history, and a message is no number."""
    for subject in (Subject.NUMBER, Subject.REF):
        token = await desk.app[DESK].links.token(subject, NUMBER)
        assert (await desk.browser.get(f"/operator/numbers/{token}")).status == 404


async def test_a_batch_is_freed_once_and_only_by_who_is_certain(desk: Site) -> None:
    """Freeing needs the tick; a second press says that there is nothing to free."""
    journal = desk.journal
    page = await page_of(desk)
    await press(desk, page, "call", attempt="0")
    await until_state(desk.run, ChallengeState.AWAITING_CODE)
    await desk.run.submit_code(NUMBER, desk.sandbox.code_for(NUMBER) or "")
    await until_state(desk.run, ChallengeState.VERIFIED)
    batch = await journal.claim_batch(toll_free=False, region="US", limit=10, at=1.0)
    assert batch is not None
    await journal.record_batch_outcome(
        batch.id, BatchState.UNKNOWN, only_from=[BatchState.SENDING], note=XSS
    )
    page = await desk.browser.get("/operator/orders")
    assert XSS in page.words
    assert "<script>alert" not in page.text
    path, token = page.link("/free$"), {"token": page.field("token")}
    assert "Nothing was done" in (await desk.browser.post(path, token)).words
    form = token | {"certain": "yes"}
    assert "is freed: 1 numbers" in (await desk.browser.post(path, form)).words
    assert "is not sent" in (await desk.browser.post(path, form)).words
    assert (await desk.browser.post("/operator/orders/x/free", form)).status == 404


async def test_a_message_is_shown_for_a_while_and_cannot_be_made_up(desk: Site) -> None:
    """What an action did is said on the next page, not days later, and by nobody else."""
    page = await page_of(desk)
    done = await press(desk, page, "call", attempt="0")
    assert 'class="said"' in done.text
    memory = desk.journal
    assert isinstance(memory, MemoryJournal)
    clock, memory.clock = memory.clock, lambda: clock() + 121
    assert 'class="said"' not in (await desk.browser.get(done.path)).text


async def test_a_desk_without_a_run_acts_through_the_journal(sandbox: Sandbox) -> None:
    """Beside a run of another process, a press in the desk makes that run call."""
    sandbox.add([NUMBER])
    journal = MemoryJournal()
    async with (
        sandbox.client() as client,
        VoiceChallengeRun(client, journal, on_request=True) as run,
        browsing(create_app(None, journal, secret=SECRET, public_url=PUBLIC)) as browser,
    ):
        await run.add([NUMBER])
        await browser.log_in()
        page = await browser.get(browser.app[DESK].history_path(NUMBER))
        form = {"token": page.field("token"), "attempt": "0"}
        await browser.post(page.link("/call$"), form)
        await until_state(run, ChallengeState.AWAITING_CODE)
        page = await browser.get(browser.app[DESK].history_path(NUMBER))
        form |= {"attempt": "1", "code": sandbox.code_for(NUMBER) or ""}
        await browser.post(page.link("/code$"), form)
        await until_state(run, ChallengeState.VERIFIED)
    assert sandbox.world.get(NUMBER).rings == 1


async def test_a_desk_mounted_under_a_prefix_works(sandbox: Sandbox) -> None:
    """In another application, below a path, every link, form, redirect and cookie stays there."""
    sandbox.add([NUMBER])
    journal = MemoryJournal()
    async with (
        sandbox.client() as client,
        VoiceChallengeRun(client, journal, on_request=True) as run,
    ):
        await run.add([NUMBER])
        url = "http://x.example/tools/desk"
        app = create_app(client, journal, secret=SECRET, public_url=url, run=run)
        outer = web.Application()
        outer.add_subapp("/tools/desk", app)
        async with browsing(app, outer) as browser:
            page = await browser.log_in(path="/tools/desk/operator/numbers?order=called")
            assert page.path == "/tools/desk/operator/numbers?order=called"
            number = await browser.get(page.link(r"/operator/numbers/[^?]+$"))
            form = {"token": number.field("token"), "attempt": "0"}
            done = await browser.post(number.link("/call$"), form)
            assert "The call is requested" in done.words
            assert number.field("link").startswith(f"{url}/n/")
            for name in ("", "/numbers", "/upload", "/orders", "/links"):
                page = await browser.get(f"/tools/desk/operator{name}")
                for target in page.text.split('href="')[1:] + page.text.split('action="')[1:]:
                    assert target.startswith(("/tools/desk/", "#")), target[:80]
            assert (await browser.get(page.link(r"operator.css"))).status == 200
            await until_state(run, ChallengeState.AWAITING_CODE)
