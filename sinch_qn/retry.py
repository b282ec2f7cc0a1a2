"""When to retry a failed request. Whether a retry is safe is not up to the policy.

A request that could call a phone twice is never retried, whatever the policy: only failures that
are `is_retryable` reach the policy.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import attrs

from sinch_qn._operations import Operation
from sinch_qn.errors import (
    AuthenticationError,
    ClosedError,
    InvalidRequestError,
    InvalidResponseError,
    Outcome,
    RateLimitError,
    SinchError,
)


@attrs.frozen
class Failure:
    """One failed attempt, the argument of a retry rule."""

    operation: Operation[Any]
    error: SinchError
    attempt: int
    """1 for the first attempt."""
    remaining: float
    """Seconds until the deadline of the call."""


RetryRule = Callable[[Failure], float | None]
"""From a failure to the seconds to wait before the next attempt, or None to give up."""


def is_retryable(operation: Operation[Any], error: SinchError) -> bool:
    """Whether a retry of *operation* after *error* cannot have its effect twice."""
    if isinstance(error, InvalidRequestError | AuthenticationError | ClosedError):
        return False  # a retry would fail again
    if error.outcome is Outcome.NOT_SENT or isinstance(error, RateLimitError):
        return True
    return (
        operation.idempotent
        and error.outcome is Outcome.UNKNOWN
        and not isinstance(error, InvalidResponseError)
    )


def honour_retry_after(failure: Failure) -> float | None:
    """Return the `Retry-After` of the response, or None.

    0, or a date that has passed, is no delay: `RetryPolicy` backs off then.
    """
    return failure.error.retry_after


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """Up to *max_attempts* attempts, with `Retry-After` or exponential backoff and full jitter.

    `RetryPolicy(max_attempts=1)` is one attempt. A function `Failure -> float | None` can be used
    instead.
    """

    max_attempts: int = attrs.field(default=4, validator=attrs.validators.ge(1))
    base_delay: float = attrs.field(default=0.5, validator=attrs.validators.ge(0))
    """Seconds; the upper bound of the first delay, doubled with each attempt."""
    max_delay: float = attrs.field(default=20.0, validator=attrs.validators.ge(0))
    """Seconds; the longest delay without `Retry-After`."""
    random: Callable[[], float] = attrs.field(default=random.random, repr=False)
    """The jitter: returns a number from 0 to 1."""

    def __call__(self, failure: Failure) -> float | None:
        """Return the seconds to wait, or None to give up."""
        if failure.attempt >= self.max_attempts:
            return None
        return honour_retry_after(failure) or self.back_off(failure)

    def back_off(self, failure: Failure) -> float:
        """Return a delay between 0 and a bound that doubles with each attempt."""
        bound = min(self.max_delay, self.base_delay * 2.0 ** min(failure.attempt - 1, 32))
        return self.random() * bound


ONE_SHOT = RetryPolicy(max_attempts=1)
"""One attempt; a second one only with a fresh token, after a 401."""


@attrs.define
class RetryQuota:
    """A client-wide budget for retries, so that they do not multiply the load in an outage.

    Each retry costs *cost*; a call that succeeds refunds its retries, or 1 if it had none. With
    an empty budget calls fail at their first error. (As in botocore.)
    """

    capacity: float = 500.0
    cost: float = 5.0
    _left: float = attrs.field(init=False)

    @_left.default
    def _full(self) -> float:
        return self.capacity

    def spend(self) -> bool:
        """Take the cost of one retry; False if the budget is too small."""
        if self._left < self.cost:
            return False
        self._left -= self.cost
        return True

    def refund(self, retries: int) -> None:
        """Refund the retries of a call that has succeeded."""
        self._left = min(self.capacity, self._left + (self.cost * retries or 1.0))
