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
