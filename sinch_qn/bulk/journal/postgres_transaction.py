"""What one transaction of a PostgreSQL journal read, decided, and is going to write."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import attrs

from sinch_qn.bulk.journal.postgres_connection import Connection, Reply, Statement
from sinch_qn.bulk.journal.postgres_lease import Seat
from sinch_qn.bulk.journal.postgres_schema import NOW, SELECT, UPDATE, channel, from_row, to_json
from sinch_qn.bulk.states import ChallengeState, Entry, Todo
from sinch_qn.errors import JournalError

T = TypeVar("T")


@attrs.define(eq=False)
class Question:
    """Statements that a unit of work needs the results of, before it goes on."""

    statements: Sequence[Statement]
    replies: list[Reply] = attrs.field(factory=list)


Work: TypeAlias = Generator[Question, None, T]
"""Yields questions, and returns what its caller waits for; all before COMMIT."""


def ask(*statements: Statement) -> Work[list[Reply]]:
    """Return the results of *statements*, to a unit of work that says `yield from`."""
    question = Question(statements)
    yield question
    return question.replies


@attrs.frozen(eq=False, kw_only=True)
class Job:
    """One caller's part of a transaction."""

    work: Callable[[Transaction], Work[Any]]
    numbers: Sequence[str] = ()
    """Locked and read before. No two jobs of a transaction have a number in common."""
    picks: Sequence[tuple[Todo, int]] = ()
    """How many due entries to lock and read; those that others have locked are skipped."""
    slot: int | None = None
    """The slot of a turn to lock; `Transaction.turns` has it, unless it is void."""
    alone: bool = False
    """It shares its transaction with no other."""


class Transaction:
    """Entries as they are under their locks, and the statements that are to be committed."""

    def __init__(
        self, *, run: int, seat: Seat, lease_holds: bool = False, now: float = 0.0
    ) -> None:
        self.run = run
        self.writer = seat.id
        self.next_token = seat.next_token
        self.lease_holds = lease_holds
        """Whether its writer is a runner that may commit intents."""
        self.now = now
        """When it began, by the database's clock."""
        self.turns: set[int] = set()
        """The slots whose turn is not void, to be used once."""
        self.entries: dict[str, Entry] = {}
        self.picked: dict[Todo, list[Entry]] = {}
        """Due entries, the longest due first."""
        self._stored: dict[str, Entry] = {}
        self._writers: dict[str, int | None] = {}
        self._statements: list[tuple[str, list[Sequence[object]]]] = []
        """Each with the parameters of all jobs."""
        self.position = 0
        """Of the last statement of the job at work: its next one is not executed before."""
        self._has_news = False

    def locks(self, jobs: Sequence[Job]) -> Iterator[Statement]:
        """Yield the statements that lock and read what *jobs* need, in one order for all."""
        slots = sorted(job.slot for job in jobs if job.slot is not None)
        if slots:
            query = (
                "SELECT id FROM slots WHERE id = ANY(%s) AND writer = %s AND number IS NULL "
                f"AND until > {NOW} ORDER BY id FOR UPDATE"
            )
            yield Statement(query, (slots, self.writer))
        numbers = list({number: None for job in jobs for number in job.numbers})
        if numbers:
            query = SELECT + " WHERE run = %s AND number = ANY(%s) ORDER BY number FOR UPDATE"
            yield Statement(query, (self.run, numbers))
        for todo, limit in _picks(jobs).items():
            yield self._pick(todo, limit, numbers)

    def _pick(self, todo: Todo, limit: int, others: list[str]) -> Statement:
        query = (
            f"{SELECT} WHERE run = %s AND todo = %s AND todo > 0 AND due <= {NOW} "
            "AND number <> ALL(%s) ORDER BY due, requested_at, seq LIMIT %s FOR UPDATE SKIP LOCKED"
        )
        return Statement(query, (self.run, todo.value, others, limit))

    def pick_more(self, todo: Todo, limit: int) -> Work[bool]:
        """Lock and read more due entries; return whether there are any."""
        (found,) = yield from ask(self._pick(todo, limit, list(self.entries)))
        self.picked.setdefault(todo, []).extend(self.read(found))
        return bool(self.picked[todo])

    def keep(self, jobs: Sequence[Job], replies: Iterator[Reply]) -> None:
        """Keep what `locks` has read."""
        if any(job.slot is not None for job in jobs):
            self.turns = {slot for (slot,) in next(replies).rows}
        if any(job.numbers for job in jobs):
            self.read(next(replies))
        for todo in _picks(jobs):
            self.picked[todo] = self.read(next(replies))

    def read(self, reply: Reply) -> list[Entry]:
        """Keep the entries in a reply, which are locked from now on; return the new ones."""
        entries = []
        for row in reply.rows:
            entry = from_row(row)
            if entry.number in self.entries:
                continue  # another job of this transaction has it
            self.entries[entry.number] = self._stored[entry.number] = entry
            self._writers[entry.number] = row[-1]
            entries.append(entry)
        return entries

    def claimable(self, todo: Todo) -> Iterator[Entry]:
        """Yield the entries that were picked, each once for all jobs."""
        picked = self.picked.get(todo, [])
        while picked:
            yield picked.pop(0)

    def save(self, entry: Entry, *, keeps_writer: bool = False, is_intent: bool = False) -> None:
        """Store *entry* in place of the one of its number.

        *is_intent*: this writer's, without an outcome. *keeps_writer*: the open intent stays open.
        """
        self.entries[entry.number] = entry
        self._has_news = True
        if not keeps_writer:
            self._writers[entry.number] = self.writer if is_intent else None

    def execute(self, sql: str, *parameters: object) -> None:
        """Have *sql* executed in the transaction's last round trip.

        A job's statements are executed in order, those of other jobs together with them: jobs have
        no number in common.
        """
        for index, (same, sets) in enumerate(self._statements[self.position :], self.position):
            if same == sql:
                sets.append(parameters)
                self.position = index
                return
        self.position = len(self._statements)
        self._statements.append((sql, [parameters]))

    def take(self) -> list[Statement]:
        """Return the statements so far, to be executed now."""
        statements, self._statements = self._statements, []
        return [
            Statement(sql, sets=sets) if len(sets) > 1 else Statement(sql, sets[0])
            for sql, sets in statements
        ]

    def tell(self) -> None:
        """Have the runners hear of what a submitter wrote."""
        self._has_news = True

    def writes(self, *, notify: bool) -> list[Statement]:
        """Return the statements of the last round trip before COMMIT."""
        news = Statement("SELECT pg_notify(%s, '')", (channel(self.run),))
        return [*self._writes(), *([news] if notify and self._has_news else [])]

    def check(self, replies: Sequence[Reply]) -> None:
        """Make sure that all entries were written. Raises `JournalError`."""
        changed = len(self._changed())
        if changed and replies[0].count != changed:
            raise JournalError(
                f"{replies[0].count} of {changed} numbers were written: stop all runs"
            )

    def _changed(self) -> list[Entry]:
        entries = self.entries.items()
        return [entry for number, entry in entries if entry is not self._stored[number]]

    def _writes(self) -> list[Statement]:
        changed = self._changed()
        if not changed:
            return self.take()
        update = Statement(UPDATE, (self.run, to_json(changed, self._writers)))
        return [update, *self.take(), *self._counts(changed)]

    def _counts(self, changed: Sequence[Entry]) -> Iterator[Statement]:
        deltas: Counter[ChallengeState] = Counter()
        for entry in changed:
            deltas[self._stored[entry.number].state] -= 1
            deltas[entry.state] += 1
        moved = {state.value: n for state, n in deltas.items() if n}
        if moved:
            query = (
                "INSERT INTO counts SELECT %s, %s, * FROM unnest(%s::text[], %s::bigint[]) "
                "ON CONFLICT (run, writer, state) DO UPDATE SET n = counts.n + excluded.n"
            )
            columns = [list(moved), list(moved.values())]
            yield Statement(query, (self.run, self.writer, *columns))


def _picks(jobs: Sequence[Job]) -> Mapping[Todo, int]:
    """Return how many entries all *jobs* together want of each kind."""
    wanted: Counter[Todo] = Counter()
    for todo, limit in itertools.chain.from_iterable(job.picks for job in jobs):
        wanted[todo] += limit
    return wanted


async def work_through(
    jobs: Sequence[Job], transaction: Transaction, connection: Connection
) -> list[Any]:
    """Do *jobs* in order; what they ask for together is one round trip. Return their results."""
    results: dict[Job, Any] = {}
    works = {job: job.work(transaction) for job in jobs}
    positions = dict.fromkeys(jobs, 0)
    while works:
        questions = []
        for job, work in list(works.items()):
            transaction.position = positions[job]
            try:
                questions.append(next(work))
            except StopIteration as stop:
                results[job] = stop.value
                del works[job]
            positions[job] = transaction.position
        if questions:
            asked = [statement for question in questions for statement in question.statements]
            replies = iter(await connection.trip(asked))
            for question in questions:
                question.replies = list(itertools.islice(replies, len(question.statements)))
    return [results[job] for job in jobs]
