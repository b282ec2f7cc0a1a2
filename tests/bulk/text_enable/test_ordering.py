"""Which numbers a text-enabling run orders, and what it checks first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from sinch_qn import QualifiedNumbersClient
from sinch_qn.bulk import SqliteJournal, VoiceChallengeRun
from sinch_qn.bulk.journal import BatchState, MemoryJournal
from sinch_qn.bulk.states import ChallengeState
from sinch_qn.errors import InvalidRequestError, JournalError
from sinch_qn.models import GlobalProcessState as SinchState
from tests.support.text_enabling import (
    CA,
    FREE,
    REQUEST,
    TOLL_FREE,
    US,
    FaultySandbox,
    RunOf,
    finish,
    journal_with,
    verified,
)


async def test_verified_numbers_are_ordered(sandbox: FaultySandbox, run_of: RunOf) -> None:
    """Rule 23: each verified number is in one order, of its region, of `batch_size` at most."""
    journal = await journal_with(sandbox, [*US, *CA])
    report = await finish(run_of(journal, batch_size=30))
    assert [len(numbers) for numbers in sandbox.sent] == [30, 30, 30, 10, 20]
    assert sorted(number for numbers in sandbox.sent for number in numbers) == sorted([*US, *CA])
    assert [order.request["regionCode"] for order in sandbox.world.orders.values()] == [
        *["US"] * 4,
        "CA",
    ]
    assert report.batches[BatchState.ORDERED] == 5
    assert report.orders == list(sandbox.world.orders)
    assert report.hosting == {SinchState.HOSTING_DONE: 120}
    assert (report.left, report.toll_free_left, report.stopped) == (0, 0, None)


async def test_only_the_verified_are_ordered(sandbox: FaultySandbox, run_of: RunOf) -> None:
    """A SKIPPED number is ordered if it is VERIFIED at Sinch; hosted and open ones are not."""
    journal = await journal_with(sandbox, US[:1])
    sandbox.add(US[1:2], SinchState.VERIFIED)
    await journal.add(
        [
            *verified(US[1:2], state=ChallengeState.SKIPPED),
            *verified(US[2:3], state=ChallengeState.SKIPPED, remote=SinchState.HOSTING_DONE),
            *verified(US[3:4], state=ChallengeState.UNKNOWN),
            *verified(US[4:5], state=ChallengeState.PENDING),
        ]
    )
    report = await finish(run_of(journal))
    assert sandbox.sent == [US[:2]]
    assert report.hosting == {SinchState.HOSTING_DONE: 2}


async def test_toll_free_numbers_have_their_own_operation(
    sandbox: FaultySandbox, run_of: RunOf
) -> None:
    """Rule 23: toll-free numbers have their own operation; without its request they are left."""
    journal = await journal_with(sandbox, [*US[:3], *FREE])
    report = await finish(run_of(journal))
    assert sandbox.calls.total("textEnableTollFreeNumbers") == 0
    assert (report.left, report.toll_free_left) == (10, 10)
    report = await finish(run_of(journal, toll_free_request=TOLL_FREE))
    assert sandbox.calls.total("textEnableNumbers") == 1
    assert sandbox.sent == [US[:3], FREE]
    assert [order.toll_free for order in sandbox.world.orders.values()] == [False, True]
    assert report.hosting == {SinchState.HOSTING_DONE: 13}
    assert report.toll_free_left == 0
    assert len(report.orders) == 2


async def test_a_run_may_be_repeated(sandbox: FaultySandbox, run_of: RunOf) -> None:
    """Another run orders the numbers that were verified since, and no others."""
    journal = await journal_with(sandbox, US[:5])
    await finish(run_of(journal))
    await finish(run_of(journal))
    assert sandbox.sent == [US[:5]]
    sandbox.add(US[5:7], SinchState.VERIFIED)
    await journal.add(verified(US[5:7]))
    await finish(run_of(journal))
    assert sandbox.sent == [US[:5], US[5:7]]


async def test_the_pace(sandbox: FaultySandbox, run_of: RunOf, sleeps: list[float]) -> None:
    """Batches are placed at `batches_per_second` at most."""
    journal = await journal_with(sandbox, US[:3])
    await finish(run_of(journal, batch_size=1, batches_per_second=4, follow=0.0))
    assert set(sleeps) == {0.25}


async def test_one_runner_at_a_time(
    sandbox: FaultySandbox,
    client: QualifiedNumbersClient,
    run_of: RunOf,
    tmp_path: Path,
) -> None:
    """Rule 11: text-enabling is refused while a voice-challenge run uses the journal."""
    journal = SqliteJournal(tmp_path / "run.db")
    async with VoiceChallengeRun(client, journal):
        for other in (journal, SqliteJournal(tmp_path / "run.db")):
            with pytest.raises(JournalError):
                await finish(run_of(other))
    await finish(run_of(journal))


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"batch_size": 501},
        {"batch_size": True},
        {"batches_per_second": 0},
        {"follow": -1},
        {"request": attrs.evolve(REQUEST, blanket_loa_info=None)},
        {"request": attrs.evolve(REQUEST, project_id="another")},
        {"request": TOLL_FREE},
        {"toll_free_request": attrs.evolve(TOLL_FREE, direct_loa_info=None)},
        {"toll_free_request": REQUEST},
    ],
    ids=lambda options: next(iter(options)),
)
async def test_invalid_arguments(run_of: RunOf, options: dict[str, Any]) -> None:
    """A template or an option that Sinch would refuse is refused at construction."""
    with pytest.raises(InvalidRequestError):
        run_of(MemoryJournal(), **options)


async def test_a_run_that_cannot_start_releases_its_journal(
    run_of: RunOf,
) -> None:
    """A run whose journal cannot be read leaves no lock."""

    class Broken(MemoryJournal):
        async def batches(self) -> Any:
            raise JournalError("damaged")

    journal = Broken()
    for _ in range(2):
        with pytest.raises(JournalError, match="damaged"):
            await finish(run_of(journal))
