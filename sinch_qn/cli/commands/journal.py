"""`sinch-qn journal`: copies of a run's journal."""

from __future__ import annotations

from pathlib import Path

import click

from sinch_qn.cli import jobs
from sinch_qn.cli.app import command, command_group
from sinch_qn.cli.options import FILE, OUTPUT, confirm, yes_option

_journal_argument = click.argument("path", metavar="JOURNAL", type=FILE)


@command_group(
    examples="""
        sinch-qn journal backup run.db backup.db
        sinch-qn journal accept backup.db
    """
)
def journal() -> None:
    """Copy a JOURNAL, or accept a copy.

    A journal is up to three files: run.db, and run.db-wal and run.db-shm while it is open or after
    a crash. Move them together, and only while no run uses them.
    """


@command(examples="sinch-qn journal backup run.db backup.db")
@_journal_argument
@click.argument("copy", type=OUTPUT)
def backup(path: Path, copy: Path) -> None:
    """Write a copy of JOURNAL to the new file COPY, also during a run.

    A copy made during a run lacks the calls that follow: it can be read, but a run refuses it.
    """
    jobs.back_up_journal(path, copy)


@command(examples="sinch-qn journal accept backup.db")
@_journal_argument
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


journal.add_command(backup)
journal.add_command(accept)
