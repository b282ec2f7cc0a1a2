"""What became of a run, for people and programs: CSV, JSON lines, and one HTML page.

Rows are read once and never kept, so a million numbers take no more memory than a thousand. Files
appear whole or not at all, readable by their owner only. Phone numbers are not masked, as the file
is the operator's own; codes are never in it.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import TextIO

import attrs

from sinch_qn.bulk.journal.protocol import Batch, BatchState
from sinch_qn.bulk.outcomes import ASK_AGAIN, UNKNOWN_TO_SINCH
from sinch_qn.bulk.states import ChallengeState, Entry
from sinch_qn.models import GlobalProcessState

SHOWN_PEOPLE = 5000
"""Numbers that the HTML page lists as needing a person; CSV and JSON have all."""

_SHOWN_BATCHES = 1000
_S = ChallengeState
_G = GlobalProcessState

# ---- what a person has to do -------------------------------------------------------------------

_ADVICE = {
    _S.INVALID: "Correct {where} of the input, and run it again.",
    _S.EXPIRED: "Ask for the code: a late one is still tried. If nobody has it, recall.",
    _S.UNKNOWN: "Ask whether the phone rang. If it did, type the code; if not, recall.",
    _S.BLOCKED: "Sinch takes no more codes for it: email its invoices to orders@sinch.com.",
}
_ASK_AGAIN = "Ask for the code once more and type it, or recall."
_ADDED = "Email its invoices to orders@sinch.com (1 to 3 working days), or let it be rung."
_NOT_ELIGIBLE = "Sinch cannot host it: check the number, or ask Sinch why."
_NOT_KNOWN = "Add it to the project (--add-missing, or sinch-qn add), then recall."
_NO_CODES = "Its codes were wrong: recall for a new one, and have it read out twice."
_REFUSED = "Read the reason, put it right, then recall."
_NOT_HOSTED = "Hosting failed: put right what it says, or ask Sinch why, then order it again."
_GONE = "Sinch no longer knows it: add it to the project again, or forget it."


def what_to_do(entry: Entry) -> str | None:
    """Return what a person has to do next about *entry*; None: nothing, or not yet."""
    where = "it in its place" if entry.line is None else f"line {entry.line}"
    advice = _advice(entry)
    return None if advice is None else advice.format(where=where)


def _advice(entry: Entry) -> str | None:
    match entry.state:
        case _S.FAILED:
            return _advice_after_failure(entry)
        case _S.AWAITING_CODE if entry.note == ASK_AGAIN:
            return _ASK_AGAIN
        case _S.PENDING if entry.added:
            return _ADDED
        case _S.VERIFIED | _S.SKIPPED if entry.remote is _G.HOSTING_FAILED:
            return _NOT_HOSTED
        case _S.VERIFIED | _S.SKIPPED if entry.remote is _G.UNSPECIFIED:
            return _GONE
    return _ADVICE.get(entry.state)


def _advice_after_failure(entry: Entry) -> str:
    if entry.remote is _G.NOT_ELIGIBLE:
        return _NOT_ELIGIBLE
    if entry.note == UNKNOWN_TO_SINCH:
        return _NOT_KNOWN
    return _NO_CODES if entry.codes_used else _REFUSED


def what_to_do_about(batch: Batch) -> str | None:
    """Return what a person has to do next about a text-enabling *batch*; None: nothing."""
    match batch.state:
        case BatchState.UNKNOWN:
            return "Look in Sinch's dashboard for the order. Only if there is none, free the batch."
        case BatchState.REJECTED:
            return "Put right what the reason says, then free the batch and order again."
    return None


# ---- for programs ------------------------------------------------------------------------------

_FORMULA = re.compile(r"[=@\t\r]|[+-](?![0-9.]*$)")
"""Text that a spreadsheet would run; a phone number or a chat id such as -100123 is none."""


def as_record(entry: Entry) -> dict[str, str | int | None]:
    """Return *entry* as CSV and JSON have it; times are UTC."""
    return {
        "number": entry.number,
        "ref": entry.ref,
        "line": entry.line,
        "state": entry.state.value,
        "calls": entry.attempt,
        "called_at": _time(entry.called_at),
        "settled_at": _time(entry.settled_at),
        "sinch_state": _name(entry.remote),
        "region": entry.region,
        "batch": entry.batch,
        "note": entry.note,
        "what_to_do": what_to_do(entry),
    }


def write_csv(rows: Iterable[Entry], path: str | os.PathLike[str]) -> None:
    """Write a line for each of *rows*; text that a spreadsheet would run gets a `'` in front."""
    with _replacing(path) as file:
        writer = csv.writer(file)
        writer.writerow(as_record(Entry(number="")))
        for entry in rows:
            writer.writerow([_harmless(value) for value in as_record(entry).values()])


def write_json_lines(rows: Iterable[Entry], path: str | os.PathLike[str]) -> None:
    """Write a JSON object and a line end for each of *rows*."""
    with _replacing(path) as file:
        for entry in rows:
            file.write(json.dumps(as_record(entry)) + "\n")


def _harmless(value: str | int | None) -> str | int | None:
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")[:19] + "Z"


def _name(state: GlobalProcessState | None) -> str | None:
    return None if state is None else state.value.removeprefix("GLOBAL_PROCESS_STATE_")


@contextmanager
def _replacing(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """Open a file that takes the place of *path* once it is complete and on disk."""
    target = Path(path)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # 0600
    written = Path(name)
    try:
        with open(  # noqa: PTH123 - a descriptor
            descriptor, "w", encoding="utf-8", errors="backslashreplace", newline=""
        ) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        written.replace(target)
    except BaseException:
        with suppress(OSError):
            written.unlink()
        raise


# ---- what the page is made of ------------------------------------------------------------------

_MOST_BUCKETS = 1000


@attrs.define
class Timeline:
    """How many settled, and how many of them verified, over time; coarser as it grows."""

    width: float = 1.0
    """Seconds in a bucket."""
    _buckets: dict[int, tuple[int, int]] = attrs.field(factory=dict)

    def add(self, at: float, *, verified: bool) -> None:
        """Count a number that settled *at*."""
        bucket = int(at // self.width)
        settled, good = self._buckets.get(bucket, (0, 0))
        self._buckets[bucket] = settled + 1, good + verified
        while len(self._buckets) > _MOST_BUCKETS:
            self._coarsen()

    def _coarsen(self) -> None:
        self.width *= 2
        finer, self._buckets = self._buckets, {}
        for bucket, (settled, good) in finer.items():
            old_settled, old_good = self._buckets.get(bucket // 2, (0, 0))
            self._buckets[bucket // 2] = old_settled + settled, old_good + good

    def curve(self) -> list[tuple[float, int, int]]:
        """Return (time, settled until then, verified until then), from nothing on."""
        points: list[tuple[float, int, int]] = []
        settled = good = 0
        for bucket in sorted(self._buckets):
            if not points:
                points.append((bucket * self.width, 0, 0))
            more_settled, more_good = self._buckets[bucket]
            settled, good = settled + more_settled, good + more_good
            points.append(((bucket + 1) * self.width, settled, good))
        return points


_WAITS = (
    *((15, "15 s"), (30, "30 s"), (60, "1 min"), (120, "2 min"), (300, "5 min"), (600, "10 min")),
    *((1800, "30 min"), (3600, "1 h"), (10800, "3 h"), (21600, "6 h"), (43200, "12 h")),
    *((86400, "1 day"), (math.inf, "longer")),
)
"""The histogram's bars: what took up to so many seconds, and its label."""


@attrs.define
class Summary:
    """What the page shows of the rows; its size does not depend on how many there were."""

    states: Counter[ChallengeState] = attrs.field(factory=Counter)
    hosting: dict[int, Counter[str]] = attrs.field(factory=dict)
    """How many numbers of each batch were last seen in which state."""
    waits: list[int] = attrs.field(factory=lambda: [0] * len(_WAITS))
    """How many codes took how long, from the call to VERIFIED."""
    timeline: Timeline = attrs.field(factory=Timeline)
    advised: Counter[str] = attrs.field(factory=Counter)
    """How many numbers each advice is for."""
    people: dict[str, list[Entry]] = attrs.field(factory=dict)
    """The first of them."""

    @classmethod
    def of(cls, rows: Iterable[Entry]) -> Summary:
        """Return what *rows* come to, reading them once."""
        summary = cls()
        for entry in rows:
            summary.add(entry)
        return summary

    def add(self, entry: Entry) -> None:
        """Take one row in."""
        self.states[entry.state] += 1
        verified = entry.state is _S.VERIFIED
        if entry.settled_at is not None and entry.state is not _S.INVALID:
            self.timeline.add(entry.settled_at, verified=verified)
            if verified and entry.called_at is not None:
                took = entry.settled_at - entry.called_at
                self.waits[next(i for i, (most, _) in enumerate(_WAITS) if took <= most)] += 1
        if entry.batch is not None:
            self.hosting.setdefault(entry.batch, Counter())[_name(entry.remote) or "?"] += 1
        if advice := _advice(entry):
            if self.advised.total() < SHOWN_PEOPLE:
                self.people.setdefault(advice, []).append(entry)
            self.advised[advice] += 1


# ---- the page ----------------------------------------------------------------------------------

_MEANINGS = {
    _S.VERIFIED: ("done", "ownership is proved"),
    _S.SKIPPED: ("before", "was verified before this run"),
    _S.PENDING: ("open", "to be rung when its turn comes"),
    _S.CALLING: ("open", "is being called"),
    _S.AWAITING_CODE: ("open", "it rang; its code is awaited"),
    _S.VERIFYING: ("open", "its code is being checked"),
    _S.EXPIRED: ("ask", "no code came in time"),
    _S.UNKNOWN: ("ask", "the call's answer was lost"),
    _S.FAILED: ("bad", "cannot be rung, or its codes were wrong"),
    _S.BLOCKED: ("bad", "Sinch takes no more codes for it"),
    _S.INVALID: ("none", "not a number that can be qualified"),
}
"""Each state's colour and meaning, in the order in which the page shows them."""


def write_html(
    rows: Iterable[Entry],
    path: str | os.PathLike[str],
    *,
    batches: Sequence[Batch] = (),
    title: str = "Voice challenges",
    about: str | None = None,
    now: float | None = None,
) -> None:
    """Write one self-contained page: no script, no font, no image from anywhere.

    Counts, curves, text-enabling *batches*, and who has to do what next. *about* is a line under
    the title, such as the project; *now* the wall-clock time to be shown as its date.
    """
    summary = Summary.of(rows)
    template = resources.files("sinch_qn.bulk").joinpath("report.html").read_text("utf-8")
    page = Template(template).substitute(
        page_title=_escaped(title),
        title=_text(title),
        about=_text(about) + " · " if about else "",
        now=_moment(time.time() if now is None else now, "%d %B %Y, %H:%M UTC"),
        tiles=_tiles(summary, batches),
        outcomes=_outcomes(summary),
        curve=_curve(summary.timeline.curve()),
        waits=_waits(summary.waits),
        batches=_batches(batches, summary),
        people=_people(summary),
    )
    with _replacing(path) as file:
        file.write(page)


def _escaped(value: object) -> str:
    """Return *value* fit for HTML: what people and servers wrote is text and nothing else."""
    return escape(
        "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))
    )


def _text(value: object) -> str:
    """Return *value* fit for HTML, and without effect on the text around it."""
    return f"<bdi>{_escaped(value)}</bdi>"


def _cell(value: object, kind: str = "") -> str:
    kind = f' class="{kind}"' if kind else ""
    return f"<td{kind}>{'' if value is None else _text(value)}</td>"


def _moment(seconds: float, form: str) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime(form)


def _share(part: int, whole: int) -> str:
    """Return a percentage that says 0 or 100 only where that is so."""
    percent = 100 * part / whole if whole else 0.0
    if 0 < percent < 0.1:
        return "under 0.1 %"
    return "100 %" if part == whole else f"{math.floor(percent * 10) / 10:.1f} %"


def _tiles(summary: Summary, batches: Sequence[Batch]) -> str:
    states, whole = summary.states, summary.states.total()
    verified = states[_S.VERIFIED] + states[_S.SKIPPED]
    going_on = sum(states[state] for state in _S if not state.settled)
    alone = sum(what_to_do_about(batch) is not None for batch in batches)
    tiles = [
        ("", "Numbers", whole, f"{states[_S.INVALID]:,} of them invalid"),
        ("done", "Verified", verified, f"{_share(verified, whole)} of all"),
        ("open", "Going on", going_on, "nothing to be done yet" if going_on else "all settled"),
        (
            "ask" if summary.advised or alone else "none",
            "For a person",
            summary.advised.total(),
            f"and {alone:,} of the orders" if alone else "what to do is listed below",
        ),
    ]
    return "".join(
        f'<div class="tile {kind}"><h2>{name}</h2><p class="n">{n:,}</p><p>{more}</p></div>'
        for kind, name, n, more in tiles
    )


def _outcomes(summary: Summary) -> str:
    whole, most = summary.states.total(), max(summary.states.values(), default=1)
    rows, strip = [], []
    for state, (kind, meaning) in _MEANINGS.items():
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
        f"<table><tbody>{''.join(rows)}</tbody></table>"
    )


# ---- its drawings ------------------------------------------------------------------------------

_WIDE, _HIGH = 560, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 96, 14, 34

_TIME_STEPS = (
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200),
    *(86400 * days for days in (1, 2, 7, 14, 30, 60, 120, 240)),
)


def _svg(label: str, *parts: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDE} {_HIGH}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )


def _tick(x: float, y: float, text: str, anchor: str = "middle", kind: str = "tick") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def _scale(most: int) -> list[int]:
    """Return round numbers from 0 to *most* or a little above, three to six of them."""
    step = next(
        step
        for power in range(12)
        for step in (10**power, 2 * 10**power, 5 * 10**power)
        if step * 5 >= most
    )
    return list(range(0, most + step, step))


def _short(n: int) -> str:
    return f"{n / 1e6:g}M" if n >= 1e6 else f"{n / 1e3:g}k" if n >= 1e4 else f"{n:,}"


def _grid(scale: list[int], right: int) -> str:
    room = _HIGH - _TOP - _BOTTOM
    lines = []
    for n in scale:
        y = _HIGH - _BOTTOM - room * n / scale[-1]
        lines.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDE - right}" y1="{y}" y2="{y}"/>')
        lines.append(_tick(_LEFT - 8, y + 4, _short(n), "end"))
    return "".join(lines)


def _curve(points: list[tuple[float, int, int]]) -> str:
    """Draw how many were settled, and how many verified, by when."""
    if not points:
        return '<p class="muted">Nothing has settled yet.</p>'
    start, end = points[0][0], points[-1][0]
    scale = _scale(points[-1][1])
    wide, high = _WIDE - _LEFT - _RIGHT, _HIGH - _TOP - _BOTTOM

    def x(at: float) -> float:
        return _LEFT + wide * (at - start) / (end - start)

    def y(n: int) -> float:
        return _HIGH - _BOTTOM - high * n / scale[-1]

    def path(values: Iterable[tuple[float, int]]) -> str:
        return "L".join(f"{x(at):.1f} {y(n):.1f}" for at, n in values)

    settled = path((at, n) for at, n, _ in points)
    verified = path((at, n) for at, _, n in points)
    step = next((s for s in _TIME_STEPS if (end - start) / s <= 6), _TIME_STEPS[-1])
    form = "%H:%M:%S" if step < 60 else "%H:%M" if step < 43200 else "%d %b"
    ticks = [
        _tick(x(at), _HIGH - _BOTTOM + 18, _moment(at, form))
        for at in range(math.ceil(start / step) * step, math.floor(end) + 1, step)
    ]
    upper, lower = y(points[-1][1]), y(points[-1][2])
    lower = max(lower, upper + 32)  # the names stay apart
    if lower > _HIGH - _BOTTOM:
        upper, lower = upper - (lower - (_HIGH - _BOTTOM)), _HIGH - _BOTTOM
    names = [
        _tick(_WIDE - _RIGHT + 8, at + dy, text, "start", kind)
        for at, n, name, color in (
            (upper, points[-1][1], "settled", "grey"),
            (lower, points[-1][2], "verified", "green"),
        )
        for dy, text, kind in ((0, f"{n:,}", f"end {color}"), (13, name, "tick"))
    ]
    floor = _HIGH - _BOTTOM
    return _svg(
        f"{points[-1][1]:,} settled and {points[-1][2]:,} verified "
        f"between {_time(start)} and {_time(end)}",
        _grid(scale, _RIGHT),
        f'<path class="area" d="M{_LEFT} {floor}L{verified}L{x(end):.1f} {floor}Z"/>',
        f'<path class="line grey" d="M{settled}"/>',
        f'<path class="line green" d="M{verified}"/>',
        *ticks,
        *names,
    ) + (
        f'<p class="muted">From {_moment(start, "%d %B, %H:%M:%S")} to '
        f"{_moment(end, '%d %B, %H:%M:%S')} UTC.</p>"
    )


def _waits(waits: list[int]) -> str:
    """Draw how long codes took."""
    if not any(waits):
        return '<p class="muted">No number was verified by a code yet.</p>'
    used = [i for i, n in enumerate(waits) if n]
    shown = range(max(0, used[0] - 1), used[-1] + 1)
    scale = _scale(max(waits))
    wide, high = (_WIDE - _LEFT - 10) / len(shown), _HIGH - _TOP - _BOTTOM
    bars = []
    for place, i in enumerate(shown):
        left, tall = _LEFT + wide * place, high * waits[i] / scale[-1]
        top = _HIGH - _BOTTOM - tall
        thick = min(wide - 4, 64)
        at = left + (wide - thick) / 2
        bars.append(
            f'<rect class="wait" x="{at:.1f}" y="{top:.1f}" width="{thick:.1f}" '
            f'height="{tall:.1f}" rx="2"/>'
        )
        if waits[i]:
            bars.append(_tick(left + wide / 2, top - 5, _short(waits[i]), kind="end"))
        bars.append(_tick(left + wide / 2, _HIGH - _BOTTOM + 18, _WAITS[i][1]))
    said = (
        f"Half took {_at_most(waits, 0.5)}, nine of ten {_at_most(waits, 0.9)}. "
        "Each bar: longer than the one before it, up to its own time."
    )
    return _svg(said, _grid(scale, 10), *bars) + f'<p class="muted">{said}</p>'


def _at_most(waits: list[int], share: float) -> str:
    """Return what *share* of the codes took no longer than, in words."""
    counted = 0
    for n, (most, label) in zip(waits, _WAITS, strict=True):
        counted += n
        if counted >= share * sum(waits):
            return f"at most {label}" if most < math.inf else f"up to more than {_WAITS[-2][1]}"
    raise AssertionError


# ---- its lists ---------------------------------------------------------------------------------


def _batches(batches: Sequence[Batch], summary: Summary) -> str:
    shown = [batch for batch in batches if batch.state is not BatchState.NOT_SENT]
    if not shown:
        return ""
    shown.sort(key=lambda batch: what_to_do_about(batch) is None)
    rows = []
    for batch in shown[:_SHOWN_BATCHES]:
        kind = {BatchState.ORDERED: "done", BatchState.REJECTED: "bad"}.get(batch.state, "ask")
        seen = " · ".join(
            f"{n:,} {_escaped(name.replace('_', ' ').lower())}"
            for name, n in summary.hosting.get(batch.id, Counter()).most_common()
        )
        order = _text(batch.order_id) if batch.order_id else ""
        reason = "".join(f"<p>{_text(t)}</p>" for t in (batch.note, what_to_do_about(batch)) if t)
        rows.append(
            f'<tr><td class="num">{batch.id}</td>'
            f"<td>{'toll-free' if batch.toll_free else _text(batch.region)}</td>"
            f'<td class="num">{len(batch.numbers):,}</td>'
            f'<td><b class="chip {kind}">{batch.state.value}</b></td>'
            f'<td class="nowrap">{_moment(batch.at, "%d %b, %H:%M")}</td>'
            f'<td>{seen}</td><td><p class="code">{order}</p>{reason}</td></tr>'
        )
    more = len(shown) - _SHOWN_BATCHES
    left_out = f'<p class="muted">{more:,} more batches are not shown.</p>' if more > 0 else ""
    return (
        '<section class="long"><h2>Text-enabling</h2>'
        '<div class="wide"><table class="list"><thead><tr>'
        '<th class="num">Batch</th><th>Region</th><th class="num">Numbers</th><th>State</th>'
        "<th>Sent (UTC)</th><th>Seen at Sinch</th><th>Order, or why not and what to do</th>"
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>{left_out}</section>"
    )


def _people(summary: Summary) -> str:
    if not summary.advised:
        return '<p class="muted">Nothing: every number is done, or goes on by itself.</p>'
    parts = []
    if (left_out := summary.advised.total() - SHOWN_PEOPLE) > 0:
        parts.append(
            f'<p class="notice">The first {SHOWN_PEOPLE:,} numbers are listed; {left_out:,} more '
            "are not. The CSV report has all.</p>"
        )
    for advice, n in summary.advised.most_common():
        heading = _text(advice.format(where="the line shown"))
        rows = [_person(entry) for entry in summary.people.get(advice, ())]
        parts.append(f'<h3>{heading} <span class="count">{n:,}</span></h3>')
        if rows:
            parts.append(
                '<div class="wide"><table class="list"><thead><tr><th>Number</th><th>Ref</th>'
                '<th class="num">Line</th><th>State</th><th>Why</th></tr></thead>'
                f"<tbody>{''.join(rows)}</tbody></table></div>"
            )
    return "".join(parts)


def _person(entry: Entry) -> str:
    kind, _ = _MEANINGS[entry.state]
    if entry.state in (_S.VERIFIED, _S.SKIPPED):
        kind = "ask"
    return (
        f"<tr>{_cell(entry.number, 'code')}{_cell(entry.ref)}{_cell(entry.line, 'num')}"
        f'<td><b class="chip {kind}">{entry.state.value.replace("_", " ")}</b></td>'
        f"{_cell(entry.note)}</tr>"
    )
