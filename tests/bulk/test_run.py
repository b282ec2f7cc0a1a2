"""The rules of docs/guides/bulk-runs.md, on a virtual clock or on the sandbox's socket."""

# ruff: noqa: ASYNC240, PT012 - small files; and a run raises what stopped it when it is left

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any, Literal, cast

import pytest

from sinch_qn import QualifiedNumbersClient, errors
from sinch_qn._operations import (
    ADD_NUMBERS,
    GET_NUMBER,
    SEND_VOICE_CHALLENGE,
    VERIFY_VOICE_CHALLENGE,
    Operation,
)
from sinch_qn.bulk import (
    CallingHours,
    ChallengeState,
    Entry,
    Journal,
    MemoryJournal,
    NewNumber,
    RunEvent,
    SqliteJournal,
    Submission,
    VoiceChallengeRun,
    recall,
    submit_code,
)
from sinch_qn.bulk.journal import Identity
from sinch_qn.bulk.states import Change, Event
from sinch_qn.errors import (
    AuthenticationError,
    BadRequestError,
    ConnectError,
    InvalidRequestError,
    JournalError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    SinchError,
    TokenError,
    TransportError,
)
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.sandbox import Clock, MisbehavingNumber, Sandbox
from tests.support.fake_sinch import Fault, Sinch
from tests.support.runs import (
    EPOCH,
    NUMBER,
    OTHER,
    Recording,
    WallClock,
    counts,
    numbers,
    people,
    run_of,
    state_of,
    until,
    until_state,
)
from tests.support.virtual_clock import VirtualClockLoop, virtual_clock

# ---- the whole ----------------------------------------------------------------------------------


@virtual_clock
async def test_a_run() -> None:
    """Numbers are rung once each, their codes verified, and the report says so."""
    sinch = Sinch(numbers(120))
    run = run_of(sinch, calls_per_second=50.0, max_ringing=20)
    async with run, people(run, sinch.codes.get):
        added = await run.add(numbers(120))
        assert (added.added, added.already, added.invalid_count) == (120, 0, 0)
        report = await run.finish()
        assert report.counts[ChallengeState.VERIFIED] == 120
        assert sum(report.counts.values()) == 120
        assert run.rate == pytest.approx(50.0)
    assert [entry.number for entry in report.rows()] == numbers(120)
    assert set(sinch.rings.values()) == {1}
    assert len(sinch.rings) == 120
    # The pace was kept, too.
    assert max(Counter(int(at) for at in sinch.rang_at).values()) <= 51


# ---- one law for every unsafe write -------------------------------------------------------------


@virtual_clock
async def test_permit_then_intent_then_send() -> None:
    """Rule 1: the token comes first, then the intent is committed, then one request is sent."""
    sinch = Sinch([NUMBER])
    run = run_of(sinch, Recording(sinch.log))
    async with run, people(run, sinch.codes.get):
        await run.add([NUMBER])
        await run.finish()
    order = [name for name, _ in sinch.log if name not in {"probe", "commit learnt"}]
    assert order == [
        GET_NUMBER.id,
        "prepare",
        "commit call",
        SEND_VOICE_CHALLENGE.id,
        "commit called",
        "prepare",
        "commit verify",
        VERIFY_VOICE_CHALLENGE.id,
        "commit verified",
    ]


@virtual_clock
async def test_without_a_permit_there_is_no_intent() -> None:
    """Rule 1: while no token can be had nothing is written, and its number waits its turn."""
    sinch = Sinch([NUMBER])
    sinch.prepare_fails = [TokenError("down")] * 3
    run = run_of(sinch, Recording(sinch.log))
    async with run, people(run, sinch.codes.get):
        await run.add([NUMBER])
        report = await run.finish()
    assert report.counts[ChallengeState.VERIFIED] == 1
    assert sinch.count("commit call") == 1
    assert sinch.count("prepare") == 5


@virtual_clock
async def test_a_code_waits_for_a_permit() -> None:
    """Rule 1: a code is not taken from the inbox while no token can be had."""
    sinch = Sinch([NUMBER])
    run = run_of(sinch, Recording(sinch.log))
    async with run:
        await run.add([NUMBER])
        await until_state(run, ChallengeState.AWAITING_CODE)
        sinch.prepare_fails = [TokenError("down")] * 45
        await run.submit_code(NUMBER, sinch.codes[NUMBER])
        await run.finish()
        assert sinch.count("commit verify") == 1
        # It was no loop: after twenty in vain a probe looked whether anybody is there.
        assert sinch.count("probe") >= 3
        assert await state_of(run) is ChallengeState.VERIFIED


@pytest.mark.parametrize(
    "error",
    [ConnectError("refused"), RateLimitError("slow", status_code=429, retry_after=40.0)],
    ids=lambda error: type(error).__name__,
)
@virtual_clock
async def test_what_was_not_made_is_made_later(error: SinchError) -> None:
    """Rule 2: NOT_SENT goes back to PENDING; a 429 delays its number as long as Sinch asks."""
    sinch = Sinch([NUMBER])
    failures = [error]

    def fail(operation: Operation[Any], _: str | None) -> SinchError | None:
        return failures.pop() if operation is SEND_VOICE_CHALLENGE and failures else None

    sinch.before = fail
    run = run_of(sinch)
    async with run:
        await run.add([NUMBER])
        await until(lambda: not failures)
        entry = await until_state(run, ChallengeState.PENDING)
        assert entry.attempt == 0
        entry = await until_state(run, ChallengeState.AWAITING_CODE)
        assert (entry.attempt, sinch.rings[NUMBER]) == (1, 1)
        waited = sinch.rang_at[0]
        assert 40.0 <= waited < 45.0 if isinstance(error, RateLimitError) else waited < 10.0


@virtual_clock
async def test_only_the_limited_number_is_delayed() -> None:
    """Rule 2: if only one number gets 429 while others pass, the others go on at their pace."""
    sinch = Sinch(numbers(300))
    limited = numbers(1)[0]

    def fail(operation: Operation[Any], number: str | None) -> SinchError | None:
        too_many = operation is SEND_VOICE_CHALLENGE and number == limited
        return RateLimitError("slow", status_code=429) if too_many else None

    sinch.before = fail
    run = run_of(sinch, calls_per_second=2.0)
    async with run:
        await run.add(numbers(300))
        await until(lambda: len(sinch.rings) == 299)
        assert asyncio.get_running_loop().time() < 200.0
        await asyncio.sleep(600)
        assert await state_of(run, limited) is ChallengeState.PENDING
        # A listing does not undo its delay, and it is not hammered.
        assert 3 < sum(item == (SEND_VOICE_CHALLENGE.id, limited) for item in sinch.log) < 9


@virtual_clock
async def test_a_lost_answer_is_never_repeated() -> None:
    """Rule 2: UNKNOWN stays UNKNOWN: the phone is not rung again, and its code settles it."""
    sinch = Sinch([NUMBER])
    sinch.after = lambda operation, _: (
        TransportError("reset") if operation is SEND_VOICE_CHALLENGE else None
    )
    run = run_of(sinch)
    async with run:
        await run.add([NUMBER])
        entry = await until_state(run, ChallengeState.UNKNOWN)
        assert entry.settled_at is None
        await asyncio.sleep(300)
        assert sinch.rings[NUMBER] == 1
        await run.submit_code(NUMBER, sinch.codes[NUMBER])
        assert (await run.finish()).counts[ChallengeState.VERIFIED] == 1
        assert sinch.rings[NUMBER] == 1


@virtual_clock
async def test_unknown_settles_when_its_window_is_over() -> None:
    """Rules 13 and 19: UNKNOWN is settled after its code window; a code is still taken then."""
    sinch = Sinch([NUMBER])
    sinch.after = lambda operation, _: (
        ServerError("oops", status_code=500) if operation is SEND_VOICE_CHALLENGE else None
    )
    run = run_of(sinch)
    async with run:
        await run.add([NUMBER])
        assert (await run.finish()).counts[ChallengeState.UNKNOWN] == 1
        assert 600.0 <= asyncio.get_running_loop().time() < 602.0
        assert await run.submit_code(NUMBER, sinch.codes[NUMBER]) is Submission.ACCEPTED
        assert (await run.finish()).counts[ChallengeState.VERIFIED] == 1


class CuttingLoop(VirtualClockLoop):
    """Cancels a task when it has gone round so many times since it was given that task."""

    def __init__(self) -> None:
        super().__init__()
        self.rounds = 0
        self.cut_at: set[int] = set()
        self.victim: asyncio.Task[Any] | None = None

    def _run_once(self) -> None:
        super()._run_once()  # type: ignore[misc]
        if self.victim is not None and not self.victim.done():
            self.rounds += 1
            if self.rounds in self.cut_at:
                self.victim.cancel()


async def a_life(sinch: Sinch, journal: Journal, drain_timeout: float) -> None:
    """Ring two numbers, verify one, miss the other's call and verify it after a recall."""
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


async def cut(k: int, drain_timeout: float, *, twice: bool) -> bool:
    """Cancel a life at its k-th suspension, check what is left, and go on; False: it had ended."""
    loop = cast("CuttingLoop", asyncio.get_running_loop())
    sinch = Sinch([NUMBER, OTHER])
    journal = Recording(sinch.log)
    loop.rounds, loop.cut_at = 0, {k, k + 1} if twice else {k}
    loop.victim = asyncio.create_task(a_life(sinch, journal, drain_timeout))
    await asyncio.wait([loop.victim])
    cut_off = loop.victim.cancelled()
    if not cut_off:
        loop.victim.result()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not journal._running
    for entry in journal.rows():
        # No call is left without an outcome, and what may have rung is not forgotten.
        assert entry.state is not ChallengeState.CALLING
        assert sinch.rings[entry.number] <= entry.attempt <= 2
    assert not [key for key, outcome in journal._log.items() if outcome is None]
    loop.victim = None
    recalled = {entry.number for entry in journal.rows() if entry.attempt == 2 or entry.to_ring}
    run = run_of(sinch, journal)
    async with run:
        await run.add([NUMBER, OTHER])

        async def end() -> bool:
            for number in (NUMBER, OTHER):
                with contextlib.suppress(InvalidRequestError):
                    if number in sinch.codes:
                        await run.submit_code(number, sinch.codes[number])
            entries = [await run.result(each) for each in (NUMBER, OTHER)]
            return all(entry is not None and entry.settled_at is not None for entry in entries)

        await until(end, seconds=2000.0, step=1.0)
        for number in (NUMBER, OTHER):
            assert await state_of(run, number) is (
                ChallengeState.VERIFIED if sinch.rings[number] else ChallengeState.UNKNOWN
            )
            assert sinch.rings[number] <= (2 if number in recalled or number == OTHER else 1)
    return cut_off


@pytest.mark.parametrize(("drain_timeout", "twice"), [(60.0, False), (0.001, False), (60.0, True)])
def test_cancellation_at_every_suspension(
    drain_timeout: float,
    twice: bool,  # noqa: FBT001 - a parameter
) -> None:
    """Rule 3, P9: cut off anywhere, no task, lock or half-written row is left, nobody rung twice.

    An intent that was committed but not sent is taken back, and the next run goes on from there.
    """
    k = 0
    with asyncio.Runner(loop_factory=CuttingLoop) as runner:
        while True:
            k += 1
            if not runner.run(cut(k, drain_timeout, twice=twice)):
                break
    assert k > 50


@virtual_clock
async def test_leaving_drains() -> None:
    """Leaving lets what is in flight finish and starts nothing new, also when a body raises."""
    sinch = Sinch(numbers(40), latency=2.0)
    journal = MemoryJournal()
    with pytest.raises(ZeroDivisionError):
        async with run_of(sinch, journal, calls_per_second=10.0) as run:
            await run.add(numbers(40))
            await until(lambda: sinch.count(SEND_VOICE_CHALLENGE) == 15)
            raise ZeroDivisionError
    assert sinch.count(SEND_VOICE_CHALLENGE) <= 16
    found = Counter(entry.state for entry in journal.rows())
    assert found[ChallengeState.AWAITING_CODE] == sinch.count(SEND_VOICE_CHALLENGE)
    assert found[ChallengeState.AWAITING_CODE] + found[ChallengeState.PENDING] == 40
    with pytest.raises(InvalidRequestError, match="inside its 'async with'"):
        await run.add([NUMBER])


@virtual_clock
async def test_draining_is_bounded() -> None:
    """P9: what does not finish within the bound is cut off, and is UNKNOWN if it had left."""
    sinch = Sinch(numbers(3), latency=0.0)
    journal = MemoryJournal()
    async with run_of(sinch, journal, drain_timeout=5.0) as run:
        await run.add(numbers(3))
        sinch.before = lambda operation, _: get_slow(sinch, operation)
        await until(lambda: sinch.count(SEND_VOICE_CHALLENGE) == 3)
        left = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - left == pytest.approx(5.0, abs=0.5)
    # The first was being answered; the others had not left, so that they are as before.
    assert [entry.state for entry in journal.rows()] == [
        ChallengeState.UNKNOWN,
        ChallengeState.PENDING,
        ChallengeState.PENDING,
    ]
    assert sinch.rings == {numbers(1)[0]: 1}


def get_slow(sinch: Sinch, operation: Operation[Any]) -> None:
    """Be slow from the middle of the first call on."""
    if operation is SEND_VOICE_CHALLENGE:
        sinch.latency = 10_000.0


@virtual_clock
async def test_a_404_whose_look_up_is_cut_off() -> None:
    """Rule 3: a call that was refused, and whose look-up is cut off, may be made another time."""
    sinch, journal = Sinch([NUMBER]), MemoryJournal()

    def fail(operation: Operation[Any], _: str | None) -> SinchError | None:
        if operation is SEND_VOICE_CHALLENGE:
            sinch.latency = 10_000.0
            return NotFoundError("hm", status_code=404)
        return None

    sinch.before = fail
    async with run_of(sinch, journal, drain_timeout=1.0) as run:
        await run.add([NUMBER])
        await until(lambda: sinch.count(GET_NUMBER) == 2)
    (entry,) = journal.rows()
    assert (entry.state, entry.attempt) == (ChallengeState.PENDING, 0)
    assert not sinch.rings


@virtual_clock
async def test_a_refused_code_whose_look_up_is_cut_off() -> None:
    """Rule 14: a code that was refused stays refused, also if the look behind it is cut off."""
    sinch, journal = Sinch([NUMBER]), MemoryJournal()

    def refuse(operation: Operation[Any], _: str | None) -> SinchError | None:
        if operation is VERIFY_VOICE_CHALLENGE:
            sinch.latency = 10_000.0
            return BadRequestError("the code 1234 is wrong", status_code=400)
        return None

    sinch.before = refuse
    async with run_of(sinch, journal, drain_timeout=1.0) as run:
        await run.add([NUMBER])
        await until(lambda: NUMBER in sinch.codes)
        await until(lambda: sinch.count(SEND_VOICE_CHALLENGE) == 1)
        await asyncio.sleep(1.0)
        await run.submit_code(NUMBER, "1234")
        await until(lambda: sinch.count(GET_NUMBER) == 2)
    (entry,) = journal.rows()
    assert (entry.state, entry.codes_used, entry.codes_waiting) == (
        ChallengeState.AWAITING_CODE,
        1,
        0,
    )
    assert "1234" not in str(entry.note)


def test_no_more_at_once_than_connections() -> None:
    """Rule 1: nothing queues after an intent, so a run keeps to its client's connections."""
    sinch = Sinch()
    sinch.max_connections = 2
    assert run_of(sinch, MemoryJournal())._scheduler.concurrency == 2
    sinch.max_connections = None
    assert run_of(sinch, MemoryJournal())._scheduler.concurrency == 50


async def test_a_full_disk_stops_the_run(tmp_path: Path) -> None:
    """Rule 4: an outcome that cannot be written stops the run; at the next it is UNKNOWN."""
    sinch = Sinch([NUMBER], latency=0.0)
    journal = SqliteJournal(tmp_path / "run.db")

    def fill(operation: Operation[Any], _: str | None) -> None:
        if operation is SEND_VOICE_CHALLENGE:
            # One that cannot write: as a disk that is full does.
            full = "PRAGMA query_only = ON"
            journal._database.submit(lambda database: database.execute(full), writes=False)

    sinch.before = fill
    with pytest.raises(JournalError):
        async with run_of(sinch, journal) as run:
            await run.add([NUMBER])
            with pytest.raises(JournalError):
                await run.finish()
            with pytest.raises(JournalError):
                await run.add([OTHER])
            with pytest.raises(JournalError):
                await run.submit_code(NUMBER, "1234")
    sinch.before = lambda _operation, _number: None
    async with run_of(sinch, SqliteJournal(tmp_path / "run.db")) as run:
        assert await state_of(run) is ChallengeState.UNKNOWN
        assert sinch.rings[NUMBER] == 1
        await run.submit_code(NUMBER, sinch.codes[NUMBER])
        assert (await run.finish()).counts[ChallengeState.VERIFIED] == 1


@pytest.mark.parametrize("kind", ["dead", "slow", "calls only"])
@virtual_clock
async def test_an_hour_of_outage(kind: str) -> None:
    """Rule 5: an hour's outage leaves fewer than 50 UNKNOWNs, and the run goes on by itself."""
    sinch = Sinch(numbers(1500))
    clock = asyncio.get_running_loop().time

    def outage(operation: Operation[Any], _: str | None) -> SinchError | None:
        if not 60.0 < clock() < 3660.0:
            sinch.latency = 0.1
            return None
        sinch.latency = 60.0 if kind == "slow" else 0.1
        if kind == "calls only" and operation is not SEND_VOICE_CHALLENGE:
            return None
        if kind == "dead" and operation is not SEND_VOICE_CHALLENGE:
            return ConnectError("refused")
        return TransportError("reset")

    sinch.before = outage
    run = run_of(sinch, calls_per_second=5.0, code_timeout=86_400.0)
    async with run:
        await run.add(numbers(1500))
        await until(lambda: clock() > 3600.0, seconds=4000.0, step=1.0)
        assert len(sinch.rings) < 500
        assert run.rate == 0.0 or kind == "calls only"
        await until(lambda: clock() > 3660.0 + 1800.0, seconds=4000.0, step=1.0)

        async def done() -> bool:
            return not (await run.counts())[ChallengeState.PENDING]

        await until(done, seconds=2000.0, step=1.0)
        found = await counts(run)
        assert 20 <= found[ChallengeState.UNKNOWN] < 50
        assert found[ChallengeState.UNKNOWN] + found[ChallengeState.AWAITING_CODE] == 1500
        assert set(sinch.rings.values()) == {1}
        assert len(sinch.rings) == found[ChallengeState.AWAITING_CODE]


@virtual_clock
async def test_unknowns_of_a_restart_are_no_outage() -> None:
    """Rule 5: intents recovered at a restart do not count towards an outage."""
    journal = MemoryJournal()
    lost = numbers(60)
    await journal.open(Identity("project", "https://api.example"), running=True)
    await journal.add([Entry(number=number) for number in lost])
    at = WallClock()()
    await journal.apply([Change(number=n, event=Event.CALL, at=at) for n in lost])
    await journal.close()
    sinch = Sinch([*lost, NUMBER])
    async with run_of(sinch, journal, max_ringing=200) as run:
        assert (await run.counts())[ChallengeState.UNKNOWN] == 60
        await run.add([NUMBER])
        await until_state(run, ChallengeState.AWAITING_CODE, seconds=2.0)
        assert not any(sinch.rings[number] for number in lost)


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("refused", status_code=401),
        PermissionDeniedError("not yours", status_code=403),
        NotFoundError("no such project", status_code=404),
    ],
    ids=lambda error: type(error).__name__,
)
@virtual_clock
async def test_what_would_fail_for_all_stops_the_run_at_once(error: SinchError) -> None:
    """Rule 6: refused credentials or a missing project stop the run at the first answer."""
    sinch = Sinch(numbers(200))
    sinch.before = lambda _operation, _number: error
    with pytest.raises(type(error)):
        async with run_of(sinch) as run:
            await run.add(numbers(200))
            with pytest.raises(type(error)):
                await run.finish()
            with pytest.raises(type(error)):
                await run.recall(NUMBER)
            assert [event async for event in run.events()] == []
    assert sinch.log == [("probe", SinchState.VERIFIED.value)]


@pytest.mark.parametrize("when", ["learn", "list", "call", "verify", "look", "token"])
@virtual_clock
async def test_credentials_that_are_refused_later(when: str) -> None:
    """Rule 6: refused in mid-run they stop it, too; nothing is lost, nobody rung twice."""
    many = numbers(60) if when == "list" else [NUMBER]
    sinch = Sinch(many)
    error = AuthenticationError("refused", status_code=401)
    journal = MemoryJournal()
    operation = {
        "learn": GET_NUMBER,
        "call": SEND_VOICE_CHALLENGE,
        "verify": VERIFY_VOICE_CHALLENGE,
    }.get(when)

    def refuse(asked: Operation[Any], _: str | None) -> SinchError | None:
        if when == "look" and asked is VERIFY_VOICE_CHALLENGE:
            return TransportError("reset")
        if when == "look" and asked is GET_NUMBER and sinch.count(VERIFY_VOICE_CHALLENGE):
            return error
        return error if asked is operation else None

    sinch.before = refuse
    sinch.list_fails = [error] if when == "list" else []
    sinch.prepare_fails = [error] if when == "token" else []
    with pytest.raises(AuthenticationError):
        async with run_of(sinch, journal) as run, people(run, sinch.codes.get):
            await run.add(many)
            await run.finish()
    rows = list(journal.rows())
    assert len(rows) == len(many)
    assert {entry.state for entry in rows} <= {
        ChallengeState.PENDING,
        ChallengeState.AWAITING_CODE,
        ChallengeState.VERIFYING,
    }
    sinch.before = lambda _operation, _number: None
    async with run_of(sinch, journal) as run:
        if (await counts(run)).get(ChallengeState.PENDING):
            await until(lambda: len(sinch.rings) == len(many))
        if when not in {"verify", "look"}:
            for number in many:
                await until_state(run, ChallengeState.AWAITING_CODE, number)
                await run.submit_code(number, sinch.codes[number])
        assert (await run.finish()).counts[ChallengeState.VERIFIED] == len(many)
    assert set(sinch.rings.values()) == {1}


# ---- who is rung --------------------------------------------------------------------------------


@virtual_clock
async def test_who_is_rung() -> None:
    """Rule 7: ELIGIBLE, VERIFICATION_PENDING and _FAILED are rung, and nobody else."""
    sinch = Sinch()
    states: list[SinchState | None] = [
        *(s for s in SinchState if s is not SinchState.UNSPECIFIED),
        None,
    ]
    wanted = dict(zip(numbers(11), states, strict=True))
    sinch.states = {number: state for number, state in wanted.items() if state is not None}
    by_state = {state: number for number, state in wanted.items()}
    run = run_of(sinch)
    async with run, people(run, sinch.codes.get):
        await run.add(wanted)
        await asyncio.sleep(60)
        rung = {
            SinchState.ELIGIBLE,
            SinchState.VERIFICATION_PENDING,
            SinchState.VERIFICATION_FAILED,
        }
        assert set(sinch.rings) == {by_state[state] for state in rung}
        assert await counts(run) == {
            ChallengeState.VERIFIED: 3,
            ChallengeState.SKIPPED: 4,
            ChallengeState.FAILED: 2,
            ChallengeState.BLOCKED: 1,
            ChallengeState.PENDING: 1,
        }
        unknown = await run.result(by_state[None])
        assert unknown is not None
        assert unknown.note is not None
        assert "does not know" in unknown.note
        # Held until its eligibility is known.
        held = by_state[SinchState.ELIGIBLE_CHECK_PENDING]
        assert await state_of(run, held) is ChallengeState.PENDING
        sinch.states[held] = SinchState.ELIGIBLE
        assert (await run.finish()).counts[ChallengeState.VERIFIED] == 4


@virtual_clock
async def test_a_404_to_a_call_is_confirmed() -> None:
    """Rule 7: a call's 404 fails its number only when a look-up agrees or finds it; else later."""
    gone, there, cut_off = numbers(3)
    sinch = Sinch(numbers(3))
    looks: Counter[str | None] = Counter()

    def fail(operation: Operation[Any], number: str | None) -> SinchError | None:
        if operation is SEND_VOICE_CHALLENGE:
            if number == gone:
                sinch.states.pop(gone)
            if number != cut_off or looks[number] < 3:
                return NotFoundError("hm", status_code=404)
        if operation is GET_NUMBER:
            looks[number] += 1
            if number == cut_off and looks[number] == 2:
                return TransportError("reset")
        return None

    sinch.before = fail
    run = run_of(sinch)
    async with run:
        await run.add(numbers(3))
        assert "does not know" in str((await until_state(run, ChallengeState.FAILED, gone)).note)
        assert "look-up finds it" in str(
            (await until_state(run, ChallengeState.FAILED, there)).note
        )
        looks[cut_off] = 3
        await until_state(run, ChallengeState.AWAITING_CODE, cut_off)
        assert sinch.rings == {cut_off: 1}


@virtual_clock
async def test_missing_numbers_are_added() -> None:
    """Rule 7: with `add_missing` what Sinch does not know is added first, many at a time."""
    sinch = Sinch()
    run = run_of(sinch, add_missing=True)
    async with run, people(run, sinch.codes.get):
        await run.add(numbers(1100))
        report = await run.finish()
        assert report.counts[ChallengeState.VERIFIED] == 1100
        assert sinch.count(ADD_NUMBERS) <= 8
    assert all(entry.added for entry in report.rows())
    assert set(sinch.rings.values()) == {1}


@virtual_clock
async def test_adding_that_fails() -> None:
    """Rule 7: one bad number does not hold up the rest; what was lost is not added twice."""
    bad, *good = numbers(4)
    sinch = Sinch()
    errors_first: list[SinchError] = [
        RateLimitError("slow", status_code=429),
        ConnectError("refused"),
    ]

    def fail(operation: Operation[Any], _: str | None) -> SinchError | None:
        if operation is not ADD_NUMBERS:
            return None
        if errors_first:
            return errors_first.pop()
        return BadRequestError("not valid", status_code=400) if not sinch.states else None

    sinch.before = fail
    run = run_of(sinch, add_missing=True)
    async with run, people(run, sinch.codes.get):
        await run.add([bad, *good])
        await until_state(run, ChallengeState.FAILED, bad)
        failed = await run.result(bad)
        assert failed is not None
        assert "could not be added" in str(failed.note)
        assert (await run.finish()).counts[ChallengeState.FAILED] == 4  # each by itself
        assert sinch.count(ADD_NUMBERS) == 2 + 1 + 4
        assert asyncio.get_running_loop().time() > 60.0  # not in a loop


@virtual_clock
async def test_adding_whose_answer_is_lost() -> None:
    """Rule 7: an addNumbers whose answer was lost is not sent again: its numbers are looked up."""
    for there in (True, False):
        fault: Fault = lambda operation, _: (  # noqa: E731
            TransportError("reset") if operation is ADD_NUMBERS else None
        )
        sinch = Sinch()
        if there:
            sinch.after = fault
        else:
            sinch.before = fault
        async with run_of(sinch, add_missing=True) as run, people(run, sinch.codes.get):
            await run.add(numbers(3))
            report = await run.finish()
            assert report.counts[ChallengeState.VERIFIED if there else ChallengeState.FAILED] == 3
            assert sinch.count(ADD_NUMBERS) == 1


@virtual_clock
async def test_adding_waits_for_a_token_and_stops_at_refused_credentials() -> None:
    """Rules 1 and 6: adding needs its permit first; refused credentials stop the run, too."""
    sinch = Sinch()
    sinch.prepare_fails = [TokenError("down")]
    async with run_of(sinch, add_missing=True) as run, people(run, sinch.codes.get):
        await run.add(numbers(2))
        assert (await run.finish()).counts[ChallengeState.VERIFIED] == 2
    sinch = Sinch()
    refused = AuthenticationError("refused", status_code=401)
    sinch.before = lambda operation, _: refused if operation is ADD_NUMBERS else None
    with pytest.raises(AuthenticationError):
        async with run_of(sinch, add_missing=True) as run:
            await run.add(numbers(2))
            await run.finish()


@virtual_clock
async def test_adding_that_is_cut_off() -> None:
    """Rule 3: an addNumbers that is cut off before it left may be sent by the next run."""
    for latency, added in ((10_000.0, False), (0.0, True)):
        sinch = Sinch()
        journal = MemoryJournal()

        def slow(
            operation: Operation[Any], _: str | None, sinch: Sinch = sinch, at: float = latency
        ) -> None:
            # Asked for the number, it is slow from then on: to begin (10,000 s), or to answer.
            if operation is (GET_NUMBER if at else ADD_NUMBERS):
                sinch.latency = 10_000.0

        sinch.before = slow
        if latency:
            sinch.after = lambda operation, _: (
                NotFoundError("?", status_code=404) if operation is GET_NUMBER else None
            )
        async with run_of(sinch, journal, add_missing=True, drain_timeout=1.0) as run:
            await run.add([NUMBER])
            await until(lambda s=sinch: s.count(ADD_NUMBERS), seconds=100.0)  # type: ignore[misc]
            await asyncio.sleep(1.0)
        (entry,) = journal.rows()
        assert entry.added is added


@virtual_clock
async def test_states_are_learnt_by_the_cheaper_way() -> None:
    """Rule 8: a listing where that takes fewer requests; absence is confirmed by a GET."""
    many = numbers(200)
    sinch = Sinch(many[:190])
    async with run_of(sinch) as run:
        await run.add(many)
        await until(lambda: len(sinch.rings) == 190)
        await until_state(run, ChallengeState.FAILED, many[-1])
        await asyncio.sleep(1)
        assert (await counts(run))[ChallengeState.FAILED] == 10
        assert sinch.count("list") == 10
        assert sinch.count(GET_NUMBER) == 10
        life = [state for name, state in sinch.log if name == "list"]
        assert life == [state.value for state in SinchState if state is not SinchState.UNSPECIFIED]


@virtual_clock
async def test_a_large_project_is_not_listed_for_a_few_numbers() -> None:
    """Rule 8: where listing takes more requests than looking up, it is left after a few."""
    sinch = Sinch(numbers(3000))
    sinch.page_cap = 20
    wanted = numbers(3000)[-60:]
    async with run_of(sinch) as run:
        await run.add(wanted)
        await until(lambda: len(sinch.rings) == 60)
        assert sinch.count("list") == 10
        assert sinch.count(GET_NUMBER) == 60
    few = Sinch(numbers(3000))
    async with run_of(few) as run:
        await run.add(wanted[:49])
        await until(lambda: len(few.rings) == 49)
        assert few.count("list") == 0


@virtual_clock
async def test_a_listing_of_many_pages() -> None:
    """Rule 8: a listing that is worth it is walked to its end; one that fails costs only time."""
    many = numbers(500)
    sinch = Sinch(many, SinchState.HOSTING_DONE)
    sinch.page_cap = 100
    async with run_of(sinch) as run:
        await run.add(many)
        assert (await run.finish()).counts[ChallengeState.SKIPPED] == 500
        assert sinch.count("list") == 14
        assert sinch.count(GET_NUMBER) == 0
    sinch = Sinch(many)
    sinch.list_fails = [ServerError("oops", status_code=500)]
    async with run_of(sinch) as run:
        await run.add(many)
        await until(lambda: len(sinch.rings) == 500)
        assert sinch.count(GET_NUMBER) == 500


@virtual_clock
async def test_a_listing_is_left_when_the_run_is() -> None:
    """A listing of many pages does not hold up leaving the run."""
    sinch = Sinch(numbers(5000), latency=1.0)
    sinch.page_cap = 10
    sinch.total_size = 100
    async with run_of(sinch) as run:
        await run.add(numbers(400))
        await until(lambda: sinch.count("list") == 15)
    assert sinch.count("list") < 20


@virtual_clock
async def test_look_ups_that_fail_are_made_again() -> None:
    """Rule 8: a look-up that fails leaves its number PENDING for another time."""
    sinch = Sinch([NUMBER])
    failures: list[SinchError] = [TransportError("reset"), RateLimitError("slow", status_code=429)]
    sinch.before = lambda operation, _: (
        failures.pop() if operation is GET_NUMBER and failures else None
    )
    async with run_of(sinch) as run:
        await run.add([NUMBER])
        await until_state(run, ChallengeState.AWAITING_CODE)
        assert asyncio.get_running_loop().time() > 20.0


@virtual_clock
async def test_so_many_phones_ring_at_once() -> None:
    """Rule 9: `max_ringing` phones ring, UNKNOWN ones too, each until its code or its end."""
    many = numbers(12)
    sinch = Sinch(many)
    sinch.after = lambda operation, number: (
        TransportError("reset") if operation is SEND_VOICE_CHALLENGE and number == many[0] else None
    )
    clock = asyncio.get_running_loop().time
    async with run_of(sinch, max_ringing=3, ring_window=90.0) as run:
        await run.add(many)
        await until(lambda: len(sinch.rings) == 3)
        await asyncio.sleep(30)
        assert (len(sinch.rings), run.ringing) == (3, 3)
        await run.submit_code(many[1], sinch.codes[many[1]])
        await until(lambda: len(sinch.rings) == 4)
        assert clock() < 35.0
        await asyncio.sleep(30)
        assert len(sinch.rings) == 4
        await until(lambda: len(sinch.rings) == 6)
        assert 90.0 <= clock() < 93.0
        # A code from another process frees the slot, too.
        await submit_code(run._journal, many[3], sinch.codes[many[3]])
        await until(lambda: len(sinch.rings) == 7)
        assert clock() < 95.0


@virtual_clock
async def test_slots_outlive_a_restart() -> None:
    """Rule 9: phones that rang before a restart hold their slots, from their intents on."""
    many = numbers(9)
    sinch = Sinch(many)
    wall = WallClock()
    journal = MemoryJournal()
    clock = asyncio.get_running_loop().time
    async with run_of(sinch, journal, max_ringing=3, clock=wall) as run:
        await run.add(many)
        await until(lambda: len(sinch.rings) == 3)
        await run.submit_code(many[0], sinch.codes[many[0]])
        await until(lambda: len(sinch.rings) == 4)
        await until_state(run, ChallengeState.VERIFIED, many[0])
        await run.recall(many[1])
    await asyncio.sleep(30)
    async with run_of(sinch, journal, max_ringing=3, clock=wall) as run:
        await asyncio.sleep(30)
        assert (len(sinch.rings), run.ringing) == (4, 3)
        await until(lambda: sum(sinch.rings.values()) == 7)
        assert 90.0 <= clock() < 95.0


@virtual_clock
async def test_what_is_known_already_is_left_alone() -> None:
    """Rule 10: `add` of a known number, in whatever state, changes nothing; only recall rings."""
    sinch = Sinch([NUMBER, OTHER])
    async with run_of(sinch) as run:
        report = await run.add([NUMBER, NUMBER, OTHER])
        assert (report.added, report.already) == (2, 1)
        await until_state(run, ChallengeState.AWAITING_CODE)
        before = await run.result(NUMBER)
        report = await run.add([(NUMBER, "another")])
        assert (report.added, report.already) == (0, 1)
        assert await run.result(NUMBER) == before
        await asyncio.sleep(60)
        assert sinch.rings[NUMBER] == 1
        entry = await run.recall(NUMBER)
        assert entry.state is ChallengeState.PENDING
        await until(lambda: sinch.rings[NUMBER] == 2)
        entry = await until_state(run, ChallengeState.AWAITING_CODE)
        assert entry.attempt == 2
        await run.submit_code(NUMBER, sinch.codes[NUMBER])
        await until_state(run, ChallengeState.VERIFIED)
        for number in (NUMBER, "+12025559999"):
            with pytest.raises(InvalidRequestError, match="cannot be recalled"):
                await run.recall(number)
        await run.add([NUMBER])
        await asyncio.sleep(60)
        assert sinch.rings == {NUMBER: 2, OTHER: 1}


@pytest.mark.parametrize(
    "state", [ChallengeState.EXPIRED, ChallengeState.FAILED, ChallengeState.UNKNOWN]
)
@virtual_clock
async def test_a_recall_from(state: ChallengeState) -> None:
    """Rule 10: a recall rings again from EXPIRED, FAILED and UNKNOWN, too, as the next attempt."""
    sinch = Sinch([NUMBER])
    fault: SinchError | None = None
    if state is not ChallengeState.EXPIRED:
        fault = {
            ChallengeState.FAILED: BadRequestError("no", status_code=400),
            ChallengeState.UNKNOWN: TransportError("reset"),
        }[state]
    sinch.after = lambda operation, _: fault if operation is SEND_VOICE_CHALLENGE else None
    async with run_of(sinch) as run:
        await run.add([NUMBER])
        await until_state(run, state, seconds=1000.0)
        fault = None
        await recall(run._journal, NUMBER, at=WallClock()())  # as another process does
        entry = await until_state(run, ChallengeState.AWAITING_CODE, seconds=5.0)
        assert entry.attempt == 2
        assert sinch.rings[NUMBER] == 2


@virtual_clock
async def test_a_journal_has_one_runner_and_one_project() -> None:
    """Rule 11: another project's journal, or one that is in use, is refused before all else."""
    sinch, journal = Sinch([NUMBER]), MemoryJournal()
    async with run_of(sinch, journal):
        with pytest.raises(JournalError, match="another run"):
            await run_of(sinch, journal).__aenter__()
    other = Sinch()
    other.project_id = "another"
    with pytest.raises(JournalError, match="belongs to"):
        await run_of(other, journal).__aenter__()
    assert other.log == []
    async with run_of(sinch, journal):
        pass


@virtual_clock
async def test_a_recovery_that_fails_gives_the_journal_back() -> None:
    """P9: a run that cannot start leaves no lock."""
    sinch, journal = Sinch(), MemoryJournal()

    async def broken() -> list[Entry]:
        raise JournalError("cannot be read")

    journal.open_intents = broken  # type: ignore[method-assign]
    with pytest.raises(JournalError):
        await run_of(sinch, journal).__aenter__()
    assert not journal._running


# ---- codes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["called", "unknown", "not made", "refused"])
@virtual_clock
async def test_a_code_that_comes_early(outcome: str) -> None:
    """Rule 12: a code that comes before its call's answer is used, whatever the answer is."""
    sinch = Sinch([NUMBER], latency=10.0)
    failures: dict[str, SinchError] = {
        "unknown": TransportError("reset"),
        "not made": ConnectError("hm"),
        "refused": BadRequestError("hm", status_code=400),
    }
    sinch.after = lambda operation, _: (
        failures.get(outcome) if operation is SEND_VOICE_CHALLENGE else None
    )
    async with run_of(sinch) as run:
        await run.add([NUMBER])
        await until(lambda: sinch.rings[NUMBER])
        assert await state_of(run) is ChallengeState.CALLING
        assert await run.submit_code(NUMBER, sinch.codes[NUMBER]) is Submission.ACCEPTED
        assert (await run.finish()).counts[ChallengeState.VERIFIED] == 1
        assert sinch.rings[NUMBER] == 1


@virtual_clock
async def test_which_codes_are_taken() -> None:
    """Rule 12: twice the same code is one; a number never called takes none; text only."""
    sinch = Sinch([NUMBER], latency=1.0)
    async with run_of(sinch) as run:
        await run.add([NUMBER])
        for number, where in ((NUMBER, "was not called yet"), (OTHER, "is not in this run")):
            with pytest.raises(InvalidRequestError, match=where):
                await run.submit_code(number, "0000")
        await until_state(run, ChallengeState.AWAITING_CODE)
        with pytest.raises(InvalidRequestError, match="a code is a string"):
            await run.submit_code(NUMBER, 42)  # type: ignore[arg-type]
        sinch.codes[NUMBER] = "0042"
        assert await run.submit_code(NUMBER, "42") is Submission.ACCEPTED
        assert await run.submit_code(NUMBER, "0042") is Submission.ACCEPTED
        assert await run.submit_code(NUMBER, "0042") is Submission.DUPLICATE
        await until_state(run, ChallengeState.VERIFIED)
        assert sinch.count(VERIFY_VOICE_CHALLENGE) == 2
        with pytest.raises(InvalidRequestError, match="is verified"):
            await run.submit_code(NUMBER, "0042")


@virtual_clock
async def test_a_late_code_is_tried() -> None:
    """Rule 13: EXPIRED is our guess: a late code is tried, and settles its number."""
    sinch = Sinch([NUMBER, OTHER])
    async with run_of(sinch) as run:
        await run.add([NUMBER, OTHER])
        report = await run.finish()
        assert report.counts[ChallengeState.EXPIRED] == 2
        assert 600.0 <= asyncio.get_running_loop().time() < 602.0
        await run.submit_code(NUMBER, sinch.codes[NUMBER])
        await run.submit_code(OTHER, "wrong")
        assert await state_of(run) is ChallengeState.EXPIRED
        report = await run.finish()
        assert report.counts[ChallengeState.VERIFIED] == report.counts[ChallengeState.EXPIRED] == 1


@virtual_clock
async def test_the_inbox_is_drained_before_anything_expires() -> None:
    """Rule 13: codes that came while nothing ran are tried at the start, however late it is."""
    sinch, journal, wall = Sinch(numbers(20)), MemoryJournal(), WallClock()
    async with run_of(sinch, journal, clock=wall) as run:
        await run.add(numbers(20))
        await until(lambda: len(sinch.rings) == 20)
        await asyncio.sleep(1)
    for number in numbers(20)[:10]:
        assert await submit_code(journal, number, sinch.codes[number]) is Submission.ACCEPTED
    wall.at += 10_000.0
    async with run_of(sinch, journal, clock=wall) as run:
        report = await run.finish()
        assert (report.counts[ChallengeState.VERIFIED], report.counts[ChallengeState.EXPIRED]) == (
            10,
            10,
        )
        # None of them was EXPIRED first: each was verified from where it was.
        verified = [e for e in report.rows() if e.state is ChallengeState.VERIFIED]
        assert {e.number for e in verified} == set(numbers(20)[:10])


@pytest.mark.parametrize("wrong_code", ["failed", "rejected"])
async def test_wrong_codes(wrong_code: Literal["failed", "rejected"]) -> None:
    """Rule 14: a wrong code leads back to AWAITING_CODE until `max_codes` are used; both ways."""
    async with (
        Sandbox(wrong_code=wrong_code, max_attempts=10) as sandbox,
        sandbox.client() as client,
    ):
        sandbox.add([NUMBER, OTHER])
        async with run_of(client, max_codes=3, clock=sandbox.clock.now) as run:
            await run.add([NUMBER, OTHER])
            for number in (NUMBER, OTHER):
                await until_state(run, ChallengeState.AWAITING_CODE, number)
            for used, code in enumerate(("wrong1", "wrong2"), start=1):
                await run.submit_code(NUMBER, code)
                await until(lambda used=used: used_codes(run, NUMBER, used))  # type: ignore[misc]
                assert await state_of(run) is ChallengeState.AWAITING_CODE
                await run.submit_code(OTHER, code)
            await run.submit_code(NUMBER, str(sandbox.code_for(NUMBER)))
            await until_state(run, ChallengeState.VERIFIED)
            await run.submit_code(OTHER, "wrong3")
            report = await run.finish()
            assert (
                report.counts[ChallengeState.VERIFIED],
                report.counts[ChallengeState.FAILED],
            ) == (1, 1)
        assert sandbox.violations == []
        assert sandbox.calls.count("verifyVoiceChallenge", OTHER) == 3


async def used_codes(run: VoiceChallengeRun, number: str, used: int) -> bool:
    """Say whether so many codes were used up."""
    entry = await run.result(number)
    assert entry is not None
    return entry.codes_used == used and entry.state is ChallengeState.AWAITING_CODE


@pytest.mark.parametrize("wrong_code", ["failed", "rejected"])
async def test_a_blocked_number_ends(wrong_code: Literal["failed", "rejected"]) -> None:
    """Rule 14: a BLOCKED state ends it, whichever way Sinch says so, though codes are left."""
    misheard = f"+1202{MisbehavingNumber.MISHEARD.value}"
    blocked = f"+1202{MisbehavingNumber.BLOCKED.value}"
    async with (
        Sandbox(wrong_code=wrong_code, max_attempts=2) as sandbox,
        sandbox.client() as client,
    ):
        sandbox.add([misheard, blocked])
        async with run_of(client, max_codes=9, clock=sandbox.clock.now) as run:
            await run.add([misheard, blocked])
            await until_state(run, ChallengeState.BLOCKED, blocked)
            await until_state(run, ChallengeState.AWAITING_CODE, misheard)
            for code in (sandbox.code_for(misheard), "another"):
                await run.submit_code(misheard, str(code))
            report = await run.finish()
            assert report.counts[ChallengeState.BLOCKED] == 2
            with pytest.raises(InvalidRequestError, match="cannot be recalled"):
                await run.recall(misheard)
        assert sandbox.world.rings(blocked) == 0


@pytest.mark.parametrize("arrived", [True, False])
@virtual_clock
async def test_a_verification_whose_answer_was_lost(arrived: bool) -> None:  # noqa: FBT001
    """Rule 15: a look-up finds a final state; if still pending, the same code goes once more."""
    sinch = Sinch([NUMBER])
    failures: list[SinchError] = [TransportError("reset")]
    fault: Fault = lambda operation, _: (  # noqa: E731
        failures.pop() if operation is VERIFY_VOICE_CHALLENGE and failures else None
    )
    if arrived:
        sinch.after = fault
    else:
        sinch.before = fault
    async with run_of(sinch) as run:
        await run.add([NUMBER])
        await until_state(run, ChallengeState.AWAITING_CODE)
        await run.submit_code(NUMBER, sinch.codes[NUMBER])
        await run.finish()
        entry = await run.result(NUMBER)
        assert entry is not None
        assert entry.state is ChallengeState.VERIFIED
        assert entry.codes_used == (1 if arrived else 2)
        assert sinch.count(VERIFY_VOICE_CHALLENGE) == (1 if arrived else 2)


@virtual_clock
async def test_a_verification_that_is_lost_twice() -> None:
    """Rule 15: lost twice a person is asked, who may say the same; a failing look-up waits."""
    sinch = Sinch([NUMBER])
    lost = True

    def fail(operation: Operation[Any], _: str | None) -> SinchError | None:
        if operation is VERIFY_VOICE_CHALLENGE and lost:
            return TransportError("reset")
        if operation is GET_NUMBER and sinch.count(VERIFY_VOICE_CHALLENGE) >= 1:
            return ServerError("down", status_code=503) if sinch.count(GET_NUMBER) < 5 else None
        return None

    sinch.before = fail
    async with run_of(sinch) as run:
        await run.add([NUMBER])
        await until_state(run, ChallengeState.AWAITING_CODE)
        await run.submit_code(NUMBER, sinch.codes[NUMBER])
        await until_state(run, ChallengeState.VERIFYING)
        await asyncio.sleep(20)
        assert await state_of(run) is ChallengeState.VERIFYING

        async def asked() -> bool:
            entry = await run.result(NUMBER)
            return entry is not None and "ask for the code again" in str(entry.note)

        await until(asked)
        assert await state_of(run) is ChallengeState.AWAITING_CODE
        assert sinch.count(VERIFY_VOICE_CHALLENGE) == 2
        lost = False
        assert await run.submit_code(NUMBER, sinch.codes[NUMBER]) is Submission.ACCEPTED
        assert (await run.finish()).counts[ChallengeState.VERIFIED] == 1


@virtual_clock
async def test_a_code_that_was_not_sent_is_sent_later() -> None:
    """Rule 2: a code that Sinch had no time for waits as long as it asks, and is not counted."""
    sinch = Sinch([NUMBER])
    failures: list[SinchError] = [
        RateLimitError("slow", status_code=429, retry_after=50.0),
        ConnectError("refused"),
    ]
    sinch.before = lambda operation, _: (
        failures.pop() if operation is VERIFY_VOICE_CHALLENGE and failures else None
    )
    async with run_of(sinch) as run:
        await run.add([NUMBER])
        await until_state(run, ChallengeState.AWAITING_CODE)
        await run.submit_code(NUMBER, sinch.codes[NUMBER])
        await run.finish()
        entry = await run.result(NUMBER)
        assert entry is not None
        assert (entry.state, entry.codes_used) == (ChallengeState.VERIFIED, 1)
        assert 50.0 < asyncio.get_running_loop().time() < 60.0


async def test_codes_are_told_to_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Rule 16: codes are in no log, event, report, error or note, though Sinch repeats them."""
    canary = "8264917350"
    sinch = Sinch([NUMBER, OTHER], latency=0.0)
    sinch.wrong_code = "rejected"
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "run.db"
    said: list[object] = []
    async with run_of(sinch, SqliteJournal(path)) as run:

        async def listen() -> None:
            said.extend([event async for event in run.events()])

        listener = asyncio.create_task(listen())
        await run.add([(NUMBER, "ref"), OTHER])
        for number in (NUMBER, OTHER):
            await until_state(run, ChallengeState.AWAITING_CODE, number)
        await run.submit_code(NUMBER, canary)
        await until(lambda: used_codes(run, NUMBER, 1))
        said.append(await run.result(NUMBER))
        with pytest.raises(InvalidRequestError) as caught:
            await run.submit_code(NUMBER, f"{canary} ")
        said.append(str(caught.value))
        for number in (NUMBER, OTHER):
            sinch.codes[number] = f"{canary}1"
            await run.submit_code(number, f"{canary}1")
        report = await run.finish()
        said += [repr(report), *await asyncio.to_thread(list, report.rows())]
    await listener
    assert report.counts[ChallengeState.VERIFIED] == 2
    assert canary not in "".join(map(repr, said)) + caplog.text
    assert any("•••" in repr(item) for item in said)
    left = [path.read_bytes() for path in tmp_path.iterdir()]
    assert not any(canary.encode() in content for content in left)


# ---- time ---------------------------------------------------------------------------------------


@virtual_clock
async def test_a_clock_that_is_put_back() -> None:
    """Rule 17: a backward jump of the wall clock expires nothing and frees no slot."""
    sinch, wall = Sinch(numbers(4)), WallClock()
    clock = asyncio.get_running_loop().time
    async with run_of(sinch, clock=wall, max_ringing=2) as run:
        await run.add(numbers(4))
        await until(lambda: len(sinch.rings) == 2)
        wall.at -= 7200.0
        await asyncio.sleep(30)
        assert (await counts(run))[ChallengeState.AWAITING_CODE] == 2
        assert len(sinch.rings) == 2
        await until(lambda: len(sinch.rings) == 4)
        assert 90.0 <= clock() < 93.0  # a ring window is measured on a clock that nobody moves
        for number in numbers(4):
            await until_state(run, ChallengeState.AWAITING_CODE, number)
            await run.submit_code(number, sinch.codes[number])
        assert (await run.finish()).counts[ChallengeState.VERIFIED] == 4


@virtual_clock
async def test_a_clock_that_is_put_forward() -> None:
    """Rule 17: a forward jump may expire early, which loses nothing; nobody rings sooner."""
    sinch, wall = Sinch(numbers(4)), WallClock()
    async with run_of(sinch, clock=wall, max_ringing=2) as run:
        await run.add(numbers(4))
        await until(lambda: len(sinch.rings) == 2)
        await asyncio.sleep(1)
        wall.at += 7200.0
        await asyncio.sleep(30)
        assert (await counts(run)) == {ChallengeState.EXPIRED: 2, ChallengeState.PENDING: 2}
        assert len(sinch.rings) == 2
        for number in list(sinch.rings):
            await run.submit_code(number, sinch.codes[number])
            await until_state(run, ChallengeState.VERIFIED, number)


@virtual_clock
async def test_a_restart_after_the_clock_was_put_back() -> None:
    """Rule 17: calls that seem to be in the future hold their slot for one window, not longer."""
    sinch, wall, journal = Sinch(numbers(2)), WallClock(), MemoryJournal()
    async with run_of(sinch, journal, clock=wall, max_ringing=1) as run:
        await run.add(numbers(2))
        await until(lambda: len(sinch.rings) == 1)
        await asyncio.sleep(1)
    wall.at -= 86_400.0
    start = asyncio.get_running_loop().time()
    async with run_of(sinch, journal, clock=wall, max_ringing=1):
        await until(lambda: len(sinch.rings) == 2)
    assert asyncio.get_running_loop().time() - start < 95.0


@virtual_clock
async def test_phones_ring_in_their_own_hours() -> None:
    """Rule 18: a phone is rung when it is day where it is, not where the program runs."""
    new_york, los_angeles = "+12125550134", "+12135550134"
    toll_free = "+18335550134"
    wall = WallClock(EPOCH + 13 * 3600)  # 08:00 in New York
    clock = asyncio.get_running_loop().time
    sinch = Sinch([new_york, los_angeles, toll_free])
    rang: dict[str, float] = {}

    def note(operation: Operation[Any], number: str | None) -> None:
        if operation is SEND_VOICE_CHALLENGE and number is not None:
            rang[number] = clock()

    sinch.before = note
    async with run_of(sinch, clock=wall, calling_hours="09:00-20:00") as run:
        report = await run.add([new_york, los_angeles, toll_free])
        (refused,) = report.invalid
        assert (refused.number, refused.line) == (toll_free, 3)
        assert "default_zone" in refused.reason
        await asyncio.sleep(60)
        held = await run.result(new_york)
        assert held is not None
        assert held.note == "outside its calling hours"
        await until(lambda: len(rang) == 2, seconds=20_000.0, step=1.0)
    assert rang[new_york] == pytest.approx(3600.0, abs=2.0)
    assert rang[los_angeles] == pytest.approx(4 * 3600.0, abs=2.0)


@virtual_clock
async def test_hours_that_come_with_a_restart() -> None:
    """Rule 18: a toll-free number that was added before hours were asked for rings in none."""
    toll_free = "+18335550134"
    sinch, journal = Sinch([toll_free]), MemoryJournal()
    await journal.add([Entry(number=toll_free)])
    async with run_of(sinch, journal, calling_hours=CallingHours("09:00-20:00")):
        await asyncio.sleep(100)
    assert not sinch.rings
    hours = CallingHours("00:00-23:59", default_zone="America/New_York")
    async with run_of(sinch, journal, calling_hours=hours, clock=WallClock(EPOCH + 5e6)):
        await until(lambda: sinch.rings[toll_free], seconds=1000.0)


# ---- what a caller sees -------------------------------------------------------------------------


@virtual_clock
async def test_finish_waits_until_all_is_settled() -> None:
    """Rule 19: ringing begins on entering; `finish` returns when all is settled, and not before."""
    sinch, journal = Sinch([NUMBER, OTHER]), MemoryJournal()
    async with run_of(sinch, journal) as run:
        empty = await run.finish()
        assert not any(empty.counts.values())
        await run.add([NUMBER])
    async with run_of(sinch, journal) as run:
        await until(lambda: sinch.rings[NUMBER])  # nothing was asked for but entering
        finishing = asyncio.create_task(run.finish())
        await asyncio.sleep(100)
        assert not finishing.done()
        await run.submit_code(NUMBER, sinch.codes[NUMBER])
        assert (await finishing).counts[ChallengeState.VERIFIED] == 1
        # What is added after that is waited for again.
        await run.add([OTHER])
        finishing = asyncio.create_task(run.finish())
        await asyncio.sleep(100)
        assert not finishing.done()
        await run.submit_code(OTHER, sinch.codes[OTHER])
        await finishing
    with pytest.raises(InvalidRequestError, match="inside its 'async with'"):
        await run_of(sinch, journal).finish()


async def test_finish_sees_what_was_just_added(tmp_path: Path) -> None:
    """Rule 19: what `add` has returned from is waited for, however close the two calls come."""
    many = numbers(30)
    sinch = Sinch(many, SinchState.VERIFIED, latency=0.0)
    async with run_of(sinch, SqliteJournal(tmp_path / "run.db")) as run:
        for number in many:
            await run.add([number])
            report = await run.finish()
            assert report.counts[ChallengeState.PENDING] == 0
        assert report.counts[ChallengeState.SKIPPED] == 30


class SlowToRead(MemoryJournal):
    """Takes a second to say what it has read: meanwhile that may have changed."""

    async def next_due(self) -> float | None:
        """Return what was so a second ago."""
        due = await super().next_due()
        await asyncio.sleep(1)
        return due


@virtual_clock
async def test_finish_is_not_misled_by_an_old_reading() -> None:
    """Rule 19: that nothing was due before a number came does not let `finish` return."""
    many = numbers(30)
    sinch = Sinch(many, SinchState.VERIFIED)
    async with run_of(sinch, SlowToRead()) as run:
        for number in many:
            await asyncio.sleep(0.93)
            await run.add([number])
            assert (await run.finish()).counts[ChallengeState.PENDING] == 0


@virtual_clock
async def test_what_add_reports() -> None:
    """Rule 20: `add` says how many were added, known, and refused, with line and reason."""
    sinch, journal = Sinch([NUMBER]), MemoryJournal()
    async with run_of(sinch, journal) as run:
        report = await run.add(
            [
                NUMBER,
                "202-555-0134",
                (OTHER, "ticket 7"),
                "+18765550134",
                NewNumber(number="+1 ...", line=99, problem="letters"),
                NUMBER,
                cast("str", 12025550134),
                "\udcff" * 200,
            ]
        )
        assert (report.added, report.already, report.invalid_count) == (2, 1, 5)
        assert [item.line for item in report.invalid] == [2, 4, 99, 7, 8]
        assert report.invalid[2].reason == "letters"
        assert "US and CA" in report.invalid[1].reason
        assert (await counts(run))[ChallengeState.INVALID] == 5
        for wrong in (["+12025550134", object()], [b"+1"]):
            await run.add(cast("list[str]", wrong))
        with pytest.raises(InvalidRequestError, match="not one string"):
            await run.add(NUMBER)
        for ref in (7, "\ud800"):
            with pytest.raises(InvalidRequestError, match="ref: expected text"):
                await run.add([(OTHER, cast("str", ref))])
    many = run_of(sinch, MemoryJournal())
    async with many:
        report = await many.add(f"bad {index}" for index in range(1200))
        assert (len(report.invalid), report.invalid_count) == (1000, 1200)
        assert (await many.finish()).counts[ChallengeState.INVALID] == 1200


async def test_a_reference_comes_back(tmp_path: Path) -> None:
    """Rule 20: a number's `ref` comes back in events, results and rows, also after a restart."""
    sinch = Sinch([NUMBER, OTHER], latency=0.0)
    path = tmp_path / "run.db"
    async with run_of(sinch, SqliteJournal(path)) as run:
        await run.add([(NUMBER, "chat 42"), NewNumber(number=OTHER, ref="chat 43", line=12)])
        await until_state(run, ChallengeState.AWAITING_CODE)
        await until_state(run, ChallengeState.AWAITING_CODE, OTHER)
    seen: list[RunEvent] = []
    async with run_of(sinch, SqliteJournal(path)) as run:

        async def listen() -> None:
            seen.extend([event async for event in run.events()])

        listener = asyncio.create_task(listen())
        await asyncio.sleep(0)
        for number in (NUMBER, OTHER):
            await run.submit_code(number, sinch.codes[number])
        report = await run.finish()
        entry = await run.result(OTHER)
        assert entry is not None
        assert (entry.ref, entry.line) == ("chat 43", 12)
    await listener
    assert {(event.what, event.ref) for event in seen} == {
        (what, ref) for what in ("code", "verified") for ref in ("chat 42", "chat 43")
    }
    rows = await asyncio.to_thread(list, report.rows())
    assert [entry.ref for entry in rows] == ["chat 42", "chat 43"]


@virtual_clock
async def test_a_slow_reader_of_events() -> None:
    """Rule 21: events are bounded; a slow reader is told how many it missed; counts are exact."""
    many = numbers(300)
    sinch = Sinch(many)
    async with run_of(sinch) as run:
        slow = run.events(buffer=10)
        first = asyncio.create_task(anext(slow))
        await asyncio.sleep(0)
        await run.add(many)
        event = await first
        assert (event.what, event.dropped) == ("called", 0)
        await until(lambda: len(sinch.rings) == 300)
        await asyncio.sleep(1)
        assert (await run.counts())[ChallengeState.AWAITING_CODE] == 300
        rest = [await anext(slow) for _ in range(10)]
        assert rest[0].dropped == 289
        assert {event.dropped for event in rest[1:]} == {0}
        await slow.aclose()
        assert not run._subscribers
        with pytest.raises(InvalidRequestError, match="buffer"):
            await anext(run.events(buffer=0))
    assert [event async for event in run.events()] == []


@virtual_clock
async def test_a_million_would_wait_in_rows() -> None:
    """P10: waiting numbers cost rows, not tasks: 10,000 that wait for codes have no task at all."""
    many = numbers(10_000)
    sinch = Sinch(many, latency=0.0)
    async with run_of(sinch, calls_per_second=5000.0, code_timeout=86_400.0) as run:
        idle = len(asyncio.all_tasks())
        await run.add(many)
        most = 0
        while len(sinch.rings) < 10_000:
            most = max(most, len(asyncio.all_tasks()))
            await asyncio.sleep(0.01)
        await asyncio.sleep(5)
        assert (await run.counts())[ChallengeState.AWAITING_CODE] == 10_000
        assert most <= idle + 50
        assert len(asyncio.all_tasks()) <= idle
        # And nothing is asked of Sinch for those that wait.
        asked = len(sinch.log)
        await asyncio.sleep(3600)
        assert len(sinch.log) == asked


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_ringing", 0),
        ("max_ringing", 0.5),
        ("concurrency", True),
        ("concurrency", 0.5),
        ("max_codes", "3"),
        ("calls_per_second", 0.0),
        ("ring_window", -1),
        ("code_timeout", float("inf")),
        ("recheck", float("nan")),
        ("drain_timeout", None),
        ("calling_hours", "9 to 5"),
    ],
)
def test_what_a_run_cannot_be_made_with(name: str, value: object) -> None:
    """Arguments are checked at construction, and the message names the one that is wrong."""
    with pytest.raises(InvalidRequestError, match=name):
        run_of(Sinch(), None, **{name: value})


@virtual_clock
async def test_a_bug_does_not_hang_the_run() -> None:
    """What no rule foresees stops the run with its own exception, told to whoever waits."""
    sinch = Sinch(numbers(3))

    def bug(operation: Operation[Any], _: str | None) -> SinchError | None:
        if operation is SEND_VOICE_CHALLENGE:
            raise ZeroDivisionError("a bug")
        return None

    sinch.before = bug
    journal = MemoryJournal()
    with pytest.raises(ZeroDivisionError):
        async with run_of(sinch, journal) as run:
            await run.add(numbers(3))
            await run.finish()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not journal._running


@virtual_clock
async def test_a_journal_that_fails_under_the_scheduler() -> None:
    """Rule 4: a journal that cannot be read stops the run, too."""
    sinch, journal = Sinch(numbers(3)), MemoryJournal()
    with pytest.raises(JournalError):
        async with run_of(sinch, journal) as run:
            await run.add(numbers(3))

            async def broken(*_: object) -> list[Entry]:
                raise JournalError("gone")

            journal.due = broken  # type: ignore[method-assign,assignment]
            await run.finish()


# ---- on a real socket ---------------------------------------------------------------------------


async def test_numbers_that_misbehave(tmp_path: Path) -> None:
    """P1: on the sandbox every kind of trouble ends in its state, and nobody is rung twice."""
    trouble = {t: f"+1202{t.value}" for t in MisbehavingNumber}
    good = numbers(30)
    everyone = [*trouble.values(), *good]
    clock = Clock()
    async with Sandbox(clock=clock) as sandbox, sandbox.client() as client:
        sandbox.add([n for n in everyone if n != trouble[MisbehavingNumber.NOT_ELIGIBLE]])
        sandbox.add([trouble[MisbehavingNumber.NOT_ELIGIBLE]], "NOT_ELIGIBLE")
        run = run_of(client, SqliteJournal(tmp_path / "run.db"), clock=clock.now, max_codes=2)
        async with run, people(run, sandbox.code_for):
            await run.add(everyone)
            await until_state(
                run, ChallengeState.AWAITING_CODE, trouble[MisbehavingNumber.FIRST_CALL_MISSED]
            )
            await run.recall(trouble[MisbehavingNumber.FIRST_CALL_MISSED])
            await until_state(
                run, ChallengeState.VERIFIED, trouble[MisbehavingNumber.FIRST_CALL_MISSED]
            )
            await until_state(
                run, ChallengeState.VERIFIED, trouble[MisbehavingNumber.LOST_RESPONSE]
            )
            await until_state(run, ChallengeState.BLOCKED, trouble[MisbehavingNumber.BLOCKED])
            for number in good:
                await until_state(run, ChallengeState.VERIFIED, number)
            clock.advance(601.0)
            report = await run.finish()
        entries = await asyncio.to_thread(list, report.rows())
        rows = {entry.number: entry.state for entry in entries}
        assert rows[trouble[MisbehavingNumber.NOT_ELIGIBLE]] is ChallengeState.FAILED
        assert rows[trouble[MisbehavingNumber.NOBODY_ANSWERS]] is ChallengeState.EXPIRED
        assert rows[trouble[MisbehavingNumber.MISHEARD]] is ChallengeState.EXPIRED
        rings = {number: sandbox.world.rings(number) for number in everyone}
        assert rings.pop(trouble[MisbehavingNumber.FIRST_CALL_MISSED]) == 2
        assert rings.pop(trouble[MisbehavingNumber.NOT_ELIGIBLE]) == 0
        assert rings.pop(trouble[MisbehavingNumber.BLOCKED]) == 0
        assert set(rings.values()) == {1}
        assert sandbox.violations == []


async def test_a_missing_project_on_a_socket() -> None:
    """Rule 6: the wrong project id, or the wrong key, stops the run at the first answer."""
    async with Sandbox() as sandbox:
        sandbox.add(numbers(5))
        environment = sandbox.environment()
        for name, value, error in (
            ("SINCH_PROJECT_ID", "another-project", NotFoundError),
            ("SINCH_KEY_SECRET", "wrong", AuthenticationError),
        ):
            client = QualifiedNumbersClient.from_env({**environment, name: value})
            async with client:
                with pytest.raises(error):
                    async with run_of(client, clock=sandbox.clock.now) as run:
                        await run.add(numbers(5))
                        await run.finish()
        assert sandbox.calls.total("sendVoiceChallenge") == 0
        assert sandbox.calls.total("getQualifiedNumber") == 0


async def test_missing_numbers_on_a_socket() -> None:
    """Rule 7: with `add_missing` a number goes from nothing to VERIFIED, its check waited for."""
    async with Sandbox(eligibility_delay=0.3) as sandbox, sandbox.client() as client:
        sandbox.add(numbers(70)[:35])
        run = run_of(client, clock=sandbox.clock.now, add_missing=True, recheck=0.2)
        async with run, people(run, sandbox.code_for):
            await run.add(numbers(70))
            report = await run.finish()
        assert report.counts[ChallengeState.VERIFIED] == 70
        assert sandbox.calls.total("addQualifiedNumbers") == 1
        assert {sandbox.world.rings(number) for number in numbers(70)} == {1}
        assert sandbox.violations == []


def test_the_journal_reads_what_a_run_wrote(tmp_path: Path) -> None:
    """P8: a number and a code are on disk when their calls return, before anything else is done."""

    async def main() -> None:
        path = tmp_path / "run.db"
        sinch = Sinch([NUMBER], latency=0.0)
        async with run_of(sinch, SqliteJournal(path)) as run:
            await run.add([NUMBER])
            assert query(path, "SELECT number FROM numbers") == [(NUMBER,)]
            await until_state(run, ChallengeState.AWAITING_CODE)
            sinch.prepare_fails = [TokenError("down")] * 5
            await run.submit_code(NUMBER, "0001")
            assert query(path, "SELECT code FROM inbox") == [("0001",)]

    asyncio.run(main())


def query(path: Path, statement: str) -> list[Any]:
    """Return what *statement* gives, over a connection of its own."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute(statement).fetchall()


def test_every_error_has_its_place_in_a_run() -> None:
    """Rule 2: every error of the library is mapped by its outcome: none falls through."""
    assert {error.value for error in Outcome} == {"not sent", "rejected", "unknown"}
    assert issubclass(errors.JournalError, SinchError)
