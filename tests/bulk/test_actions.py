"""What people do to a run, from any process that has its journal open."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sinch_qn.bulk import (
    BatchState,
    ChallengeState,
    Entry,
    Journal,
    MemoryJournal,
    SqliteJournal,
    Submission,
    recall,
    submit_code,
)
from sinch_qn.bulk.actions import free_batch
from sinch_qn.bulk.states import Event
from sinch_qn.errors import InvalidRequestError
from sinch_qn.models import GlobalProcessState as SinchState
from tests.support.fake_sinch import Sinch
from tests.support.journals import called, happen, opened, query, take_code
from tests.support.runs import NUMBER, OTHER, WallClock, run_of, until, until_state

OTHER_PROCESS = """
import asyncio, sys
from sinch_qn.bulk import SqliteJournal, recall, submit_code
from sinch_qn.bulk.actions import free_batch
async def main():
    path, number, other, verified = sys.argv[1:]
    journal = SqliteJournal(path)
    await journal.open(None, running=False)
    for _ in range(2):
        print((await submit_code(journal, number, "0042")).value)
    print((await recall(journal, other)).state.value)
    print((await free_batch(journal, 1)).numbers == (verified,))
    await journal.close()
asyncio.run(main())
"""


@pytest.fixture
async def beside(path: Path) -> AsyncIterator[SqliteJournal]:
    """Return the journal as another process has it, beside a run that was started before."""
    await (await opened(path)).close()
    journal = await opened(path, running=False)
    yield journal
    await journal.close()


async def test_another_process_acts(path: Path) -> None:
    """P8: what another process did is in the live journal once its call has returned."""
    verified = "+12025550136"
    journal = await opened(path)
    await called(journal, NUMBER, OTHER)
    await journal.add(
        [Entry(number=verified, state=ChallengeState.VERIFIED, remote=SinchState.VERIFIED)]
    )
    assert await journal.claim_batch(toll_free=False, region=None, limit=1, at=1.0)
    await journal.record_batch_outcome(1, BatchState.UNKNOWN, only_from=[BatchState.SENDING])
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OTHER_PROCESS, str(path), NUMBER, OTHER, verified),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert out.decode().split() == ["accepted", "duplicate", "pending", "True"]
    claimed = await take_code(journal, NUMBER, 2.0)
    assert claimed is not None
    assert claimed[1] == "0042"
    recalled = await journal.get(OTHER)
    assert recalled is not None
    assert recalled.to_ring
    batch = await journal.claim_batch(toll_free=False, region=None, limit=1, at=2.0)
    assert batch is not None
    assert batch.numbers == (verified,)
    await journal.close()


async def test_a_live_run_sends_the_code(path: Path, beside: SqliteJournal) -> None:
    """Rule 12: a run sends a code from another process within a poll, with its leading zeros."""
    sinch = Sinch([NUMBER], latency=0.0)
    async with run_of(sinch, SqliteJournal(path)) as run:
        await run.add([NUMBER])
        await until_state(run, ChallengeState.AWAITING_CODE)
        sinch.codes[NUMBER] = "0042"
        assert await submit_code(beside, NUMBER, "0042") is Submission.ACCEPTED
        assert await submit_code(beside, NUMBER, "0042") is Submission.DUPLICATE
        await until_state(run, ChallengeState.VERIFIED, seconds=5.0)


async def test_a_live_run_calls_again(path: Path, beside: SqliteJournal) -> None:
    """Rule 10: a run calls a number that another process recalls within a poll."""
    sinch = Sinch([NUMBER], latency=0.0)
    async with run_of(sinch, SqliteJournal(path)) as run:
        await run.add([NUMBER])
        await until_state(run, ChallengeState.AWAITING_CODE)
        entry = await recall(beside, NUMBER, at=WallClock()())
        assert entry.state is ChallengeState.PENDING
        await until(lambda: sinch.rings[NUMBER] == 2, seconds=5.0)


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        (None, "is not in this run"),
        ((), "was not called yet"),
        ((Event.ALREADY_VERIFIED,), "is skipped"),
        ((Event.CALL, Event.BLOCKED), "is blocked"),
    ],
    ids=["unknown", "pending", "skipped", "blocked"],
)
async def test_a_code_that_is_refused(
    journal: Journal, events: tuple[Event, ...] | None, reason: str
) -> None:
    """Rule 12: a code is refused, with the reason, for a number never called or settled."""
    if events is not None:
        await journal.add([Entry(number=NUMBER)])
        await happen(journal, NUMBER, *events)
    with pytest.raises(InvalidRequestError, match=f"•••0134 {reason}: it accepts no code"):
        await submit_code(journal, NUMBER, "0042")


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        (None, "is not in this run"),
        ((), "is pending"),
        ((Event.CALL,), "is calling"),
        ((Event.ALREADY_VERIFIED,), "is skipped"),
    ],
    ids=["unknown", "pending", "calling", "skipped"],
)
async def test_a_recall_that_is_refused(
    journal: Journal, events: tuple[Event, ...] | None, reason: str
) -> None:
    """Rule 10: a recall is refused, with the reason, unless the call may have been missed."""
    if events is not None:
        await journal.add([Entry(number=NUMBER)])
        await happen(journal, NUMBER, *events)
    with pytest.raises(
        InvalidRequestError, match=rf"\+1202•••0134 {reason}: it cannot be recalled"
    ):
        await recall(journal, NUMBER)


@pytest.mark.parametrize("number", ["202-555-0134", "", 12025550134])
async def test_arguments_are_checked(number: object) -> None:
    """A number that is not E.164, and a code that is not text, are refused before the journal."""
    journal = MemoryJournal()
    with pytest.raises(InvalidRequestError, match="phone_number"):
        await submit_code(journal, number, "0042")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="phone_number"):
        await recall(journal, number)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="code"):
        await submit_code(journal, NUMBER, 42)  # type: ignore[arg-type]


async def test_an_action_is_dated(path: Path, beside: SqliteJournal) -> None:
    """An action has the wall clock's time, or the one that is given."""
    await called(beside, NUMBER, OTHER)
    await submit_code(beside, NUMBER, "0042")
    await submit_code(beside, OTHER, "0042", at=7.0)
    now, given = query(path, "SELECT received_at FROM inbox ORDER BY id")
    assert now[0] == pytest.approx(time.time(), abs=60.0)
    assert given[0] == 7.0


@pytest.mark.parametrize("state", BatchState)
async def test_which_batches_can_be_freed(journal: Journal, state: BatchState) -> None:
    """Rule 23: a person may free a REJECTED or UNKNOWN batch; its numbers go into another one."""
    await journal.add(
        [Entry(number=NUMBER, state=ChallengeState.VERIFIED, remote=SinchState.VERIFIED)]
    )
    batch = await journal.claim_batch(toll_free=False, region=None, limit=1, at=1.0)
    assert batch is not None
    sending = [BatchState.SENDING]
    await journal.record_batch_outcome(batch.id, state, only_from=sending, note="as it was")
    (before,) = await journal.batches()
    if state in {BatchState.REJECTED, BatchState.UNKNOWN}:
        assert await free_batch(journal, batch.id) == before
        (after,) = await journal.batches()
        assert (after.state, after.numbers) == (BatchState.NOT_SENT, ())
        assert "freed by a person" in str(after.note)
        again = await journal.claim_batch(toll_free=False, region=None, limit=1, at=2.0)
        assert again is not None
        assert again.numbers == (NUMBER,)
    else:
        with pytest.raises(InvalidRequestError, match=f"batch {batch.id} is {state.value}"):
            await free_batch(journal, batch.id)
        assert await journal.batches() == [before]


async def test_a_batch_that_does_not_exist() -> None:
    """A batch id that is not in the journal is refused."""
    with pytest.raises(InvalidRequestError, match="there is no batch 9 in this journal"):
        await free_batch(MemoryJournal(), 9)
