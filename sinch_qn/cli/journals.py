"""The journal of a run, as a command names it: a file, or a run in a PostgreSQL database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

import click

from sinch_qn.bulk import journal
from sinch_qn.errors import JournalError

URL_PREFIXES = ("postgresql://", "postgres://")
ALLOW_INSECURE = "sinch_qn.allow_insecure"
"""The key of `--allow-insecure` in a context's `meta`."""

JournalName: TypeAlias = Path | str
"""The path of a SQLite journal, or the URL of a run: `postgresql://host/database?run=january`."""

_NEEDS_EXTRA = "a journal in PostgreSQL needs an extra: pip install 'sinch-qn[distributed]'"
_PASSWORD_SHOWN = (
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
        raise JournalError("this is not the URL of a journal: postgresql://host/database?run=january") from None
    if has_password:
        raise JournalError(_PASSWORD_SHOWN)
    return url


def make_journal(name: JournalName) -> Any:
    """Return the journal that *name* names, not opened. Raises `JournalError`."""
    if isinstance(name, Path):
        return journal.SqliteJournal(name)
    insecure = click.get_current_context().find_root().meta.get(ALLOW_INSECURE, False)
    try:
        return journal.PostgresJournal(check_url(name), allow_insecure=insecure)
    except ModuleNotFoundError as error:
        raise JournalError(_NEEDS_EXTRA) from error


@asynccontextmanager
async def open_journal(name: JournalName) -> AsyncIterator[Any]:
    """Open a journal that other processes may be running."""
    opened = make_journal(name)
    await opened.open(None, running=False)
    try:
        yield opened
    finally:
        await opened.close()
