"""What `sinch-qn journal` does."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from sinch_qn.bulk import SqliteJournal, actions
from sinch_qn.bulk.journal import schema_sql
from sinch_qn.cli.journals import JournalName, control_of, database_of, fleet_of, make_journal
from sinch_qn.cli.messages import print_message
from sinch_qn.errors import JournalError


def back_up_journal(name: JournalName, copy: Path) -> None:
    """Copy a journal to the new file *copy*, and print what a run may do with it."""
    if make_journal(name).backup(copy):
        print_message(f"{copy}: complete; run from it, or from {name}, but not from both.")
    else:
        print_message(f"{copy}: complete up to now; its run may go on, so a run refuses the copy.")


def accept_journal(path: Path) -> None:
    """Accept a journal as it is."""
    SqliteJournal(path).accept()
    print_message(f"{path}: accepted.")


def init_database(url: str, *, sql: bool, shifts: bool) -> None:
    """Create the schema, or print its SQL."""
    if sql:
        click.echo(schema_sql(), nl=False)
        return
    asyncio.run(database_of(url).init())
    if shifts:
        asyncio.run(fleet_of(url, _no_run, wanted=1).init())
    print_message("The database is ready: sinch-qn run FILE --journal URL")


def _no_run() -> None:
    raise AssertionError("init works no shift")


def upgrade_database(url: str, *, sql: bool) -> None:
    """Upgrade the schema, or print the SQL that does."""
    if sql:
        version = asyncio.run(control_of(url).schema_version())
        click.echo(schema_sql(version), nl=False)
        return
    before, after = asyncio.run(database_of(url).upgrade())
    if before == after:
        print_message(f"The schema has version {after} already.")
    else:
        print_message(f"The schema has version {after} now; it had {before}.")


def distrust_database(url: str) -> None:
    """Have the numbers become UNKNOWN that may have been called since the point of the restore."""

    async def distrust() -> int:
        control = control_of(url)
        if any(runner.lease_left > 0 for runner in (await control.standing()).runners):
            raise JournalError("runners are at work: stop them, and repeat this")
        journal, settings = database_of(url), await control.settings()
        await journal.open(None, running=True)
        try:
            return await actions.distrust_pending(journal, settings.code_timeout)
        finally:
            await journal.close()

    count = asyncio.run(distrust())
    print_message(f"{count} numbers are UNKNOWN now: sinch-qn recall URL NUMBER")
