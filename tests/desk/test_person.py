"""The person's page over HTTP: what is shown and done, and how often the phone rings."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest

from sinch_qn.bulk import ChallengeState
from sinch_qn.desk.links import Link, Subject
from sinch_qn.desk.person import LIMITS
from sinch_qn.desk.translations import LANGUAGES
from tests.support.desk_world import NUMBERS, DeskWorld, MovedClock, Visitor, desk_world

NUMBER, SECOND, _ = NUMBERS


@pytest.fixture
async def world() -> AsyncIterator[DeskWorld]:
    """Run a desk with three numbers, two of one ref."""
    async with desk_world([NUMBER, (SECOND, "shop"), (NUMBERS[2], "shop")]) as world:
        yield world


@pytest.fixture
async def visitor() -> AsyncIterator[Visitor]:
    """Return a person who reads English."""
    async with aiohttp.ClientSession() as session:
        yield Visitor(session)


async def test_a_person_without_javascript_verifies_a_number(
    world: DeskWorld, visitor: Visitor
) -> None:
    """Press, listen, type with spaces, see the result: one ring, without JavaScript."""
    page = await visitor.open(await world.link(NUMBER))
    assert "+1\u00a0202\u00a0555\u00a00134" in page
    assert 'http-equiv="refresh"' not in page
    await visitor.press("Call me now")
    code = await world.rang()
    page = await visitor.until("Your phone is ringing")
    assert 'inputmode="numeric"' in page
    assert 'autocomplete="one-time-code"' in page
    assert 'http-equiv="refresh"' not in page  # it would erase what is typed
    await visitor.press("Verify", code=f" {code[:2]} {code[2:]}-")
    page = await visitor.until("Verified")
    assert visitor.forms == []
    assert (await world.entry()).state is ChallengeState.VERIFIED
    assert world.rings() == 1
    assert code not in page


async def test_no_number_is_in_a_url_or_log_and_no_code_anywhere(
    world: DeskWorld, visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    """A whole journey leaves no number in a URL or log, and its code in no page, URL or log."""
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []
    await visitor.open(await world.link(NUMBER))
    await visitor.press("Call me now")
    code = await world.rang()
    world.sandbox.world.settings.max_attempts = 100
    wrong = f"{(int(code) + 1) % 10_000:04}"
    for typed, then in ((wrong, "left."), (wrong, "already"), (code, "Verified")):
        await visitor.until("Verify")
        await visitor.press("Verify", code=typed)
        seen += [visitor.url, visitor.page, await visitor.until(then), visitor.url]
    logs = "".join(record.getMessage() for record in caplog.records if record.name != "asyncio")
    for text in (logs, *(url for url in seen if url.startswith("http"))):
        assert NUMBER[2:] not in text
    pages = [re.sub(r'data-state="[^"]*"', "", text) for text in seen]
    for text in (logs, *pages):
        assert not re.search(rf"\b({wrong}|{code})\b", text)


async def test_one_press_is_one_call(world: DeskWorld, visitor: Visitor) -> None:
    """Pressed ten times at once, again after the call, and by an old page: one ring."""
    await visitor.open(await world.link(NUMBER))
    press = visitor.form("Call me now")
    await asyncio.gather(*(visitor.press(press) for _ in range(10)))
    await world.rang()
    await visitor.press(press, attempt="1")  # as no page offers while it rings
    await world.set(NUMBER, called_at=world.clock() - 500)  # it does not ring any more
    await visitor.press(press)
    assert "Type the code" in visitor.page
    again = visitor.form("Call me again")
    await asyncio.gather(*(visitor.press(again) for _ in range(5)))
    await world.rang(times=2)
    await visitor.press(again)
    await visitor.press(press)
    await asyncio.sleep(0.1)
    assert world.rings() == 2


async def test_a_wrong_code_says_how_many_tries_are_left(
    world: DeskWorld, visitor: Visitor
) -> None:
    """Each wrong code costs one of the run's tries; the last leaves only another call."""
    world.sandbox.world.settings.max_attempts = 100
    await visitor.open(await world.link(NUMBER))
    await visitor.press("Call me now")
    code = await world.rang()
    wrong = [f"{(int(code) + n) % 10_000:04}" for n in (1, 2, 3)]
    await visitor.until("Your phone is ringing")
    await visitor.press("Verify", code=wrong[0])
    assert "2 tries left." in await visitor.until("That code is not right")
    await visitor.press("Verify", code=wrong[0])
    assert "You already typed this code" in visitor.page
    await visitor.press("Verify", code=wrong[1])
    await visitor.until("1 try left.")
    await visitor.press("Verify", code=wrong[2])
    await visitor.until("No tries left for this call")
    assert [form.button for form in visitor.forms] == ["Call me again"]
    await visitor.press("Call me again")
    code = await world.rang(times=2)
    await visitor.until("Your phone is ringing")
    await visitor.press("Verify", code=code)
    await visitor.until("Verified")
    assert world.rings() == 2


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("", "Type the code first."),
        (" - ", "Type the code first."),
        ("12/34", "That is not a code."),
        ("1" * 100, "That is not a code."),
    ],
)
async def test_what_is_no_code_costs_no_try(
    world: DeskWorld, visitor: Visitor, typed: str, said: str
) -> None:
    """What cannot be a code is refused by the page, and is not sent to Sinch."""
    await visitor.open(await world.link(NUMBER))
    await visitor.press("Call me now")
    await world.rang()
    await visitor.until("Your phone is ringing")
    page = await visitor.press("Verify", code=typed)
    assert said in page
    assert (await world.entry()).codes_used == 0


async def test_a_code_of_an_earlier_call_is_not_sent(world: DeskWorld, visitor: Visitor) -> None:
    """A form that was shown for one call submits nothing for the next."""
    await visitor.open(await world.link(NUMBER))
    await visitor.press("Call me now")
    await world.rang()
    await visitor.until("Your phone is ringing")
    old = visitor.form("Verify")
    await world.run.recall(NUMBER)
    await world.rang(times=2)
    page = await visitor.press(old, code="0000")
    assert "There was a newer call." in page
    assert (await world.entry()).codes_used == 0


async def test_a_ref_has_one_page_for_all_its_numbers(world: DeskWorld, visitor: Visitor) -> None:
    """Each number of a ref has its own card; what is done to one leaves the others alone."""
    world.app[LIMITS].codes.limit = 1
    await visitor.open(await world.link("shop", Subject.REF))
    assert [form.fields["number"] for form in visitor.forms] == list(NUMBERS[1:])
    assert "0 of 2 done" in visitor.page
    await visitor.press(visitor.forms[1])
    assert visitor.url.endswith("#c2")
    code = await world.rang(NUMBERS[2])
    await visitor.until("Your phone is ringing")
    await visitor.press("Verify", code=code)
    assert "1 of 2 done" in await visitor.until("Verified")
    assert (world.rings(SECOND), world.rings(NUMBERS[2])) == (0, 1)
    await visitor.press(visitor.forms[0])
    code = await world.rang(SECOND)
    await visitor.until("Your phone is ringing")
    await visitor.press("Verify", code=code)  # codes are limited by number, not by link
    await visitor.until("2 of 2 done")


async def test_a_page_acts_on_its_own_numbers_only(world: DeskWorld, visitor: Visitor) -> None:
    """A form for a number that is not of the link does nothing."""
    await visitor.open(await world.link("shop", Subject.REF))
    form = visitor.forms[0]
    await visitor.press(form, number=NUMBER)
    await visitor.press(form, number="")
    await visitor.press(form, attempt="x")
    await visitor.press(form, attempt="7")
    await asyncio.sleep(0.05)
    assert [world.rings(number) for number in NUMBERS] == [0, 0, 0]


async def test_links_that_do_not_open_look_all_alike(world: DeskWorld, visitor: Visitor) -> None:
    """Forged, damaged, revoked, ended, of another kind, of no number: one page, one status."""
    good = await world.link(NUMBER)
    revoked = await world.link(SECOND)
    await world.desk.links.revoke(Subject.NUMBER, SECOND)
    await world.set(NUMBERS[2], state=ChallengeState.VERIFIED, settled_at=world.clock() - 3601)
    seal, prefix = world.desk.links.seal, f"{world.base}/n/"
    bad = [
        revoked,
        await world.link(NUMBERS[2]),
        good[:-1] + ("A" if good[-1] != "A" else "B"),
        good[:-4],
        prefix + "x",
        prefix + "%00%ff",
        prefix + "é" * 9,
        prefix + "A" * 2000,
        prefix + seal(Link(Subject.HISTORY, NUMBER)),
        prefix + seal(Link(Subject.NUMBER, "+12025550199")),
        prefix + seal(Link(Subject.NUMBER, NUMBER, 7)),
        prefix + seal(Link(Subject.REF, "nobody")),
    ]
    seen = {(await visitor.open(url), visitor.status) for url in bad}
    assert len(seen) == 1
    ((page, status),) = seen
    assert status == 404
    for language in LANGUAGES.values():
        assert language("gone") in page
    assert "Call me now" in await visitor.open(good)


async def test_a_result_is_kept_for_an_hour(world: DeskWorld, visitor: Visitor) -> None:
    """A verified number is shown for an hour after it settled; EXPIRED has no end."""
    link = await world.link(NUMBER)
    for state in (ChallengeState.VERIFIED, ChallengeState.SKIPPED, ChallengeState.BLOCKED):
        for age, status in ((3590, 200), (3601, 404)):
            await world.set(NUMBER, state=state, settled_at=world.clock() - age)
            await visitor.open(link)
            assert visitor.status == status, (state, age)
    for state in (ChallengeState.EXPIRED, ChallengeState.UNKNOWN, ChallengeState.FAILED):
        await world.set(NUMBER, state=state, settled_at=world.clock() - 99_999)
        await visitor.open(link)
        assert [form.button for form in visitor.forms][-1] in ("Call me again", "Try again")


async def test_a_language_is_chosen_by_header_or_link(world: DeskWorld, visitor: Visitor) -> None:
    """`Accept-Language` decides, unless the URL names a language, which the forms then keep."""
    link = await world.link(NUMBER)
    visitor.headers["Accept-Language"] = "de, fr-FR;q=0.8, en;q=0.5"
    page = await visitor.open(link)
    assert '<html lang="fr-CA">' in page
    page = await visitor.open(link + "?lang=es")
    assert '<html lang="es">' in page
    await visitor.press("Llámenme ahora")
    assert "lang=es" in visitor.url
    await world.rang()
    await visitor.until("Su teléfono está sonando")
    page = await visitor.press("Verificar", code="")
    assert "Primero escriba el código." in page


async def test_codes_are_limited_by_number_and_in_all(world: DeskWorld, visitor: Visitor) -> None:
    """Too many codes of a number, or of all, are a 429 that says when to try again."""
    clock = MovedClock()
    limits = world.app[LIMITS]
    for limit in (limits.codes, limits.all_codes, limits.calls):
        limit.clock = clock
    limits.codes.limit, limits.all_codes.limit, limits.calls.limit = 2, 3, 2
    world.sandbox.world.settings.max_attempts = 100
    for number, tries in ((NUMBER, 2), (SECOND, 1)):
        await visitor.open(await world.link(number))
        await visitor.press("Call me now")
        code = await world.rang(number)
        for nth in range(tries):
            await visitor.until("Verify")
            await visitor.press("Verify", code=f"{(int(code) + 1 + nth) % 10_000:04}")
            await visitor.until("left.")
        await visitor.press("Verify", code=code)
        assert visitor.status == 429
        assert "You can try again in" in visitor.page
    for _ in range(2):
        limits.calls.count(NUMBERS[2])
    await visitor.open(await world.link(NUMBERS[2]))
    await visitor.press("Call me now")
    assert visitor.status == 429
    page = await visitor.open(visitor.url.partition("?")[0] + "?lang=fr-CA")  # its language link
    assert visitor.status == 200
    assert "Prêt à appeler" in page
    clock.ahead = 3601.0
    await visitor.open(await world.link(SECOND))
    await visitor.press("Verify", code=code)
    await visitor.until("Verified")


async def test_people_are_told_when_they_can_be_called(visitor: Visitor) -> None:
    """Outside calling hours there is no button; a request from before says when it rings."""
    async with desk_world([NUMBER], calling_hours="09:00-20:00") as world:
        link = await world.link(NUMBER)
        night = 1_795_755_600.0  # 2026-11-27, 00:00 in New York
        world.clock.ahead = night - (world.clock() - world.clock.ahead)
        page = await visitor.open(link)
        assert visitor.forms == []
        assert re.search(r"from 9:00.am to 8:00.pm. Next at 9:00.am \(EST\)", page)
        await world.run.request_call(NUMBER, attempt=0)
        await visitor.until("Your call is planned")  # the runner has noticed the hour
        page = visitor.page
        assert re.search(r"It rings at 9:00.am \(EST\)", page)
        assert 'http-equiv="refresh"' in page
        assert world.rings() == 0


async def test_events_are_the_cards_that_changed(world: DeskWorld, visitor: Visitor) -> None:
    """An open page is sent its cards at once, then each one that looks different, and its end."""
    link = await world.link("shop", Subject.REF)
    async with visitor.session.get(f"{link}/events") as response:
        assert response.content_type == "text/event-stream"
        await response.content.readuntil(b"\n\n")  # retry
        first = await response.content.readuntil(b"\n\n")
        assert (first.count(b"<section"), first.count(b"Ready to call")) == (2, 2)
        await world.run.request_call(SECOND)
        seen = b""
        while b"Your phone is ringing" not in seen:
            seen += await response.content.readuntil(b"\n\n")
        assert b'id="c2"' not in seen
        await world.desk.links.revoke(Subject.REF, "shop")
        await world.run.request_call(NUMBERS[2])
        while b"This link does not work" not in seen:
            seen += await response.content.readuntil(b"\n\n")
        assert await response.content.read() in (b"", b"\n")
    async with visitor.session.get(f"{link}/events") as response:
        assert b"This link does not work" in await response.content.read()


async def test_an_open_page_does_not_keep_a_server_from_stopping(visitor: Visitor) -> None:
    """Leaving the desk ends the streams of open pages at once."""
    async with desk_world([NUMBER]) as world:
        response = await visitor.session.get(await world.link(NUMBER) + "/events")
        await response.content.readuntil(b"</section>")
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 1.5
    response.close()


async def test_a_desk_works_below_a_path(visitor: Visitor) -> None:
    """Mounted in another application, forms, redirects and files keep the path."""
    async with desk_world([NUMBER], path="/verify") as world:
        page = await visitor.open(await world.link(NUMBER))
        for url in re.findall(r'(?:href|src|action|data-live)="([^"?][^"]*)"', page):
            assert url.startswith("/verify/"), url
        await visitor.press("Call me now")
        await world.rang()
        await visitor.until("Your phone is ringing")
        await visitor.open(f"{world.base}/static/desk.css")
        assert visitor.status == 200


async def test_a_foreign_site_cannot_press(world: DeskWorld, visitor: Visitor) -> None:
    """A form that another site sends is refused, whatever it knows."""
    await visitor.open(await world.link(NUMBER))
    form = visitor.form("Call me now")
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        visitor.headers = headers
        await visitor.press(form)
        assert visitor.status == 403
    visitor.headers = {"Sec-Fetch-Site": "same-origin", "Origin": "null"}  # as browsers send it
    await visitor.press(form)
    assert visitor.status == 200
    await world.rang()
