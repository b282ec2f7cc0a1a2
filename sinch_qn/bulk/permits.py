"""Who may call now: turns, ringing phones, calls at risk. No I/O; time is passed in.

Every journal calls `settle` with its own counts; `Slots` counts in memory, for journals of one
process.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterator, Sequence

import attrs

from sinch_qn.bulk.pacing import LATENESS, CallResult, Pacing
from sinch_qn.bulk.states import ChallengeState, Entry

HORIZON = 0.02
"""Seconds that turns are given out ahead, by a journal in memory."""

TURN_LIFETIME = 0.1
"""Seconds after which an unused turn no longer counts: its runner may be gone."""


@attrs.frozen(kw_only=True)
class Told:
    """The end of a call, or other news of Sinch."""

    result: CallResult
    slot: int | None = None
    """Of the call's turn; None for other news."""


@attrs.frozen(kw_only=True)
class Turn:
    """The right to start one call."""

    slot: int
    at: float
    """When, in the time of this process's event loop."""


@attrs.frozen(kw_only=True)
class Permits:
    """What a journal permits its runner."""

    turns: Sequence[Turn] = ()
    wait: float | None = None
    """Seconds until there may be more turns; None: not before something happens."""
    due: int = 0
    """Numbers that are due to be called and have no turn; not counted much further than needed."""
    paused: bool = True
    """No calls until a probe succeeds."""
    ringing: int = 0
    rate: float = 0.0
    """Calls a second of the whole run; 0 while paused."""
    is_held_back: bool = False
    """Whether calls wait because `max_unknown` are in flight."""
    stopped: str | None = None
    """Why another runner stopped the whole run."""


@attrs.frozen(kw_only=True)
class Settled:
    """The result of `settle`."""

    pacing: Pacing
    """To be stored."""
    turns: Sequence[float]
    """When the new turns are."""
    wait: float | None
    """As `Permits.wait`, but None also if all slots are taken."""
    is_held_back: bool


def settle(
    pacing: Pacing,
    told: Sequence[CallResult],
    *,
    want: int,
    due: int,
    used: int,
    at_risk: int,
    now: float,
    horizon: float = HORIZON,
) -> Settled:
    """Learn from *told*, then give out up to *want* turns.

    *told* are the results of calls that were in flight until now. *used* slots are taken by turns
    and by ringing phones, *at_risk* by turns and calls in flight; *due* numbers have no turn yet.
    """
    for result in told:
        pacing = pacing.after(result, now)
    ringing_left, at_risk_left = pacing.max_ringing - used, pacing.max_in_flight - at_risk
    most = 0 if pacing.paused else max(0, min(want, due, ringing_left, at_risk_left))
    turns: list[float] = []
    while len(turns) < most and pacing.next_at <= now + horizon:
        at, pacing = pacing.turn(now)
        turns.append(at)
    given = len(turns)
    can_go_on = not pacing.paused and due > given and min(ringing_left, at_risk_left) > given
    wait = max(0.0, pacing.next_at - horizon - now) if can_go_on else None
    is_held_back = at_risk + given >= pacing.max_unknown and due > given and ringing_left > given
    return Settled(
        pacing=pacing,
        turns=turns,
        wait=wait,
        is_held_back=is_held_back and not pacing.paused and pacing.next_at <= now + horizon,
    )


def holds_slot(entry: Entry) -> bool:
    """Return whether the phone of *entry* may ring, within the ring window of its last call."""
    if entry.called_at is None or entry.codes_waiting or entry.state not in _MAY_RING:
        return False
    return entry.state is ChallengeState.CALLING or not entry.codes_used


_MAY_RING = (
    ChallengeState.PENDING,  # recalled
    ChallengeState.CALLING,
    ChallengeState.AWAITING_CODE,
    ChallengeState.UNKNOWN,
    ChallengeState.EXPIRED,
)


@attrs.define
class Slots:
    """The turns and the ringing phones of a run, in memory. All times are the event loop's."""

    pacing: Pacing
    _turns: dict[int, tuple[int, float]] = attrs.field(factory=dict)
    """The runner of each unused turn, and until when the turn counts."""
    _in_flight: dict[int, int] = attrs.field(factory=dict)
    """The runner of each call in flight."""
    _ringing: OrderedDict[str, float] = attrs.field(factory=OrderedDict)
    """Until when each phone holds its slot: the ring window from its call's intent."""
    _ids: Iterator[int] = attrs.field(factory=lambda: itertools.count(1))

    @property
    def turns_out(self) -> int:
        """How many turns are not used yet."""
        return len(self._turns)

    def permits(
        self, told: Sequence[Told], *, want: int, due: int, now: float, runner: int = 0
    ) -> Permits:
        """Learn from *told*, then give *runner* up to *want* turns.

        *due* numbers are to be called, among them those that have a turn.
        """
        results = [each.result for each in told if self._ends(each)]
        self._forget_late(now)
        used = len(self._ringing) + len(self._turns)
        due = max(0, due - len(self._turns))
        settled = settle(
            self.pacing,
            results,
            want=want,
            due=due,
            used=used,
            at_risk=len(self._in_flight) + len(self._turns),
            now=now,
        )
        self.pacing = settled.pacing
        turns = [Turn(slot=next(self._ids), at=at) for at in settled.turns]
        self._turns |= {turn.slot: (runner, turn.at + TURN_LIFETIME) for turn in turns}
        wait = settled.wait
        if used + len(turns) >= self.pacing.max_ringing and self._ringing:
            wait = max(0.0, next(iter(self._ringing.values())) - now)
        return Permits(
            turns=turns,
            wait=wait,
            due=due - len(turns),
            paused=self.pacing.paused,
            ringing=len(self._ringing) + len(self._turns),
            rate=self.pacing.rate,
            is_held_back=settled.is_held_back,
        )

    def take(self, turn: Turn, now: float, runner: int = 0) -> bool:
        """Use *turn* for a call; False if it is too late for that. A late turn is counted anew."""
        self._forget_late(now)
        if self._turns.pop(turn.slot, None) is None:
            pacing, used = self.pacing, len(self._ringing) + len(self._turns)
            at_risk = len(self._in_flight) + len(self._turns)
            if pacing.paused or used >= pacing.max_ringing or at_risk >= pacing.max_in_flight:
                return False
        if now - turn.at > LATENESS:
            next_at = max(now, self.pacing.next_at) + self.pacing.interval
            self.pacing = attrs.evolve(self.pacing, next_at=next_at)
        self._in_flight[turn.slot] = runner
        return True

    def give_up(self, turn: Turn) -> None:
        """Note that the call of *turn* was not made."""
        self._turns.pop(turn.slot, None)
        self._in_flight.pop(turn.slot, None)

    def rings(self, number: str, until: float) -> None:
        """Give *number* a slot: the intent to call it is committed, or it was before a restart."""
        self._ringing[number] = until
        self._ringing.move_to_end(number)

    def update(self, entry: Entry) -> None:
        """Free the slot of a number whose phone rings no more."""
        if entry.number in self._ringing and not holds_slot(entry):
            del self._ringing[entry.number]

    def forget(self, runner: int) -> None:
        """Forget the turns and the calls in flight of a runner that is gone."""
        self._turns = {slot: turn for slot, turn in self._turns.items() if turn[0] != runner}
        self._in_flight = {slot: who for slot, who in self._in_flight.items() if who != runner}

    def _ends(self, told: Told) -> bool:
        """Return whether *told* is news; a result that is told again is not."""
        if told.slot is None:
            return True
        self._turns.pop(told.slot, None)
        return self._in_flight.pop(told.slot, None) is not None

    def _forget_late(self, now: float) -> None:
        while self._ringing and next(iter(self._ringing.values())) <= now:
            self._ringing.popitem(last=False)
        late = [slot for slot, (_, until) in self._turns.items() if until < now]
        for slot in late:
            del self._turns[slot]
