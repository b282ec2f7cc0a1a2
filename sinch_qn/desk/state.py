"""What the pages of a desk share: the run or its journal, links, and live updates."""

from __future__ import annotations

from typing import Final

import attrs
from aiohttp import web

from sinch_qn.bulk import actions
from sinch_qn.bulk.journal.protocol import Journal, Submission
from sinch_qn.bulk.run import VoiceChallengeRun
from sinch_qn.bulk.states import Entry
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.desk.links import Links, Subject
from sinch_qn.desk.watch import Watch

_PATHS = {Subject.NUMBER: "n", Subject.REF: "n", Subject.HISTORY: "operator/numbers"}


@attrs.frozen(kw_only=True, eq=False)
class Desk:
    """A desk on one journal: beside the run of this process, or of others."""

    client: QualifiedNumbersClient
    journal: Journal
    run: VoiceChallengeRun | None
    """The run of this process; None if the journal's runners are elsewhere."""
    public_url: str
    """Where people's browsers reach the application, without a slash at its end."""
    links: Links
    watch: Watch

    async def url(self, subject: Subject, value: str) -> str:
        """Return the URL of the page about a number or ref."""
        return f"{self.public_url}/{_PATHS[subject]}/{await self.links.token(subject, value)}"

    async def submit_code(self, number: str, code: str) -> Submission:
        """Accept a code; as `VoiceChallengeRun.submit_code`."""
        if self.run is not None:
            return await self.run.submit_code(number, code)
        return await actions.submit_code(self.journal, number, code)

    async def recall(self, number: str) -> Entry:
        """Request another call; as `VoiceChallengeRun.recall`."""
        if self.run is not None:
            return await self.run.recall(number)
        return await actions.recall(self.journal, number)


DESK: Final = web.AppKey("desk", Desk)
"""Where the pages find their desk: `request.app[DESK]`."""
