"""Advice: each number and batch that needs attention has it, and no other."""

from __future__ import annotations

from typing import Any

import pytest

from sinch_qn.bulk import outcomes
from sinch_qn.bulk.journal import Batch, BatchState, Delivery, DeliveryState
from sinch_qn.bulk.order_records import NumberFailure, OrderRecord
from sinch_qn.bulk.report.advice import (
    entries_needing_attention,
    first_of_each_state,
    needs_attention,
    order_progress,
    what_to_do,
    what_to_do_about,
    what_to_do_about_delivery,
    what_to_do_about_order,
)
from sinch_qn.bulk.states import ChallengeState, Entry
from sinch_qn.bulk.text_enable_report import TextEnableReport
from sinch_qn.models import GlobalProcessState as SinchState
from tests.support.run_rows import batch, entry


@pytest.mark.parametrize(
    ("row", "advice"),
    [
        (entry(ChallengeState.INVALID, line=7), "Correct line 7 of the input"),
        (entry(ChallengeState.INVALID), "Correct it in the input, then run again."),
        (
            entry(ChallengeState.UNKNOWN),
            "Ask whether the phone rang. If it did, submit the code; if not, recall",
        ),
        (entry(ChallengeState.EXPIRED), "a late one is still accepted"),
        (entry(ChallengeState.BLOCKED), "orders@sinch.com"),
        (
            entry(ChallengeState.FAILED, remote=SinchState.NOT_ELIGIBLE, note="not eligible"),
            "cannot host it",
        ),
        (entry(ChallengeState.FAILED, note=outcomes.UNKNOWN_TO_SINCH), "Add it to the project"),
        (
            entry(ChallengeState.FAILED, codes_used=3, note="the code was wrong"),
            "recall for a new one",
        ),
        (entry(ChallengeState.FAILED, note="refused: HTTP 400"), "Fix the cause in the note"),
        (entry(ChallengeState.AWAITING_CODE, note=outcomes.ASK_AGAIN), "code again"),
        (
            entry(ChallengeState.PENDING, added=True),
            "Let it be called, or email its invoices to orders@sinch.com",
        ),
        (entry(ChallengeState.VERIFIED, remote=SinchState.HOSTING_FAILED), "Hosting failed"),
        (entry(ChallengeState.SKIPPED, remote=SinchState.UNSPECIFIED), "No longer in the project"),
    ],
)
def test_an_entry_that_needs_attention_has_advice(row: Entry, advice: str) -> None:
    """Each entry that needs attention has the advice for its state and note."""
    assert advice in (what_to_do(row) or "")


@pytest.mark.parametrize(
    "state",
    [s for s in ChallengeState if not s.settled]
    + [ChallengeState.VERIFIED, ChallengeState.SKIPPED],
)
def test_other_entries_have_no_advice(state: ChallengeState) -> None:
    """An entry that is in progress or successful has no advice."""
    assert what_to_do(entry(state)) is None


def test_every_failure_has_advice() -> None:
    """Each entry that settles without success has advice."""
    for state in set(ChallengeState) - {ChallengeState.VERIFIED, ChallengeState.SKIPPED}:
        assert what_to_do(entry(state)) or not state.settled


def test_advice_about_batches() -> None:
    """UNKNOWN and REJECTED batches have advice, and no others."""
    needs = {state for state in BatchState if what_to_do_about(batch(state))}
    assert needs == {BatchState.UNKNOWN, BatchState.REJECTED}


def counts_of(*states: ChallengeState) -> dict[ChallengeState, int]:
    """Return counts with one number in each of *states*."""
    return {state: int(state in states) for state in ChallengeState}


def text_enable_report(**fields: Any) -> TextEnableReport:
    """Return a report on two hosted numbers, with *fields* replaced."""
    batches = dict.fromkeys(BatchState, 0) | {BatchState.ORDERED: 1}
    usual: dict[str, Any] = {
        "batches": batches,
        "hosting": {SinchState.HOSTING_DONE: 2},
        "stopped": None,
    }
    usual |= {"orders": ["order"], "left": 0, "toll_free_left": 0}
    return TextEnableReport(**(usual | fields))


@pytest.mark.parametrize("state", ChallengeState)
def test_a_number_settled_without_success_needs_attention(state: ChallengeState) -> None:
    """A settled number needs attention unless it is verified."""
    expected = state.settled and state not in {ChallengeState.VERIFIED, ChallengeState.SKIPPED}
    assert needs_attention(counts_of(ChallengeState.VERIFIED, state)) is expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, False),
        ({"batches": dict.fromkeys(BatchState, 0) | {BatchState.REJECTED: 1}}, True),
        ({"batches": dict.fromkeys(BatchState, 0) | {BatchState.UNKNOWN: 1}}, True),
        ({"batches": dict.fromkeys(BatchState, 0) | {BatchState.NOT_SENT: 1}}, False),
        ({"stopped": "HTTP 503"}, True),
        ({"left": 1}, True),
        ({"hosting": {SinchState.HOSTING_DONE: 2, SinchState.HOSTING_FAILED: 1}}, True),
        ({"hosting": {SinchState.HOSTING_IN_PROGRESS: 2}}, False),
    ],
)
def test_an_order_that_failed_needs_attention(fields: dict[str, Any], *, expected: bool) -> None:
    """Rejected or unknown batches, failed hosting and numbers without an order need attention."""
    counts = counts_of(ChallengeState.VERIFIED)
    assert needs_attention(counts, text_enable_report(**fields)) is expected


def test_entries_needing_attention_are_those_with_advice() -> None:
    """Entries with advice are yielded in the order of the rows, except PENDING ones."""
    rows = [
        *(
            entry(ChallengeState.EXPIRED, line=1),
            entry(ChallengeState.VERIFIED, line=2),
            entry(ChallengeState.PENDING, added=True),
        ),
        *(
            entry(ChallengeState.AWAITING_CODE),
            entry(ChallengeState.AWAITING_CODE, line=3, note=outcomes.ASK_AGAIN),
        ),
        entry(ChallengeState.VERIFIED, line=4, remote=SinchState.HOSTING_FAILED, batch=1),
    ]
    counts = counts_of(
        ChallengeState.EXPIRED,
        ChallengeState.VERIFIED,
        ChallengeState.PENDING,
        ChallengeState.AWAITING_CODE,
    )
    found = entries_needing_attention(rows, counts, [batch()])
    assert [each.line for each in found] == [1, 3, 4]


@pytest.mark.parametrize(
    ("state", "batches", "is_read"),
    [
        *(
            (ChallengeState.VERIFIED, [], False),
            (ChallengeState.PENDING, [], False),
            (ChallengeState.SKIPPED, [], False),
        ),
        *(
            (ChallengeState.AWAITING_CODE, [], True),
            (ChallengeState.UNKNOWN, [], True),
            (ChallengeState.VERIFIED, [batch()], True),
        ),
    ],
)
def test_rows_are_read_only_if_needed(
    state: ChallengeState, batches: list[Batch], *, is_read: bool
) -> None:
    """No row is read if counts and batches rule out that one needs attention."""
    rows = iter([entry(state)])
    list(entries_needing_attention(rows, counts_of(state), batches))
    assert (next(rows, None) is None) is is_read


def test_the_first_of_each_state_is_found_early() -> None:
    """The first entry in each counted state is returned, and no row after the last is read."""
    states = [
        ChallengeState.VERIFIED,
        ChallengeState.VERIFIED,
        ChallengeState.FAILED,
        ChallengeState.EXPIRED,
    ]
    rows = iter([entry(state, line=line) for line, state in enumerate(states)])
    found = first_of_each_state(rows, counts_of(ChallengeState.VERIFIED, ChallengeState.FAILED))
    assert {state: each.line for state, each in found.items()} == {
        ChallengeState.VERIFIED: 0,
        ChallengeState.FAILED: 2,
    }
    assert next(rows).line == 3
    assert first_of_each_state([], counts_of()) == {}


@pytest.mark.parametrize(
    ("fields", "progress", "advice"),
    [
        ({}, None, None),
        ({"state": "SUBMITTED"}, "submitted since 13 January 2026, 14:30 UTC", None),
        (
            {"state": "WAITING_FOR_LOA_SIGNATURE", "signer": "a•••@example.com"},
            "waiting for the signature of a•••@example.com since 13 January 2026, 14:30 UTC",
            "Have the letter signed",
        ),
        (
            {"state": "IN_PROGRESS", "total": 5, "done": 3, "manual": 1},
            "3 of 5 numbers done, 1 worked on by hand at Sinch",
            None,
        ),
        (
            {
                "state": "COMPLETED",
                "total": 5,
                "done": 5,
                "failures": (
                    NumberFailure(phone_number="+12025550134", where="SMS", code="", message=""),
                ),
            },
            "5 of 5 numbers done, 1 failed somewhere",
            "with carrier and code",
        ),
        ({"state": "REJECTED"}, "rejected since", "why the order was rejected"),
        ({"state": "HOSTING_ORDER_STATE_NEW"}, "new since", None),
    ],
)
def test_an_order_says_how_far_it_has_got(
    fields: dict[str, Any], progress: str | None, advice: str | None
) -> None:
    """An order says whom it waits for since when, what is done, what failed, and what to do."""
    order = OrderRecord(name="n", service_plan_id="p", since=1768314600.0, **fields)
    assert (progress or "None") in str(order_progress(order))
    assert (advice or "None") in str(what_to_do_about_order(order))


def test_emails_say_what_to_do() -> None:
    """Each state of an email has its advice; a sent one needs nothing."""
    advice = {
        state: what_to_do_about_delivery(
            Delivery(key="k", intent=1, numbers=(), state=state, at=0.0)
        )
        for state in DeliveryState
    }
    assert [state for state, text in advice.items() if text is None] == [DeliveryState.SENT]
    assert "--resend" in str(advice[DeliveryState.UNKNOWN])
    assert advice[DeliveryState.SENDING] == advice[DeliveryState.UNKNOWN]


def test_invoices_that_were_emailed() -> None:
    """A number whose invoices were emailed needs no email; a blocked one has to wait for Sinch."""
    pending, blocked = entry(ChallengeState.PENDING, added=True), entry(ChallengeState.BLOCKED)
    assert what_to_do(pending, emailed=[pending.number]) is None
    assert "1 to 3 working days" in str(what_to_do(blocked, emailed=[blocked.number]))
    assert "email its invoices" in str(what_to_do(pending, emailed=["+12025550199"]))
