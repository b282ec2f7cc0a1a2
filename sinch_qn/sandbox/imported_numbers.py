"""The sandbox's imported numbers, and their links to service plans and campaigns. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from sinch_qn.models import CallbackEventType as EventType
from sinch_qn.models import (
    CallbackResourceType,
    OperationStatus,
    ProvisionedService,
    ProvisioningType,
)
from sinch_qn.phone import region_of
from sinch_qn.sandbox.events import Events
from sinch_qn.sandbox.misbehaving_numbers import MisbehavingCampaign
from sinch_qn.sandbox.refusal import invalid, number_exists, number_not_found
from sinch_qn.sandbox.settings import Settings
from sinch_qn.sandbox.timeline import Timeline

_SERVICES = {
    "servicePlanId": ProvisionedService.SMS,
    "campaignId": ProvisionedService.CAMPAIGN,
}
"""The fields of a link in requests."""
_LINKED = {
    ProvisionedService.SMS: EventType.PROVISIONING_TO_SMS_PLATFORM,
    ProvisionedService.CAMPAIGN: EventType.LINK_TO_10DLC_CAMPAIGN,
}
_UNLINKED = {
    ProvisionedService.SMS: EventType.DEPROVISIONING_TO_SMS_PLATFORM,
    ProvisionedService.CAMPAIGN: EventType.UNLINK_TO_10DLC_CAMPAIGN,
}


@attrs.frozen
class Link:
    """The latest change of a number's link to a service plan or a campaign."""

    service: ProvisionedService
    change: ProvisioningType | None = None
    """None: it was never linked."""
    subject: str = ""
    """The id of the service plan or campaign that is linked or unlinked."""
    state: OperationStatus = OperationStatus.DONE
    updated: float = 0.0
    error_code: str = ""

    @property
    def is_changing(self) -> bool:
        """Whether the change is not done yet."""
        return self.state is OperationStatus.IN_PROGRESS

    @property
    def linked(self) -> str:
        """The id of what the number is linked to; empty if there is none."""
        is_link = self.change is ProvisioningType.PROVISIONING
        return self.subject if is_link and self.state is OperationStatus.DONE else ""

    @property
    def requested(self) -> str:
        """The id of what the number is being linked to, or could not be linked to."""
        is_link = self.change is ProvisioningType.PROVISIONING
        return self.subject if is_link and self.state is not OperationStatus.DONE else ""

    @property
    def wanted(self) -> str:
        """The id of what the number is linked to, or is being linked to."""
        return self.linked or (self.requested if self.is_changing else "")

    def ended(self, at: float) -> Link:
        """Return the link with its change done, or failed."""
        is_campaign = self.service is ProvisionedService.CAMPAIGN and self.requested
        if is_campaign and MisbehavingCampaign.EXPIRED.matches(self.subject):
            failed, code = OperationStatus.FAILED, "CAMPAIGN_EXPIRED"
            return attrs.evolve(self, state=failed, updated=at, error_code=code)
        return attrs.evolve(self, state=OperationStatus.DONE, updated=at)


@attrs.define(eq=False)
class Imported:
    """An imported number."""

    phone_number: str
    region: str
    created: float
    updated: float
    position: int
    """Index by creation."""
    display_name: str = ""
    callback_url: str = ""
    links: dict[ProvisionedService, Link] = attrs.Factory(
        lambda: {service: Link(service) for service in ProvisionedService}
    )


class ImportedNumbers:
    """The imported numbers of a project."""

    def __init__(self, settings: Settings, timeline: Timeline, events: Events) -> None:
        self._settings = settings
        self._timeline = timeline
        self._events = events
        self._numbers: dict[str, Imported] = {}
        self._created = 0

    def __contains__(self, phone_number: str) -> bool:
        return phone_number in self._numbers

    def __iter__(self) -> Iterator[Imported]:
        self._timeline.advance_to_now()
        return iter(self._numbers.values())

    def get(self, phone_number: str) -> Imported:
        """Return a number with all due changes applied."""
        self._timeline.advance_to_now()
        number = self._numbers.get(phone_number)
        if number is None:
            raise number_not_found()
        return number

    def host(self, phone_number: str, request: Mapping[str, Any], at: float) -> None:
        """Create the number of a completed order, linked as its *request* says."""
        number = self._create(phone_number, request, at)
        for field, service in _SERVICES.items():
            if wanted := request.get(field):
                link = Link(
                    service, ProvisioningType.PROVISIONING, wanted, OperationStatus.IN_PROGRESS
                )
                number.links[service] = link.ended(at)

    def add(self, request: Mapping[str, Any]) -> Imported:
        """Import one number, and begin to link it."""
        now = self._timeline.advance_to_now()
        phone_number, links = request["phoneNumber"], request["smsConfiguration"]
        if region_of(phone_number, self._settings.regions) is None:
            raise invalid(("phoneNumber", "is of another region"))
        if phone_number in self._numbers:
            raise number_exists()
        check_campaign(links, "smsConfiguration.campaignId")
        number = self._create(phone_number, request, now)
        self._change(number, links, now)
        return number

    def update(self, phone_number: str, request: Mapping[str, Any]) -> Imported:
        """Change the fields in *request*: all, or none."""
        number = self.get(phone_number)
        links = request.get("smsConfiguration", {})
        check_campaign(links, "smsConfiguration.campaignId")
        if problems := list(_conflicts(number, links)):
            raise invalid(*problems)
        number.display_name = request.get("displayName", number.display_name)
        number.callback_url = request.get("callbackUrl", number.callback_url)
        number.updated = self._timeline.clock.now()
        self._change(number, links, number.updated)
        return number

    def delete(self, phone_number: str) -> None:
        """End the hosting of a number."""
        number = self.get(phone_number)
        del self._numbers[phone_number]
        self._tell(number, EventType.DELETE, self._timeline.clock.now())
        self._timeline.clock.notify()

    def _create(self, phone_number: str, request: Mapping[str, Any], at: float) -> Imported:
        region = region_of(phone_number, self._settings.regions) or request["regionCode"]
        number = Imported(phone_number, region, at, at, self._created)
        number.display_name = request.get("displayName", "")
        number.callback_url = request.get("callbackUrl", "")
        self._created += 1
        self._numbers[phone_number] = number
        return number

    def _change(self, number: Imported, links: Mapping[str, Any], now: float) -> None:
        for field, service in _SERVICES.items():
            link, wanted = number.links[service], links.get(field)
            if wanted is None or wanted == link.wanted:
                continue
            change = ProvisioningType.PROVISIONING if wanted else ProvisioningType.DEPROVISIONING
            subject = wanted or link.wanted
            begun = Link(service, change, subject, OperationStatus.IN_PROGRESS, now)
            number.links[service] = begun
            delay = self._settings.provisioning_delay
            self._timeline.schedule(now + delay, self._end, (number, begun))
        self._timeline.clock.notify()

    def _end(self, begun: tuple[Imported, Link], at: float) -> None:
        number, link = begun
        if self._numbers.get(number.phone_number) is not number:
            return  # deleted
        if number.links[link.service] is not link:
            return  # changed again
        number.links[link.service] = link = link.ended(at)
        is_link = link.change is ProvisioningType.PROVISIONING
        self._tell(number, (_LINKED if is_link else _UNLINKED)[link.service], at, link.error_code)

    def _tell(self, number: Imported, kind: EventType, at: float, code: str = "") -> None:
        if number.callback_url:
            event = self._events.event(
                number.callback_url,
                kind,
                number.phone_number,
                at,
                succeeded=not code,
                failure_code=code or None,
                resource_type=CallbackResourceType.IMPORTED_NUMBER,
            )
            self._events.append(event)


def check_campaign(request: Mapping[str, Any], field: str = "campaignId") -> None:
    """Refuse a request that names a campaign that does not exist."""
    if MisbehavingCampaign.MISSING.matches(request.get("campaignId")):
        raise invalid((field, "is no campaign of this project"))


def _conflicts(number: Imported, links: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the fields that cannot be linked now, each with the reason."""
    for field, service in _SERVICES.items():
        link, wanted = number.links[service], links.get(field)
        if not wanted or wanted == link.wanted:
            continue
        if link.wanted:
            yield f"smsConfiguration.{field}", "is linked to another: unlink it first"
        elif link.is_changing:
            yield f"smsConfiguration.{field}", "is being unlinked"
