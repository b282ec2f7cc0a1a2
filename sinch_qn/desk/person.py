"""The person's page, `/n/{token}`: one number, or all numbers of a ref.

A page is computed from the journal at each request, and a form is answered by a redirect to it. A
form carries the attempt and the intent that it was shown for, so a press that is repeated is one
call.
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any, Final, TypeAlias
from urllib.parse import urlencode

import attrs
from aiohttp import web
from aiohttp.typedefs import Handler

from sinch_qn._checks import check_code
from sinch_qn.bulk.journal.protocol import Submission
from sinch_qn.bulk.journal.queries import EntryQuery
from sinch_qn.bulk.states import Entry
from sinch_qn.desk.attempts import Attempts
from sinch_qn.desk.forms import read_form, shown
from sinch_qn.desk.links import Link, Subject
from sinch_qn.desk.live import send_live
from sinch_qn.desk.pages import fragment, render
from sinch_qn.desk.person_cards import Card, card_of, done, is_gone
from sinch_qn.desk.state import DESK, Desk
from sinch_qn.desk.translations import LANGUAGES, Language, choose_language
from sinch_qn.desk.watch import KEEP_ALIVE
from sinch_qn.errors import InvalidRequestError, SinchError

MAX_CARDS: Final = 100
"""Numbers that the page of a ref shows."""

REFRESH: Final = 3
"""Seconds after which a page without JavaScript looks again, while something is pending."""

CODES_OF_A_NUMBER: Final = (10, 600.0)
CODES_IN_ALL: Final = (600, 60.0)
CALLS_OF_A_NUMBER: Final = (10, 3600.0)
"""Limits: so many, in so many seconds."""

_NOBODY: Final = "+10000000000"
_SAID: Final = ("empty", "unreadable", "duplicate", "stale")
_BETWEEN_DIGITS: Final = re.compile(r"[\s.,;\u2010-\u2015-]+")


@attrs.frozen(kw_only=True)
class Limits:
    """How often people may try; counted by each process."""

    codes: Attempts = attrs.field(factory=lambda: Attempts(*CODES_OF_A_NUMBER))
    all_codes: Attempts = attrs.field(factory=lambda: Attempts(*CODES_IN_ALL))
    calls: Attempts = attrs.field(factory=lambda: Attempts(*CALLS_OF_A_NUMBER))


LIMITS: Final = web.AppKey("person_limits", Limits)


def add_person_routes(app: web.Application) -> None:
    """Add the pages of the people at the phones."""
    app[LIMITS] = Limits()
    app.router.add_get("/n/{token}", _opened(_show))
    app.router.add_get("/n/{token}/events", _opened(_follow, closes=True), allow_head=False)
    app.router.add_get("/n/{token}/{action:call|code}", _opened(_back))
    app.router.add_post("/n/{token}/call", _opened(_call))
    app.router.add_post("/n/{token}/code", _opened(_code))


@attrs.frozen(kw_only=True)
class _Page:
    """What a link opens, as it is now."""

    desk: Desk
    token: str
    link: Link
    language: Language
    query: str
    """The language in the URL, if the reader chose one there."""
    cards: list[Card]
    has_more: bool
    """Whether the ref has more numbers than are shown."""

    def card(self, number: str) -> Card | None:
        """Return the card of *number*."""
        return next((card for card in self.cards if card.number == number), None)

    def values(self) -> dict[str, Any]:
        """Return what all templates of people's pages use."""
        return _values(self.desk, self.language, self.query) | {
            "token": self.token,
            "now": self.desk.journal.now(),
            "done": done,
        }

    def redirect(self, card: Card | None, said: str | None = None) -> web.HTTPSeeOther:
        """Return the redirect to the page, at *card*, which shows what is *said*."""
        place = "" if card is None else str(self.cards.index(card) + 1)
        query = self.query
        if said is not None:
            query += ("&" if query else "?") + urlencode({"said": said, "at": place})
        path = self.desk.path("n", self.token)
        return web.HTTPSeeOther(path + query + (place and f"#c{place}"))


_PageHandler: TypeAlias = Callable[[web.Request, _Page], Awaitable[web.StreamResponse]]


def _opened(handler: _PageHandler, *, closes: bool = False) -> Handler:
    """Return a handler that opens the link of a request, for a *handler* of its page.

    With *closes* a page that is open already is told that its link has ended.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        language = choose_language(
            request.query.get("lang"), request.headers.get("Accept-Language")
        )
        try:
            page = await _open(request, language)
            if page is not None:
                response = await handler(request, page)
            elif closes:
                response = await send_live(request, _only(_gone(request, language)))
            else:
                response = web.Response(
                    status=404, text=_gone(request, language), content_type="text/html"
                )
        except SinchError:
            return _message(request, language, "trouble", 503)
        return response

    return handle


async def _open(request: web.Request, language: Language) -> _Page | None:
    """Return the page of the link in *request*; None if it is forged, revoked or has ended.

    All of these read the journal as often as a link that opens.
    """
    desk, token = request.app[DESK], request.match_info["token"]
    link = await desk.links.read(token)
    if link is None or link.subject not in (Subject.NUMBER, Subject.REF):
        link = None
    entries, has_more = await _entries(desk, link or Link(Subject.NUMBER, _NOBODY))
    readiness, now = await desk.journal.readiness(), desk.journal.now()
    cards = [card_of(entry, readiness, now) for entry in entries]
    if link is None or is_gone(cards, now):
        return None
    return _Page(
        desk=desk,
        token=token,
        link=link,
        language=language,
        query=_query(request),
        cards=cards,
        has_more=has_more,
    )


async def _entries(desk: Desk, link: Link) -> tuple[list[Entry], bool]:
    if link.subject is Subject.REF:
        found = await desk.journal.find(EntryQuery(ref=link.value), limit=MAX_CARDS)
        return list(found.entries), found.next is not None
    entry = await desk.journal.get(link.value)
    return ([] if entry is None else [entry]), False


async def _show(request: web.Request, page: _Page) -> web.StreamResponse:
    said, place = request.query.get("said"), request.query.get("at", "")
    is_typed_into = any(card.takes_code for card in page.cards)
    is_pending = any(card.is_pending for card in page.cards)
    return render(
        "person.html",
        **page.values(),
        cards=page.cards,
        has_more=page.has_more,
        refresh=REFRESH if is_pending and not is_typed_into else None,
        said=said if said in _SAID else "",
        place=place,
    )


async def _back(_: web.Request, page: _Page) -> web.StreamResponse:
    """Redirect to the page: a reader changed the language of the answer to a form."""
    raise page.redirect(None)


async def _call(request: web.Request, page: _Page) -> web.StreamResponse:
    """Ask for a call, unless there was one since the page was shown."""
    form = await read_form(request)
    card = page.card(_text(form.get("number")))
    attempt, intent = shown(form, "attempt"), shown(form, "intent")
    if card is None or card.button is None or attempt != card.attempt:
        raise page.redirect(card)
    limit = request.app[LIMITS].calls
    if wait := limit.wait(card.number):
        return _message(request, page.language, "limit", 429, wait)
    with suppress(InvalidRequestError):  # its state changed meanwhile: the page shows it
        if (await page.desk.request_call(card.number, attempt, intent=intent)).new:
            limit.count(card.number)
    raise page.redirect(card)


async def _code(request: web.Request, page: _Page) -> web.StreamResponse:
    """Submit a code, unless it was typed for another call than the last one."""
    form = await read_form(request)
    card = page.card(_text(form.get("number")))
    if card is None or card.is_for_good:
        raise page.redirect(card)
    code = _BETWEEN_DIGITS.sub("", _text(form.get("code")))
    if not code:
        raise page.redirect(card, "empty")
    if shown(form, "attempt") != card.attempt:
        raise page.redirect(card, "stale")
    try:
        check_code(code)
    except InvalidRequestError:
        raise page.redirect(card, "unreadable") from None
    key, limits = card.number, request.app[LIMITS]  # a link may have a hundred numbers
    if wait := max(limits.codes.wait(key), limits.all_codes.wait()):
        return _message(request, page.language, "limit", 429, wait)
    limits.codes.count(key)
    limits.all_codes.count()
    said = None
    with suppress(InvalidRequestError):  # its state changed meanwhile: the page shows it
        if await page.desk.submit_code(card.number, code) is Submission.DUPLICATE:
            said = "duplicate" if card.takes_code else None
    raise page.redirect(card, said)


async def _follow(request: web.Request, page: _Page) -> web.StreamResponse:
    return await send_live(request, _changes(request, page))


async def _changes(request: web.Request, page: _Page) -> AsyncGenerator[str, None]:
    """Yield the cards of *page* that look different from before; nothing as a heartbeat."""
    desk = page.desk
    shown: dict[str, Card | None] = dict.fromkeys(card.number for card in page.cards)

    def at_most() -> float:
        now = desk.journal.now()
        times = [card.next_change(now) for card in shown.values() if card is not None]
        waits = [max(0.0, at - now) + 0.05 for at in times if at is not None]
        return min(KEEP_ALIVE, *waits) if waits else KEEP_ALIVE

    latest = dict(shown)
    async with aclosing(desk.watch.entries(list(shown), at_most)) as changes:
        async for entries in changes:
            now = desk.journal.now()
            for number, entry in entries.items():
                if entry is not None:
                    latest[number] = card_of(entry, desk.watch.readiness, now)
            cards = [card for card in latest.values() if card is not None]
            if is_gone(cards, now) or await desk.links.read(page.token) is None:
                yield _gone(request, page.language)
                return
            places = enumerate(latest.items(), 1)
            changed = [(at, card) for at, (number, card) in places if card != shown[number]]
            if changed:
                yield fragment("person_live.html", **page.values(), cards=cards, changed=changed)
            else:
                yield ""
            shown.update(latest)


async def _only(text: str) -> AsyncGenerator[str, None]:
    yield text


def _gone(request: web.Request, language: Language) -> str:
    """Return the page of every link that does not open, whatever the reason."""
    return fragment("person_gone.html", **_values(request.app[DESK], language, _query(request)))


def _message(
    request: web.Request, language: Language, key: str, status: int, wait: float = 60.0
) -> web.Response:
    """Return a page that says why something was not done, and when to try again."""
    seconds = math.ceil(wait)
    minutes = language("minutes", count=math.ceil(wait / 60))
    left = language("seconds", count=seconds) if seconds <= 90 else minutes
    response = render(
        "person_message.html",
        status=status,
        **_values(request.app[DESK], language, _query(request)),
        token=request.match_info["token"],
        title=language(key),
        text=language(f"{key}_text", left=left),
    )
    response.headers["Retry-After"] = str(seconds)
    return response


def _values(desk: Desk, language: Language, query: str) -> dict[str, Any]:
    return {
        "root": desk.root,
        "lang": language.tag,
        "t": language,
        "languages": LANGUAGES.values(),
        "query": query,
    }


def _query(request: web.Request) -> str:
    chosen = request.query.get("lang")
    return f"?lang={chosen}" if chosen in LANGUAGES else ""


def _text(value: object) -> str:
    """Return a field of a form; a file is none."""
    return value if isinstance(value, str) else ""
