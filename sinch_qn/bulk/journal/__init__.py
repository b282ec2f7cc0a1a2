"""Where a run is kept: the contract, and one file for each place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sinch_qn import _lazy_face

if TYPE_CHECKING:
    from sinch_qn.bulk.journal.deliveries import Deliveries as Deliveries
    from sinch_qn.bulk.journal.deliveries import Delivery as Delivery
    from sinch_qn.bulk.journal.deliveries import DeliveryState as DeliveryState
    from sinch_qn.bulk.journal.deliveries import delivered_numbers as delivered_numbers
    from sinch_qn.bulk.journal.memory import MemoryJournal as MemoryJournal
    from sinch_qn.bulk.journal.postgres import PostgresJournal as PostgresJournal
    from sinch_qn.bulk.journal.postgres_control import PostgresControl as PostgresControl
    from sinch_qn.bulk.journal.postgres_control import Runner as Runner
    from sinch_qn.bulk.journal.postgres_control import Standing as Standing
    from sinch_qn.bulk.journal.postgres_schema import schema_sql as schema_sql
    from sinch_qn.bulk.journal.protocol import Batch as Batch
    from sinch_qn.bulk.journal.protocol import BatchState as BatchState
    from sinch_qn.bulk.journal.protocol import Identity as Identity
    from sinch_qn.bulk.journal.protocol import Journal as Journal
    from sinch_qn.bulk.journal.protocol import LoggedWrite as LoggedWrite
    from sinch_qn.bulk.journal.protocol import Submission as Submission
    from sinch_qn.bulk.journal.protocol import can_be_enabled as can_be_enabled
    from sinch_qn.bulk.journal.protocol import logged_write as logged_write
    from sinch_qn.bulk.journal.queries import EntryOrder as EntryOrder
    from sinch_qn.bulk.journal.queries import EntryPage as EntryPage
    from sinch_qn.bulk.journal.queries import EntryQuery as EntryQuery
    from sinch_qn.bulk.journal.queries import HistoryItem as HistoryItem
    from sinch_qn.bulk.journal.sqlite import SqliteJournal as SqliteJournal

_NAMES = {
    "deliveries": ("Deliveries", "Delivery", "DeliveryState", "delivered_numbers"),
    "memory": ("MemoryJournal",),
    "postgres": ("PostgresJournal",),
    "postgres_control": ("PostgresControl", "Runner", "Standing"),
    "postgres_schema": ("schema_sql",),
    "protocol": (
        "Batch",
        "BatchState",
        "Identity",
        "Journal",
        "LoggedWrite",
        "Submission",
        "can_be_enabled",
        "logged_write",
    ),
    "queries": ("EntryOrder", "EntryPage", "EntryQuery", "HistoryItem"),
    "sqlite": ("SqliteJournal",),
}

if not TYPE_CHECKING:  # for type checkers a misspelt name is an error
    __getattr__, __dir__, __all__ = _lazy_face.open_face(__name__, _NAMES)
