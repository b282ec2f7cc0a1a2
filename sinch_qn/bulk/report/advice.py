"""What needs attention in a run, and what to do next."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from sinch_qn.bulk.journal.deliveries import Delivery, DeliveryState
from sinch_qn.bulk.journal.protocol import Batch, BatchState
from sinch_qn.bulk.order_records import NOTE_ABSENT, NOTE_UNLISTED, OrderRecord
from sinch_qn.bulk.outcomes import ASK_AGAIN, UNKNOWN_TO_SINCH
from sinch_qn.bulk.states import ChallengeState, Entry
from sinch_qn.bulk.text_enable_report import TextEnableReport
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.models import HostingOrderState as OrderState

_UNSUCCESSFUL = frozenset(state for state in ChallengeState if state.settled) - {
    ChallengeState.VERIFIED,
    ChallengeState.SKIPPED,
}

_BY_STATE = {
    ChallengeState.INVALID: "Correct {where}, then run again.",
    ChallengeState.EXPIRED: (
        "Ask for the code: a late one is still accepted. If nobody has it, recall."
    ),
    ChallengeState.UNKNOWN: (
        "Ask whether the phone rang. If it did, submit the code; if not, recall."
    ),
    ChallengeState.BLOCKED: (
        "Sinch takes no more codes for it: email its invoices to orders@sinch.com."
    ),
}
_BY_SINCH_STATE: Mapping[SinchState | None, str] = {
    SinchState.HOSTING_FAILED: (
        "Hosting failed: fix the cause in the note, or ask Sinch why, then order again."
    ),
    SinchState.UNSPECIFIED: "No longer in the project: add it again, or ignore it.",
}
"""For verified numbers."""
_CODE_RESPONSE_LOST = "Ask for the code again and submit it, or recall."
_ADDED = "Let it be called, or email its invoices to orders@sinch.com (1 to 3 working days)."
_EMAILED = "Its invoices were emailed: they take 1 to 3 working days. After that, ask Sinch."
_NOT_ELIGIBLE = "Sinch cannot host it: check the number, or ask Sinch why."
_NOT_IN_PROJECT = "Add it to the project (--add-missing, or sinch-qn add), then recall."
_CODES_REJECTED = "Its codes were wrong: recall for a new one, and have it read out twice."
_CALL_REFUSED = "Fix the cause in the note, then recall."


_CHECK_DASHBOARD = "Check Sinch's dashboard for the order. Only if there is none, free the batch."


def what_to_do(
    entry: Entry, *, where: str | None = None, emailed: Collection[str] = ()
) -> str | None:
    """Return what a person has to do next about *entry*; None if nothing, or not yet.

    *where* names its place in the input; the default is its line. *emailed* are the numbers whose
    invoices were emailed: `delivered_numbers`.
    """
    if entry.number in emailed and needs_invoices(entry):
        return _EMAILED if entry.state is ChallengeState.BLOCKED else None
    if where is None:
        where = "it in the input" if entry.line is None else f"line {entry.line} of the input"
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


def needs_invoices(entry: Entry) -> bool:
    """Return whether the invoices of *entry* prove it: it was added, or no code can."""
    is_added = entry.state is ChallengeState.PENDING and entry.added
    return is_added or entry.state is ChallengeState.BLOCKED


def without_invoices(rows: Iterable[Entry], emailed: Collection[str]) -> Iterator[Entry]:
    """Yield the entries whose invoices are missing: needed, and not *emailed*."""
    return (entry for entry in rows if needs_invoices(entry) and entry.number not in emailed)


def what_to_do_about_delivery(delivery: Delivery) -> str | None:
    """Return what a person has to do next about an email; None if nothing."""
    match delivery.state:
        case DeliveryState.UNKNOWN | DeliveryState.SENDING:
            return "Ask orders@sinch.com whether it came. If not, send it with --resend."
        case DeliveryState.NOT_SENT:
            return "Fix the cause in the note, then send it again."
        case DeliveryState.WRITTEN:
            return "Send the file with your mail program, if you have not."
    return None


def what_to_do_about(batch: Batch) -> str | None:
    """Return what a person has to do next about *batch*; None if nothing."""
    match batch.state:
        case BatchState.UNKNOWN if batch.note == NOTE_ABSENT:
            return f"Free the batch, so that it is ordered: sinch-qn free JOURNAL {batch.id}"
        case BatchState.UNKNOWN if batch.note == NOTE_UNLISTED:
            return _CHECK_DASHBOARD
        case BatchState.UNKNOWN:
            return f"Run again, which looks for its order. Or: {_CHECK_DASHBOARD}"
        case BatchState.REJECTED:
            return "Fix the cause in the note, then free the batch and order again."
    return None


def order_progress(order: OrderRecord) -> str | None:
    """Return how far an order has got, in a sentence; None if it was not asked for yet."""
    if order.state is None:
        return None
    since = ""
    if order.since is not None:
        since = f" since {datetime.fromtimestamp(order.since, UTC):%d %B %Y, %H:%M} UTC"
    if order.state == OrderState.WAITING_FOR_LOA_SIGNATURE:
        return f"waiting for the signature of {order.signer or 'the authorised person'}{since}"
    parts = [order.state.removeprefix("HOSTING_ORDER_STATE_").replace("_", " ").lower() + since]
    if order.total is not None:
        parts.append(f"{order.done or 0} of {order.total} numbers done")
    if order.manual:
        parts.append(f"{order.manual} worked on by hand at Sinch")
    if order.failures:
        parts.append(f"{len({each.phone_number for each in order.failures})} failed somewhere")
    return ", ".join(parts)


def what_to_do_about_order(order: OrderRecord) -> str | None:
    """Return what a person has to do next about an order; None if nothing."""
    if order.state == OrderState.WAITING_FOR_LOA_SIGNATURE:
        return "Have the letter signed that Sinch has emailed. If it is lost, ask Sinch for it."
    if order.state == OrderState.REJECTED:
        return "Ask Sinch why the order was rejected, then order its numbers again."
    if order.failures:
        return "Ask Sinch about the numbers that failed, with carrier and code."
    return None


def needs_attention(
    counts: Mapping[ChallengeState, int], text_enable_report: TextEnableReport | None = None
) -> bool:
    """Say whether a run has anything that a person must act on.

    That is a number that settled without being verified, a rejected or unknown batch, a number
    whose hosting failed, or a verified number without an order.
    """
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
    rows: Iterable[Entry],
    counts: Mapping[ChallengeState, int],
    batches: Sequence[Batch],
    emailed: Collection[str] = (),
) -> Iterator[Entry]:
    """Yield the entries in *rows* that need attention.

    Reads no rows if *counts* and *batches* rule it out. PENDING entries are not included: sending
    their invoices is optional, because they will be called.
    """
    if batches or any(counts[state] for state in (*_UNSUCCESSFUL, ChallengeState.AWAITING_CODE)):
        for entry in rows:
            if is_for_a_person(entry) and what_to_do(entry, emailed=emailed):
                yield entry


def is_for_a_person(entry: Entry) -> bool:
    """Return whether advice about *entry* must be followed: a PENDING number is called anyway."""
    return entry.state is not ChallengeState.PENDING


def first_of_each_state(
    rows: Iterable[Entry], counts: Mapping[ChallengeState, int]
) -> dict[ChallengeState, Entry]:
    """Return the first entry in each state; stop once every state in *counts* has one."""
    wanted = sum(map(bool, counts.values()))
    found: dict[ChallengeState, Entry] = {}
    for entry in rows:
        if found.setdefault(entry.state, entry) is entry and len(found) >= wanted:
            break
    return found
