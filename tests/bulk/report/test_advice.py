"""Advice: every number and batch that waits for a person says what to do, and no other does."""

from __future__ import annotations

import pytest

from sinch_qn.bulk import outcomes
from sinch_qn.bulk.journal import BatchState
from sinch_qn.bulk.report.advice import what_to_do, what_to_do_about
from sinch_qn.bulk.states import ChallengeState, Entry
from sinch_qn.models import GlobalProcessState
from tests.support.run_rows import batch, entry

S = ChallengeState
G = GlobalProcessState


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
