"""Where a run is kept: the contract, and one file for each place."""

from sinch_qn.bulk.journal.deliveries import Deliveries, Delivery, DeliveryState, delivered_numbers
from sinch_qn.bulk.journal.memory import MemoryJournal
from sinch_qn.bulk.journal.protocol import (
    Batch,
    BatchState,
    Identity,
    Journal,
    LoggedWrite,
    Submission,
    can_be_enabled,
    logged_write,
)
from sinch_qn.bulk.journal.sqlite import SqliteJournal

__all__ = [
    "Batch",
    "BatchState",
    "Deliveries",
    "Delivery",
    "DeliveryState",
    "Identity",
    "Journal",
    "LoggedWrite",
    "MemoryJournal",
    "SqliteJournal",
    "Submission",
    "can_be_enabled",
    "delivered_numbers",
    "logged_write",
]
