"""Refusals that are not about a number: the same one for different numbers in a row. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from sinch_qn.bulk.states import Change, Event, Todo
from sinch_qn.errors import StatusError
from sinch_qn.models import QualifiedNumber

_LIMIT = 5
"""Different numbers in a row that are refused alike: then it is not about the numbers."""


@attrs.define
class _Streak:
    kind: tuple[int | None, str | None] = (None, None)
    take_back: dict[str, Change] = attrs.field(factory=dict)
    is_over_limit: bool = False


@attrs.define
class Refusals:
    """Counts the calls, and the additions, that are refused alike."""

    _calls: _Streak = attrs.field(factory=_Streak)
    _additions: _Streak = attrs.field(factory=_Streak)

    def observe(
        self, request: Todo | None, response: object, take_back: Change | None
    ) -> Sequence[Change]:
        """Note a response; return the changes to be committed if it is not about its number.

        *take_back* is the change that takes the refusal back, if the response is one. Other errors
        do not end a streak. A refusal like those of a streak over the limit is taken back at once:
        it was in flight.
        """
        if request is Todo.CALL and isinstance(response, QualifiedNumber):
            self._calls = _Streak()
        elif isinstance(response, list):
            self._additions = _Streak()
        if take_back is None or not isinstance(response, StatusError):
            return ()
        streak = self._calls if take_back.event is Event.CALL_NOT_SENT else self._additions
        kind = (response.status_code, response.code)
        if streak.kind != kind:
            streak.kind, streak.take_back, streak.is_over_limit = kind, {}, False
        streak.take_back[take_back.number] = take_back
        streak.is_over_limit |= len(streak.take_back) >= _LIMIT
        if not streak.is_over_limit:
            return ()
        response.add_note(f"{_LIMIT} numbers in a row were refused alike")
        changes = tuple(streak.take_back.values())
        streak.take_back.clear()
        return changes
