"""The checklist of the desk's security, docs/explanation/desk-security.md."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_each_test_of_the_checklist_exists() -> None:
    """Each item names tests, and each of them is in its file."""
    text = (ROOT / "docs/explanation/desk-security.md").read_text(encoding="utf-8")
    met, _, _ = text.partition("## Not met")
    rows = re.findall(r"^\| [0-9].*$", met, re.MULTILINE)
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row)
        assert named, row
        for file, test in named:
            code = (ROOT / "tests/desk" / file).read_text(encoding="utf-8")
            assert re.search(rf"^(async )?def {test}\(", code, re.MULTILINE), (file, test)
