"""Every command of a `console` block exists, with the options, targets and extras that it names."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from sinch_qn.cli.app import cli
from tests.docs.test_links import ROOT, pages

_BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
_EXTRAS = re.compile(r"'(?:\.|sinch-qn)\[([\w,-]+)\]'")
_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def commands(text: str) -> list[str]:
    """Return the commands of the `console` blocks of a Markdown *text*."""
    shown = "\n".join(_BLOCK.findall(text)).replace("\\\n", " ")
    return re.findall(r"^\$ (.*)", shown, re.MULTILINE)


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
