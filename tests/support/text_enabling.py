"""Text-enabling for tests: a sandbox with failing orders, verified numbers, complete runs."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import attrs
import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from sinch_qn.bulk.journal import BatchState, Journal, MemoryJournal
from sinch_qn.bulk.states import ChallengeState, Entry
from sinch_qn.bulk.text_enable import TextEnableRun
from sinch_qn.bulk.text_enable_report import TextEnableReport
from sinch_qn.models import (
    BlanketLoaInfo,
    TextEnableNumbersRequest,
    TextEnableTollFreeNumbersRequest,
)
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.phone import region_of
from sinch_qn.sandbox import Sandbox
from sinch_qn.sandbox.app import authentication_error
from tests.support.loa import DIRECT

REQUEST = TextEnableNumbersRequest(
    region_code="US", numbers=[], service_plan_id="plan", blanket_loa_info=BlanketLoaInfo()
)
TOLL_FREE = TextEnableTollFreeNumbersRequest(
    region_code="US", numbers=[], service_plan_id="plan", direct_loa_info=DIRECT
)
ORDERS = ("textEnableNumbers", "textEnableTollFreeNumbers")
US = [f"+1202555{i:04}" for i in range(100, 200)]
CA = [f"+1416555{i:04}" for i in range(100, 120)]
FREE = [f"+1833555{i:04}" for i in range(100, 110)]

RunOf = Callable[..., TextEnableRun]
Fault = str | asyncio.Event
"""The fault of an order; an event delays the order until it is set."""


class FaultySandbox(Sandbox):
    """A sandbox that applies one fault of a queue to each order, until the queue is empty."""

    order_faults: deque[Fault]
    sent: list[list[str]]
    """The numbers of each order that may have taken effect."""
    arrived: asyncio.Event
    answered: asyncio.Event

    def _create_app(self) -> web.Application:
        app = super()._create_app()
        app.middlewares.append(self._inject)
        return app

    @web.middleware
    async def _inject(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        operation_id = request.match_info.route.name or ""
        # An order with an expired token is retried with a fresh one.
        if operation_id not in ORDERS or authentication_error(self, request):
            return await handler(request)
        body = await request.read()
        self.arrived.set()
        fault = self.order_faults.popleft() if self.order_faults else ""
        if fault == "limited":
            self.calls.add(operation_id)
            return web.json_response({"code": "429"}, status=429, headers={"Retry-After": "7"})
        if fault == "refused":
            self.calls.add(operation_id)
            return web.json_response({"code": "400", "message": "no such plan"}, status=400)
        if fault == "forbidden":
            return web.json_response({"code": "403"}, status=403)
        self.sent.append(orjson.loads(body)["numbers"])
        if isinstance(fault, asyncio.Event):
            await fault.wait()
        if fault == "lost on the way" and request.transport is not None:
            request.transport.close()
            return web.Response()
        response = await handler(request)
        self.answered.set()
        if fault == "lost on the way back" and request.transport is not None:
            request.transport.close()
        return web.Response(status=503) if fault == "unavailable" else response

    @property
    def orders(self) -> int:
        """The number of orders."""
        return len(self.world.orders)


def verified(numbers: Iterable[str], **fields: Any) -> list[Entry]:
    """Return entries of verified numbers."""
    return [
        attrs.evolve(
            Entry(
                number=number,
                state=ChallengeState.VERIFIED,
                remote=SinchState.VERIFIED,
                region=region_of(number),
                settled_at=5.0,
                note="by a code",
            ),
            **fields,
        )
        for number in numbers
    ]


async def journal_with(
    sandbox: Sandbox, numbers: Iterable[str], journal: Journal | None = None
) -> Journal:
    """Return a closed journal of numbers that are VERIFIED, also in the sandbox."""
    journal = journal or MemoryJournal()
    numbers = list(numbers)
    sandbox.add(numbers, SinchState.VERIFIED)
    await journal.open(None, running=True)
    await journal.add(verified(numbers))
    await journal.close()
    return journal


async def finish(run: TextEnableRun) -> TextEnableReport:
    """Run to the end and return the report."""
    async with run:
        return await run.finish()


async def states_of(journal: Journal) -> list[BatchState]:
    """Return the states of all batches."""
    return [batch.state for batch in await journal.batches()]
