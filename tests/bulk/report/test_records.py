"""Records: exact, written atomically, and their text is never evaluated."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sinch_qn.bulk.journal import BatchState, MemoryJournal
from sinch_qn.bulk.report import (
    batch_record,
    what_to_do,
    what_to_do_about,
    write_csv,
    write_html,
    write_json_lines,
)
from sinch_qn.bulk.states import ChallengeState, Change, Entry, Event
from sinch_qn.models import GlobalProcessState as SinchState
from tests.support.run_rows import EVIL, NUMBER, T, batch, entry

WRITERS: list[Callable[..., None]] = [write_csv, write_json_lines, write_html]


def test_csv_has_every_number(tmp_path: Path) -> None:
    """CSV has an exact line for each number, with times in UTC and what to do."""
    rows = [
        entry(line=2, ref='a "quoted", ref\nof two lines', attempt=1, region="US", batch=3),
        entry(
            ChallengeState.INVALID, number="1.2E+10", line=3, note="not a number", called_at=None
        ),
    ]
    write_csv(rows, tmp_path / "report.csv")
    with (tmp_path / "report.csv").open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert first == {
        "phoneNumber": NUMBER,
        "ref": 'a "quoted", ref\nof two lines',
        "line": "2",
        "state": "verified",
        "attempt": "1",
        "calledAt": "2026-01-01T09:00:00Z",
        "settledAt": "2026-01-01T09:01:00Z",
        "globalProcessState": "",
        "regionCode": "US",
        "batch": "3",
        "note": "",
        "whatToDo": "",
    }
    assert (second["phoneNumber"], second["calledAt"]) == ("1.2E+10", "")
    assert second["whatToDo"].startswith("Correct line 3")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("\t=1", "'\t'=1"),
        ("\n=1", "'\n'=1"),
        ("\r\n=1", "'\r\n'=1"),
        ('"=1', "'\"=1"),
        (" =1", "' =1"),
        ("\uff1d1", "'\uff1d1"),
        ("\uff0b1", "'\uff0b1"),
        ("\uff0d1", "'\uff0d1"),
        ("\uff20SUM(1)", "'\uff20SUM(1)"),
        ("a;=1", "a;'=1"),
        ("a\t+1", "a\t'+1"),
        ("a\n-1", "a\n'-1"),
        ('a,"@1', "a,\"'@1"),
        ("a;\uff1d1", "a;'\uff1d1"),
        ("-100200300", "-100200300"),
        ("a=b, c-d; e", "a=b, c-d; e"),
    ],
)
def test_csv_formulas_are_disarmed(tmp_path: Path, text: str, written: str) -> None:
    """Text that a spreadsheet evaluates is disarmed, also where it splits a cell; ids are not."""
    write_csv([entry(ref=text)], tmp_path / "report.csv")
    with (tmp_path / "report.csv").open(encoding="utf-8", newline="") as file:
        [row] = csv.DictReader(file)
    assert (row["phoneNumber"], row["ref"]) == (NUMBER, written)


def test_json_lines_have_every_number(tmp_path: Path) -> None:
    """JSON lines have an object for each number, with the fields of the CSV, null if unset."""
    rows = [entry(ref=EVIL, remote=SinchState.HOSTING_DONE), entry(ChallengeState.UNKNOWN)]
    write_json_lines(rows, tmp_path / "report.jsonl")
    first, second = map(json.loads, (tmp_path / "report.jsonl").read_text().splitlines())
    assert (first["ref"], first["line"]) == (EVIL, None)
    assert first["globalProcessState"] == "GLOBAL_PROCESS_STATE_HOSTING_DONE"
    assert (second["state"], second["whatToDo"]) == ("unknown", what_to_do(rows[1]))


def test_a_batch_is_counted_not_listed() -> None:
    """A batch's record has how many numbers it holds, its order and what to do."""
    rejected = batch(BatchState.REJECTED, note="HTTP 400")
    assert batch_record(rejected) == {
        "batch": 1,
        "state": "rejected",
        "regionCode": "US",
        "tollFree": False,
        "numbers": 2,
        "hostingOrderId": None,
        "note": "HTTP 400",
        "whatToDo": what_to_do_about(rejected),
        "order": None,
    }


@pytest.mark.parametrize("write", WRITERS)
def test_files_are_whole_and_private(tmp_path: Path, write: Callable[..., None]) -> None:
    """A report replaces the old one once it is complete, and only its owner can read it."""
    path = tmp_path / "report"
    path.write_text("old")
    path.chmod(0o644)

    def broken() -> Iterator[Entry]:
        yield entry()
        raise RuntimeError("the journal broke")

    with pytest.raises(RuntimeError, match="broke"):
        write(broken(), path)
    assert path.read_text() == "old"
    old = os.umask(0)
    try:
        write([entry()], path)
    finally:
        os.umask(old)
    assert NUMBER in path.read_text() or write is write_html
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("write", WRITERS)
def test_a_link_stays_a_link(tmp_path: Path, write: Callable[..., None]) -> None:
    """The file that a link names is replaced, and is created if it is not there."""
    target, link = tmp_path / "folder" / "report", tmp_path / "link"
    target.parent.mkdir()
    link.symlink_to(target)
    for _ in range(2):
        write([entry()], link)
        assert link.is_symlink()
        assert target.stat().st_size > 0
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("write", WRITERS)
def test_a_pipe_is_written_through(tmp_path: Path, write: Callable[..., None]) -> None:
    """A pipe or a device is written, and stays what it is."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as threads:
        text = threads.submit(pipe.read_text)
        write([entry()], pipe)
    write([entry()], tmp_path / "report")
    assert text.result()[:100] == (tmp_path / "report").read_text()[:100]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    write([entry()], os.devnull)
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)  # noqa: PTH116


@pytest.mark.parametrize("name", ["/dev/stdout", "report", "link"])
def test_standard_output_is_written_through(tmp_path: Path, name: str) -> None:
    """The file that standard output is redirected to is not replaced under any of its names."""
    script = (
        "import sys; from sinch_qn.bulk import write_csv; print('before', flush=True);"
        "write_csv([], sys.argv[1]); print('after')"
    )
    path = tmp_path / "report"
    (tmp_path / "link").symlink_to("report")
    with path.open("w") as file:
        subprocess.run(  # noqa: S603 - our own script
            [sys.executable, "-c", script, name], stdout=file, cwd=tmp_path, check=True
        )
    before, *records, after = path.read_text().splitlines()
    assert (before, after) == ("before", "after")
    assert records[0].startswith("phoneNumber,ref,")


@pytest.mark.parametrize("write", WRITERS)
def test_any_text_can_be_written(tmp_path: Path, write: Callable[..., None]) -> None:
    """Text that is not valid Unicode is written to a readable file."""
    write([entry(ChallengeState.UNKNOWN, ref="\ud800 é", note=EVIL)], tmp_path / "report")
    assert (tmp_path / "report").read_text("utf-8")


async def test_codes_are_in_no_report(tmp_path: Path) -> None:
    """No report contains a submitted code."""
    journal = MemoryJournal()
    await journal.add([Entry(number=NUMBER)])
    (intent,) = await journal.apply([Change(number=NUMBER, event=Event.CALL, at=T)])
    assert intent is not None
    called = Change(number=NUMBER, event=Event.CALLED, at=T, intent=intent.intent, window=60.0)
    await journal.apply([called])
    await journal.submit_code(NUMBER, "Zq9x7Kw", T)
    for index, write in enumerate(WRITERS):
        await asyncio.to_thread(write, journal.rows(), tmp_path / str(index))
        assert "Zq9x7Kw" not in (tmp_path / str(index)).read_text()
