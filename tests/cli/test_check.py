"""Laws of `sinch-qn check`: what it says of a file is what a run makes of it, offline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sinch_qn.cli.app import cli
from sinch_qn.cli.exit_codes import Exit

FILE = """\
Name,Phone,ref
Ada,(202) 555-0134,a
Bob,555-0134,b
Cyd,+1 202 555 0134,c
Dee,+1 416 555 0134,
Eve,+1 800 555 0134,e
Fay,+1 876 555 0134,f
"""


@pytest.fixture(autouse=True)
def without_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a directory of the test's own, without any credentials."""
    monkeypatch.chdir(tmp_path)
    for name in ("SINCH_PROJECT_ID", "SINCH_KEY_ID", "SINCH_KEY_SECRET"):
        monkeypatch.delenv(name, raising=False)
    Path("numbers.csv").write_text(FILE)


def check(*options: str) -> Result:
    """Check the file."""
    return CliRunner().invoke(cli, ["check", "numbers.csv", *options])


def test_bad_lines_and_duplicates_are_listed_by_line() -> None:
    """Standard output has one line for each line that is no new number; the rest is counted."""
    result = check()
    assert result.exit_code == Exit.FAILED
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [(line, text) for line, text, _ in rows] == [
        ("3", "555-0134"),
        ("4", "+1 202 555 0134"),
        ("7", "+1 876 555 0134"),
    ]
    assert rows[1][2] == "duplicate of line 2"
    assert (
        "numbers.csv, column 2, 'Phone': 3 numbers (1 CA, 1 US, 1 toll-free). 2 with a ref."
        " Bad lines: 2, duplicates: 1." in result.stderr
    )


def test_json_has_the_same_and_a_summary() -> None:
    """With --json the last object is the summary; duplicates say of which line."""
    *lines, summary = map(json.loads, check("--json").stdout.splitlines())
    assert [line["line"] for line in lines] == [3, 4, 7]
    assert [line.get("duplicateOf") for line in lines] == [None, 2, None]
    assert summary == {
        "file": "numbers.csv",
        "column": 2,
        "heading": "Phone",
        "numbers": 3,
        "CA": 1,
        "US": 1,
        "tollFree": 1,
        "refs": 2,
        "badLines": 2,
        "duplicates": 1,
    }


def test_a_clean_file_exits_with_0() -> None:
    """Duplicates alone are no failure; other regions are good if they are asked for."""
    Path("numbers.csv").write_text("+12025550134\n+12025550134\n+18765550134\n")
    assert check("--region", "JM").exit_code == Exit.OK
    assert check().exit_code == Exit.FAILED


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "there is no phone number in it"),
        (b"work,home\n+12025550134,+12025550135\n", "Choose one with --column."),
        (b"%PDF-1.7\n\x00\xff\x00", "numbers.csv"),
    ],
)
def test_a_file_that_cannot_be_used_exits_with_2(content: bytes, message: str) -> None:
    """A file without numbers, or with an ambiguous column, is an error of usage."""
    Path("numbers.csv").write_bytes(content)
    result = check()
    assert (result.exit_code, result.stdout) == (Exit.USAGE, "")
    assert message in result.stderr
