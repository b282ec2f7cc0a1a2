"""Qualified numbers and hosting orders on standard output."""

from __future__ import annotations

from typing import Any

from sinch_qn._codec import encode, write_datetime
from sinch_qn.cli.output import Lines
from sinch_qn.models import HostingOrder, QualifiedNumber


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
        updated = number.updated_time
        self.add(
            encode(number),
            number.phone_number or "",
            number.region_code or "",
            state_name(number),
            *(_status(part) for part in parts),
            write_datetime(updated) if updated else "",
            "; ".join(part.error for part in parts if part is not None and part.error),
        )


def state_name(number: QualifiedNumber) -> str:
    """Return the number's state without its prefix, such as `VERIFIED`."""
    return (number.global_process_state or "").removeprefix("GLOBAL_PROCESS_STATE_")


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
