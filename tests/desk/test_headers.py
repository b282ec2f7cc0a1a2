"""What every response of the desk has, and what no URL and no log line has."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest

from sinch_qn.bulk import NewNumber
from sinch_qn.desk.links import Subject
from sinch_qn.desk.state import DESK
from sinch_qn.errors import JournalError
from sinch_qn.sandbox import Sandbox
from tests.support.desk import PUBLIC, Site, site
from tests.support.runs import NUMBER

_WANTED = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
    "Server": "sinch-qn desk",
}


@pytest.fixture
async def desk(sandbox: Sandbox) -> AsyncIterator[Site]:
    """Serve a desk beside a run that calls on request."""
    sandbox.add([NUMBER])
    async with site(sandbox, on_request=True) as desk:
        await desk.run.add([NewNumber(number=NUMBER, ref="shop")])
        yield desk


def paths(desk: Site) -> list[tuple[str, str]]:
    """Return each route of the desk, with something in its place holders."""
    history = desk.app[DESK].history_path(NUMBER).rpartition("/")[2]
    return [
        (route.method, _fill(resource.canonical, history))
        for resource in desk.app.router.resources()
        for route in resource
        if route.method in ("GET", "POST")
    ]


def _fill(path: str, token: str) -> str:
    values = {"{token}": token, "{id}": "x", "{batch}": "1", "{name}": "operator.css"}
    for name, value in values.items():
        path = path.replace(name, value)
    return path


async def test_every_response_has_the_headers(desk: Site) -> None:
    """Each route, also where it refuses or is not there, answers with the security headers."""
    for method, path in [*paths(desk), ("GET", "/nothing"), ("GET", "/static/nothing")]:
        async with desk.browser.client.request(method, path, allow_redirects=False) as response:
            for name, value in _WANTED.items():
                assert response.headers[name] == value, (method, path)
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "Strict-Transport-Security" not in response.headers  # http: a proxy adds it


async def test_a_form_of_another_site_is_refused(desk: Site) -> None:
    """Each POST that a browser sends for another site is refused, whatever token it has."""
    for method, path in paths(desk):
        if method == "POST" and not path.startswith("/api"):
            for headers in (
                {"Sec-Fetch-Site": "cross-site"},
                {"Sec-Fetch-Site": "same-site"},
                {"Origin": "https://evil.example"},
            ):
                page = await desk.browser.post(path, {"token": "x"}, headers=headers)
                assert page.status == 403, path


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin", "Origin": "null"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "null"},
        {"Origin": PUBLIC},
    ],
)
async def test_a_form_of_this_site_is_taken(desk: Site, headers: dict[str, str]) -> None:
    """What browsers send with forms of our pages, which have no referrer, is accepted."""
    page = await desk.browser.get("/operator/numbers")
    form = {"token": page.field("token"), "text": "555"}
    assert (await desk.browser.post("/operator/numbers", form, headers=headers)).status == 200


async def test_a_form_without_the_token_of_its_session_is_refused(desk: Site) -> None:
    """Each form of operators needs the token of this login."""
    for method, path in paths(desk):
        if method == "POST" and path.startswith("/operator") and "login" not in path:
            for form in ({}, {"token": ""}, {"token": "x"}):
                page = await desk.browser.post(path, form)
                assert page.status in (403, 415), path


async def test_no_number_or_code_is_in_a_url_or_log_line(
    desk: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """A number that is searched, opened, called and verified is in no URL, nor in a log line."""
    caplog.set_level(logging.DEBUG)
    browser, digits = desk.browser, NUMBER.removeprefix("+1")
    seen = []
    page = await browser.get("/operator/numbers")
    form = {"token": page.field("token")}
    seen.append(await browser.post("/operator/numbers", form | {"text": digits}))
    seen.append(await browser.get(seen[0].link(r"/operator/numbers/[^?]+$")))
    seen.append(await browser.post(seen[1].link("/call$"), form | {"attempt": "0"}))
    code = "7391"
    code_form = form | {"attempt": "0", "code": code}
    seen.append(await browser.post(seen[1].link("/call$").replace("call", "code"), code_form))
    for each in seen:
        assert each.status == 200
        assert digits not in each.path
        assert code not in each.path
        assert code not in each.words
    for record in caplog.records:
        if record.name.startswith(("sinch_qn", "aiohttp")):
            assert digits not in record.getMessage()
            assert code not in record.getMessage()


async def test_a_journal_that_is_away_is_said_and_not_an_error(
    desk: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the journal cannot be used, pages answer 503 and say when to try again."""

    async def fail(_: object) -> None:
        raise JournalError("down")

    monkeypatch.setattr(desk.journal, "batches", fail.__get__(desk.journal))
    page = await desk.browser.get("/operator/orders")
    assert (page.status, page.headers["Retry-After"]) == (503, "5")


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data; boundary=x", "application/x-www-form-urlencoded; charset=x"],
)
async def test_a_form_that_cannot_be_read_is_refused(
    desk: Site, content_type: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A damaged form is a 400 for people and operators, and no error of the server."""
    person = (await desk.app[DESK].url(Subject.NUMBER, NUMBER)).removeprefix(PUBLIC)
    for path in ("/operator/login", "/operator/numbers", f"{person}/call", f"{person}/code"):
        headers = {"Content-Type": content_type}
        async with desk.browser.client.post(path, data=b"--x", headers=headers) as response:
            assert response.status == 400, path
            assert response.headers["Cache-Control"] == "no-store"
    assert not [record for record in caplog.records if record.exc_info]
