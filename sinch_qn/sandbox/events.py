"""The sandbox's callbacks that are to be sent. No I/O."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Iterable
from random import Random
from typing import Any

import attrs

from sinch_qn.models import CallbackEventType as EventType
from sinch_qn.models import CallbackResourceType


@attrs.frozen
class Event:
    """A callback to send, about one number."""

    url: str
    id: str
    type: EventType
    phone_number: str
    time: float
    succeeded: bool
    failure_code: str | None = None
    resource_type: CallbackResourceType = CallbackResourceType.HOSTING_ORDER_NUMBER


class Events(deque[Event]):
    """The callbacks to send, in order; their delivery removes them."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random

    def event(self, url: str, kind: EventType, phone_number: str, at: float, **more: Any) -> Event:
        """Return an event with an id of its own."""
        event_id = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        return Event(url, event_id, kind, phone_number, at, **more)

    def add_shuffled_twice(self, events: Iterable[Event]) -> None:
        """Add each of *events* twice, in any order."""
        events = [*events] * 2
        self._random.shuffle(events)
        self.extend(events)
