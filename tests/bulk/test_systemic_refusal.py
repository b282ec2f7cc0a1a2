"""A refusal that is not about the number stops a run, and no number pays for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sinch_qn._operations import ADD_NUMBERS, SEND_VOICE_CHALLENGE, Operation
from sinch_qn.bulk import ChallengeState, Journal, MemoryJournal, SqliteJournal
from sinch_qn.errors import BadRequestError, ConflictError, NotFoundError, ServerError, SinchError
from tests.support.fake_sinch import Fault, Sinch, always
from tests.support.journals import rows
from tests.support.runs import finish, numbers, people, run_of, until
from tests.support.virtual_clock import virtual_clock

REFUSED = BadRequestError("service plan expired", status_code=400, code="400")


async def stopped(sinch: Sinch, wanted: list[str], journal: Journal, **options: object) -> None:
    """Run until the refusal stops the run."""
    run = run_of(sinch, journal, **options)
    with pytest.raises(BadRequestError, match="service plan expired") as caught:
        await finish(run, wanted, sinch.codes.get)
    assert caught.value.__notes__ == ["5 numbers in a row were refused alike"]


def states(journal: MemoryJournal) -> set[tuple[ChallengeState, int]]:
    """Return the states and attempts of all numbers."""
    return {(entry.state, entry.attempt) for entry in journal.rows()}


def calls_refused(*errors: SinchError | None) -> Fault:
    """Refuse calls with *errors*, one after the other; None lets one through, the last stays."""
    left = list(errors)

    def fault(operation: Operation[object], _: str | None) -> SinchError | None:
        if operation is not SEND_VOICE_CHALLENGE:
            return None
        return left.pop(0) if len(left) > 1 else left[0]

    return fault


@virtual_clock
async def test_five_numbers_that_are_refused_alike_stop_the_run() -> None:
    """Rule 24: five in a row that are refused alike stop the run with that error, and wait again.

    So do those that were in flight. Their next call is the first that is made.
    """
    sinch, journal = Sinch(numbers(60)), MemoryJournal()
    sinch.before = always(SEND_VOICE_CHALLENGE, REFUSED)
    await stopped(sinch, numbers(60), journal)
    assert states(journal) == {(ChallengeState.PENDING, 0)}
    assert sinch.count(SEND_VOICE_CHALLENGE) < 60
    sinch.before = calls_refused(None)
    report = await finish(run_of(sinch, journal), numbers(60), sinch.codes.get)
    assert report.counts[ChallengeState.VERIFIED] == 60
    assert set(sinch.rings.values()) == {1}
    assert {entry.attempt for entry in report.rows()} == {1}


async def test_the_next_run_makes_the_call(path: Path) -> None:
    """Rule 24: in a file, too, the call that was refused is logged as not sent, and made again."""
    sinch = Sinch(numbers(7), latency=0.001)
    sinch.before = always(SEND_VOICE_CHALLENGE, REFUSED)
    await stopped(sinch, numbers(7), SqliteJournal(path), calls_per_second=50.0)
    found = await rows(SqliteJournal(path))
    assert {entry.state for entry in found} == {ChallengeState.PENDING}
    sinch.before = calls_refused(None)
    run = run_of(sinch, SqliteJournal(path))
    report = await finish(run, numbers(7), sinch.codes.get)
    assert report.counts[ChallengeState.VERIFIED] == 7


@pytest.mark.parametrize(
    "errors",
    [
        [REFUSED] * 4 + [None] + [REFUSED] * 4 + [None],
        [REFUSED] * 4 + [ConflictError("other", status_code=409)] + [REFUSED] * 4 + [None],
        [REFUSED] * 4 + [BadRequestError("other", status_code=400, code="7")] * 4 + [None],
    ],
    ids=["accepted between", "another status between", "another code"],
)
def test_refusals_about_numbers_do_not_stop_a_run(errors: list[SinchError | None]) -> None:
    """Rule 24: refusals that are not alike, or with a call accepted between, fail their numbers."""

    @virtual_clock
    async def run() -> None:
        sinch = Sinch(numbers(20))
        sinch.before = calls_refused(*errors)
        report = await finish(run_of(sinch, max_ringing=1), numbers(20), sinch.codes.get)
        refused = sum(error is not None for error in errors)
        assert report.counts[ChallengeState.FAILED] == refused
        assert report.counts[ChallengeState.VERIFIED] == 20 - refused

    run()


@virtual_clock
async def test_numbers_that_are_gone_do_not_stop_a_run() -> None:
    """Rule 24: a 404 that a look-up confirms is about the number; one that it does not, is not."""
    sinch, journal = Sinch(numbers(20)), MemoryJournal()

    def vanish(operation: Operation[object], number: str | None) -> None:
        if operation is SEND_VOICE_CHALLENGE and number in numbers(9):
            sinch.states.pop(str(number))

    sinch.before = vanish
    report = await finish(run_of(sinch, journal, max_ringing=1), numbers(20), sinch.codes.get)
    assert report.counts[ChallengeState.FAILED] == 9
    sinch = Sinch(numbers(20))
    sinch.before = always(SEND_VOICE_CHALLENGE, NotFoundError("no such method", status_code=404))
    with pytest.raises(ConflictError, match="no such method"):
        await finish(run_of(sinch), numbers(20), sinch.codes.get)


@virtual_clock
async def test_lost_responses_do_not_hide_a_refusal() -> None:
    """Rule 24: a lost response between two refusals is no call accepted."""
    sinch, journal = Sinch(numbers(9)), MemoryJournal()
    lost = ServerError("bad gateway", status_code=502)
    sinch.before = calls_refused(REFUSED, REFUSED, lost, REFUSED)
    await stopped(sinch, numbers(9), journal, max_ringing=1, ring_window=1.0)
    assert states(journal) == {(ChallengeState.PENDING, 0), (ChallengeState.UNKNOWN, 1)}


@virtual_clock
async def test_one_number_that_is_refused_often_does_not_stop_a_run() -> None:
    """Rule 24: a number that is recalled and refused again counts once."""
    sinch, journal = Sinch(numbers(1)), MemoryJournal()
    sinch.before = calls_refused(*[REFUSED] * 6, None)
    async with run_of(sinch, journal) as run, people(run, sinch.codes.get):
        await run.add(numbers(1))
        for _ in range(6):

            async def has_failed() -> bool:
                entry = await run.result(numbers(1)[0])
                return entry is not None and entry.state is ChallengeState.FAILED

            await until(has_failed)
            await run.recall(numbers(1)[0])
        report = await run.finish()
    assert report.counts[ChallengeState.VERIFIED] == 1


@virtual_clock
async def test_additions_that_are_refused_alike_stop_the_run() -> None:
    """Rule 24: five numbers in a row that cannot be added for one reason stop the run, and wait."""
    sinch, journal = Sinch(), MemoryJournal()
    sinch.before = always(ADD_NUMBERS, REFUSED)
    await stopped(sinch, numbers(60), journal, add_missing=True)
    found = list(journal.rows())
    assert {entry.state for entry in found} == {ChallengeState.PENDING}
    assert not any(entry.added for entry in found)
    sinch.before = calls_refused(None)
    report = await finish(run_of(sinch, journal, add_missing=True), numbers(60), sinch.codes.get)
    assert report.counts[ChallengeState.VERIFIED] == 60
