"""Delivery of the sandbox's callbacks."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest

from sinch_qn.models import CallbackEvent, CallbackEventType, TextEnableNumbersRequest
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.sandbox import MisbehavingNumber, Sandbox, World
from sinch_qn.webhooks import parse, sign
from tests.sandbox.curl import NUMBER, Receiver, conforms, order_of, running
from tests.support.loa import DIRECT


def test_a_signature_is_hmac_sha1_in_hexadecimal() -> None:
    """The second test case of RFC 2202."""
    digest = "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
    assert sign(b"what do ya want for nothing?", "Jefe") == digest


async def test_callbacks_are_signed_and_sent_when_it_happens() -> None:
    """Advancing the clock to an order's end delivers its callback, signed over the raw body."""
    async with Receiver() as receiver, running(hosting_delay=60.0) as (sandbox, curl):
        sandbox.add([NUMBER], SinchState.VERIFIED)
        body = order_of(NUMBER, callbackUrl=receiver.url)
        assert (await curl.send("POST", "/qualifiedNumbers:textEnableNumbers", body=body))[0] == 200
        assert receiver.got == []
        sandbox.clock.advance(60)
        async with asyncio.timeout(10):
            await receiver.arrived.wait()
        await sandbox.callbacks_done()
        assert sandbox.callbacks["delivered"] == 1
        ((raw, signature),) = receiver.got
        assert signature == sign(raw, sandbox.webhook_secret)
        event = json.loads(raw)
        conforms("CallbackEvent", event)
        assert (event["resourceId"], event["status"]) == (NUMBER, "SUCCEEDED")
        assert event["projectId"] == sandbox.project_id
        assert "failureCode" not in event


async def test_a_real_clock_delivers_callbacks_by_itself() -> None:
    """Callbacks are delivered without any further request to the sandbox."""
    failing = f"+1202{MisbehavingNumber.HOSTING_FAILS.value}"
    async with Receiver() as receiver, Sandbox(hosting_delay=0.02) as sandbox:
        sandbox.add([failing], SinchState.VERIFIED)
        async with sandbox.client() as client:
            await client.text_enable_numbers(
                TextEnableNumbersRequest(
                    region_code="US",
                    numbers=[failing],
                    service_plan_id="plan",
                    direct_loa_info=DIRECT,
                    callback_url=receiver.url,
                )
            )
        async with asyncio.timeout(10):
            await receiver.arrived.wait()
        event = json.loads(receiver.got[0][0])
        assert (event["status"], event["failureCode"]) == ("FAILED", "INVALID_NNID")


async def test_a_callback_that_is_not_taken_is_repeated_a_few_times() -> None:
    """Unless the response is 200 the same bytes are sent again; redirects are not followed."""
    async with Receiver(503, 307) as receiver, running(callback_retry=0.0) as (sandbox, curl):
        sandbox.add([NUMBER], SinchState.VERIFIED)
        body = order_of(NUMBER, callbackUrl=receiver.url)
        await curl.send("POST", "/qualifiedNumbers:textEnableNumbers", body=body)
        await sandbox.callbacks_done()
        assert sandbox.callbacks["delivered"] == 1
        assert len(receiver.got) == 3
        assert len(set(receiver.got)) == 1
        assert receiver.paths == {"/hook"}

        receiver.statuses = [500, 500, 500]
        sandbox.add([NUMBER], SinchState.VERIFIED)
        await curl.send("POST", "/qualifiedNumbers:textEnableNumbers", body=body)
        await sandbox.callbacks_done()
        assert sandbox.callbacks["failed"] == 1
        assert len(receiver.got) == 6


@pytest.mark.parametrize("campaign", [{}, {"campaignId": "C3O84GA"}])
async def test_several_callbacks_a_number(campaign: dict[str, str]) -> None:
    """Each step and each carrier has its own event, delivered twice, in any order.

    Whoever processes each `eventId` once processes each event once; the failure is one of them.
    """
    failing = f"+1202{MisbehavingNumber.HOSTING_FAILS.value}"
    async with Receiver() as receiver, running(several_callbacks=True) as (sandbox, curl):
        sandbox.add([NUMBER, failing], SinchState.VERIFIED)
        body = order_of(NUMBER, failing, callbackUrl=receiver.url, **campaign)
        await curl.send("POST", "/qualifiedNumbers:textEnableNumbers", body=body)
        await sandbox.callbacks_done()
        deliveries = [
            parse(raw, {"X-Sinch-Signature": signature}, secret=sandbox.webhook_secret)
            for raw, signature in receiver.got
        ]
        events = {event.event_id: event for event in deliveries}
        by_number: dict[str, list[CallbackEvent]] = {each: [] for each in (NUMBER, failing)}
        for event in events.values():
            by_number[str(event.resource_id)].append(event)
        each = 4 + len(campaign)
        assert [len(of_one) for of_one in by_number.values()] == [each, each]
        assert sorted(Counter(event.event_id for event in deliveries).values()) == [2] * 2 * each
        assert {event.failure_code for event in by_number[NUMBER]} == {None}
        failures = [event for event in by_number[failing] if event.failure_code]
        assert [event.event_type for event in failures] == [CallbackEventType.OSR_UPDATE]
        linked = CallbackEventType.LINK_TO_10DLC_CAMPAIGN
        assert any(event.event_type is linked for event in events.values()) is bool(campaign)


async def test_a_callback_to_nobody_fails() -> None:
    """An unreachable receiver is counted as failed and stops no other delivery."""
    async with running(callback_retry=0.0) as (sandbox, curl):
        sandbox.add([NUMBER], SinchState.VERIFIED)
        body = order_of(NUMBER, callbackUrl="http://127.0.0.1:9/")
        await curl.send("POST", "/qualifiedNumbers:textEnableNumbers", body=body)
        await sandbox.callbacks_done()
        assert sandbox.callbacks["failed"] == 1


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1/", "https://example.com/", "http://[", "nowhere"]
)
async def test_callbacks_stay_on_this_machine(url: str) -> None:
    """By default no other host is contacted or resolved."""
    async with running() as (sandbox, curl):
        sandbox.add([NUMBER], SinchState.VERIFIED)
        body = order_of(NUMBER, callbackUrl=url)
        await curl.send("POST", "/qualifiedNumbers:textEnableNumbers", body=body)
        await sandbox.callbacks_done()
        assert sandbox.callbacks["withheld"] == 1


async def test_callbacks_leave_the_machine_when_told_to() -> None:
    """With `callbacks_leave_machine` callbacks go to any host."""
    async with (
        Receiver() as receiver,
        running(callbacks_leave_machine=True) as (sandbox, curl),
    ):
        sandbox.add([NUMBER], SinchState.VERIFIED)
        body = order_of(NUMBER, callbackUrl=receiver.url)
        await curl.send("POST", "/qualifiedNumbers:textEnableNumbers", body=body)
        await sandbox.callbacks_done()
        assert sandbox.callbacks["delivered"] == 1


async def test_a_task_that_broke_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect in the delivery task is raised when the sandbox is left."""
    monkeypatch.setattr(World, "advance_to_now", lambda _: 1 / 0)
    with pytest.raises(ExceptionGroup) as caught:
        async with Sandbox() as sandbox:
            await asyncio.wait([sandbox._callback_delivery._task])
    assert isinstance(caught.value.exceptions[0], ZeroDivisionError)
