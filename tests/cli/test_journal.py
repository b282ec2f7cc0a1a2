"""Laws of `sinch-qn journal`: copies, and what a person declares of them."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sinch_qn.bulk import SqliteJournal
from sinch_qn.cli.app import cli
from sinch_qn.cli.exit_codes import Exit
from tests.support.journals import called, opened
from tests.support.runs import NUMBER


@pytest.fixture
def qn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(cli, ["journal", *arguments])


def run_of_the_past() -> None:
    """Make a journal that its run has closed."""

    async def make() -> None:
        journal = await opened(Path("run.db"))
        await called(journal, NUMBER)
        await journal.close()

    asyncio.run(make())


def test_a_journal_is_copied_to_a_new_file(qn: Callable[..., Result]) -> None:
    """`journal backup` writes a private file, says whether to run from it, and overwrites none."""
    run_of_the_past()
    result = qn("backup", "run.db", "copy.db")
    assert result.exit_code == Exit.OK
    assert "copy.db: complete; run from it, or from run.db, but not from both." in result.stderr
    assert stat.S_IMODE(Path("copy.db").stat().st_mode) == 0o600
    assert [entry.number for entry in SqliteJournal("copy.db").rows()] == [NUMBER]
    before = Path("copy.db").read_bytes()
    assert qn("backup", "run.db", "copy.db").exit_code == Exit.USAGE
    assert qn("backup", "run.db", "run.db").exit_code == Exit.USAGE
    assert Path("copy.db").read_bytes() == before


def test_a_copy_of_an_active_run_is_accepted_by_a_person(qn: Callable[..., Result]) -> None:
    """A copy made during a run is for reading until `journal accept`, which needs a yes."""

    async def copy_during_a_run() -> Result:
        journal = await opened(Path("run.db"))
        await called(journal, NUMBER)
        result = await asyncio.to_thread(qn, "backup", "run.db", "copy.db")
        await journal.close()
        return result

    result = asyncio.run(copy_during_a_run())
    assert result.exit_code == Exit.OK
    assert "its run may go on, so a run refuses the copy" in result.stderr
    refused = qn("accept", "copy.db")
    assert refused.exit_code == Exit.USAGE
    assert "Is it certain that copy.db lacks no calls?" in refused.stderr
    assert qn("accept", "copy.db", "--yes").exit_code == Exit.OK
    nothing = qn("accept", "copy.db", "--yes")
    assert nothing.exit_code == Exit.USAGE
    assert "nothing is missing" in nothing.stderr
