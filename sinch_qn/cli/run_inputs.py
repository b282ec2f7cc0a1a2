"""The names of the files that a run's numbers came from, as its journal keeps them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import orjson

from sinch_qn._redaction import printable
from sinch_qn.bulk.journal import Journal

_NAME: Final = "input files"


async def remember_input(journal: Journal, path: Path) -> None:
    """Keep the name of a file of numbers in the journal, if it is not there."""
    names = await input_names(journal)
    name = printable(os.fsencode(path).decode(errors="replace"))
    if name not in names:
        await journal.set_bookmark(_NAME, orjson.dumps([*names, name]).decode())


async def input_names(journal: Journal) -> list[str]:
    """Return the names of the files whose numbers were added to the run, the first one first."""
    names: list[str] = orjson.loads(await journal.bookmark(_NAME) or "[]")
    return names
