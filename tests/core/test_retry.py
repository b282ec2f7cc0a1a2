"""Retry rules: for which failures, with which delays, and how many per client."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from sinch_qn import errors
from sinch_qn._operations import LIST_NUMBERS, Operation
from sinch_qn.errors import Outcome, SinchError
from sinch_qn.retry import Failure, RetryPolicy, RetryQuota, honour_retry_after, is_retryable
from tests.support.matrices import EACH_KIND

OPERATION = LIST_NUMBERS

ERRORS: dict[str, tuple[SinchError, bool, bool]] = {
    # name: error, is an idempotent operation retryable, is any other
    "invalid request": (errors.InvalidRequestError(), False, False),
    "token": (errors.TokenError(), True, True),
    "connect": (errors.ConnectError(), True, True),
    "transport": (errors.TransportError(), True, False),
    "credentials": (
        errors.AuthenticationError(status_code=401, outcome=Outcome.NOT_SENT),
        False,
        False,
    ),
    "401": (errors.AuthenticationError(status_code=401), False, False),
    "400": (errors.BadRequestError(status_code=400), False, False),
    "404": (errors.NotFoundError(status_code=404), False, False),
    "408": (errors.StatusError(status_code=408, outcome=Outcome.UNKNOWN), True, False),
    "429": (errors.RateLimitError(status_code=429), True, True),
    "500": (errors.ServerError(status_code=500), True, False),
    "unreadable": (errors.InvalidResponseError(), False, False),
}


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("operation", EACH_KIND, ids=lambda operation: str(operation.id))
def test_retryable(operation: Operation[object], kind: str) -> None:
    """Whether a retry is safe depends on idempotence and the failure's outcome only."""
    error, if_idempotent, if_not = ERRORS[kind]
    assert is_retryable(operation, error) is (if_idempotent if operation.idempotent else if_not)


def failure(attempt: int = 1, retry_after: float | None = None) -> Failure:
    """Return a failure of an attempt."""
    error = errors.ServerError(status_code=503, retry_after=retry_after)
    return Failure(OPERATION, error, attempt, 60.0)


def test_retry_after() -> None:
    """The delay is exactly `Retry-After`, without jitter; 0 backs off all the same."""
    assert honour_retry_after(failure(retry_after=7.0)) == 7.0
    assert honour_retry_after(failure()) is None
    assert honour_retry_after(Failure(OPERATION, errors.TransportError(), 1, 60.0)) is None
    policy = RetryPolicy(random=lambda: 0.5, max_delay=1.0)
    assert policy(failure(retry_after=7.0)) == 7.0
    assert policy(failure(retry_after=0.0)) == policy(failure()) == 0.25


def test_attempts_are_counted() -> None:
    """A policy gives up after its last attempt, with or without Retry-After."""
    policy = RetryPolicy(max_attempts=3)
    assert policy(failure(1)) is not None
    assert policy(failure(2)) is not None
    assert policy(failure(3)) is None
    assert policy(failure(3, retry_after=1.0)) is None
    assert RetryPolicy(max_attempts=1)(failure(1)) is None


@pytest.mark.parametrize("attempt", [1, 2, 3, 6, 7, 50, 10_000])
def test_full_jitter(attempt: int) -> None:
    """Delays fill the whole range from 0 to a bound that doubles."""
    bound = min(20.0, 0.5 * 2 ** min(attempt - 1, 40))
    chance = random.Random(attempt)
    policy = RetryPolicy(max_attempts=10**6, random=chance.random)
    waits = sorted(policy.back_off(failure(attempt)) for _ in range(1000))
    assert 0 <= waits[0] < 0.02 * bound
    assert 0.98 * bound < waits[-1] <= bound
    assert max(b - a for a, b in pairwise(waits)) < 0.05 * bound


@pytest.mark.parametrize(
    "options", [{"max_attempts": 0}, {"base_delay": -1.0}, {"max_delay": -1.0}], ids=str
)
def test_impossible_policies(options: dict[str, int]) -> None:
    """An invalid policy is rejected on creation."""
    with pytest.raises(ValueError, match=next(iter(options))):
        RetryPolicy(**options)  # type: ignore[arg-type]


def test_quota() -> None:
    """Each retry costs 5; success refunds its cost, or 1, up to the capacity."""
    quota = RetryQuota(capacity=10.0)
    assert quota.spend()
    assert quota.spend()
    assert not quota.spend()
    for _ in range(4):
        quota.refund(0)
    assert not quota.spend()
    quota.refund(0)
    assert quota.spend()
    quota.refund(2)
    quota.refund(2)
    assert [quota.spend() for _ in range(3)] == [True, True, False]
