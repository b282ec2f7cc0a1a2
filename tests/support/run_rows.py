"""Entries and batches of a run, for tests of its reports."""

from __future__ import annotations

from typing import Any

from sinch_qn.bulk.journal import Batch, BatchState
from sinch_qn.bulk.states import ChallengeState, Entry

NUMBER = "+12025550134"
T = 1_767_258_000.0  # 2026-01-01T09:00:00Z
EVIL = "<script>alert('x')</script>\"&\u202e\x00"


def entry(state: ChallengeState = ChallengeState.VERIFIED, **fields: Any) -> Entry:
    """Return an entry; with a settled state, it was settled a minute after its call."""
    settled_at = T + 60 if state.settled else None
    usual: dict[str, Any] = {"number": NUMBER, "called_at": T, "settled_at": settled_at}
    return Entry(state=state, **(usual | fields))


def batch(state: BatchState = BatchState.ORDERED, **fields: Any) -> Batch:
    """Return a batch of two numbers."""
    usual: dict[str, Any] = {"id": 1, "toll_free": False, "region": "US", "at": T}
    return Batch(state=state, **({"numbers": (NUMBER, NUMBER)} | usual | fields))
