"""Charts as inline SVG; report.html defines their colours."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from html import escape

from sinch_qn.bulk.report.summary import WAITS

_WIDTH, _HEIGHT = 560, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 46, 14, 34
_FLOOR = _HEIGHT - _BOTTOM
"""The y of zero; y grows downwards."""

_TIME_STEPS = (
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200),
    *(86400 * days for days in (1, 2, 7, 14, 30, 60, 120, 240)),
)

_utc = partial(datetime.fromtimestamp, tz=UTC)


def timeline_chart(points: Sequence[tuple[float, int, int]]) -> str:
    """Draw the numbers settled and the numbers verified over time.

    Numbers that settled in the same moment have no curve.
    """
    if not points:
        return '<p class="muted">No number has settled yet.</p>'
    start, (end, settled, verified) = points[0][0], points[-1]
    if len(points) == 2:
        at = f"{_utc(start):%d %B, %H:%M:%S} UTC"
        return f"<p>{settled:,} settled and {verified:,} verified, all on {at}.</p>"
    scale = _scale(settled)

    def path(values: Iterable[tuple[float, int]]) -> str:
        return "L".join(f"{_x(at, start, end):.1f} {_y(n, scale):.1f}" for at, n in values)

    settled_path = path((at, n) for at, n, _ in points)
    verified_path = path((at, n) for at, _, n in points)
    period = f"From {_utc(start):%d %B, %H:%M:%S} to {_utc(end):%d %B, %H:%M:%S} UTC."
    return _figure(
        f"{settled:,} settled and {verified:,} verified. {period}",
        period,
        _grid(scale),
        f'<path class="area" d="M{_LEFT} {_FLOOR}L{verified_path}L{_WIDTH - _RIGHT} {_FLOOR}Z"/>',
        f'<path class="line grey" d="M{settled_path}"/>',
        f'<path class="line green" d="M{verified_path}"/>',
        _time_axis(start, end),
        legend=(
            f'<span class="key grey">{settled:,} settled</span>'
            f'<span class="key green">{verified:,} verified</span>'
        ),
    )


def _x(at: float, start: float, end: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (at - start) / (end - start)


def _y(n: int, scale: list[int]) -> float:
    return _FLOOR - (_FLOOR - _TOP) * n / scale[-1]


def _scale(most: int) -> list[int]:
    """Return two to six round numbers from 0 to *most* or a little above."""
    step = next(
        step
        for power in range(12)
        for step in (10**power, 2 * 10**power, 5 * 10**power)
        if step * 5 >= most
    )
    return list(range(0, most + step, step))


def _time_axis(start: float, end: float) -> str:
    step = next((s for s in _TIME_STEPS if (end - start) / s <= 4), _TIME_STEPS[-1])
    form = "%H:%M:%S" if step < 60 else "%H:%M" if step < 43200 else "%d %b"
    return "".join(
        _label(_x(at, start, end), _FLOOR + 18, f"{_utc(at):{form}}")
        for at in range(math.ceil(start / step) * step, math.floor(end) + 1, step)
    )


def wait_chart(waits: list[int], shortest: float, longest: float) -> str:
    """Draw how long codes took from call to verification, in the buckets of `WAITS`.

    *shortest* and *longest* are in seconds. A single code, or equal ones, have no distribution.
    """
    total = sum(waits)
    if not total:
        return '<p class="muted">No code has been verified yet.</p>'
    if total == 1:
        return f"<p>One code was verified, {_duration(longest)} after its call.</p>"
    if _duration(shortest) == _duration(longest):
        return f"<p>{total:,} codes were verified, each {_duration(longest)} after its call.</p>"
    used, most = [i for i, n in enumerate(waits) if n], max(waits)
    rows = "".join(
        f'<tr><th scope="row">{_range(i)}</th>'
        f'<td class="bar"><i class="open" style="width:{100 * waits[i] / most:.2f}%"></i></td>'
        f'<td class="num">{waits[i]:,}</td></tr>'
        for i in range(used[0], used[-1] + 1)
    )
    caption = (
        f"From {_duration(shortest)} to {_duration(longest)}; "
        f"half took {_at_most(waits, 0.5)}, 90\N{NO-BREAK SPACE}% {_at_most(waits, 0.9)}."
    )
    return f'<table class="bars"><tbody>{rows}</tbody></table><p class="muted">{caption}</p>'


def _range(bucket: int) -> str:
    """Return the times of a bucket, such as `30 s to 1 min`."""
    if bucket == 0:
        return f"up to {WAITS[0][1]}"
    (_, above), (most, label) = WAITS[bucket - 1 : bucket + 1]
    return f"{above} {'or' if most == math.inf else 'to'} {label}"


def _duration(seconds: float) -> str:
    """Return a duration in its largest unit, such as `25 s` or `3.5 h`."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _at_most(waits: list[int], share: float) -> str:
    """Return in words the time within which *share* of the codes were verified."""
    counted = 0
    for n, (most, label) in zip(waits, WAITS, strict=True):
        counted += n
        if counted >= share * sum(waits):
            return f"at most {label}" if most < math.inf else f"up to more than {WAITS[-2][1]}"
    raise AssertionError


def _figure(label: str, caption: str, *parts: str, legend: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">'
        f'{"".join(parts)}</svg><p>{legend}</p><p class="muted">{caption}</p>'
    )


def _label(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def _short(n: int) -> str:
    return f"{n / 1e6:g}M" if n >= 1e6 else f"{n / 1e3:g}k" if n >= 1e4 else f"{n:,}"


def _grid(scale: list[int]) -> str:
    lines = []
    for n in scale:
        y = _y(n, scale)
        lines.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        lines.append(_label(_LEFT - 8, y + 4, _short(n), "end"))
    return "".join(lines)
