"""What a response, or its absence, means for a number: pure functions, one for each request.

Each takes the entry that the request was about and the response or error, and returns the change
to commit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeGuard

from sinch_qn.bulk.states import ChallengeState, Change, Entry, Event
from sinch_qn.errors import (
    AuthenticationError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    RateLimitError,
    SinchError,
)
from sinch_qn.lifecycle import CALLABLE, VERIFIED_OR_LATER
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.models import QualifiedNumber

UNKNOWN_TO_SINCH = "Sinch does not know this number: add it to the project first"
ASK_AGAIN = "it is not known whether its code was right: ask for the code again, or recall"
_NOTE_GONE = "Sinch no longer knows this number"
NOTE_CALL_UNKNOWN = (
    "the response to the call was lost: ask whether the phone rang; a code settles it"
)


def is_fatal(error: SinchError) -> bool:
    """Return whether *error* would meet every number: the run stops at the first."""
    return isinstance(error, AuthenticationError | PermissionDeniedError)


def is_refusal(error: SinchError) -> bool:
    """Return whether Sinch refused this one request, for good."""
    rejected = error.outcome is Outcome.REJECTED
    return rejected and not isinstance(error, RateLimitError) and not is_fatal(error)


def is_unanswered(result: object) -> TypeGuard[SinchError]:
    """Return whether *result* is an error without a response; a refusal is a response."""
    return isinstance(result, SinchError) and result.outcome is not Outcome.REJECTED


def why_not_hosted(number: QualifiedNumber) -> str | None:
    """Return Sinch's reason for a failed hosting; None if there is none."""
    hosted = number.hosted_number
    failed = number.global_process_state is SinchState.HOSTING_FAILED
    return f"hosting failed: {hosted.error[:200]}" if failed and hosted and hosted.error else None


def looked_up(number: str, response: QualifiedNumber, at: float, *, recheck: float) -> Change:
    """Return the result of an eligibility look-up; one that must wait is due at *recheck*."""
    state = response.global_process_state
    change = partial(
        Change,
        number=number,
        at=at,
        from_state=ChallengeState.PENDING,
        remote=state,
        region=response.region_code,
    )
    if state in VERIFIED_OR_LATER:
        return change(event=Event.ALREADY_VERIFIED, note=why_not_hosted(response))
    if state is SinchState.NOT_ELIGIBLE:
        return change(event=Event.NOT_CALLABLE, note="not eligible")
    if state is SinchState.VERIFICATION_BLOCKED:
        return change(event=Event.BLOCKED, note="blocked by Sinch")
    if state in CALLABLE:
        return change(event=Event.LOOKED_UP)
    note = "its eligibility is being checked"
    if state is not SinchState.ELIGIBLE_CHECK_PENDING:
        note = f"its state is {state}, which cannot be called"
    return change(event=Event.LOOKED_UP, due=recheck, note=note)


def without_outcome(entry: Entry, at: float, *, window: float) -> Change:
    """Return the outcome of an intent whose process ended before it committed one."""
    change = partial(Change, number=entry.number, at=at, intent=entry.intent)
    if entry.state is ChallengeState.CALLING:
        return change(event=Event.CALL_UNKNOWN, window=window, note=NOTE_CALL_UNKNOWN)
    return change(event=Event.VERIFY_UNKNOWN)


def not_found(entry: Entry, at: float) -> Change:
    """Return the result of an eligibility look-up that ended in a 404."""
    note = "it was added, but Sinch does not know it" if entry.added else UNKNOWN_TO_SINCH
    pending = ChallengeState.PENDING
    return Change(
        number=entry.number, event=Event.NOT_CALLABLE, at=at, from_state=pending, note=note
    )


def after_call(  # noqa: PLR0911 - a table
    intent: Entry,
    result: QualifiedNumber | SinchError,
    at: float,
    *,
    window: float,
    retry_at: float,
) -> Change:
    """Return the outcome of a phone call; one that was not made is due again at *retry_at*."""
    change = partial(Change, number=intent.number, at=at, intent=intent.intent)
    if isinstance(result, QualifiedNumber):
        state = result.global_process_state
        change = partial(change, remote=state)
        if state in VERIFIED_OR_LATER:
            return change(event=Event.VERIFIED)
        if state is SinchState.VERIFICATION_BLOCKED:
            return change(event=Event.BLOCKED, note="blocked when called")
        if state is SinchState.NOT_ELIGIBLE:
            return change(event=Event.NOT_CALLABLE, note="not eligible")
        return change(event=Event.CALLED, window=window)
    if result.outcome is Outcome.UNKNOWN:
        note = f"{NOTE_CALL_UNKNOWN} ({result.reason})"
        return change(event=Event.CALL_UNKNOWN, window=window, note=note)
    if not is_refusal(result):
        return change(event=Event.CALL_NOT_SENT, due=retry_at, note=result.reason)
    note = UNKNOWN_TO_SINCH if isinstance(result, NotFoundError) else f"refused: {result.reason}"
    return change(event=Event.NOT_CALLABLE, note=note)


def refusal_taken_back(entry: Entry, event: Event, error: SinchError, at: float) -> Change | None:
    """Return the change that takes a refusal back if it is not about the number.

    *event* is the one of a request that was not sent. None for a 404, which a look-up has
    confirmed, and for what is no refusal. The number is due after those that were not tried yet.
    """
    if not is_refusal(error) or isinstance(error, NotFoundError):
        return None
    note = f"refused as others were: {error.reason}"
    return Change(number=entry.number, event=event, at=at, intent=entry.intent, due=at, note=note)


def after_verify(  # noqa: PLR0911 - a table
    intent: Entry,
    result: QualifiedNumber | SinchError,
    at: float,
    *,
    max_codes: int,
    retry_at: float,
) -> Change:
    """Return the outcome of a code; one that was not sent is due again at *retry_at*."""
    change = partial(Change, number=intent.number, at=at, intent=intent.intent)
    if isinstance(result, QualifiedNumber):
        if final := _final_change(change, result):
            return final
        change = partial(change, remote=result.global_process_state)
        if result.global_process_state is SinchState.VERIFICATION_FAILED:
            return change(event=Event.CODE_REJECTED, max_codes=max_codes, note="the code was wrong")
        note = "the response does not say whether the code was right"
        return change(event=Event.VERIFY_UNKNOWN, due=retry_at, note=note)
    if result.outcome is Outcome.UNKNOWN:
        return change(event=Event.VERIFY_UNKNOWN, note=f"the response was lost ({result.reason})")
    if not is_refusal(result):
        return change(event=Event.CODE_NOT_SENT, due=retry_at, note=result.reason)
    note = f"the code was refused: {result.reason}"
    if intent.tries > 1:  # the lost response may have verified it, which look-ups show later
        return change(event=Event.VERIFY_UNKNOWN, due=retry_at, note=note)
    return change(event=Event.CODE_REJECTED, max_codes=max_codes, note=note)


def after_resolve(
    entry: Entry,
    result: QualifiedNumber | SinchError,
    at: float,
    *,
    max_codes: int,
    retry_at: float,
) -> Change:
    """Return what a look-up says of a code whose response was lost."""
    change = partial(Change, number=entry.number, at=at, intent=entry.intent)
    if isinstance(result, NotFoundError):
        return change(event=Event.REQUEST_CODE, note=UNKNOWN_TO_SINCH)
    if not isinstance(result, QualifiedNumber):
        note = f"cannot be looked up: {result.reason}"
        return change(event=Event.VERIFY_UNKNOWN, due=retry_at, note=note)
    if final := _final_change(change, result):
        return final
    failed = SinchState.VERIFICATION_FAILED
    change = partial(change, remote=result.global_process_state)
    if result.global_process_state is failed and entry.remote is not failed:
        return change(event=Event.CODE_REJECTED, max_codes=max_codes, note="the code was wrong")
    if entry.tries < 2:
        return change(event=Event.RETRY_CODE, note="its code is sent once more")
    return change(event=Event.REQUEST_CODE, note=ASK_AGAIN)


def hosting_changed(entry: Entry, number: QualifiedNumber, at: float) -> Change | None:
    """Return the change to the state that an ordered number is now in; None if it is the same."""
    state = number.global_process_state or SinchState.UNSPECIFIED
    if entry.remote == state:
        return None
    gone = _NOTE_GONE if state is SinchState.UNSPECIFIED else None
    return Change(
        number=entry.number,
        event=Event.SINCH_STATE_CHANGED,
        at=at,
        remote=state,
        note=gone or why_not_hosted(number) or entry.note,
    )


def _final_change(change: Callable[..., Change], number: QualifiedNumber) -> Change | None:
    """Return the change to a final state, if *number* is in one."""
    state = number.global_process_state
    change = partial(change, remote=state)
    if state in VERIFIED_OR_LATER:
        return change(event=Event.VERIFIED)
    if state is SinchState.VERIFICATION_BLOCKED:
        return change(event=Event.BLOCKED, note="Sinch accepts no more codes for it")
    return None


def is_final(number: QualifiedNumber) -> bool:
    """Return whether no code can change the state of *number* any more."""
    state = number.global_process_state
    return state in VERIFIED_OR_LATER or state is SinchState.VERIFICATION_BLOCKED
