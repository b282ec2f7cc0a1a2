"""Recordings of a terminal are small, animated without scripts, and light and dark."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from codegen.terminal_svg import Frame, frames, record, svg

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
PROGRAM = r"""
print("\033[1;32mgreen & bold\033[0m plain <text>")
input()
print("\033[2J\033[Hafter")
"""


def test_a_recording_shows_what_the_terminal_showed(tmp_path: Path) -> None:
    """Frames have text, colours and the prompt; cleared lines are gone from the next frame."""
    quick = "import builtins; builtins.input = lambda: None\n"
    command = [sys.executable, "-c", quick + PROGRAM]
    written = record(command, columns=40, rows=5, folder=tmp_path)
    shown = b"".join(data for _, data in written).decode()
    first, last = shown.split("\033[2J")
    slow = [(0.0, first.encode()), (60.0, b"\033[2J" + last.encode())]
    film = frames(slow, columns=40, rows=5, prompt="$ make it")
    assert [run for line in film[1].lines for run in line] == [
        ("$ make it", "default", False, 0),
        ("green & bold", "green", True, 0),
        ("plain <text>", "default", False, 13),
    ]
    assert [run[0] for line in film[-1].lines for run in line] == ["after"]
    assert all(frame.seconds <= 6 for frame in film), "pauses are cut"
    with pytest.raises(RuntimeError, match="failed"):
        record([sys.executable, "-c", "raise SystemExit(3)"], columns=9, rows=9, folder=tmp_path)


def test_a_line_is_in_the_file_once() -> None:
    """A line that many frames show is defined once, and each frame has its time in the film."""
    line = (("same", "red", False, 0),)
    film = [Frame((line, ()), 1.0), Frame((line, line), 3.0)]
    picture = svg(film, columns=10, title="a & b")
    assert picture.count(">same</text>") == 1
    assert picture.count("<use ") == 3
    assert "0.000%{transform:translateY(0px)}25.000%{transform:translateY(-36px)}" in picture
    check(picture)


def check(picture: str) -> None:
    """Fail unless *picture* is safe in an image tag, moves, and suits light and dark pages."""
    ET.fromstring(picture)  # noqa: S314 - our own file
    assert not re.search(r"<script|<foreignObject|javascript:|@import|url\(", picture)
    assert set(re.findall(r'href="(.)', picture)) <= {"#"}
    for query in ("prefers-color-scheme:dark", "prefers-reduced-motion:reduce", "@keyframes"):
        assert query in picture


def test_the_demo_is_shown_as_it_runs() -> None:
    """The picture in README is small, names no folder of a machine, and shows the whole job."""
    picture = PICTURES.joinpath("demo.svg").read_text(encoding="utf-8")
    check(picture)
    assert len(picture.encode()) < 300_000
    assert not re.search(r"/tmp/|/root|/home/", picture)  # noqa: S108 - looked for, not used
    for words in ("$ make demo", "kill -9", "verified", "HTML report"):
        assert words in picture
