"""Temporary."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import attrs

from sinch_qn.bulk.states import ChallengeState, Change, Entry, Event
from sinch_qn.errors import JournalError

STREAK = 20
LATENESS = 0.02
HORIZON = 0.06
TURN_LIFETIME = 0.05


class CallResult(enum.Enum):
    ANSWERED = "answered"
    UNANSWERED = "unanswered"
    LIMITED = "limited"
    LIMITED_ALONE = "limited alone"
    NOT_SENT = "not sent"
    OUTAGE = "outage"
    REACHABLE = "reachable"


@attrs.frozen(kw_only=True)
class Pacing:
    calls_per_second: float
    max_ringing: int
    ring_window: float = 90.0
    max_unknown: int = 40
    interval: float = 0.0
    next_at: float = 0.0
    paused: bool = True
    streak: int = 0
    allowed: int = 40
    failed_resumes: int = 0

    def after(self, result: CallResult, now: float) -> Pacing:  # noqa: ARG002
        match result:
            case CallResult.ANSWERED:
                return attrs.evolve(self, streak=0)
            case CallResult.UNANSWERED:
                streak = self.streak + 1
                return attrs.evolve(self, streak=streak, paused=self.paused or streak >= STREAK)
            case CallResult.REACHABLE:
                return attrs.evolve(self, paused=False, streak=0)
        return self

    @property
    def rate(self) -> float:
        return 0.0 if self.paused else self.calls_per_second

    @property
    def max_at_risk(self) -> int:
        return min(self.allowed, self.max_unknown - self.streak)


@attrs.frozen(kw_only=True)
class Settled:
    pacing: Pacing
    turns: Sequence[float]
    wait: float | None


def settle(
    pacing: Pacing,
    told: Sequence[CallResult],
    *,
    want: int,
    due: int,
    used: int,
    at_risk: int,
    now: float,
    horizon: float,
) -> Settled:
    for each in told:
        pacing = pacing.after(each, now)
    turns: list[float] = []
    n = (
        0
        if pacing.paused
        else min(want, due, pacing.max_ringing - used, pacing.max_at_risk - at_risk)
    )
    next_at = pacing.next_at
    while len(turns) < n:
        at = max(now, next_at)
        if at > now + horizon:
            break
        turns.append(at)
        next_at = (next_at if now - next_at < LATENESS else at) + 1 / pacing.calls_per_second
    return Settled(
        pacing=attrs.evolve(pacing, next_at=next_at),
        turns=turns,
        wait=None if pacing.paused else max(0.0, next_at - now),
    )


@attrs.frozen(kw_only=True)
class Told:
    result: CallResult
    slot: int | None = None


@attrs.frozen(kw_only=True)
class Turn:
    slot: int
    at: float


@attrs.frozen(kw_only=True)
class Permits:
    turns: Sequence[Turn] = ()
    wait: float | None = None
    paused: bool = True
    ringing: int = 0
    rate: float = 0.0
    stopped: str | None = None


def holds_slot(entry: Entry) -> bool:
    if entry.called_at is None or entry.codes_waiting:
        return False
    if entry.state is ChallengeState.CALLING:
        return True
    return not entry.codes_used and entry.state in (
        ChallengeState.AWAITING_CODE,
        ChallengeState.UNKNOWN,
        ChallengeState.EXPIRED,
        ChallengeState.PENDING,
    )


@attrs.frozen(kw_only=True)
class RunSettings:
    calls_per_second: float = 5.0
    max_ringing: int = 20
    ring_window: float = 90.0
    max_unknown: int = 40
    code_timeout: float = 86_400.0
    max_codes: int = 3
    calling_hours: str | None = None
    add_missing: bool = False
    regions: tuple[str, ...] = attrs.field(default=("CA", "US"), converter=tuple)
    recheck: float = 30.0


def check_settings(written: RunSettings, wanted: RunSettings) -> None:
    if written != wanted:
        raise JournalError("settings differ")


def without_outcome(entry: Entry, at: float, window: float) -> Change:
    event = Event.CALL_UNKNOWN if entry.state is ChallengeState.CALLING else Event.VERIFY_UNKNOWN
    return Change(
        number=entry.number, event=event, at=at, intent=entry.intent, window=window, note="gone"
    )
