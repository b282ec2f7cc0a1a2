"""Fixtures of the tests of bulk runs: journals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sinch_qn.bulk import MemoryJournal, SqliteJournal
from sinch_qn.bulk.journal import Journal, postgres_claims
from sinch_qn.bulk.journal.postgres import PostgresJournal
from tests.support.journals import MINE, Backend
from tests.support.postgres import Cluster


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a journal, which does not exist yet."""
    return tmp_path / "run.db"


@pytest.fixture
def url(cluster: Cluster) -> str:
    """Return the URL of a run in a database that has nothing else."""
    return cluster.url(cluster.empty_journal(), run="january")


@pytest_asyncio.fixture(params=["memory", "sqlite", "postgres"])
async def backend(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Backend]:
    """Return an open journal of each kind."""
    match request.param:
        case "memory":
            backend = Backend(MemoryJournal())
        case "sqlite":
            backend = Backend(SqliteJournal(path), path=path)
        case _:
            url = request.getfixturevalue("url")
            # A test asks for permits as often as it likes, and takes its time to use them.
            patch = request.getfixturevalue("monkeypatch")
            patch.setattr(postgres_claims, "MIN_WAIT", 0.0)
            patch.setattr(postgres_claims, "TURN_LIFETIME", 3.0)
            backend = Backend(PostgresJournal(url, require_durable=False), url=url)
    await backend.journal.open(MINE, running=True)
    try:
        yield backend
    finally:
        await backend.journal.close()


@pytest.fixture
def journal(backend: Backend) -> Journal:
    """Return an open journal of each kind."""
    return backend.journal
