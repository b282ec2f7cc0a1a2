"""Summaries: exact and bounded in memory."""

from __future__ import annotations

from sinch_qn.bulk.report.summary import Summary, Timeline
from sinch_qn.bulk.states import ChallengeState
from tests.support.run_rows import T, entry


def test_only_verified_codes_have_a_wait() -> None:
    """Only verified codes are counted, by the time from call to verification."""
    rows = [entry(settled_at=T + 20)] * 6 + [entry(settled_at=T + 400)] * 3
    rows += [entry(settled_at=T + 90_000), entry(ChallengeState.FAILED, settled_at=T + 5)]
    assert Summary.of(rows).waits == [0, 6, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 1]


def test_a_timeline_is_bounded() -> None:
    """The timeline of a long run has at most a thousand points, and counts every number."""
    timeline = Timeline()
    for i in range(5000):
        timeline.add(T + 977.0 * i, verified=i % 2 == 0)
    curve = timeline.curve()
    assert len(curve) <= 1001
    assert curve[0][1:] == (0, 0)
    assert curve[-1][1:] == (5000, 2500)
    assert curve == sorted(curve)


def test_only_what_a_person_must_do_is_counted() -> None:
    """A number that will be called anyway needs nobody, also if its invoices could be sent."""
    rows = [entry(ChallengeState.PENDING, added=True), entry(ChallengeState.EXPIRED)]
    assert Summary.of(rows).advised.total() == 1
