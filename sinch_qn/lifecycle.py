"""The lives of a qualified number and of a hosting order: states in order, what follows what."""

from __future__ import annotations

from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.models import HostingOrderNumber, OperationStatus
from sinch_qn.models import HostingOrderState as OrderState

IN_ORDER = tuple(state for state in SinchState if state is not SinchState.UNSPECIFIED)
"""The ten documented states. A listing in this order shows a number that moves meanwhile twice
rather than not at all."""

CALLABLE = frozenset(
    {SinchState.ELIGIBLE, SinchState.VERIFICATION_PENDING, SinchState.VERIFICATION_FAILED}
)
"""A voice challenge can be sent."""

HOSTING_ENDED = frozenset({SinchState.HOSTING_DONE, SinchState.HOSTING_FAILED})

HOSTING_ORDERED = HOSTING_ENDED | {SinchState.HOSTING_IN_PROGRESS}
"""A hosting order for the number exists."""

VERIFIED_OR_LATER = HOSTING_ORDERED | {SinchState.VERIFIED}

_AFTER_ELIGIBLE = VERIFIED_OR_LATER | {
    SinchState.VERIFICATION_PENDING,
    SinchState.VERIFICATION_FAILED,
    SinchState.VERIFICATION_BLOCKED,
}

REACHABLE: dict[SinchState, frozenset[SinchState]] = {
    SinchState.ELIGIBLE_CHECK_PENDING: _AFTER_ELIGIBLE
    | {SinchState.ELIGIBLE, SinchState.NOT_ELIGIBLE},
    SinchState.ELIGIBLE: _AFTER_ELIGIBLE,
    SinchState.NOT_ELIGIBLE: frozenset(),
    SinchState.VERIFICATION_PENDING: _AFTER_ELIGIBLE,
    SinchState.VERIFICATION_FAILED: _AFTER_ELIGIBLE,
    SinchState.VERIFICATION_BLOCKED: frozenset(),
    SinchState.VERIFIED: HOSTING_ORDERED,
    SinchState.HOSTING_IN_PROGRESS: HOSTING_ENDED,
    SinchState.HOSTING_DONE: frozenset(),
    SinchState.HOSTING_FAILED: frozenset(),
}
"""The states that a number can still reach from each state."""

ORDERS_IN_ORDER = tuple(state for state in OrderState if state is not OrderState.UNSPECIFIED)
"""The six documented states of a hosting order."""

ORDER_ENDED = frozenset({OrderState.COMPLETED, OrderState.REJECTED})

_STEPS = {
    "osrUpdate": "osr_update",
    "platformProvisioning": "platform_provisioning",
    "campaignProvisioning": "campaign_provisioning",
    "smsAtt": "sms_att",
    "smsTmo": "sms_tmo",
    "mmsAtt": "mms_att",
    "mmsTmo": "mms_tmo",
}


def failures_of(number: HostingOrderNumber) -> dict[str, str]:
    """Return what of an order's number failed, by wire name, with the carrier's code if any."""
    steps = {wire: getattr(number, name) for wire, name in _STEPS.items()}
    return {
        wire: getattr(step, "error_code", None) or ""
        for wire, step in steps.items()
        if step is not None and step.state is OperationStatus.FAILED
    }
