"""OpenTelemetry: what a real OTLP receiver gets of calls and runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from sinch_qn._operations import GET_NUMBER
from sinch_qn.auth import OAuth2
from sinch_qn.bulk import ChallengeState, MemoryJournal, VoiceChallengeRun
from sinch_qn.errors import JournalError, NotFoundError, SinchError
from sinch_qn.instrumentation.opentelemetry import OpenTelemetryHooks
from sinch_qn.sandbox import Fault, Sandbox
from tests.core.test_hooks import hooked
from tests.core.test_pipeline import (
    NUMBER,
    OK,
    TOKEN_URL,
    ScriptedTransport,
    answer,
    call,
    failing,
    hang,
)
from tests.support.otlp import Receiver, plain, receiving

TEMPLATE = "/v1/projects/{projectId}/qualifiedNumbers/{phoneNumber}"


@attrs.define
class Telemetry:
    """Hooks whose providers export to a receiver."""

    receiver: Receiver
    traces: TracerProvider
    meters: MeterProvider
    hooks: OpenTelemetryHooks

    async def flush(self) -> None:
        """Export what there is."""
        for provider in (self.traces, self.meters):
            assert await asyncio.to_thread(provider.force_flush)

    def points(self, name: str) -> dict[tuple[tuple[str, Any], ...], Any]:
        """Return the points of a metric by their attributes."""
        metric = self.receiver.metrics[name]
        data = getattr(metric, metric.WhichOneof("data"))
        return {tuple(sorted(plain(p.attributes).items())): p for p in data.data_points}


@pytest.fixture
def otlp() -> Iterator[Telemetry]:
    """Export to a receiver on loopback, over real exporters."""
    with receiving() as receiver:
        traces, exporter = TracerProvider(), OTLPSpanExporter(f"{receiver.endpoint}/v1/traces")
        traces.add_span_processor(BatchSpanProcessor(exporter))
        reader = PeriodicExportingMetricReader(
            OTLPMetricExporter(f"{receiver.endpoint}/v1/metrics"), export_interval_millis=1e9
        )
        meters = MeterProvider([reader])
        hooks = OpenTelemetryHooks(tracer_provider=traces, meter_provider=meters)
        yield Telemetry(receiver, traces, meters, hooks)
        traces.shutdown()
        meters.shutdown()


async def test_a_call_is_a_span(otlp: Telemetry, sandbox: Sandbox) -> None:
    """One span a call, by operationId, with the stable HTTP attributes and retries as events."""
    sandbox.add([NUMBER])
    sandbox.faults.add(Fault.status(503, times=1), operation="getQualifiedNumber")
    async with sandbox.client(hooks=[otlp.hooks], retry=lambda _: 0.01) as client:
        await client.get_number(NUMBER)
        with pytest.raises(NotFoundError):
            await client.get_number("+12025559999")
    await otlp.flush()
    found, missing = otlp.receiver.spans
    host, _, port = sandbox.base_url.removeprefix("http://").partition(":")
    assert (found.name, found.kind) == ("getQualifiedNumber", Span.SPAN_KIND_CLIENT)
    assert plain(found.attributes) == {
        "http.request.method": "GET",
        "http.request.resend_count": 1,
        "http.response.status_code": 200,
        "server.address": host,
        "server.port": int(port),
        "sinch_qn.operation": "getQualifiedNumber",
        "sinch_qn.outcome": "ok",
        "sinch_qn.project_id": sandbox.project_id,
        "url.full": f"{sandbox.base_url}/v1/projects/{sandbox.project_id}"
        "/qualifiedNumbers/{phoneNumber}",
        "url.template": TEMPLATE,
    }
    (retry,) = found.events
    assert retry.name == "retry"
    assert plain(retry.attributes) == {
        "error.type": "503",
        "http.request.resend_count": 1,
        "sinch_qn.delay": 0.01,
    }
    assert found.status.code == Status.STATUS_CODE_UNSET
    assert missing.status.code == Status.STATUS_CODE_ERROR
    assert plain(missing.attributes)["error.type"] == "404"
    assert plain(missing.attributes)["sinch_qn.outcome"] == "rejected"


async def test_durations_and_calls_are_counted(otlp: Telemetry, sandbox: Sandbox) -> None:
    """Each request has a duration, by status; each call is counted, by operation and outcome."""
    sandbox.add([NUMBER])
    sandbox.faults.add(Fault.dropped(times=1), operation="getQualifiedNumber")
    async with sandbox.client(hooks=[otlp.hooks], retry=lambda _: 0.0) as client:
        await client.get_number(NUMBER)
        sandbox.faults.add(Fault.dropped(), operation="sendVoiceChallenge")
        with pytest.raises(SinchError):
            await client.send_voice_challenge(NUMBER)
    await otlp.flush()
    durations = otlp.points("http.client.request.duration")
    kinds = {
        (k["http.request.method"], k.get("http.response.status_code"), k.get("error.type")): p.count
        for k, p in ((dict(key), point) for key, point in durations.items())
    }
    assert kinds == {
        ("GET", None, "TransportError"): 1,
        ("GET", 200, None): 1,
        ("POST", None, "TransportError"): 1,
    }
    assert otlp.receiver.metrics["http.client.request.duration"].unit == "s"
    calls = {tuple(v for _, v in key): p.as_int for key, p in otlp.points("sinch_qn.calls").items()}
    assert calls == {
        ("getQualifiedNumber", "ok"): 1,
        ("TransportError", "sendVoiceChallenge", "unknown"): 1,
    }


async def test_a_run_is_shown_in_gauges(otlp: Telemetry, sandbox: Sandbox) -> None:
    """Numbers by state, rate and ringing phones of a run, as they are at its end."""
    numbers = [f"+1202555{i:04}" for i in range(100, 105)]
    sandbox.add(numbers)
    async with (
        sandbox.client(hooks=[otlp.hooks]) as client,
        VoiceChallengeRun(client, MemoryJournal(), calls_per_second=50) as run,
        otlp.hooks.observe_run(run, name="january", every=0.01),
    ):
        await run.add(numbers)
        called = 0
        async for event in run.events():
            called += event.what == "called"
            if event.what == "called":
                await run.submit_code(event.number, sandbox.code_for(event.number) or "")
            elif event.what == "verified" and called == len(numbers):
                break
        await run.finish()
    await otlp.flush()
    states = {
        dict(key)["sinch_qn.state"]: point.as_int
        for key, point in otlp.points("sinch_qn.run.numbers").items()
    }
    assert states.get("verified") == 5
    assert sum(states.values()) == 5
    (rate,) = otlp.points("sinch_qn.run.rate").items()
    assert dict(rate[0]) == {"sinch_qn.run": "january"}
    (ringing,) = otlp.points("sinch_qn.run.ringing").values()
    assert ringing.as_int == 0
    (placed,) = [
        point.as_int
        for key, point in otlp.points("sinch_qn.calls").items()
        if dict(key)["sinch_qn.operation"] == "sendVoiceChallenge"
    ]
    assert placed == 5
    for number in numbers:
        assert number.removeprefix("+").encode() not in otlp.receiver.raw


async def test_nothing_exported_has_a_number_or_a_token(otlp: Telemetry, sandbox: Sandbox) -> None:
    """Whatever the call, typed or raw, its number, code and token are in no exported byte."""
    sandbox.add([NUMBER])
    async with sandbox.client(hooks=[otlp.hooks]) as client:
        await client.send_voice_challenge(NUMBER)
        code = sandbox.code_for(NUMBER) or ""
        await client.verify_voice_challenge(NUMBER, code)
        await client.request("GET", f"/qualifiedNumbers/{NUMBER}")
        with pytest.raises(SinchError):
            await client.request("GET", f"/newThings/{NUMBER}:check")
        sandbox.violations.clear()
    await otlp.flush()
    assert len(otlp.receiver.spans) == 4
    for secret in (NUMBER[1:], NUMBER[-7:], *sandbox.tokens, sandbox.key_secret):
        assert secret.encode() not in otlp.receiver.raw


async def test_requests_carry_the_trace(otlp: Telemetry) -> None:
    """A request has the `traceparent` of its span, a child of the caller's, if that is wanted."""
    transport = ScriptedTransport(OK)
    with otlp.traces.get_tracer("caller").start_as_current_span("caller") as caller:
        await call(hooked(transport, otlp.hooks), GET_NUMBER)
    await otlp.flush()
    (span,) = [each for each in otlp.receiver.spans if each.name == "getQualifiedNumber"]
    assert span.parent_span_id == caller.get_span_context().span_id.to_bytes(8, "big")
    sent = transport.sent[0].headers["Traceparent"]
    assert sent.startswith(f"00-{span.trace_id.hex()}-{span.span_id.hex()}-")
    silent = OpenTelemetryHooks(
        tracer_provider=otlp.traces, meter_provider=otlp.meters, propagate=False
    )
    transport = ScriptedTransport(OK)
    await call(hooked(transport, silent), GET_NUMBER)
    assert "Traceparent" not in transport.sent[0].headers


async def test_a_call_without_a_request_is_a_span(otlp: Telemetry) -> None:
    """A call that ends before its first request has a span, from its start on, and is counted."""
    auth = OAuth2("key", "secret", token_url=TOKEN_URL)
    to = hooked(ScriptedTransport(answer(400)), otlp.hooks, auth=auth)
    await failing(to, GET_NUMBER)
    await otlp.flush()
    (span,) = otlp.receiver.spans
    assert span.start_time_unix_nano <= span.end_time_unix_nano
    assert plain(span.attributes)["sinch_qn.outcome"] == "not sent"
    assert "http.request.method" not in plain(span.attributes)
    assert "http.client.request.duration" not in otlp.receiver.metrics


async def test_a_cancelled_call_is_a_span(otlp: Telemetry) -> None:
    """A cancellation ends the span as an error, and no span is left open."""
    task = asyncio.create_task(call(hooked(ScriptedTransport(hang), otlp.hooks), GET_NUMBER))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await otlp.flush()
    (span,) = otlp.receiver.spans
    assert plain(span.attributes)["error.type"] == "CancelledError"
    assert span.status.code == Status.STATUS_CODE_ERROR


class Run:
    """A run whose journal fails once."""

    rate, ringing = 5.0, 2

    def __init__(self) -> None:
        self.asked = 0
        self.again = asyncio.Event()

    async def counts(self) -> dict[ChallengeState, int]:
        """Return the counts, or raise at the second time."""
        self.asked += 1
        if self.asked == 2:
            raise JournalError("it is busy")
        if self.asked > 2:
            self.again.set()
        return {ChallengeState.PENDING: self.asked}


async def test_a_run_that_cannot_be_read_is_read_again(
    otlp: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    """A journal that fails is logged, and the gauges go on; several runs have their names."""
    first, second = Run(), Run()
    async with (
        otlp.hooks.observe_run(first, name="first", every=0.001),
        otlp.hooks.observe_run(second, name="second", every=1000.0),
    ):
        await first.again.wait()
        second.asked = 6
    await otlp.flush()
    points = otlp.points("sinch_qn.run.ringing")
    assert {dict(key)["sinch_qn.run"] for key in points} == {"first", "second"}
    numbers = otlp.points("sinch_qn.run.numbers")
    assert 7 in [point.as_int for point in numbers.values()]
    assert "the metrics of run first are not up to date: it is busy" in caplog.text
