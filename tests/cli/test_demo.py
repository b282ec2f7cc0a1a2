"""Laws of the demo: every number ends in an outcome, across a crash, and no phone rings twice."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sinch_qn.cli.jobs import demo
from tests.support.cli_process import Terminal, finish, process

CUSTOMERS = """Name;Phone
Good;(202) 555-0134
Toll-free;833-555-0134
Other;+1 202-555-0135
Typo;202-555-013
Again;2025550134
Not eligible;202-555-9990
Nobody there;202-555-9992
First call missed;202-555-9993
Mishears;202-555-9994
Blocked;202-555-9995
Lost answer;202-555-9996
Hosting fails;202-555-9997
T-Mobile refuses;202-555-9989
"""


def test_the_demo_accounts_for_every_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line has exactly one outcome, across a kill -9, and no phone rings without a request.

    At a terminal the run is shown as it goes, and the cursor is there again at the end.
    """
    monkeypatch.chdir(tmp_path)
    Path("customers.csv").write_text(CUSTOMERS)
    with Terminal({}, "demo", "customers.csv", "--json") as terminal:
        assert terminal.finish() == 0, terminal.screen
        shown, raw = terminal.screen, terminal.raw
    outcomes = [json.loads(line) for line in re.findall(r'^{"outcome".*}', shown, re.MULTILINE)]
    assert {each["outcome"]: each["count"] for each in outcomes} == {
        "hosting_done": 6,
        "failed": 1,
        "blocked": 2,
        "hosting_failed": 1,
        "expired": 1,
        "invalid": 1,
        "duplicate": 1,
    }
    assert re.search(r"kill -9 after \d+ calls", shown)
    assert re.search(r"9 phones rang; \d+ of them again .*, and 0 without a request", shown)
    assert "awaiting code" in shown
    assert "sinch-qn status" not in shown, "its journal is gone"
    assert raw.rindex("\x1b[?25h") > raw.rindex("\x1b[?25l")
    assert "The letter for 1 number is signed." in shown  # the toll-free one
    page = Path(demo.REPORT).read_text()
    assert "Hosting failed" in page
    assert "+12025559989 SMS at T-Mobile" in page
    assert "completed since" in page
    assert str(Path(demo.REPORT).absolute()) in shown


def test_a_demo_whose_run_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If its run fails, the demo fails with the same exit code, and nothing is killed."""
    monkeypatch.chdir(tmp_path)
    Path("customers.csv").write_text("+12025550134\n")
    Path(demo.REPORT).mkdir()
    with process("demo", "customers.csv") as command:
        code, _, err = finish(command)
    assert code == 2
    assert demo.REPORT in err
    assert "kill" not in err


def test_the_example_is_the_list_of_the_demo(request: pytest.FixtureRequest) -> None:
    """`examples/numbers.csv` and the list of a demo without a file are the same."""
    example = request.config.rootpath / "examples" / "numbers.csv"
    assert example.read_text(encoding="utf-8") == "".join(demo.made_up_lines())
