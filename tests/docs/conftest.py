"""What the tests of the examples share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Return where a journal may be."""
    return tmp_path / "run.db"
