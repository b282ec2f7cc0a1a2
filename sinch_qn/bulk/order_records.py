"""What a journal keeps of each order besides its batch: its name, and how far it has got. No I/O.

A batch is what was sent; its record is what the order was called, and what Sinch has said of it
since. It is a bookmark of the journal, so that every kind of journal has it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator
from typing import Final, Protocol

import attrs
import orjson

from sinch_qn.errors import JournalError
from sinch_qn.lifecycle import failures_of
from sinch_qn.models import HostingOrderNumber

TOKEN: Final = "order names"  # noqa: S105 - the name of a bookmark
"""The bookmark of what makes the names of a journal's orders unique."""

NOTE_FOUND: Final = "the response was lost; the order was found by its name"
NOTE_ABSENT: Final = "the response was lost, and Sinch lists no such order: it was not placed"
NOTE_UNLISTED: Final = "the response was lost, and orders without a campaign cannot be listed"

_NAMED: Final = re.compile(r"sinch-qn ([0-9a-f]{12}-[1-9][0-9]*)")


class Bookmarks(Protocol):
    """The part of a journal that keeps records."""

    async def bookmark(self, name: str) -> str | None:
        """Return what `set_bookmark` stored as *name*."""
        ...

    async def set_bookmark(self, name: str, value: str) -> None:
        """Store *value* as *name*."""
        ...


@attrs.frozen(kw_only=True)
class NumberFailure:
    """A number of an order that failed at one carrier, or altogether."""

    phone_number: str = attrs.field(repr=False)
    where: str
    """Such as `SMS at T-Mobile`."""
    code: str
    """Sinch's or the carrier's error code; may be empty."""
    message: str


@attrs.frozen(kw_only=True)
class OrderRecord:
    """The name of an order, and how far it has got."""

    name: str
    service_plan_id: str
    campaign_id: str | None = None
    state: str | None = None
    """The state of the order as last seen, such as `WAITING_FOR_LOA_SIGNATURE`; None before."""
    since: float | None = None
    """When it was seen in this state first, in seconds since the epoch."""
    signer: str | None = None
    """Who has to sign its letter, masked, such as `a•••@example.com`; None for a blanket LOA."""
    total: int | None = None
    osr_updated: int | None = None
    in_campaign: int | None = None
    done: int | None = None
    """Numbers that are provisioned for SMS."""
    manual: int | None = None
    """Numbers that somebody at Sinch is working on by hand."""
    failures: tuple[NumberFailure, ...] = ()
    detailed_at: float | None = None
    """When its numbers were looked at last."""
    absent_since: float | None = None
    """When it was first looked for after its response was lost, and not listed."""


async def name_token(journal: Bookmarks) -> str:
    """Return what makes the names of this journal's orders unique; made when it is first needed."""
    token = await journal.bookmark(TOKEN)
    if token is None:
        token = secrets.token_hex(6)
        await journal.set_bookmark(TOKEN, token)
    return token


def order_name(own: str | None, token: str, batch: int) -> str:
    """Return the display name of the order of *batch*, after the user's *own* name."""
    unique = f"sinch-qn {token}-{batch}"
    return f"{own} ({unique})" if own else unique


def is_named(name: str | None, display_name: str | None) -> bool:
    """Return whether an order with *display_name* is the one that was sent as *name*."""
    wanted, found = _NAMED.search(name or ""), _NAMED.search(display_name or "")
    return bool(wanted and found and wanted[1] == found[1])


def is_ours(display_name: str | None) -> bool:
    """Return whether *display_name* is one that `order_name` made, for any batch."""
    return bool(_NAMED.search(display_name or ""))


_WHERE: Final = {
    "osrUpdate": "the routing registry (OSR)",
    "platformProvisioning": "the service plan",
    "campaignProvisioning": "the campaign",
    "smsAtt": "SMS at AT&T",
    "smsTmo": "SMS at T-Mobile",
    "mmsAtt": "MMS at AT&T",
    "mmsTmo": "MMS at T-Mobile",
}
_FIELDS: Final = {field.metadata["wire"]: field.name for field in attrs.fields(HostingOrderNumber)}


def number_failures(number: HostingOrderNumber) -> Iterator[NumberFailure]:
    """Yield where a number of an order has failed, with the carrier's code."""
    for wire, code in failures_of(number).items():
        message = getattr(getattr(number, _FIELDS[wire]), "error_message", None) or ""
        yield NumberFailure(
            phone_number=number.phone_number or "",
            where=_WHERE.get(wire, wire),
            code=code,
            message=message[:200],
        )


async def load_record(journal: Bookmarks, batch: int) -> OrderRecord | None:
    """Return the record of *batch*; None if it was never sent."""
    stored = await journal.bookmark(_key(batch))
    if stored is None:
        return None
    try:
        values = orjson.loads(stored)
        failures = tuple(NumberFailure(**failure) for failure in values.pop("failures", ()))
        return OrderRecord(**values, failures=failures)
    except (TypeError, ValueError) as error:
        raise JournalError(f"the record of batch {batch} is damaged") from error


async def load_orders(journal: Bookmarks, batches: Iterable[int]) -> dict[int, OrderRecord]:
    """Return the records of *batches*, by batch."""
    found = {batch: await load_record(journal, batch) for batch in batches}
    return {batch: record for batch, record in found.items() if record is not None}


async def save_record(journal: Bookmarks, batch: int, record: OrderRecord) -> None:
    """Store the record of *batch*."""
    await journal.set_bookmark(_key(batch), orjson.dumps(attrs.asdict(record)).decode())


def _key(batch: int) -> str:
    return f"order {batch}"
