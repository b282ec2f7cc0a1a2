"""`TextEnableReport`: the state of text-enabling, counted from a run's rows and batches. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import attrs

from sinch_qn.bulk.journal.protocol import Batch, BatchState, can_be_enabled
from sinch_qn.bulk.states import Entry
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.phone import is_toll_free

MAY_EXIST = (BatchState.ORDERED, BatchState.UNKNOWN)
"""States of a batch whose order exists, or may."""


@attrs.frozen(kw_only=True)
class TextEnableReport:
    """The state of text-enabling: exact, because it is read from the journal."""

    batches: Mapping[BatchState, int]
    """The number of batches in each state."""
    orders: list[str]
    """The ids of the hosting orders that are known to exist, oldest first."""
    hosting: Mapping[SinchState, int]
    """Numbers that were ordered, or may have been, by the state last seen."""
    left: int
    """Verified numbers that are in no batch; REJECTED ones are in theirs."""
    toll_free_left: int
    """How many of those are toll-free: they need a *toll_free_request*."""
    stopped: str | None
    """Why the run placed no more orders, if some were left; None otherwise."""


def count_text_enabling(
    rows: Iterable[Entry], batches: Sequence[Batch], *, stopped: str | None
) -> TextEnableReport:
    """Return the report on *rows* and *batches*."""
    perhaps = {batch.id for batch in batches if batch.state in MAY_EXIST}
    hosting: Counter[SinchState] = Counter()
    left = toll_free_left = 0
    for entry in rows:
        if can_be_enabled(entry):
            left += 1
            toll_free_left += is_toll_free(entry.number)
        elif entry.batch in perhaps and entry.remote is not None:
            hosting[entry.remote] += 1
    states = Counter(batch.state for batch in batches)
    return TextEnableReport(
        batches={state: states[state] for state in BatchState},
        orders=[batch.order_id for batch in batches if batch.order_id is not None],
        hosting=dict(hosting),
        left=left,
        toll_free_left=toll_free_left,
        stopped=stopped,
    )
