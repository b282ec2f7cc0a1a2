"""The sandbox's hosting orders: their states, and those of their numbers. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

import attrs

from sinch_qn.models import CallbackEventType as EventType
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.models import HostingOrderState as OrderState
from sinch_qn.models import HostingOrderType, OperationStatus
from sinch_qn.phone import region_of
from sinch_qn.sandbox.events import Events
from sinch_qn.sandbox.imported_numbers import ImportedNumbers, check_campaign
from sinch_qn.sandbox.misbehaving_numbers import MisbehavingCampaign, MisbehavingNumber
from sinch_qn.sandbox.number_store import Number
from sinch_qn.sandbox.refusal import Refusal, invalid, number_exists
from sinch_qn.sandbox.settings import Settings
from sinch_qn.sandbox.timeline import Timeline

CARRIERS = ("smsAtt", "smsTmo", "mmsAtt", "mmsTmo")


@attrs.define(eq=False)
class Order:
    """A hosting order."""

    id: str
    toll_free: bool
    request: Mapping[str, Any]
    """The body of the request."""
    numbers: list[Number]
    """The qualified numbers; none in an import."""
    state: OrderState
    created: float
    updated: float
    type: HostingOrderType = HostingOrderType.TYPE_TEXT_ENABLE

    @property
    def phone_numbers(self) -> list[str]:
        """The phone numbers, each once."""
        return list(dict.fromkeys(self.request["numbers"]))


@attrs.frozen
class NumberProgress:
    """How far a number of an order has got."""

    osr_update: OperationStatus
    platform: OperationStatus
    campaign: OperationStatus
    refused: Mapping[str, str]
    """Carriers that refuse it → error code."""


class HostingOrders:
    """The hosting orders of a project, which move on with time and signatures."""

    def __init__(
        self,
        settings: Settings,
        timeline: Timeline,
        events: Events,
        random: Random,
        imported: ImportedNumbers,
        move: Callable[[Number, SinchState, float], None],
    ) -> None:
        self.orders: dict[str, Order] = {}
        self._settings = settings
        self._timeline = timeline
        self._events = events
        self._random = random
        self._imported = imported
        self._move = move

    def get(self, order_id: str) -> Order:
        """Return an order with all due changes applied; see `Settings.visibility_delay`."""
        for order in self:
            if order.id == order_id:
                return order
        raise _no_order()

    def __iter__(self) -> Iterator[Order]:
        """Yield the orders that reads show, in the order of their creation."""
        now = self._timeline.advance_to_now()
        delay = self._settings.visibility_delay
        return (order for order in self.orders.values() if order.created + delay <= now)

    def place(self, request: Mapping[str, Any], numbers: list[Number], *, toll_free: bool) -> Order:
        """Order the hosting of qualified numbers."""
        check_campaign(request)
        now = self._timeline.clock.now()
        order = Order(self._new_id(), toll_free, request, numbers, OrderState.SUBMITTED, now, now)
        for number in numbers:
            self._move(number, SinchState.HOSTING_IN_PROGRESS, now)
        return self._submit(order)

    def import_numbers(self, request: Mapping[str, Any]) -> Order:
        """Order the import of numbers, which needs no signature."""
        now = self._timeline.advance_to_now()
        numbers, limit = request["numbers"], self._settings.import_limit
        if len(numbers) > limit:
            raise invalid(("numbers", f"are more than {limit}"))
        if foreign := [
            (f"numbers[{index}]", "is of another region")
            for index, number in enumerate(numbers)
            if region_of(number, self._settings.regions) is None
        ]:
            raise invalid(*foreign)
        check_campaign(request)
        if any(number in self._imported for number in numbers):
            raise number_exists()
        order = Order(
            self._new_id(),
            toll_free=False,
            request=request,
            numbers=[],
            state=OrderState.SUBMITTED,
            created=now,
            updated=now,
            type=HostingOrderType.IMPORT,
        )
        return self._submit(order)

    def sign_loa(self, order_id: str) -> Order:
        """Sign the Letter of Authorization of an order in WAITING_FOR_LOA_SIGNATURE."""
        now = self._timeline.advance_to_now()
        order = self.orders.get(order_id)
        if order is None:
            raise _no_order()
        if order.state is not OrderState.WAITING_FOR_LOA_SIGNATURE:
            raise Refusal("FAILED_PRECONDITION", f"The hosting order is {order.state}.")
        self._sign(order, now)
        self._timeline.clock.notify()
        return order

    def _new_id(self) -> str:
        return "".join(self._random.choices("0123456789abcdefghjkmnpqrstvwxyz", k=26))

    def _submit(self, order: Order) -> Order:
        self.orders[order.id] = order
        self._timeline.schedule(order.created, self._ask_for_signature, order)
        self._timeline.clock.notify()
        return order

    def _ask_for_signature(self, order: Order, at: float) -> None:
        if order.type is HostingOrderType.IMPORT or "blanketLoaInfo" in order.request:
            self._host(order, at)
            return
        order.state, order.updated = OrderState.WAITING_FOR_LOA_SIGNATURE, at
        delay = self._settings.loa_delay
        if delay is not None and not _has(order, MisbehavingNumber.LOA_UNSIGNED):
            self._timeline.schedule(at + delay, self._sign, order)

    def _sign(self, order: Order, at: float) -> None:
        if order.state is not OrderState.WAITING_FOR_LOA_SIGNATURE:
            return  # already signed by hand
        if _has(order, MisbehavingNumber.LOA_REJECTED):
            self._end(order, OrderState.REJECTED, at)
        else:
            self._host(order, at)

    def _host(self, order: Order, at: float) -> None:
        order.state, order.updated = OrderState.IN_PROGRESS, at
        self._timeline.schedule(at + self._settings.hosting_delay, self._complete, order)

    def _complete(self, order: Order, at: float) -> None:
        self._end(order, OrderState.COMPLETED, at)

    def _end(self, order: Order, state: OrderState, at: float) -> None:
        order.state, order.updated = state, at
        qualified = {number.phone_number: number for number in order.numbers}
        for phone_number in order.phone_numbers:
            number = qualified.get(phone_number)
            if number is not None and number.position < 0:
                continue  # deleted
            hosted = progress(order, phone_number).osr_update is OperationStatus.DONE
            if number is not None:
                end = SinchState.HOSTING_DONE if hosted else SinchState.HOSTING_FAILED
                self._move(number, end, at)
            if hosted:
                self._imported.host(phone_number, order.request, at)
            self._tell(order, phone_number, at)

    def _tell(self, order: Order, phone_number: str, at: float) -> None:
        if url := order.request.get("callbackUrl"):
            several = self._settings.several_callbacks
            events = [
                self._events.event(
                    url, kind, phone_number, at, succeeded=code is None, failure_code=code or None
                )
                for kind, code in _outcomes(order, phone_number, several=several)
            ]
            if several:
                self._events.add_shuffled_twice(events)
            else:
                self._events.extend(events)


def progress(order: Order, phone_number: str) -> NumberProgress:
    """Return how far a number of *order* has got; its last digits and the campaign decide."""
    waiting, failed, done = OperationStatus.WAITING, OperationStatus.FAILED, OperationStatus.DONE
    if order.state is OrderState.IN_PROGRESS:
        begun = OperationStatus.IN_PROGRESS
        return NumberProgress(begun, begun, begun, {})
    if order.state is not OrderState.COMPLETED:
        return NumberProgress(waiting, waiting, waiting, {})
    if MisbehavingNumber.HOSTING_FAILS.matches(phone_number):
        return NumberProgress(failed, waiting, waiting, dict.fromkeys(CARRIERS, "INVALID_NNID"))
    if MisbehavingCampaign.EXPIRED.matches(order.request.get("campaignId")):
        return NumberProgress(done, done, failed, dict.fromkeys(CARRIERS, "CAMPAIGN_EXPIRED"))
    if MisbehavingNumber.CARRIER_REFUSES.matches(phone_number):
        return NumberProgress(done, done, done, {"smsTmo": "MNO_SHARING_ERROR"})
    return NumberProgress(done, done, done, {})


def _outcomes(
    order: Order, phone_number: str, *, several: bool
) -> list[tuple[EventType, str | None]]:
    """Return the events of a number whose hosting ended, each with its failure code.

    None is a success, an empty code a failure without one.
    """
    if order.state is OrderState.REJECTED:  # before the OSR update
        return [(EventType.HOSTING_PROCESS, "")]
    reached = progress(order, phone_number)
    code = next(iter(reached.refused.values()), None)
    hosted = reached.osr_update is OperationStatus.DONE
    last = EventType.LINK_TO_10DLC_CAMPAIGN if hosted and code else EventType.OSR_UPDATE
    if not several:
        return [(last, code)]
    # The OSR update of another carrier has an event of its own.
    steps = [EventType.HOSTING_PROCESS, EventType.PROVISIONING_TO_SMS_PLATFORM]
    steps.append(EventType.OSR_UPDATE)
    if "campaignId" in order.request:
        steps.append(EventType.LINK_TO_10DLC_CAMPAIGN)
    return [*((step, None) for step in steps), (last, code)]


def _has(order: Order, kind: MisbehavingNumber) -> bool:
    return any(map(kind.matches, order.phone_numbers))


def _no_order() -> Refusal:
    return Refusal("NOT_FOUND", "The hosting order could not be found.")
