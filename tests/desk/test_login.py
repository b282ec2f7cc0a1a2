"""Operators log in with the secret of the journal; nobody else sees or does anything."""

from __future__ import annotations

import attrs
import pytest
from aiohttp import web
from multidict import CIMultiDict

from sinch_qn.bulk import MemoryJournal
from sinch_qn.desk import Sessions, create_app
from sinch_qn.desk.attempts import Attempts
from sinch_qn.desk.security import client_address, parse_networks
from sinch_qn.desk.sessions import IDLE, LIFETIME, RENEW
from sinch_qn.desk.state import DESK
from sinch_qn.errors import InvalidRequestError
from tests.support.desk import PUBLIC, SECRET, Browser, browsing


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def desk_of(journal: MemoryJournal, public_url: str = PUBLIC, **options: object) -> web.Application:
    """Return a desk without a run."""
    return create_app(None, journal, secret=SECRET, public_url=public_url, **options)  # type: ignore[arg-type]


def cookie_of(browser: Browser) -> str:
    """Return the browser's one cookie."""
    (cookie,) = browser.client.session.cookie_jar
    return cookie.value


async def test_nobody_sees_a_page_of_operators_without_a_login() -> None:
    """Every page of operators leads to the login, every form of theirs is refused."""
    async with browsing(desk_of(MemoryJournal())) as browser:
        for resource in browser.app.router.resources():
            path = resource.canonical.replace("{token}", "x").replace("{id}", "x")
            path = path.replace("{batch}", "1")
            if not path.startswith("/operator") or path == "/operator/login":
                continue
            for route in resource:
                if route.method == "GET":
                    page = await browser.get(path)
                    assert page.path.startswith("/operator/login"), path
                elif route.method == "POST":
                    page = await browser.post(path, {"token": "x"})
                    assert (page.status, "nothing was done" in page.text) == (403, True), path


async def test_the_secret_logs_in_however_it_is_grouped() -> None:
    """Case, spaces and hyphens do not count, and digits that look like letters are those."""
    app = desk_of(MemoryJournal())
    secret = await app[DESK].sessions.operator_secret()
    for text in (secret, secret.lower(), secret.replace("-", " "), secret.replace("O", "0")):
        async with browsing(desk_of(MemoryJournal())) as browser:
            assert (await browser.log_in(text)).path == "/operator"


async def test_a_wrong_secret_logs_nobody_in_and_attempts_are_limited() -> None:
    """The tenth wrong secret of an address is the last for a while, and the right one waits too."""
    async with browsing(desk_of(MemoryJournal())) as browser:
        for _ in range(10):
            page = await browser.log_in("WRONG")
            assert (page.status, "not the operators" in page.words) == (403, True)
        page = await browser.log_in()
        assert page.status == 429
        assert 0 < int(page.headers["Retry-After"]) <= 300


async def test_a_login_expires_is_renewed_while_used_and_ends_after_all() -> None:
    """A session ends when it is not used for a while, and after its lifetime however it is used."""
    clock = Clock()
    sessions = Sessions(MemoryJournal(), SECRET, clock)
    session = await sessions.start(is_operator=True)
    clock.now += RENEW + 1
    renewed = sessions.renew(session)
    assert renewed is not None
    clock.now += IDLE - RENEW
    assert await sessions.read(sessions.seal(session)) is None
    assert await sessions.read(sessions.seal(renewed)) == renewed
    clock.now = session.started + LIFETIME
    latest = attrs.evolve(session, renewed=clock.now - 1)
    assert await sessions.read(sessions.seal(latest)) is None


async def test_a_cookie_that_is_used_is_replaced() -> None:
    """A page that is opened a while after the login sets the cookie anew."""
    journal = MemoryJournal()
    async with browsing(desk_of(journal)) as browser:
        await browser.log_in()
        before = cookie_of(browser)
        assert "Set-Cookie" not in (await browser.get("/operator/links")).headers
        journal.clock = lambda: __import__("time").time() + RENEW + 1
        await browser.get("/operator/links")
        assert cookie_of(browser) != before
        assert (await browser.get("/operator")).path == "/operator"


@pytest.mark.parametrize("damage", ["", "x", "{}x", "x{}", "a.b", "{}.x", "é", "=" * 3])
async def test_a_forged_cookie_is_none(damage: str) -> None:
    """A cookie that was changed, cut or made up is no session; nothing about it is an error."""
    sessions = Sessions(MemoryJournal(), SECRET, Clock())
    cookie = sessions.seal(await sessions.start(is_operator=True))
    assert await sessions.read(damage.format(cookie)) is None


async def test_no_session_is_one_of_another_secret_or_kind() -> None:
    """Another signing secret reads no cookie, and one from before the login is no operator's."""
    clock, journal = Clock(), MemoryJournal()
    ours, theirs = Sessions(journal, SECRET, clock), Sessions(journal, SECRET[::-1], clock)
    session = await ours.start(is_operator=True)
    assert await theirs.read(ours.seal(session)) is None
    assert await ours.operator_secret() != await theirs.operator_secret()
    anonymous = await ours.start(is_operator=False)
    assert (await ours.read(ours.seal(anonymous))) == anonymous


async def test_a_logout_ends_the_session_on_every_replica() -> None:
    """After a logout a copy of the cookie opens nothing, at no desk of the journal."""
    journal = MemoryJournal()
    async with browsing(desk_of(journal)) as browser, browsing(desk_of(journal)) as other:
        page = await browser.log_in()
        name, cookie = next((each.key, each.value) for each in browser.client.session.cookie_jar)
        copy = {"headers": {"Cookie": f"{name}={cookie}"}}
        assert (await other.get("/operator", **copy)).path == "/operator"
        await browser.post("/operator/logout", {"token": page.field("token")})
        assert (await browser.get("/operator")).path == "/operator/login"
        assert (await other.get("/operator", **copy)).path == "/operator/login"


async def test_a_new_secret_ends_all_logins_and_leaves_links() -> None:
    """With a new secret the old one and every login end, also in desks that run; links stay."""
    journal = MemoryJournal()
    async with browsing(desk_of(journal)) as browser:
        old = await browser.app[DESK].sessions.operator_secret()
        await browser.log_in()
        elsewhere = Sessions(journal, SECRET, journal.now)
        new = await elsewhere.replace_secret()
        assert (await browser.get("/operator")).path == "/operator/login"
        assert (await browser.log_in(old)).status == 403
        assert (await browser.log_in(new)).path == "/operator"


@pytest.mark.parametrize(
    "wanted",
    [
        "//evil.example",
        "https://evil.example",
        "/operator//evil.example",
        "/\\evil.example",
        "/operator/../../x",
        "/operator\\@evil.example",
        "/elsewhere",
        "/operator\n",
        "/operator/%0d%0aSet-Cookie: x=y",
    ],
)
async def test_a_login_leads_to_no_other_site(wanted: str) -> None:
    """Where a login leads to is a page of operators, whatever the URL asked for."""
    async with browsing(desk_of(MemoryJournal())) as browser:
        login = await browser.get("/operator/login", params={"next": wanted})
        secret = await browser.app[DESK].sessions.operator_secret()
        form = {"token": login.field("token"), "secret": secret}
        response = await browser.client.post(
            "/operator/login", params={"next": wanted}, data=form, allow_redirects=False
        )
        assert response.headers["Location"] == "/operator"


async def test_a_login_leads_back_to_the_page_that_was_asked_for() -> None:
    """The page that led to the login, with its query, is where the login leads."""
    async with browsing(desk_of(MemoryJournal())) as browser:
        page = await browser.log_in(path="/operator/numbers?state=expired&order=called")
        assert page.path == "/operator/numbers?state=expired&order=called"


async def test_the_cookie_is_for_this_desk_alone() -> None:
    """The cookie is HttpOnly, SameSite=Strict, of the desk's path, and Secure over https."""
    for url, secure in (("http://x.example/desk", False), ("https://x.example/desk", True)):
        async with browsing(desk_of(MemoryJournal(), url)) as browser:
            header = (await browser.get("/operator/login")).headers["Set-Cookie"]
        flags = {part.strip().lower() for part in header.split(";")}
        assert {"httponly", "samesite=strict", "path=/desk"} <= flags
        assert ("secure" in flags, header.startswith("__Secure-")) == (secure, secure)


async def test_only_trusted_proxies_say_who_a_client_is() -> None:
    """`X-Forwarded-For` counts from its end, through trusted proxies only."""
    seen: list[str] = []

    async def show(request: web.Request) -> web.Response:
        seen.append(client_address(request))
        return web.Response()

    forwarded = {"X-Forwarded-For": "1.1.1.1, 203.0.113.9, 10.0.0.2"}
    for proxies in ((), ("127.0.0.0/8",), ("127.0.0.0/8", "10.0.0.0/8")):
        app = desk_of(MemoryJournal(), trusted_proxies=proxies)
        app.router.add_get("/who", show)
        async with browsing(app) as browser:
            await browser.get("/who", headers=forwarded)
    assert seen == ["127.0.0.1", "10.0.0.2", "203.0.113.9"]
    spoofed = CIMultiDict([("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "203.0.113.9")])
    async with browsing(app) as browser:  # a proxy may add a header, not extend the client's
        await browser.get("/who", headers=spoofed)
        await browser.get("/who", headers={"X-Forwarded-For": "203.0.113.8, ::ffff:10.0.0.2"})
    assert seen[3:] == ["203.0.113.9", "203.0.113.8"]
    with pytest.raises(InvalidRequestError, match="trusted_proxies"):
        parse_networks(["10.0.0.0/33"])
    with pytest.raises(InvalidRequestError, match="trusted_proxies"):
        parse_networks("10.0.0.0/8")


@pytest.mark.parametrize(
    "kind",
    [
        "application/x-www-form-urlencoded; charset=unknown",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ],
)
async def test_what_is_no_form_is_refused(kind: str) -> None:
    """A body that is no form, or in an unknown encoding, is a 400, and no error of the desk."""
    async with browsing(desk_of(MemoryJournal())) as browser:
        url, headers = "/operator/login", {"Content-Type": kind}
        async with browser.client.post(url, data=b"secret=\xff", headers=headers) as response:
            assert response.status == 400


def test_attempts_are_forgotten_after_a_while_and_bounded() -> None:
    """A key may try again once its oldest attempt is a period old; old keys are forgotten."""
    clock = Clock()
    attempts = Attempts(2, 60.0, clock)
    for _ in range(2):
        assert attempts.wait("a") == 0
        attempts.count("a")
        clock.now += 10
    assert (attempts.wait("a"), attempts.wait("b")) == (40, 0)
    clock.now += 40
    assert attempts.wait("a") == 0
    for key in range(10_001):
        attempts.count(str(key))
    assert attempts.wait("a") == 0


@pytest.mark.parametrize(
    "url", ["desk.example", "ftp://x", "http://", "http://x/?a=b", "http://x#y"]
)
def test_a_public_url_that_is_none_is_refused(url: str) -> None:
    """The address of a desk is checked when it is made."""
    with pytest.raises(InvalidRequestError, match="public_url"):
        desk_of(MemoryJournal(), url)
