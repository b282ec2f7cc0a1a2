"""An INVALID entry goes when its reason does: its number is PENDING, or its line is corrected."""

from __future__ import annotations

from contextlib import closing

from sinch_qn.bulk import CallingHours, ChallengeState, Entry, Journal, NewNumber
from sinch_qn.bulk.admission import AddReport, Admission
from sinch_qn.bulk.preview import RunPreview
from sinch_qn.parsing import read_numbers
from tests.support.journals import Backend, called, claim, rows
from tests.support.runs import NUMBER, OTHER

TOLL_FREE = "+18005550134"


async def add(journal: Journal, *new: str | NewNumber, zone: str | None = None) -> AddReport:
    """Add numbers that are called in the daytime of *zone*, if their own is not known."""
    hours = CallingHours("09:00-20:00", default_zone=zone)
    running = Admission(journal=journal, hours=hours, clock=lambda: 1.0, check_running=lambda: None)
    return await running.add(new)


async def kept(journal: Journal) -> list[tuple[str, ChallengeState]]:
    """Return the numbers with their states; the counts must agree."""
    found = [(entry.number, entry.state) for entry in await rows(journal)]
    states = [state for _, state in found]
    assert await journal.counts() == {state: states.count(state) for state in ChallengeState}
    return found


async def test_a_number_that_was_invalid_is_pending_when_its_reason_has_gone(
    backend: Backend,
) -> None:
    """Rule 25: once its zone is known, an INVALID number that is added again is PENDING."""
    journal = backend.journal
    await called(journal, NUMBER)
    assert (await add(journal, TOLL_FREE, NUMBER)).invalid_count == 1
    assert await journal.get(TOLL_FREE) is not None
    again = await add(journal, TOLL_FREE)
    assert (again.added, again.already, again.invalid_count) == (0, 0, 1)
    report = await add(journal, TOLL_FREE, NUMBER, zone="America/New_York")
    assert (report.added, report.already, report.invalid_count) == (1, 1, 0)
    entry = await journal.get(TOLL_FREE)
    assert entry is not None
    assert (entry.state, entry.settled_at, entry.note) == (ChallengeState.PENDING, None, None)
    assert await claim(journal, entry.todo, 1.0) == [TOLL_FREE]
    await add(journal, TOLL_FREE)
    assert await kept(journal) == [
        (NUMBER, ChallengeState.AWAITING_CODE),
        (TOLL_FREE, ChallengeState.PENDING),
    ]


async def test_a_corrected_line_takes_its_old_entry_away(backend: Backend) -> None:
    """Rule 25: a line of a file has one entry: as it reads now. Lines of nothing else are kept."""
    journal = backend.journal
    bad = "202-555-013"
    old = [NewNumber(number=bad, line=n, problem="too short") for n in (2, 3, 13)]
    await add(journal, *old, bad, f"{bad} (line 7)", TOLL_FREE)
    assert len(await kept(journal)) == 6
    await add(
        journal,
        NewNumber(number=NUMBER, line=2),
        NewNumber(number="202-555", line=3, problem="too short"),
        NewNumber(number=bad, line=13, problem="too short"),
        OTHER,
    )
    invalid = ChallengeState.INVALID
    assert set(await kept(journal)) == {
        (NUMBER, ChallengeState.PENDING),
        (OTHER, ChallengeState.PENDING),
        (TOLL_FREE, invalid),
        (bad, invalid),
        (f"{bad} (line 13)", invalid),
        (f"{bad} (line 7)", invalid),
        ("202-555 (line 3)", invalid),
    }
    await journal.remove_corrected({3: "", 7: "", 13: ""})  # blank or deleted now
    assert {number for number, state in await kept(journal) if state is invalid} == {
        *(TOLL_FREE, bad, f"{bad} (line 7)"),
    }


async def test_a_good_line_replaces_its_bad_number(backend: Backend) -> None:
    """Rule 25: a line that was INVALID only for want of a zone is one PENDING entry later."""
    journal = backend.journal
    line = NewNumber(number=TOLL_FREE, line=2)
    await add(journal, line)
    assert await kept(journal) == [(f"{TOLL_FREE} (line 2)", ChallengeState.INVALID)]
    await add(journal, line, zone="America/New_York")
    assert await kept(journal) == [(TOLL_FREE, ChallengeState.PENDING)]


def test_a_preview_counts_an_invalid_number_as_new() -> None:
    """Rule 22: a number that was INVALID, and is valid in the file now, is announced as a call."""
    invalid = Entry(number=TOLL_FREE, state=ChallengeState.INVALID, settled_at=1.0)
    with closing(RunPreview()) as preview:
        preview.add_lines(read_numbers(["phone\n", TOLL_FREE], find_duplicates=False))
        preview.mark_known([invalid])
        assert (preview.new, preview.to_call(None), preview.to_call(1)) == (1, 1, 1)
        assert preview.counts[ChallengeState.INVALID] == 1
