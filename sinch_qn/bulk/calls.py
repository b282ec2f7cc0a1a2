"""The calls of a run: each is prepared, then waits for its turn, then is made."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable

import attrs

from sinch_qn.bulk.due_numbers import POLL
from sinch_qn.bulk.journal.protocol import Journal
from sinch_qn.bulk.pacing import CallResult
from sinch_qn.bulk.permits import Permits, Told, Turn
from sinch_qn.bulk.rate_ceiling import CallTimes, RateCeiling
from sinch_qn.bulk.states import Todo
from sinch_qn.bulk.steps import StepResult, Steps
from sinch_qn.errors import SinchError

_log = logging.getLogger("sinch_qn")

_MARGIN = 2 * POLL
"""Seconds before its turn, beyond the time that it takes, in which a call is prepared."""

_AHEAD = POLL / 4
"""Seconds whose calls are prepared beyond that: the turns that a journal gives out at once."""

_MAX_AGE = 30.0
"""Seconds that a prepared call waits for its turn: then its token and connection may be stale."""


def _ticks() -> float:
    return asyncio.get_running_loop().time()


@attrs.define(eq=False)
class _Prepared:
    """A prepared call that waits for its turn; None as its turn ends it."""

    turn: asyncio.Future[Turn | None]
    since: float


@attrs.define(kw_only=True, eq=False)
class Calls:
    """Prepares calls ahead, asks the journal for as many turns, and makes the calls."""

    steps: Steps
    journal: Journal
    opens_in: Callable[[str, float], float] | None
    wake: Callable[[], None]
    """Has the scheduler look what to start."""
    permits: Permits = attrs.field(factory=Permits)
    ceiling: RateCeiling | None = None
    """Why the rate cannot be reached, once that is known."""
    _call_times: CallTimes | None = None
    _told: list[Told] = attrs.field(factory=list)
    _waiting: deque[_Prepared] = attrs.field(factory=deque)
    _preparing: int = 0
    _prepare_at: float = 0.0
    _lead: float = 0.0
    """Seconds that preparing takes."""
    _lacks_room: bool = False
    _has_ended: bool = False
    _turn_at: float = 0.0
    _poll_at: float = 0.0

    @property
    def waiting(self) -> int:
        """How many prepared calls wait for their turn."""
        return len(self._waiting)

    def tell(self, result: CallResult | None, slot: int | None = None) -> None:
        """Tell the journal a result, when it is asked next."""
        if slot is not None or result is not None:
            self._told.append(Told(result=result or CallResult.NOT_SENT, slot=slot))
        if self.permits.paused or self._turn_at == math.inf:
            self.poll()

    def poll(self) -> None:
        """Ask the journal at once."""
        self._poll_at = 0.0

    async def ask(self, room: int) -> bool:
        """Ask for turns if there may be some, for up to *room* calls; return whether there were."""
        if self.next_in(room) > 0.0:
            return False
        self._drop_stale()
        want = max(0, min(room, len(self._waiting)))
        told, self._told = self._told, []
        asked = _ticks()  # the response takes time, in which turns pass
        self.permits = permits = await self.journal.permits(told, want)
        self._poll_at = asked + POLL
        self._turn_at = math.inf if permits.wait is None else asked + permits.wait
        for turn in permits.turns:
            self._waiting.popleft().turn.set_result(turn)
        if not permits.due:
            self.dismiss()
        return bool(permits.turns)

    def next_in(self, room: int) -> float:
        """Return the seconds until the journal is to be asked."""
        at = self._poll_at
        if self._waiting and room > 0:
            at = min(at, self._turn_at)
        return max(0.0, at - _ticks())

    def reserve(self, room: int) -> int:
        """Return how many calls to start preparing now: each is made by `make_one`."""
        permits, now = self.permits, _ticks()
        self._lacks_room = room <= 0 < permits.due and self._turn_at <= now
        if permits.paused or now < self._prepare_at:
            return 0
        if permits.wait is not None and self._turn_at - now > self._lead + _MARGIN:
            return 0
        wanted = min(permits.due, 1 + math.ceil(permits.rate * (self._lead + _AHEAD)))
        waiting = len(self._waiting)
        count = max(0, min(room - waiting, wanted - waiting - self._preparing))
        self._preparing += count
        return count

    def end(self) -> None:
        """End all calls that have no turn yet: there will be none."""
        self._has_ended = True
        self.dismiss()

    def dismiss(self) -> None:
        """End the calls that wait for their turn."""
        while self._waiting:
            self._waiting.popleft().turn.set_result(None)

    def _drop_stale(self) -> None:
        oldest = _ticks() - _MAX_AGE
        while self._waiting and self._waiting[0].since < oldest:
            self._waiting.popleft().turn.set_result(None)

    async def make_one(self, concurrency: int) -> tuple[StepResult, int | None]:
        """Prepare a call, wait for its turn, make it; return its result and the turn's slot."""
        started = _ticks()
        try:
            prepared = await self.steps.client.prepare()
        except SinchError as error:
            self._prepare_at = _ticks() + self.steps.between(1.0, 3.0)
            return StepResult(request=Todo.NOTHING, response=error), None
        finally:
            self._preparing -= 1
        if self._has_ended:
            return StepResult(), None
        self._lead += 0.3 * (min(_ticks() - started, 5.0) - self._lead)
        waiting = _Prepared(asyncio.get_running_loop().create_future(), _ticks())
        self._waiting.append(waiting)
        self.wake()
        turn = await waiting.turn
        if turn is None:
            return StepResult(), None
        await asyncio.sleep(max(0.0, turn.at - _ticks()))
        result = await self.steps.call(turn, prepared, opens_in=self.opens_in)
        if result.request is Todo.CALL and self.ceiling is None:
            self._note_time(_ticks() - turn.at, concurrency)
        return result, turn.slot

    def _note_time(self, seconds: float, concurrency: int) -> None:
        settings = self.steps.settings
        if self._call_times is None:
            self._call_times = CallTimes(calls_per_second=settings.calls_per_second)
        limit = None
        if self.permits.is_held_back:
            limit = "max_unknown", settings.max_unknown
        elif self._lacks_room:
            limit = "concurrency", concurrency
        self.ceiling = self._call_times.observe(seconds, limit)
        if self.ceiling is not None:
            _log.warning("project %s: %s", self.steps.client.project_id, self.ceiling)
