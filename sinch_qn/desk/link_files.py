"""The links to all pages as CSV, for a mail merge: `number,ref,url`, in flat memory."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncGenerator, Sequence
from itertools import islice
from typing import Final

from sinch_qn.bulk.journal.protocol import Journal
from sinch_qn.bulk.report.output_files import disarm
from sinch_qn.bulk.states import ChallengeState, Entry
from sinch_qn.desk.links import Links, Subject

_PAGE: Final = 2000
_WITHOUT_LINK: Final = frozenset(
    {
        ChallengeState.VERIFIED,
        ChallengeState.SKIPPED,
        ChallengeState.BLOCKED,
        ChallengeState.INVALID,
    }
)
"""Nothing is left to do on their pages."""


async def link_lines(journal: Journal, links: Links, public_url: str) -> AsyncGenerator[str, None]:
    """Yield CSV text with the link to each number that a call may still verify.

    In the order that the numbers were added, also while the run goes on. A `'` disarms formulas.
    """
    yield _csv([("number", "ref", "url")])
    tokens = await links.tokens(Subject.NUMBER)
    rows = journal.rows()

    def lines(page: Sequence[Entry]) -> str:
        open_entries = [entry for entry in page if entry.state not in _WITHOUT_LINK]
        return _csv(
            [
                (entry.number, disarm(entry.ref) or "", f"{public_url}/n/{tokens(entry.number)}")
                for entry in open_entries
            ]
        )

    while page := await asyncio.to_thread(lambda: list(islice(rows, _PAGE))):
        yield await asyncio.to_thread(lines, page)


def _csv(rows: Sequence[Sequence[str | int | None]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
