"""Fixtures of the tests of bulk runs: journals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sinch_qn.bulk import MemoryJournal, SqliteJournal
from sinch_qn.bulk.journal import Journal
from tests.support.journals import MINE, Backend


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a journal, which does not exist yet."""
    return tmp_path / "run.db"


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def backend(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Backend]:
    """Return an open journal of each kind."""
    is_file = request.param == "sqlite"
    journal: Journal = SqliteJournal(path) if is_file else MemoryJournal()
    await journal.open(MINE, running=True)
    try:
        yield Backend(journal, path if is_file else None)
    finally:
        await journal.close()


@pytest.fixture
def journal(backend: Backend) -> Journal:
    """Return an open journal of each kind."""
    return backend.journal
