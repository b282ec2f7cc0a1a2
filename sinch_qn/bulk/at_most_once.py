"""The one door for what must not be repeated: calls, codes, additions, orders, emails.

Acquire, commit the intent, send once, commit the outcome. A crash in between leaves an intent
without an outcome, which is UNKNOWN and never retried automatically.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, Generic, Protocol, TypeVar

from sinch_qn.errors import SinchError

I = TypeVar("I")  # noqa: E741 - the intent, as it was committed
P = TypeVar("P", bound="Prepared")
P_contra = TypeVar("P_contra", bound="Prepared", contravariant=True)
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class Prepared(Protocol):
    """What a request is sent with, acquired in advance: a `PreparedCall`, or a connection."""

    @property
    def may_have_been_sent(self) -> bool:
        """Whether the request may have been carried out."""
        ...


class UnsafeWrite(Protocol[I, P_contra, R_co]):
    """One request that is not idempotent, and its rows in the journal."""

    async def commit_intent(self) -> I | None:
        """Commit the intent; None if there is nothing to send any more.

        The intent may pick its number itself, in the same commit.
        """
        ...

    async def send(self, intent: I, prepared: P_contra) -> R_co:
        """Send the request once; raises `SinchError`."""
        ...

    async def withdraw(self, intent: I) -> None:
        """Record that the request was not sent."""
        ...

    async def mark_unknown(self, intent: I) -> None:
        """Record that the request may have been sent, and that its response is lost."""
        ...


async def at_most_once(
    write: UnsafeWrite[I, P, R_co], prepared: P
) -> tuple[I, R_co | SinchError] | None:
    """Send *write* once; return its intent and the response or error, for the outcome's commit.

    *prepared* holds what takes time, such as the rate-limit slot and the token, so nothing waits
    between the intent and the request. Returns None if no intent was committed. A cancellation
    withdraws the intent, or marks it unknown if the request may have been sent. An event loop that
    ends in between leaves the intent open, like a crash.
    """
    intent = await _commit_intent(write)
    if intent is None:
        return None
    try:
        return intent, await write.send(intent, prepared)
    except SinchError as error:
        return intent, error
    except asyncio.CancelledError:
        if prepared.may_have_been_sent:
            await write.mark_unknown(intent)
        else:
            await write.withdraw(intent)
        raise


async def _commit_intent(write: UnsafeWrite[I, P, R_co]) -> I | None:
    committing = asyncio.ensure_future(write.commit_intent())
    try:
        return await asyncio.shield(committing)
    except asyncio.CancelledError:
        # The commit goes on: learn the intent's token, then withdraw it.
        while not committing.done():
            with contextlib.suppress(asyncio.CancelledError):  # cancelled once more
                await asyncio.wait([committing])
        intent = committing.result()
        if intent is not None:
            await write.withdraw(intent)
        raise


async def drain(task: asyncio.Task[object], *, timeout: float, grace: float | None = None) -> None:
    """Let *task* finish what is in flight; cancel it after *timeout* seconds, or if cancelled.

    Its last commits may take *grace* seconds; a task that takes longer waits for its journal.
    """
    try:
        await asyncio.wait([task], timeout=timeout)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=grace)


class InFlight(Generic[T]):
    """One request in flight, which the cancellation of its waiter leaves alone until `drain`."""

    def __init__(self) -> None:
        self._task: asyncio.Task[T] | None = None

    def __bool__(self) -> bool:
        return self._task is not None

    def start(self, work: Coroutine[Any, Any, T]) -> None:
        """Start *work*; the one before has ended."""
        self._task = asyncio.create_task(work)

    async def result(self) -> T | None:
        """Wait for the request; None if `drain` has cancelled it."""
        task = self._task
        if task is None:
            return None
        await asyncio.wait([task])  # does not cancel it
        self._task = None
        return None if task.cancelled() else task.result()

    async def drain(self, *, timeout: float) -> None:
        """Wait for the request, at most *timeout* seconds; raise its error if nobody else waits."""
        task = self._task
        if task is None:
            return
        await drain(task, timeout=timeout)
        await asyncio.sleep(0)  # `result` returns first
        if self._task is task:
            self._task = None
            if not task.cancelled():
                task.result()
