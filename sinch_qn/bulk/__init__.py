"""Bulk voice-challenge runs: call, collect the codes, verify, until every number is settled.

Names are loaded when they are first used: only the runs need the client, and with it aiohttp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sinch_qn import _lazy_face

if TYPE_CHECKING:
    from sinch_qn.bulk.actions import free_batch as free_batch
    from sinch_qn.bulk.actions import recall as recall
    from sinch_qn.bulk.actions import submit_code as submit_code
    from sinch_qn.bulk.admission import AddReport as AddReport
    from sinch_qn.bulk.admission import Invalid as Invalid
    from sinch_qn.bulk.admission import NewNumber as NewNumber
    from sinch_qn.bulk.call_requests import CallRequest as CallRequest
    from sinch_qn.bulk.call_requests import request_call as request_call
    from sinch_qn.bulk.calling_hours import CallingHours as CallingHours
    from sinch_qn.bulk.fleet import Fleet as Fleet
    from sinch_qn.bulk.journal import Batch as Batch
    from sinch_qn.bulk.journal import BatchState as BatchState
    from sinch_qn.bulk.journal import Delivery as Delivery
    from sinch_qn.bulk.journal import EntryOrder as EntryOrder
    from sinch_qn.bulk.journal import EntryPage as EntryPage
    from sinch_qn.bulk.journal import EntryQuery as EntryQuery
    from sinch_qn.bulk.journal import HistoryItem as HistoryItem
    from sinch_qn.bulk.journal import Journal as Journal
    from sinch_qn.bulk.journal import MemoryJournal as MemoryJournal
    from sinch_qn.bulk.journal import PostgresJournal as PostgresJournal
    from sinch_qn.bulk.journal import SqliteJournal as SqliteJournal
    from sinch_qn.bulk.journal import Submission as Submission
    from sinch_qn.bulk.order_records import OrderRecord as OrderRecord
    from sinch_qn.bulk.report import what_to_do as what_to_do
    from sinch_qn.bulk.report import write_csv as write_csv
    from sinch_qn.bulk.report import write_html as write_html
    from sinch_qn.bulk.report import write_json_lines as write_json_lines
    from sinch_qn.bulk.run import RunReport as RunReport
    from sinch_qn.bulk.run import VoiceChallengeRun as VoiceChallengeRun
    from sinch_qn.bulk.run_events import EventName as EventName
    from sinch_qn.bulk.run_events import RunEvent as RunEvent
    from sinch_qn.bulk.states import ChallengeState as ChallengeState
    from sinch_qn.bulk.states import Entry as Entry
    from sinch_qn.bulk.text_enable import TextEnableRun as TextEnableRun
    from sinch_qn.bulk.text_enable_report import TextEnableReport as TextEnableReport

_NAMES = {
    "actions": ("free_batch", "recall", "submit_code"),
    "admission": ("AddReport", "Invalid", "NewNumber"),
    "call_requests": ("CallRequest", "request_call"),
    "calling_hours": ("CallingHours",),
    "fleet": ("Fleet",),
    "journal": (
        "Batch",
        "BatchState",
        "Delivery",
        "EntryOrder",
        "EntryPage",
        "EntryQuery",
        "HistoryItem",
        "Journal",
        "MemoryJournal",
        "PostgresJournal",
        "SqliteJournal",
        "Submission",
    ),
    "order_records": ("OrderRecord",),
    "report": ("what_to_do", "write_csv", "write_html", "write_json_lines"),
    "run": ("RunReport", "VoiceChallengeRun"),
    "run_events": ("EventName", "RunEvent"),
    "states": ("ChallengeState", "Entry"),
    "text_enable": ("TextEnableRun",),
    "text_enable_report": ("TextEnableReport",),
}

if not TYPE_CHECKING:  # for type checkers a misspelt name is an error
    __getattr__, __dir__, __all__ = _lazy_face.open_face(__name__, _NAMES)
