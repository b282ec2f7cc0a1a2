"""Reads that lag behind writes: what the sandbox shows, and how waits and runs cope."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from sinch_qn.bulk import ChallengeState
from sinch_qn.errors import NotFoundError
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.sandbox import Clock, Fault, Refusal, Sandbox, Settings, World
from tests.sandbox.curl import NUMBER, running
from tests.support.runs import OTHER, finish, run_of


def make(**settings: Any) -> World:
    """Return a world whose reads lag by ten seconds, and a clock moved by hand."""
    return World(
        Settings(visibility_delay=10.0, **settings), clock=Clock.stopped(), random=Random(7)
    )


def listed(world: World, state: SinchState) -> list[str]:
    """Return the numbers that a listing of *state* shows; the total says the same."""
    page, _ = world.page(state, size=10)
    assert world.count(state) == len(page)
    assert all(number.state is state for number in page)
    return [number.phone_number for number in page]


def test_a_number_is_found_after_the_delay() -> None:
    """An added number is not found and not listed at first; the response shows it at once."""
    world = make(eligibility_delay=60.0)
    assert [number.state for number in world.add([NUMBER])] == [SinchState.ELIGIBLE_CHECK_PENDING]
    world.clock.advance(9)
    with pytest.raises(Refusal, match="could not be found"):
        world.read(NUMBER)
    assert listed(world, SinchState.ELIGIBLE_CHECK_PENDING) == []
    world.clock.advance(1)
    assert world.read(NUMBER).state is SinchState.ELIGIBLE_CHECK_PENDING
    assert listed(world, SinchState.ELIGIBLE_CHECK_PENDING) == [NUMBER]


def test_requests_act_on_the_true_state() -> None:
    """A call and a code count at once; reads show each change with its own time, later."""
    world = make()
    world.seed([NUMBER])
    start = world.clock.now()
    assert world.ring(NUMBER).state is SinchState.VERIFICATION_PENDING
    world.clock.advance(5)
    assert world.verify(NUMBER, str(world.code_for(NUMBER))).state is SinchState.VERIFIED
    shown = []
    for _ in range(3):
        number = world.read(NUMBER)
        shown.append((number.state, number.updated - start))
        assert listed(world, number.state) == [NUMBER]
        world.clock.advance(5)
    assert shown == [
        (SinchState.ELIGIBLE, 0),
        (SinchState.VERIFICATION_PENDING, 0),
        (SinchState.VERIFIED, 5),
    ]
    assert listed(world, SinchState.VERIFICATION_PENDING) == []


def test_a_shorter_delay_shows_no_older_state_again() -> None:
    """A change that was shown is not replaced by an earlier one that comes due after it."""
    world = make()
    world.seed([NUMBER])
    world.ring(NUMBER)
    world.settings.visibility_delay = 0.0
    world.clock.advance(1)
    world.verify(NUMBER, str(world.code_for(NUMBER)))
    for _ in range(2):
        assert world.read(NUMBER).state is SinchState.VERIFIED
        world.clock.advance(20)


def test_what_tests_create_and_delete_is_seen_at_once() -> None:
    """`seed` and `delete` are visible at once; a change still due brings no number back."""
    world = make()
    world.seed([NUMBER], SinchState.VERIFIED)
    assert listed(world, SinchState.VERIFIED) == [NUMBER]
    world.delete(NUMBER)
    assert listed(world, SinchState.VERIFIED) == []
    world.add([OTHER])
    world.delete(OTHER)
    world.clock.advance(30)
    assert all(listed(world, state) == [] for state in SinchState)


async def test_a_wait_copes() -> None:
    """A number that was just added, and is not found yet, is waited for."""
    async with Sandbox(visibility_delay=0.2) as sandbox, sandbox.client() as client:
        await client.add_numbers([NUMBER])
        with pytest.raises(NotFoundError):
            await client.get_number(NUMBER)
        number = await client.wait_for_state(NUMBER, SinchState.ELIGIBLE, timeout=10)
        assert number.global_process_state is SinchState.ELIGIBLE


async def test_a_run_copes() -> None:
    """Numbers that a run adds are called once each, although look-ups show their states later."""
    async with Sandbox(visibility_delay=0.2) as sandbox, sandbox.client() as client:
        sandbox.add([OTHER])
        run = run_of(client, add_missing=True, recheck=0.4)
        report = await finish(run, [NUMBER, OTHER], sandbox.code_for)
        assert report.counts[ChallengeState.VERIFIED] == 2
        assert [sandbox.world.rings(number) for number in (NUMBER, OTHER)] == [1, 1]


async def test_a_run_copes_with_a_lost_response() -> None:
    """A code whose response was lost verifies, although the look-up still shows PENDING.

    It is sent again and refused, because the number is VERIFIED: that is no wrong code.
    """
    async with Sandbox(visibility_delay=1.0) as sandbox, sandbox.client() as client:
        sandbox.add([NUMBER])
        lost = Fault.dropped(when="after", times=1)
        sandbox.faults.add(lost, operation="verifyVoiceChallenge")
        run = run_of(client, jitter=lambda: 0.0, max_codes=1)
        report = await finish(run, [NUMBER], sandbox.code_for)
        assert report.counts[ChallengeState.VERIFIED] == 1
        assert sandbox.calls.total("verifyVoiceChallenge") == 2
        assert sandbox.world.rings(NUMBER) == 1


async def test_other_regions_are_accepted_when_named() -> None:
    """`regions=` decides which numbers can be added, as in a run."""
    puerto_rico = "+17875550134"
    async with running(regions=("US", "PR")) as (sandbox, curl):
        body = {"phoneNumbers": [puerto_rico]}
        status, added, _ = await curl.send("POST", "/qualifiedNumbers:addNumbers", body=body)
        assert (status, added["qualifiedNumbers"][0]["regionCode"]) == (200, "PR")
        assert sandbox.world.count(SinchState.ELIGIBLE) == 1
        body = {"phoneNumbers": ["+14165550134"]}
        status, error, _ = await curl.send("POST", "/qualifiedNumbers:addNumbers", body=body)
        assert status == 400
        assert "is not a US or PR phone number" in str(error)
