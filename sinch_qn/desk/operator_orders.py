"""The operators' page of text-enabling orders: how far they are, and freeing a batch."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from sinch_qn.bulk import actions
from sinch_qn.bulk.journal.protocol import Batch, BatchState
from sinch_qn.bulk.order_records import OrderRecord, load_orders
from sinch_qn.bulk.report.advice import order_progress, what_to_do_about, what_to_do_about_order
from sinch_qn.desk.forms import read_form
from sinch_qn.desk.login import as_operator, operator_page, redirect
from sinch_qn.desk.state import DESK
from sinch_qn.errors import InvalidRequestError

_KINDS = {
    BatchState.ORDERED: "open",
    BatchState.SENDING: "open",
    BatchState.NOT_SENT: "none",
    BatchState.REJECTED: "bad",
    BatchState.UNKNOWN: "warn",
}
_FREEABLE = frozenset({BatchState.REJECTED, BatchState.UNKNOWN})


def add_order_routes(app: web.Application) -> None:
    """Add the pages about orders to *app*."""
    app.router.add_get("/operator/orders", as_operator(_show_orders))
    app.router.add_post("/operator/orders/{batch}/free", as_operator(_free))


async def _show_orders(request: web.Request) -> web.StreamResponse:
    desk = request.app[DESK]
    batches = await desk.journal.batches()
    records = await load_orders(desk.journal, [batch.id for batch in batches])
    rows = [_row(batch, records.get(batch.id)) for batch in reversed(batches)]
    return operator_page(request, "operator_orders.html", current="orders", rows=rows)


def _row(batch: Batch, record: OrderRecord | None) -> dict[str, Any]:
    return {
        "batch": batch,
        "kind": _KINDS[batch.state],
        "can_free": batch.state in _FREEABLE,
        "progress": record and order_progress(record),
        "advice": what_to_do_about(batch) or (record and what_to_do_about_order(record)),
        "failures": record.failures if record else (),
    }


async def _free(request: web.Request) -> web.StreamResponse:
    """Free a batch, if the operator says that its order does not exist."""
    desk, form = request.app[DESK], await read_form(request)
    path, batch = desk.path("operator/orders"), request.match_info["batch"]
    if not (batch.isascii() and batch.isdecimal() and len(batch) < 10):
        raise web.HTTPNotFound(text="There is no such batch.")
    if form.get("certain") != "yes":
        text = "Nothing was done: tick that Sinch's dashboard has no such order."
        return redirect(desk, path, text)
    try:
        freed = await actions.free_batch(desk.journal, int(batch))
    except InvalidRequestError as error:
        return redirect(desk, path, f"Nothing was done: {error.message}.")
    count = len(freed.numbers)
    return redirect(desk, path, f"Batch {batch} is freed: {count} numbers may be ordered again.")
