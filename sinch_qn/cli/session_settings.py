"""The options of a run, as its command, its session and its display share them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import attrs

from sinch_qn.bulk import CallingHours, VoiceChallengeRun
from sinch_qn.bulk.journal import Journal
from sinch_qn.cli.journals import JournalName
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.models import TextEnableNumbersRequest, TextEnableTollFreeNumbersRequest

Beside: TypeAlias = Callable[
    [QualifiedNumbersClient, Journal, VoiceChallengeRun], Coroutine[Any, Any, None]
]
"""What goes on beside a run, until it is cancelled: its code desk."""


@attrs.frozen(kw_only=True)
class Orders:
    """The orders for the verified numbers: their templates, and how long to follow them."""

    request: TextEnableNumbersRequest
    toll_free_request: TextEnableTollFreeNumbersRequest | None
    follow: float
    """Seconds."""
    batches_per_second: float


@attrs.frozen(kw_only=True)
class SessionSettings:
    """The options of a run, or of one more runner of it."""

    journal: JournalName
    run_options: Mapping[str, Any]
    """Those of `VoiceChallengeRun`."""
    as_json: bool
    poll_interval: float
    """Seconds between two polls of the file of codes."""
    codes: Path | None = None
    limit: int | None = None
    orders: Orders | None = None
    beside: Beside | None = None

    @property
    def on_request(self) -> bool:
        """Whether a number is called only once somebody asks for it."""
        return bool(self.run_options["on_request"])

    @property
    def hours(self) -> CallingHours | None:
        """When phones may ring."""
        hours: CallingHours | None = self.run_options["calling_hours"]
        return hours
