"""What limits a run on one PostgreSQL: a simulation of many runners, with measured constants.

    python benchmarks/database_limits.py [--seconds 20] [--json FILE]

Runners ask for turns at the one pacing row, commit intents and outcomes in groups, and share the
server's cores and its log. docs/explanation/past-one-database.md has the table.
"""

from __future__ import annotations

import heapq
import itertools
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import attrs
from measuring import arguments, present, table

ASK_INTERVAL = 0.05
"""Seconds between two requests of a runner for turns."""
HORIZON = 0.06
"""Seconds that turns are given out ahead."""
TURN_LIFETIME = 0.1
"""Seconds after which a turn without its intent is void."""
HEARTBEAT = 3.0
"""Seconds between two renewals of a lease."""
WANT = 20
"""Turns that a runner asks for at most."""
TRANSACTION_CPU = 0.0009
"""Seconds of the server's CPU for a transaction: measured are 2.3 ms a number, in 2.6 of them."""
ITEM_CPU = 0.0002
"""Seconds more for each change after the first in a group."""
ANSWER = 0.5
"""Seconds until Sinch responds to a call."""
CONNECTIONS = 3
"""Of each runner."""
SETUPS = {
    "one machine": {"round_trip": 0.0002, "flush": 0.0002, "cores": 2},
    "a cloud database": {"round_trip": 0.001, "flush": 0.0015, "cores": 8},
    "another region": {"round_trip": 0.010, "flush": 0.0015, "cores": 8},
}
RUNNERS = (3, 10, 100, 1000)
RATES = (200, 1000)


class Cores:
    """The server's cores: each piece of work takes the first that is free."""

    def __init__(self, count: int) -> None:
        self._free = [0.0] * count
        self.busy = 0.0

    def work(self, now: float, seconds: float) -> float:
        """Return when *seconds* of work that arrive *now* are done."""
        done = max(now, heapq.heappop(self._free)) + seconds
        heapq.heappush(self._free, done)
        self.busy += seconds
        return done


class Log:
    """The write-ahead log: commits that wait for one flush share the next."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._start = -1.0

    def flush(self, now: float) -> float:
        """Return when a commit of *now* is durable."""
        if self._start < now:
            self._start = max(now, self._start + self._seconds)
        return self._start + self._seconds


@attrs.define
class Simulation:
    """*runners* that share one database, for some seconds."""

    runners: int
    rate: float
    round_trip: float
    flush: float
    cores: int
    now: float = 0.0
    calls: int = 0
    void: int = 0
    row_busy: float = 0.0
    asks: int = 0
    _events: list[tuple[float, int, Callable[[], None]]] = attrs.field(factory=list)
    _order: Iterator[int] = attrs.field(factory=itertools.count)
    _row_held: bool = False
    _asking: deque[int] = attrs.field(factory=deque)
    _next_turn: float = 0.0
    _groups: dict[int, list[Callable[[float], None]]] = attrs.field(factory=dict)
    _server: Cores = attrs.field(init=False)
    _log: Log = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._server, self._log = Cores(self.cores), Log(self.flush)

    def run(self, seconds: float) -> dict[str, float]:
        """Return the calls a second, and how busy what they share is."""
        for runner in range(self.runners):
            self._at(ASK_INTERVAL * runner / self.runners, lambda r=runner: self._ask(r))
            self._at(HEARTBEAT * runner / self.runners, self._renew)
        while self._events and self._events[0][0] < seconds:
            self.now, _, event = heapq.heappop(self._events)
            event()
        between_asks = self.runners * seconds / max(1, self.asks)
        return {
            "calls_per_second": self.calls / seconds,
            "between_asks": between_asks,
            # A call is in flight from its turn until its end is told: half an interval later.
            "in_flight": self.rate * (ANSWER + HORIZON / 2 + between_asks / 2),
            "void": self.void / max(1, self.void + self.calls),
            "row": min(1.0, self.row_busy / seconds),
            "cpu": min(1.0, self._server.busy / seconds / self.cores),
        }

    def _at(self, when: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), event))

    def _ask(self, runner: int) -> None:
        """Wait for the pacing row."""
        self._asking.append(runner)
        if not self._row_held:
            self._hold_row()

    def _hold_row(self) -> None:
        """Give the row to who waits longest, until its commit: a round trip and a flush."""
        runner, began = self._asking.popleft(), self.now
        self._row_held = True

        def flush() -> None:
            done = self._log.flush(self.now)
            self._at(done, release)

        def release() -> None:
            self.row_busy += self.now - began
            self.asks += 1
            self._row_held = False
            self._at(self.now + self.round_trip / 2, lambda: self._take_turns(runner))
            self._at(max(self.now, began + ASK_INTERVAL), lambda: self._ask(runner))
            if self._asking:
                self._hold_row()

        worked = self._server.work(self.now, TRANSACTION_CPU)
        self._at(worked + self.round_trip, flush)

    def _take_turns(self, runner: int) -> None:
        for _ in range(WANT):
            at = max(self.now - 0.02, self._next_turn)
            if at > self.now + HORIZON:
                return
            self._next_turn = at + 1.0 / self.rate
            due = max(at, self.now + self.round_trip / 2)
            self._at(
                due, lambda at=at: self._commit(runner, lambda done: self._call(runner, at, done))
            )

    def _commit(self, runner: int, then: Callable[[float], None]) -> None:
        """Join the runner's next group; a group is committed at a time."""
        waiting = self._groups.get(runner)
        if waiting is not None:
            waiting.append(then)
            return
        self._groups[runner] = []
        self._commit_group(runner, [then])

    def _commit_group(self, runner: int, group: list[Callable[[float], None]]) -> None:
        """Read in one round trip, write and flush in the next."""

        def work() -> None:
            seconds = TRANSACTION_CPU + ITEM_CPU * (len(group) - 1)
            self._at(self._server.work(self.now, seconds), flush)

        def flush() -> None:
            done = self._log.flush(self.now) + self.round_trip / 2
            self._at(done, lambda: self._end_group(runner, group))

        self._at(self.now + 1.5 * self.round_trip, work)

    def _end_group(self, runner: int, group: list[Callable[[float], None]]) -> None:
        for then in group:
            then(self.now)
        if waiting := self._groups.pop(runner):
            self._groups[runner] = []
            self._commit_group(runner, waiting)

    def _call(self, runner: int, at: float, done: float) -> None:
        if done > at + TURN_LIFETIME:
            self.void += 1
            return
        self.calls += 1
        self._at(self.now + ANSWER, lambda: self._commit(runner, lambda _: None))  # the outcome
        self._at(self.now + 10 * ANSWER, lambda: self._commit(runner, lambda _: None))  # its code
        self._at(self.now + 11 * ANSWER, lambda: self._commit(runner, lambda _: None))  # verified

    def _renew(self) -> None:
        self._server.work(self.now, TRANSACTION_CPU)
        self._at(self.now + HEARTBEAT, self._renew)


def flush_seconds() -> float:
    """Return the seconds of a flush of 8 KiB to this machine's disk, the median of 200."""
    taken = []
    with tempfile.NamedTemporaryFile(dir=".") as file:
        for _ in range(200):
            file.write(b"x" * 8192)
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - began)
    return sorted(taken)[100]


def rows(seconds: float) -> Iterator[dict[str, Any]]:
    """Yield a row for each setup, rate and number of runners."""
    for setup, constants in SETUPS.items():
        for rate in RATES:
            for runners in RUNNERS:
                simulation = Simulation(runners=runners, rate=rate, **constants)
                yield {"setup": setup, "rate": rate, "runners": runners} | simulation.run(seconds)


def markdown(figures: dict[str, Any]) -> str:
    """Return the table."""
    return table(
        (
            *("database", "limit", "runners", "calls/s", "void turns", "row held", "CPU"),
            *("a runner asks every", "`max_unknown` for it", "connections"),
        ),
        (
            (
                row["setup"],
                f"{row['rate']}/s",
                f"{row['runners']:,}",
                f"{row['calls_per_second']:.0f}",
                f"{row['void']:.0%}",
                f"{row['row']:.0%}",
                f"{row['cpu']:.0%}",
                f"{row['between_asks']:.2f} s",
                f"{row['in_flight']:,.0f}",
                f"{CONNECTIONS * row['runners']:,}",
            )
            for row in figures["rows"]
        ),
    )


def main() -> None:
    """Simulate, print the table, and write the JSON file."""
    options = arguments(__doc__, seconds=20)
    figures = {"flush_ms": 1e3 * flush_seconds(), "rows": list(rows(options.seconds))}
    print(f"A flush takes {figures['flush_ms']:.2f} ms here.\n")
    present(figures, markdown, options.json)


if __name__ == "__main__":
    main()
