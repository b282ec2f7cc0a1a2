"""What is missing for a number to be linked elsewhere: found from what the API says of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from sinch_qn.errors import UnlinkError
from sinch_qn.models import (
    ImportedNumber,
    OperationStatus,
    ProvisioningType,
    ScheduledProvisioning,
    ServiceProvisioning,
    SmsConfiguration,
)
from sinch_qn.resources.number_links import describe, is_free, linked_to_others, missing

PLAN, CAMPAIGN = "service_plan_id", "campaign_id"
WANTED = {PLAN: "P2", CAMPAIGN: "C2"}


def number(
    plan: str | None = None,
    campaign: str | None = None,
    *,
    scheduled: ScheduledProvisioning | None = None,
    campaign_change: ServiceProvisioning | None = None,
) -> ImportedNumber:
    """Return a number as the API would."""
    return ImportedNumber(
        phone_number="+12025550134",
        sms_configuration=SmsConfiguration(
            service_plan_id=plan, campaign_id=campaign, scheduled_provisioning=scheduled
        ),
        campaign_provisioning=campaign_change,
    )


def undone(state: OperationStatus, **more: Any) -> ServiceProvisioning:
    """Return the unlinking of a campaign."""
    return ServiceProvisioning(
        service_id="C1", type=ProvisioningType.DEPROVISIONING, state=state, **more
    )


@pytest.mark.parametrize(
    ("seen", "others", "left"),
    [
        (ImportedNumber(), [], WANTED),
        (number("", ""), [], WANTED),
        (number("P1", "C1"), [PLAN, CAMPAIGN], WANTED),
        (number("P2", "C1"), [CAMPAIGN], {CAMPAIGN: "C2"}),
        (number("P2", ""), [], {CAMPAIGN: "C2"}),
        (number("P2", "C2"), [], {}),
    ],
)
def test_only_what_differs_is_undone_and_made(
    seen: ImportedNumber, others: list[str], left: dict[str, str]
) -> None:
    """A link to another is undone, a missing one is made, and one that is as wanted is left."""
    assert linked_to_others(seen, WANTED) == others
    assert missing(seen, WANTED) == left


@pytest.mark.parametrize(("codes", "left"), [([], {}), (None, {}), ([7], {CAMPAIGN: "C2"})])
def test_a_link_that_was_requested_is_not_requested_again(
    codes: list[int] | None, left: dict[str, str]
) -> None:
    """A scheduled link counts as made, unless it failed."""
    scheduled = ScheduledProvisioning(campaign_id="C2", error_codes=codes)
    assert missing(number("P2", "", scheduled=scheduled), WANTED) == left


@pytest.mark.parametrize("state", [OperationStatus.WAITING, OperationStatus.IN_PROGRESS])
def test_a_number_that_is_being_unlinked_is_not_free(state: OperationStatus) -> None:
    """A number is free once the carriers are done, not once its configuration is empty."""
    seen = number("P2", "", campaign_change=undone(state))
    assert not is_free(seen, WANTED, before=seen)
    done = number("P2", "", campaign_change=undone(OperationStatus.DONE))
    assert is_free(done, WANTED, before=seen)
    linked = number("P2", "C1", campaign_change=undone(OperationStatus.DONE))
    assert not is_free(linked, WANTED, before=seen)
    assert not is_free(number("P2", "C1"), WANTED, before=seen)
    assert is_free(number("P2", "C2"), WANTED, before=seen)


def test_an_unlinking_that_fails_ends_the_wait() -> None:
    """A failure since the beginning is an error with its code; an older one is being mended."""
    old = undone(OperationStatus.FAILED, update_time=datetime(2026, 1, 1, tzinfo=UTC))
    new = undone(
        OperationStatus.FAILED,
        update_time=datetime(2026, 1, 2, tzinfo=UTC),
        error_code="MNO_SHARING_ERROR",
    )
    before = number("P2", "C1", campaign_change=old)
    assert not is_free(before, WANTED, before=before)
    after = number("P2", "C1", campaign_change=new)
    with pytest.raises(UnlinkError, match=r"campaign_id: .*MNO_SHARING_ERROR") as caught:
        is_free(after, WANTED, before=before)
    assert caught.value.number is after


def test_a_message_names_the_links() -> None:
    """A message says what a number is linked to, or that it is not."""
    assert describe(number("P1", "")) == "service_plan_id P1, campaign_id none"
