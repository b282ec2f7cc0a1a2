"""The HTML page: self-contained, exact, bounded in memory, and all text in it is escaped."""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import attrs
import pytest

from sinch_qn.bulk.journal import Batch, BatchState
from sinch_qn.bulk.order_records import NumberFailure, OrderRecord
from sinch_qn.bulk.report.html import write_html
from sinch_qn.bulk.report.summary import MAX_LISTED
from sinch_qn.bulk.states import ChallengeState, Entry
from sinch_qn.models import GlobalProcessState as SinchState
from tests.support.run_rows import EVIL, NUMBER, T, batch, entry

VOID = {"meta", "line", "rect"}


class Page(HTMLParser):
    """Checks that tags are balanced, and collects tags, attributes and text."""

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


def test_the_page_is_self_contained(tmp_path: Path) -> None:
    """The page loads and runs nothing, has a dark scheme and can be printed."""
    rows = [entry(batch=1), entry(ChallengeState.UNKNOWN), entry(ChallengeState.PENDING)]
    page = page_of(tmp_path, rows, batch())
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed", "form"}
    assert not {name for name, _ in page.attributes} & {"src", "href", "action"}
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "default-src 'none'" in page.source
    assert not re.search(r"https?://|url\(|@import", page.source)
    assert "prefers-color-scheme: dark" in page.source
    assert "@media print" in page.source


def test_text_is_escaped(tmp_path: Path) -> None:
    """Refs, notes, titles and text from the server are escaped wherever they are shown."""
    rows = [
        entry(ChallengeState.UNKNOWN, ref=EVIL, note=EVIL, number=EVIL),
        entry(batch=1, remote=SinchState("GLOBAL_PROCESS_STATE_<SCRIPT>")),
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
    """Each state has its count and share; only exact shares are shown as 0 or 100 %."""
    rows = [entry()] * 1999 + [entry(ChallengeState.UNKNOWN)]
    page = page_of(tmp_path, rows)
    assert re.search(r"verified.*?>1,999<.*?>99\.9\s%<", page.source)
    assert re.search(r"unknown.*?>1<.*?>under 0\.1\s%<", page.source)
    assert ">100\N{NO-BREAK SPACE}%<" in page_of(tmp_path, [entry()]).source
    assert "0\N{NO-BREAK SPACE}% of all" in page_of(tmp_path, []).text


def test_numbers_that_need_attention_are_grouped(tmp_path: Path) -> None:
    """Numbers that need attention are listed by advice, unmasked, with ref and line."""
    rows = [
        entry(ChallengeState.INVALID, number="1.2E+10", line=41, note="digits were lost"),
        entry(ChallengeState.INVALID, number="12", line=42),
        entry(ChallengeState.EXPIRED, ref="chat 7"),
    ]
    page = page_of(tmp_path, rows)
    assert page.text.count("Correct the lines shown, then run again.") == 1
    for shown in ("1.2E+10", "41", "42", "digits were lost", "chat 7", NUMBER):
        assert shown in page.text
    assert "see below for what to do" in page.text
    nothing = page_of(tmp_path, [entry()]).text
    assert "No number needs attention" in nothing
    assert "nothing to do" in nothing


def test_batches_that_need_attention_come_first(tmp_path: Path) -> None:
    """Batches are listed with the states of their numbers, those that need attention first."""
    rows = [
        entry(batch=1, remote=SinchState.HOSTING_DONE),
        entry(batch=1, remote=SinchState.HOSTING_FAILED),
    ]
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
        [entry(ChallengeState.PENDING, called_at=None)],
        [entry()],
        [entry(ChallengeState.INVALID, called_at=None)],
        [entry(ChallengeState.EXPIRED), entry(ChallengeState.EXPIRED, settled_at=T + 1e7)],
        [entry(settled_at=T + 1e6), entry(settled_at=T + 0.5), entry(settled_at=T - 30)],
        [entry(settled_at=T + i * 40_000.0) for i in range(1000)],
    ],
    ids=["empty", "waiting", "one", "invalid", "apart", "clock", "weeks"],
)
def test_any_run_can_be_drawn(tmp_path: Path, rows: list[Entry]) -> None:
    """A run that is empty, instant, weeks long or whose clock jumped can be drawn."""
    page = page_of(tmp_path, rows)
    assert not re.search(r"nan|inf[^o]", "".join(v or "" for k, v in page.attributes if k == "d"))
    settled = [row for row in rows if row.settled_at and row.state is not ChallengeState.INVALID]
    moments = {int(row.settled_at or 0) for row in settled}
    assert ("area" in {v for k, v in page.attributes if k == "class"}) is (len(moments) > 1)


def test_a_moment_has_no_curve(tmp_path: Path) -> None:
    """Numbers that settled in the same second are counted in words, not drawn as a slope."""
    text = page_of(tmp_path, [entry(), entry(), entry(ChallengeState.EXPIRED)]).text
    assert "3 settled and 2 verified, all on" in text


def test_how_long_codes_took(tmp_path: Path) -> None:
    """The page gives the median and the 90th percentile of the time to verification."""
    rows = [entry(settled_at=T + 20)] * 6 + [entry(settled_at=T + 400)] * 3
    rows += [entry(settled_at=T + 90_000)]
    text = page_of(tmp_path, rows).text
    assert "half took at most 30 s, 90\N{NO-BREAK SPACE}% at most 10 min." in text
    assert "From 20 s to 25 h;" in text
    late = page_of(tmp_path, [entry(settled_at=T + seconds) for seconds in (90_000, 99_000)]).text
    assert "90\N{NO-BREAK SPACE}% up to more than 1 day" in late


@pytest.mark.parametrize(
    ("waits", "shown"),
    [
        ([25.0], "One code was verified, 25 s after its call."),
        ([25.0, 25.1, 24.9], "3 codes were verified, each 25 s after its call."),
    ],
)
def test_a_single_time_is_no_histogram(tmp_path: Path, waits: list[float], shown: str) -> None:
    """One verified code, or several that took equally long, are a time, not a histogram."""
    page = page_of(tmp_path, [entry(settled_at=T + wait) for wait in waits])
    assert shown in page.text
    assert 'class="bars"' not in page.source


def test_a_long_text_leaves_room_for_the_rest(tmp_path: Path) -> None:
    """The text of an invalid line, of up to a hundred characters, wraps inside its column."""
    page = page_of(tmp_path, [entry(ChallengeState.INVALID, number="x" * 100)])
    assert '<td class="number"' in page.source
    assert re.search(r"\.list \.number \{ overflow-wrap: anywhere; \}", page.source)


def test_empty_columns_are_left_out(tmp_path: Path) -> None:
    """A column that has no value anywhere has no heading; cells name theirs on narrow screens."""
    page = page_of(tmp_path, [entry(ChallengeState.EXPIRED)])
    assert not {"Ref", "Line", "Note"} & set(re.findall(r"<th[^>]*>(\w+)</th>", page.source))
    page = page_of(
        tmp_path,
        [entry(ChallengeState.EXPIRED, note="late"), entry(ChallengeState.UNKNOWN, line=3)],
    )
    assert re.findall(r"<th[^>]*>(Ref|Line|Note)</th>", page.source) == ["Line", "Note"]
    assert ("data-label", "Note") in page.attributes


@pytest.mark.parametrize(
    ("states", "kind"),
    [
        ([SinchState.HOSTING_DONE, SinchState.HOSTING_DONE], "done"),
        ([SinchState.HOSTING_DONE, SinchState.HOSTING_IN_PROGRESS], "open"),
        ([SinchState.HOSTING_DONE, SinchState.HOSTING_FAILED], "bad"),
        ([None], "open"),
    ],
)
def test_an_order_is_green_once_all_its_numbers_are_hosted(
    tmp_path: Path, states: list[SinchState | None], kind: str
) -> None:
    """An order with failed numbers is red, and one whose numbers are not hosted yet is not done."""
    page = page_of(tmp_path, [entry(batch=1, remote=state) for state in states], batch())
    assert f'<b class="chip {kind}">ordered</b>' in page.source


def test_rows_are_not_kept(tmp_path: Path) -> None:
    """Only the listed rows are kept in memory, and the page says how many are not listed."""
    alive: list[weakref.ref[Entry]] = []

    def rows() -> Iterator[Entry]:
        for i in range(MAX_LISTED + 20_000):
            row = entry(
                ChallengeState.EXPIRED if i % 2 else ChallengeState.VERIFIED, number=f"+1{i:010}"
            )
            alive.append(weakref.ref(row))
            yield row
        assert sum(ref() is not None for ref in alive) <= MAX_LISTED + 2

    write_html(rows(), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "The first 5,000 numbers are listed; 7,500 more" in page
    assert page.count("still accepted") == 1


def test_orders_show_their_progress(tmp_path: Path) -> None:
    """An order shows whose signature it waits for, and what failed at which carrier, escaped."""
    failures = tuple(
        NumberFailure(
            phone_number=f"+1202555{n:04}", where="SMS at T-Mobile", code="7", message=EVIL
        )
        for n in range(25)
    )
    orders = {
        1: OrderRecord(
            name="n", service_plan_id="p", state="WAITING_FOR_LOA_SIGNATURE", signer=EVIL
        ),
        2: OrderRecord(name="n", service_plan_id="p", state="COMPLETED", failures=failures),
    }
    page = page_of(tmp_path, [], batch(), batch(id=2), orders=orders)
    assert "waiting for the signature of" in page.text
    assert "+12025550000 SMS at T-Mobile 7" in page.text
    assert "5 more failures are in: sinch-qn status JOURNAL --json" in page.text
    assert EVIL not in page.source
