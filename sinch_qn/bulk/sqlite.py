"""A journal in one SQLite file: WAL, fsync on every commit, one writer thread, group commit."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import operator
import os
import sqlite3
import stat
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import attrs

from sinch_qn.bulk.journal import (
    IN_HAND_AFTER,
    Batch,
    BatchState,
    Identity,
    Submission,
    act,
    check_identity,
)
from sinch_qn.bulk.states import ChallengeState, Change, Entry, Event, Todo, step
from sinch_qn.errors import JournalError
from sinch_qn.models import GlobalProcessState
from sinch_qn.phone import TOLL_FREE_PREFIXES

T = TypeVar("T")

_APPLICATION_ID = 0x51_4E_4A_31  # "QNJ1": tells our files from other SQLite files
_MAGIC = b"SQLite format 3\x00"
_LARGEST_GROUP = 2000

_LINGER = 0.002
"""Seconds that a commit waits for company, if the last one had some: about one fsync. It makes a
run's commits a third."""

_EMPTYING = 1.0
"""Seconds from one emptying of the log to the next: that is how long an erased code may last."""
_EMPTYING_PATIENCE_MS = 50

_PAGE = 2000

_REMEMBERED = 10_000
"""Entries kept in mind at the most: the numbers that something is happening to, and a few MB."""

_MIGRATIONS = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE numbers (
        seq INTEGER PRIMARY KEY,
        number TEXT NOT NULL UNIQUE,
        ref TEXT,
        line INTEGER,
        state TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        codes_used INTEGER NOT NULL,
        codes_waiting INTEGER NOT NULL,
        called_at REAL,
        settled_at REAL,
        due REAL NOT NULL,
        window_end REAL,
        remote TEXT,
        region TEXT,
        added INTEGER NOT NULL,
        note TEXT,
        to_ring INTEGER NOT NULL,
        tries INTEGER NOT NULL,
        batch INTEGER,
        todo INTEGER NOT NULL
    );
    CREATE INDEX numbers_todo ON numbers (todo, due, seq) WHERE todo > 0;
    CREATE INDEX numbers_called ON numbers (called_at) WHERE called_at IS NOT NULL;
    CREATE INDEX numbers_intent ON numbers (state) WHERE state IN ('calling', 'verifying');
    CREATE INDEX numbers_to_enable ON numbers (seq)
        WHERE batch IS NULL AND remote = 'GLOBAL_PROCESS_STATE_VERIFIED';
    CREATE INDEX numbers_batch ON numbers (batch) WHERE batch IS NOT NULL;
    CREATE TABLE counts (state TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TRIGGER numbers_added AFTER INSERT ON numbers BEGIN
        INSERT INTO counts VALUES (new.state, 1) ON CONFLICT (state) DO UPDATE SET n = n + 1;
    END;
    CREATE TRIGGER numbers_moved AFTER UPDATE OF state ON numbers WHEN old.state <> new.state BEGIN
        UPDATE counts SET n = n - 1 WHERE state = old.state;
        INSERT INTO counts VALUES (new.state, 1) ON CONFLICT (state) DO UPDATE SET n = n + 1;
    END;
    CREATE TABLE acts (
        operation TEXT NOT NULL,
        number TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        nth INTEGER NOT NULL,
        intent_at REAL NOT NULL,
        outcome TEXT,
        outcome_at REAL,
        PRIMARY KEY (operation, number, attempt, nth)
    ) WITHOUT ROWID;
    CREATE TABLE inbox (
        id INTEGER PRIMARY KEY,
        number TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        code TEXT NOT NULL,
        received_at REAL NOT NULL,
        status TEXT NOT NULL,
        UNIQUE (number, attempt, code)
    );
    CREATE TABLE batches (
        id INTEGER PRIMARY KEY,
        toll_free INTEGER NOT NULL,
        region TEXT NOT NULL,
        state TEXT NOT NULL,
        at REAL NOT NULL,
        order_id TEXT,
        note TEXT
    );
    """,
    """
    DROP TRIGGER numbers_moved;  -- counted once for each commit instead: _Connection.moved
    DROP INDEX numbers_called;  -- used at a run's start only, which reads the whole file anyway
    DROP INDEX numbers_intent;
    """,
)
"""The statements that lead from one version of the schema to the next; never edit an old one."""

_FIELDS = tuple(field.name for field in attrs.fields(Entry))
_SELECT = f"SELECT {', '.join(_FIELDS)} FROM numbers"  # noqa: S608 - constants only
_INSERT = (
    f"INSERT OR IGNORE INTO numbers ({', '.join(_FIELDS)}, todo) "  # noqa: S608 - as above
    f"VALUES ({', '.join('?' * (len(_FIELDS) + 1))})"
)
_values = operator.attrgetter(*_FIELDS)
_STATES = {state.value: state for state in ChallengeState}
_TOLL_FREE = f"substr(number, 1, 5) IN ({', '.join(map(repr, TOLL_FREE_PREFIXES))})"


def _from_row(row: tuple[Any, ...]) -> Entry:
    values = dict(zip(_FIELDS, row, strict=True))
    values["state"] = _STATES[values["state"]]
    values["added"] = bool(values["added"])
    values["to_ring"] = bool(values["to_ring"])
    if values["remote"] is not None:
        values["remote"] = GlobalProcessState(values["remote"])
    return Entry(**values)


def _to_row(entry: Entry) -> tuple[Any, ...]:
    return (*map(_stored, _values(entry)), entry.todo.value)


def _stored(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


@functools.cache  # a few dozen combinations
def _updating(*columns: str) -> str:
    values = ", ".join(f"{column} = ?" for column in columns)
    return f"UPDATE numbers SET {values} WHERE number = ?"  # noqa: S608 - our own names


def _update(database: _Connection, before: Entry, after: Entry) -> None:
    """Write what has changed, and nothing else: each column named costs its indexes."""
    changed = {
        name: _stored(new)
        for name, old, new in zip(_FIELDS, _values(before), _values(after), strict=True)
        if old is not new and old != new
    }
    if before.todo is not after.todo:
        changed["todo"] = after.todo.value
    if changed:
        database.execute(_updating(*changed), (*changed.values(), after.number))
    if before.state is not after.state:
        database.moved[before.state] -= 1
        database.moved[after.state] += 1
    database.remember(after)


class SqliteJournal:
    """A run's journal in the file *path*, which is made, readable by its owner only, if missing.

    One process runs; others may submit codes and read meanwhile. An OS lock on `PATH.lock` keeps a
    second runner out, and is gone with its process, however that ends.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # What a link leads to is one journal, with one lock, by whatever name it is opened.
        self._path = Path(os.path.realpath(path))
        self._lock: int | None = None
        self._thread: _DatabaseThread | None = None

    async def open(self, identity: Identity | None, *, running: bool) -> None:
        """Open the file; only a runner may make it.

        Raises `JournalError`, and leaves the file as it was, if it is not a journal, is damaged,
        is of a newer version or another project, or if another run is using it.
        """
        opening = asyncio.create_task(asyncio.to_thread(self._open, identity, running))
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            # The thread goes on; what it opens must not stay open, nor locked.
            await asyncio.wait([opening])
            if not opening.cancelled() and opening.exception() is None:
                await self.close()
            raise

    def _open(self, identity: Identity | None, running: bool) -> None:  # noqa: FBT001
        if self._thread is not None:
            raise JournalError(f"{self._path}: this journal is open already: leave its run first")
        try:
            size = self._path.stat().st_size if self._path.exists() else 0
            if size:
                self._check_header()
            elif not running:
                raise JournalError(f"{self._path}: there is no such journal")
            if running:
                self._take_lock()
                if not size:
                    self._create()
            database = _connect(self._path)
            try:
                _check_content(database, identity, running=running)
            except BaseException:
                database.close()
                raise
        except (OSError, sqlite3.Error) as error:
            self._release_lock()
            raise JournalError(f"{self._path}: the journal cannot be used: {error}") from error
        except JournalError:
            self._release_lock()
            raise
        self._thread = _DatabaseThread(database, str(self._path))

    def _check_header(self) -> None:
        """Tell foreign and newer files by their first bytes, before SQLite touches anything."""
        with self._path.open("rb") as file:
            header = file.read(100)
        version = int.from_bytes(header[60:64], "big")
        if header[:16] != _MAGIC or int.from_bytes(header[68:72], "big") != _APPLICATION_ID:
            raise JournalError(f"{self._path}: this file is not a sinch_qn journal")
        if version > len(_MIGRATIONS):
            raise JournalError(
                f"{self._path}: a newer sinch_qn wrote this journal (version {version}; "
                f"this one reads up to {len(_MIGRATIONS)})"
            )

    def _create(self) -> None:
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, stat.S_IRUSR | stat.S_IWUSR))
        self._path.chmod(stat.S_IRUSR | stat.S_IWUSR)
        with contextlib.closing(sqlite3.connect(self._path)) as database:
            # Written before WAL is switched on, so that it stands in the file's own header.
            database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            database.execute("PRAGMA journal_mode = WAL")

    def _take_lock(self) -> None:
        lock = self._path.with_name(self._path.name + ".lock")
        self._lock = os.open(lock, os.O_CREAT | os.O_RDWR, stat.S_IRUSR | stat.S_IWUSR)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise JournalError(f"{self._path}: another run is using this journal") from error

    def _release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def close(self) -> None:
        """Finish what was accepted, and let the next runner in."""
        # Not open from here on: what came later would wait for ever.
        thread, self._thread = self._thread, None
        if thread is None:
            return

        def finish() -> None:
            # In the thread to its end, so that a cancelled caller leaves no lock behind.
            try:
                thread.close()
            finally:
                self._release_lock()

        await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, finish))

    async def add(self, entries: Sequence[Entry]) -> int:
        """Store those whose number is not known yet."""
        rows = [_to_row(entry) for entry in entries]
        return await self._write(lambda database: database.executemany(_INSERT, rows).rowcount)

    async def get(self, number: str) -> Entry | None:
        """Return the entry of *number*."""
        return await self._read(lambda database: database.entry(number))

    async def apply(self, changes: Sequence[Change]) -> list[Entry | None]:
        """Apply each change where `step` allows it."""
        return await self._write(lambda db: [_apply(db, change) for change in changes])

    async def submit_code(
        self, number: str, code: str, at: float
    ) -> tuple[Submission, Entry | None]:
        """Put *code* into the inbox of *number*."""
        return await self._write(lambda database: _submit(database, number, code, at))

    async def take_code(self, number: str, at: float) -> tuple[Entry, str] | None:
        """Log the intent to verify the oldest waiting code, and return it."""
        return await self._write(lambda database: _take_code(database, number, at))

    async def pick(self, todo: Todo, now: float, limit: int) -> list[Entry]:
        """Return up to *limit* entries with *todo* whose time has come."""
        query = _SELECT + " WHERE todo = ? AND todo > 0 AND due <= ? ORDER BY due, seq LIMIT ?"
        return await self._read(lambda db: _entries(db, query, todo.value, now, limit))

    async def backlog(self, todo: Todo, now: float) -> int:
        """Return how many entries with *todo* are due."""
        query = "SELECT count(*) FROM numbers WHERE todo = ? AND todo > 0 AND due <= ?"
        return await self._read(lambda db: int(db.execute(query, (todo, now)).fetchone()[0]))

    async def next_due(self) -> float | None:
        """Return when the next entry is due."""
        # One look-up for each kind: the least of the whole index would be a scan.
        query = "SELECT due FROM numbers WHERE todo = ? AND todo > 0 ORDER BY due LIMIT 1"

        def read(database: sqlite3.Connection) -> float | None:
            todos = [todo for todo in Todo if todo is not Todo.NOTHING]
            rows = [database.execute(query, (todo.value,)).fetchone() for todo in todos]
            return min((row[0] for row in rows if row is not None), default=None)

        return await self._read(read)

    async def unfinished(self) -> list[Entry]:
        """Return the entries with an intent that has no outcome."""
        query = _SELECT + " WHERE state IN ('calling', 'verifying')"
        return await self._read(lambda database: _entries(database, query))

    async def called_since(self, since: float) -> list[Entry]:
        """Return the entries whose last call's intent is younger than *since*."""
        query = _SELECT + " WHERE called_at > ? ORDER BY called_at"
        return await self._read(lambda database: _entries(database, query, since))

    async def counts(self) -> Mapping[ChallengeState, int]:
        """Return how many entries are in each state."""

        def read(database: _Connection) -> Mapping[ChallengeState, int]:
            database.count_moved()
            found = dict(database.execute("SELECT state, n FROM counts"))
            return {state: found.get(state.value, 0) for state in ChallengeState}

        return await self._read(read)

    def rows(self) -> Iterator[Entry]:
        """Yield all entries in the order they were added, a page at a time."""
        query = "SELECT seq, " + _SELECT.removeprefix("SELECT ") + " WHERE seq > ? ORDER BY seq"
        try:
            with contextlib.closing(_connect(self._path)) as database:
                last = 0
                while page := database.execute(f"{query} LIMIT {_PAGE}", (last,)).fetchall():
                    last = page[-1][0]
                    yield from (_from_row(row[1:]) for row in page)
        except sqlite3.Error as error:
            raise JournalError(f"{self._path}: the journal cannot be read: {error}") from error

    async def take_batch(
        self, *, toll_free: bool, region: str | None, limit: int, at: float
    ) -> Batch | None:
        """Log the intent to text-enable up to *limit* verified numbers."""
        return await self._write(lambda db: _take_batch(db, toll_free, region, limit, at))

    async def settle_batch(
        self,
        batch: int,
        state: BatchState,
        *,
        order_id: str | None,
        note: str | None,
        only_from: Collection[BatchState] | None = None,
    ) -> bool:
        """Log what came of it."""

        def write(database: _Connection) -> bool:
            query = "SELECT state FROM batches WHERE id = ?"
            row = database.execute(query, (batch,)).fetchone()
            if row is None or (only_from is not None and BatchState(row[0]) not in only_from):
                return False
            database.execute(
                "UPDATE batches SET state = ?, order_id = ?, note = ? WHERE id = ?",
                (state.value, order_id, note, batch),
            )
            if state is BatchState.NOT_SENT:
                database.execute("UPDATE numbers SET batch = NULL WHERE batch = ?", (batch,))
                database.forget()
            return True

        return await self._write(write)

    async def batches(self) -> list[Batch]:
        """Return all batches, oldest first."""
        return await self._read(_batches)

    async def _read(self, work: Callable[[_Connection], T]) -> T:
        return await self._database.submit(work, writes=False)

    async def _write(self, work: Callable[[_Connection], T]) -> T:
        # What was handed over is committed, whatever becomes of the caller.
        return await self._database.submit(work, writes=True)

    @property
    def _database(self) -> _DatabaseThread:
        if self._thread is None:
            raise JournalError(f"{self._path}: the journal is not open")
        return self._thread


# ---- the file ----------------------------------------------------------------------------------


class _Connection(sqlite3.Connection):
    """The database, and what its one thread keeps in mind about it."""

    erased = True
    """Codes were erased that the write-ahead log may still hold; by a run before this one, even."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.moved: Counter[ChallengeState] = Counter()
        """How the counts of the states change with this transaction."""
        self._entries: dict[str, Entry] = {}
        self._version = -1

    def remember(self, entry: Entry) -> None:
        """Spare the next change of a number its reading, a quarter of what the change costs."""
        if len(self._entries) >= _REMEMBERED:
            self.forget()
        self._entries[entry.number] = entry

    def forget(self) -> None:
        """Read anew what may have been written past `remember`."""
        self._entries.clear()

    def entry(self, number: str) -> Entry | None:
        """Return the entry of *number*."""
        entry = self._entries.get(number)
        if entry is None:
            row = self.execute(_SELECT + " WHERE number = ?", (number,)).fetchone()
            if row is not None:
                self.remember(entry := _from_row(row))
        return entry

    def heed_others(self) -> None:
        """Forget the entries if another process has written meanwhile."""
        (version,) = self.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self.forget()
            self._version = version

    def count_moved(self) -> None:
        """Add to the counts what this transaction has changed so far."""
        query = (
            "INSERT INTO counts VALUES (?, ?) ON CONFLICT (state) DO UPDATE SET n = n + excluded.n"
        )
        self.executemany(query, [(state.value, n) for state, n in self.moved.items() if n])
        self.moved.clear()


def _connect(path: Path) -> _Connection:
    # mode=rw: a file that vanished meanwhile is an error, not an empty journal.
    uri = f"{path.absolute().as_uri()}?mode=rw"
    database = sqlite3.connect(
        uri,
        uri=True,
        isolation_level=None,
        timeout=30.0,
        check_same_thread=False,
        factory=_Connection,
    )
    try:
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA secure_delete = ON")
    except BaseException:
        database.close()
        raise
    return database


def _check_content(
    database: sqlite3.Connection, identity: Identity | None, *, running: bool
) -> None:
    if running:
        (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise JournalError(f"the journal is damaged: {verdict}")
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version < len(_MIGRATIONS):
        if not running:  # only under the lock: an older runner may be at work
            raise JournalError("the journal is of an older version: start its run once")
        # Lost if the process died while it made the file.
        database.execute("PRAGMA journal_mode = WAL")
        _migrate(database, version)
    if running:  # a process of an older version may have moved states that it did not count
        database.executescript(
            "BEGIN IMMEDIATE; DELETE FROM counts; "
            "INSERT INTO counts SELECT state, count(*) FROM numbers GROUP BY state; COMMIT"
        )
    if identity is None:
        return
    mine = attrs.asdict(identity)
    for name, value in mine.items():
        database.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (name, value))
    written = dict(database.execute("SELECT key, value FROM meta"))
    check_identity(Identity(**{name: written[name] for name in mine}), identity)


def _migrate(database: sqlite3.Connection, version: int) -> None:
    for number, script in enumerate(_MIGRATIONS[version:], start=version + 1):
        database.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT")


# ---- one unit of work each, inside a transaction -----------------------------------------------


def _entries(database: sqlite3.Connection, query: str, *parameters: object) -> list[Entry]:
    return [_from_row(row) for row in database.execute(query, parameters)]


def _apply(database: _Connection, change: Change) -> Entry | None:
    before = database.entry(change.number)
    after = None if before is None else step(before, change)
    if before is None or after is None:
        return None
    _update(database, before, after)
    if logged := act(before, after, change.event):
        if logged.outcome is None:
            # An attempt that surely did not happen may be made; any other is a broken law.
            query = (
                "INSERT INTO acts VALUES (?, ?, ?, ?, ?, NULL, NULL) ON CONFLICT DO UPDATE "
                "SET intent_at = excluded.intent_at, outcome = NULL, outcome_at = NULL "
                "WHERE outcome = 'not sent'"
            )
            values = (logged.operation, change.number, logged.attempt, logged.nth, change.at)
            if database.execute(query, values).rowcount != 1:
                raise JournalError(f"{logged.operation} attempt {logged.attempt} was made before")
        else:
            database.execute(
                "UPDATE acts SET outcome = ?, outcome_at = ? "
                "WHERE operation = ? AND number = ? AND attempt = ? AND nth = ?",
                (
                    logged.outcome,
                    change.at,
                    logged.operation,
                    change.number,
                    logged.attempt,
                    logged.nth,
                ),
            )
    if after.settled_at is not None:
        _erase(database, "DELETE FROM inbox WHERE number = ?", change.number)
    elif status := IN_HAND_AFTER.get(change.event):
        database.execute(
            "UPDATE inbox SET status = ? WHERE number = ? AND status = 'in hand'",
            (status, change.number),
        )
    elif change.event in IN_HAND_AFTER:
        query = "DELETE FROM inbox WHERE number = ? AND status = 'in hand'"
        _erase(database, query, change.number)
    return after


def _erase(database: _Connection, query: str, number: str) -> None:
    if database.execute(query, (number,)).rowcount:
        database.erased = True


def _submit(
    database: _Connection, number: str, code: str, at: float
) -> tuple[Submission, Entry | None]:
    before = database.entry(number)
    if before is None:
        return Submission.REFUSED, None
    key = (number, before.attempt, code)
    known = "SELECT 1 FROM inbox WHERE number = ? AND attempt = ? AND code = ?"
    if database.execute(known, key).fetchone():
        return Submission.DUPLICATE, before
    after = _apply(database, Change(number=number, event=Event.CODE, at=at))
    if after is None:
        return Submission.REFUSED, before
    database.execute("INSERT INTO inbox VALUES (NULL, ?, ?, ?, ?, 'waiting')", (*key, at))
    return Submission.ACCEPTED, after


def _take_code(database: _Connection, number: str, at: float) -> tuple[Entry, str] | None:
    entry = _apply(database, Change(number=number, event=Event.VERIFY, at=at))
    if entry is None:
        return None
    row, code = database.execute(
        "SELECT id, code FROM inbox WHERE number = ? AND status = 'waiting' ORDER BY id LIMIT 1",
        (number,),
    ).fetchone()
    database.execute("UPDATE inbox SET status = 'in hand' WHERE id = ?", (row,))
    return entry, code


def _take_batch(
    database: _Connection,
    toll_free: bool,  # noqa: FBT001 - the protocol's is keyword-only
    region: str | None,
    limit: int,
    at: float,
) -> Batch | None:
    query = (
        "SELECT seq, number FROM numbers WHERE batch IS NULL "  # noqa: S608 - constants only
        "AND remote = 'GLOBAL_PROCESS_STATE_VERIFIED' AND state IN ('verified', 'skipped') "
        f"AND {_TOLL_FREE} = ? AND (? IS NULL OR coalesce(region, ?) = ?) ORDER BY seq LIMIT ?"
    )
    rows = database.execute(query, (toll_free, region, region, region, limit)).fetchall()
    if not rows:
        return None
    cursor = database.execute(
        "INSERT INTO batches VALUES (NULL, ?, ?, 'sending', ?, NULL, NULL)",
        (toll_free, region or "US", at),
    )
    batch = cursor.lastrowid
    assert batch is not None  # noqa: S101 - an INSERT has one
    database.executemany(
        "UPDATE numbers SET batch = ? WHERE seq = ?", [(batch, seq) for seq, _ in rows]
    )
    database.forget()
    return Batch(
        id=batch,
        toll_free=toll_free,
        region=region or "US",
        numbers=tuple(number for _, number in rows),
        state=BatchState.SENDING,
        at=at,
    )


def _batches(database: sqlite3.Connection) -> list[Batch]:
    found = database.execute(
        "SELECT id, toll_free, region, state, at, order_id, note FROM batches ORDER BY id"
    ).fetchall()
    members = "SELECT number FROM numbers WHERE batch = ? ORDER BY seq"
    return [
        Batch(
            id=row[0],
            toll_free=bool(row[1]),
            region=row[2],
            numbers=tuple(number for (number,) in database.execute(members, (row[0],))),
            state=BatchState(row[3]),
            at=row[4],
            order_id=row[5],
            note=row[6],
        )
        for row in found
    ]


# ---- the thread --------------------------------------------------------------------------------


@attrs.frozen(eq=False)
class _Job:
    work: Callable[[_Connection], Any]
    writes: bool
    future: asyncio.Future[Any]


class _DatabaseThread:
    """The one thread that uses the database; what arrives while it commits goes into one commit."""

    def __init__(self, database: _Connection, name: str) -> None:
        self._database = database
        self._name = name
        self._emptying_at = 0.0
        self._jobs: deque[_Job] = deque()
        self._arrived = threading.Event()  # not a SimpleQueue: its timeouts may never end
        self._closing = False
        self._in_company = False
        self._broken: JournalError | None = None
        self._thread = threading.Thread(target=self._work, name=f"journal {name}", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[_Connection], T], *, writes: bool) -> asyncio.Future[T]:
        """Have *work* done; the future is resolved after its commit."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.append(_Job(work, writes, future))
        if not self._arrived.is_set():
            self._arrived.set()
        return future

    def close(self) -> None:
        """Finish all jobs, then close the database."""
        self._closing = True
        self._arrived.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._closing or self._jobs:
            if jobs := self._next_group():
                _resolve(jobs, self._run(jobs))
            if self._database.erased and time.monotonic() >= self._emptying_at:
                self._empty_log()
        if self._database.erased:
            self._empty_log()
        self._database.close()

    def _empty_log(self) -> None:
        """Have the write-ahead log forget the codes that were erased; later, if it is being read.

        Nothing depends on it otherwise: what was committed is on disk, in the log or in the file.
        """
        self._emptying_at = time.monotonic() + _EMPTYING
        with contextlib.suppress(sqlite3.Error):
            (patience,) = self._database.execute("PRAGMA busy_timeout").fetchone()
            self._database.execute(f"PRAGMA busy_timeout = {_EMPTYING_PATIENCE_MS}")
            try:
                query = "PRAGMA wal_checkpoint(TRUNCATE)"
                (busy, *_) = self._database.execute(query).fetchone()
            finally:
                self._database.execute(f"PRAGMA busy_timeout = {patience}")
            self._database.erased = bool(busy)

    def _next_group(self) -> list[_Job]:
        """Wait for jobs, but no longer than until there is something else to do."""
        self._arrived.wait(self._idle())
        jobs = self._take()
        if self._in_company and any(job.writes for job in jobs):
            time.sleep(_LINGER)
            jobs += self._take()
        if writes := sum(job.writes for job in jobs):
            self._in_company = writes > 1
        return jobs

    def _take(self) -> list[_Job]:
        self._arrived.clear()  # first: what comes from here on sets it again
        jobs = [self._jobs.popleft() for _ in range(min(len(self._jobs), _LARGEST_GROUP))]
        if self._jobs:
            self._arrived.set()
        return jobs

    def _idle(self) -> float | None:
        """Return how long to wait for a job before there is something else to do."""
        if not self._database.erased:
            return None
        return max(0.0, self._emptying_at - time.monotonic())

    def _run(self, jobs: list[_Job]) -> list[Any] | JournalError:
        """Return the results of *jobs*, committed together, or why none of them is."""
        if self._broken is not None:
            return self._broken
        writes = any(job.writes for job in jobs)
        try:
            if writes:
                self._database.execute("BEGIN IMMEDIATE")
            self._database.heed_others()
            results = [job.work(self._database) for job in jobs]
            if writes:
                self._database.count_moved()
                self._database.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must be told
            # After this nobody can say what is on disk: nothing more is written here.
            self._broken = JournalError(f"{self._name}: the journal failed: {error}")
            self._broken.__cause__ = error
            with contextlib.suppress(sqlite3.Error):
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
            return self._broken
        return results


def _resolve(jobs: list[_Job], results: list[Any] | JournalError) -> None:
    """Tell each event loop, in one call, what became of its jobs."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for index, job in enumerate(jobs):
        result = results if isinstance(results, JournalError) else results[index]
        by_loop.setdefault(job.future.get_loop(), []).append((job.future, result))
    for loop, resolved in by_loop.items():
        with contextlib.suppress(RuntimeError):  # closed: nobody waits there
            loop.call_soon_threadsafe(_set_results, resolved)


def _set_results(resolved: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in resolved:
        if future.done():
            continue
        if isinstance(result, JournalError):
            future.set_exception(result)
        else:
            future.set_result(result)
