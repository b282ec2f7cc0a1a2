"""Waiting until a number reaches a state: jittered polling under a deadline.

There is no event for qualification, so it must be polled. These functions take the client's
methods as callables and know nothing else of it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from sinch_qn.errors import (
    DeadlineExceededError,
    Outcome,
    RateLimitError,
    ServerError,
    SinchError,
    TokenError,
    TransportError,
    UnexpectedStateError,
)
from sinch_qn.models import GlobalProcessState, QualifiedNumber

_S = GlobalProcessState

_AFTER_VERIFIED = {_S.HOSTING_IN_PROGRESS, _S.HOSTING_DONE, _S.HOSTING_FAILED}
_AFTER_ELIGIBLE = {
    _S.VERIFICATION_PENDING,
    _S.VERIFICATION_FAILED,
    _S.VERIFICATION_BLOCKED,
    _S.VERIFIED,
    *_AFTER_VERIFIED,
}

REACHABLE: dict[GlobalProcessState, frozenset[GlobalProcessState]] = {
    _S.ELIGIBLE_CHECK_PENDING: frozenset({_S.ELIGIBLE, _S.NOT_ELIGIBLE, *_AFTER_ELIGIBLE}),
    _S.ELIGIBLE: frozenset(_AFTER_ELIGIBLE),
    _S.NOT_ELIGIBLE: frozenset(),
    _S.VERIFICATION_PENDING: frozenset(_AFTER_ELIGIBLE),
    _S.VERIFICATION_FAILED: frozenset(_AFTER_ELIGIBLE),
    _S.VERIFICATION_BLOCKED: frozenset(),
    _S.VERIFIED: frozenset(_AFTER_VERIFIED),
    _S.HOSTING_IN_PROGRESS: frozenset({_S.HOSTING_DONE, _S.HOSTING_FAILED}),
    _S.HOSTING_DONE: frozenset(),
    _S.HOSTING_FAILED: frozenset(),
}
"""The states that a number can still come to from each state. (A number's life, api reference.)"""

_PASSING = (TransportError, ServerError, RateLimitError, TokenError, DeadlineExceededError)
"""Errors that a wait of hours outlives."""


async def wait_for_state(
    get_number: Callable[[str], Awaitable[QualifiedNumber]],
    phone_number: str,
    states: frozenset[GlobalProcessState],
    *,
    timeout: float,
    first_delay: float = 1.0,
    max_delay: float = 30.0,
    jitter: Callable[[], float] = random.random,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> QualifiedNumber:
    """Poll *phone_number* until it is in one of *states*; waits grow, with jitter, to *max_delay*.

    Raises `UnexpectedStateError` once none of *states* can be reached any more, and
    `DeadlineExceededError`, chained to the last failed poll if there was one, after *timeout*
    seconds. Passing faults do not end the wait; a 404 and refused credentials do.
    """
    seen = "nothing yet"
    trouble: SinchError | None = None
    delay = first_delay
    try:
        async with asyncio.timeout(timeout):
            while True:
                try:
                    number = await get_number(phone_number)
                except _PASSING as error:
                    trouble = error
                else:
                    trouble = None
                    state = number.global_process_state
                    if state in states:
                        return number
                    if state is not None and not states & REACHABLE.get(state, states):
                        raise UnexpectedStateError(
                            f"the number is {state.name}: it can no longer become "
                            + " or ".join(sorted(wanted.name for wanted in states)),
                            number=number,
                        )
                    seen = str(state)
                await sleep(delay * (0.5 + 0.5 * jitter()))
                delay = min(max_delay, delay * 1.5)
    except TimeoutError:
        wanted = " or ".join(sorted(state.name for state in states))
        raise DeadlineExceededError(
            f"not {wanted} within {timeout:g} s; last seen: {seen}", outcome=Outcome.NOT_SENT
        ) from trouble
