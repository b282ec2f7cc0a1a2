"""The file of a SQLite journal: one file under one name, never without its write-ahead log.

The latest commits of a journal are in its log, `PATH-wal`, which SQLite finds by the file's name
and deletes when the last connection closes. A file that lost its log is an older journal: a run on
it would call phones twice. So the file carries a mark while its log may hold more than it does, and
is refused under a second name, without its log, and once it was moved away under a connection.
"""

from __future__ import annotations

import contextlib
import enum
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from sinch_qn.errors import JournalError

try:
    import fcntl
except ImportError:  # Windows
    HAS_LOCKS = False
else:
    HAS_LOCKS = True

OLDEST_SQLITE = (3, 34, 0)
"""Every statement runs on this version."""

VERSION = 3
"""Kept in the file's `user_version`."""

BUSY_TIMEOUT = 120.0
"""Seconds to wait for a write lock of another program."""

OWNER_ONLY = stat.S_IRUSR | stat.S_IWUSR

_MOUNTS = Path("/proc/self/mountinfo")

_LOCK_ATTEMPTS = 10
_LOCK_INTERVAL = 0.05


class Mark(enum.IntEnum):
    """What the file says of itself, in its `application_id`."""

    CLOSED = 0x51_4E_4A_31  # "QNJ1"
    """The file holds everything that its log does not, if there is one."""
    OPEN = 0x51_4E_4A_32
    """A run has it open, or ended without closing it: the log belongs to it."""
    COPY = 0x51_4E_4A_33
    """A backup of a run that went on: it lacks what happened since."""


def wal_of(path: Path) -> Path:
    """Return the path of the write-ahead log."""
    return path.with_name(path.name + "-wal")


def uri(path: Path, parameters: str) -> str:
    """Return *path* as SQLite takes it."""
    return f"{path.absolute().as_uri()}?{parameters}"


def check_file(path: Path, *, running: bool) -> int:
    """Refuse a file that is no journal, or is not safe to use; return its version.

    Raises `JournalError`, `OSError` and `sqlite3.Error`, and leaves the file as it was.
    """
    check_system()
    check_name(path)
    mark, version = read_header(path)
    if version > VERSION:
        raise JournalError(
            f"a newer sinch_qn wrote this journal (version {version}; "
            f"this one reads up to {VERSION})"
        )
    if mark is Mark.OPEN and lacks_its_log(path):
        raise JournalError(
            f"its run ended without closing it, and its latest calls are in {wal_of(path).name}, "
            f"which is missing: put that file beside it (see: sinch-qn journal accept --help)"
        )
    if running and mark is Mark.COPY:
        raise JournalError(
            "this is a backup of a run that went on: it lacks the calls made since, and would make "
            "them again (see: sinch-qn journal accept --help)"
        )
    return version


def check_system() -> None:
    """Refuse a system without file locks, and an untested SQLite. Raises `JournalError`."""
    if not HAS_LOCKS:
        raise JournalError(
            "a journal in a file needs a POSIX system, for its lock: use one in PostgreSQL, or run"
            " this in WSL or a container"
        )
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise JournalError(f"SQLite {sqlite3.sqlite_version} is too old: {oldest} is needed")


def check_name(path: Path) -> None:
    """Refuse a file that has a second name, and so a second log. Raises `JournalError`."""
    found = path.stat()
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        raise JournalError(
            "this file has a second name (a hard link), under which its latest calls are not seen: "
            "delete the other name"
        )
    if str(path) in _mount_points():
        raise JournalError(
            "this file is mounted by itself, so that its log stays outside: mount its folder"
        )


def _mount_points() -> Iterator[str]:
    """Yield where something is mounted; nothing where the system does not tell."""
    with contextlib.suppress(OSError):
        for line in _MOUNTS.read_bytes().splitlines():
            # Spaces, tabs, newlines and backslashes are octal.
            point = line.split(b" ")[4]
            yield os.fsdecode(point.decode("unicode_escape").encode("latin-1"))


def read_header(path: Path) -> tuple[Mark, int]:
    """Return the mark and the version in the file itself, without its log. Writes nothing.

    SQLite reads it: closing a file that SQLite has open elsewhere in this process would drop its
    locks, and another process would delete the log as the last one to leave.
    """
    with contextlib.closing(
        sqlite3.connect(uri(path, "mode=ro&immutable=1"), uri=True, isolation_level=None)
    ) as database:
        database.execute("PRAGMA writable_schema = ON")  # reads a file that is being checkpointed
        try:
            (mark,) = database.execute("PRAGMA application_id").fetchone()
            (version,) = database.execute("PRAGMA user_version").fetchone()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_NOTADB:
                raise
            mark = 0
    if mark not in set(Mark):
        raise JournalError("this file is not a sinch_qn journal")
    return Mark(mark), version


def lacks_its_log(path: Path) -> bool:
    """Return whether the latest commits are in a log that is missing."""
    # A run that opens or closes it now changes the mark while there is a log.
    log = wal_of(path)
    return not log.exists() and read_header(path)[0] is Mark.OPEN and not log.exists()


def parameters(path: Path) -> str:
    """Return how SQLite is to open the file at *path*, which exists: to read only, if need be."""
    if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
        return "mode=rw"
    if path.with_name(path.name + "-shm").exists():
        return "mode=ro"
    log = wal_of(path)
    if log.exists() and log.stat().st_size:
        raise JournalError(
            f"this journal is read-only and was not closed: copy it and {log.name} to a folder "
            "that can be written"
        )
    return "mode=ro&immutable=1"


def create(path: Path) -> None:
    """Make an empty journal, or go on making one."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, OWNER_ONLY))
    path.chmod(OWNER_ONLY)
    with contextlib.closing(sqlite3.connect(path)) as database:
        # Written before WAL is switched on, so that it stands in the file's own header.
        set_mark(database, Mark.CLOSED)
        database.execute("PRAGMA journal_mode = WAL")


def set_mark(database: sqlite3.Connection, mark: Mark) -> None:
    """Commit *mark*; a checkpoint brings it into the file."""
    database.execute(f"PRAGMA application_id = {mark.value}")


def accept(path: Path) -> None:
    """Declare that the file at *path* is complete: a person's word. Raises `JournalError`."""
    with lock(path):
        check_name(path)
        if read_header(path)[0] is not Mark.COPY and not lacks_its_log(path):
            raise JournalError("nothing is missing: a run takes this journal as it is")
        with contextlib.closing(sqlite3.connect(uri(path, "mode=rw"), uri=True)) as database:
            set_mark(database, Mark.CLOSED)


@contextlib.contextmanager
def lock(path: Path, *, attempts: int = _LOCK_ATTEMPTS) -> Iterator[None]:
    """Exclude runners of the journal at *path*; an OS lock, released when its process ends.

    Raises `JournalError` if there is one. Others hold it for a moment only, when they close.
    """
    check_system()
    descriptor = os.open(_lock_of(path), os.O_CREAT | os.O_RDWR, OWNER_ONLY)
    try:
        while not _take(descriptor):
            attempts -= 1
            if not attempts:
                raise JournalError("another run is using this journal")
            time.sleep(_LOCK_INTERVAL)
        yield
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Return whether a runner has the journal at *path*. Raises `OSError`."""
    try:
        descriptor = os.open(_lock_of(path), os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # Shared: others may look as well, and a runner that starts tries again.
        return not _take(descriptor, shared=True)
    finally:
        os.close(descriptor)


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _take(descriptor: int, *, shared: bool = False) -> bool:
    """Take the lock if nobody has it, and return whether it was taken."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class FileConnection(sqlite3.Connection):
    """A connection that leaves the file with its log or complete, and notices when it is gone."""

    read_only = False
    _path: Path
    _keeper: sqlite3.Connection | None = None
    """Its lock on the file keeps the log from being deleted when this connection closes."""
    _inodes: dict[Path, tuple[int, int]]
    _holds_lock = False

    def guard(self, path: Path) -> None:
        """Begin to watch over the file at *path*."""
        self._path = path
        if not self.read_only:
            self._keeper = sqlite3.connect(
                uri(path, "mode=ro"), uri=True, isolation_level=None, check_same_thread=False
            )
            self._keeper.execute("PRAGMA schema_version").fetchone()  # from here on it is locked
        files = (path, wal_of(path))
        self._inodes = {file: inode for file in files if (inode := _inode(file)) is not None}

    def check_in_place(self) -> None:
        """Raise `JournalError` if the file or its log was deleted, moved or replaced."""
        for file, inode in self._inodes.items():
            if _inode(file) != inode:
                raise JournalError(f"{file.name} was deleted, moved or replaced")

    def mark_open(self) -> None:
        """Mark the file before a run commits anything; the runner holds the lock."""
        self._holds_lock = True
        set_mark(self, Mark.OPEN)
        # If a reader is in the way, the journal's thread repeats this.
        self.execute("PRAGMA busy_timeout = 50")
        with contextlib.suppress(sqlite3.OperationalError):
            self.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self.execute(f"PRAGMA busy_timeout = {round(1000 * BUSY_TIMEOUT)}")

    def copy_to(self, target: Path) -> bool:
        """Write a copy to the new file *target*; return whether it is complete: no run goes on."""
        complete = False
        with contextlib.ExitStack() as held:
            with contextlib.suppress(OSError, JournalError):
                held.enter_context(lock(self._path, attempts=1))
                complete = self._mark() is not Mark.COPY
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, OWNER_ONLY))
            try:
                with contextlib.closing(sqlite3.connect(target)) as copy:
                    self.backup(copy)
                    set_mark(copy, Mark.CLOSED if complete else Mark.COPY)
            except BaseException:
                target.unlink()
                raise
        return complete

    def close(self) -> None:
        """Close; the log is deleted only if the file says that it is complete."""
        if self._keeper is None:
            super().close()
            return
        with contextlib.ExitStack() as stack:
            try:
                if not self._holds_lock and self._mark() is Mark.OPEN:
                    stack.enter_context(lock(self._path, attempts=1))
                    self._holds_lock = True
                if self._holds_lock:
                    set_mark(self, Mark.CLOSED)
                self._keeper.close()
            except (OSError, sqlite3.Error, JournalError):
                pass  # a run is using it, or it cannot be marked: its log stays
            super().close()
            self._keeper.close()

    def _mark(self) -> Mark:
        (mark,) = self.execute("PRAGMA application_id").fetchone()
        return Mark(mark)


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
