"""Qualified numbers, hosting orders and imported numbers on standard output."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Any, TypeVar

from sinch_qn._codec import encode, write_datetime
from sinch_qn.cli.output import Lines
from sinch_qn.lifecycle import failures_of
from sinch_qn.models import (
    HostingOrder,
    HostingOrderNumber,
    HostingOrderReport,
    ImportedNumber,
    MnoConfiguration,
    QualifiedNumber,
)

T = TypeVar("T")


async def show_listing(
    listing: AsyncGenerator[T, None], show: Callable[[T], None], limit: int | None
) -> None:
    """Call *show* for the items of *listing*, *limit* at most: no page is requested beyond."""
    shown = 0
    async with aclosing(listing):
        async for item in listing:
            show(item)
            shown += 1
            if shown == limit:
                return


class NumberLines(Lines):
    """Prints qualified numbers; a table leaves out empty columns."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__(
            *(
                "NUMBER",
                "REGION",
                "STATE",
                "ELIGIBILITY",
                "OWNERSHIP",
                "HOSTING",
                "UPDATED",
                "ERROR",
            ),
            as_json=as_json,
        )

    def add_number(self, number: QualifiedNumber) -> None:
        """Print *number*."""
        parts = (number.osr_eligibility, number.ownership_verification, number.hosted_number)
        self.add(
            encode(number),
            number.phone_number or "",
            number.region_code or "",
            state_name(number),
            *(_status(part) for part in parts),
            time_text(number.updated_time),
            "; ".join(part.error for part in parts if part is not None and part.error),
        )


def state_name(number: QualifiedNumber) -> str:
    """Return the number's state without its prefix, such as `VERIFIED`."""
    return (number.global_process_state or "").removeprefix("GLOBAL_PROCESS_STATE_")


def time_text(time: datetime | None) -> str:
    """Return *time* in UTC, or nothing."""
    return write_datetime(time) if time else ""


def _status(part: Any) -> str:
    status = getattr(part, "status", None)
    return "" if status is None else str(getattr(status, "name", status))


def show_number(number: QualifiedNumber, *, as_json: bool) -> None:
    """Print one number."""
    with NumberLines(as_json=as_json) as lines:
        lines.add_number(number)


def show_order(order: HostingOrder, *, as_json: bool) -> None:
    """Print a hosting order; cells have no personal data of its LOA."""
    with Lines("ORDER", "STATE", as_json=as_json) as lines:
        lines.add(encode(order), order.hosting_order_id or "", order.state or "")


class OrderLines(Lines):
    """Prints hosting orders; cells have no personal data of a LOA."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__(
            *("ORDER", "STATE", "TYPE", "REGION", "SERVICE PLAN", "CAMPAIGN"),
            *("CREATED", "UPDATED", "NAME"),
            as_json=as_json,
        )

    def add_order(self, order: HostingOrder) -> None:
        """Print *order*."""
        self.add(
            encode(order),
            order.hosting_order_id or "",
            order.state or "",
            order.type or "",
            order.region_code or "",
            order.service_plan_id or "",
            order.campaign_id or "",
            time_text(order.created_time),
            time_text(order.updated_time),
            order.display_name or "",
        )


_CARRIERS = ("sms_att", "sms_tmo", "mms_att", "mms_tmo")
_CARRIER_HEADINGS = ("SMS AT&T", "SMS T-MOBILE", "MMS AT&T", "MMS T-MOBILE")


class OrderNumberLines(Lines):
    """Prints the numbers of an order: how far each has got, and at which carrier it failed."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__(
            *("NUMBER", "OSR", "SERVICE PLAN", "CAMPAIGN", *_CARRIER_HEADINGS, "ERROR"),
            as_json=as_json,
        )

    def add_number(self, number: HostingOrderNumber) -> None:
        """Print *number*."""
        failures = failures_of(number)
        self.add(
            encode(number),
            number.phone_number or "",
            _state(number.osr_update),
            _state(number.platform_provisioning),
            _state(number.campaign_provisioning),
            *(_state(getattr(number, carrier)) for carrier in _CARRIERS),
            "; ".join(f"{step} {code}".strip() for step, code in failures.items()),
        )


class ReportLines(Lines):
    """Prints how many numbers of an order have got how far."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__(
            *("ORDER", "TOTAL", "OSR", "SERVICE PLAN", "CAMPAIGN", "BY HAND"), as_json=as_json
        )

    def add_report(self, order_id: str, report: HostingOrderReport) -> None:
        """Print *report*; a missing count is empty."""
        self.add({"hostingOrderId": order_id, **encode(report)}, order_id, *counts(report))


def counts(report: HostingOrderReport) -> list[object]:
    """Return the counts of *report*, in the order of an order's life."""
    found = (
        report.total,
        report.osr_updated,
        report.sms_provisioned,
        report.added_to_campaign,
        report.ongoing_manual_action,
    )
    return ["" if count is None else count for count in found]


class ImportedLines(Lines):
    """Prints imported numbers, and what they are linked to."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__(
            *("NUMBER", "REGION", "SERVICE PLAN", "STATE", "CAMPAIGN", "STATE"),
            *_CARRIER_HEADINGS,
            *("ERROR", "NAME"),
            as_json=as_json,
        )

    def add_number(self, number: ImportedNumber) -> None:
        """Print *number*."""
        links: Mapping[str, Any] = (
            {} if number.sms_configuration is None else encode(number.sms_configuration)
        )
        mno = number.mno_configuration or MnoConfiguration()
        sms, campaign = number.sms_provisioning, number.campaign_provisioning
        parts: dict[str, Any] = {"servicePlanId": sms, "campaignId": campaign}
        carriers = zip(("smsAtt", "smsTmo", "mmsAtt", "mmsTmo"), _CARRIERS, strict=True)
        parts |= {wire: getattr(mno, name) for wire, name in carriers}
        codes = {name: getattr(part, "error_code", "") for name, part in parts.items()}
        self.add(
            encode(number),
            number.phone_number or "",
            number.region_code or "",
            links.get("servicePlanId", ""),
            _change(sms),
            links.get("campaignId", ""),
            _change(campaign),
            *(_state(getattr(mno, carrier)) for carrier in _CARRIERS),
            "; ".join(f"{name} {code}" for name, code in codes.items() if code),
            number.display_name or "",
        )


def _state(part: Any) -> str:
    return getattr(part, "state", None) or ""


def _change(link: Any) -> str:
    """Return what is being done to a link, such as `PROVISIONING DONE`."""
    return f"{getattr(link, 'type', None) or ''} {_state(link)}".strip()
