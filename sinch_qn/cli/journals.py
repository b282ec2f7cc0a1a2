"""The journal of a run, as a command names it: a file, or a run in a PostgreSQL database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

import click

from sinch_qn import bulk
from sinch_qn.bulk import journal
from sinch_qn.errors import JournalError

URL_PREFIXES = ("postgresql://", "postgres://")
ALLOW_INSECURE = "sinch_qn_allow_insecure"
"""The key of `--allow-insecure` in a context's `meta`."""

JournalName: TypeAlias = Path | str
"""The path of a SQLite journal, or the URL of a run: `postgresql://host/database?run=january`."""

StoredJournal: TypeAlias = "journal.SqliteJournal | journal.PostgresJournal"

_NOT_A_URL = "this is not the URL of a journal: postgresql://host/database?run=january"
_SHOWN_TO_OTHERS = (
    "the URL has a password, which others see in the list of processes: leave it out, and set"
    " PGPASSWORD, PGPASSFILE or service="
)


def check_url(url: str) -> str:
    """Return the URL of a journal. Raises `JournalError` if it has a password, without showing it.

    The other checks are `PostgresJournal`'s.
    """
    try:
        parts = urlsplit(url)
        has_password = parts.password is not None or "password" in parse_qs(parts.query)
    except ValueError:
        raise JournalError(_NOT_A_URL) from None
    if has_password:
        raise JournalError(_SHOWN_TO_OTHERS)
    return url


def make_journal(name: JournalName) -> StoredJournal:
    """Return the journal that *name* names, not opened. Raises `JournalError`."""
    return journal.SqliteJournal(name) if isinstance(name, Path) else database_of(name)


def database_of(url: str) -> journal.PostgresJournal:
    """Return the journal of the run at *url*, not opened. Raises `JournalError`."""
    with _needing_the_extra():
        return journal.PostgresJournal(check_url(url), allow_insecure=_allow_insecure())


def control_of(url: str) -> journal.PostgresControl:
    """Return what steers the run at *url*. Raises `JournalError`."""
    with _needing_the_extra():
        return journal.PostgresControl(check_url(url), allow_insecure=_allow_insecure())


def fleet_of(url: str, make_run: Callable[[], Any], *, wanted: int) -> bulk.Fleet:
    """Return the shifts of the run at *url*: see `bulk.fleet.Fleet`. Raises `JournalError`."""
    with _needing_the_extra():
        return bulk.Fleet(check_url(url), make_run, wanted=wanted, allow_insecure=_allow_insecure())


def _allow_insecure() -> bool:
    """Return whether `--allow-insecure` is given."""
    return bool(click.get_current_context().find_root().meta.get(ALLOW_INSECURE))


@contextmanager
def _needing_the_extra() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise JournalError(str(error)) from error


@asynccontextmanager
async def open_journal(name: JournalName) -> AsyncIterator[StoredJournal]:
    """Open a journal that other processes may be running."""
    opened = make_journal(name)
    await opened.open(None, running=False)
    try:
        yield opened
    finally:
        await opened.close()
