"""Unsafe writes are at-most-once: intent, one request, outcome; and tokens that fence them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinch_qn import PreparedCall, QualifiedNumbersClient
from sinch_qn.bulk import ChallengeState, Entry, Journal, MemoryJournal
from sinch_qn.bulk.at_most_once import UnsafeWrite, at_most_once
from sinch_qn.bulk.pacing import CallResult
from sinch_qn.bulk.permits import Told, Turn
from sinch_qn.bulk.states import Change, Event
from sinch_qn.bulk.steps import StepResult, Steps
from sinch_qn.bulk.unsafe_writes import CodeVerification, NumberAddition, TextEnableOrder, VoiceCall
from sinch_qn.errors import ConnectError, TransportError
from sinch_qn.models import BlanketLoaInfo, TextEnableNumbersRequest
from sinch_qn.models import GlobalProcessState as SinchState
from tests.support.cancellation import cancelled_at
from tests.support.fake_sinch import Sinch
from tests.support.runs import NUMBER
from tests.support.scheduling import SETTINGS
from tests.support.virtual_clock import run_virtually


@attrs.define
class Letter:
    """An unsafe write that logs its steps, and suspends before and after each."""

    log: list[str] = attrs.field(factory=list)
    fails: bool = False

    async def commit_intent(self) -> int | None:
        await asyncio.sleep(0)
        self.log.append("intent")
        await asyncio.sleep(0)
        return 7

    async def send(self, intent: int, prepared: PreparedCall) -> str:
        assert intent == 7
        await asyncio.sleep(0)
        prepared.connection_acquired = True
        await asyncio.sleep(0)
        self.log.append("effect")
        await asyncio.sleep(0)
        if self.fails:
            raise TransportError("reset")
        return "response"

    async def withdraw(self, intent: int) -> None:
        assert intent == 7
        self.log.append("withdrawn")

    async def mark_unknown(self, intent: int) -> None:
        assert intent == 7
        self.log.append("unknown")


def prepared() -> PreparedCall:
    """Return a prepared call."""
    return PreparedCall(owner=None)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_write_returns_its_intent_and_its_result(*, fails: bool) -> None:
    """The intent precedes the one request; both are returned, for the outcome's commit."""
    letter = Letter(fails=fails)
    sent = await at_most_once(letter, prepared())
    assert sent is not None
    intent, result = sent
    assert (intent, letter.log) == (7, ["intent", "effect"])
    assert isinstance(result, TransportError) if fails else result == "response"


async def test_without_an_intent_nothing_is_sent() -> None:
    """A write whose intent is refused sends nothing."""

    class Refused(Letter):
        async def commit_intent(self) -> int | None:
            return None

    letter = Refused()
    assert await at_most_once(letter, prepared()) is None
    assert letter.log == []


def test_a_cancelled_write_is_withdrawn_or_unknown() -> None:
    """P9: a write that is cancelled at any await is withdrawn, or unknown if it may be sent."""

    async def cut_at(k: int) -> list[str] | None:
        letter = Letter()
        task = await cancelled_at(at_most_once(letter, prepared()), k)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return letter.log if task.cancelled() else None

    logs: list[list[str]] = []
    while log := run_virtually(cut_at(len(logs) + 1)):
        logs.append(log)
    assert ["intent", "withdrawn"] in logs
    assert ["intent", "unknown"] in logs
    for log in logs:
        assert log.count("intent") == log.count("withdrawn") + log.count("unknown") == 1
        assert "effect" not in log or log[-1] == "unknown"


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_the_commit_of_an_intent_is_never_left_behind(times: int) -> None:
    """P9: however often a write is cancelled while its intent is committed, it is withdrawn once.

    It ends after that commit, whose token the withdrawal needs; nothing is sent.
    """
    committed = asyncio.Event()

    class Slow(Letter):
        async def commit_intent(self) -> int | None:
            await committed.wait()
            return await super().commit_intent()

    letter = Slow()
    task = asyncio.create_task(at_most_once(letter, prepared()))
    for _ in range(times):
        await asyncio.sleep(0.001)
        task.cancel()
    await asyncio.sleep(0.001)
    assert not task.done()
    committed.set()
    await asyncio.wait([task])
    assert task.cancelled()
    assert letter.log == ["intent", "withdrawn"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


# ---- the four writes of a run ------------------------------------------------------------------


ORDER = TextEnableNumbersRequest(
    region_code="US",
    numbers=[],
    service_plan_id="plan",
    campaign_id="campaign",
    blanket_loa_info=BlanketLoaInfo(),
)


def steps(sinch: Sinch, journal: Journal) -> Steps:
    """Return the steps of a run, or of one of several runners on a journal."""
    return Steps(
        client=cast("QualifiedNumbersClient", sinch),
        journal=journal,
        settings=SETTINGS,
        clock=lambda: 100.0,
        jitter=lambda: 0.5,
    )


TURN = Turn(slot=0, at=0.0)
"""A turn that is late, which counts anew each time that it is used."""


async def resume(journal: Journal) -> None:
    """Open *journal* for a run, which is not paused."""
    await journal.open(None, running=True, settings=SETTINGS)
    await journal.permits([Told(result=CallResult.REACHABLE)], 0)


async def make_call(runner: Steps) -> StepResult:
    """Make a call by *runner*."""
    return await runner.call(TURN, await runner.client.prepare())


async def one_number(journal: Journal, **fields: Any) -> Entry:
    """Add a number to *journal*."""
    entry = Entry(number=NUMBER, remote=SinchState.ELIGIBLE, **fields)
    await journal.add([entry])
    return entry


async def writes(sinch: Sinch, journal: MemoryJournal) -> dict[str, UnsafeWrite[Any, Any, Any]]:
    """Return an unsafe write of each kind."""
    entry = await one_number(journal)
    parts: dict[str, Any] = {"client": sinch, "journal": journal, "clock": lambda: 100.0}
    await resume(journal)
    call = VoiceCall(**parts, code_timeout=600.0, turn=TURN)
    addition = NumberAddition(**parts, entries=[entry], due=130.0)
    order = TextEnableOrder(**parts, request=ORDER, region=None, limit=500, token="0" * 12)
    verification = CodeVerification(
        **parts, on_intent=lambda: None, outcome=steps(sinch, journal)._after_verify
    )
    return {"call": call, "add": addition, "order": order, "verify": verification}


@pytest.mark.parametrize("kind", ["call", "add", "order", "verify"])
@pytest.mark.parametrize("may_have_been_sent", [False, True])
async def test_each_write_closes_its_intent(*, kind: str, may_have_been_sent: bool) -> None:
    """A withdrawn intent may be committed again; one that may have been sent may not."""
    journal = MemoryJournal()
    write = (await writes(Sinch([NUMBER]), journal))[kind]
    if kind == "order":
        entry = await journal.get(NUMBER)
        assert entry is not None
        journal._store.save(
            entry, attrs.evolve(entry, state=ChallengeState.VERIFIED, remote=SinchState.VERIFIED)
        )
    if kind == "verify":
        (intent,) = await journal.apply([Change(number=NUMBER, event=Event.CALL, at=1.0)])
        assert intent is not None
        called = Change(
            number=NUMBER, event=Event.CALLED, at=1.0, intent=intent.intent, window=600.0
        )
        await journal.apply([called])
        await journal.submit_code(NUMBER, "0417", 2.0)
    intent = await write.commit_intent()
    assert intent is not None
    assert await write.commit_intent() is None
    await (write.mark_unknown(intent) if may_have_been_sent else write.withdraw(intent))
    again = await write.commit_intent()
    assert (again is None) is may_have_been_sent


# ---- two runners on one journal ----------------------------------------------------------------


async def test_one_runner_cannot_withdraw_anothers_call() -> None:
    """Rule 29: a withdrawal that is repeated late does not undo the call of another runner.

    The attempt would not distinguish the two intents: both are attempt 1.
    """
    sinch, journal = Sinch([NUMBER]), MemoryJournal()
    one = (await writes(sinch, journal))["call"]
    first = await one.commit_intent()
    await one.withdraw(first)
    result = await make_call(steps(sinch, journal))  # the other runner
    await one.withdraw(first)  # as after a lost connection to the journal
    assert await journal.apply(list(result.changes)) != [None]
    (known,) = journal.rows()
    assert (known.state, known.attempt, sinch.rings[NUMBER]) == (ChallengeState.AWAITING_CODE, 1, 1)
    assert await one.commit_intent() is None


@pytest.mark.parametrize(
    ("outcome", "becomes"),
    [
        (Event.CALLED, ChallengeState.AWAITING_CODE),
        (Event.CALL_NOT_SENT, ChallengeState.PENDING),
        (Event.NOT_CALLABLE, ChallengeState.FAILED),
        (Event.BLOCKED, ChallengeState.BLOCKED),
        (Event.VERIFIED, ChallengeState.VERIFIED),
    ],
    ids=lambda value: value.value,
)
async def test_a_late_outcome_corrects_unknown(outcome: Event, becomes: ChallengeState) -> None:
    """Rule 29: a late outcome with the token of its intent corrects UNKNOWN, once."""
    journal = MemoryJournal()
    call = (await writes(Sinch([NUMBER]), journal))["call"]
    intent = await call.commit_intent()
    assert intent is not None
    await call.mark_unknown(intent)
    late = Change(number=NUMBER, event=outcome, at=9.0, intent=intent.intent, window=600.0)
    assert await journal.apply([attrs.evolve(late, intent=intent.intent + 1)]) == [None]
    (entry,) = await journal.apply([late])
    assert entry is not None
    assert entry.state is becomes
    assert await journal.apply([late]) == [None]
    assert entry.attempt == (0 if outcome is Event.CALL_NOT_SENT else 1)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_two_runners_make_each_attempt_once(data: st.DataObject) -> None:
    """P1: two runners that interleave, are cancelled and repeat changes call once an attempt."""
    run_virtually(two_runners(data.draw))


async def two_runners(draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
    """Call one number by two runners, which *draw* cancels and repeats."""
    sinch, journal = Sinch([NUMBER], latency=0.0), MemoryJournal()
    await one_number(journal)
    sinch.before = lambda *_: ConnectError("nobody there") if draw(st.booleans()) else None
    sinch.after = lambda *_: TransportError("reset") if draw(st.booleans()) else None
    await resume(journal)
    other = journal.another()
    await other.open(None, running=True, settings=SETTINGS)
    runners = [steps(sinch, journal), steps(sinch, other)]
    repeated: list[Change] = []

    async def call(runner: Steps) -> None:
        result = await make_call(runner)
        repeated.extend(result.changes)
        await journal.apply(list(result.changes))

    for _ in range(draw(st.integers(2, 8))):
        match draw(st.sampled_from(["call", "cancelled", "both", "again", "recall"])):
            case "call":
                await call(draw(st.sampled_from(runners)))
            case "cancelled":
                k, runner = draw(st.integers(1, 8)), draw(st.sampled_from(runners))
                await cancelled_at(call(runner), k)
            case "both":
                await asyncio.gather(*(call(runner) for runner in runners))
            case "again" if repeated:
                await journal.apply([draw(st.sampled_from(repeated))])
            case "recall":
                recall = Change(number=NUMBER, event=Event.RECALL, at=100.0)
                lookup = Change(
                    number=NUMBER, event=Event.LOOKED_UP, at=100.0, remote=SinchState.ELIGIBLE
                )
                await journal.apply([recall, lookup])
        known = await journal.get(NUMBER)
        assert known is not None
        assert sinch.rings[NUMBER] <= known.attempt
