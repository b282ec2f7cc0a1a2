"""Fixtures of the tests of the examples."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Return a path for a journal."""
    return tmp_path / "run.db"
