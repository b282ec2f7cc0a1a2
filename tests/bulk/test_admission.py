"""How numbers come into a run: valid ones as PENDING, the others as INVALID with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import pytest

from sinch_qn.bulk import CallingHours, ChallengeState, Entry, Journal, MemoryJournal, NewNumber
from sinch_qn.bulk.admission import Admission
from sinch_qn.errors import InvalidRequestError, JournalError
from tests.support.runs import NUMBER, OTHER, numbers

JAMAICA = "+18765550134"


class Counting(MemoryJournal):
    """A journal that counts the numbers of each commit."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[int] = []

    async def add(self, entries: Sequence[Entry]) -> int:
        """Add, and count."""
        if entries:
            self.commits.append(len(entries))
        return await super().add(entries)


def admission(
    journal: Journal,
    *,
    hours: CallingHours | None = None,
    check_running: Callable[[], None] = lambda: None,
) -> Admission:
    """Return an admission to *journal*."""
    return Admission(journal=journal, hours=hours, clock=lambda: 100.0, check_running=check_running)


async def test_the_report_counts_each_line() -> None:
    """Rule 20: `add` reports how many numbers were added, known and refused, with line and reason.

    A number that is not one, and something that is not a string, are refused, not raised.
    """
    journal = MemoryJournal()
    report = await admission(journal).add(
        [
            NUMBER,
            "202-555-0134",
            (OTHER, "ticket 7"),
            JAMAICA,
            NewNumber(number="+1 ...", line=99, problem="letters"),
            NUMBER,
            cast("str", 12025550134),
            "\udcff" * 200,
            cast("str", b"+1"),
            cast("str", object()),
        ]
    )
    assert (report.added, report.already, report.invalid_count) == (2, 1, 7)
    assert [item.line for item in report.invalid] == [2, 4, 99, 7, 8, 9, 10]
    assert report.invalid[2].reason == "letters"
    assert "US and CA" in report.invalid[1].reason
    assert (await journal.counts())[ChallengeState.INVALID] == 7


async def test_a_valid_number_is_pending() -> None:
    """Rule 20: a valid number has its ref, the line it came from, and its region."""
    journal = MemoryJournal()
    await admission(journal).add([(NUMBER, "ticket 7"), NewNumber(number="+14165550134", line=9)])
    assert list(journal.rows()) == [
        Entry(number=NUMBER, ref="ticket 7", line=1, region="US"),
        Entry(number="+14165550134", line=9, region="CA"),
    ]


async def test_an_invalid_line_is_kept() -> None:
    """An INVALID row has the text, ref, line and reason, and is settled when it comes."""
    journal = MemoryJournal()
    await admission(journal).add([(JAMAICA, "ticket 7"), "\udcff" * 200])
    jamaica, text = journal.rows()
    assert jamaica == Entry(
        number=JAMAICA,
        ref="ticket 7",
        line=1,
        state=ChallengeState.INVALID,
        note="not a number of US or CA, and +1 is not always one of them: "
        "the API's text names US and CA only; add other regions with regions=",
        settled_at=100.0,
    )
    assert (text.number, text.line, text.state) == ("\\udcff" * 100, 2, ChallengeState.INVALID)


async def test_equal_invalid_lines_of_a_file_are_rows_of_their_own() -> None:
    """Each invalid line of a file is in the report, and is added once however often it is read."""
    journal = MemoryJournal()
    lines = [NewNumber(number="call me", line=n, problem="letters") for n in (2, 5)]
    for _ in range(2):
        report = await admission(journal).add(lines)
        assert report.invalid_count == 2
    assert [entry.number for entry in journal.rows()] == ["call me (line 2)", "call me (line 5)"]


async def test_numbers_are_committed_500_at_a_time() -> None:
    """One commit has 500 numbers at most, valid and invalid ones apart."""
    journal = Counting()
    report = await admission(journal).add([*numbers(1100), *(f"bad {n}" for n in range(150))])
    assert (report.added, report.invalid_count) == (1100, 150)
    assert journal.commits == [500, 500, 100, 150]
    assert [entry.number for entry in journal.rows()][:1100] == numbers(1100)


async def test_numbers_are_read_as_they_are_committed() -> None:
    """P10: numbers are read 500 at a time, and those before an error are on disk."""
    journal = Counting()
    most = 0

    def read() -> Iterator[str]:
        nonlocal most
        for n, number in enumerate(numbers(1200)):
            most = max(most, n - sum(journal.commits))
            yield number
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="gone"):
        await admission(journal).add(read())
    assert most == 499
    assert journal.commits == [500, 500]
    # What was cancelled may be repeated: nothing is added twice.
    report = await admission(journal).add(numbers(1200))
    assert (report.added, report.already) == (200, 1000)


async def test_a_run_that_has_ended_accepts_no_number() -> None:
    """Each commit is preceded by a check that the run is active; earlier commits are kept."""
    journal = Counting()
    active = [True, False]

    def check_running() -> None:
        if not active.pop(0):
            raise JournalError("the run was stopped")

    with pytest.raises(JournalError, match="stopped"):
        await admission(journal, check_running=check_running).add(numbers(700))
    assert journal.commits == [500]


async def test_a_report_lists_a_thousand_invalid_numbers() -> None:
    """P10: `invalid` has the first thousand; `invalid_count` and the journal have all."""
    journal = MemoryJournal()
    report = await admission(journal).add(f"bad {index}" for index in range(1200))
    assert (len(report.invalid), report.invalid_count) == (1000, 1200)
    assert [item.line for item in report.invalid] == list(range(1, 1001))
    assert (await journal.counts())[ChallengeState.INVALID] == 1200


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (NUMBER, "numbers: expected many numbers, not one string"),
        ([(OTHER, 7)], "ref: expected text"),
        ([(OTHER, "\ud800")], "ref: expected text"),
        ([NewNumber(number=OTHER, problem=cast("str", 7))], "problem: expected text"),
    ],
    ids=["string", "ref", "surrogate", "problem"],
)
async def test_what_cannot_be_stored_is_an_error(wrong: object, message: str) -> None:
    """One string instead of many numbers, and a ref that is no text, are refused."""
    journal = Counting()
    with pytest.raises(InvalidRequestError, match=message):
        await admission(journal).add(cast("list[str]", wrong))
    assert journal.commits == []


@pytest.fixture
def hours() -> CallingHours:
    """Return calling hours, made outside the event loop: that reads the time zones."""
    return CallingHours("09:00-20:00")


async def test_calling_hours_need_a_time_zone(hours: CallingHours) -> None:
    """Rule 18: with calling hours, a number without a time zone is INVALID."""
    report = await admission(MemoryJournal(), hours=hours).add([NUMBER, "+18335550134"])
    assert report.added == 1
    (refused,) = report.invalid
    assert (refused.number, refused.line) == ("+18335550134", 2)
    assert "default_zone" in refused.reason
