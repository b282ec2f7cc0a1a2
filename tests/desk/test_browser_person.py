"""The person's page in a real browser: whole journeys, and that one press is one ring."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from sinch_qn.bulk import ChallengeState
from sinch_qn.desk.links import Subject
from sinch_qn.desk.translations import LANGUAGES
from sinch_qn.models import GlobalProcessState
from tests.support.browser import is_too_wide, small_targets, violations, window
from tests.support.desk_world import NUMBERS, InThread, desk_in_thread

pytestmark = pytest.mark.slow

NUMBER, SECOND, THIRD = NUMBERS
HTML = {"Content-Type": "text/html"}
SHOP = [NUMBER, (SECOND, "shop"), (THIRD, "shop")]
NARROW = {"width": 320, "height": 700}
SETTLING = 0.4
"""Seconds in which a second ring would show."""

_NOW = {"called_at": 0.0, "attempt": 1, "to_ring": False, "remote": GlobalProcessState.ELIGIBLE}
_LONG = _NOW | {"called_at": 1e10}  # it rings for long
STATES: dict[str, dict[str, Any]] = {
    "ready": {},
    "asked": {"requested_at": 0.0, "due": 7200.0, "note": "later"},
    "ringing": {"state": ChallengeState.AWAITING_CODE, **_NOW},
    "awaiting": {"state": ChallengeState.AWAITING_CODE, **_NOW, "called_at": -900.0},
    "unsure": {"state": ChallengeState.UNKNOWN, **_NOW, "called_at": -900.0},
    "wrong": {"state": ChallengeState.AWAITING_CODE, **_NOW, "codes_used": 1},
    "checking": {"state": ChallengeState.VERIFYING, **_NOW, "due": 7200.0},
    "verified": {"state": ChallengeState.VERIFIED, "settled_at": 0.0},
    "skipped": {"state": ChallengeState.SKIPPED, "settled_at": 0.0},
    "used_up": {"state": ChallengeState.FAILED, **_NOW, "codes_used": 3, "settled_at": 0.0},
    "expired": {"state": ChallengeState.EXPIRED, **_NOW, "settled_at": 0.0},
    "refused": {"state": ChallengeState.FAILED, "settled_at": 0.0},
    "blocked": {"state": ChallengeState.BLOCKED, "settled_at": 0.0},
}
_TIMES = ("due", "called_at", "settled_at", "requested_at")


@pytest.fixture
def desk() -> Iterator[InThread]:
    """Run a desk with two numbers, and two more of one ref."""
    with desk_in_thread(SHOP) as desk:
        yield desk


@pytest.fixture
def phone(browser: Browser) -> Iterator[BrowserContext]:
    """Open the browser of a phone."""
    with window(browser) as context:
        yield context


def opened(desk: InThread, phone: BrowserContext, number: str = NUMBER) -> Page:
    """Open a person's page; return it once it is live."""
    page = phone.new_page()
    page.goto(desk.do(desk.world.link(number)))
    return page


def rang_once(desk: InThread, number: str = NUMBER) -> str:
    """Wait for the ring, and for a second one that must not come; return the code."""
    code = desk.do(desk.world.rang(number))
    time.sleep(SETTLING)
    assert desk.world.rings(number) == 1
    return code


@pytest.mark.parametrize("tag", LANGUAGES)
def test_a_whole_journey_on_a_phone(desk: InThread, browser: Browser, tag: str) -> None:
    """Press, type a wrong code and the right one, in each language: live, and nothing reloads."""
    t = LANGUAGES[tag]
    with window(browser, locale=tag) as phone:
        page = opened(desk, phone)
        assert page.evaluate("document.documentElement.lang") == tag
        page.evaluate("window.isSame = true")
        page.get_by_role("button", name=t("call_now")).click()
        code = desk.do(desk.world.rang())
        expect(page.get_by_role("heading", name=t("ringing"))).to_be_visible()
        expect(page.locator("#spoken")).to_have_text(t("ringing"))
        expect(page.locator(".left")).to_be_visible()
        box = page.get_by_label(t("code"), exact=True)
        expect(box).to_be_focused()
        box.fill(f"{(int(code) + 1) % 10_000:04}")
        page.get_by_role("button", name=t("verify"), exact=True).click()
        expect(page.get_by_role("heading", name=t("wrong"))).to_be_visible()
        expect(page.get_by_text(t("tries_many", count=2))).to_be_visible()
        expect(box).to_be_focused()
        expect(box).to_have_value("")
        box.press_sequentially(f"{code[:2]} {code[2:]}")
        box.press("Enter")
        expect(page.get_by_role("heading", name=t("verified"), exact=True)).to_be_visible()
        expect(page.locator("#spoken")).to_have_text(t("verified"))
        assert page.evaluate("window.isSame")
    assert desk.world.rings() == 1


def test_a_journey_without_javascript(desk: InThread, browser: Browser) -> None:
    """Without JavaScript the page looks again by itself while something is pending."""
    with window(browser, java_script_enabled=False) as phone:
        page = opened(desk, phone)
        page.get_by_role("button", name="Call me now").click()
        code = desk.do(desk.world.rang())
        expect(page.get_by_role("heading", name="Your phone is ringing")).to_be_visible()
        page.get_by_label("Code", exact=True).fill(code)
        page.get_by_role("button", name="Verify").click()
        expect(page.get_by_role("heading", name="Verified")).to_be_visible()
    assert desk.world.rings() == 1


@pytest.mark.parametrize("scripts", [True, False])
def test_double_clicks_reloads_and_back_are_one_ring(
    desk: InThread, browser: Browser, *, scripts: bool
) -> None:
    """A press that is doubled, reloaded, or repeated by the back button rings once."""
    with window(browser, java_script_enabled=scripts) as phone:
        page = opened(desk, phone)
        page.get_by_role("button", name="Call me now").dblclick(no_wait_after=True)
        desk.do(desk.world.rang())
        expect(page.get_by_label("Code", exact=True)).to_be_visible()
        page.reload()
        page.go_back()
        if page.get_by_role("button", name="Call me now").is_visible():
            page.get_by_role("button", name="Call me now").click()
    rang_once(desk)


def test_an_answer_to_what_was_typed_stays(desk: InThread, phone: BrowserContext) -> None:
    """What the page says of a code that is none is there until something happens."""
    desk.do(desk.world.set(NUMBER, state=ChallengeState.AWAITING_CODE, **_LONG))
    page = opened(desk, phone)
    page.get_by_label("Code", exact=True).fill("12/3")
    page.get_by_role("button", name="Verify").click()
    said = page.get_by_role("alert")
    expect(said).to_have_text("That is not a code. Type only its digits.")
    with page.expect_response(re.compile("/events")):  # it is sent its cards anew
        page.goto(f"{page.url}?said=unreadable&at=1")
    expect(page.locator(".left")).to_be_visible()
    time.sleep(SETTLING)
    expect(said).to_have_text("That is not a code. Type only its digits.")


def test_two_tabs_are_one_ring(desk: InThread, phone: BrowserContext) -> None:
    """Two tabs press for the same call; both then show the same."""
    first, second = opened(desk, phone), opened(desk, phone)
    for page in (first, second):
        page.evaluate("document.querySelector('form').submit()")  # without the script: at once
    rang_once(desk)
    for page in (first, second):
        page.bring_to_front()
        expect(page.get_by_label("Code", exact=True)).to_be_visible()


def test_another_tab_follows(phone: BrowserContext) -> None:
    """What is pressed in one tab is seen in the other, without a reload; what is typed stays."""
    with desk_in_thread(SHOP, ring_window=2.0) as desk:
        page = phone.new_page()
        page.goto(desk.do(desk.world.link("shop", Subject.REF)))
        desk.do(desk.world.run.request_call(SECOND))
        desk.do(desk.world.rang(SECOND))
        box = page.get_by_label("Code", exact=True)
        expect(box).to_have_count(1)
        box.press_sequentially("12")
        desk.do(desk.world.run.request_call(THIRD))
        desk.do(desk.world.rang(THIRD))
        expect(box).to_have_count(2)
        expect(
            page.get_by_role("button", name="Call me again").first
        ).to_be_visible()  # window over
        expect(box.first).to_have_value("12")
        expect(box.first).to_be_focused()


def test_offline_in_the_middle(desk: InThread, phone: BrowserContext) -> None:
    """Offline, the page says so; a press is not lost silently, and rings once when repeated."""
    page = opened(desk, phone)
    status = page.locator("#live-status")
    phone.set_offline(True)
    expect(status).to_have_text("No connection. Trying again…")
    page.get_by_role("button", name="Call me now").click()
    expect(page.get_by_text("This could not be sent.", exact=False).first).to_be_visible()
    assert desk.world.rings() == 0
    phone.set_offline(False)
    expect(status).to_have_text("Connected again.")
    page.get_by_role("button", name="Call me now").click()
    rang_once(desk)
    phone.set_offline(True)
    code = desk.world.sandbox.code_for(NUMBER)
    assert code is not None
    desk.do(desk.world.run.submit_code(NUMBER, code))
    phone.set_offline(False)
    expect(
        page.get_by_role("heading", name="Verified")
    ).to_be_visible()  # from elsewhere, meanwhile


def test_an_answer_that_is_lost_is_one_ring(desk: InThread, phone: BrowserContext) -> None:
    """A press whose answer never comes is pressed again, and is the same press."""
    page = opened(desk, phone)

    def lose(route: Any) -> None:
        route.fetch()
        route.abort()

    page.route(re.compile("/call"), lose, times=1)
    page.get_by_role("button", name="Call me now").click()
    rang_once(desk)
    expect(page.get_by_role("heading", name="Your phone is ringing")).to_be_visible()


def test_axe_core_finds_nothing_in_any_state(browser: Browser) -> None:
    """WCAG 2.2 AA in every state, language and colour scheme, from 320 pixels on."""
    numbers = [f"+1202555{100 + n:04}" for n in range(len(STATES))]
    with desk_in_thread([(number, "all") for number in numbers]) as desk:
        now = desk.world.clock()
        for number, fields in zip(numbers, STATES.values(), strict=True):
            shifted = {name: now + fields[name] for name in _TIMES if name in fields}
            desk.do(desk.world.set(number, **fields | shifted))
        link, gone = desk.do(desk.world.link("all", Subject.REF)), f"{desk.world.base}/n/x"
        with window(browser, viewport=NARROW) as narrow:
            page = narrow.new_page()
            for tag in LANGUAGES:
                for url in (gone, link):
                    page.goto(f"{url}?lang={tag}")
                    known = None if tag == "en" else "color-contrast"
                    assert violations(page, without=known) == [], tag
                    assert small_targets(page) == []
                    assert not is_too_wide(page)
                assert {card.split("-")[0] for card in _states(page)} == set(STATES)
            page.emulate_media(color_scheme="dark")
            assert violations(page, "color-contrast") == []


def _states(page: Page) -> list[str]:
    cards = page.locator("[data-state]").all()
    return [str(card.get_attribute("data-state")) for card in cards]


def test_nothing_moves_if_the_reader_wants_that(desk: InThread, browser: Browser) -> None:
    """With `prefers-reduced-motion` no element is animated; otherwise the ringing one is."""
    for motion, animated in (("reduce", "none"), ("no-preference", "breathe")):
        desk.do(desk.world.set(NUMBER, state=ChallengeState.CALLING, **_NOW))
        with window(browser, reduced_motion=motion) as phone:
            page = opened(desk, phone)
            script = (
                "getComputedStyle(document.querySelector('.headline'), '::before').animationName"
            )
            assert page.evaluate(script) == animated


def test_paper_has_a_place_for_the_code(desk: InThread, phone: BrowserContext) -> None:
    """Printed, the number, what to do and a box for the code remain; buttons do not."""
    desk.do(desk.world.set(NUMBER, state=ChallengeState.AWAITING_CODE, **_NOW))
    page = opened(desk, phone)
    page.emulate_media(media="print")
    expect(page.get_by_label("Code", exact=True)).to_be_visible()
    expect(page.get_by_text("Answer. A voice reads out a code.")).to_be_visible()
    assert page.locator("button:visible, nav:visible a:visible").count() == 0


def test_a_page_of_another_origin_cannot_press(desk: InThread, phone: BrowserContext) -> None:
    """A form on another site that knows the link is refused, and no phone rings."""
    link = desk.do(desk.world.link(NUMBER))
    page = phone.new_page()
    foreign = link.replace("127.0.0.1", "localhost")
    html = (
        f'<form method=post action="{link}/call"><input name=number value="{NUMBER}">'
        "<input name=attempt value=0><button>go</button></form>"
    )
    page.route(
        "http://localhost:*/**", lambda route: route.fulfill(body=html, content_type="text/html")
    )
    page.goto(foreign)
    page.get_by_role("button").click()
    expect(page.get_by_text("This form was sent from another site.", exact=False)).to_be_visible()
    time.sleep(SETTLING)
    assert desk.world.rings() == 0


def test_a_link_that_ends_while_its_page_is_open(desk: InThread, phone: BrowserContext) -> None:
    """A page whose link is revoked is replaced by the one that says so."""
    page = opened(desk, phone)
    expect(page.get_by_role("button", name="Call me now")).to_be_visible()
    desk.do(desk.world.desk.links.revoke(Subject.NUMBER, NUMBER))
    desk.do(desk.world.run.request_call(NUMBER))
    expect(page.get_by_role("heading", name="This link does not work")).to_be_visible()
    expect(page.get_by_role("button")).to_have_count(0)
