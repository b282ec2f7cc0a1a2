"""Reports: exact, bounded in memory, whole or absent, and text in them is only ever text."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import re
import stat
import weakref
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import attrs
import pytest

from sinch_qn.bulk import outcomes
from sinch_qn.bulk.journal import Batch, BatchState, MemoryJournal
from sinch_qn.bulk.report import (
    SHOWN_PEOPLE,
    Summary,
    Timeline,
    what_to_do,
    what_to_do_about,
    write_csv,
    write_html,
    write_json_lines,
)
from sinch_qn.bulk.states import ChallengeState, Change, Entry, Event
from sinch_qn.models import GlobalProcessState

S = ChallengeState
G = GlobalProcessState
NUMBER = "+12025550134"
T = 1_767_258_000.0  # 2026-01-01T09:00:00Z
EVIL = "<script>alert('x')</script>\"&\u202e\x00"
VOID = {"meta", "line", "rect"}
WRITERS: list[Callable[..., None]] = [write_csv, write_json_lines, write_html]


def entry(state: ChallengeState = S.VERIFIED, **fields: Any) -> Entry:
    """Return an entry that settled a minute after its call, if it settled."""
    settled_at = T + 60 if state.settled else None
    usual: dict[str, Any] = {"number": NUMBER, "called_at": T, "settled_at": settled_at}
    return Entry(state=state, **(usual | fields))


def batch(state: BatchState = BatchState.ORDERED, **fields: Any) -> Batch:
    """Return a batch of two numbers."""
    usual: dict[str, Any] = {"id": 1, "toll_free": False, "region": "US", "at": T}
    return Batch(state=state, **({"numbers": (NUMBER, NUMBER)} | usual | fields))


class Page(HTMLParser):
    """Checks that tags are balanced, and collects what is in them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.source = page
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(path: Path, rows: list[Entry], *batches: Batch, **options: Any) -> Page:
    """Write the page and read it."""
    write_html(iter(rows), path / "report.html", batches=batches, now=T, **options)
    return Page((path / "report.html").read_text("utf-8"))


# ---- what to do --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "advice"),
    [
        (entry(S.INVALID, line=7), "Correct line 7 of the input"),
        (entry(S.INVALID), "Correct it"),
        (entry(S.UNKNOWN), "Ask whether the phone rang. If it did, type the code; if not, recall"),
        (entry(S.EXPIRED), "a late one is still tried"),
        (entry(S.BLOCKED), "orders@sinch.com"),
        (entry(S.FAILED, remote=G.NOT_ELIGIBLE, note="not eligible"), "cannot host it"),
        (entry(S.FAILED, note=outcomes.UNKNOWN_TO_SINCH), "Add it to the project"),
        (entry(S.FAILED, codes_used=3, note="the code was wrong"), "recall for a new one"),
        (entry(S.FAILED, note="refused: HTTP 400"), "Read the reason"),
        (entry(S.AWAITING_CODE, note=outcomes.ASK_AGAIN), "code once more"),
        (entry(S.PENDING, added=True), "Email its invoices to orders@sinch.com"),
        (entry(S.VERIFIED, remote=G.HOSTING_FAILED), "Hosting failed"),
        (entry(S.SKIPPED, remote=G.UNSPECIFIED), "no longer knows it"),
    ],
)
def test_whoever_is_needed_is_told_what_to_do(row: Entry, advice: str) -> None:
    """Each number that waits for a person says what that person has to do next."""
    assert advice in (what_to_do(row) or "")


@pytest.mark.parametrize("state", [s for s in S if not s.settled] + [S.VERIFIED, S.SKIPPED])
def test_nobody_is_bothered_for_nothing(state: ChallengeState) -> None:
    """What is done, or goes on by itself, needs nobody."""
    assert what_to_do(entry(state)) is None


def test_every_failure_has_advice() -> None:
    """No number settles without success and without advice."""
    for state in set(S) - {S.VERIFIED, S.SKIPPED}:
        assert what_to_do(entry(state)) or not state.settled


def test_advice_about_batches() -> None:
    """A person sees to the batches that are UNKNOWN or REJECTED, and to no others."""
    needs = {state for state in BatchState if what_to_do_about(batch(state))}
    assert needs == {BatchState.UNKNOWN, BatchState.REJECTED}


# ---- files -------------------------------------------------------------------------------------


def test_csv_has_every_number(tmp_path: Path) -> None:
    """CSV has a line for each number, as it is, with times in UTC and what to do."""
    rows = [
        entry(line=2, ref='a "quoted", ref\nof two lines', attempt=1, region="US", batch=3),
        entry(S.INVALID, number="1.2E+10", line=3, note="not a number", called_at=None),
    ]
    write_csv(rows, tmp_path / "report.csv")
    with (tmp_path / "report.csv").open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert first == {
        "number": NUMBER,
        "ref": 'a "quoted", ref\nof two lines',
        "line": "2",
        "state": "verified",
        "calls": "1",
        "called_at": "2026-01-01T09:00:00Z",
        "settled_at": "2026-01-01T09:01:00Z",
        "sinch_state": "",
        "region": "US",
        "batch": "3",
        "note": "",
        "what_to_do": "",
    }
    assert (second["number"], second["called_at"]) == ("1.2E+10", "")
    assert second["what_to_do"].startswith("Correct line 3")


@pytest.mark.parametrize("text", ["=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3", "\t=1"])
def test_csv_runs_nothing(tmp_path: Path, text: str) -> None:
    """Text that a spreadsheet would run is defused; phone numbers and chat ids are left alone."""
    write_csv([entry(ref=text), entry(ref="-100200300")], tmp_path / "report.csv")
    with (tmp_path / "report.csv").open(encoding="utf-8", newline="") as file:
        refs = [(row["number"], row["ref"]) for row in csv.DictReader(file)]
    assert refs == [(NUMBER, "'" + text), (NUMBER, "-100200300")]


def test_json_lines_have_every_number(tmp_path: Path) -> None:
    """JSON has an object a line, with the fields of the CSV and nulls for what is not there."""
    rows = [entry(ref=EVIL, remote=G.HOSTING_DONE), entry(S.UNKNOWN)]
    write_json_lines(rows, tmp_path / "report.jsonl")
    first, second = map(json.loads, (tmp_path / "report.jsonl").read_text().splitlines())
    assert (first["ref"], first["sinch_state"], first["line"]) == (EVIL, "HOSTING_DONE", None)
    assert (second["state"], second["what_to_do"]) == ("unknown", what_to_do(rows[1]))


@pytest.mark.parametrize("write", WRITERS)
def test_files_are_whole_and_private(tmp_path: Path, write: Callable[..., None]) -> None:
    """A report takes the old one's place only when it is complete, and only its owner reads it."""
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
def test_any_text_can_be_written(tmp_path: Path, write: Callable[..., None]) -> None:
    """Even text that is not Unicode ends up in a readable file."""
    write([entry(S.UNKNOWN, ref="\ud800 é", note=EVIL)], tmp_path / "report")
    assert (tmp_path / "report").read_text("utf-8")


async def test_codes_are_in_no_report(tmp_path: Path) -> None:
    """What was typed as a code is in no report, whether it was right or wrong."""
    journal = MemoryJournal()
    await journal.add([Entry(number=NUMBER)])
    await journal.apply(
        [
            Change(number=NUMBER, event=Event.CALL, at=T),
            Change(number=NUMBER, event=Event.CALLED, at=T, window=60.0),
        ]
    )
    await journal.submit_code(NUMBER, "Zq9x7Kw", T)
    for index, write in enumerate(WRITERS):
        await asyncio.to_thread(write, journal.rows(), tmp_path / str(index))
        assert "Zq9x7Kw" not in (tmp_path / str(index)).read_text()


# ---- the page ----------------------------------------------------------------------------------


def test_the_page_needs_nothing_from_anywhere(tmp_path: Path) -> None:
    """The page is one file: no script, no address, nothing loaded; light, dark and printable."""
    rows = [entry(batch=1), entry(S.UNKNOWN), entry(S.PENDING)]
    page = page_of(tmp_path, rows, batch())
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed", "form"}
    assert not {name for name, _ in page.attributes} & {"src", "href", "action"}
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "default-src 'none'" in page.source
    assert not re.search(r"https?://|url\(|@import", page.source)
    assert "prefers-color-scheme: dark" in page.source
    assert "@media print" in page.source


def test_what_people_wrote_is_only_text(tmp_path: Path) -> None:
    """Refs, notes, titles and the server's words are escaped, wherever they are shown."""
    rows = [
        entry(S.UNKNOWN, ref=EVIL, note=EVIL, number=EVIL),
        entry(batch=1, remote=G("GLOBAL_PROCESS_STATE_<SCRIPT>")),
    ]
    orders = [
        batch(BatchState.REJECTED, note=EVIL, region=EVIL),
        batch(order_id=EVIL),
    ]
    page = page_of(tmp_path, rows, *orders, title=EVIL, about=EVIL)
    assert "script" not in page.tags
    assert "<script" not in page.source.lower()
    assert page.text.count("<script>alert('x')</script>\"&") == 9
    assert "\u202e" not in page.source
    assert "\x00" not in page.source


def test_the_page_counts_exactly(tmp_path: Path) -> None:
    """Every state has its count and share; all but nothing is never rounded to all or nothing."""
    rows = [entry()] * 1999 + [entry(S.UNKNOWN)]
    page = page_of(tmp_path, rows)
    assert re.search(r"verified.*?>1,999<.*?>99\.9 %<", page.source)
    assert re.search(r"unknown.*?>1<.*?>under 0\.1 %<", page.source)
    assert ">100 %<" in page_of(tmp_path, [entry()]).source


def test_what_needs_a_person_is_grouped(tmp_path: Path) -> None:
    """Numbers that need a person stand under what is to be done, unmasked, with ref and line."""
    rows = [
        entry(S.INVALID, number="1.2E+10", line=41, note="digits were lost"),
        entry(S.INVALID, number="12", line=42),
        entry(S.EXPIRED, ref="chat 7"),
    ]
    page = page_of(tmp_path, rows)
    assert page.text.count("Correct the line shown of the input") == 1
    for shown in ("1.2E+10", "41", "42", "digits were lost", "chat 7", NUMBER):
        assert shown in page.text
    assert "Nothing: every number is done" in page_of(tmp_path, [entry()]).text


def test_batches_that_need_a_person_come_first(tmp_path: Path) -> None:
    """Orders are listed with what was seen of their numbers, those that need a person first."""
    rows = [entry(batch=1, remote=G.HOSTING_DONE), entry(batch=1, remote=G.HOSTING_FAILED)]
    orders = [
        batch(order_id="order-1"),
        batch(BatchState.NOT_SENT, id=2, numbers=()),
        batch(BatchState.UNKNOWN, id=3, note="HTTP 503", toll_free=True),
    ]
    page = page_of(tmp_path, rows, *orders)
    assert page.text.index("HTTP 503") < page.text.index("order-1")
    assert "1 hosting done · 1 hosting failed" in page.text
    assert "toll-free" in page.text
    assert "not sent" not in page.text
    assert "and 1 of the orders" in page.text
    many = page_of(tmp_path, [], *[attrs.evolve(orders[0], id=i) for i in range(1003)])
    assert "3 more batches are not shown" in many.text


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [entry(S.PENDING, called_at=None)],
        [entry()],
        [entry(S.INVALID, called_at=None)],
        [entry(S.EXPIRED), entry(S.EXPIRED, settled_at=T + 1e7)],
        [entry(settled_at=T + 1e6), entry(settled_at=T + 0.5), entry(settled_at=T - 30)],
        [entry(settled_at=T + i * 40_000.0) for i in range(1000)],
    ],
    ids=["empty", "waiting", "one", "invalid", "apart", "clock", "weeks"],
)
def test_any_run_can_be_drawn(tmp_path: Path, rows: list[Entry]) -> None:
    """A run that is empty, instant, weeks long or has a clock that jumped has its page."""
    page = page_of(tmp_path, rows)
    assert not re.search(r"nan|inf[^o]", "".join(v or "" for k, v in page.attributes if k == "d"))
    settled = [row for row in rows if row.settled_at and row.state is not S.INVALID]
    assert ("area" in {v for k, v in page.attributes if k == "class"}) is bool(settled)


def test_how_long_codes_took(tmp_path: Path) -> None:
    """Each verified code is counted by its time from call to verified; others are not."""
    rows = [entry(settled_at=T + 20)] * 6 + [entry(settled_at=T + 400)] * 3
    rows += [entry(settled_at=T + 90_000), entry(S.FAILED, settled_at=T + 5)]
    assert Summary.of(rows).waits == [0, 6, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 1]
    text = page_of(tmp_path, rows).text
    assert "Half took at most 30 s, nine of ten at most 10 min." in text
    late = page_of(tmp_path, [entry(settled_at=T + 90_000)]).text
    assert "nine of ten up to more than 1 day" in late


def test_a_timeline_grows_coarser_not_longer() -> None:
    """However long the run, the curve has at most a thousand points, and loses no number."""
    timeline = Timeline()
    for i in range(5000):
        timeline.add(T + 977.0 * i, verified=i % 2 == 0)
    curve = timeline.curve()
    assert len(curve) <= 1001
    assert curve[0][1:] == (0, 0)
    assert curve[-1][1:] == (5000, 2500)
    assert curve == sorted(curve)


def test_rows_are_not_kept(tmp_path: Path) -> None:
    """Of very many rows only the list of people is held, up to its limit, and the page says so."""
    alive: list[weakref.ref[Entry]] = []

    def rows() -> Iterator[Entry]:
        for i in range(SHOWN_PEOPLE + 20_000):
            row = entry(S.EXPIRED if i % 2 else S.VERIFIED, number=f"+1{i:010}")
            alive.append(weakref.ref(row))
            yield row
        assert sum(ref() is not None for ref in alive) <= SHOWN_PEOPLE + 2

    write_html(rows(), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "The first 5,000 numbers are listed; 7,500 more" in page
    assert page.count("still tried") == 1
