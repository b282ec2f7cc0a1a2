"""Traces and metrics of calls and runs over OpenTelemetry's API: `sinch-qn[opentelemetry]`.

    client = QualifiedNumbersClient(project_id, auth, hooks=[OpenTelemetryHooks()])

No span and no metric has a phone number, a token or a body.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import attrs
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter
from opentelemetry.trace import (
    Span,
    SpanKind,
    StatusCode,
    TracerProvider,
    get_tracer,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from sinch_qn._version import __version__
from sinch_qn.errors import SinchError, StatusError
from sinch_qn.instrumentation.hooks import CallInfo, Hooks, RequestInfo, ResponseInfo

_log = logging.getLogger("sinch_qn")

_SCOPE: Final = "sinch_qn"
_PROJECT: Final = "/v1/projects/"

_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Seconds: those that the semantic conventions advise."""


class ObservedRun(Protocol):
    """What is read of a `VoiceChallengeRun`."""

    @property
    def rate(self) -> float:
        """Calls a second."""
        ...

    @property
    def ringing(self) -> int:
        """Phones that ring."""
        ...

    async def counts(self) -> Mapping[Any, int]:
        """Numbers by state."""
        ...


@attrs.define
class _OpenCall:
    """A call that has not ended."""

    span: Span
    attributes: dict[str, str | int] = attrs.field(factory=dict)
    """Those of its last request."""
    sent_at: float | None = None
    """When a request was sent that has no response yet; monotonic seconds."""


@attrs.frozen
class _RunState:
    """A run as it was last seen; exporters read it in their own threads."""

    counts: Mapping[Any, int]
    rate: float
    ringing: int


class OpenTelemetryHooks(Hooks):
    """A span a call and a duration a request, by OpenTelemetry's semantic conventions for HTTP.

    The span is named by the `operationId` and covers all attempts; each retry is an event of it.
    With *propagate* requests carry the span's `traceparent`, but never baggage. Without providers
    the global ones are used.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        propagate: bool = True,
    ) -> None:
        """Create the instruments; only the providers export anything."""
        self._tracer = get_tracer(_SCOPE, __version__, tracer_provider)
        self._propagator = TraceContextTextMapPropagator() if propagate else None
        self._open: dict[int, _OpenCall] = {}
        self._runs: dict[str, _RunState] = {}
        meter = get_meter(_SCOPE, __version__, meter_provider)
        self._durations = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._calls = meter.create_counter(
            "sinch_qn.calls", unit="{call}", description="Calls by operation and outcome."
        )
        gauge = meter.create_observable_gauge
        gauge("sinch_qn.run.numbers", [self._numbers], "{number}", "Numbers of a run by state.")
        gauge("sinch_qn.run.rate", [self._rates], "{call}/s", "Calls a second at most.")
        gauge("sinch_qn.run.ringing", [self._ringing], "{phone}", "Phones that ring.")

    def on_request(self, request: RequestInfo) -> None:
        """Start the call's span at its first request, and send its context along."""
        call = self._find(request.call)
        call.attributes, call.sent_at = _attributes_of(request), time.monotonic()
        call.span.set_attributes(call.attributes)
        project = f"{request.base_url}{_PROJECT}{request.call.project_id}"
        call.span.set_attribute("url.full", project + request.url_template)
        if request.attempt > 1:
            call.span.set_attribute("http.request.resend_count", request.attempt - 1)
        if self._propagator is not None:
            self._propagator.inject(request.headers, set_span_in_context(call.span))

    def on_response(self, request: RequestInfo, response: ResponseInfo, seconds: float) -> None:
        """Record the duration of the request."""
        call, status = self._find(request.call), response.status_code
        call.sent_at = None
        call.span.set_attribute("http.response.status_code", status)
        attributes = call.attributes | {"http.response.status_code": status}
        if status >= 400:
            attributes["error.type"] = str(status)
        self._durations.record(seconds, attributes, set_span_in_context(call.span))

    def on_retry(self, request: RequestInfo, error: SinchError, delay: float) -> None:
        """Add an event to the span."""
        call = self._find(request.call)
        self._record_lost(call, error)
        call.span.add_event(
            "retry",
            {
                "error.type": _type_of(error),
                "http.request.resend_count": request.attempt,
                "sinch_qn.delay": delay,
            },
        )

    def on_call_end(self, call: CallInfo) -> None:
        """End the span, and count the call."""
        ended = self._find(call)
        del self._open[id(call)]
        attributes = {
            "sinch_qn.operation": call.operation,
            "sinch_qn.outcome": "ok" if call.outcome is None else call.outcome.value,
        }
        if call.error is not None:
            self._record_lost(ended, call.error)
            attributes["error.type"] = _type_of(call.error)
            ended.span.set_status(StatusCode.ERROR, type(call.error).__name__)
            if isinstance(call.error, SinchError) and call.error.request_id:
                ended.span.set_attribute("sinch_qn.request_id", call.error.request_id[:100])
        ended.span.set_attributes(attributes)
        self._calls.add(1, attributes, set_span_in_context(ended.span))
        ended.span.end()

    @asynccontextmanager
    async def observe_run(
        self, run: ObservedRun, *, name: str = "default", every: float = 10.0
    ) -> AsyncIterator[None]:
        """Show *run* in gauges under *name*: its numbers by state, its rate, the phones that ring.

        The run is read now, *every* so many seconds, and at the end, whose values stay: enter this
        inside of the run's own `async with`.
        """
        await self._read(run, name)
        reading = asyncio.create_task(self._read_again(run, name, every), name="sinch_qn metrics")
        try:
            yield
        finally:
            reading.cancel()
            await asyncio.wait([reading])
            await self._read(run, name)

    async def _read_again(self, run: ObservedRun, name: str, every: float) -> None:
        while True:
            await asyncio.sleep(every)
            try:
                await self._read(run, name)
            except SinchError as error:
                _log.warning("the metrics of run %s are not up to date: %s", name, error.reason)

    async def _read(self, run: ObservedRun, name: str) -> None:
        self._runs[name] = _RunState(await run.counts(), run.rate, run.ringing)

    def _numbers(self, _: CallbackOptions) -> Iterator[Observation]:
        for name, run in list(self._runs.items()):
            for state, count in run.counts.items():
                yield Observation(count, {"sinch_qn.run": name, "sinch_qn.state": state.value})

    def _rates(self, _: CallbackOptions) -> Iterator[Observation]:
        for name, run in list(self._runs.items()):
            yield Observation(run.rate, {"sinch_qn.run": name})

    def _ringing(self, _: CallbackOptions) -> Iterator[Observation]:
        for name, run in list(self._runs.items()):
            yield Observation(run.ringing, {"sinch_qn.run": name})

    def _find(self, call: CallInfo) -> _OpenCall:
        """Return the call's span, which begins when the call did."""
        found = self._open.get(id(call))
        if found is None:
            since = time.time_ns() - int(call.seconds * 1e9)
            span = self._tracer.start_span(call.operation, kind=SpanKind.CLIENT, start_time=since)
            span.set_attribute("sinch_qn.project_id", call.project_id)
            found = self._open[id(call)] = _OpenCall(span)
        return found

    def _record_lost(self, call: _OpenCall, error: BaseException) -> None:
        """Record the duration of a request that got no response."""
        if call.sent_at is not None:
            seconds, call.sent_at = time.monotonic() - call.sent_at, None
            attributes = call.attributes | {"error.type": _type_of(error)}
            self._durations.record(seconds, attributes, set_span_in_context(call.span))


def _attributes_of(request: RequestInfo) -> dict[str, str | int]:
    address = urlsplit(request.base_url)
    return {
        "http.request.method": request.method,
        "server.address": address.hostname or "",
        "server.port": address.port or (443 if address.scheme == "https" else 80),
        "url.template": f"{address.path}{_PROJECT}{{projectId}}{request.url_template}",
    }


def _type_of(error: BaseException) -> str:
    """Return the status of an error response, or the class of any other error."""
    return str(error.status_code) if isinstance(error, StatusError) else type(error).__name__
