"""The options of a run, as its command, its session and its display share them."""

from __future__ import annotations

from pathlib import Path

import attrs

from sinch_qn.bulk import CallingHours
from sinch_qn.models import TextEnableNumbersRequest, TextEnableTollFreeNumbersRequest


@attrs.frozen(kw_only=True)
class Orders:
    """The orders for the verified numbers: their templates, and how long to follow them."""

    request: TextEnableNumbersRequest
    toll_free_request: TextEnableTollFreeNumbersRequest | None
    follow: float
    """Seconds."""
    batches_per_second: float


@attrs.frozen(kw_only=True)
class RunSettings:
    """The options of a run."""

    input: Path
    """The file of numbers."""
    journal: Path
    codes: Path | None
    limit: int | None
    max_ringing: int
    rate: float
    max_unknown: int
    hours: CallingHours | None
    code_timeout: float
    recheck: float
    add_missing: bool
    orders: Orders | None
    as_json: bool
    poll_interval: float
    """Seconds between two polls of the file of codes."""
