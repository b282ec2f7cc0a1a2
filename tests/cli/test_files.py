"""Laws of the files that a command reads and writes: none is another's."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sinch_qn.cli.app import cli
from sinch_qn.cli.exit_codes import Exit
from sinch_qn.models import GlobalProcessState
from sinch_qn.sandbox import Sandbox
from tests.support.cli_process import WITHOUT_WAITS, running
from tests.support.loa import DIRECT_JSON

NUMBER = "+12025550100"
RUN = ("run", "numbers.csv", "--journal", "run.db", "--yes")
ORDER = ("--text-enable", "--service-plan-id", "p", "--loa", "loa.json")


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Run a sandbox with a verified number; work in a directory of the test's own."""
    monkeypatch.chdir(tmp_path)
    Path("numbers.csv").write_text(f"phone\n{NUMBER}\n")
    Path("loa.json").write_text("{}")
    Path("codes.csv").write_text("number,code\n")
    for name in ("numbers.csv", "loa.json", "codes.csv"):
        Path(f"link of {name}").symlink_to(name)
        os.link(name, f"other {name}")
    Path("link of run.db").symlink_to("run.db")
    with running(Sandbox()) as sandbox:
        sandbox.add([NUMBER], GlobalProcessState.VERIFIED)
        for name, value in sandbox.environment().items():
            monkeypatch.setenv(name, value)
        yield sandbox


@pytest.fixture
def qn(sandbox: Sandbox) -> Callable[..., Result]:
    """Run a command here."""
    return lambda *arguments: CliRunner().invoke(cli, arguments, obj=WITHOUT_WAITS)


@pytest.mark.parametrize("option", ["--csv", "--report"])
@pytest.mark.parametrize(
    "name",
    [
        *("numbers.csv", "link of numbers.csv", "other numbers.csv", "./numbers.csv"),
        *("codes.csv", "link of codes.csv", "other codes.csv"),
        *("run.db", "link of run.db", "run.db-wal", "run.db-shm", "run.db.lock"),
    ],
)
def test_an_output_is_no_other_file(
    sandbox: Sandbox, qn: Callable[..., Result], option: str, name: str
) -> None:
    """An output over an input or the journal is refused before anything happens."""
    before = {path: path.read_bytes() for path in Path().iterdir() if path.exists()}
    result = qn(*RUN, "--codes", "codes.csv", option, name)
    assert result.exit_code == Exit.USAGE
    assert "are the same file" in result.stderr
    assert {path: path.read_bytes() for path in Path().iterdir() if path.exists()} == before
    assert not any(sandbox.calls.totals().values())


@pytest.mark.parametrize(
    "options",
    [
        ("--csv", "out", "--report", "./out"),
        ("--journal", "link of numbers.csv"),
        ("--journal", "codes.csv"),
    ],
)
def test_outputs_differ_from_each_other(qn: Callable[..., Result], options: tuple[str]) -> None:
    """Two outputs in one file, or a journal over an input, are refused."""
    result = qn(*RUN, "--codes", "codes.csv", *options)
    assert result.exit_code == Exit.USAGE
    assert "are the same file" in result.stderr


def test_an_output_is_not_the_loa(qn: Callable[..., Result]) -> None:
    """The Letter of Authorization is an input like the others."""
    Path("loa.json").write_text(json.dumps({"directLoaInfo": DIRECT_JSON}))
    result = qn(*RUN, *ORDER, "--csv", "other loa.json")
    assert result.exit_code == Exit.USAGE
    assert "--loa and --csv are the same file" in result.stderr


def test_a_report_is_no_journal(qn: Callable[..., Result]) -> None:
    """`report` does not write over its journal, and the journal is whole afterwards."""
    assert qn(*RUN).exit_code == 0
    assert qn("report", "run.db", "--csv", "link of run.db").exit_code == Exit.USAGE
    assert qn("report", "run.db", "--html", "x", "--csv", "x").exit_code == Exit.USAGE
    assert qn("status", "run.db").exit_code == 0


def test_a_journal_is_a_file(qn: Callable[..., Result]) -> None:
    """A device or a pipe is no journal; as an output either may be given twice."""
    os.mkfifo("pipe")
    for name in ("pipe", os.devnull):
        result = qn("run", "numbers.csv", "--yes", "--journal", name)
        assert result.exit_code == Exit.USAGE
        assert "a journal is a file" in result.stderr
    assert qn(*RUN, "--csv", os.devnull, "--report", os.devnull).exit_code == 0
