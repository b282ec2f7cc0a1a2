"""Bulk voice-challenge runs: call, collect the codes, verify, until every number is settled."""

from sinch_qn.bulk.actions import free_batch, recall, submit_code
from sinch_qn.bulk.admission import AddReport, Invalid, NewNumber
from sinch_qn.bulk.calling_hours import CallingHours
from sinch_qn.bulk.journal import (
    Batch,
    BatchState,
    Journal,
    MemoryJournal,
    SqliteJournal,
    Submission,
)
from sinch_qn.bulk.report import what_to_do, write_csv, write_html, write_json_lines
from sinch_qn.bulk.run import RunEvent, RunReport, VoiceChallengeRun
from sinch_qn.bulk.states import ChallengeState, Entry
from sinch_qn.bulk.text_enable import TextEnableRun
from sinch_qn.bulk.text_enable_report import TextEnableReport

__all__ = [
    "AddReport",
    "Batch",
    "BatchState",
    "CallingHours",
    "ChallengeState",
    "Entry",
    "Invalid",
    "Journal",
    "MemoryJournal",
    "NewNumber",
    "RunEvent",
    "RunReport",
    "SqliteJournal",
    "Submission",
    "TextEnableReport",
    "TextEnableRun",
    "VoiceChallengeRun",
    "free_batch",
    "recall",
    "submit_code",
    "what_to_do",
    "write_csv",
    "write_html",
    "write_json_lines",
]
