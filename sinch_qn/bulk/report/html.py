"""A run's report as a self-contained HTML page: it loads and runs nothing."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib import resources
from string import Template
from types import MappingProxyType

from sinch_qn._redaction import printable
from sinch_qn.bulk.journal.deliveries import Delivery, DeliveryState, delivered_numbers
from sinch_qn.bulk.journal.protocol import Batch, BatchState
from sinch_qn.bulk.order_records import OrderRecord
from sinch_qn.bulk.report.advice import (
    order_progress,
    what_to_do_about,
    what_to_do_about_delivery,
    what_to_do_about_order,
)
from sinch_qn.bulk.report.charts import timeline_chart, wait_chart
from sinch_qn.bulk.report.output_files import output_file
from sinch_qn.bulk.report.records import state_name
from sinch_qn.bulk.report.summary import MAX_LISTED, Summary
from sinch_qn.bulk.states import ChallengeState, Entry
from sinch_qn.models import GlobalProcessState as SinchState

_MAX_LISTED_BATCHES = 1000
_MAX_LISTED_FAILURES = 20
_PERCENT = "\N{NO-BREAK SPACE}%"

_BATCH_HEADINGS = (
    *(
        ("Batch", "num"),
        ("Region", "nowrap"),
        ("Numbers", "num"),
        ("State", ""),
        ("Sent (UTC)", "nowrap"),
    ),
    *(("At Sinch", "seen"), ("Details", "wide")),
)
_ENTRY_HEADINGS = (
    *(("Number", "number"), ("Ref", "ref"), ("Line", "num"), ("State", ""), ("Note", "wide")),
)
"""Headings of the tables, and their CSS classes."""

MEANINGS = {
    ChallengeState.VERIFIED: ("done", "ownership proved"),
    ChallengeState.SKIPPED: ("before", "verified before this run"),
    ChallengeState.PENDING: ("open", "waiting to be called"),
    ChallengeState.CALLING: ("open", "being called"),
    ChallengeState.AWAITING_CODE: ("open", "called; waiting for the code"),
    ChallengeState.VERIFYING: ("open", "code being checked"),
    ChallengeState.EXPIRED: ("warn", "no code came in time"),
    ChallengeState.UNKNOWN: ("warn", "call outcome unknown; the phone may have rung"),
    ChallengeState.FAILED: ("bad", "cannot be called, or its codes were wrong"),
    ChallengeState.BLOCKED: ("bad", "Sinch takes no more codes for it"),
    ChallengeState.INVALID: ("none", "not a number that can be qualified"),
}
"""Colour class and meaning of each state, in the order of the page."""
ON_REQUEST = "called once somebody asks for it: {:,} were asked for"


def write_html(
    rows: Iterable[Entry],
    path: str | os.PathLike[str],
    *,
    batches: Sequence[Batch] = (),
    deliveries: Sequence[Delivery] = (),
    orders: Mapping[int, OrderRecord] = MappingProxyType({}),
    on_request: bool = False,
    title: str = "Voice challenges",
    about: str | None = None,
    now: float | None = None,
) -> None:
    """Write a self-contained page with counts, charts, batches and what needs attention.

    *deliveries* are the emails with invoices: `await journal.deliveries.all()`. *orders* say how
    far the orders of *batches* have got: `order_records.load_orders`. *on_request*: the run calls a
    number only once somebody asks for it.
    *about* is shown under the title, such as the project and the input file, a line each. *now* is
    the date shown, in wall-clock seconds since the epoch; the default is the current time.
    """
    summary = Summary.of(rows, delivered_numbers(deliveries))
    written_at = datetime.fromtimestamp(time.time() if now is None else now, UTC)
    template = resources.files("sinch_qn.bulk.report").joinpath("report.html").read_text("utf-8")
    page = Template(template).substitute(
        page_title=_escaped(title),
        title=_text(title),
        about="".join(f"<p>{_text(line)}</p>" for line in about.splitlines()) if about else "",
        now=f"Written: {written_at:%d %B %Y, %H:%M UTC}",
        tiles=_tiles(summary, batches),
        states=_states(summary, on_request=on_request),
        timeline=timeline_chart(summary.timeline.curve()),
        waits=wait_chart(summary.waits, summary.shortest_wait, summary.longest_wait),
        batches=_batches(batches, orders, summary),
        invoices=_invoices(deliveries, summary),
        attention=_attention(summary),
    )
    with output_file(path) as file:
        file.write(page)


def _escaped(value: object) -> str:
    """Escape *value* for HTML, and replace its unprintable characters."""
    return escape(printable(value, substitute="\N{REPLACEMENT CHARACTER}"))


def _text(value: object) -> str:
    """Escape *value* for HTML, and isolate its text direction."""
    return f"<bdi>{_escaped(value)}</bdi>"


def _share(part: int, whole: int) -> str:
    """Return a percentage, rounded down; only exact shares are shown as 0 or 100 %."""
    percent = 100 * part / whole if whole else 0.0
    if 0 < percent < 0.1:
        return f"under 0.1{_PERCENT}"
    if percent in {0, 100}:
        return f"{percent:.0f}{_PERCENT}"
    return f"{math.floor(percent * 10) / 10:.1f}{_PERCENT}"


def _tiles(summary: Summary, batches: Sequence[Batch]) -> str:
    states, whole = summary.states, summary.states.total()
    verified = states[ChallengeState.VERIFIED] + states[ChallengeState.SKIPPED]
    in_progress = sum(states[state] for state in ChallengeState if not state.settled)
    batches_advised = sum(what_to_do_about(batch) is not None for batch in batches)
    attention = "see below for what to do" if summary.advised else "nothing to do"
    if batches_advised:
        attention = f"and {batches_advised:,} of the orders"
    tiles = [
        ("", "Numbers", whole, f"{states[ChallengeState.INVALID]:,} invalid"),
        ("done", "Verified", verified, f"{_share(verified, whole)} of all"),
        ("open", "In progress", in_progress, "not settled yet" if in_progress else "all settled"),
        (
            "warn" if summary.advised or batches_advised else "none",
            "Needs attention",
            summary.advised.total(),
            attention,
        ),
    ]
    return "".join(
        f'<div class="tile {kind}"><h2>{name}</h2><p class="n">{n:,}</p><p>{more}</p></div>'
        for kind, name, n, more in tiles
    )


def _states(summary: Summary, *, on_request: bool) -> str:
    whole, most = summary.states.total(), max(summary.states.values(), default=1)
    rows, strip = [], []
    meanings = dict(MEANINGS)
    if on_request:
        meanings[ChallengeState.PENDING] = ("open", ON_REQUEST.format(summary.requested))
    for state, (kind, meaning) in meanings.items():
        if n := summary.states[state]:
            name = state.value.replace("_", " ")
            strip.append(f'<i class="{kind}" style="flex:{n}" title="{name}: {n:,}"></i>')
            rows.append(
                f'<tr><th scope="row">{name}</th><td class="muted">{meaning}</td>'
                f'<td class="bar"><i class="{kind}" style="width:{100 * n / most:.2f}%"></i></td>'
                f'<td class="num">{n:,}</td><td class="num muted">{_share(n, whole)}</td></tr>'
            )
    if not rows:
        return '<p class="muted">There are no numbers in this run.</p>'
    return (
        f'<div class="strip" aria-hidden="true">{"".join(strip)}</div>'
        f'<table class="states"><tbody>{"".join(rows)}</tbody></table>'
    )


def _batches(batches: Sequence[Batch], orders: Mapping[int, OrderRecord], summary: Summary) -> str:
    shown = [batch for batch in batches if batch.state is not BatchState.NOT_SENT]
    if not shown:
        return ""
    shown.sort(key=lambda batch: what_to_do_about(batch) is None)
    rows = [
        _batch_row(batch, orders.get(batch.id), summary.hosting.get(batch.id, Counter()))
        for batch in shown[:_MAX_LISTED_BATCHES]
    ]
    more = len(shown) - _MAX_LISTED_BATCHES
    left_out = f'<p class="muted">{more:,} more batches are not shown.</p>' if more > 0 else ""
    table = _table(_BATCH_HEADINGS, [("", rows)])
    return f'<section class="long"><h2>Text-enabling</h2>{table}{left_out}</section>'


def _batch_row(
    batch: Batch, record: OrderRecord | None, hosting: Counter[SinchState | None]
) -> list[str]:
    """Return the cells of *batch*; *hosting* counts its numbers by their state at Sinch."""
    seen = " · ".join(
        f"{n:,} {_escaped((state_name(state) or 'not checked yet').replace('_', ' ').lower())}"
        for state, n in hosting.most_common()
    )
    order = f'<p class="code">{_text(batch.order_id)}</p>' if batch.order_id else ""
    texts = [batch.note, what_to_do_about(batch)]
    if record is not None:
        texts += [order_progress(record), what_to_do_about_order(record), *_failures(record)]
    notes = "".join(f"<p>{_text(text)}</p>" for text in texts if text)
    return [
        str(batch.id),
        "toll-free" if batch.toll_free else _text(batch.region or ""),
        f"{len(batch.numbers):,}",
        f'<b class="chip {_batch_kind(batch, hosting)}">{batch.state.value}</b>',
        f"{datetime.fromtimestamp(batch.at, UTC):%d %b, %H:%M}",
        seen,
        order + notes,
    ]


def _failures(order: OrderRecord) -> Iterator[str]:
    """Yield a line for each number that failed at a carrier, the first ones."""
    for failure in order.failures[:_MAX_LISTED_FAILURES]:
        yield " ".join(
            filter(None, (failure.phone_number, failure.where, failure.code, failure.message))
        )
    if (more := len(order.failures) - _MAX_LISTED_FAILURES) > 0:
        yield f"{more:,} more failures are in: sinch-qn status JOURNAL --json"


def _batch_kind(batch: Batch, hosting: Counter[SinchState | None]) -> str:
    """Return the colour class of *batch*: it is done once all its numbers are hosted."""
    if batch.state is BatchState.REJECTED or hosting[SinchState.HOSTING_FAILED]:
        return "bad"
    if batch.state is not BatchState.ORDERED:
        return "warn"
    return "done" if hosting and set(hosting) == {SinchState.HOSTING_DONE} else "open"


def _invoices(deliveries: Sequence[Delivery], summary: Summary) -> str:
    """Return the emails that need a person, and the numbers whose invoices are missing."""
    advised = [(row, advice) for row in deliveries if (advice := what_to_do_about_delivery(row))]
    missing = summary.without_invoices
    if not (deliveries or missing):
        return ""
    sent = sum(row.state is DeliveryState.SENT for row in deliveries)
    parts = [f'<p class="muted">Emails with invoices: {sent:,} sent, {len(advised):,} not.</p>']
    parts += [
        f"<p><b>{row.state.value}</b>, {len(row.numbers):,} numbers: {_text(row.note or row.key)}."
        f" {advice}</p>"
        for row, advice in advised[:_MAX_LISTED_BATCHES]
    ]
    if missing:
        heading = f'Their invoices are missing <span class="count">{missing:,}</span>'
        rows = [_entry_row(entry) for entry in summary.listed_without_invoices]
        parts.append(_table(_ENTRY_HEADINGS, [(heading, rows)]))
    return f'<section class="long"><h2>Invoices</h2>{"".join(parts)}</section>'


def _table(
    headings: Sequence[tuple[str, str]], groups: Sequence[tuple[str, list[list[str]]]]
) -> str:
    """Return a table of *groups* of rows, each below its heading; empty columns are left out.

    *headings* have a CSS class each. On a narrow screen each row is a card that names its cells.
    """
    used = [
        column
        for column in range(len(headings))
        if any(row[column] for _, rows in groups for row in rows)
    ]
    head = "".join(f'<th class="{headings[c][1]}">{headings[c][0]}</th>' for c in used)
    bodies = []
    for heading, rows in groups:
        title = (
            f'<tr class="group"><th colspan="{len(used)}">{heading}</th></tr>' if heading else ""
        )
        cells = "".join(f"<tr>{_cells(headings, row, used)}</tr>" for row in rows)
        bodies.append(f"<tbody>{title}{cells}</tbody>")
    return f'<table class="list"><thead><tr>{head}</tr></thead>{"".join(bodies)}</table>'


def _cells(headings: Sequence[tuple[str, str]], row: list[str], used: Sequence[int]) -> str:
    return "".join(
        f'<td class="{headings[c][1]}" data-label="{headings[c][0]}">{row[c]}</td>' for c in used
    )


def _attention(summary: Summary) -> str:
    if not summary.advised:
        return '<p class="muted">No number needs attention.</p>'
    parts = []
    if (left_out := summary.advised.total() - MAX_LISTED) > 0:
        parts.append(
            f'<p class="notice">The first {MAX_LISTED:,} numbers are listed; {left_out:,} more '
            "are not. The CSV report has all.</p>"
        )
    groups = [
        (
            f'{_text(advice)} <span class="count">{n:,}</span>',
            [_entry_row(entry) for entry in summary.listed.get(advice, ())],
        )
        for advice, n in summary.advised.most_common()
    ]
    return "".join(parts) + _table(_ENTRY_HEADINGS, groups)


def _entry_row(entry: Entry) -> list[str]:
    kind, _ = MEANINGS[entry.state]
    if entry.state in (ChallengeState.VERIFIED, ChallengeState.SKIPPED):
        kind = "warn"
    return [
        f'<span class="code">{_text(entry.number)}</span>',
        _text(entry.ref) if entry.ref else "",
        "" if entry.line is None else f"{entry.line:,}",
        f'<b class="chip {kind}">{entry.state.value.replace("_", " ")}</b>',
        _text(entry.note) if entry.note else "",
    ]
