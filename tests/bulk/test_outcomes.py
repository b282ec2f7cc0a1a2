"""What a response, or its absence, means for a number."""

from __future__ import annotations

import attrs
import pytest

from sinch_qn import errors
from sinch_qn.bulk import outcomes
from sinch_qn.bulk.states import ChallengeState, Change, Entry, Todo
from sinch_qn.bulk.transitions import step
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
    """Return a response."""
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
def test_a_look_up(state: SinchState | None, becomes: ChallengeState, todo: Todo) -> None:
    """Rule 7: numbers in three states are called, in four skipped; the others fail or wait."""
    entry = after(PENDING, outcomes.looked_up(NUMBER, number(state), 100.0, recheck=130.0))
    assert (entry.state, entry.todo) == (becomes, todo)
    if todo is Todo.LOOK_UP:
        assert entry.due == 130.0
        assert entry.note
    else:
        assert entry.region == "US"
    if becomes.settled:
        assert entry.settled_at == 100.0


def test_every_state_of_sinch_is_covered() -> None:
    """Rule 7: each documented state is callable, verified or later, or one of four others."""
    others = {
        SinchState.ELIGIBLE_CHECK_PENDING,
        SinchState.NOT_ELIGIBLE,
        SinchState.VERIFICATION_BLOCKED,
        SinchState.UNSPECIFIED,
    }
    assert CALLABLE | VERIFIED_OR_LATER | others == set(SinchState)


def test_the_reason_for_a_failed_hosting() -> None:
    """The note of a number that Sinch could not host has Sinch's reason, truncated."""
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
    """Rule 7: a number with a 404 is FAILED; the note says whether this run added it."""
    entry = after(PENDING, outcomes.not_found(PENDING, 100.0))
    assert (entry.state, entry.note) == (ChallengeState.FAILED, outcomes.UNKNOWN_TO_SINCH)
    added = attrs.evolve(PENDING, added=True)
    assert "was added" in str(after(added, outcomes.not_found(added, 100.0)).note)


def called(result: QualifiedNumber | SinchError) -> Entry:
    """Return the number after a call."""
    return after(CALLING, outcomes.after_call(CALLING, result, 100.0, window=600.0, retry_at=105.0))


@pytest.mark.parametrize("error", NOT_SENT, ids=name)
def test_a_call_that_was_not_sent(error: SinchError) -> None:
    """Rule 2: NOT_SENT, a 429 and refused credentials lead back to PENDING, due later."""
    entry = called(error)
    assert (entry.state, entry.attempt, entry.due) == (ChallengeState.PENDING, 0, 105.0)


@pytest.mark.parametrize("error", LOST, ids=name)
def test_a_call_whose_response_was_lost(error: SinchError) -> None:
    """Rule 2: a call with an unknown outcome is UNKNOWN; its code is awaited from its intent on."""
    entry = called(error)
    assert (entry.state, entry.attempt, entry.to_ring) == (ChallengeState.UNKNOWN, 1, False)
    assert (entry.todo, entry.due) == (Todo.EXPIRE, 690.0)


@pytest.mark.parametrize("error", [*REJECTED, NotFoundError("?", status_code=404)], ids=name)
def test_a_call_that_was_refused(error: SinchError) -> None:
    """Rule 7: a number that Sinch refuses to call is FAILED, with the reason."""
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
def test_a_call_with_a_response(state: SinchState | None, becomes: ChallengeState) -> None:
    """After a call the code is awaited, unless the response has a final state."""
    assert called(number(state)).state is becomes


def verified(result: QualifiedNumber | SinchError, *, codes_used: int = 1) -> Entry:
    """Return the number after a code was sent."""
    entry = attrs.evolve(VERIFYING, window_end=900.0, codes_used=codes_used)
    return after(entry, outcomes.after_verify(entry, result, 100.0, max_codes=3, retry_at=105.0))


@pytest.mark.parametrize("error", NOT_SENT, ids=name)
def test_a_code_that_was_not_sent(error: SinchError) -> None:
    """Rule 2: a code that was not sent waits in the inbox, and is not counted."""
    entry = verified(error)
    assert (entry.todo, entry.due, entry.codes_used) == (Todo.VERIFY, 105.0, 0)


@pytest.mark.parametrize("error", LOST, ids=name)
def test_a_code_whose_response_was_lost(error: SinchError) -> None:
    """Rule 15: after a code with an unknown outcome the number is looked up at once."""
    entry = verified(error)
    assert (entry.state, entry.todo, entry.due) == (ChallengeState.VERIFYING, Todo.RESOLVE, 0.0)


@pytest.mark.parametrize(
    "wrong",
    [number(SinchState.VERIFICATION_FAILED), *REJECTED],
    ids=name,
)
def test_a_wrong_code(wrong: QualifiedNumber | SinchError) -> None:
    """Rule 14: VERIFICATION_FAILED and a 4xx are a wrong code; the last of `max_codes` fails."""
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
def test_an_ambiguous_response_to_a_code(unclear: QualifiedNumber) -> None:
    """Rule 15: after a 200 without a verdict on the code the number is looked up later."""
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
def test_a_final_state_has_precedence(state: SinchState, becomes: ChallengeState) -> None:
    """Rules 14 and 15: a final state settles a number, after a code and in a look-up."""
    assert verified(number(state)).state is becomes
    assert looked(number(state)).state is becomes


def looked(result: QualifiedNumber | SinchError, entry: Entry = VERIFYING) -> Entry:
    """Return the number after the look-up behind a code."""
    return after(entry, outcomes.after_resolve(entry, result, 100.0, max_codes=3, retry_at=120.0))


@pytest.mark.parametrize("error", REJECTED, ids=name)
def test_a_refusal_of_a_code_that_was_sent_before(error: SinchError) -> None:
    """Rule 15: a code that is refused when sent again is looked up later: it may have been right.

    The first response was lost, and a look-up may not show yet what that request did.
    """
    again = attrs.evolve(VERIFYING, tries=2)
    change = outcomes.after_verify(again, error, 100.0, max_codes=1, retry_at=120.0)
    entry = after(again, change)
    assert (entry.state, entry.todo, entry.due) == (ChallengeState.VERIFYING, Todo.RESOLVE, 120.0)


def test_resolving_a_number_that_is_pending() -> None:
    """Rule 15: the code of a pending number is sent once more; then a new one is requested."""
    entry = looked(number(SinchState.VERIFICATION_PENDING))
    assert (entry.todo, entry.codes_waiting) == (Todo.VERIFY, 1)
    twice = attrs.evolve(VERIFYING, tries=2)
    entry = looked(number(SinchState.VERIFICATION_PENDING), twice)
    assert (entry.state.settled, entry.codes_waiting) == (True, 0)
    assert entry.note == outcomes.ASK_AGAIN


def test_resolving_a_number_that_failed() -> None:
    """Rule 15: VERIFICATION_FAILED is a wrong code, unless the number was in it before."""
    failed = number(SinchState.VERIFICATION_FAILED)
    assert looked(failed).codes_waiting == 0
    assert looked(failed).note == "the code was wrong"
    before = attrs.evolve(VERIFYING, remote=SinchState.VERIFICATION_FAILED)
    assert looked(failed, before).codes_waiting == 1


@pytest.mark.parametrize("error", [*NOT_SENT, *LOST, *REJECTED], ids=name)
def test_resolving_that_fails(error: SinchError) -> None:
    """Rule 15: if the look-up fails, the number stays VERIFYING and is looked up again later."""
    entry = looked(error)
    assert (entry.state, entry.todo, entry.due) == (ChallengeState.VERIFYING, Todo.RESOLVE, 120.0)


def test_resolving_a_number_that_was_deleted() -> None:
    """A number that Sinch no longer knows is settled, so that the run can end."""
    entry = looked(NotFoundError("?", status_code=404))
    assert (entry.state, entry.note) == (ChallengeState.EXPIRED, outcomes.UNKNOWN_TO_SINCH)


@pytest.mark.parametrize("error", [*NOT_SENT, *LOST, *REJECTED], ids=name)
def test_fatal_errors(error: SinchError) -> None:
    """Rule 6: refused credentials are fatal; errors of one number, and transient ones, are not."""
    fatal = isinstance(error, AuthenticationError | PermissionDeniedError)
    assert outcomes.is_fatal(error) is fatal


ERRORS = [each for each in vars(errors).values() if isinstance(each, type)]


@pytest.mark.parametrize("kind", [each for each in ERRORS if issubclass(each, SinchError)])
@pytest.mark.parametrize("outcome", Outcome)
def test_every_error_has_its_place(kind: type[SinchError], outcome: Outcome) -> None:
    """Rule 2: each error, with each outcome, leads every step to a state."""
    error = kind.__new__(kind)
    if isinstance(error, StatusError):
        StatusError.__init__(error, "failed", status_code=418, outcome=outcome)
    else:
        SinchError.__init__(error, "failed", outcome=outcome)
    assert called(error).state in {
        ChallengeState.PENDING,
        ChallengeState.UNKNOWN,
        ChallengeState.FAILED,
    }
    assert verified(error).state in {ChallengeState.AWAITING_CODE, ChallengeState.VERIFYING}
    assert looked(error).state in {ChallengeState.VERIFYING, ChallengeState.EXPIRED}
