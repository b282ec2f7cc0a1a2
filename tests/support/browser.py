"""A real browser for tests: the system's Chromium, driven by Playwright, one a module.

Without Chromium the tests are skipped, and say so; `.ci/run` installs it, and CI fails without. Use
the fixtures `browser` and `phone` in `tests/desk/conftest.py`, and mark the module as slow.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from codegen.chromium import VARIABLE, arguments, find_chromium

PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
PATIENCE = 15_000
"""Milliseconds until a wait fails: much, as machines that run tests are busy."""


def chromium() -> str:
    """Return the path of Chromium; skips the test if there is none, and in CI fails."""
    found = find_chromium()
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("no Chromium: .ci/run installs it where it is root")
    if found is None:
        pytest.skip(f"no Chromium: apt-get install chromium, or set {VARIABLE} to its path")
    return found


@contextmanager
def launched() -> Iterator[Browser]:
    """Run a browser."""
    path = chromium()
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments())
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def window(browser: Browser, **options: Any) -> Iterator[BrowserContext]:
    """Open a browser window of its own, without cookies or cache, of the size of a phone.

    An error in a script or a violation of the content security policy fails the test.
    """
    context = browser.new_context(**PHONE | {"locale": "en"} | options)
    context.set_default_timeout(PATIENCE)
    errors: list[str] = []

    def watch(page: Page) -> None:
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console",
            lambda message: errors.append(message.text) if "policy" in message.text else None,
        )

    context.on("page", watch)
    try:
        yield context
    finally:
        context.close()
    assert errors == []


def violations(page: Page, *rules: str, without: str | None = None) -> list[str]:
    """Return what axe-core finds: WCAG 2.2 A and AA, and best practices.

    Only *rules*, or all *without* one: contrast, which costs most, is the same in each language.
    """
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = list(rules)
    if without:
        options["rules"] = {without: {"enabled": False}}
    found = Axe().run(page, options=options).response["violations"]
    return [f"{each['id']}: {node['html'][:200]}" for each in found for node in each["nodes"]]


def small_targets(page: Page, size: int = 44) -> list[str]:
    """Return the visible buttons, boxes and links that are smaller than *size* CSS pixels."""
    script = """size => [...document.querySelectorAll("a[href], button, input:not([type=hidden])")]
        .filter(each => each.checkVisibility())
        .map(each => [each.outerHTML.slice(0, 120), each.getBoundingClientRect()])
        .filter(([_, box]) => box.width < size || box.height < size)
        .map(([html, box]) => `${html} ${box.width}x${box.height}`)"""
    found: list[str] = page.evaluate(script, size)
    return found


def is_too_wide(page: Page) -> bool:
    """Return whether a page scrolls sideways."""
    wide: bool = page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    return wide
