"""The operators' first page, live: counts, progress, and what needs a person first."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Final

from aiohttp import web

from sinch_qn.bulk.journal.protocol import Readiness
from sinch_qn.bulk.report.charts import timeline_chart
from sinch_qn.bulk.report.html import MEANINGS, ON_REQUEST
from sinch_qn.bulk.report.summary import Summary
from sinch_qn.bulk.states import ChallengeState
from sinch_qn.desk.live import send_live
from sinch_qn.desk.login import SESSION, as_operator, operator_page
from sinch_qn.desk.operator_links import add_link_routes
from sinch_qn.desk.operator_numbers import add_number_routes
from sinch_qn.desk.operator_orders import add_order_routes
from sinch_qn.desk.operator_uploads import add_upload_routes
from sinch_qn.desk.pages import fragment
from sinch_qn.desk.state import DESK, Desk
from sinch_qn.desk.summaries import Summaries

_SUMMARIES: Final = web.AppKey("summaries", Summaries)
_SHOWN: Final = 5
"""Numbers listed below each advice; the list of numbers has all."""
_STREAM: Final = 240.0
"""Seconds of a live stream: the browser's next one keeps its login from ending."""
_VERIFIED = (ChallengeState.VERIFIED, ChallengeState.SKIPPED)


def add_operator_routes(app: web.Application) -> None:
    """Add the operators' pages to *app*."""
    app[_SUMMARIES] = Summaries(app[DESK].journal)
    app.cleanup_ctx.append(_close_summaries)
    app.router.add_get("/operator", as_operator(_show_overview))
    app.router.add_get("/operator/events", as_operator(_send_events))
    add_number_routes(app)
    add_order_routes(app)
    add_link_routes(app)
    add_upload_routes(app)


async def _close_summaries(app: web.Application) -> AsyncIterator[None]:
    yield
    await app[_SUMMARIES].close()


async def _show_overview(request: web.Request) -> web.StreamResponse:
    values = await _overview(request, await request.app[DESK].journal.counts())
    return operator_page(request, "operator.html", current="overview", **values)


async def _send_events(request: web.Request) -> web.StreamResponse:
    return await send_live(request, _fragments(request))


async def _fragments(request: web.Request) -> AsyncGenerator[str, None]:
    """Yield the live parts of the page when they change, while the login lasts."""
    desk, sent = request.app[DESK], ""
    ends = desk.clock() + _STREAM
    async with aclosing(desk.watch.all_counts(keep_alive=5.0)) as changes:
        async for counts in changes:
            if desk.clock() > ends or not await desk.sessions.is_open(request[SESSION]):
                return
            html = fragment("operator_live.html", **await _overview(request, counts))
            yield html if html != sent else ""
            sent = html


async def _overview(request: web.Request, counts: Mapping[ChallengeState, int]) -> dict[str, Any]:
    desk = request.app[DESK]
    summary = await request.app[_SUMMARIES].get(counts)
    ready = await desk.journal.readiness()
    return {
        "ready": ready,
        "tiles": _tiles(counts, summary),
        "states": _states(counts, _meanings(ready, summary)),
        "curve": None if summary is None else timeline_chart(summary.timeline.curve()),
        "attention": _attention(desk, summary),
        "numbers_path": desk.path("operator/numbers"),
    }


def _tiles(counts: Mapping[ChallengeState, int], summary: Summary | None) -> list[dict[str, Any]]:
    whole = sum(counts.values())
    verified = sum(counts[state] for state in _VERIFIED)
    in_progress = sum(n for state, n in counts.items() if not state.settled)
    attention = 0 if summary is None else summary.advised.total()
    invalid = f"{counts[ChallengeState.INVALID]:,} invalid"
    share = f"{100 * verified / whole if whole else 0:.0f}\N{NO-BREAK SPACE}% of all"
    return [
        {"kind": "", "name": "Numbers", "n": whole, "more": invalid},
        {"kind": "done", "name": "Verified", "n": verified, "more": share},
        {
            "kind": "open",
            "name": "In progress",
            "n": in_progress,
            "more": "not settled yet" if in_progress else "all settled",
        },
        {
            "kind": "warn" if attention else "none",
            "name": "Needs attention",
            "n": attention,
            "more": "see below for what to do" if attention else "nothing to do",
        },
    ]


def _meanings(ready: Readiness, summary: Summary | None) -> dict[ChallengeState, tuple[str, str]]:
    """Return colour and meaning of each state, in the order of the page."""
    meanings = dict(MEANINGS)
    if ready.settings is not None and ready.settings.on_request:
        asked = 0 if summary is None else summary.requested
        meanings[ChallengeState.PENDING] = ("open", ON_REQUEST.format(asked))
    return meanings


def _states(
    counts: Mapping[ChallengeState, int], meanings: Mapping[ChallengeState, tuple[str, str]]
) -> list[dict[str, Any]]:
    most = max(counts.values(), default=0)
    return [
        {
            "state": state,
            "name": state.value.replace("_", " "),
            "kind": kind,
            "meaning": meaning,
            "n": counts[state],
            "share": 100 * counts[state] / most,
        }
        for state, (kind, meaning) in meanings.items()
        if counts[state]
    ]


def _attention(desk: Desk, summary: Summary | None) -> list[dict[str, Any]] | None:
    if summary is None:
        return None
    return [
        {
            "advice": advice,
            "n": n,
            "state": summary.listed[advice][0].state if advice in summary.listed else None,
            "entries": [
                (entry, desk.history_path(entry.number))
                for entry in summary.listed.get(advice, ())[:_SHOWN]
            ],
        }
        for advice, n in summary.advised.most_common()
    ]
