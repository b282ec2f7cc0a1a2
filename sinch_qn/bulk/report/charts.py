"""Charts as inline SVG; report.html defines their colours."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from html import escape

from sinch_qn.bulk.report.summary import WAITS

_WIDTH, _HEIGHT = 560, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 96, 14, 34
_FLOOR = _HEIGHT - _BOTTOM
"""The y of zero; y grows downwards."""

_TIME_STEPS = (
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200),
    *(86400 * days for days in (1, 2, 7, 14, 30, 60, 120, 240)),
)

_utc = partial(datetime.fromtimestamp, tz=UTC)


def timeline_chart(points: Sequence[tuple[float, int, int]]) -> str:
    """Draw the numbers settled and the numbers verified over time."""
    if not points:
        return '<p class="muted">No number has settled yet.</p>'
    start, (end, settled, verified) = points[0][0], points[-1]
    scale = _scale(settled)

    def path(values: Iterable[tuple[float, int]]) -> str:
        return "L".join(f"{_x(at, start, end):.1f} {_y(n, scale):.1f}" for at, n in values)

    settled_path = path((at, n) for at, n, _ in points)
    verified_path = path((at, n) for at, _, n in points)
    period = f"From {_utc(start):%d %B, %H:%M:%S} to {_utc(end):%d %B, %H:%M:%S} UTC."
    return _figure(
        f"{settled:,} settled and {verified:,} verified. {period}",
        period,
        _grid(scale, _RIGHT),
        f'<path class="area" d="M{_LEFT} {_FLOOR}L{verified_path}L{_WIDTH - _RIGHT} {_FLOOR}Z"/>',
        f'<path class="line grey" d="M{settled_path}"/>',
        f'<path class="line green" d="M{verified_path}"/>',
        _time_axis(start, end),
        _end_labels(settled, verified, scale),
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
    step = next((s for s in _TIME_STEPS if (end - start) / s <= 6), _TIME_STEPS[-1])
    form = "%H:%M:%S" if step < 60 else "%H:%M" if step < 43200 else "%d %b"
    return "".join(
        _label(_x(at, start, end), _FLOOR + 18, f"{_utc(at):{form}}")
        for at in range(math.ceil(start / step) * step, math.floor(end) + 1, step)
    )


def _end_labels(settled: int, verified: int, scale: list[int]) -> str:
    """Label the end of each line with its last value and name, without overlap."""
    upper = _y(settled, scale)
    lower = max(_y(verified, scale), upper + 32)
    if lower > _FLOOR:
        upper, lower = upper - (lower - _FLOOR), _FLOOR
    return "".join(
        _label(_WIDTH - _RIGHT + 8, y + dy, text, "start", kind)
        for y, n, name, color in (
            (upper, settled, "settled", "grey"),
            (lower, verified, "verified", "green"),
        )
        for dy, text, kind in ((0, f"{n:,}", f"end {color}"), (13, name, "tick"))
    )


def wait_chart(waits: list[int]) -> str:
    """Draw a histogram of the time from call to verification, in the buckets of `WAITS`."""
    if not any(waits):
        return '<p class="muted">No code has been verified yet.</p>'
    used = [i for i, n in enumerate(waits) if n]
    shown = range(max(0, used[0] - 1), used[-1] + 1)
    scale = _scale(max(waits))
    room = (_WIDTH - _LEFT - 10) / len(shown)
    width = min(room - 4, 64)
    bars = []
    for place, i in enumerate(shown):
        middle, top = _LEFT + room * (place + 0.5), _y(waits[i], scale)
        bars.append(
            f'<rect class="wait" x="{middle - width / 2:.1f}" y="{top:.1f}" width="{width:.1f}" '
            f'height="{_FLOOR - top:.1f}" rx="2"/>'
        )
        if waits[i]:
            bars.append(_label(middle, top - 5, _short(waits[i]), kind="end"))
        bars.append(_label(middle, _FLOOR + 18, WAITS[i][1]))
    caption = (
        f"Half took {_at_most(waits, 0.5)}, 90 % {_at_most(waits, 0.9)}. "
        "Each bar covers the times above the previous bar's, up to its own."
    )
    return _figure(caption, caption, _grid(scale, 10), *bars)


def _at_most(waits: list[int], share: float) -> str:
    """Return in words the time within which *share* of the codes were verified."""
    counted = 0
    for n, (most, label) in zip(waits, WAITS, strict=True):
        counted += n
        if counted >= share * sum(waits):
            return f"at most {label}" if most < math.inf else f"up to more than {WAITS[-2][1]}"
    raise AssertionError


def _figure(label: str, caption: str, *parts: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">'
        f'{"".join(parts)}</svg><p class="muted">{caption}</p>'
    )


def _label(x: float, y: float, text: str, anchor: str = "middle", kind: str = "tick") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def _short(n: int) -> str:
    return f"{n / 1e6:g}M" if n >= 1e6 else f"{n / 1e3:g}k" if n >= 1e4 else f"{n:,}"


def _grid(scale: list[int], right: int) -> str:
    lines = []
    for n in scale:
        y = _y(n, scale)
        lines.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - right}" y1="{y}" y2="{y}"/>')
        lines.append(_label(_LEFT - 8, y + 4, _short(n), "end"))
    return "".join(lines)
