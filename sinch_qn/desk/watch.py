"""Live updates: one task reads the journal for all open pages.

A page that is open costs a subscription; the journal is read once an interval for all of them, in
one query, whoever writes it: this process, another one, or another machine.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Collection, Mapping

import attrs

from sinch_qn.bulk.journal.protocol import Journal, Readiness
from sinch_qn.bulk.states import ChallengeState, Entry
from sinch_qn.errors import SinchError

INTERVAL = 1.0
"""Seconds between two reads of the journal, at most; it may tell of changes sooner."""

MIN_INTERVAL = 0.2
"""Seconds between two reads of the journal, at least."""

KEEP_ALIVE = 15.0
"""Seconds after which an open page hears something, even if nothing changes."""

_log = logging.getLogger(__name__)


@attrs.define(eq=False)
class _Subscription:
    numbers: frozenset[str]
    changed: asyncio.Event = attrs.field(factory=asyncio.Event)


@attrs.define(eq=False)
class Watch:
    """Reads the entries of watched numbers, and the counts, and tells who waits for them."""

    journal: Journal
    counts: Mapping[ChallengeState, int] = attrs.field(factory=dict, init=False)
    """The newest counts, while somebody follows them."""
    readiness: Readiness = attrs.field(factory=Readiness, init=False)
    """Whether calls are made, while some page is open."""
    _entries: dict[str, Entry | None] = attrs.field(factory=dict, init=False)
    _subscriptions: dict[str, set[_Subscription]] = attrs.field(
        factory=lambda: defaultdict(set), init=False
    )
    _followers: set[_Subscription] = attrs.field(factory=set, init=False)
    _task: asyncio.Task[None] | None = attrs.field(default=None, init=False)
    _is_closed: bool = attrs.field(default=False, init=False)

    async def entries(
        self, numbers: Collection[str], at_most: Callable[[], float] = lambda: KEEP_ALIVE
    ) -> AsyncGenerator[Mapping[str, Entry | None], None]:
        """Yield the entries of *numbers* now, after each change, and at times.

        *at_most* is called each time, and returns after how many seconds without a change.
        """
        subscription = _Subscription(frozenset(numbers))
        found = await self._first(subscription)
        try:
            while not self._is_closed:
                yield {number: found.get(number) for number in numbers}
                await _wait(subscription.changed, at_most())
                found = self._entries
        finally:
            self._unsubscribe(subscription)

    async def all_counts(
        self, keep_alive: float = KEEP_ALIVE
    ) -> AsyncGenerator[Mapping[ChallengeState, int], None]:
        """Yield the counts now, after each change, and each *keep_alive* seconds."""
        follower = _Subscription(frozenset())
        self.counts = await self.journal.counts()
        self._followers.add(follower)
        self._start()
        try:
            while not self._is_closed:
                yield self.counts
                await _wait(follower.changed, keep_alive)
        finally:
            self._followers.discard(follower)

    async def close(self) -> None:
        """End the task, and what pages that are open iterate over."""
        self._is_closed = True
        for subscription in self._all():
            subscription.changed.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _first(self, subscription: _Subscription) -> Mapping[str, Entry | None]:
        """Subscribe, and return what the journal has now; what changes from then on is noticed."""
        found = await self.journal.get_many(subscription.numbers)
        self.readiness = await self.journal.readiness()
        for number in subscription.numbers:
            self._entries.setdefault(number, found.get(number))
            self._subscriptions[number].add(subscription)
        self._start()
        return found

    def _unsubscribe(self, subscription: _Subscription) -> None:
        for number in subscription.numbers:
            self._subscriptions[number].discard(subscription)
            if not self._subscriptions[number]:
                del self._subscriptions[number]
                self._entries.pop(number, None)

    def _all(self) -> set[_Subscription]:
        return self._followers.union(*self._subscriptions.values())

    def _start(self) -> None:
        if not self._is_closed and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._read(), name="sinch_qn desk")

    async def _read(self) -> None:
        """Read while anybody waits; an error of the journal is met again at the next read."""
        while self._subscriptions or self._followers:
            try:
                await self._read_once()
                await asyncio.sleep(MIN_INTERVAL)
                await self.journal.changed(INTERVAL - MIN_INTERVAL)
            except SinchError as error:
                _log.warning("open pages are not updated: %s", error)
                await asyncio.sleep(INTERVAL)

    async def _read_once(self) -> None:
        found = await self.journal.get_many(list(self._subscriptions))
        readiness = await self.journal.readiness()
        if readiness != self.readiness:
            self.readiness = readiness
            for subscription in self._all():
                subscription.changed.set()
        for number, subscriptions in self._subscriptions.items():
            before = self._entries.get(number)
            self._entries[number] = now = found.get(number, before)
            if before != now:
                for subscription in subscriptions:
                    subscription.changed.set()
        if self._followers:
            counts = await self.journal.counts()
            if counts != self.counts:
                self.counts = counts
                for follower in self._followers:
                    follower.changed.set()


async def _wait(changed: asyncio.Event, timeout_: float) -> None:
    try:
        async with asyncio.timeout(timeout_):
            await changed.wait()
    except TimeoutError:
        pass
    changed.clear()
