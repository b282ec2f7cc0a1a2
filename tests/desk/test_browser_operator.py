"""The operator's journey in a real browser: with and without JavaScript, small and large."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from sinch_qn.bulk import ChallengeState, NewNumber
from tests.support.browser import is_too_wide, violations, window
from tests.support.desk_world import NUMBERS, InThread, desk_in_thread, until

pytestmark = pytest.mark.slow

NUMBER = NUMBERS[0]
DESKTOP = {"viewport": {"width": 1280, "height": 900}, "has_touch": False}


@pytest.fixture
def desk() -> Iterator[InThread]:
    """Run a desk, with a ref that has markup in it."""
    with desk_in_thread([(NUMBER, "Shop <b>1</b>"), *NUMBERS[1:]]) as desk:
        yield desk


def log_in(desk: InThread, page: Page) -> None:
    """Log in by the form."""
    secret = desk.do(desk.world.desk.sessions.operator_secret())
    page.goto(f"{desk.world.base}/operator")
    page.get_by_label("secret").fill(secret)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def open_number(page: Page) -> None:
    """Find a number by its digits, and open it."""
    page.get_by_role("link", name="Numbers", exact=True).click()
    page.get_by_label("Digits of the number").fill("555-0134")
    page.get_by_role("button", name="Show").click()
    page.get_by_role("link", name=NUMBER).click()


@pytest.mark.parametrize("script", [True, False])
def test_the_journey(browser: Browser, desk: InThread, script: bool) -> None:  # noqa: FBT001
    """Log in, search, call twice by a double click, enter the code, see it verified, log out."""
    with window(browser, java_script_enabled=script, **DESKTOP) as context:
        page = context.new_page()
        log_in(desk, page)
        open_number(page)
        page.get_by_role("button", name="Call now").dblclick()
        code = desk.do(desk.world.rang(NUMBER))
        page.get_by_role("link", name="Reload").click()
        assert NUMBER.removeprefix("+") not in page.url
        page.get_by_label("Code that was heard").fill(" ".join(code))
        page.get_by_role("button", name="Submit code").click()
        expect(page.get_by_text("The code is accepted")).to_be_visible()
        page.go_back()
        page.go_forward()
        page.reload()

        async def is_verified() -> bool:
            return (await desk.world.entry(NUMBER)).state is ChallengeState.VERIFIED

        desk.do(until(is_verified))
        page.get_by_role("link", name="Reload").click()
        expect(page.get_by_text("ownership proved")).to_be_visible()
        assert code not in page.inner_text("body")
        assert desk.world.rings(NUMBER) == 1
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        page.go_back()
        page.reload()
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()


def test_the_overview_is_live(browser: Browser, desk: InThread) -> None:
    """With JavaScript the counts change by themselves, and come back after a lost connection."""
    with window(browser, **DESKTOP) as context:
        page = context.new_page()
        log_in(desk, page)
        tile = page.locator("#live-tiles")
        expect(tile).to_contain_text("0 invalid")
        desk.do(desk.world.run.add([NewNumber(number="12", line=9, problem="too short")]))
        expect(tile).to_contain_text("1 invalid")
        expect(page.locator("#live-attention")).to_contain_text("too short")
        context.set_offline(True)
        context.set_offline(False)
        desk.do(desk.world.run.add([NewNumber(number="13", line=10, problem="too short")]))
        expect(tile).to_contain_text("2 invalid")


def test_a_file_is_added_after_its_preview(
    browser: Browser, desk: InThread, tmp_path: Path
) -> None:
    """Choose a file, see what is wrong with it by line, confirm, see what was added."""
    file = tmp_path / "more.csv"
    file.write_text("phone,ref\n202-555-0177,Shop 9\n12,\n")
    with window(browser, **DESKTOP) as context:
        page = context.new_page()
        log_in(desk, page)
        page.get_by_role("link", name="Add numbers").click()
        page.get_by_label("CSV file").set_input_files(str(file))
        page.get_by_role("button", name="Show the preview").click()
        expect(page.get_by_text("Line 3: 12: too short")).to_be_visible()
        assert violations(page) == []
        page.get_by_role("button", name="Add 1 number").click()
        for _ in range(100):
            if page.get_by_text("1 number is added").is_visible():
                break
            page.reload()
        expect(page.get_by_text("1 number is added")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible_and_fit(browser: Browser, desk: InThread, scheme: str) -> None:
    """axe-core finds nothing on any page, nothing scrolls sideways at 320 px, targets are large."""
    wide = {"viewport": {"width": 1280, "height": 900}, "color_scheme": scheme}
    with window(browser, **wide) as context:
        page = context.new_page()
        page.goto(f"{desk.world.base}/operator")
        assert violations(page) == []
        log_in(desk, page)
        open_number(page)
        page.get_by_role("button", name="Call now").click()
        desk.do(desk.world.rang(NUMBER))
        history = re.sub(r"\?.*", "", page.url)
        names = ("", "/numbers", "/upload", "/orders", "/links")
        for url in (*(f"{desk.world.base}/operator{name}" for name in names), history):
            page.goto(url)
            assert not is_too_wide(page), url
            page.set_viewport_size({"width": 320, "height": 800})
            assert not is_too_wide(page), url
            assert violations(page) == [], url
