"""What the pages of a desk share: the run or its journal, links, logins and live updates."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network
from typing import Final
from urllib.parse import quote, urlsplit

import attrs
from aiohttp import web

from sinch_qn.bulk import actions, call_requests
from sinch_qn.bulk.admission import AddReport, Admission, NewNumber
from sinch_qn.bulk.call_requests import CallRequest
from sinch_qn.bulk.calling_hours import CallingHours
from sinch_qn.bulk.journal.protocol import Journal, RunSettings, Submission
from sinch_qn.bulk.run import VoiceChallengeRun
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.desk.links import Link, Links, Subject
from sinch_qn.desk.sessions import Sessions
from sinch_qn.desk.tokens import Tokens
from sinch_qn.desk.watch import Watch
from sinch_qn.phone import REGIONS

_PATHS = {Subject.NUMBER: "n", Subject.REF: "n", Subject.HISTORY: "operator/numbers"}


@attrs.frozen(kw_only=True, eq=False)
class Desk:
    """A desk on one journal: beside the run of this process, or of others."""

    client: QualifiedNumbersClient | None
    """None on a machine that has no credentials: runners elsewhere call and verify."""
    journal: Journal
    run: VoiceChallengeRun | None
    """The run of this process; None if the journal's runners are elsewhere."""
    public_url: str
    """Where people's browsers reach the application, without a slash at its end."""
    title: str
    """Shown to operators: which run this is."""
    links: Links
    sessions: Sessions
    tokens: Tokens
    watch: Watch
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    clock: Callable[[], float]
    """Seconds since the epoch; the journal's."""

    @property
    def root(self) -> str:
        """The path of `public_url`, without a slash at its end."""
        return urlsplit(self.public_url).path

    @property
    def is_https(self) -> bool:
        """Whether browsers reach the desk encrypted."""
        return self.public_url.startswith("https:")

    def path(self, *parts: str) -> str:
        """Return the path of a page as browsers see it, wherever the application is mounted."""
        return "/".join([self.root, *(quote(part, safe="/") for part in parts)])

    async def url(self, subject: Subject, value: str) -> str:
        """Return the URL of the page about a number or ref."""
        return f"{self.public_url}/{_PATHS[subject]}/{await self.links.token(subject, value)}"

    def history_path(self, number: str) -> str:
        """Return the path of the operator's page about *number*, which is not readable in it."""
        token = self.links.seal(Link(Subject.HISTORY, number))
        return self.path(_PATHS[Subject.HISTORY], token)

    async def settings(self) -> RunSettings:
        """Return the settings of the run; the usual ones before a runner has begun."""
        return (await self.journal.readiness()).settings or RunSettings(regions=REGIONS)

    async def submit_code(self, number: str, code: str) -> Submission:
        """Accept a code; as `VoiceChallengeRun.submit_code`."""
        if self.run is not None:
            return await self.run.submit_code(number, code)
        return await actions.submit_code(self.journal, number, code)

    async def request_call(
        self, number: str, attempt: int | None, *, intent: int | None = None
    ) -> CallRequest:
        """Request a call; as `VoiceChallengeRun.request_call`.

        *attempt* and *intent* are those of the entry which the person saw, so that a form is one
        request; neither asks for none while the phone may still ring.
        """
        if self.run is not None:
            return await self.run.request_call(number, attempt=attempt, intent=intent)
        return await call_requests.request_call(
            self.journal, number, attempt=attempt, intent=intent
        )

    async def add(self, numbers: Iterable[NewNumber]) -> AddReport:
        """Add numbers; as `VoiceChallengeRun.add`."""
        if self.run is not None:
            return await self.run.add(numbers)
        settings = await self.settings()
        admission = Admission(
            journal=self.journal,
            hours=hours_of(settings),
            clock=self.journal.now,
            check_running=lambda: None,
            regions=frozenset(settings.regions),
        )
        return await admission.add(numbers)


def hours_of(settings: RunSettings) -> CallingHours | None:
    """Return the calling hours of a run."""
    return None if settings.calling_hours is None else CallingHours.parse(settings.calling_hours)


DESK: Final = web.AppKey("desk", Desk)
"""Where the pages find their desk: `request.app[DESK]`."""
