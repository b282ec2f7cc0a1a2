"""`sinch-qn journal`: copies of a run's journal, and the schema of one in PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import click

from sinch_qn.cli import jobs
from sinch_qn.cli.app import command, command_group
from sinch_qn.cli.journals import JournalName
from sinch_qn.cli.options import (
    FILE,
    OUTPUT,
    URL,
    combine,
    confirm,
    insecure_option,
    journal_argument,
    yes_option,
)

_file_argument = click.argument("path", metavar="JOURNAL", type=FILE)

_url_argument = combine(click.argument("url", metavar="URL", type=URL), insecure_option)
_sql_option = click.option("--sql", is_flag=True, help="Print the SQL, and change nothing.")


@command_group(
    examples="""
        sinch-qn journal backup run.db backup.db
        sinch-qn journal accept backup.db
        sinch-qn journal init postgresql://db.example/sinch?run=january
    """
)
def journal() -> None:
    """Copy or accept a JOURNAL file; prepare or repair a database.

    A journal is up to three files: run.db, and run.db-wal and run.db-shm while it is open or after
    a crash. Move them together, and only while no run uses them. `backup` also copies one run of a
    database; all of it is backed up with the database's own tools, such as pg_dump.
    """


@command(
    examples="""
        sinch-qn journal backup run.db backup.db
        sinch-qn journal backup postgresql://db.example/sinch?run=january backup.db
    """
)
@journal_argument
@click.argument("copy", type=OUTPUT)
def backup(journal: JournalName, copy: Path) -> None:
    """Write a copy of JOURNAL to the new file COPY, also during a run.

    JOURNAL is a file, or the URL of a run in PostgreSQL; COPY is a journal file. A copy made during
    a run lacks the calls that follow: it can be read, but a run refuses it.
    """
    jobs.back_up_journal(journal, copy)


@command(examples="sinch-qn journal accept backup.db")
@_file_argument
@yes_option
def accept(path: Path, *, yes: bool) -> None:
    """Declare that JOURNAL lacks no calls, so that a run may use it.

    For a backup that was made during a run, and for a journal without its -wal file after a crash.
    A run calls its pending numbers, also those that were called since: remove them from the file
    of numbers first. If another program, such as a database browser, has opened the journal after
    the crash, that program has merged the -wal file, and nothing is missing.
    """
    confirm(f"Is it certain that {path} lacks no calls?", yes=yes)
    jobs.accept_journal(path)


@command(
    examples="""
        sinch-qn journal init postgresql://db.example/sinch?run=january
        sinch-qn journal init postgresql://db.example/sinch?run=january --sql | less
    """
)
@_url_argument
@_sql_option
@click.option("--shifts", is_flag=True, help="Also create Procrastinate's tables.")
def init(url: str, *, sql: bool, shifts: bool) -> None:
    """Create the schema of journals in the database at URL.

    The first runner does so as well. `--shifts` is needed for `sinch-qn worker --shifts`.
    """
    jobs.init_database(url, sql=sql, shifts=shifts)


@command(examples="sinch-qn journal upgrade postgresql://db.example/sinch?run=january")
@_url_argument
@_sql_option
def upgrade(url: str, *, sql: bool) -> None:
    """Bring the schema of the database at URL to this version.

    Stop its runners first. An older sinch-qn refuses the database from then on.
    """
    jobs.upgrade_database(url, sql=sql)


@command(examples="sinch-qn journal restored postgresql://db.example/sinch?run=january")
@_url_argument
@yes_option
def restored(url: str, *, yes: bool) -> None:
    """Declare that the database at URL was restored to an older point in time.

    Calls that were made since are not in it. Every number that still waits for a call becomes
    UNKNOWN, so that no phone is called twice; `sinch-qn recall` calls those that were not called.
    Stop all runners before the restore, and repeat this for each run.
    """
    confirm("Have all numbers that wait for a call become UNKNOWN?", yes=yes)
    jobs.distrust_database(url)


for member in (backup, accept, init, upgrade, restored):
    journal.add_command(member)
