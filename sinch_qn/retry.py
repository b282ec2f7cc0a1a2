"""When a failed request is sent again. Whether it may be is not a policy's to decide.

A call that could ring a phone twice is never repeated, whatever policy is set: `is_retryable`
holds that line, and only failures that pass it are shown to the policy.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import attrs

from sinch_qn._operations import Operation
from sinch_qn.errors import (
    AuthenticationError,
    InvalidRequestError,
    InvalidResponseError,
    Outcome,
    RateLimitError,
    SinchError,
    StatusError,
)


@attrs.frozen
class Failure:
    """One failed attempt, as a retry rule sees it."""

    operation: Operation[Any]
    error: SinchError
    attempt: int
    """1 for the first."""
    remaining: float
    """Seconds until the deadline of the whole call."""


RetryRule = Callable[[Failure], float | None]
"""A failure in; the seconds to wait before the next attempt out, or None to give up."""


def is_retryable(operation: Operation[Any], error: SinchError) -> bool:
    """Say whether *operation* may be sent again after *error* without doing it twice."""
    if isinstance(error, InvalidRequestError | AuthenticationError):
        return False  # the same again would fail the same
    if error.outcome is Outcome.NOT_SENT or isinstance(error, RateLimitError):
        return True
    return (
        operation.idempotent
        and error.outcome is Outcome.UNKNOWN
        and not isinstance(error, InvalidResponseError)
    )


def honour_retry_after(failure: Failure) -> float | None:
    """Wait as long as the server asks in `Retry-After`, if it asks."""
    return failure.error.retry_after if isinstance(failure.error, StatusError) else None


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """Try up to *max_attempts* times, as long as the server asks, else with full jitter.

    `RetryPolicy(max_attempts=1)` tries once. A function `Failure -> float | None` of your own may
    stand in its place.
    """

    max_attempts: int = attrs.field(default=4, validator=attrs.validators.ge(1))
    base_delay: float = attrs.field(default=0.5, validator=attrs.validators.ge(0))
    """Seconds; the upper bound of the first wait, doubled for each one after."""
    max_delay: float = attrs.field(default=20.0, validator=attrs.validators.ge(0))
    """Seconds; no wait of our own choosing is longer."""
    random: Callable[[], float] = attrs.field(default=random.random, repr=False)
    """A number from 0 to 1; the jitter."""

    def __call__(self, failure: Failure) -> float | None:
        """Return the seconds to wait, or None to give up."""
        if failure.attempt >= self.max_attempts:
            return None
        asked = honour_retry_after(failure)
        return asked if asked is not None else self.back_off(failure)

    def back_off(self, failure: Failure) -> float:
        """Return a wait between 0 and a bound that doubles with each attempt."""
        bound = min(self.max_delay, self.base_delay * 2.0 ** min(failure.attempt - 1, 32))
        return self.random() * bound


ONE_SHOT = RetryPolicy(max_attempts=1)
"""Each request is sent once; only a refused token is still replaced."""


@attrs.define
class RetryQuota:
    """A client-wide allowance for retries, so that an outage is not multiplied by them.

    Each retry costs *cost*; a call that succeeds gives back what it spent, or 1 if it needed no
    retry. When the allowance is used up calls fail at their first error. (botocore's scheme.)
    """

    capacity: float = 500.0
    cost: float = 5.0
    _left: float = attrs.field(init=False)

    @_left.default
    def _full(self) -> float:
        return self.capacity

    def spend(self) -> bool:
        """Take one retry's cost; False if there is not enough left."""
        if self._left < self.cost:
            return False
        self._left -= self.cost
        return True

    def refund(self, retries: int) -> None:
        """Return what a call spent that has now succeeded."""
        self._left = min(self.capacity, self._left + (self.cost * retries or 1.0))
