"""The orders of a text-enabling run are followed until their numbers are hosted."""

from __future__ import annotations

from pathlib import Path

import attrs

from sinch_qn.bulk import SqliteJournal
from sinch_qn.models import GlobalProcessState as SinchState
from tests.support.loa import DIRECT
from tests.support.text_enabling import REQUEST, US, FaultySandbox, RunOf, finish, journal_with


async def test_orders_are_followed_to_their_end(sandbox: FaultySandbox, run_of: RunOf) -> None:
    """The state of each number is recorded until it is hosted, or failed with Sinch's reason.

    `settled_at` and the note of a verified number stay.
    """
    fails = "+12025559997"
    journal = await journal_with(sandbox, [*US[:50], fails])
    report = await finish(run_of(journal))
    assert report.hosting == {SinchState.HOSTING_DONE: 50, SinchState.HOSTING_FAILED: 1}
    entry = await journal.get(fails)
    assert entry is not None
    assert (entry.remote, entry.settled_at) == (SinchState.HOSTING_FAILED, 5.0)
    assert entry.note == "hosting failed: The number could not be hosted."
    entry = await journal.get(US[0])
    assert entry is not None
    assert (entry.remote, entry.note) == (SinchState.HOSTING_DONE, "by a code")
    assert sandbox.calls.total("getQualifiedNumber") == 0


async def test_another_run_resumes_following(
    sandbox: FaultySandbox, run_of: RunOf, tmp_path: Path
) -> None:
    """Following ends after `follow` seconds, without an error; another run resumes it.

    Once all numbers are hosted nothing is requested.
    """
    unsigned = "+12025559999"
    path = tmp_path / "run.db"
    await journal_with(sandbox, [unsigned, *US[:2]], SqliteJournal(path))
    letter = attrs.evolve(REQUEST, blanket_loa_info=None, direct_loa_info=DIRECT)
    report = await finish(run_of(SqliteJournal(path), letter, follow=0.3))
    assert report.hosting == {SinchState.HOSTING_IN_PROGRESS: 3}
    sandbox.sign_loa(report.orders[0])
    report = await finish(run_of(SqliteJournal(path), letter))
    assert report.hosting == {SinchState.HOSTING_DONE: 3}
    looked_up = sandbox.calls.totals()
    assert (await finish(run_of(SqliteJournal(path), letter))).hosting == report.hosting
    assert sandbox.calls.totals() == looked_up
