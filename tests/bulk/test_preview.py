"""Laws of a run's preview."""

from __future__ import annotations

import tracemalloc
from contextlib import closing

from sinch_qn.bulk import ChallengeState, Entry
from sinch_qn.bulk.preview import RunPreview
from sinch_qn.parsing import parse_phone_number, read_numbers


def test_a_preview_takes_no_memory() -> None:
    """The numbers of a file are kept on disk, duplicates and all."""
    lines = (f"202{exchange}{n:04}\n" for exchange in (555, 556, 555) for n in range(2_000))
    parse_phone_number("2025550134")  # loads the tables of phonenumbers
    with closing(RunPreview()) as preview:
        tracemalloc.start()
        try:
            preview.add_lines(read_numbers(lines, find_duplicates=False))
            preview.mark_known(
                Entry(number=f"+1202555{n:04}", state=ChallengeState.VERIFIED) for n in range(1_500)
            )
            added = sum(1 for _ in preview.new_numbers(None))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (preview.new, preview.known, preview.settled) == (2_500, 1_500, 1_500)
        assert preview.duplicates == 2_000
        assert added == 4_000
        assert preview.to_add(5) == 5
        assert len(list(preview.warnings())) == 0, "the first twenty are in the journal"
    assert peak < 500_000


def test_each_bad_line_is_kept() -> None:
    """Bad lines are kept by line, also with the same text; none hides a good number."""
    lines = [
        *("phone,name\n", "unknown,A\n", "unknown,B\n", ",+12025550134\n"),
        *("+12025550134,C\n", "unknown,D\n", "202-555-0134,E\n"),
    ]
    with closing(RunPreview()) as preview:
        preview.add_lines(read_numbers(lines, find_duplicates=False))
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


def test_invalid_entries_of_corrected_lines_are_stale() -> None:
    """An invalid entry is stale once its line is good, other, moved or gone; others are kept."""

    def invalid(number: str, line: int) -> Entry:
        return Entry(number=number, line=line, state=ChallengeState.INVALID)

    kept = [invalid("unknown (line 2)", 2), invalid("of a bot", 1), Entry(number="x", line=9)]
    stale = [
        invalid("unknown (line 3)", 3),
        invalid("202555 (line 4)", 4),
        invalid("unknown (line 5)", 5),
    ]
    lines = ["phone,name\n", "unknown,A\n", "+12025550134,B\n", "unknown,C\n"]
    with closing(RunPreview()) as preview:
        preview.add_lines(read_numbers(lines, find_duplicates=False))
        preview.mark_known([*kept, *stale])
        assert list(preview.stale_numbers()) == [entry.number for entry in stale]
