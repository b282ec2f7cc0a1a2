"""A run in an outage, and errors that every number would meet."""

# ruff: noqa: PT012 - a run raises what stopped it when it is left

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sinch_qn import QualifiedNumbersClient
from sinch_qn._operations import GET_NUMBER, SEND_VOICE_CHALLENGE, VERIFY_VOICE_CHALLENGE, Operation
from sinch_qn.bulk import ChallengeState, Entry, MemoryJournal, scheduler
from sinch_qn.bulk.journal import Identity
from sinch_qn.bulk.states import Change, Event
from sinch_qn.errors import (
    AuthenticationError,
    ConnectError,
    NotFoundError,
    PermissionDeniedError,
    SinchError,
    TransportError,
)
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.sandbox import Sandbox
from tests.support.fake_sinch import Sinch
from tests.support.runs import (
    NUMBER,
    WallClock,
    counts,
    finish,
    numbers,
    run_of,
    until,
    until_state,
)
from tests.support.virtual_clock import virtual_clock


@pytest.mark.parametrize("kind", ["dead", "slow", "calls only"])
@virtual_clock
async def test_an_hour_of_outage(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 5: an hour's outage leaves fewer than 50 UNKNOWNs; the run resumes after it."""
    monkeypatch.setattr(scheduler, "POLL", 5.0)  # no other process writes into this journal
    sinch = Sinch(numbers(600))
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
        await run.add(numbers(600))
        await until(lambda: clock() > 3600.0, seconds=4000.0, step=1.0)
        assert len(sinch.rings) < 400
        assert run.rate == 0.0 or kind == "calls only"

        async def done() -> bool:
            return not (await run.counts())[ChallengeState.PENDING]

        await until(done, seconds=60.0 + 1800.0 + 600.0, step=1.0)
        found = await counts(run)
        assert 20 <= found[ChallengeState.UNKNOWN] < 50
        assert found[ChallengeState.UNKNOWN] + found[ChallengeState.AWAITING_CODE] == 600
        assert set(sinch.rings.values()) == {1}
        assert len(sinch.rings) == found[ChallengeState.AWAITING_CODE]


@virtual_clock
async def test_unknowns_of_a_restart_are_no_outage() -> None:
    """Rule 5: UNKNOWNs recovered at a restart do not count towards an outage."""
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
async def test_a_fatal_error_stops_the_run_at_once(error: SinchError) -> None:
    """Rule 6: refused credentials or a missing project stop the run at the first response.

    `finish`, `recall` and leaving raise the error, and `events` ends.
    """
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


@pytest.mark.parametrize("when", ["look-up", "listing", "token", "call", "code", "resolve"])
@virtual_clock
async def test_credentials_that_are_refused_later(when: str) -> None:
    """Rule 6: credentials that are refused during a run stop it; the next run resumes it.

    Nothing is lost, and no phone is called twice.
    """
    many = numbers(60) if when == "listing" else [NUMBER]
    sinch, journal = Sinch(many), MemoryJournal()
    error = AuthenticationError("refused", status_code=401)
    refused = {"look-up": GET_NUMBER, "call": SEND_VOICE_CHALLENGE, "code": VERIFY_VOICE_CHALLENGE}

    def refuse(operation: Operation[Any], _: str | None) -> SinchError | None:
        if when == "resolve" and operation is VERIFY_VOICE_CHALLENGE:
            return TransportError("reset")
        if when == "resolve" and operation is GET_NUMBER and sinch.count(VERIFY_VOICE_CHALLENGE):
            return error
        return error if operation is refused.get(when) else None

    sinch.before = refuse
    sinch.list_fails = [error] if when == "listing" else []
    sinch.prepare_fails = [error] if when == "token" else []
    with pytest.raises(AuthenticationError):
        await finish(run_of(sinch, journal), many, sinch.codes.get)
    rows = list(journal.rows())
    assert len(rows) == len(many)
    assert {entry.state for entry in rows} <= {
        ChallengeState.PENDING,
        ChallengeState.AWAITING_CODE,
        ChallengeState.VERIFYING,
    }
    sinch.before = lambda _operation, _number: None
    report = await finish(run_of(sinch, journal), [], sinch.codes.get)
    assert report.counts[ChallengeState.VERIFIED] == len(many)
    assert set(sinch.rings.values()) == {1}


@pytest.mark.parametrize(
    ("variable", "value", "error"),
    [
        ("SINCH_PROJECT_ID", "another-project", NotFoundError),
        ("SINCH_KEY_SECRET", "wrong", AuthenticationError),
    ],
)
async def test_a_missing_project_on_a_socket(
    variable: str, value: str, error: type[SinchError]
) -> None:
    """Rule 6: the wrong project id, or the wrong key, stops the run at the first response."""
    async with Sandbox() as sandbox:
        sandbox.add(numbers(5))
        environment = {**sandbox.environment(), variable: value}
        async with QualifiedNumbersClient.from_env(environment) as client:
            with pytest.raises(error):
                await finish(run_of(client, clock=sandbox.clock.now), numbers(5))
        assert sandbox.calls.total("sendVoiceChallenge") == 0
        assert sandbox.calls.total("getQualifiedNumber") == 0
