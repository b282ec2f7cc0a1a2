"""A terminal recording as one animated SVG: no script, light and dark, readable on GitHub.

The frames stand below each other like a film, which steps past a window by a CSS animation. A
line that several frames show is in the file once.
"""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

import attrs
import pyte

_CHAR_WIDTH: Final = 8.4
_LINE_HEIGHT: Final = 18
_MARGIN: Final = 16
_MAX_PAUSE: Final = 1.0
"""Seconds that a pause of the program lasts in the film, at most."""
_MIN_PAUSE: Final = 0.15
"""Seconds between two frames, at least: what is drawn in between is skipped."""
_LAST_FRAME: Final = 6.0
"""Seconds that the last frame stays before the film starts again."""

_COLOURS: Final = {
    "red": ("#b42318", "#ff7b72"),
    "green": ("#1a7f37", "#56d364"),
    "brown": ("#8a5a00", "#e3b341"),
    "blue": ("#0550ae", "#79c0ff"),
    "magenta": ("#8250df", "#d2a8ff"),
    "cyan": ("#0f6f7c", "#56d4dd"),
    "brightblack": ("#57606a", "#8b949e"),
}
"""The colours that pyte names, on light and on dark."""

Line = tuple[tuple[str, str, bool, int], ...]
"""The runs of a line: text, colour, bold, column."""


@attrs.frozen
class Frame:
    """The terminal's lines, and the seconds that they are shown."""

    lines: tuple[Line, ...]
    seconds: float


def record(
    command: list[str], *, columns: int, rows: int, folder: Path
) -> list[tuple[float, bytes]]:
    """Run *command* in a terminal and return what it wrote, with the seconds since its start."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.environ.update(TERM="xterm-256color", COLUMNS=str(columns), LINES=str(rows))
        os.execvp(command[0], command)  # noqa: S606 - our own command
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    start = time.monotonic()
    written = []
    while data := _read(terminal):
        written.append((time.monotonic() - start, data))
    _, status = os.waitpid(child, 0)
    if status:
        raise RuntimeError(f"{command} failed: {b''.join(data for _, data in written)!r}")
    return written


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux reports the end of a terminal as EIO
        return b""


def frames(
    written: Sequence[tuple[float, bytes]], *, columns: int, rows: int, prompt: str = ""
) -> list[Frame]:
    """Return what the terminal showed; *prompt* is the line that was typed before."""
    screen = pyte.Screen(columns, rows)
    stream = pyte.ByteStream(screen)
    stream.feed(f"{prompt}\r\n".encode() if prompt else b"")
    shown = [(0.0, _lines(screen))]
    for at, data in written:
        stream.feed(data)
        lines = _lines(screen)
        if at - shown[-1][0] < _MIN_PAUSE and len(shown) > 1:
            shown[-1] = (shown[-1][0], lines)
        elif lines != shown[-1][1]:
            shown.append((at, lines))
    ends = [*(at for at, _ in shown[1:]), shown[-1][0] + _LAST_FRAME]
    pauses = [min(end - at, _MAX_PAUSE) for end, (at, _) in zip(ends, shown, strict=True)]
    pauses[-1] = _LAST_FRAME
    return [Frame(lines, pause) for pause, (_, lines) in zip(pauses, shown, strict=True)]


def _lines(screen: pyte.Screen) -> tuple[Line, ...]:
    return tuple(tuple(_runs(screen, row)) for row in range(screen.lines))


def _runs(screen: pyte.Screen, row: int) -> Iterator[tuple[str, str, bool, int]]:
    cells = [screen.buffer[row][column] for column in range(screen.columns)]
    column = 0
    for (colour, bold), run in groupby(cells, lambda cell: (cell.fg, cell.bold)):
        text = "".join(cell.data for cell in run)
        left = len(text) - len(text.lstrip())
        if text.strip():
            yield text.strip(), colour, bold, column + left
        column += len(text)


def svg(film: Sequence[Frame], *, columns: int, title: str) -> str:
    """Return the SVG of *film*."""
    rows = len(film[0].lines)
    width, height = round(columns * _CHAR_WIDTH) + 2 * _MARGIN, rows * _LINE_HEIGHT + 2 * _MARGIN
    step = rows * _LINE_HEIGHT
    names: dict[Line, str] = {}
    pictures = []
    for number, frame in enumerate(film):
        for row, line in enumerate(frame.lines):
            if line:
                name = names.setdefault(line, f"l{len(names)}")
                pictures.append(f'<use href="#{name}" y="{number * step + row * _LINE_HEIGHT}"/>')
    defined = "\n".join(f'<g id="{name}">{_texts(line)}</g>' for line, name in names.items())
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" \
height="{height}" role="img" aria-label="{escape(title)}">
<title>{escape(title)}</title>
<style>
{_style(film, step)}
</style>
<defs>
{defined}
</defs>
<rect class="back" width="{width}" height="{height}" rx="8"/>
<svg x="{_MARGIN}" y="{_MARGIN}" width="{width - 2 * _MARGIN}" height="{step}">
<g class="film">
{"".join(pictures)}
</g>
</svg>
</svg>
"""


def _texts(line: Line) -> str:
    texts = []
    for text, colour, bold, column in line:
        names = [colour] if colour in _COLOURS else []
        names += ["bold"] if bold else []
        kind = f' class="{" ".join(names)}"' if names else ""
        place = f'x="{column * _CHAR_WIDTH:.1f}" y="13" textLength="{len(text) * _CHAR_WIDTH:.1f}"'
        texts.append(f"<text {place}{kind}>{escape(text)}</text>")
    return "".join(texts)


def _style(film: Sequence[Frame], step: int) -> str:
    total = sum(frame.seconds for frame in film)
    at, keys = 0.0, []
    for number, frame in enumerate(film):
        keys.append(f"{at / total:.3%}{{transform:translateY({-number * step}px)}}")
        at += frame.seconds
    last = f"transform:translateY({-(len(film) - 1) * step}px)"
    light = "".join(f".{name}{{fill:{day}}}" for name, (day, _) in _COLOURS.items())
    dark = "".join(f".{name}{{fill:{night}}}" for name, (_, night) in _COLOURS.items())
    return f"""\
text{{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;\
fill:#1f2328;white-space:pre}}
.back{{fill:#f6f8fa;stroke:#d0d7de}}.bold{{font-weight:700}}{light}
.film{{{last};animation:film {total:.1f}s step-end infinite}}
@keyframes film{{{"".join(keys)}}}
@media (prefers-color-scheme:dark){{text{{fill:#e6edf3}}.back{{fill:#0d1117;stroke:#30363d}}{dark}}}
@media (prefers-reduced-motion:reduce){{.film{{animation:none}}}}"""
