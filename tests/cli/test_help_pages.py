"""Man pages and shell completion come from the commands, and work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from codegen.man_pages import main, man_pages
from sinch_qn.cli.app import COMMANDS

SHELLS = {
    "bash": 'eval "$({variable}=bash_source {command})"; complete -p sinch-qn',
    "zsh": "autoload -U compinit; compinit -D; "
    'eval "$({variable}=zsh_source {command})"; print $_comps[sinch-qn]',
    "fish": "{variable}=fish_source {command} | source; complete sinch-qn",
}
"""What makes each shell complete `sinch-qn`, and shows that it does."""


def test_every_command_has_a_man_page(tmp_path: Path) -> None:
    """Each command has a page with its options, examples and exit codes, as its `--help`."""
    assert main(tmp_path) == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == man_pages()
    pages = man_pages()
    assert {f"sinch-qn-{name}.1" for name in COMMANDS} < set(pages)
    run = pages["sinch-qn-run.1"]
    assert "\\fB\\-\\-max\\-ringing" in run
    assert "sinch\\-qn run numbers.csv" in run.partition(".SH EXAMPLES")[2]
    assert "outcome unknown" in run.partition(".SH EXIT STATUS")[2]
    assert "sinch-qn-orders-follow.1" in pages
    assert ".SS Bulk runs" in pages["sinch-qn.1"]
    assert all(page.isascii() for page in pages.values()), "every man reads it, in every locale"


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_man_pages_are_valid(tmp_path: Path) -> None:
    """Groff reads every page without a warning."""
    main(tmp_path)
    command = ("groff", "-man", "-ww", "-Tutf8", *sorted(map(str, tmp_path.iterdir())))
    read = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    assert read.stderr == ""


@pytest.mark.parametrize("shell", SHELLS)
def test_shells_complete_commands(shell: str) -> None:
    """The line of the docs makes a shell complete `sinch-qn`; it offers commands and options."""
    command = f"{sys.executable} -m sinch_qn.cli"
    variable = "_SINCH_QN_COMPLETE"
    offered = completions(shell, "sinch-qn re", command)
    assert {"recall", "report"} <= offered
    assert "--journal" in completions(shell, "sinch-qn run --jo", command)
    if shutil.which(shell):
        script = SHELLS[shell].format(variable=variable, command=command)
        done = subprocess.run(  # noqa: S603
            (str(shutil.which(shell)), "-c", script), capture_output=True, text=True, check=True
        )
        assert "sinch_qn" in done.stdout


def completions(shell: str, line: str, command: str) -> set[str]:
    """Return what click offers *shell* after *line* was typed."""
    words = line.split()
    asked = {
        "_SINCH_QN_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": words[-1] if shell == "fish" else str(len(words) - 1),
    }
    done = subprocess.run(  # noqa: S603
        command.split(), env={**os.environ, **asked}, capture_output=True, text=True, check=True
    )
    return {word for answer in done.stdout.split() for word in answer.split(",")}
