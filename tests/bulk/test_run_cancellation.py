"""A run that is cancelled, or left while requests are in flight."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence

import pytest

from sinch_qn._operations import GET_NUMBER, SEND_VOICE_CHALLENGE, VERIFY_VOICE_CHALLENGE, Operation
from sinch_qn.bulk import ChallengeState, Journal, MemoryJournal
from sinch_qn.bulk.states import Change, Entry, Event
from sinch_qn.errors import (
    BadRequestError,
    InvalidRequestError,
    JournalError,
    NotFoundError,
    SinchError,
)
from tests.support.cancellation import cancel_everywhere, cancelled_after
from tests.support.fake_sinch import Sinch
from tests.support.runs import NUMBER, OTHER, Recording, numbers, run_of, state_of, until
from tests.support.virtual_clock import virtual_clock


async def call_verify_and_recall(sinch: Sinch, journal: Journal, drain_timeout: float) -> None:
    """Call two numbers; verify one, recall the other and verify it, too."""
    run = run_of(sinch, journal, drain_timeout=drain_timeout)
    async with run:
        await run.add([NUMBER, OTHER, "+18765550134"])
        missed = False
        async for event in run.events():
            if event.what not in {"called", "lost", "verified"}:
                continue
            if event.what == "verified":
                if (await run.counts())[ChallengeState.VERIFIED] == 2:
                    break
            elif event.number == OTHER and not missed:
                missed = True
                await run.recall(OTHER)
            else:
                await run.submit_code(event.number, sinch.codes[event.number])
        await run.finish()


async def finish_later(sinch: Sinch, journal: Recording) -> None:
    """Resume the run that was cancelled; every number must be settled, none called again."""
    recalled = {entry.number for entry in journal.rows() if entry.attempt == 2 or entry.to_ring}
    run = run_of(sinch, journal)
    async with run:
        await run.add([NUMBER, OTHER])

        async def settled() -> bool:
            for number in (NUMBER, OTHER):
                with contextlib.suppress(InvalidRequestError):
                    if number in sinch.codes:
                        await run.submit_code(number, sinch.codes[number])
            entries = [await run.result(each) for each in (NUMBER, OTHER)]
            return all(entry is not None and entry.settled_at is not None for entry in entries)

        await until(settled, seconds=2000.0, step=1.0)
        for number in (NUMBER, OTHER):
            assert await state_of(run, number) is (
                ChallengeState.VERIFIED if sinch.rings[number] else ChallengeState.UNKNOWN
            )
            assert sinch.rings[number] <= (2 if number in recalled or number == OTHER else 1)


async def cancel_and_resume(drain_timeout: float, *iterations: int) -> bool:
    """Cancel a run, check what it left, and resume it; return whether it was cancelled."""
    sinch = Sinch([NUMBER, OTHER])
    journal = Recording(sinch.log)
    task = await cancelled_after(call_verify_and_recall(sinch, journal, drain_timeout), *iterations)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not journal._runner is not None
    for entry in journal.rows():
        assert entry.state is not ChallengeState.CALLING
        assert sinch.rings[entry.number] <= entry.attempt <= 2
    assert not [key for key, outcome in journal._store.log.items() if outcome is None]
    await finish_later(sinch, journal)
    if not task.cancelled():
        task.result()
    return task.cancelled()


@pytest.mark.parametrize("drain_timeout", [60.0, 0.001])
@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
def test_cancellation_at_every_iteration(*, drain_timeout: float, twice: bool) -> None:
    """Rule 3, P9: cancelled anywhere, a run leaves no task, lock or open intent.

    An intent that was not sent is withdrawn, and the next run resumes from there. No phone is
    called twice, also if the cancellation is repeated while the run drains.
    """
    ran = cancel_everywhere(
        lambda k: cancel_and_resume(drain_timeout, *((k, k + 1) if twice else (k,)))
    )
    assert ran > 50


@virtual_clock
async def test_leaving_drains() -> None:
    """Leaving lets in-flight requests finish and starts nothing new, also if the body raises."""
    sinch = Sinch(numbers(40), latency=2.0)
    journal = MemoryJournal()
    run = run_of(sinch, journal, calls_per_second=10.0)

    async def leave_with_an_error() -> None:
        async with run:
            await run.add(numbers(40))
            await until(lambda: sinch.count(SEND_VOICE_CHALLENGE) == 15)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await leave_with_an_error()
    assert sinch.count(SEND_VOICE_CHALLENGE) <= 16
    found = Counter(entry.state for entry in journal.rows())
    assert found[ChallengeState.AWAITING_CODE] == sinch.count(SEND_VOICE_CHALLENGE)
    assert found[ChallengeState.AWAITING_CODE] + found[ChallengeState.PENDING] == 40
    with pytest.raises(InvalidRequestError, match="inside its 'async with'"):
        await run.add([NUMBER])


@virtual_clock
async def test_draining_is_bounded() -> None:
    """P9: a request that outlasts `drain_timeout` is cancelled, and UNKNOWN if it was sent."""
    sinch = Sinch(numbers(3), latency=0.0)
    journal = MemoryJournal()

    def hang(operation: Operation[object], _: str | None) -> None:
        if operation is SEND_VOICE_CHALLENGE:  # from the middle of the first call on
            sinch.latency = 10_000.0

    async with run_of(sinch, journal, drain_timeout=5.0) as run:
        await run.add(numbers(3))
        sinch.before = hang
        await until(lambda: sinch.count(SEND_VOICE_CHALLENGE) == 3)
        left = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - left == pytest.approx(5.0, abs=0.5)
    # The first waited for its response; the others were not sent.
    assert [entry.state for entry in journal.rows()] == [
        ChallengeState.UNKNOWN,
        ChallengeState.PENDING,
        ChallengeState.PENDING,
    ]
    assert sinch.rings == {numbers(1)[0]: 1}


@pytest.mark.parametrize(
    ("refused", "error", "outcome"),
    [
        (
            SEND_VOICE_CHALLENGE,
            NotFoundError("hm", status_code=404),
            (ChallengeState.PENDING, 0, 0),
        ),
        (
            VERIFY_VOICE_CHALLENGE,
            BadRequestError("the code 1234 is wrong", status_code=400),
            (ChallengeState.AWAITING_CODE, 1, 1),
        ),
    ],
    ids=["call", "code"],
)
@virtual_clock
async def test_a_refusal_whose_look_up_is_cancelled(
    refused: Operation[object], error: SinchError, outcome: tuple[ChallengeState, int, int]
) -> None:
    """Rules 3 and 14: cancelled in the look-up behind it, a 404 to a call makes the call due again.

    A refused code stays refused.
    """
    sinch, journal = Sinch([NUMBER]), MemoryJournal()

    def refuse(operation: Operation[object], _: str | None) -> SinchError | None:
        if operation is refused:
            sinch.latency = 10_000.0
            return error
        return None

    sinch.before = refuse
    async with run_of(sinch, journal, drain_timeout=1.0) as run:
        await run.add([NUMBER])
        if refused is VERIFY_VOICE_CHALLENGE:
            await until(lambda: NUMBER in sinch.codes)
            await asyncio.sleep(1.0)
            await run.submit_code(NUMBER, "1234")
        await until(lambda: sinch.count(GET_NUMBER) == 2)
    (entry,) = journal.rows()
    assert (entry.state, entry.attempt, entry.codes_used) == outcome
    assert entry.codes_waiting == 0
    assert "1234" not in str(entry.note)
    assert sinch.rings[NUMBER] == entry.attempt


@virtual_clock
async def test_a_listing_ends_when_the_run_is_left() -> None:
    """A listing of many pages does not delay leaving the run."""
    sinch = Sinch(numbers(5000), latency=1.0)
    sinch.page_cap = 10
    sinch.total_size = 100
    async with run_of(sinch) as run:
        await run.add(numbers(400))
        await until(lambda: sinch.count("list") == 15)
    assert sinch.count("list") < 20


@virtual_clock
async def test_leaving_does_not_wait_for_a_journal_that_is_down() -> None:
    """P8: a run whose last outcomes cannot be committed closes its journal, and ends."""
    closed = asyncio.Event()

    class Down(MemoryJournal):
        async def apply(self, changes: Sequence[Change]) -> list[Entry | None]:
            if any(change.event is Event.CALL_UNKNOWN for change in changes):
                await closed.wait()
                raise JournalError("down")
            return await super().apply(changes)

        async def close(self) -> None:
            closed.set()
            await super().close()

    def hang(operation: Operation[object], _: str | None) -> None:
        if operation is SEND_VOICE_CHALLENGE:
            sinch.latency = 10_000.0

    sinch = Sinch([NUMBER])
    sinch.before = hang
    run = run_of(sinch, Down(), drain_timeout=1.0)

    async def leave_while_down() -> None:
        async with run:
            await run.add([NUMBER])
            await until(lambda: sinch.count(SEND_VOICE_CHALLENGE))
            await asyncio.sleep(1.0)

    async with asyncio.timeout(60.0):
        with pytest.raises(JournalError, match="down"):
            await leave_while_down()
    assert run._task is not None
    assert run._task.done()
