"""Numbers, text-enabling batches and emails with invoices as records, for CSV and JSON."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from sinch_qn.bulk.journal.deliveries import Delivery
from sinch_qn.bulk.journal.protocol import Batch
from sinch_qn.bulk.order_records import OrderRecord
from sinch_qn.bulk.report.advice import (
    what_to_do,
    what_to_do_about,
    what_to_do_about_delivery,
    what_to_do_about_order,
)
from sinch_qn.bulk.states import Entry
from sinch_qn.models import GlobalProcessState


def entry_record(entry: Entry, *, emailed: Collection[str] = ()) -> dict[str, str | int | None]:
    """Return *entry* as written to CSV and JSON, with the API's names; times are UTC."""
    return {
        "phoneNumber": entry.number,
        "ref": entry.ref,
        "line": entry.line,
        "state": entry.state.value,
        "attempt": entry.attempt,
        "calledAt": _time(entry.called_at),
        "settledAt": _time(entry.settled_at),
        "globalProcessState": None if entry.remote is None else entry.remote.value,
        "regionCode": entry.region,
        "batch": entry.batch,
        "note": entry.note,
        "whatToDo": what_to_do(entry, emailed=emailed),
    }


def batch_record(batch: Batch, order: OrderRecord | None = None) -> dict[str, Any]:
    """Return a text-enabling *batch* as written to JSON, with its *order* as last seen."""
    return {
        "batch": batch.id,
        "state": batch.state.value,
        "regionCode": batch.region,
        "tollFree": batch.toll_free,
        "numbers": len(batch.numbers),
        "hostingOrderId": batch.order_id,
        "note": batch.note,
        "whatToDo": what_to_do_about(batch),
        "order": None if order is None else _order_record(order),
    }


def _order_record(order: OrderRecord) -> dict[str, Any]:
    return {
        "displayName": order.name,
        "state": order.state,
        "since": _time(order.since),
        "signer": order.signer,
        "total": order.total,
        "osrUpdated": order.osr_updated,
        "smsProvisioned": order.done,
        "addedToCampaign": order.in_campaign,
        "ongoingManualAction": order.manual,
        "failures": [
            {
                "phoneNumber": failure.phone_number,
                "where": failure.where,
                "errorCode": failure.code,
                "errorMessage": failure.message,
            }
            for failure in order.failures
        ],
        "whatToDo": what_to_do_about_order(order),
    }


def state_name(state: GlobalProcessState | None) -> str | None:
    """Return *state* without the prefix that all values share, also if it is an unknown one."""
    return None if state is None else state.value.removeprefix("GLOBAL_PROCESS_STATE_")


def delivery_record(delivery: Delivery) -> dict[str, str | int | None]:
    """Return an email with invoices as written to JSON."""
    return {
        "email": delivery.key,
        "state": delivery.state.value,
        "numbers": len(delivery.numbers),
        "at": _time(delivery.at),
        "note": delivery.note,
        "whatToDo": what_to_do_about_delivery(delivery),
    }


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")[:19] + "Z"
