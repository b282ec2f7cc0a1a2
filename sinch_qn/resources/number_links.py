"""What an imported number is linked to, and what is missing for it to be linked elsewhere. Pure.

Links are named by their fields in `SmsConfiguration`: `service_plan_id` and `campaign_id`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sinch_qn.errors import UnlinkError
from sinch_qn.models import (
    ImportedNumber,
    OperationStatus,
    ProvisioningType,
    ServiceProvisioning,
    SmsConfiguration,
)

_UNDER_WAY = (OperationStatus.WAITING, OperationStatus.IN_PROGRESS)


def link_of(number: ImportedNumber, name: str) -> str:
    """Return what *number* is linked to, or is going to be, by a request that did not fail."""
    configuration = number.sms_configuration or SmsConfiguration()
    scheduled = configuration.scheduled_provisioning
    link = getattr(configuration, name)
    if not link and scheduled is not None and not scheduled.error_codes:
        link = getattr(scheduled, name)
    return link or ""


def linked_to_others(number: ImportedNumber, wanted: Mapping[str, str]) -> list[str]:
    """Return the links that have to be undone first."""
    return [name for name, to in wanted.items() if link_of(number, name) not in ("", to)]


def missing(number: ImportedNumber, wanted: Mapping[str, str]) -> dict[str, str]:
    """Return the links that are still to be made."""
    return {name: to for name, to in wanted.items() if link_of(number, name) != to}


def is_free(number: ImportedNumber, wanted: Mapping[str, str], *, before: ImportedNumber) -> bool:
    """Return whether each link is as *wanted* or undone at the carriers, too.

    Raises `UnlinkError` if one could not be undone since *before*: an older failure may be what
    this attempt mends.
    """
    free = True
    for name, to in wanted.items():
        if (link := link_of(number, name)) == to:
            continue
        undone = _undone(number, name)
        if undone is None:
            free = free and not link
            continue
        if undone.state is OperationStatus.FAILED and undone != _undone(before, name):
            code = undone.error_code or "no error code"
            raise UnlinkError(f"{name}: unlinking failed ({code})", number=number)
        free = free and not link and undone.state not in _UNDER_WAY
    return free


def _undone(number: ImportedNumber, name: str) -> ServiceProvisioning | None:
    """Return the last unlinking of *number*, unless it was linked again since."""
    field = "sms_provisioning" if name == "service_plan_id" else "campaign_provisioning"
    last: ServiceProvisioning | None = getattr(number, field)
    return last if last is not None and last.type is ProvisioningType.DEPROVISIONING else None


def describe(number: ImportedNumber) -> str:
    """Return a number's links, for a message."""
    names: Iterable[str] = ("service_plan_id", "campaign_id")
    return ", ".join(f"{name} {link_of(number, name) or 'none'}" for name in names)
