"""The sandbox's numbers: their true state, and the one that reads show. No I/O."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable
from itertools import islice

import attrs

from sinch_qn.models import GlobalProcessState as SinchState


@attrs.define(eq=False)
class Number:
    """A qualified number, with its latest phone call."""

    phone_number: str
    region: str
    state: SinchState
    created: float
    updated: float
    position: int
    """Index by creation; -1 once deleted."""
    shown: SinchState | None = None
    """The state that reads show; None: reads do not find the number yet."""
    shown_updated: float = 0.0
    rings: int = 0
    """How often the phone rang."""
    wrong_codes: int = 0
    code: str | None = None
    """The code of the latest call."""
    called: float = 0.0
    """Time of the latest call."""


class NumberStore:
    """Numbers by phone number, and the listings that show them."""

    def __init__(self) -> None:
        self._numbers: dict[str, Number] = {}
        self._by_creation: list[Number | None] = []
        self._counts: Counter[tuple[SinchState, str]] = Counter()

    def get(self, phone_number: str) -> Number | None:
        """Return a number with its true state."""
        return self._numbers.get(phone_number)

    def create(self, phone_number: str, region: str, state: SinchState, now: float) -> Number:
        """Create a number that reads do not show yet."""
        number = Number(phone_number, region, state, now, now, len(self._by_creation))
        self._numbers[phone_number] = number
        self._by_creation.append(number)
        return number

    def remove(self, number: Number) -> None:
        """Delete a number."""
        del self._numbers[number.phone_number]
        self._by_creation[number.position] = None
        number.position = -1
        if number.shown is not None:
            self._counts[number.shown, number.region] -= 1

    def show(self, number: Number, state: SinchState, updated: float) -> None:
        """Let reads show a change of *number*, unless they show a later one."""
        if number.position < 0 or (number.shown is not None and updated < number.shown_updated):
            return
        if number.shown is not None:
            self._counts[number.shown, number.region] -= 1
        self._counts[state, number.region] += 1
        number.shown, number.shown_updated = state, updated

    def as_shown(self, number: Number) -> Number | None:
        """Return *number* as reads show it; None if they do not find it yet."""
        if number.shown is None:
            return None
        if (number.shown, number.shown_updated) == (number.state, number.updated):
            return number
        return attrs.evolve(number, state=number.shown, updated=number.shown_updated)

    def count(self, state: SinchState, region: str | None = None) -> int:
        """Return how many numbers are shown in *state*, optionally in one region."""
        counts = self._counts.items()
        return sum(n for (at, of), n in counts if at is state and region in {None, of})

    def page(
        self,
        state: SinchState,
        *,
        size: int,
        region: str | None = None,
        by_update: bool = False,
        after: tuple[float, int] | None = None,
    ) -> tuple[list[Number], tuple[float, int] | None]:
        """Return a page of the numbers shown in *state*, and the next page's *after* or None.

        The oldest come first. Paging skips no number that stays in *state*.
        """
        wanted = min(size + 1, self.count(state, region))
        start = after[1] + 1 if after and not by_update else 0
        found: Iterable[Number] = (
            number
            for number in islice(self._by_creation, start, None)
            if number is not None and number.shown is state and region in {None, number.region}
        )
        if by_update:
            later = (each for each in found if after is None or _by_update(each) > after)
            found = heapq.nsmallest(wanted, later, _by_update)
        page = list(islice(found, wanted))
        next_after = _by_update(page[size - 1]) if len(page) > size else None
        shown = (self.as_shown(number) for number in page[:size])
        return [number for number in shown if number is not None], next_after


def _by_update(number: Number) -> tuple[float, int]:
    return number.shown_updated, number.position
