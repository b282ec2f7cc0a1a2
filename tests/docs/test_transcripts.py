"""The commands that the docs show exist, with their options and extras, and print what is shown."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from codegen.__main__ import transcript_pages
from codegen.scenes import SCENES
from codegen.transcripts import MARKED
from sinch_qn.cli.app import cli
from tests.docs.test_links import ROOT, pages

_BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FENCED = re.compile(r"^ *```([^\n]*)\n(.*?)^ *```[ \t]*$", re.MULTILINE | re.DOTALL)
_EXTRAS = re.compile(r"'(?:\.|sinch-qn)\[([\w,-]+)\]'")
_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def commands(text: str) -> list[str]:
    """Return the commands of the `console` blocks of a Markdown *text*."""
    shown = "\n".join(_BLOCK.findall(text)).replace("\\\n", " ")
    return re.findall(r"^\$ (.*)", shown, re.MULTILINE)


def hand_written(text: str) -> list[str]:
    """Return the blocks of commands of a Markdown *text* that show output, and are not marked."""
    found = []
    for info, block in _FENCED.findall(MARKED.sub("", text)):
        lines = [line.strip() for line in block.replace("\\\n", " ").splitlines() if line.strip()]
        are_commands = [line.startswith("$ ") for line in lines]
        if not all(are_commands) and (info == "console" or any(are_commands)):
            found.append(block)
    return found


def check(line: str) -> None:
    """Raise if a command is not one, or takes no such option."""
    words = shlex.split(line, comments=True)
    if words[0] == "sinch-qn":
        _parse(cli, words[1:], None)
    elif words[0] == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), words
    elif words[0] == "python":
        assert (ROOT / words[1]).is_file(), words


def _parse(command: click.Command, words: list[str], above: click.Context | None) -> None:
    context = click.Context(command, above)
    _, rest, _ = command.make_parser(context).parse_args(words)
    if isinstance(command, click.Group) and rest:
        below = command.get_command(context, rest[0])
        assert below is not None, f"there is no command {rest[0]}"
        _parse(below, rest[1:], context)
    else:
        assert not rest, f"{command.name} takes no {rest}"


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_shown_commands_exist(page: Path) -> None:
    """The commands, options, targets, programs and extras that a page shows exist."""
    text = page.read_text(encoding="utf-8")
    for line in commands(text):
        check(line)
    named = {extra for names in _EXTRAS.findall(text) for extra in names.split(",")}
    assert named <= {*_PROJECT["optional-dependencies"]}


@pytest.mark.parametrize(
    "line",
    ["sinch-qn runn x.csv", "sinch-qn run --jurnal x", "sinch-qn status a b", "make tset"],
)
def test_misspelt_commands_are_found(line: str) -> None:
    """A wrong command, option, number of arguments or target fails."""
    with pytest.raises((AssertionError, click.UsageError)):
        check(line)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_shown_output_is_generated(page: Path) -> None:
    """A block of commands shows their output only if it is marked, so that it is run."""
    assert hand_written(page.read_text(encoding="utf-8")) == []


def test_hand_written_output_is_found() -> None:
    """Output without a mark is found, in any block; commands alone and continued ones are not."""
    block = "```{}\n$ sinch-qn status \\\n    run.db\n{}```\n"
    assert hand_written(block.format("console", "")) == []
    assert hand_written(block.format("console", "$ make test\n")) == []
    for info in ("console", "text", ""):
        assert len(hand_written(block.format(info, "verified 1\n"))) == 1
    marked = "<!-- transcript: status -->\n" + block.format("console", "verified 1\n")
    assert hand_written(marked) == []


@pytest.mark.slow
def test_marked_output_is_what_the_commands_print() -> None:
    """Each marked block is, byte for byte, what its commands print; each scene is used."""
    current = transcript_pages(ROOT)
    assert [path for path, text in current.items() if (ROOT / path).read_bytes() != text] == []
    used = {mark["scene"] for text in current.values() for mark in MARKED.finditer(text.decode())}
    assert used == {*SCENES}
