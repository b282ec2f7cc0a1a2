"""What needs a person's attention in a run, and what that person has to do next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from sinch_qn.bulk.journal import Batch, BatchState
from sinch_qn.bulk.outcomes import ASK_AGAIN, UNKNOWN_TO_SINCH
from sinch_qn.bulk.states import ChallengeState, Entry
from sinch_qn.bulk.text_enable import TextEnableReport
from sinch_qn.models import GlobalProcessState as SinchState

_UNSUCCESSFUL = frozenset(state for state in ChallengeState if state.settled) - {
    ChallengeState.VERIFIED,
    ChallengeState.SKIPPED,
}

_BY_STATE = {
    ChallengeState.INVALID: "Correct {where} of the input, and run it again.",
    ChallengeState.EXPIRED: (
        "Ask for the code: a late one is still tried. If nobody has it, recall."
    ),
    ChallengeState.UNKNOWN: "Ask whether the phone rang. If it did, type the code; if not, recall.",
    ChallengeState.BLOCKED: (
        "Sinch takes no more codes for it: email its invoices to orders@sinch.com."
    ),
}
_BY_SINCH_STATE: Mapping[SinchState | None, str] = {
    SinchState.HOSTING_FAILED: (
        "Hosting failed: put right what it says, or ask Sinch why, then order it again."
    ),
    SinchState.UNSPECIFIED: "Sinch no longer knows it: add it to the project again, or forget it.",
}
"""Of a number that is verified."""
_CODE_RESPONSE_LOST = "Ask for the code once more and type it, or recall."
_ADDED = "Email its invoices to orders@sinch.com (1 to 3 working days), or let it be rung."
_NOT_ELIGIBLE = "Sinch cannot host it: check the number, or ask Sinch why."
_NOT_IN_PROJECT = "Add it to the project (--add-missing, or sinch-qn add), then recall."
_CODES_REJECTED = "Its codes were wrong: recall for a new one, and have it read out twice."
_CALL_REFUSED = "Read the reason, put it right, then recall."


def what_to_do(entry: Entry, *, where: str | None = None) -> str | None:
    """Return what a person has to do next about *entry*; None: nothing, or not yet.

    *where* names its place in the input; unless given, that is its line.
    """
    if where is None:
        where = "it in its place" if entry.line is None else f"line {entry.line}"
    advice = _advice(entry)
    return None if advice is None else advice.format(where=where)


def _advice(entry: Entry) -> str | None:
    match entry.state:
        case ChallengeState.FAILED:
            return _advice_after_failure(entry)
        case ChallengeState.AWAITING_CODE if entry.note == ASK_AGAIN:
            return _CODE_RESPONSE_LOST
        case ChallengeState.PENDING if entry.added:
            return _ADDED
        case ChallengeState.VERIFIED | ChallengeState.SKIPPED:
            return _BY_SINCH_STATE.get(entry.remote)
    return _BY_STATE.get(entry.state)


def _advice_after_failure(entry: Entry) -> str:
    if entry.remote is SinchState.NOT_ELIGIBLE:
        return _NOT_ELIGIBLE
    if entry.note == UNKNOWN_TO_SINCH:
        return _NOT_IN_PROJECT
    return _CODES_REJECTED if entry.codes_used else _CALL_REFUSED


def what_to_do_about(batch: Batch) -> str | None:
    """Return what a person has to do next about a text-enabling *batch*; None: nothing."""
    match batch.state:
        case BatchState.UNKNOWN:
            return "Look in Sinch's dashboard for the order. Only if there is none, free the batch."
        case BatchState.REJECTED:
            return "Put right what the reason says, then free the batch and order again."
    return None


def needs_attention(
    counts: Mapping[ChallengeState, int], text_enable_report: TextEnableReport | None = None
) -> bool:
    """Say whether a number or an order ended without success, or a verified number has no order."""
    if any(counts[state] for state in _UNSUCCESSFUL):
        return True
    if text_enable_report is None:
        return False
    batches = text_enable_report.batches
    return bool(
        batches[BatchState.REJECTED]
        or batches[BatchState.UNKNOWN]
        or text_enable_report.stopped
        or text_enable_report.left
        or text_enable_report.hosting.get(SinchState.HOSTING_FAILED)
    )


def entries_needing_attention(
    rows: Iterable[Entry], counts: Mapping[ChallengeState, int], batches: Sequence[Batch]
) -> Iterator[Entry]:
    """Yield those of *rows* that need attention; read none if *counts* and *batches* rule it out.

    A PENDING number is none of them: its invoices may be sent, but a call serves as well.
    """
    if batches or any(counts[state] for state in (*_UNSUCCESSFUL, ChallengeState.AWAITING_CODE)):
        for entry in rows:
            if entry.state is not ChallengeState.PENDING and what_to_do(entry):
                yield entry


def first_of_each_state(
    rows: Iterable[Entry], counts: Mapping[ChallengeState, int]
) -> dict[ChallengeState, Entry]:
    """Return the first entry in each state; stop reading once each state in *counts* has one."""
    wanted = sum(map(bool, counts.values()))
    found: dict[ChallengeState, Entry] = {}
    for entry in rows:
        if found.setdefault(entry.state, entry) is entry and len(found) >= wanted:
            break
    return found
