"""The settings of the sandbox's world."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import attrs

from sinch_qn.phone import REGIONS, check_regions


@attrs.define(kw_only=True, eq=False)
class Settings:
    """Settings of the world, in seconds; they may be changed at any time."""

    project_id: str = "5a4db0c5-0000-4000-8000-000000000001"
    page_size_cap: int = 100
    """Maximum and default number of items on a page."""
    wrong_code: Literal["failed", "rejected"] = "failed"
    """Response to a wrong code: 200 and VERIFICATION_FAILED, or 400 and an unchanged state."""
    max_attempts: int = 3
    """Wrong or late codes, over all calls, that block a number."""
    code_lifetime: float = 600.0
    """Validity of a code, from its phone call on."""
    eligibility_delay: float = 0.0
    """Time that an added number is ELIGIBLE_CHECK_PENDING."""
    answer_delay: float = 0.0
    """Time from a phone call until `code_for` returns its code."""
    loa_delay: float | None = 0.0
    """Time until a Letter of Authorization is signed; None: until `sign_loa`."""
    hosting_delay: float = 0.0
    """Time that an order is IN_PROGRESS."""
    provisioning_delay: float = 0.0
    """Time until an imported number is linked or unlinked."""
    import_limit: int = 5
    """Numbers that one import order may have."""
    visibility_delay: float = 0.0
    """Time until `get` and `list` show a request's changes."""
    regions: Collection[str] = attrs.field(default=REGIONS, converter=check_regions)
    """Regions of `+1` whose numbers can be added."""
    several_callbacks: bool = False
    """Send several callbacks a number, each twice and in any order, instead of one."""
    webhook_secret: str = attrs.field(default="sandbox-webhook-secret", repr=False)
    """The key of callback signatures; `updateCallbackConfiguration` changes it, too."""
