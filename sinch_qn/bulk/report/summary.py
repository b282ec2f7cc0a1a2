"""Counts and a timeline of a run, from one pass over its rows, in bounded memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

import attrs

from sinch_qn.bulk.report.advice import is_for_a_person, needs_invoices, what_to_do
from sinch_qn.bulk.states import ChallengeState, Entry
from sinch_qn.models import GlobalProcessState as SinchState

MAX_LISTED = 5000
"""Entries kept to be listed as needing attention; CSV and JSON have all."""

WAITS = (
    *((15, "15 s"), (30, "30 s"), (60, "1 min"), (120, "2 min"), (300, "5 min"), (600, "10 min")),
    *((1800, "30 min"), (3600, "1 h"), (10800, "3 h"), (21600, "6 h"), (43200, "12 h")),
    *((86400, "1 day"), (math.inf, "longer")),
)
"""Buckets of `Summary.waits`: upper bound in seconds, and label."""

_MAX_BUCKETS = 1000


@attrs.define
class Timeline:
    """Numbers settled and verified over time; buckets widen as the run lasts longer."""

    width: float = 1.0
    """Seconds in a bucket."""
    _buckets: dict[int, tuple[int, int]] = attrs.field(factory=dict)

    def add(self, at: float, *, verified: bool) -> None:
        """Count a number that settled *at*."""
        bucket = int(at // self.width)
        settled, verified_before = self._buckets.get(bucket, (0, 0))
        self._buckets[bucket] = settled + 1, verified_before + verified
        while len(self._buckets) > _MAX_BUCKETS:
            self._widen_buckets()

    def _widen_buckets(self) -> None:
        self.width *= 2
        finer, self._buckets = self._buckets, {}
        for bucket, (settled, verified) in finer.items():
            old_settled, old_verified = self._buckets.get(bucket // 2, (0, 0))
            self._buckets[bucket // 2] = old_settled + settled, old_verified + verified

    def curve(self) -> list[tuple[float, int, int]]:
        """Return points of (time, settled by then, verified by then), starting at zero."""
        points: list[tuple[float, int, int]] = []
        settled = verified = 0
        for bucket in sorted(self._buckets):
            if not points:
                points.append((bucket * self.width, 0, 0))
            more_settled, more_verified = self._buckets[bucket]
            settled, verified = settled + more_settled, verified + more_verified
            points.append(((bucket + 1) * self.width, settled, verified))
        return points


@attrs.define
class Summary:
    """Counts of a run's rows; its size does not depend on their number."""

    states: Counter[ChallengeState] = attrs.field(factory=Counter)
    hosting: dict[int, Counter[SinchState | None]] = attrs.field(factory=dict)
    """Numbers by batch and last state seen at Sinch."""
    waits: list[int] = attrs.field(factory=lambda: [0] * len(WAITS))
    """Codes by the time from the call to VERIFIED, in the buckets of `WAITS`."""
    shortest_wait: float = math.inf
    longest_wait: float = -math.inf
    timeline: Timeline = attrs.field(factory=Timeline)
    advised: Counter[str] = attrs.field(factory=Counter)
    """Numbers by advice."""
    emailed: frozenset[str] = frozenset()
    """The numbers whose invoices were emailed."""
    requested: int = 0
    """Numbers whose call a person asked for, and that were not called yet."""
    without_invoices: int = 0
    """Numbers that need invoices, and were not emailed."""
    listed_without_invoices: list[Entry] = attrs.field(factory=list)
    """The first `MAX_LISTED` of those."""
    listed: dict[str, list[Entry]] = attrs.field(factory=dict)
    """The first `MAX_LISTED` entries with advice, by advice."""

    @classmethod
    def of(cls, rows: Iterable[Entry], emailed: frozenset[str] = frozenset()) -> Summary:
        """Return the summary of *rows*, which are read once and not kept."""
        summary = cls(emailed=emailed)
        for entry in rows:
            summary.add(entry)
        return summary

    def add(self, entry: Entry) -> None:
        """Count one row."""
        self.states[entry.state] += 1
        is_pending = entry.state is ChallengeState.PENDING
        self.requested += is_pending and entry.requested_at is not None
        verified = entry.state is ChallengeState.VERIFIED
        if entry.settled_at is not None and entry.state is not ChallengeState.INVALID:
            self.timeline.add(entry.settled_at, verified=verified)
            if verified and entry.called_at is not None:
                took = entry.settled_at - entry.called_at
                self.shortest_wait = min(self.shortest_wait, took)
                self.longest_wait = max(self.longest_wait, took)
                self.waits[next(i for i, (most, _) in enumerate(WAITS) if took <= most)] += 1
        if entry.batch is not None:
            self.hosting.setdefault(entry.batch, Counter())[entry.remote] += 1
        if needs_invoices(entry) and entry.number not in self.emailed:
            self.without_invoices += 1
            if self.without_invoices <= MAX_LISTED:
                self.listed_without_invoices.append(entry)
        advice = what_to_do(entry, where="the lines shown", emailed=self.emailed)
        if advice and is_for_a_person(entry):
            if self.advised.total() < MAX_LISTED:
                self.listed.setdefault(advice, []).append(entry)
            self.advised[advice] += 1
