"""The state table of a run: what can happen to a number, and what never does."""

from __future__ import annotations

import re
from collections.abc import Coroutine
from typing import Any, TypeVar

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sinch_qn.bulk import states
from sinch_qn.bulk.journal import MemoryJournal, Submission
from sinch_qn.bulk.states import INTENTS, TABLE, ChallengeState, Change, Entry, Event, Todo, step
from sinch_qn.models import GlobalProcessState
from tests.support.journals import token

T = TypeVar("T")

NUMBER = "+12025550134"
RECALLABLE = {
    ChallengeState.AWAITING_CODE,
    ChallengeState.EXPIRED,
    ChallengeState.FAILED,
    ChallengeState.UNKNOWN,
}
TAKES_CODES = {
    ChallengeState.CALLING,
    ChallengeState.AWAITING_CODE,
    ChallengeState.VERIFYING,
    ChallengeState.UNKNOWN,
    ChallengeState.EXPIRED,
}
ENTRY = Entry(number=NUMBER)


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("it waits")


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
    """Say whether *event* cannot happen to *entry*."""
    change = Change(number=NUMBER, event=event, at=1.0, **{"intent": token(entry, event)} | more)
    return step(entry, change) is None


def reached() -> dict[ChallengeState, Entry]:
    """Return an entry that came to each state as numbers do."""
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


def test_every_state_can_be_reached_and_each_is_where_it_says() -> None:
    """The table leads to every state; INVALID alone is never led to, as it was never sent."""
    entries = reached()
    assert set(entries) == set(ChallengeState)
    assert all(entry.state is state for state, entry in entries.items())
    leads_to = {to for row in TABLE.values() for to in row.values()}
    assert leads_to == set(ChallengeState) - {ChallengeState.INVALID}
    assert set(TABLE) == set(Event)


def test_what_is_settled_and_what_takes_codes() -> None:
    """Rule 19: eight states are settled, five take codes, and both are properties of the state."""
    assert {state for state in ChallengeState if not state.settled} == {
        ChallengeState.PENDING,
        ChallengeState.CALLING,
        ChallengeState.AWAITING_CODE,
        ChallengeState.VERIFYING,
    }
    assert {state for state in ChallengeState if state.accepts_code} == TAKES_CODES


@pytest.mark.parametrize("state", ChallengeState)
def test_a_recall_is_allowed_from_four_states(state: ChallengeState) -> None:
    """Rule 10: only `recall` rings again, from AWAITING_CODE, EXPIRED, FAILED and UNKNOWN."""
    entry = reached()[state]
    assert refused(entry, Event.RECALL) is (state not in RECALLABLE)
    if state in RECALLABLE:
        again = after(entry, Event.RECALL)
        assert (again.state, again.attempt, again.to_ring) == (
            ChallengeState.PENDING,
            entry.attempt,
            True,
        )
        assert again.todo is Todo.LOOK_UP
        called = after(again, Event.LOOKED_UP, Event.CALL, remote=GlobalProcessState.ELIGIBLE)
        assert called.attempt == entry.attempt + 1


@pytest.mark.parametrize("state", ChallengeState)
def test_a_code_is_taken_where_a_phone_may_have_rung(state: ChallengeState) -> None:
    """Rules 12 and 13: a code is taken in CALLING, UNKNOWN and EXPIRED too; never before a call."""
    entry = reached()[state]
    assert refused(entry, Event.CODE) is (state not in TAKES_CODES)
    if state in TAKES_CODES - {ChallengeState.CALLING, ChallengeState.VERIFYING}:
        with_code = after(entry, Event.CODE)
        assert with_code.todo is Todo.VERIFY
        assert with_code.settled_at is None
        assert after(with_code, Event.VERIFY, Event.VERIFIED).state is ChallengeState.VERIFIED


@pytest.mark.parametrize(
    "outcome", [Event.CALLED, Event.CALL_NOT_SENT, Event.CALL_UNKNOWN, Event.NOT_CALLABLE]
)
def test_an_early_code_is_used_whatever_the_calls_outcome(outcome: Event) -> None:
    """Rule 12: a code that came in CALLING is used when the send has an outcome, whatever it is."""
    entry = after(ENTRY, Event.CALL, Event.CODE)
    assert entry.todo is Todo.NOTHING
    entry = after(entry, outcome, window=9)
    assert entry.todo is Todo.VERIFY
    assert entry.settled_at is None
    assert after(entry, Event.VERIFY, Event.VERIFIED).state is ChallengeState.VERIFIED


def test_an_attempt_that_was_not_made_keeps_its_number() -> None:
    """Rule 2: what surely did not ring goes back to PENDING, and its attempt number is free."""
    entry = after(ENTRY, Event.CALL, Event.CALL_NOT_SENT, due=5.0)
    assert (entry.state, entry.attempt, entry.due, entry.called_at) == (
        ChallengeState.PENDING,
        0,
        5.0,
        None,
    )
    assert after(entry, Event.CALL).attempt == 1


def test_an_outcome_of_another_attempt_is_refused() -> None:
    """An outcome belongs to one attempt: that of another changes nothing."""
    entry = after(ENTRY, Event.CALL)
    assert refused(entry, Event.CALLED, intent=2)
    assert not refused(entry, Event.CALLED, intent=1)
    assert refused(entry, Event.CALLED, from_state=ChallengeState.PENDING)


def test_wrong_codes_are_counted_until_they_are_used_up() -> None:
    """Rule 14: a wrong code leads back to AWAITING_CODE until `max_codes` are used: then FAILED."""
    entry = reached()[ChallengeState.AWAITING_CODE]
    for used in (1, 2):
        entry = after(entry, Event.CODE, Event.VERIFY, Event.CODE_REJECTED, max_codes=3)
        assert (entry.state, entry.codes_used) == (ChallengeState.AWAITING_CODE, used)
        assert (entry.todo, entry.due) == (Todo.EXPIRE, entry.window_end)
    entry = after(entry, Event.CODE, Event.CODE, Event.VERIFY, Event.CODE_REJECTED, max_codes=3)
    assert entry.state is ChallengeState.FAILED
    assert entry.settled_at is not None
    assert entry.codes_waiting == 0  # the second code was erased with the rest
    entry = after(entry, Event.RECALL)
    assert entry.todo is Todo.LOOK_UP
    assert after(entry, Event.CALL, Event.CALLED).codes_used == 0


def test_a_recall_outlives_a_wrong_code() -> None:
    """Rule 10: a recall that was accepted is carried out, though an old code is tried meanwhile."""
    entry = reached()[ChallengeState.AWAITING_CODE]
    for _ in range(3):
        entry = after(entry, Event.CODE, Event.VERIFY, Event.CODE_REJECTED, max_codes=3)
    assert entry.state is ChallengeState.FAILED
    entry = after(entry, Event.RECALL, Event.CODE)
    assert refused(entry, Event.CALL)  # the code goes first
    entry = after(entry, Event.VERIFY, Event.CODE_REJECTED, max_codes=3)
    assert (entry.state, entry.to_ring) == (ChallengeState.PENDING, True)


def test_a_refused_call_is_not_repeated_after_a_wrong_code() -> None:
    """Rule 10: what Sinch refused to ring is not rung again by itself, not even with a code."""
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


def test_a_code_whose_answer_was_lost_is_tried_twice() -> None:
    """Rule 15: lost, looked up, still pending: once more, counted; then a person is asked."""
    entry = after(reached()[ChallengeState.VERIFYING], Event.VERIFY_UNKNOWN)
    assert entry.todo is Todo.RESOLVE
    entry = after(entry, Event.RETRY_CODE)
    assert (entry.todo, entry.tries) == (Todo.VERIFY, 1)
    entry = after(entry, Event.VERIFY, Event.VERIFY_UNKNOWN)
    assert (entry.tries, entry.codes_used) == (2, 2)
    entry = after(entry, Event.REQUEST_CODE)
    assert (entry.state, entry.codes_waiting, entry.tries) == (ChallengeState.AWAITING_CODE, 0, 0)


def test_unknown_is_settled_after_its_window_and_still_takes_a_code() -> None:
    """Rule 13: UNKNOWN settles once its code window is over; a code that comes later is tried."""
    entry = reached()[ChallengeState.UNKNOWN]
    assert (entry.todo, entry.settled_at) == (Todo.EXPIRE, None)
    entry = after(entry, Event.CODE_TIMEOUT)
    assert (entry.state, entry.todo) == (ChallengeState.UNKNOWN, Todo.NOTHING)
    assert entry.settled_at is not None
    wrong = after(entry, Event.CODE, Event.VERIFY, Event.CODE_REJECTED, max_codes=3)
    assert wrong.state is ChallengeState.EXPIRED
    assert wrong.settled_at is not None


def test_a_listing_does_not_undo_a_delay() -> None:
    """Rule 2: a number that Sinch asked patience for is not due earlier because it is listed."""
    eligible = GlobalProcessState.ELIGIBLE
    entry = after(ENTRY, Event.LOOKED_UP, remote=eligible)
    entry = after(after(entry, Event.CALL), Event.CALL_NOT_SENT, due=500.0)
    assert refused(entry, Event.LOOKED_UP, remote=eligible)
    delayed = after(reached()[ChallengeState.AWAITING_CODE], Event.CODE, Event.VERIFY)
    delayed = after(after(delayed, Event.CODE_NOT_SENT, due=500.0), Event.CODE)
    assert delayed.due == 500.0


def test_when_it_settled_is_kept() -> None:
    """What is learnt about a settled number later does not move the moment it settled at."""
    entry = reached()[ChallengeState.VERIFIED]
    seen = step(entry, Change(number=NUMBER, event=Event.SINCH_STATE_CHANGED, at=99.0))
    assert seen is not None
    assert seen.settled_at == entry.settled_at == 1.0


def test_the_drawing_shows_the_table() -> None:
    """The drawing that people read names states, and ways between them, that the table has."""
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


class LifeOfANumber(RuleBasedStateMachine):
    """Anything may happen at any moment, over and over; the laws hold after each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.journal = MemoryJournal()
        at_once(self.journal.add([ENTRY]))
        self.entry = ENTRY
        self.time = 1.0
        self.may_have_rung: set[int] = set()
        self.codes = 0
        self.tried: dict[str, int] = {}
        self.in_hand: str | None = None
        self.recalled = False
        self.tokens: set[int | None] = set()

    def happens(self, event: Event, **more: Any) -> Entry | None:
        """Let *event* happen through a journal, which checks its acts and inbox, too."""
        self.time += 1.0
        before = self.entry
        more = {"intent": token(before, event)} | more
        change = Change(number=NUMBER, event=event, at=self.time, max_codes=3, window=9.0, **more)
        (done,) = at_once(self.journal.apply([change]))
        if done is not None and event in INTENTS:
            assert done.intent not in self.tokens
            self.tokens.add(done.intent)
            change = attrs.evolve(change, intent=done.intent)
        assert done == step(before, change)
        if done is None:
            assert self.stored() == before
            return None
        self.entry = done
        if before.state is ChallengeState.VERIFYING and done.state is not ChallengeState.VERIFYING:
            self.in_hand = None
        if (
            before.state is ChallengeState.CALLING
            and event is not Event.CALL_NOT_SENT
            and done.state is not ChallengeState.CALLING
        ):
            assert before.attempt not in self.may_have_rung
            self.may_have_rung.add(before.attempt)
            self.recalled = False
        if event is Event.CALL_NOT_SENT:
            self.may_have_rung.discard(before.attempt)  # the late truth
        return done

    def stored(self) -> Entry:
        """Return the entry as the journal has it."""
        entry = at_once(self.journal.get(NUMBER))
        assert entry is not None
        return entry

    @rule(
        event=st.sampled_from(
            [
                e
                for e in Event
                if e not in {Event.CODE, Event.VERIFY, Event.CALL, Event.RECALL, Event.NOT_CALLABLE}
            ]
        ),
        due=st.none() | st.floats(0, 100),
        remote=st.none() | st.sampled_from(list(GlobalProcessState)),
    )
    def anything(self, event: Event, due: float | None, remote: GlobalProcessState | None) -> None:
        """Let an answer, a clock or a look-up come in an order that makes sense, or in none."""
        self.happens(event, due=due, remote=remote)

    @rule()
    def cannot(self) -> None:
        """Rarer than the rest: it often ends a life early."""
        if self.time % 3 == 0:
            self.happens(Event.NOT_CALLABLE)

    @rule(
        event=st.sampled_from(
            [
                Event.CALLED,
                Event.CALL_NOT_SENT,
                Event.CALL_UNKNOWN,
                Event.CODE_NOT_SENT,
                Event.VERIFIED,
                Event.ADD_NOT_SENT,
            ]
        ),
        token=st.none() | st.integers(1, 20),
    )
    def outcome_of_another_intent(self, event: Event, token: int | None) -> None:
        """Rule 29: an outcome or a withdrawal changes nothing unless it carries the last token."""
        before = self.entry
        if self.happens(event, intent=token) is not None:
            assert token is not None
            assert before.intent == token

    @rule()
    def call(self) -> None:
        """Law: rings(number, attempt) ≤ 1: a number is used again only after NOT_CALLED."""
        before = self.entry
        called = self.happens(Event.CALL)
        if called is not None:
            assert called.attempt == before.attempt + 1
            assert called.attempt not in self.may_have_rung
            # Nobody is rung a second time unless a person asked for it.
            assert self.recalled or not self.may_have_rung

    @rule()
    def recall(self) -> None:
        """Law: a recall is allowed from four states, and an accepted one does not disappear."""
        before = self.entry
        accepted = self.happens(Event.RECALL)
        assert (accepted is not None) is (before.state in RECALLABLE)
        if accepted is not None:
            self.recalled = True

    @rule(again=st.booleans())
    def submit(self, again: bool) -> None:  # noqa: FBT001 - Hypothesis passes it by name
        """Law: a code is taken where a phone may have rung, new or the last one again."""
        self.time += 1.0
        self.codes += 0 if again and self.codes else 1
        code = f"{self.codes:04}"
        before = self.entry
        came, entry = at_once(self.journal.submit_code(NUMBER, code, self.time))
        self.entry = self.stored()
        assert entry == self.entry
        if came is Submission.ACCEPTED:
            assert before.state in TAKES_CODES | {ChallengeState.PENDING}
            assert self.entry.codes_waiting == before.codes_waiting + 1
        else:
            assert self.entry == before
        if before.state in TAKES_CODES:
            assert came is not Submission.REFUSED

    @rule()
    def take(self) -> None:
        """Law: a code that waits can be handed in, and is one that was handed in."""
        before = self.entry
        taken = at_once(self.journal.claim_code(NUMBER, self.time))
        can = bool(before.codes_waiting) and before.state in TABLE[Event.VERIFY]
        assert (taken is not None) is can
        if taken is not None:
            self.entry, self.in_hand = taken
            assert self.stored() == self.entry

    @precondition(lambda self: self.entry.state is ChallengeState.VERIFYING)
    @rule()
    def look(self) -> None:
        """As `outcomes.after_resolve` does it: once more, then a person is asked."""
        self.happens(Event.RETRY_CODE if self.entry.tries < 2 else Event.REQUEST_CODE)

    @invariant()
    def counts_are_never_negative(self) -> None:
        """Law: no counter of codes, tries or attempts is ever below zero."""
        entry = self.entry
        assert min(entry.codes_waiting, entry.codes_used, entry.attempt, entry.tries) >= 0

    @invariant()
    def the_inbox_has_what_is_counted(self) -> None:
        """Law: no accepted code disappears; those that wait are as many as the entry says."""
        status = list(self.journal._inbox.get(NUMBER, {}).values())
        assert status.count("waiting") == self.entry.codes_waiting
        assert status.count("in flight") == (
            1 if self.entry.state is ChallengeState.VERIFYING else 0
        )

    @invariant()
    def settled_means_erased(self) -> None:
        """Rule 16: no code of a settled number is kept."""
        if self.entry.settled_at is not None:
            assert self.entry.state.settled
            assert self.entry.codes_waiting == 0
            assert NUMBER not in self.journal._inbox

    @invariant()
    def something_moves_it_on(self) -> None:
        """Law: what is not settled has something to be done, or an answer that is waited for."""
        entry = self.entry
        if entry.settled_at is None:
            assert entry.todo is not Todo.NOTHING or entry.state is ChallengeState.CALLING
        else:
            assert entry.todo is Todo.NOTHING

    @invariant()
    def a_recall_is_pending_until_it_is_made(self) -> None:
        """Law: an accepted recall ends with a call, or with the number's own end."""
        if self.recalled and self.entry.state not in {
            ChallengeState.PENDING,
            ChallengeState.CALLING,
            ChallengeState.VERIFYING,
        }:
            assert self.entry.state in {
                ChallengeState.VERIFIED,
                ChallengeState.SKIPPED,
                ChallengeState.BLOCKED,
                ChallengeState.FAILED,
                ChallengeState.EXPIRED,
            }

    @invariant()
    def counts_by_state(self) -> None:
        """Law: the journal counts each number once, in the state that it is in."""
        counts = at_once(self.journal.counts())
        assert {state for state, n in counts.items() if n} == {self.entry.state}


LifeOfANumber.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, derandomize=True, database=None
)
TestLifeOfANumber = LifeOfANumber.TestCase


def test_an_entry_is_frozen() -> None:
    """States change by `step` only: an entry cannot be changed in place."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ENTRY.attempt = 1  # type: ignore[misc]


@pytest.mark.parametrize("event", [Event.NOT_CALLABLE, Event.BLOCKED])
def test_a_late_refusal_does_not_undo_a_recall(event: Event) -> None:
    """Rule 29: the outcome of a call is refused once its number is PENDING again."""
    called = after(ENTRY, Event.CALL)
    recalled = after(called, Event.CALL_UNKNOWN, Event.RECALL)
    assert refused(recalled, event, intent=called.intent)
    assert not refused(recalled, event, intent=None)
