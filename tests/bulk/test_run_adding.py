"""Numbers that Sinch does not know: a run with `add_missing` adds them first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from sinch_qn._operations import ADD_NUMBERS, GET_NUMBER, Operation
from sinch_qn.bulk import ChallengeState, Entry, MemoryJournal
from sinch_qn.bulk.states import Change, Event
from sinch_qn.errors import (
    AuthenticationError,
    ConnectError,
    NotFoundError,
    RateLimitError,
    TokenError,
    TransportError,
)
from sinch_qn.sandbox import Sandbox
from tests.support.fake_sinch import Sinch, always, first
from tests.support.runs import NUMBER, finish, numbers, run_of, until
from tests.support.virtual_clock import virtual_clock


@virtual_clock
async def test_missing_numbers_are_added() -> None:
    """Rule 7: with `add_missing` numbers that Sinch does not know are added, 500 in a request."""
    sinch = Sinch()
    report = await finish(run_of(sinch, add_missing=True), numbers(600), sinch.codes.get)
    assert report.counts[ChallengeState.VERIFIED] == 600
    assert sinch.count(ADD_NUMBERS) <= 4
    assert all(entry.added for entry in report.rows())
    assert set(sinch.rings.values()) == {1}


@virtual_clock
async def test_an_addition_waits_for_each_look_up() -> None:
    """Rule 7: numbers are added together once all look-ups are recorded, however long that takes.

    A look-up counts until its result is committed: it may be one more to add.
    """
    first_number, last_number = numbers(2)

    class Slow(MemoryJournal):
        async def apply(self, changes: Sequence[Change]) -> list[Entry | None]:
            if any(c.number == last_number and c.event is Event.POSTPONED for c in changes):
                await asyncio.sleep(5.0)
            return await super().apply(changes)

    sinch = Sinch()
    run = run_of(sinch, Slow(), add_missing=True)
    report = await finish(run, [first_number, last_number], sinch.codes.get)
    assert report.counts[ChallengeState.VERIFIED] == 2
    assert sinch.count(ADD_NUMBERS) == 1


@virtual_clock
async def test_an_addition_that_was_refused_is_repeated_one_by_one() -> None:
    """Rule 7: if an addition of many is refused, each number is added alone: one bad one fails."""
    bad, *good = numbers(4)
    sinch = Sinch()
    sinch.refuses_to_add = {bad}
    run = run_of(sinch, add_missing=True)
    report = await finish(run, [bad, *good], sinch.codes.get)
    assert (report.counts[ChallengeState.FAILED], report.counts[ChallengeState.VERIFIED]) == (1, 3)
    failed, *_ = report.rows()
    assert "could not be added" in str(failed.note)
    assert sinch.count(ADD_NUMBERS) == 1 + 4


@virtual_clock
async def test_an_addition_that_was_not_sent_is_sent_later() -> None:
    """Rule 2: after a 429, or without a connection, numbers are added half a minute later."""
    sinch = Sinch()
    sinch.before = first(
        ADD_NUMBERS, ConnectError("refused"), RateLimitError("slow", status_code=429)
    )
    run = run_of(sinch, add_missing=True)
    assert (await finish(run, numbers(4), sinch.codes.get)).counts[ChallengeState.VERIFIED] == 4
    assert sinch.count(ADD_NUMBERS) == 3
    assert asyncio.get_running_loop().time() > 60.0


@pytest.mark.parametrize(
    ("arrived", "state"), [(True, ChallengeState.VERIFIED), (False, ChallengeState.FAILED)]
)
@virtual_clock
async def test_an_unknown_addition_is_never_retried(
    *, arrived: bool, state: ChallengeState
) -> None:
    """Rule 7: an addition whose response was lost is not retried: its numbers are looked up."""
    sinch = Sinch()
    fault = always(ADD_NUMBERS, TransportError("reset"))
    if arrived:
        sinch.after = fault
    else:
        sinch.before = fault
    report = await finish(run_of(sinch, add_missing=True), numbers(3), sinch.codes.get)
    assert report.counts[state] == 3
    assert sinch.count(ADD_NUMBERS) == 1


@virtual_clock
async def test_an_addition_waits_for_a_token() -> None:
    """Rule 1: a token is acquired before numbers are added."""
    sinch = Sinch()
    sinch.prepare_fails = [TokenError("down")]
    run = run_of(sinch, add_missing=True)
    assert (await finish(run, numbers(2), sinch.codes.get)).counts[ChallengeState.VERIFIED] == 2


@virtual_clock
async def test_an_addition_with_refused_credentials_stops_the_run() -> None:
    """Rule 6: credentials that are refused when numbers are added stop the run."""
    sinch = Sinch()
    sinch.before = always(ADD_NUMBERS, AuthenticationError("refused", status_code=401))
    with pytest.raises(AuthenticationError):
        await finish(run_of(sinch, add_missing=True), numbers(2))


@pytest.mark.parametrize("sent", [False, True])
@virtual_clock
async def test_a_cancelled_addition_is_repeated_only_if_it_was_not_sent(*, sent: bool) -> None:
    """Rule 3: the intent of an addition is withdrawn if it was cancelled before it was sent."""
    sinch, journal = Sinch(), MemoryJournal()

    def hang(operation: Operation[object], _: str | None) -> None:
        # From here on requests take hours, to be sent (from the look-up on) or to return.
        if operation is (ADD_NUMBERS if sent else GET_NUMBER):
            sinch.latency = 10_000.0

    sinch.before = hang
    if not sent:
        sinch.after = always(GET_NUMBER, NotFoundError("?", status_code=404))
    async with run_of(sinch, journal, add_missing=True, drain_timeout=1.0) as run:
        await run.add([NUMBER])
        await until(lambda: sinch.count(ADD_NUMBERS), seconds=100.0)
        await asyncio.sleep(1.0)
    (entry,) = journal.rows()
    assert entry.added is sent


@virtual_clock
async def test_the_outcome_of_an_addition_is_committed_at_once() -> None:
    """Rule 3: an addition that was not sent leaves no number added, even if the run is cut off."""

    class Slow(MemoryJournal):
        async def apply(self, changes: Sequence[Change]) -> list[Entry | None]:
            applied = await super().apply(changes)
            if any(change.event is Event.ADD_NOT_SENT for change in changes):
                await asyncio.sleep(10.0)
            return applied

    sinch, journal = Sinch(), Slow()
    sinch.before = first(ADD_NUMBERS, ConnectError("refused"))
    async with run_of(sinch, journal, add_missing=True, drain_timeout=1.0) as run:
        await run.add(numbers(4))
        await until(lambda: sinch.count(ADD_NUMBERS), seconds=100.0)
    assert [entry.added for entry in journal.rows()] == [False] * 4


async def test_missing_numbers_on_a_socket() -> None:
    """Rule 7: with `add_missing` an unknown number is added, checked, called and verified."""
    async with Sandbox(eligibility_delay=0.05) as sandbox, sandbox.client() as client:
        sandbox.add(numbers(70)[:35])
        run = run_of(client, clock=sandbox.clock.now, add_missing=True, recheck=0.05)
        report = await finish(run, numbers(70), sandbox.code_for)
        assert report.counts[ChallengeState.VERIFIED] == 70
        assert sandbox.calls.total("addQualifiedNumbers") == 1
        assert {sandbox.world.rings(number) for number in numbers(70)} == {1}
        assert sandbox.violations == []
