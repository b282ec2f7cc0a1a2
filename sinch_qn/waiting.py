"""Polling with backoff and jitter: for the states of numbers and orders, and for an outage's end.

There is no event for qualification, so it must be polled: one number by `wait_for_state`, many by
`watch`. These functions need only the client's methods that they get as callables.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import aclosing, suppress
from typing import TypeVar

from sinch_qn._error_context import naming
from sinch_qn._operations import GET_NUMBER, GET_ORDER
from sinch_qn.errors import (
    AuthenticationError,
    ClosedError,
    DeadlineExceededError,
    NotFoundError,
    OrderRejectedError,
    Outcome,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    SinchError,
    StatusError,
    TokenError,
    TransportError,
    UnexpectedStateError,
)
from sinch_qn.lifecycle import IN_ORDER, REACHABLE
from sinch_qn.models import GlobalProcessState, HostingOrder, HostingOrderState, QualifiedNumber
from sinch_qn.retry import ONE_SHOT

T = TypeVar("T")

_TRANSIENT = (TransportError, ServerError, RateLimitError, TokenError, DeadlineExceededError)
"""Errors that do not end a wait, beside 408 and 499."""

_UNKNOWN_AT_FIRST = 5.0
"""Seconds for which a 404 does not end a wait: a number that was just added may not be found."""

_FATAL = (AuthenticationError, PermissionDeniedError, NotFoundError)
"""Errors of the credentials or the project; an outage has others."""

_LISTED_PER_GET = 100
"""Listed numbers that cost about as much as one GET, as a page of them is one request."""

_GETS = 20
"""Concurrent GETs."""


def backoff(
    first: float = 1.0,
    maximum: float = 60.0,
    *,
    factor: float = 2.0,
    jitter: Callable[[], float] = random.random,
) -> Iterator[float]:
    """Yield delays in seconds from *first* to *maximum*, each cut by up to half by *jitter*."""
    delay = first
    while True:
        yield delay * (0.5 + 0.5 * jitter())
        delay = min(maximum, factor * delay)


async def until_reachable(
    list_number_pages: Callable[..., AsyncGenerator[object, None]],
    *,
    delays: Iterator[float],
    stop: asyncio.Event | None = None,
    on_failure: Callable[[SinchError], object] = lambda _: None,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> bool:
    """List one number until that succeeds, with *delays* in between; False if *stop* was set.

    *on_failure* is called with the error of each failed probe. Raises `AuthenticationError`,
    `PermissionDeniedError` and `NotFoundError` (the project).
    """
    while stop is None or not stop.is_set():
        probe = list_number_pages(GlobalProcessState.VERIFIED, page_size=1, retry=ONE_SHOT)
        try:
            async with aclosing(probe) as pages:
                await anext(pages)
        except _FATAL:
            raise
        except SinchError as error:
            on_failure(error)
        else:
            return True
        delay = next(delays)
        if stop is None:
            await sleep(delay)
            continue
        with suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await stop.wait()
    return False


async def wait_for_state(
    get_number: Callable[[str], Awaitable[QualifiedNumber]],
    phone_number: str,
    states: frozenset[GlobalProcessState],
    *,
    timeout: float,
    unless: Collection[GlobalProcessState] | None = None,
    first_delay: float = 1.0,
    max_delay: float = 30.0,
    jitter: Callable[[], float] = random.random,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> QualifiedNumber:
    """Poll *phone_number* until it is in one of *states*; delays grow to *max_delay*.

    Raises `UnexpectedStateError` once the number moves during the wait into a state from which
    none of *states* can follow (a state that it is in already may be being mended), or as soon as
    it is in one of *unless* if that is given; and `DeadlineExceededError`, chained to the last poll
    if that failed, after *timeout* seconds. Transient errors do not end the wait; a 404 that lasts
    for five seconds and refused credentials do.
    """
    first: GlobalProcessState | None = None

    def is_there(number: QualifiedNumber) -> bool:
        nonlocal first
        state = number.global_process_state
        first = first or state
        if state in states:
            return True
        if state is not None and _is_hopeless(state, states, first, unless):
            raise UnexpectedStateError(
                f"the number is {state.name}, not {_any_of(states)}", number=number
            )
        return False

    with naming(GET_NUMBER.id, phone_number):
        return await poll(
            lambda: get_number(phone_number),
            is_there,
            goal=_any_of(states),
            state_of=lambda number: number.global_process_state,
            timeout=timeout,
            delays=backoff(first_delay, max_delay, factor=1.5, jitter=jitter),
            sleep=sleep,
        )


async def wait_for_order(
    get_order: Callable[[], Awaitable[HostingOrder]],
    *,
    timeout: float,
    first_delay: float = 1.0,
    max_delay: float = 60.0,
    jitter: Callable[[], float] = random.random,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> HostingOrder:
    """Poll a hosting order until it is COMPLETED; delays grow to *max_delay*.

    Raises `OrderRejectedError` once it is REJECTED, and otherwise as `wait_for_state` does.
    """

    def is_completed(order: HostingOrder) -> bool:
        if order.state is HostingOrderState.REJECTED:
            raise OrderRejectedError(
                f"hosting order {order.hosting_order_id} is REJECTED: its numbers are not hosted",
                order=order,
            )
        return order.state is HostingOrderState.COMPLETED

    with naming(GET_ORDER.id):
        return await poll(
            get_order,
            is_completed,
            goal="COMPLETED",
            state_of=lambda order: order.state,
            timeout=timeout,
            delays=backoff(first_delay, max_delay, factor=1.5, jitter=jitter),
            sleep=sleep,
        )


async def poll(
    get: Callable[[], Awaitable[T]],
    is_there: Callable[[T], bool],
    *,
    goal: str,
    state_of: Callable[[T], object],
    timeout: float,
    of: float | None = None,
    delays: Iterator[float],
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> T:
    """Call *get* until *is_there*, which may raise, is true of its result, and return that.

    Raises `DeadlineExceededError`, which names the *goal* and the last `state_of`, after *timeout*
    seconds, or *of* those if this is the rest of a longer wait; it is chained to the last poll if
    that failed. Transient errors do not end the wait; a 404 that lasts for five seconds and refused
    credentials do.
    """
    started = asyncio.get_running_loop().time()
    last_state: object = "nothing yet"
    last_error: SinchError | None = None
    known = False
    try:
        async with asyncio.timeout(timeout):
            while True:
                try:
                    result = await get()
                except SinchError as error:
                    since = asyncio.get_running_loop().time() - started
                    if not _may_pass(error, known=known, since=since):
                        raise
                    last_error = error
                else:
                    last_error, known = None, True
                    if is_there(result):
                        return result
                    last_state = state_of(result)
                await sleep(next(delays))
    except TimeoutError:
        raise DeadlineExceededError(
            f"not {goal} within {of or timeout:g} s; last seen: {last_state}",
            outcome=Outcome.NOT_SENT,
        ) from last_error


def _is_transient(error: SinchError) -> bool:
    """Whether the next poll may succeed."""
    if isinstance(error, ClosedError):
        return False
    # 408 and 499: somebody on the way gave up on the request.
    gave_up = isinstance(error, StatusError) and error.outcome is Outcome.UNKNOWN
    return gave_up or isinstance(error, _TRANSIENT)


def _may_pass(error: SinchError, *, known: bool, since: float) -> bool:
    """Whether a wait goes on after *error*; a number may take some seconds to be found."""
    if isinstance(error, NotFoundError):
        return not known and since < _UNKNOWN_AT_FIRST
    return _is_transient(error)


def _is_hopeless(
    state: GlobalProcessState,
    wanted: frozenset[GlobalProcessState],
    first: GlobalProcessState | None,
    unless: Collection[GlobalProcessState] | None,
) -> bool:
    """Whether *state* ends a wait for *wanted* that found the number in *first*."""
    if unless is not None:
        return state in unless
    return state != first and not _can_reach(state, wanted)


async def watch(
    list_numbers: Callable[..., AsyncGenerator[QualifiedNumber, None]],
    get_number: Callable[[str], Awaitable[QualifiedNumber]],
    phone_numbers: Iterable[str] | Mapping[str, GlobalProcessState | None],
    states: Collection[GlobalProcessState],
    *,
    timeout: float,
    every_change: bool = False,
    first_delay: float = 1.0,
    max_delay: float = 30.0,
    jitter: Callable[[], float] = random.random,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> AsyncGenerator[list[QualifiedNumber], None]:
    """Poll many numbers; yield, poll by poll, those in one of *states* or unable to reach one.

        async with aclosing(watch(client.list_numbers, client.get_number, …)) as polls:
            async for numbers in polls: …

    A poll lists the states that the numbers can be in, as long as that takes fewer requests than a
    GET each, and gets those that were not listed: absence from a listing proves nothing. The watch
    ends once every number was yielded. With *every_change* a number is also yielded after each
    other change of its state. *phone_numbers* may map each to its last known state. A number that
    Sinch no longer knows is yielded without a state. Memory holds the numbers still watched.

    Raises `DeadlineExceededError`, chained to the last poll if that failed, after *timeout*
    seconds. Transient errors do not end the watch; refused credentials do.
    """
    known = phone_numbers if isinstance(phone_numbers, Mapping) else dict.fromkeys(phone_numbers)
    watched = dict(known)
    wanted = frozenset(states)
    deadline = asyncio.get_running_loop().time() + timeout
    last_error: SinchError | None = None
    delays = backoff(first_delay, max_delay, factor=1.5, jitter=jitter)
    expired, delay = False, 0.0
    while watched:
        if expired:
            with naming(GET_NUMBER.id):
                raise DeadlineExceededError(
                    f"{len(watched)} of {len(known)} numbers are not {_any_of(wanted)} "
                    f"within {timeout:g} s",
                    outcome=Outcome.NOT_SENT,
                ) from last_error
        seen: dict[str, QualifiedNumber | None] = {}
        try:
            async with asyncio.timeout_at(deadline):
                if delay:
                    await sleep(delay)
                await _poll(list_numbers, get_number, watched, seen)
                last_error = None
        except TimeoutError:
            expired = True
        except SinchError as error:
            if not _is_transient(error):
                raise
            last_error = error
        if arrived := _arrived(watched, seen, wanted, every_change=every_change):
            yield arrived
        delay = next(delays)


async def _poll(
    list_numbers: Callable[..., AsyncGenerator[QualifiedNumber, None]],
    get_number: Callable[[str], Awaitable[QualifiedNumber]],
    watched: Mapping[str, GlobalProcessState | None],
    seen: dict[str, QualifiedNumber | None],
) -> None:
    """Poll once and fill *seen*; None stands for a number that Sinch does not know."""
    states = _possible_states(set(watched.values()))
    budget = _LISTED_PER_GET * len(watched)
    if len(watched) > len(states):
        async with aclosing(list_numbers(*states)) as listing:
            async for number in listing:
                if number.phone_number is not None and number.phone_number in watched:
                    seen[number.phone_number] = number
                budget -= 1
                if not budget or len(seen) == len(watched):
                    break
    unseen = [number for number in watched if number not in seen]
    for start in range(0, len(unseen), _GETS):
        some = unseen[start : start + _GETS]
        results = await asyncio.gather(*map(get_number, some), return_exceptions=True)
        for phone_number, result in zip(some, results, strict=True):
            if isinstance(result, NotFoundError):
                seen[phone_number] = None
            elif isinstance(result, BaseException):
                raise result
            else:
                seen[phone_number] = result


def _arrived(
    watched: dict[str, GlobalProcessState | None],
    seen: Mapping[str, QualifiedNumber | None],
    wanted: frozenset[GlobalProcessState],
    *,
    every_change: bool,
) -> list[QualifiedNumber]:
    """Return the numbers of *seen* to yield; stop watching those that have arrived."""
    arrived = []
    for phone_number, number in seen.items():
        if number is None:
            arrived.append(QualifiedNumber(phone_number=phone_number))
            del watched[phone_number]
            continue
        before, state = watched[phone_number], number.global_process_state
        if state is None:
            continue  # a response without a state
        watched[phone_number] = state
        final = state in wanted or not _can_reach(state, wanted)
        if final:
            del watched[phone_number]
        if final or (every_change and state != before):
            arrived.append(number)
    return arrived


def _possible_states(states: Collection[GlobalProcessState | None]) -> list[GlobalProcessState]:
    """Return the states in which numbers last seen in *states* can be, in order."""
    if not set(states) <= set(REACHABLE):
        return list(IN_ORDER)  # the successors of an unknown state, or of none, are not known
    return [
        state
        for state in IN_ORDER
        if any(state is before or state in REACHABLE[before] for before in states if before)
    ]


def _can_reach(state: GlobalProcessState, wanted: frozenset[GlobalProcessState]) -> bool:
    """Whether a number in *state* can still reach a *wanted* one; True for an unknown state."""
    return state not in REACHABLE or not wanted.isdisjoint(REACHABLE[state])


def _any_of(states: Iterable[GlobalProcessState]) -> str:
    return " or ".join(sorted(state.name for state in states))
