"""Bulk voice-challenge runs: ring, collect the codes, verify, until every number is settled."""

from sinch_qn.bulk.calling_hours import CallingHours
from sinch_qn.bulk.journal import Batch, BatchState, Journal, MemoryJournal, Submission
from sinch_qn.bulk.run import (
    AddReport,
    Invalid,
    NewNumber,
    RunEvent,
    RunReport,
    VoiceChallengeRun,
    recall,
    submit_code,
)
from sinch_qn.bulk.sqlite import SqliteJournal
from sinch_qn.bulk.states import ChallengeState, Entry

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
    "VoiceChallengeRun",
    "recall",
    "submit_code",
]
