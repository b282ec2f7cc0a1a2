"""What an answer, or its absence, means for a number."""

from __future__ import annotations

import attrs
import pytest

from sinch_qn.bulk import outcomes
from sinch_qn.bulk.states import ChallengeState, Change, Entry, Todo, step
from sinch_qn.errors import (
    AuthenticationError,
    BadRequestError,
    ConflictError,
    ConnectError,
    DeadlineExceededError,
    InvalidResponseError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    SinchError,
    StatusError,
    TokenError,
    TransportError,
)
from sinch_qn.lifecycle import CALLABLE, VERIFIED_OR_LATER
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.models import HostedNumberDetails, QualifiedNumber

NUMBER = "+12025550134"
PENDING = Entry(number=NUMBER)
CALLING = Entry(number=NUMBER, state=ChallengeState.CALLING, attempt=1, intent=7, called_at=90.0)
VERIFYING = Entry(
    number=NUMBER,
    state=ChallengeState.VERIFYING,
    attempt=1,
    intent=8,
    to_ring=False,
    codes_used=1,
    tries=1,
)

NOT_SENT: list[SinchError] = [
    ConnectError("refused"),
    TokenError("down"),
    DeadlineExceededError("late", outcome=Outcome.NOT_SENT),
    RateLimitError("slow down", status_code=429),
    AuthenticationError("refused", status_code=401, outcome=Outcome.NOT_SENT),
    AuthenticationError("refused", status_code=401),
    PermissionDeniedError("not yours", status_code=403),
]
LOST: list[SinchError] = [
    TransportError("reset"),
    ServerError("oops", status_code=500),
    InvalidResponseError("not JSON"),
    DeadlineExceededError("late", outcome=Outcome.UNKNOWN),
    StatusError("timeout", status_code=408, outcome=Outcome.UNKNOWN),
]
REJECTED: list[SinchError] = [
    BadRequestError("no", status_code=400),
    ConflictError("no", status_code=409),
    StatusError("no", status_code=422),
]


def number(state: SinchState | None) -> QualifiedNumber:
    """Return an answer."""
    return QualifiedNumber(phone_number=NUMBER, global_process_state=state, region_code="US")


def name(error: object) -> str:
    """Name a case."""
    return f"{type(error).__name__}" if isinstance(error, SinchError) else str(error)


def after(entry: Entry, change: Change) -> Entry:
    """Return *entry* after *change*, which must be possible."""
    happened = step(entry, change)
    assert happened is not None
    return happened


@pytest.mark.parametrize(
    ("state", "becomes", "todo"),
    [
        (SinchState.ELIGIBLE, ChallengeState.PENDING, Todo.CALL),
        (SinchState.VERIFICATION_PENDING, ChallengeState.PENDING, Todo.CALL),
        (SinchState.VERIFICATION_FAILED, ChallengeState.PENDING, Todo.CALL),
        (SinchState.VERIFIED, ChallengeState.SKIPPED, Todo.NOTHING),
        (SinchState.HOSTING_IN_PROGRESS, ChallengeState.SKIPPED, Todo.NOTHING),
        (SinchState.HOSTING_DONE, ChallengeState.SKIPPED, Todo.NOTHING),
        (SinchState.HOSTING_FAILED, ChallengeState.SKIPPED, Todo.NOTHING),
        (SinchState.ELIGIBLE_CHECK_PENDING, ChallengeState.PENDING, Todo.LOOK_UP),
        (SinchState.NOT_ELIGIBLE, ChallengeState.FAILED, Todo.NOTHING),
        (SinchState.VERIFICATION_BLOCKED, ChallengeState.BLOCKED, Todo.NOTHING),
        (SinchState("GLOBAL_PROCESS_STATE_TO_COME"), ChallengeState.PENDING, Todo.LOOK_UP),
        (SinchState.UNSPECIFIED, ChallengeState.PENDING, Todo.LOOK_UP),
        (None, ChallengeState.PENDING, Todo.LOOK_UP),
    ],
    ids=str,
)
def test_who_is_rung(state: SinchState | None, becomes: ChallengeState, todo: Todo) -> None:
    """Rule 7: three states are rung, four skipped, one fails, one is blocked, others are held."""
    entry = after(PENDING, outcomes.looked_up(NUMBER, number(state), 100.0, recheck=130.0))
    assert (entry.state, entry.todo) == (becomes, todo)
    if todo is Todo.LOOK_UP:
        assert entry.due == 130.0
        assert entry.note
    else:
        assert entry.region == "US"
    if becomes.settled:
        assert entry.settled_at == 100.0


def test_every_state_of_sinch_has_its_place() -> None:
    """Rule 7: no documented state is forgotten: rung, done before, held, failed or blocked."""
    others = {
        SinchState.ELIGIBLE_CHECK_PENDING,
        SinchState.NOT_ELIGIBLE,
        SinchState.VERIFICATION_BLOCKED,
        SinchState.UNSPECIFIED,
    }
    assert CALLABLE | VERIFIED_OR_LATER | others == set(SinchState)


def test_why_hosting_failed_is_noted() -> None:
    """What Sinch says about a number that it could not host stands in its note, cut to size."""
    hosted = HostedNumberDetails(error="no NNID " * 100)
    failed = attrs.evolve(number(SinchState.HOSTING_FAILED), hosted_number=hosted)
    entry = after(PENDING, outcomes.looked_up(NUMBER, failed, 100.0, recheck=130.0))
    assert entry.note is not None
    assert entry.note.startswith("hosting failed: no NNID")
    assert len(entry.note) < 250
    for silent in (
        number(SinchState.HOSTING_FAILED),
        attrs.evolve(failed, global_process_state=SinchState.VERIFIED),
    ):
        assert outcomes.why_not_hosted(silent) is None


def test_a_number_that_sinch_does_not_know() -> None:
    """Rule 7: a 404 fails a number; the note says whether it was added in vain."""
    entry = after(PENDING, outcomes.not_found(PENDING, 100.0))
    assert (entry.state, entry.note) == (ChallengeState.FAILED, outcomes.UNKNOWN_TO_SINCH)
    added = attrs.evolve(PENDING, added=True)
    assert "was added" in str(after(added, outcomes.not_found(added, 100.0)).note)


def called(result: QualifiedNumber | SinchError) -> Entry:
    """Return what becomes of a call."""
    return after(CALLING, outcomes.after_call(CALLING, result, 100.0, window=600.0, retry_at=105.0))


@pytest.mark.parametrize("error", NOT_SENT, ids=name)
def test_a_call_that_was_not_made(error: SinchError) -> None:
    """Rule 2: NOT_SENT and 429 lead back to PENDING, due later; so do refused credentials."""
    entry = called(error)
    assert (entry.state, entry.attempt, entry.due) == (ChallengeState.PENDING, 0, 105.0)


@pytest.mark.parametrize("error", LOST, ids=name)
def test_a_call_whose_answer_was_lost(error: SinchError) -> None:
    """Rule 2: UNKNOWN is UNKNOWN: it is not repeated, and its code is waited for."""
    entry = called(error)
    assert (entry.state, entry.attempt, entry.to_ring) == (ChallengeState.UNKNOWN, 1, False)
    assert (entry.todo, entry.due) == (Todo.EXPIRE, 690.0)  # counted from its intent


@pytest.mark.parametrize("error", [*REJECTED, NotFoundError("?", status_code=404)], ids=name)
def test_a_call_that_was_refused(error: SinchError) -> None:
    """Rule 7: what Sinch refuses to ring is FAILED, with what it said."""
    entry = called(error)
    assert (entry.state, entry.todo) == (ChallengeState.FAILED, Todo.NOTHING)
    assert entry.note


@pytest.mark.parametrize(
    ("state", "becomes"),
    [
        (SinchState.VERIFICATION_PENDING, ChallengeState.AWAITING_CODE),
        (SinchState.VERIFICATION_FAILED, ChallengeState.AWAITING_CODE),
        (None, ChallengeState.AWAITING_CODE),
        (SinchState.VERIFIED, ChallengeState.VERIFIED),
        (SinchState.HOSTING_DONE, ChallengeState.VERIFIED),
        (SinchState.VERIFICATION_BLOCKED, ChallengeState.BLOCKED),
        (SinchState.NOT_ELIGIBLE, ChallengeState.FAILED),
    ],
    ids=str,
)
def test_a_call_that_was_answered(state: SinchState | None, becomes: ChallengeState) -> None:
    """An answered call waits for its code, unless its number is in a final state."""
    assert called(number(state)).state is becomes


def verified(result: QualifiedNumber | SinchError, *, codes_used: int = 1) -> Entry:
    """Return what becomes of a code."""
    entry = attrs.evolve(VERIFYING, window_end=900.0, codes_used=codes_used)
    return after(entry, outcomes.after_verify(entry, result, 100.0, max_codes=3, retry_at=105.0))


@pytest.mark.parametrize("error", NOT_SENT, ids=name)
def test_a_code_that_did_not_arrive(error: SinchError) -> None:
    """Rule 2: a code that surely did not arrive waits and is not counted."""
    entry = verified(error)
    assert (entry.todo, entry.due, entry.codes_used) == (Todo.VERIFY, 105.0, 0)


@pytest.mark.parametrize("error", LOST, ids=name)
def test_a_code_whose_answer_was_lost(error: SinchError) -> None:
    """Rule 15: the number is looked up at once."""
    entry = verified(error)
    assert (entry.state, entry.todo, entry.due) == (ChallengeState.VERIFYING, Todo.RESOLVE, 0.0)


@pytest.mark.parametrize(
    "wrong",
    [number(SinchState.VERIFICATION_FAILED), *REJECTED],
    ids=name,
)
def test_a_wrong_code(wrong: QualifiedNumber | SinchError) -> None:
    """Rule 14: a 200 that is FAILED and a 4xx are both a wrong code, until they are used up."""
    assert verified(wrong).state is ChallengeState.AWAITING_CODE
    assert verified(wrong, codes_used=3).state is ChallengeState.FAILED


@pytest.mark.parametrize(
    "unclear",
    [
        number(SinchState.VERIFICATION_PENDING),
        number(None),
        number(SinchState("GLOBAL_PROCESS_STATE_NEW")),
    ],
)
def test_an_answer_that_does_not_say(unclear: QualifiedNumber) -> None:
    """Rule 15: a 200 that does not say whether the code was right is looked into, a bit later."""
    entry = verified(unclear)
    assert (entry.state, entry.todo, entry.due) == (ChallengeState.VERIFYING, Todo.RESOLVE, 105.0)


@pytest.mark.parametrize(
    ("state", "becomes"),
    [
        (SinchState.VERIFIED, ChallengeState.VERIFIED),
        (SinchState.HOSTING_IN_PROGRESS, ChallengeState.VERIFIED),
        (SinchState.VERIFICATION_BLOCKED, ChallengeState.BLOCKED),
    ],
    ids=str,
)
def test_a_final_state_ends_it(state: SinchState, becomes: ChallengeState) -> None:
    """Rules 14 and 15: a final state wins, in the answer to a code and in a look-up."""
    assert verified(number(state)).state is becomes
    assert looked(number(state)).state is becomes


def looked(result: QualifiedNumber | SinchError, entry: Entry = VERIFYING) -> Entry:
    """Return what becomes of a code whose number was looked up."""
    return after(entry, outcomes.after_resolve(entry, result, 100.0, max_codes=3, retry_at=120.0))


def test_a_look_at_a_number_that_is_still_pending() -> None:
    """Rule 15: still pending: the same code once more; then a person is asked."""
    entry = looked(number(SinchState.VERIFICATION_PENDING))
    assert (entry.todo, entry.codes_waiting) == (Todo.VERIFY, 1)
    twice = attrs.evolve(VERIFYING, tries=2)
    entry = looked(number(SinchState.VERIFICATION_PENDING), twice)
    assert (entry.state.settled, entry.codes_waiting) == (True, 0)
    assert entry.note == outcomes.ASK_AGAIN


def test_a_look_at_a_number_whose_code_failed() -> None:
    """Rule 15: VERIFICATION_FAILED is the code's verdict, unless it was there before the code."""
    failed = number(SinchState.VERIFICATION_FAILED)
    assert looked(failed).codes_waiting == 0
    assert looked(failed).note == "the code was wrong"
    before = attrs.evolve(VERIFYING, remote=SinchState.VERIFICATION_FAILED)
    assert looked(failed, before).codes_waiting == 1


@pytest.mark.parametrize("error", [*NOT_SENT, *LOST, *REJECTED], ids=name)
def test_a_look_that_fails(error: SinchError) -> None:
    """Rule 15: if the look-up fails the number stays VERIFYING, and is looked up again later."""
    entry = looked(error)
    assert (entry.state, entry.todo, entry.due) == (ChallengeState.VERIFYING, Todo.RESOLVE, 120.0)


def test_a_look_at_a_number_that_is_gone() -> None:
    """A number that was deleted meanwhile is not looked up for ever: the run can end."""
    entry = looked(NotFoundError("?", status_code=404))
    assert (entry.state, entry.note) == (ChallengeState.EXPIRED, outcomes.UNKNOWN_TO_SINCH)


@pytest.mark.parametrize("error", [*NOT_SENT, *LOST, *REJECTED], ids=name)
def test_what_stops_a_run(error: SinchError) -> None:
    """Rule 6: refused credentials stop a run; nothing that is one number's or passes does."""
    fatal = isinstance(error, AuthenticationError | PermissionDeniedError)
    assert outcomes.is_fatal(error) is fatal
