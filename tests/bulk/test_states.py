"""The state machine of a number: which events are possible, and where they lead."""

from __future__ import annotations

import re
from typing import Any

import attrs
import pytest

from sinch_qn.bulk import states
from sinch_qn.bulk.states import INTENTS, TABLE, ChallengeState, Change, Entry, Event, Todo
from sinch_qn.bulk.transitions import step
from sinch_qn.models import GlobalProcessState
from tests.support.journals import token

NUMBER = "+12025550134"
RECALLABLE = {
    ChallengeState.AWAITING_CODE,
    ChallengeState.EXPIRED,
    ChallengeState.FAILED,
    ChallengeState.UNKNOWN,
}
ACCEPTS_CODES = {
    ChallengeState.CALLING,
    ChallengeState.AWAITING_CODE,
    ChallengeState.VERIFYING,
    ChallengeState.UNKNOWN,
    ChallengeState.EXPIRED,
}
ENTRY = Entry(number=NUMBER)


def after(entry: Entry, *events: Event, **more: Any) -> Entry:
    """Return *entry* after *events*, all of which must be possible."""
    for event in events:
        intent = (entry.intent or 0) + 1 if event in INTENTS else token(entry, event)
        change = Change(number=NUMBER, event=event, at=1.0, **{"intent": intent} | more)
        happened = step(entry, change)
        assert happened is not None, (entry.state, event)
        entry = happened
    return entry


def refused(entry: Entry, event: Event, **more: Any) -> bool:
    """Return whether *event* is not possible for *entry*."""
    change = Change(number=NUMBER, event=event, at=1.0, **{"intent": token(entry, event)} | more)
    return step(entry, change) is None


def reached() -> dict[ChallengeState, Entry]:
    """Return an entry in each state, reached by events."""
    rung = after(
        ENTRY,
        Event.LOOKED_UP,
        Event.CALL,
        Event.CALLED,
        remote=GlobalProcessState.ELIGIBLE,
        window=9,
    )
    verifying = after(rung, Event.CODE, Event.VERIFY)
    return {
        ChallengeState.PENDING: ENTRY,
        ChallengeState.CALLING: after(ENTRY, Event.CALL),
        ChallengeState.AWAITING_CODE: rung,
        ChallengeState.VERIFYING: verifying,
        ChallengeState.VERIFIED: after(verifying, Event.VERIFIED),
        ChallengeState.SKIPPED: after(ENTRY, Event.ALREADY_VERIFIED),
        ChallengeState.FAILED: after(ENTRY, Event.CALL, Event.NOT_CALLABLE),
        ChallengeState.BLOCKED: after(verifying, Event.BLOCKED),
        ChallengeState.EXPIRED: after(rung, Event.CODE_TIMEOUT),
        ChallengeState.UNKNOWN: after(ENTRY, Event.CALL, Event.CALL_UNKNOWN, window=9),
        ChallengeState.INVALID: Entry(number=NUMBER, state=ChallengeState.INVALID, settled_at=1.0),
    }


def test_every_state_can_be_reached() -> None:
    """The table has every event, and leads to every state but INVALID."""
    entries = reached()
    assert set(entries) == set(ChallengeState)
    assert all(entry.state is state for state, entry in entries.items())
    leads_to = {to for row in TABLE.values() for to in row.values()}
    assert leads_to == set(ChallengeState) - {ChallengeState.INVALID}
    assert set(TABLE) == set(Event)


def test_properties_of_states() -> None:
    """Rule 19: four states are not settled, and five accept a code."""
    assert {state for state in ChallengeState if not state.settled} == {
        ChallengeState.PENDING,
        ChallengeState.CALLING,
        ChallengeState.AWAITING_CODE,
        ChallengeState.VERIFYING,
    }
    assert {state for state in ChallengeState if state.accepts_code} == ACCEPTS_CODES


@pytest.mark.parametrize("state", ChallengeState)
def test_a_recall_is_allowed_from_four_states(state: ChallengeState) -> None:
    """Rule 10: AWAITING_CODE, EXPIRED, FAILED and UNKNOWN may be recalled, as the next attempt."""
    entry = reached()[state]
    assert refused(entry, Event.RECALL) is (state not in RECALLABLE)
    if state in RECALLABLE:
        again = after(entry, Event.RECALL)
        assert (again.state, again.attempt, again.to_ring) == (
            ChallengeState.PENDING,
            entry.attempt,
            True,
        )
        assert again.todo is Todo.REQUESTED_LOOK_UP
        called = after(again, Event.LOOKED_UP, Event.CALL, remote=GlobalProcessState.ELIGIBLE)
        assert called.attempt == entry.attempt + 1


@pytest.mark.parametrize("state", ChallengeState)
def test_only_a_pending_number_is_called(state: ChallengeState) -> None:
    """P1: no number is called in any state but PENDING: after a call only a recall leads there."""
    assert refused(reached()[state], Event.CALL) is (state is not ChallengeState.PENDING)


@pytest.mark.parametrize("state", ChallengeState)
def test_a_code_is_accepted_once_a_phone_may_have_rung(state: ChallengeState) -> None:
    """Rules 12 and 13: CALLING, UNKNOWN and EXPIRED accept a code, too; PENDING does not."""
    entry = reached()[state]
    assert refused(entry, Event.CODE) is (state not in ACCEPTS_CODES)
    if state in ACCEPTS_CODES - {ChallengeState.CALLING, ChallengeState.VERIFYING}:
        with_code = after(entry, Event.CODE)
        assert with_code.todo is Todo.VERIFY
        assert with_code.settled_at is None
        assert after(with_code, Event.VERIFY, Event.VERIFIED).state is ChallengeState.VERIFIED


@pytest.mark.parametrize(
    "outcome", [Event.CALLED, Event.CALL_NOT_SENT, Event.CALL_UNKNOWN, Event.NOT_CALLABLE]
)
def test_an_early_code_is_sent_whatever_the_outcome(outcome: Event) -> None:
    """Rule 12: a code that came in CALLING is sent once the call has an outcome, any outcome."""
    entry = after(ENTRY, Event.CALL, Event.CODE)
    assert entry.todo is Todo.NOTHING
    entry = after(entry, outcome, window=9)
    assert entry.todo is Todo.VERIFY
    assert entry.settled_at is None
    assert after(entry, Event.VERIFY, Event.VERIFIED).state is ChallengeState.VERIFIED


def test_an_attempt_that_was_not_sent_is_not_counted() -> None:
    """Rule 2: a call that was not sent leads back to PENDING, and the attempt does not count."""
    entry = after(ENTRY, Event.CALL, Event.CALL_NOT_SENT, due=5.0)
    assert (entry.state, entry.attempt, entry.due, entry.called_at) == (
        ChallengeState.PENDING,
        0,
        5.0,
        None,
    )
    assert after(entry, Event.CALL).attempt == 1


def test_an_outcome_of_another_intent_is_refused() -> None:
    """Rule 29: an outcome with another token, or for another state, changes nothing."""
    entry = after(ENTRY, Event.CALL)
    assert refused(entry, Event.CALLED, intent=2)
    assert not refused(entry, Event.CALLED, intent=1)
    assert refused(entry, Event.CALLED, from_state=ChallengeState.PENDING)


def test_wrong_codes_are_counted_until_they_are_used_up() -> None:
    """Rule 14: a wrong code leads back to AWAITING_CODE, and to FAILED once `max_codes` are used.

    FAILED drops the codes that wait.
    """
    entry = reached()[ChallengeState.AWAITING_CODE]
    for used in (1, 2):
        entry = after(entry, Event.CODE, Event.VERIFY, Event.CODE_REJECTED, max_codes=3)
        assert (entry.state, entry.codes_used) == (ChallengeState.AWAITING_CODE, used)
        assert (entry.todo, entry.due) == (Todo.EXPIRE, entry.window_end)
    entry = after(entry, Event.CODE, Event.CODE, Event.VERIFY, Event.CODE_REJECTED, max_codes=3)
    assert entry.state is ChallengeState.FAILED
    assert entry.settled_at is not None
    assert entry.codes_waiting == 0
    entry = after(entry, Event.RECALL)
    assert entry.todo is Todo.REQUESTED_LOOK_UP
    assert after(entry, Event.CALL, Event.CALLED).codes_used == 0


def test_a_recall_outlives_a_wrong_code() -> None:
    """Rule 10: an accepted recall is carried out, also after an older code turned out wrong."""
    entry = reached()[ChallengeState.AWAITING_CODE]
    for _ in range(3):
        entry = after(entry, Event.CODE, Event.VERIFY, Event.CODE_REJECTED, max_codes=3)
    assert entry.state is ChallengeState.FAILED
    entry = after(entry, Event.RECALL, Event.CODE)
    assert refused(entry, Event.CALL)  # the code precedes it
    entry = after(entry, Event.VERIFY, Event.CODE_REJECTED, max_codes=3)
    assert (entry.state, entry.to_ring) == (ChallengeState.PENDING, True)


def test_a_refused_call_is_not_repeated_after_a_wrong_code() -> None:
    """Rule 10: a number that Sinch refused to call is not called again after a wrong code."""
    entry = after(
        ENTRY,
        Event.LOOKED_UP,
        Event.CALL,
        Event.CODE,
        Event.NOT_CALLABLE,
        remote=GlobalProcessState.ELIGIBLE,
    )
    entry = after(entry, Event.VERIFY, Event.CODE_REJECTED, max_codes=3)
    assert entry.state is ChallengeState.EXPIRED
    assert entry.settled_at is not None
    assert entry.todo is Todo.NOTHING


def test_an_unknown_code_is_sent_twice() -> None:
    """Rule 15: a code with an unknown outcome is sent once more, and then requested again."""
    entry = after(reached()[ChallengeState.VERIFYING], Event.VERIFY_UNKNOWN)
    assert entry.todo is Todo.RESOLVE
    entry = after(entry, Event.RETRY_CODE)
    assert (entry.todo, entry.tries) == (Todo.VERIFY, 1)
    entry = after(entry, Event.VERIFY, Event.VERIFY_UNKNOWN)
    assert (entry.tries, entry.codes_used) == (2, 2)
    entry = after(entry, Event.REQUEST_CODE)
    assert (entry.state, entry.codes_waiting, entry.tries) == (ChallengeState.AWAITING_CODE, 0, 0)


def test_unknown_is_settled_after_its_window() -> None:
    """Rule 13: UNKNOWN is settled once its code window ends, and accepts a code after it."""
    entry = reached()[ChallengeState.UNKNOWN]
    assert (entry.todo, entry.settled_at) == (Todo.EXPIRE, None)
    entry = after(entry, Event.CODE_TIMEOUT)
    assert (entry.state, entry.todo) == (ChallengeState.UNKNOWN, Todo.NOTHING)
    assert entry.settled_at is not None
    wrong = after(entry, Event.CODE, Event.VERIFY, Event.CODE_REJECTED, max_codes=3)
    assert wrong.state is ChallengeState.EXPIRED
    assert wrong.settled_at is not None


def test_a_listing_does_not_undo_a_delay() -> None:
    """Rule 2: a postponed number is not due earlier because it is listed, or has another code."""
    eligible = GlobalProcessState.ELIGIBLE
    entry = after(ENTRY, Event.LOOKED_UP, remote=eligible)
    entry = after(after(entry, Event.CALL), Event.CALL_NOT_SENT, due=500.0)
    assert refused(entry, Event.LOOKED_UP, remote=eligible)
    delayed = after(reached()[ChallengeState.AWAITING_CODE], Event.CODE, Event.VERIFY)
    delayed = after(after(delayed, Event.CODE_NOT_SENT, due=500.0), Event.CODE)
    assert delayed.due == 500.0


def test_settled_at_is_kept() -> None:
    """A later state at Sinch does not change when a number was settled."""
    entry = reached()[ChallengeState.VERIFIED]
    seen = step(entry, Change(number=NUMBER, event=Event.SINCH_STATE_CHANGED, at=99.0))
    assert seen is not None
    assert seen.settled_at == entry.settled_at == 1.0


def test_the_drawing_agrees_with_the_table() -> None:
    """Each state and arrow in the drawing of the module's docstring is in the table."""
    drawing = (states.__doc__ or "").split("\n\n")[1]
    drawn = set(re.findall(r"\b[A-Z_]{4,}\b", drawing))
    assert drawn == {state.name for state in ChallengeState} - {"SKIPPED", "INVALID"}
    for arrow in re.findall(r"([A-Z_]+) ──(?:(\w+)──)?▶ ([A-Z_]+)", drawing):
        source, label, target = arrow
        events = [Event(label)] if label else list(Event)
        assert any(
            TABLE[event].get(ChallengeState[source]) is ChallengeState[target] for event in events
        ), arrow
    for label in ("called", "lost", "verify", "wrong", "recall", "late"):
        assert label in drawing


def test_an_entry_is_frozen() -> None:
    """An entry is immutable: only `step` changes states."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ENTRY.attempt = 1  # type: ignore[misc]


@pytest.mark.parametrize("event", [Event.NOT_CALLABLE, Event.BLOCKED])
def test_a_late_refusal_does_not_undo_a_recall(event: Event) -> None:
    """Rule 29: the outcome of a call is refused once its number is PENDING again."""
    called = after(ENTRY, Event.CALL)
    recalled = after(called, Event.CALL_UNKNOWN, Event.RECALL)
    assert refused(recalled, event, intent=called.intent)
    assert not refused(recalled, event, intent=None)


def test_a_late_expiry_leaves_the_window_of_the_next_call() -> None:
    """Rule 29: the end of a code window is refused once its number was called again."""
    rung = reached()[ChallengeState.AWAITING_CODE]
    again = after(rung, Event.RECALL, Event.LOOKED_UP, Event.CALL, Event.CALLED, window=9)
    assert refused(again, Event.CODE_TIMEOUT, intent=rung.intent)
    assert not refused(again, Event.CODE_TIMEOUT, intent=again.intent)


def test_a_withdrawal_counts_once() -> None:
    """Rule 29: a withdrawal that is repeated changes nothing, also after a look-up failed."""
    refused_call = after(ENTRY, Event.CALL, Event.NOT_CALLABLE)
    taken_back = after(refused_call, Event.CALL_NOT_SENT)
    not_eligible = after(taken_back, Event.NOT_CALLABLE)
    assert refused(not_eligible, Event.CALL_NOT_SENT, intent=refused_call.intent)
