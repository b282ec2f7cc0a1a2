"""The callbacks that a receiver has noted in a journal: each event once, for the run to look.

An event only says that something about a number or an order has changed; what it is now, Sinch is
asked. So nothing is wrong if an event is lost, repeated, replayed or late.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from sinch_qn.bulk.journal.protocol import Journal
from sinch_qn.models import CallbackEvent

_BOOKMARK: Final = "callbacks"
_REMEMBERED: Final = 1000
"""Ids of events that are known to be repeated when they come again."""


async def note_callback(journal: Journal, event: CallbackEvent) -> bool:
    """Note *event* in an open *journal*; return False if it was noted before.

    One at a time: a receiver in another process may undo the note, and the run looks later.
    """
    content = await _load(journal)
    if event.event_id in content["seen"]:
        return False
    content["seen"] = [*content["seen"], event.event_id][-_REMEMBERED:]
    batch = await _batch_of(journal, event.resource_id or "")
    if batch is not None:
        counts = content["batches"]
        counts[str(batch)] = counts.get(str(batch), 0) + 1
    await journal.set_bookmark(_BOOKMARK, orjson.dumps(content).decode())
    return True


async def count_callbacks(journal: Journal) -> Mapping[int, int] | None:
    """Return how many callbacks were noted by batch; None if no receiver has run."""
    if await journal.bookmark(_BOOKMARK) is None:
        return None
    counts = (await _load(journal))["batches"]
    return {int(batch): count for batch, count in counts.items()}


async def _load(journal: Journal) -> dict[str, Any]:
    stored = await journal.bookmark(_BOOKMARK)
    content: dict[str, Any] = {"seen": [], "batches": {}}
    return content if stored is None else content | orjson.loads(stored)


async def _batch_of(journal: Journal, resource_id: str) -> int | None:
    """Return the batch that an event is about: of a number, or of an order."""
    entry = await journal.get(resource_id)
    if entry is not None:
        return entry.batch
    found = (b.id for b in await journal.batches() if b.order_id == resource_id)
    return next(found, None)
