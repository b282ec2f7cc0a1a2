"""A preview of a run: the numbers of a file beside those of a journal."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import closing

import pytest

from sinch_qn.bulk import ChallengeState, Entry, NewNumber
from sinch_qn.bulk.preview import RunPreview
from sinch_qn.parsing import parse_phone_number, read_numbers
from tests.support.runs import numbers


@pytest.fixture
def preview() -> Iterator[RunPreview]:
    """Return an empty preview."""
    with closing(RunPreview()) as preview:
        yield preview


def add_lines(preview: RunPreview, *lines: str) -> None:
    """Add the lines of a file."""
    preview.add_lines(read_numbers([f"{line}\n" for line in lines], find_duplicates=False))


def test_each_line_is_counted(preview: RunPreview) -> None:
    """A line is new, a duplicate or bad; warnings name it, with the reason."""
    one, other = numbers(2)
    add_lines(preview, "phone,ref", f"{one},ada", "call me,bob", other, one, "")
    assert (preview.new, preview.duplicates, preview.bad) == (2, 1, 1)
    bad, duplicate = preview.warnings()
    assert bad.startswith("3: call me: ")
    assert duplicate == f"5: {one}: duplicate of line 2"
    assert list(preview.new_numbers(None)) == [
        NewNumber(number=one, ref="ada", line=2, region="US"),
        NewNumber(number="call me", ref="bob", line=3, problem=bad.removeprefix("3: call me: ")),
        NewNumber(number=other, line=4, region="US"),
    ]


def test_numbers_of_the_journal_are_known(preview: RunPreview) -> None:
    """Numbers of the journal are not new; those that it settled are counted apart."""
    open_, settled, new, elsewhere = numbers(4)
    add_lines(preview, open_, settled, new, settled)
    preview.mark_known(
        [
            Entry(number=open_),
            Entry(number=settled, state=ChallengeState.VERIFIED),
            Entry(number=elsewhere, state=ChallengeState.AWAITING_CODE),
        ]
    )
    assert (preview.new, preview.known, preview.settled) == (1, 2, 1)
    assert preview.counts == {
        ChallengeState.PENDING: 1,
        ChallengeState.VERIFIED: 1,
        ChallengeState.AWAITING_CODE: 1,
    }
    assert preview.open == 2
    assert [new.number for new in preview.new_numbers(None)] == [open_, settled, new]


def test_what_was_warned_about_is_not_repeated(preview: RunPreview) -> None:
    """There are no warnings about numbers of the journal."""
    one, other = numbers(2)
    add_lines(preview, one, one, other, other)
    preview.mark_known([Entry(number=one)])
    assert list(preview.warnings()) == [f"4: {other}: duplicate of line 3"]


def test_warnings_are_bounded(preview: RunPreview) -> None:
    """There are 20 warnings about bad lines, and 20 about duplicates, at most."""
    (one,) = numbers(1)
    add_lines(preview, one, *[f"bad {n}" for n in range(30)], *[one] * 30)
    assert (preview.bad, preview.duplicates) == (30, 30)
    warnings = list(preview.warnings())
    assert len(warnings) == 40
    assert sum("duplicate of line 1" in warning for warning in warnings) == 20


def test_a_limit_takes_the_first_unsettled_numbers(preview: RunPreview) -> None:
    """A trial takes the first valid numbers that are not settled, known ones included."""
    settled, known, *new = numbers(5)
    add_lines(preview, "bad line", settled, known, *new)
    preview.mark_known([Entry(number=settled, state=ChallengeState.VERIFIED), Entry(number=known)])
    assert [each.number for each in preview.new_numbers(2)] == [known, new[0]]
    assert preview.to_add(2) == 1
    assert preview.to_add(None) == 3
    assert preview.to_call(2) == 1 + 1
    assert preview.to_call(None) == 3 + 1


def test_a_long_bad_line_is_truncated(preview: RunPreview) -> None:
    """Of a line without a number 100 characters are kept."""
    add_lines(preview, "phone", "x" * 5000)
    (line,) = preview.new_numbers(None)
    assert line.number == "x" * 100
    assert line.problem


def test_each_bad_line_is_kept(preview: RunPreview) -> None:
    """Bad lines are kept by line, also with the same text; none hides a good number."""
    add_lines(
        preview,
        *("phone,name", "unknown,A", "unknown,B", ",+12025550134"),
        *("+12025550134,C", "unknown,D", "202-555-0134,E"),
    )
    preview.mark_known([Entry(number="unknown"), Entry(number="+12025550135")])
    found = [(new.line, new.number, new.problem is None) for new in preview.new_numbers(None)]
    assert (preview.new, preview.bad, preview.duplicates) == (1, 4, 1)
    assert [new.line for new in preview.new_numbers(5)] == [5]
    assert found == [
        (2, "unknown", False),
        (3, "unknown", False),
        (4, "+12025550134", False),
        (5, "+12025550134", True),
        (6, "unknown", False),
    ]


def test_lines_without_a_number_are_gone(preview: RunPreview) -> None:
    """A line that is INVALID in the journal is gone if it is blank, deleted or a duplicate now.

    Of a line that has a number, good or bad, the run itself replaces the entry.
    """

    def invalid(number: str, line: int) -> Entry:
        return Entry(number=number, line=line, state=ChallengeState.INVALID)

    add_lines(preview, "phone,name", "unknown,A", "+12025550134,B", "", "+12025550134,C")
    of_lines = [invalid(f"202555 (line {line})", line) for line in range(2, 8)]
    preview.mark_known([*of_lines, invalid("of a bot", 9), Entry(number="x", line=8)])
    assert list(preview.lines_gone()) == [4, 5, 6, 7]


def test_a_preview_takes_no_memory() -> None:
    """P10: the numbers of a file, and its duplicates, are kept on disk."""
    lines = (f"202{exchange}{n:04}\n" for exchange in (555, 556, 555) for n in range(1_000))
    parse_phone_number("2025550134")  # loads the tables of phonenumbers
    with closing(RunPreview()) as preview:
        tracemalloc.start()
        try:
            preview.add_lines(read_numbers(lines, find_duplicates=False))
            preview.mark_known(
                Entry(number=f"+1202555{n:04}", state=ChallengeState.VERIFIED) for n in range(900)
            )
            added = sum(1 for _ in preview.new_numbers(None))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (preview.new, preview.known, preview.duplicates) == (1_100, 900, 1_000)
        assert added == 2_000
    assert peak < 450_000
