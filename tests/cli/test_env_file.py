"""Laws of `--env-file`: the environment wins, values are literal, errors show no secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sinch_qn.cli.app import cli
from sinch_qn.cli.exit_codes import Exit
from sinch_qn.sandbox import Sandbox
from tests.support.cli_process import WITHOUT_WAITS, running

NAMES = (
    *("SINCH_PROJECT_ID", "SINCH_KEY_ID", "SINCH_KEY_SECRET"),
    *("SINCH_AUTH", "SINCH_BASE_URL", "SINCH_TOKEN_URL"),
)


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a directory of the test's own; what is set meanwhile is unset afterwards."""
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def qn(*arguments: str) -> Result:
    """Run a command with `--env-file .env`."""
    return CliRunner().invoke(cli, ["--env-file", ".env", *arguments], obj=WITHOUT_WAITS)


def test_credentials_come_from_the_file() -> None:
    """A command works with nothing but the file; without it, it names what is missing."""
    with running(Sandbox()) as sandbox:
        sandbox.add(["+12025550134"])
        lines = [f'export {name}="{value}"' for name, value in sandbox.environment().items()]
        Path(".env").write_text("# credentials\n\n" + "\n".join(lines), encoding="utf-8-sig")
        without = CliRunner().invoke(cli, ["list"], obj=WITHOUT_WAITS)
        result = qn("list")
    assert (without.exit_code, "SINCH_PROJECT_ID" in without.stderr) == (Exit.USAGE, True)
    assert (result.exit_code, "+12025550134" in result.stdout) == (Exit.OK, True)


def test_the_environment_wins_and_values_are_literal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is set stays; a dollar in a secret is a dollar."""
    monkeypatch.setenv("SINCH_KEY_ID", "mine")
    Path(".env").write_text("SINCH_KEY_ID=other\nSINCH_KEY_SECRET=a$b${SINCH_KEY_ID}\n")
    Path("numbers.csv").write_text("+12025550134\n")
    assert qn("check", "numbers.csv").exit_code == Exit.OK
    assert os.environ["SINCH_KEY_ID"] == "mine"
    assert os.environ["SINCH_KEY_SECRET"] == "a$b${SINCH_KEY_ID}"


@pytest.mark.parametrize("line", ["canary", "canary value", "=canary", "'canary=1"])
def test_a_bad_line_is_named_but_not_shown(line: str) -> None:
    """A line that is no NAME=value ends the command, which shows its number only."""
    Path(".env").write_text(f"SINCH_PROJECT_ID=p\n{line}\n")
    result = qn("list")
    assert result.exit_code == Exit.USAGE
    assert ".env:2: expected NAME=value." in result.stderr
    assert "canary" not in result.output


def test_a_missing_or_binary_file_is_an_error() -> None:
    """A file that is not there, or is not text, ends the command."""
    assert qn("list").exit_code == Exit.USAGE
    Path(".env").write_bytes(b"A=\xff\xfe")
    result = qn("list")
    assert (result.exit_code, ".env is not UTF-8 text." in result.stderr) == (Exit.USAGE, True)
