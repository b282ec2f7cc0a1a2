"""A random walk through the states of a number: its laws hold after any sequence of events."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sinch_qn.bulk import MemoryJournal, RunEvent, Submission, request_call
from sinch_qn.bulk.states import INTENTS, TABLE, ChallengeState, Change, Entry, Event, Todo
from sinch_qn.bulk.transitions import step
from sinch_qn.errors import InvalidRequestError
from sinch_qn.models import GlobalProcessState
from tests.bulk.test_states import ACCEPTS_CODES, ENTRY, NUMBER, RECALLABLE
from tests.support.journals import at_once, take_code, token

ENDS = (Event.ALREADY_VERIFIED, Event.VERIFIED, Event.BLOCKED, Event.SINCH_STATE_CHANGED)
MOVES = [event for event in Event if event not in {*ENDS, Event.CODE, Event.VERIFY}]
"""Events that leave a number's life open, but for those of codes."""


class LifeOfANumber(RuleBasedStateMachine):
    """The laws of a number hold after any sequence of events."""

    def __init__(self) -> None:
        super().__init__()
        self.journal = MemoryJournal()
        at_once(self.journal.add([ENTRY]))
        self.entry = ENTRY
        self.time = 1.0
        self.may_have_rung: set[int] = set()
        self.codes = 0
        self.recalled = False
        self.requested = self.call_was_requested = False
        self.tokens: set[int | None] = set()

    def happens(self, event: Event, **more: Any) -> Entry | None:
        """Apply *event* through a journal, which checks its log and its inbox, too."""
        self.time += 1.0
        before = self.entry
        taken_back = event is Event.CALL_NOT_SENT and before.state is not ChallengeState.CALLING
        if taken_back and before.attempt > 1:
            return None  # see test_a_code_after_a_recall_that_was_taken_back
        more = {"intent": token(before, event)} | more
        change = Change(
            number=NUMBER,
            event=event,
            at=self.time,
            max_codes=3,
            window=9.0,
            note=f"because of {event.value} at {self.time}",
            **more,
        )
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
        assert RunEvent.of(event, done).note == change.note, "the reason for this event, not before"
        if event not in ENDS and not (
            event is Event.CODE_REJECTED and done.state is ChallengeState.FAILED
        ):
            assert done.codes_waiting >= before.codes_waiting
        if event in (Event.RECALL, Event.REQUEST):
            self.requested = True
        if event is Event.CALL:
            self.call_was_requested = self.requested
        if event is Event.NOT_CALLABLE:
            self.recalled = self.requested = False
        if (
            before.state is ChallengeState.CALLING
            and event is not Event.CALL_NOT_SENT
            and done.state is not ChallengeState.CALLING
        ):
            assert before.attempt not in self.may_have_rung
            self.may_have_rung.add(before.attempt)
            self.recalled = self.requested = False
        if taken_back:
            self.may_have_rung.discard(before.attempt)
            self.recalled = bool(self.may_have_rung)  # that call is still to be made
            self.requested = self.call_was_requested
        return done

    def stored(self) -> Entry:
        """Return the entry as the journal has it."""
        entry = at_once(self.journal.get(NUMBER))
        assert entry is not None
        return entry

    @rule(event=st.sampled_from(MOVES))
    def anything(self, event: Event) -> None:
        """Apply an event, possible or not."""
        if event is Event.CALL:
            self.call()
        elif event is Event.RECALL:
            self.recall()
        else:
            self.happens(event)

    @precondition(lambda self: self.moves())
    @rule(
        data=st.data(),
        due=st.none() | st.floats(0, 100),
        remote=st.none() | st.sampled_from(list(GlobalProcessState)),
    )
    def move(
        self, data: st.DataObject, due: float | None, remote: GlobalProcessState | None
    ) -> None:
        """Apply an outcome, a timeout or the result of a look-up that the table has."""
        self.happens(data.draw(st.sampled_from(self.moves())), due=due, remote=remote)

    def moves(self) -> list[Event]:
        """Return the events of `MOVES` that the table has for the state."""
        own = {Event.CALL, Event.RECALL}
        if self.entry.state is ChallengeState.PENDING:
            # Left to `anything`: they would end most lives early, or lead nowhere.
            own |= {Event.NOT_CALLABLE, Event.LOOKED_UP, Event.POSTPONED}
        return [each for each in MOVES if self.entry.state in TABLE[each] and each not in own]

    @precondition(lambda self: self.time > 30)
    @rule(event=st.sampled_from(ENDS))
    def end(self, event: Event) -> None:
        """Settle the number for good, or see its state change after that."""
        self.happens(event)

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
        """Rule 29: an outcome or a withdrawal changes nothing without the last intent's token."""
        if token != self.entry.intent:
            assert self.happens(event, intent=token) is None

    @rule()
    def call(self) -> None:
        """P1: an attempt is made once, unless it was not sent; another needs a recall."""
        before = self.entry
        called = self.happens(Event.CALL)
        if called is not None:
            assert called.attempt == before.attempt + 1
            assert called.attempt not in self.may_have_rung
            assert self.recalled or not self.may_have_rung
            assert not before.codes_waiting

    @precondition(lambda self: self.entry.state in RECALLABLE)
    @rule()
    def recall(self) -> None:
        """Rule 10: a recall is accepted in four states only."""
        before = self.entry
        accepted = self.happens(Event.RECALL)
        assert (accepted is not None) is (before.state in RECALLABLE)
        if accepted is not None:
            self.recalled = True

    @rule(attempt=st.none() | st.integers(0, 3))
    def request(self, attempt: int | None) -> None:
        """Rule 26: a request is new once, until its call has an outcome that the asker knows of."""
        self.time += 1.0
        before = self.entry
        try:
            request = at_once(request_call(self.journal, NUMBER, attempt=attempt, at=self.time))
        except InvalidRequestError:
            assert before.state not in RECALLABLE | {ChallengeState.PENDING, ChallengeState.CALLING}
            assert self.stored() == before
            return
        self.entry = self.stored()
        assert self.entry == request.entry
        if not request.new:
            assert self.entry == before
            return
        assert not self.requested
        assert attempt is None or before.attempt <= attempt
        assert self.entry.state is ChallengeState.PENDING
        self.requested = True
        self.recalled |= before.state in RECALLABLE

    @rule(again=st.booleans())
    def submit(self, again: bool) -> None:  # noqa: FBT001 - Hypothesis passes it by name
        """Rule 12: a code is accepted once a phone may have rung; the same one twice is one."""
        self.time += 1.0
        self.codes += 0 if again and self.codes else 1
        code = f"{self.codes:04}"
        before = self.entry
        submission, entry = at_once(self.journal.submit_code(NUMBER, code, self.time))
        self.entry = self.stored()
        assert entry == self.entry
        if submission is Submission.ACCEPTED:
            assert before.state in ACCEPTS_CODES or (
                before.state is ChallengeState.PENDING and before.attempt
            )
            assert self.entry.codes_waiting == before.codes_waiting + 1
            assert RunEvent.of(Event.CODE, entry).note is None, "that of the state, not of the code"
        else:
            assert self.entry == before
        if before.state in ACCEPTS_CODES:
            assert submission is not Submission.REFUSED

    @precondition(lambda self: self.entry.codes_waiting)
    @rule()
    def claim(self) -> None:
        """Law: a code can be taken once it is due, if the state allows it."""
        before = self.entry
        claimed = at_once(take_code(self.journal, NUMBER, self.time))
        is_due = before.todo is Todo.VERIFY and before.due <= self.time
        assert (claimed is not None) is is_due
        if claimed is not None:
            self.entry, _ = claimed
            assert self.stored() == self.entry

    @invariant()
    def counts_are_never_negative(self) -> None:
        """Law: no counter of codes, tries or attempts is negative."""
        entry = self.entry
        assert min(entry.codes_waiting, entry.codes_used, entry.attempt, entry.tries) >= 0

    @invariant()
    def the_inbox_has_what_is_counted(self) -> None:
        """P8: no accepted code is lost: as many wait in the inbox as the entry counts."""
        codes = self.journal._store.inbox.get(NUMBER, {}).values()
        status = [code.status for code in codes]
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
            assert NUMBER not in self.journal._store.inbox

    @invariant()
    def an_open_number_has_a_next_step(self) -> None:
        """Law: a number that is not settled has a next step, or waits for a response."""
        entry = self.entry
        if entry.settled_at is None:
            assert entry.todo is not Todo.NOTHING or entry.state is ChallengeState.CALLING
        else:
            assert entry.todo is Todo.NOTHING

    @invariant()
    def a_recall_is_not_lost(self) -> None:
        """Rule 10: an accepted recall leads to a call, unless the number cannot be called."""
        if self.recalled:
            ended = {ChallengeState.VERIFIED, ChallengeState.SKIPPED, ChallengeState.BLOCKED}
            assert (
                self.entry.state
                in {ChallengeState.PENDING, ChallengeState.CALLING, ChallengeState.VERIFYING}
                | ended
            )

    @invariant()
    def a_request_is_not_lost(self) -> None:
        """Rule 26: a number waits for its requested call, or for none that nobody asked for."""
        entry = self.entry
        if entry.state is ChallengeState.PENDING:
            assert (entry.requested_at is not None) is self.requested
            if entry.todo in (Todo.CALL, Todo.REQUESTED_CALL):
                assert (entry.todo is Todo.REQUESTED_CALL) is self.requested

    @invariant()
    def counts_by_state(self) -> None:
        """Rule 21: the journal counts each number once, in its state."""
        counts = at_once(self.journal.counts())
        assert {state for state, n in counts.items() if n} == {self.entry.state}


LifeOfANumber.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, derandomize=True, database=None
)
TestLifeOfANumber = LifeOfANumber.TestCase
