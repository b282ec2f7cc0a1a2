"""What an answer, or its absence, means for a number: pure functions, one for each question asked.

Each takes the entry that was asked about and what came of it, and returns the change to record.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sinch_qn.bulk.states import DONE_BEFORE, RINGABLE, ChallengeState, Change, Entry, Event
from sinch_qn.errors import (
    AuthenticationError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    RateLimitError,
    SinchError,
)
from sinch_qn.models import GlobalProcessState, QualifiedNumber

UNKNOWN_TO_SINCH = "Sinch does not know this number: add it to the project first"
ASK_AGAIN = "the answer to its code was lost twice: ask for the code once more, or recall"
LOST = "the answer to the call was lost: ask whether the phone rang; a code settles it"


def is_fatal(error: SinchError) -> bool:
    """Say whether *error* will be every other number's, too: the run stops at the first."""
    return isinstance(error, AuthenticationError | PermissionDeniedError)


def why_not_hosted(answer: QualifiedNumber) -> str | None:
    """Return what Sinch says of a number whose hosting failed; None if it says nothing."""
    hosted = answer.hosted_number
    failed = answer.global_process_state is GlobalProcessState.HOSTING_FAILED
    return f"hosting failed: {hosted.error[:200]}" if failed and hosted and hosted.error else None


def learnt(number: str, answer: QualifiedNumber, at: float, *, recheck: float) -> Change:
    """Return what a look-up before ringing says; one that must wait is looked up at *recheck*."""
    state = answer.global_process_state
    change = partial(
        Change,
        number=number,
        at=at,
        from_state=ChallengeState.PENDING,
        remote=state,
        region=answer.region_code,
    )
    if state in DONE_BEFORE:
        return change(event=Event.ALREADY_VERIFIED, note=why_not_hosted(answer))
    if state is GlobalProcessState.NOT_ELIGIBLE:
        return change(event=Event.NOT_CALLABLE, note="not eligible")
    if state is GlobalProcessState.VERIFICATION_BLOCKED:
        return change(event=Event.BLOCKED, note="blocked by Sinch")
    if state in RINGABLE:
        return change(event=Event.LOOKED_UP)
    note = "its eligibility is being checked"
    if state is not GlobalProcessState.ELIGIBLE_CHECK_PENDING:
        note = f"its state is {state}, which cannot be rung"
    return change(event=Event.LOOKED_UP, due=recheck, note=note)


def not_found(entry: Entry, at: float) -> Change:
    """Return what a 404 to a look-up means."""
    note = "it was added, but Sinch does not know it" if entry.added else UNKNOWN_TO_SINCH
    pending = ChallengeState.PENDING
    return Change(
        number=entry.number, event=Event.NOT_CALLABLE, at=at, from_state=pending, note=note
    )


def after_call(  # noqa: PLR0911 - a table
    entry: Entry, result: QualifiedNumber | SinchError, at: float, *, window: float, again: float
) -> Change:
    """Return what came of a call; *again* is when to try one that surely was not made."""
    change = partial(Change, number=entry.number, at=at, attempt=entry.attempt)
    if isinstance(result, QualifiedNumber):
        state = result.global_process_state
        change = partial(change, remote=state)
        if state in DONE_BEFORE:
            return change(event=Event.VERIFIED)
        if state is GlobalProcessState.VERIFICATION_BLOCKED:
            return change(event=Event.BLOCKED, note="blocked when called")
        if state is GlobalProcessState.NOT_ELIGIBLE:
            return change(event=Event.NOT_CALLABLE, note="not eligible")
        return change(event=Event.CALLED, window=window)
    if result.outcome is Outcome.UNKNOWN:
        return change(event=Event.CALL_UNKNOWN, window=window, note=f"{LOST} ({result})")
    if result.outcome is Outcome.NOT_SENT or isinstance(result, RateLimitError) or is_fatal(result):
        return change(event=Event.CALL_NOT_SENT, due=again, note=str(result))
    note = UNKNOWN_TO_SINCH if isinstance(result, NotFoundError) else f"refused: {result}"
    return change(event=Event.NOT_CALLABLE, note=note)


def after_verify(
    entry: Entry, result: QualifiedNumber | SinchError, at: float, *, max_codes: int, again: float
) -> Change:
    """Return what came of a code."""
    change = partial(Change, number=entry.number, at=at, attempt=entry.attempt)
    if isinstance(result, QualifiedNumber):
        if verdict := _verdict(change, result):
            return verdict
        change = partial(change, remote=result.global_process_state)
        if result.global_process_state is GlobalProcessState.VERIFICATION_FAILED:
            return change(event=Event.CODE_REJECTED, max_codes=max_codes, note="the code was wrong")
        note = "the answer does not say whether the code was right"
        return change(event=Event.VERIFY_UNKNOWN, due=again, note=note)
    if result.outcome is Outcome.UNKNOWN:
        return change(event=Event.VERIFY_UNKNOWN, note=f"the answer was lost ({result})")
    if result.outcome is Outcome.NOT_SENT or isinstance(result, RateLimitError) or is_fatal(result):
        return change(event=Event.CODE_NOT_SENT, due=again, note=str(result))
    return change(
        event=Event.CODE_REJECTED,
        max_codes=max_codes,
        note=f"the code was refused: {result}",
    )


def after_look(
    entry: Entry, result: QualifiedNumber | SinchError, at: float, *, max_codes: int, again: float
) -> Change:
    """Return what a look at a number says whose code's answer was lost."""
    change = partial(Change, number=entry.number, at=at, attempt=entry.attempt)
    if isinstance(result, NotFoundError):
        return change(event=Event.REQUEST_CODE, note=UNKNOWN_TO_SINCH)
    if not isinstance(result, QualifiedNumber):
        return change(event=Event.VERIFY_UNKNOWN, due=again, note=f"cannot be looked up: {result}")
    if verdict := _verdict(change, result):
        return verdict
    failed = GlobalProcessState.VERIFICATION_FAILED
    change = partial(change, remote=result.global_process_state)
    if result.global_process_state is failed and entry.remote is not failed:
        return change(event=Event.CODE_REJECTED, max_codes=max_codes, note="the code was wrong")
    if entry.tries < 2:
        return change(event=Event.RETRY_CODE, note="its code is handed in once more")
    return change(event=Event.REQUEST_CODE, note=ASK_AGAIN)


def _verdict(change: Callable[..., Change], answer: QualifiedNumber) -> Change | None:
    """Return the change to a final state, if *answer* is in one."""
    state = answer.global_process_state
    change = partial(change, remote=state)
    if state in DONE_BEFORE:
        return change(event=Event.VERIFIED)
    if state is GlobalProcessState.VERIFICATION_BLOCKED:
        return change(event=Event.BLOCKED, note="Sinch takes no more codes for it")
    return None
