"""Messages that are delivered at most once, such as emails: intents and outcomes, by their content.

A delivery's key identifies its content. A process that ends leaves its intent SENDING, which is as
good as UNKNOWN: it is never delivered again automatically. So no lock is needed, and deliveries can
be made beside a run.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Collection, Iterable
from typing import Final, Protocol

import attrs


class DeliveryState(enum.Enum):
    """The state of a delivery."""

    SENDING = "sending"
    """In progress; or its process ended, and it may have been delivered."""
    SENT = "sent"
    NOT_SENT = "not sent"
    WRITTEN = "written"
    """Written to a file, for a person to send."""
    UNKNOWN = "unknown"
    """The response was lost: it may have been delivered."""


@attrs.frozen(kw_only=True)
class Delivery:
    """One message: its intent and its outcome."""

    key: str
    intent: int
    """A token of its own for each intent; an outcome with another token changes nothing."""
    numbers: tuple[str, ...] = attrs.field(repr=False)
    """The phone numbers that it is about."""
    state: DeliveryState
    at: float
    """When its intent was committed, in seconds since the epoch."""
    note: str | None = None


CLAIMABLE: Final = frozenset({DeliveryState.NOT_SENT})
"""States in which a delivery may be made without a person's word."""

IN_DOUBT: Final = frozenset({DeliveryState.SENDING, DeliveryState.UNKNOWN})
"""States in which only the recipient knows whether it was delivered."""


class Deliveries(Protocol):
    """The deliveries in a journal. What a method returned from is durable."""

    async def claim(
        self,
        key: str,
        numbers: Collection[str],
        at: float,
        *,
        again_from: Collection[DeliveryState] = CLAIMABLE,
    ) -> int | None:
        """Log the intent to deliver *key*; return its token.

        None if it was claimed before and its state is not in *again_from*.
        """
        ...

    async def record(
        self, key: str, intent: int, state: DeliveryState, *, note: str | None = None
    ) -> bool:
        """Log the outcome; return False, and change nothing, if the intent is another one."""
        ...

    async def all(self) -> list[Delivery]:
        """Return all deliveries, oldest first."""
        ...


class MemoryDeliveries:
    """Deliveries that are lost with their process."""

    def __init__(self) -> None:
        self._rows: dict[str, Delivery] = {}
        self._tokens = itertools.count(1)

    async def claim(
        self,
        key: str,
        numbers: Collection[str],
        at: float,
        *,
        again_from: Collection[DeliveryState] = CLAIMABLE,
    ) -> int | None:
        """Log the intent to deliver *key*; return its token."""
        known = self._rows.get(key)
        if known is not None and known.state not in again_from:
            return None
        sending, intent = DeliveryState.SENDING, next(self._tokens)
        self._rows[key] = Delivery(
            key=key, intent=intent, numbers=tuple(numbers), state=sending, at=at
        )
        return intent

    async def record(
        self, key: str, intent: int, state: DeliveryState, *, note: str | None = None
    ) -> bool:
        """Log the outcome, if *intent* is the last one."""
        row = self._rows.get(key)
        if row is None or row.intent != intent:
            return False
        self._rows[key] = attrs.evolve(row, state=state, note=note)
        return True

    async def all(self) -> list[Delivery]:
        """Return all deliveries, oldest first."""
        return sorted(self._rows.values(), key=lambda row: (row.at, row.intent))


def delivered_numbers(deliveries: Iterable[Delivery]) -> frozenset[str]:
    """Return the numbers in deliveries that were made, or may have been."""
    made = (row for row in deliveries if row.state is not DeliveryState.NOT_SENT)
    return frozenset(number for row in made for number in row.numbers)
