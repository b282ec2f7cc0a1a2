"""The sandbox's life cycle and its helpers for tests."""

from __future__ import annotations

import asyncio
import time

import pytest

from sinch_qn import RetryPolicy
from sinch_qn import errors as sinch_errors
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.sandbox import Fault, Sandbox
from tests.sandbox.curl import NUMBER, Receiver, order_of, running


async def test_clients_left_open_are_closed_with_the_sandbox() -> None:
    """The sandbox's clients leave no connection and no task behind."""
    async with Sandbox() as sandbox:
        sandbox.add([NUMBER])
        client = sandbox.client(retry=RetryPolicy(max_attempts=1), timeout=5.0, max_connections=1)
        await client.get_number(NUMBER)
    assert sandbox._clients == []
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_a_reset_forgets_all_but_port_settings_and_clients() -> None:
    """A reset clears numbers, orders, tokens, counts, violations, faults and callbacks."""
    async with (
        Receiver() as receiver,
        running(hosting_delay=60.0, max_attempts=5) as (sandbox, curl),
        sandbox.client() as client,
    ):
        sandbox.add([NUMBER], SinchState.VERIFIED)
        await client.get_number(NUMBER)
        await curl.send("GET", "/nothing")
        body = order_of(NUMBER, callbackUrl=receiver.url)
        await curl.send("POST", "/qualifiedNumbers:textEnableNumbers", body=body)
        sandbox.faults.add(Fault.status(503))
        port, calls = sandbox.port, sandbox.calls

        await sandbox.reset()

        assert (sandbox.port, sandbox.max_attempts) == (port, 5)
        assert calls.total("getQualifiedNumber") == 1  # the old object keeps its counts
        assert {*sandbox.calls.totals().values(), *sandbox.done.totals().values()} == {0}
        assert (sandbox.violations, sandbox.callbacks, sandbox.world.orders) == ([], {}, {})
        assert len(sandbox.faults) == 0
        assert sandbox.revoke_tokens() == 0
        with pytest.raises(sinch_errors.NotFoundError):
            await client.get_number(NUMBER)
        assert sandbox.done.total("token") == 1
        sandbox.clock.advance(60)
        await sandbox.callbacks_done()
        assert receiver.got == []
        sandbox.add([NUMBER], SinchState.VERIFIED)
        await curl.send("POST", "/qualifiedNumbers:textEnableNumbers", body=body)
        sandbox.clock.advance(60)
        await sandbox.callbacks_done()
        assert sandbox.callbacks == {"delivered": 1}


async def test_a_reset_ends_requests_in_progress() -> None:
    """A request from before a reset has no effect after it."""
    async with running() as (sandbox, _), sandbox.client() as client:
        sandbox.add([NUMBER])
        sandbox.faults.add(Fault.slow(30.0))
        with pytest.raises(sinch_errors.DeadlineExceededError):
            await client.send_voice_challenge(NUMBER, timeout=0.1)
        await sandbox.reset()
        sandbox.add([NUMBER])
        await client.get_number(NUMBER)
        assert sandbox.calls.total("sendVoiceChallenge") == 0
        assert sandbox.world.rings(NUMBER) == 0


async def test_a_reset_does_not_start_a_sandbox() -> None:
    """A sandbox that is not running can be reset, and is not started."""
    sandbox = Sandbox()
    sandbox.add([NUMBER])
    await sandbox.reset()
    assert sandbox.world.count(SinchState.ELIGIBLE) == 0
    with pytest.raises(RuntimeError, match="is not running"):
        _ = sandbox.base_url


async def test_it_has_no_address_before_it_runs() -> None:
    """The address of a sandbox that is not running is an error that says what to do."""
    with pytest.raises(RuntimeError, match="async with"):
        _ = Sandbox().base_url


async def test_a_port_that_is_taken_is_said_at_once() -> None:
    """A second sandbox on the same port fails."""
    async with Sandbox() as first:
        with pytest.raises(OSError, match="address already in use"):
            async with Sandbox(port=first.port):
                pass


async def test_it_is_reached_on_loopback_wherever_it_listens() -> None:
    """A sandbox that listens on all addresses has a loopback `base_url`."""
    async with Sandbox(host="0.0.0.0") as sandbox:  # noqa: S104
        assert sandbox.base_url == f"http://127.0.0.1:{sandbox.port}"


async def test_latency_is_real_time() -> None:
    """Each response takes at least `latency`."""
    async with running(latency=0.05) as (sandbox, curl):
        sandbox.add([NUMBER])
        begun = time.monotonic()
        await curl.send("GET", f"/qualifiedNumbers/{NUMBER}")
        assert time.monotonic() - begun >= 0.05


def test_a_misspelt_operation_is_not_counted_as_never() -> None:
    """Counts of an unknown operation are a KeyError, so a typo makes no test pass."""
    calls = Sandbox().calls
    assert calls.total("sendVoiceChallenge") == 0
    with pytest.raises(KeyError):
        calls.total("sendVoicechallenge")
    with pytest.raises(KeyError):
        calls.count("sendVoicechallenge", NUMBER)


def test_secrets_are_in_no_repr() -> None:
    """A sandbox's repr contains neither its key nor its callback secret."""
    text = repr(Sandbox(key_secret="canary-1", webhook_secret="canary-2"))
    assert "canary" not in text
