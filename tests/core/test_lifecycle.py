"""A number's life: the order of its states, and what can follow each."""

from __future__ import annotations

from sinch_qn.lifecycle import (
    CALLABLE,
    HOSTING_ENDED,
    HOSTING_ORDERED,
    IN_ORDER,
    ORDER_ENDED,
    ORDERS_IN_ORDER,
    REACHABLE,
    VERIFIED_OR_LATER,
    failures_of,
)
from sinch_qn.models import CampaignProvisioning, CarrierState, HostingOrderNumber, OperationStatus
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.models import HostingOrderState as OrderState


def test_every_state_has_its_successors() -> None:
    """The table of reachable states covers the ten in order, and is transitive."""
    assert tuple(REACHABLE) == IN_ORDER
    assert set(IN_ORDER) == set(SinchState) - {SinchState.UNSPECIFIED}
    for reachable in REACHABLE.values():
        for state in reachable:
            assert REACHABLE[state] <= reachable


def test_groups_follow_from_what_is_reachable() -> None:
    """A number can be called before it is verified, and hosted only after."""
    assert all(REACHABLE[state] >= VERIFIED_OR_LATER for state in CALLABLE)
    assert not CALLABLE & VERIFIED_OR_LATER
    assert (
        REACHABLE[SinchState.VERIFIED]
        == HOSTING_ORDERED
        == VERIFIED_OR_LATER - {SinchState.VERIFIED}
    )
    assert {s for s in HOSTING_ORDERED if not REACHABLE[s]} == HOSTING_ENDED


def test_an_order_has_six_states_and_two_ends() -> None:
    """An order's life has all states but UNSPECIFIED, and ends as COMPLETED or REJECTED."""
    assert set(ORDERS_IN_ORDER) == set(OrderState) - {OrderState.UNSPECIFIED}
    assert set(ORDERS_IN_ORDER[-2:]) == ORDER_ENDED


def test_what_failed_of_a_number_is_named_with_its_code() -> None:
    """Only steps that FAILED are failures: each has its carrier's error code, or none."""
    done, failed = OperationStatus.DONE, OperationStatus.FAILED
    number = HostingOrderNumber(
        campaign_provisioning=CampaignProvisioning(state=failed),
        sms_att=CarrierState(state=done, error_code=""),
        sms_tmo=CarrierState(state=failed, error_code="MNO_SHARING_ERROR"),
        mms_att=CarrierState(state=OperationStatus("BRAND_NEW"), error_code="7"),
        mms_tmo=CarrierState(state=failed),
    )
    assert failures_of(number) == {
        "campaignProvisioning": "",
        "smsTmo": "MNO_SHARING_ERROR",
        "mmsTmo": "",
    }
    assert failures_of(HostingOrderNumber()) == {}
