"""Live updates: one task reads the journal for all open pages.

A page that is open costs a subscription; the journal is read once an interval for all of them, in
one query, whoever writes it: this process, another one, or another machine.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Collection, Mapping

import attrs

from sinch_qn.bulk.journal.protocol import Journal
from sinch_qn.bulk.states import ChallengeState, Entry

INTERVAL = 1.0
"""Seconds between two reads of the journal, at most; it may tell of changes sooner."""

MIN_INTERVAL = 0.2
"""Seconds between two reads of the journal, at least."""


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
    _entries: dict[str, Entry | None] = attrs.field(factory=dict, init=False)
    _subscriptions: dict[str, set[_Subscription]] = attrs.field(
        factory=lambda: defaultdict(set), init=False
    )
    _followers: set[_Subscription] = attrs.field(factory=set, init=False)
    _task: asyncio.Task[None] | None = attrs.field(default=None, init=False)

    async def entries(
        self, numbers: Collection[str], keep_alive: float = 15.0
    ) -> AsyncGenerator[Mapping[str, Entry | None]]:
        """Yield the entries of *numbers* now, after each change, and each *keep_alive* seconds."""
        subscription = _Subscription(frozenset(numbers))
        found = await self.journal.get_many(subscription.numbers)
        self._subscribe(subscription)
        try:
            while True:
                yield {number: found.get(number) for number in numbers}
                await _wait(subscription.changed, keep_alive)
                found = {number: self._entries.get(number) for number in numbers}
        finally:
            self._unsubscribe(subscription)

    async def all_counts(
        self, keep_alive: float = 15.0
    ) -> AsyncGenerator[Mapping[ChallengeState, int]]:
        """Yield the counts now, after each change, and each *keep_alive* seconds."""
        follower = _Subscription(frozenset())
        self.counts = await self.journal.counts()
        self._followers.add(follower)
        self._start()
        try:
            while True:
                yield self.counts
                await _wait(follower.changed, keep_alive)
        finally:
            self._followers.discard(follower)

    async def close(self) -> None:
        """End the task; pages that are open get nothing more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    def _subscribe(self, subscription: _Subscription) -> None:
        for number in subscription.numbers:
            self._subscriptions[number].add(subscription)
        self._start()

    def _unsubscribe(self, subscription: _Subscription) -> None:
        for number in subscription.numbers:
            self._subscriptions[number].discard(subscription)
            if not self._subscriptions[number]:
                del self._subscriptions[number]
                self._entries.pop(number, None)

    def _start(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._read(), name="sinch_qn desk")

    async def _read(self) -> None:
        """Read while anybody waits."""
        while self._subscriptions or self._followers:
            await self._read_once()
            await asyncio.sleep(MIN_INTERVAL)
            await self.journal.changed(INTERVAL - MIN_INTERVAL)

    async def _read_once(self) -> None:
        watched = list(self._subscriptions)
        found = await self.journal.get_many(watched)
        for number in watched:
            before = self._entries.get(number, ...)
            self._entries[number] = now = found.get(number)
            if before != now:
                for subscription in self._subscriptions.get(number, ()):
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
