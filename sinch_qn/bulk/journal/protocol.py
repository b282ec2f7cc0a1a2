"""What a run asks of its journal, and the rules that every journal follows.

A journal stores entries, applies changes to them one at a time by `states.step`, keeps the inbox of
codes, and logs every unsafe write: its intent before, its outcome after. Each intent gets a token
of its own when it is committed (`Entry.intent`); `step` refuses an outcome with another token.

A journal object is a runner, or a submitter of codes beside it. What is shared by all runners of a
run is in the journal: the pace, the slots, who does a chore, and which runner an intent is of.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Protocol

import attrs

from sinch_qn._checks import check_above_zero, check_whole
from sinch_qn.bulk.journal.queries import Queries
from sinch_qn.bulk.pacing import MAX_UNKNOWN, Pacing
from sinch_qn.bulk.permits import Permits, Told, Turn
from sinch_qn.bulk.states import LOOK_UPS, ChallengeState, Change, Entry, Event, Todo
from sinch_qn.errors import JournalError
from sinch_qn.models import GlobalProcessState


@attrs.frozen
class Identity:
    """The project and server that a journal belongs to."""

    project_id: str
    base_url: str


def _to_tuple(values: Sequence[str]) -> tuple[str, ...]:
    """Return *values* as they are compared: JSON has them as a list."""
    return tuple(values)


@attrs.frozen(kw_only=True)
class RunSettings:
    """The settings that all runners of a run share; times are in seconds."""

    calls_per_second: float = 5.0
    max_ringing: int = 20
    ring_window: float = 90.0
    max_unknown: int = MAX_UNKNOWN
    code_timeout: float = 86_400.0
    max_codes: int = 3
    calling_hours: str | None = None
    """As `CallingHours.parse` takes it."""
    add_missing: bool = False
    regions: tuple[str, ...] = attrs.field(default=(), converter=_to_tuple)
    recheck: float = 30.0
    on_request: bool = False

    def __attrs_post_init__(self) -> None:
        for name in ("calls_per_second", "ring_window", "code_timeout", "recheck"):
            check_above_zero(getattr(self, name), name)
        for name in ("max_ringing", "max_unknown", "max_codes"):
            check_whole(getattr(self, name), name)

    @property
    def calls(self) -> tuple[Todo, ...]:
        """The kinds of calls that are made, the first ones first."""
        if self.on_request:
            return (Todo.REQUESTED_CALL,)
        return (Todo.REQUESTED_CALL, Todo.CALL)

    def pacing(self) -> Pacing:
        """Return the pace of a run that starts: paused, until a probe succeeds."""
        return Pacing(
            calls_per_second=self.calls_per_second,
            max_ringing=self.max_ringing,
            ring_window=self.ring_window,
            max_unknown=self.max_unknown,
        )


@attrs.frozen(kw_only=True)
class Readiness:
    """Whether a run calls at this moment, as far as its journal tells."""

    settings: RunSettings | None = None
    """None: no runner has begun yet."""
    has_runner: bool = False
    """Whether a process works on it."""
    paused: bool = True
    """No calls until a probe succeeds: at the start, and in an outage."""


class Submission(enum.Enum):
    """The result of submitting a code."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    """The same code was submitted for this call before: it stays one code."""
    REFUSED = "refused"
    """The number was never called, or is settled, or is not in this journal."""


class BatchState(enum.Enum):
    """The state of a text-enabling order."""

    SENDING = "sending"
    ORDERED = "ordered"
    REJECTED = "rejected"
    NOT_SENT = "not sent"
    UNKNOWN = "unknown"
    """The response was lost: the order may exist. It is never sent again automatically."""


@attrs.frozen(kw_only=True)
class Batch:
    """One text-enabling order: its intent and its outcome. The id is the intent's token."""

    id: int
    toll_free: bool
    region: str
    numbers: tuple[str, ...]
    """Empty once the batch is NOT_SENT: its numbers are free for another batch."""
    state: BatchState
    at: float
    order_id: str | None = None
    note: str | None = None


@attrs.frozen
class LoggedWrite:
    """One row of the log of unsafe writes."""

    operation: str
    attempt: int
    nth: int
    """Of a code: its intent's token, as a recall that is taken back counts codes anew."""
    outcome: str | None
    """None: the intent."""


class Journal(Queries, Protocol):
    """The contract of a journal. What a method returned from is durable."""

    def now(self) -> float:
        """Return the time that all runners share, in seconds since the epoch."""
        ...

    async def open(
        self,
        identity: Identity | None,
        *,
        running: bool,
        settings: RunSettings | None = None,
        calls: bool = True,
    ) -> None:
        """Open the journal, as a runner or beside it. Raises `JournalError`.

        A runner that calls passes its *settings*. The first one begins with a pace that is paused;
        one that joins others must have theirs. Without *calls* it only adds numbers: the run keeps
        its settings, and a new one gets these.
        """
        ...

    async def close(self) -> None:
        """Close the journal; a runner gives up its lease."""
        ...

    async def add(self, entries: Sequence[Entry]) -> int:
        """Store the entries whose number is new, or was INVALID and no longer is; return how many.

        The old entry of such a number is removed.
        """
        ...

    async def remove_corrected(self, lines: Mapping[int, str]) -> None:
        """Remove the INVALID entries of *lines* of a file, except those of the numbers given.

        Only entries that `invalid_line` has named are a line's. A line that has no number any more
        is given with an empty text.
        """
        ...

    async def get(self, number: str) -> Entry | None:
        """Return the entry of *number*."""
        ...

    async def apply(self, changes: Sequence[Change]) -> list[Entry | None]:
        """Apply each change that `step` allows; return the new entries, None where refused.

        An intent is given its token here: it is in the entry that is returned.
        """
        ...

    async def submit_code(
        self, number: str, code: str, at: float
    ) -> tuple[Submission, Entry | None]:
        """Put *code* into the inbox of *number*; also return the new entry, if there is one."""
        ...

    async def permits(self, told: Sequence[Told], want: int) -> Permits:
        """Tell how calls ended, and ask for up to *want* turns; telling again changes nothing."""
        ...

    async def start_call(
        self, turn: Turn, opens_in: Callable[[str, float], float] | None = None
    ) -> Entry | None:
        """Use *turn*: commit the intent to call the number that is due longest; return its entry.

        Requested calls are first; with `on_request` there are no others.
        *opens_in* returns the seconds until a number's calling hours; numbers outside them are
        postponed in the same commit, and the next one is tried. None, and the turn is given up, if
        there is nothing to call, the turn has lapsed, or the call may not be sent any more.
        """
        ...

    async def take_code(self) -> tuple[Entry, str] | None:
        """Commit the intent to verify the oldest code of the number that is due longest.

        Returns its entry and the code; None if no code waits.
        """
        ...

    async def claim(self, todo: Todo, limit: int, hold: float) -> list[Entry]:
        """Return up to *limit* entries with *todo* that are due, the longest due first.

        Others do not get them for *hold* seconds, or until they change. For steps that may be
        repeated: looking up, resolving, expiring.
        """
        ...

    async def backlog(self, todo: Todo, limit: int | None = None) -> int:
        """Return how many entries with *todo* are due, counted up to *limit*."""
        ...

    async def chore(self, what: str, hold: float) -> bool:
        """Return whether this runner does *what* for the next *hold* seconds; 0 gives it up."""
        ...

    async def reap(self, window: float) -> list[Entry]:
        """Commit the outcomes of intents whose runner is gone; return the new entries.

        Codes of such calls are awaited for *window* seconds. (`outcomes.without_outcome`)
        """
        ...

    async def changed(self, timeout: float) -> None:
        """Return once another process may have written, or after *timeout* seconds."""
        ...

    async def open_numbers(self) -> bool:
        """Return whether any number is not settled."""
        ...

    async def readiness(self) -> Readiness:
        """Return whether calls are made now; also beside a run."""
        ...

    async def stop_run(self, reason: str) -> None:
        """Stop all runners: their permits have the *reason*."""
        ...

    async def next_due(self, *todos: Todo) -> float | None:
        """Return when the next entry (with one of *todos*) is due; None if there is none."""
        ...

    async def advance_due(self, seconds: float, *, after: float) -> None:
        """Make the steps that are due *after* a time due *seconds* earlier: the clock was set back.

        Not the ends of code windows: those may come later.
        """
        ...

    async def counts(self) -> Mapping[ChallengeState, int]:
        """Return the number of entries in each state."""
        ...

    def rows(self) -> Iterator[Entry]:
        """Yield all entries in the order they were added; works after `close`, too."""
        ...

    async def claim_batch(
        self, *, toll_free: bool, region: str | None, limit: int, at: float
    ) -> Batch | None:
        """Log the intent to text-enable up to *limit* verified numbers; None if there are none."""
        ...

    async def record_batch_outcome(
        self,
        batch: int,
        state: BatchState,
        *,
        only_from: Collection[BatchState],
        order_id: str | None = None,
        note: str | None = None,
    ) -> bool:
        """Log the outcome of *batch*; NOT_SENT frees its numbers for another batch.

        Changes nothing and returns False if there is no such batch, or if its state is not in
        *only_from*.
        """
        ...

    async def batches(self) -> list[Batch]:
        """Return all batches, oldest first."""
        ...

    async def interrupted_batches(self) -> list[Batch]:
        """Return the batches that are SENDING and whose runner is gone: each may be an order."""
        ...

    async def bookmark(self, name: str) -> str | None:
        """Return what `set_bookmark` stored as *name*: how far a source of codes was read."""
        ...

    async def set_bookmark(self, name: str, value: str) -> None:
        """Store *value* as *name*."""
        ...


def invalid_line(text: str, line: int) -> str:
    """Return the number that an INVALID entry has in a journal: its text and its line in a file."""
    return f"{text} (line {line})"


def is_line(entry: Entry) -> bool:
    """Return whether *entry* is INVALID, and named after its line in a file."""
    return entry.state is ChallengeState.INVALID and entry.number.endswith(
        invalid_line("", entry.line or 0)
    )


HAS_INTENT = (ChallengeState.CALLING, ChallengeState.VERIFYING)
"""The states with an intent that may have no outcome."""

OUTSIDE_HOURS = "outside its calling hours"
MAX_POSTPONED = 200
"""Numbers outside their calling hours that one `start_call` postpones."""

ADVANCED = (*LOOK_UPS, Todo.REQUESTED_CALL, Todo.CALL, Todo.VERIFY, Todo.RESOLVE)
"""The steps that `advance_due` is about."""

CODE_STATUS_AFTER: Mapping[Event, str | None] = {
    Event.CODE_NOT_SENT: "waiting",
    Event.RETRY_CODE: "waiting",
    Event.CODE_REJECTED: "used",
    # A person is asked for the same code again, which must not count as a duplicate.
    Event.REQUEST_CODE: None,
}
"""The new status of the code in flight; None erases it. Settling a number erases all its codes."""

_OUTCOMES = {
    Event.CALLED: "done",
    Event.VERIFIED: "done",
    Event.CALL_NOT_SENT: "not sent",
    Event.CODE_NOT_SENT: "not sent",
    Event.CALL_UNKNOWN: "unknown",
    Event.VERIFY_UNKNOWN: "unknown",
    Event.NOT_CALLABLE: "rejected",
    Event.CODE_REJECTED: "rejected",
    Event.BLOCKED: "rejected",
}

_LOOKED_UP = frozenset({Event.LOOKED_UP, Event.ALREADY_VERIFIED, Event.NOT_CALLABLE, Event.BLOCKED})
"""Results of looking up a PENDING number: if Sinch knows its state, the number was added."""


_CALLED = (ChallengeState.CALLING, ChallengeState.UNKNOWN)


def logged_write(  # noqa: PLR0911 - a table
    before: Entry, after: Entry, event: Event
) -> LoggedWrite | None:
    """Return the row to log for *event*: the intent or the outcome of an unsafe write."""
    match event:
        case Event.ADD:
            return LoggedWrite("add", 1, 0, None)
        case Event.ADD_NOT_SENT:
            return LoggedWrite("add", 1, 0, "not sent")
        case Event.CALL:
            return LoggedWrite("call", after.attempt, 0, None)
        case Event.VERIFY:
            return LoggedWrite("verify", after.attempt, after.intent or 0, None)
    if before.added and event in _LOOKED_UP and before.state is ChallengeState.PENDING:
        return None if after.remote is None else LoggedWrite("add", 1, 0, "done")
    outcome = _OUTCOMES.get(event)
    if outcome is None:
        return None
    if before.state in _CALLED or event is Event.CALL_NOT_SENT:
        return LoggedWrite("call", before.attempt, 0, outcome)
    if before.state is ChallengeState.VERIFYING:
        return LoggedWrite("verify", before.attempt, before.intent or 0, outcome)
    return None


def can_be_enabled(entry: Entry) -> bool:
    """Return whether *entry* can go into a text-enabling order."""
    return (
        entry.batch is None
        and entry.remote is GlobalProcessState.VERIFIED
        and entry.state in _VERIFIED
    )


_VERIFIED = (ChallengeState.VERIFIED, ChallengeState.SKIPPED)


def check_settings(written: RunSettings, wanted: RunSettings) -> None:
    """Refuse a runner with other settings than the runners beside it. Raises `JournalError`."""
    fields = [field.name for field in attrs.fields(RunSettings)]
    other = [name for name in fields if getattr(written, name) != getattr(wanted, name)]
    if other:
        both = ", ".join(
            f"{name}={getattr(wanted, name)!r} instead of {getattr(written, name)!r}"
            for name in other
        )
        raise JournalError(f"the other runners of this run have other settings: {both}")


def check_identity(written: Identity, wanted: Identity) -> None:
    """Refuse a journal of another project or server. Raises `JournalError`."""
    if written != wanted:
        raise JournalError(
            f"this journal belongs to project {written.project_id} at {written.base_url}, "
            f"not to {wanted.project_id} at {wanted.base_url}"
        )
