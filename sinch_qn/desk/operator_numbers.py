"""The operators' list of numbers, the page about one of them, and what they do about it there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

import attrs
from aiohttp import web

from sinch_qn.bulk.call_requests import CallRequest
from sinch_qn.bulk.journal.protocol import Submission
from sinch_qn.bulk.journal.queries import EntryOrder, EntryQuery, HistoryItem
from sinch_qn.bulk.report.advice import what_to_do
from sinch_qn.bulk.report.html import MEANINGS
from sinch_qn.bulk.states import TABLE, ChallengeState, Entry, Event
from sinch_qn.desk.forms import read_form, shown
from sinch_qn.desk.links import Link, Subject
from sinch_qn.desk.login import as_operator, operator_page, redirect, see_other
from sinch_qn.desk.state import DESK, Desk
from sinch_qn.errors import InvalidRequestError

_PAGE: Final = 50
_MAX_TEXT: Final = 100
_CALLABLE: Final = frozenset({*TABLE[Event.REQUEST], *TABLE[Event.RECALL]})
_LINKED: Final = frozenset(ChallengeState) - {ChallengeState.INVALID}
_ORDERS: Final = {
    EntryOrder.ADDED: "when added",
    EntryOrder.NUMBER: "number",
    EntryOrder.CALLED: "last call",
    EntryOrder.SETTLED: "when settled",
}
_HAPPENED: Final = {
    "add": "Added to the project",
    "call": "Call",
    "verify": "Code sent to Sinch",
    "code": "Code received",
}
_OUTCOMES: Final = {
    "done": "done",
    "rejected": "rejected",
    "unknown": "unknown: the response was lost",
    "waiting": "waiting to be sent",
    "in flight": "being checked",
    "used": "used",
    None: "no response yet",
}


def add_number_routes(app: web.Application) -> None:
    """Add the pages about numbers to *app*."""
    app.router.add_get("/operator/numbers", as_operator(_show_numbers))
    app.router.add_post("/operator/numbers", as_operator(_search))
    app.router.add_get("/operator/numbers/{token}", as_operator(_show_number))
    for name, act in (("code", _submit_code), ("call", _call), ("revoke", _revoke)):
        app.router.add_post(f"/operator/numbers/{{token}}/{name}", as_operator(act))


# ── The list ────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class _View:
    """What a list shows, as its URL says it: what has a number in it is encrypted there."""

    state: ChallengeState | None = None
    text: str = ""
    order: EntryOrder = EntryOrder.ADDED
    descending: bool = False
    after: str | None = None

    def path(self, desk: Desk) -> str:
        """Return the path of the list that shows this."""
        values = {"order": self.order.value, "descending": "1" if self.descending else ""}
        values["state"] = self.state.value if self.state else ""
        for name in ("text", "after"):
            value = getattr(self, name)
            values[name] = desk.links.seal(Link(Subject.OPERATOR, value)) if value else ""
        used = {name: value for name, value in values.items() if value}
        return f"{desk.path('operator/numbers')}?{urlencode(used)}"

    @property
    def query(self) -> EntryQuery:
        """The query to the journal."""
        return EntryQuery(
            states=() if self.state is None else (self.state,),
            text=self.text,
            order=self.order,
            descending=self.descending,
        )


def _view_of(request: web.Request) -> _View:
    """Return what the URL asks for; parts that are no longer valid are left out."""
    desk, query = request.app[DESK], request.query
    texts = {}
    for name in ("text", "after"):
        link = desk.links.unseal(query.get(name, ""))
        texts[name] = link.value if link and link.subject is Subject.OPERATOR else ""
    return _View(
        state=_member(ChallengeState, query.get("state")),
        text=texts["text"],
        order=_member(EntryOrder, query.get("order")) or EntryOrder.ADDED,
        descending=query.get("descending") == "1",
        after=texts["after"] or None,
    )


async def _search(request: web.Request) -> web.StreamResponse:
    """Lead to the list of what the form asks for: a number in it is in no URL."""
    form = await read_form(request)
    view = _View(
        state=_member(ChallengeState, form.get("state")),
        text=str(form.get("text", "")).strip()[:_MAX_TEXT],
        order=_member(EntryOrder, form.get("order")) or EntryOrder.ADDED,
        descending=form.get("descending") == "1",
    )
    return see_other(view.path(request.app[DESK]))


async def _show_numbers(request: web.Request) -> web.StreamResponse:
    desk, view = request.app[DESK], _view_of(request)
    try:
        page = await desk.journal.find(view.query, limit=_PAGE, after=view.after)
    except InvalidRequestError:  # a place in another order
        view = attrs.evolve(view, after=None)
        page = await desk.journal.find(view.query, limit=_PAGE)
    return operator_page(
        request,
        "operator_numbers.html",
        current="numbers",
        view=view,
        states=list(ChallengeState),
        orders=_ORDERS,
        first=attrs.evolve(view, after=None).path(desk) if view.after else None,
        next=attrs.evolve(view, after=page.next).path(desk) if page.next else None,
        rows=[
            {
                "entry": entry,
                "path": desk.history_path(entry.number),
                "kind": MEANINGS[entry.state][0],
                "advice": what_to_do(entry),
            }
            for entry in page.entries
        ],
    )


# ── One number ──────────────────────────────────────────────────────────────────────────────────


async def _entry_of(request: web.Request) -> Entry:
    desk = request.app[DESK]
    link = desk.links.unseal(request.match_info["token"])
    entry = None
    if link is not None and link.subject is Subject.HISTORY:
        entry = await desk.journal.get(link.value)
    if entry is None:
        raise web.HTTPNotFound(text="There is no such number in this run.")
    return entry


async def _show_number(request: web.Request) -> web.StreamResponse:
    desk, entry = request.app[DESK], await _entry_of(request)
    settings = await desk.settings()
    kind, meaning = MEANINGS[entry.state]
    if entry.state is ChallengeState.PENDING and entry.requested_at is not None:
        meaning = "a call is asked for; waiting for its turn"
    elif entry.state is ChallengeState.PENDING and settings.on_request:
        meaning = "called once somebody asks for it"
    return operator_page(
        request,
        "operator_number.html",
        current="numbers",
        entry=entry,
        kind=kind,
        meaning=meaning,
        advice=what_to_do(entry),
        max_codes=settings.max_codes,
        own_path=desk.history_path(entry.number),
        can_call=entry.state in _CALLABLE,
        link=await desk.url(Subject.NUMBER, entry.number) if entry.state in _LINKED else None,
        ref_link=await _ref_link(desk, entry),
        history=[_event(item) for item in await desk.journal.history(entry.number)],
    )


async def _ref_link(desk: Desk, entry: Entry) -> str | None:
    if not entry.ref or entry.state not in _LINKED:
        return None
    return await desk.url(Subject.REF, entry.ref)


def _event(item: HistoryItem) -> dict[str, Any]:
    outcome = _OUTCOMES.get(item.outcome, item.outcome)
    return {
        "at": item.at,
        "what": _HAPPENED.get(item.what, item.what),
        "attempt": item.attempt,
        "outcome": outcome,
        "outcome_at": item.outcome_at,
    }


async def _submit_code(request: web.Request) -> web.StreamResponse:
    """Submit a code of the call that the page showed: one of another call would cost a try."""
    desk, entry = request.app[DESK], await _entry_of(request)
    form = await read_form(request)
    if shown(form, "attempt") != entry.attempt:
        return _back(desk, entry, "Nothing was done: there was a newer call. Enter its code.")
    code = "".join(str(form.get("code", "")).split())
    try:
        submission = await desk.submit_code(entry.number, code)
    except InvalidRequestError as error:
        return _back(desk, entry, f"The code was not accepted: {error.message}.")
    if submission is Submission.DUPLICATE:
        return _back(desk, entry, "This code was submitted before: it stays one code.")
    return _back(desk, entry, "The code is accepted; the run checks it.")


async def _call(request: web.Request) -> web.StreamResponse:
    """Request a call, once for each page that was shown: *attempt* and *intent* are that page's."""
    desk, entry = request.app[DESK], await _entry_of(request)
    form = await read_form(request)
    attempt, intent = shown(form, "attempt"), shown(form, "intent")
    if attempt is None:
        raise web.HTTPBadRequest(text="attempt: expected the number of calls so far")
    try:
        requested = await desk.request_call(entry.number, attempt, intent=intent)
    except InvalidRequestError as error:
        return _back(desk, entry, f"No call was requested: {error.message}.")
    return _back(desk, entry, _confirmation(requested))


def _confirmation(requested: CallRequest) -> str:
    if not requested.new:
        return "A call was requested before: it stays one call."
    if requested.earliest is not None:
        at = f"{datetime.fromtimestamp(requested.earliest, UTC):%d %b, %H:%M} UTC"
        return f"The call is requested, for {at} at the earliest: {requested.reason}."
    if requested.reason:
        return f"The call is requested, and waits: {requested.reason}."
    return "The call is requested: the phone rings in a moment."


async def _revoke(request: web.Request) -> web.StreamResponse:
    """Make the links to a number and to its ref invalid, if they still are those of the form."""
    desk, entry = request.app[DESK], await _entry_of(request)
    form = await read_form(request)
    for name, subject, value in (
        ("link", Subject.NUMBER, entry.number),
        ("ref_link", Subject.REF, entry.ref),
    ):
        if value and form.get(name) == await desk.url(subject, value):
            await desk.links.revoke(subject, value)
    return _back(desk, entry, "The links made before are invalid now. The new ones are below.")


def _back(desk: Desk, entry: Entry, message: str) -> web.Response:
    return redirect(desk, desk.history_path(entry.number), message)


def _member(enum: Any, value: object) -> Any:
    """Return the member of *enum* with this value; None if there is none."""
    return next((member for member in enum if member.value == value), None)
