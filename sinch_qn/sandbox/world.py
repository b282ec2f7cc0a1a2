"""The sandbox's world: numbers, phone calls, codes and hosting orders. No I/O.

Delayed changes wait in one heap; each method applies the due ones first. A million numbers need
no timers.
"""

from __future__ import annotations

import heapq
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from random import Random
from typing import Any, Literal, TypeAlias

import attrs

from sinch_qn.models import CallbackEventType as EventType
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.models import HostingOrderState as OrderState
from sinch_qn.phone import REGIONS, check_regions, is_toll_free, region_of
from sinch_qn.sandbox.clock import Clock
from sinch_qn.sandbox.misbehaving_numbers import MisbehavingNumber
from sinch_qn.sandbox.number_store import Number, NumberStore

CODE_DIGITS = 4
"""Digits of a code; leading zeros occur."""


@attrs.define(kw_only=True, eq=False)
class Settings:
    """Settings of the world, in seconds; they may be changed at any time."""

    project_id: str = "5a4db0c5-0000-4000-8000-000000000001"
    page_size_cap: int = 100
    """Maximum and default number of items on a page."""
    wrong_code: Literal["failed", "rejected"] = "failed"
    """Response to a wrong code: 200 and VERIFICATION_FAILED, or 400 and an unchanged state."""
    max_attempts: int = 3
    """Wrong or late codes, over all calls, that block a number."""
    code_lifetime: float = 600.0
    """Validity of a code, from its phone call on."""
    eligibility_delay: float = 0.0
    """Time that an added number is ELIGIBLE_CHECK_PENDING."""
    answer_delay: float = 0.0
    """Time from a phone call until `code_for` returns its code."""
    loa_delay: float | None = 0.0
    """Time until a Letter of Authorization is signed; None: until `sign_loa`."""
    hosting_delay: float = 0.0
    """Time that an order is IN_PROGRESS."""
    visibility_delay: float = 0.0
    """Time until `get` and `list` show a request's changes."""
    regions: Collection[str] = attrs.field(default=REGIONS, converter=check_regions)
    """Regions of `+1` whose numbers can be added."""
    several_callbacks: bool = False
    """Send several callbacks a number, each twice and in any order, instead of one."""


Status: TypeAlias = Literal[
    "INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND", "ALREADY_EXISTS", "INTERNAL"
]


class Refusal(Exception):  # noqa: N818 - a response of the API, not a defect
    """The error response to a request; nothing was changed, unless it is INTERNAL."""

    def __init__(
        self, status: Status, message: str, fields: Iterable[tuple[str, str]] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.fields = tuple(fields)
        """Invalid fields, each with a description."""


@attrs.define(eq=False)
class Order:
    """A hosting order."""

    id: str
    toll_free: bool
    request: Mapping[str, Any]
    """The body of the request."""
    numbers: list[Number]
    state: OrderState
    created: float
    updated: float


@attrs.frozen
class Event:
    """A callback to send, about one number of an order."""

    url: str
    id: str
    type: EventType
    phone_number: str
    time: float
    succeeded: bool
    failure_code: str | None = None


class World:
    """The numbers and hosting orders of one project.

    Methods raise `Refusal`. `events` gets the callbacks of orders with a callback URL; their
    delivery removes them.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        clock: Clock | None = None,
        random: Random | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.clock = clock or Clock()
        self.orders: dict[str, Order] = {}
        self.events: deque[Event] = deque()
        self._random = random or Random()  # noqa: S311 - test codes
        self._numbers = NumberStore()
        self._due: list[tuple[float, int, Callable[[Any, float], None], object]] = []
        self._scheduled = 0

    # Time.

    def advance_to_now(self) -> float:
        """Apply all due changes, each with its own time, and return the time."""
        now = self.clock.now()
        while self._due and self._due[0][0] <= now:
            at, _, action, subject = heapq.heappop(self._due)
            action(subject, at)
        return now

    @property
    def next_due(self) -> float | None:
        """Time of the next scheduled change, in Unix seconds."""
        return self._due[0][0] if self._due else None

    def _schedule(self, at: float, action: Callable[[Any, float], None], subject: object) -> None:
        self._scheduled += 1
        heapq.heappush(self._due, (at, self._scheduled, action, subject))

    # Numbers.

    def seed(
        self, phone_numbers: Iterable[str], state: SinchState | str = SinchState.ELIGIBLE
    ) -> int:
        """Create numbers in *state*, or move existing ones there, and return how many.

        In VERIFICATION_PENDING they have a code. No phone rings. The prefix
        `GLOBAL_PROCESS_STATE_` of *state* is optional.
        """
        state = SinchState.__members__.get(state) or SinchState(state)
        if not state.is_known:
            raise ValueError(f"no such state: {state}")
        now = self.advance_to_now()
        seeded = 0
        for phone_number in phone_numbers:
            number = self._numbers.get(phone_number) or self._create(phone_number, state, now)
            number.state, number.updated = state, now
            self._numbers.show(number, state, now)
            if state is SinchState.VERIFICATION_PENDING:
                number.code, number.called = self._new_code(), now
            seeded += 1
        return seeded

    def add(self, phone_numbers: Iterable[str]) -> list[Number]:
        """Add numbers and schedule their eligibility checks; existing numbers stay unchanged."""
        now = self.advance_to_now()
        requested = list(phone_numbers)
        if wrong := [
            (f"phoneNumbers[{index}]", f"is not a {self._regions} phone number")
            for index, phone_number in enumerate(requested)
            if region_of(phone_number, self.settings.regions) is None
        ]:
            raise Refusal("INVALID_ARGUMENT", "The phone numbers are not valid.", wrong)
        return [self._numbers.get(each) or self._add(each, now) for each in requested]

    def _add(self, phone_number: str, now: float) -> Number:
        number = self._create(phone_number, SinchState.ELIGIBLE_CHECK_PENDING, now)
        self._move(number, number.state, now)
        delay = self.settings.eligibility_delay
        if MisbehavingNumber.SLOW_ELIGIBILITY.matches(phone_number):
            delay = max(10 * delay, 5.0)
        self._schedule(now + delay, self._finish_check, number)
        return number

    def _finish_check(self, number: Number, at: float) -> None:
        if number.position >= 0 and number.state is SinchState.ELIGIBLE_CHECK_PENDING:
            eligible = not MisbehavingNumber.NOT_ELIGIBLE.matches(number.phone_number)
            self._move(number, SinchState.ELIGIBLE if eligible else SinchState.NOT_ELIGIBLE, at)

    def get(self, phone_number: str) -> Number:
        """Return a number with all due changes applied."""
        self.advance_to_now()
        number = self._numbers.get(phone_number)
        if number is None:
            raise _not_found()
        return number

    def read(self, phone_number: str) -> Number:
        """Return a number as `getQualifiedNumber` shows it; see `Settings.visibility_delay`."""
        number = self._numbers.as_shown(self.get(phone_number))
        if number is None:
            raise _not_found()
        return number

    def delete(self, phone_number: str) -> None:
        """Delete a number, which is visible at once; its order continues without it."""
        self._numbers.remove(self.get(phone_number))

    def _create(self, phone_number: str, state: SinchState, now: float) -> Number:
        region = region_of(phone_number, self.settings.regions)
        if region is None:
            raise ValueError(f"not a {self._regions} phone number: {phone_number!r}")
        return self._numbers.create(phone_number, region, state, now)

    @property
    def _regions(self) -> str:
        return " or ".join(self.settings.regions)

    def _move(self, number: Number, state: SinchState, at: float) -> None:
        number.state, number.updated = state, at
        if delay := self.settings.visibility_delay:
            self._schedule(at + delay, self._show, (number, state, at))
        else:
            self._numbers.show(number, state, at)

    def _show(self, change: tuple[Number, SinchState, float], _: float) -> None:
        self._numbers.show(*change)

    def count(self, state: SinchState, region: str | None = None) -> int:
        """Return how many numbers are shown in *state*, optionally in one region."""
        self.advance_to_now()
        return self._numbers.count(state, region)

    def page(
        self,
        state: SinchState,
        *,
        size: int,
        region: str | None = None,
        by_update: bool = False,
        after: tuple[float, int] | None = None,
    ) -> tuple[list[Number], tuple[float, int] | None]:
        """Return a page of the numbers shown in *state*, and the next page's *after* or None."""
        self.advance_to_now()
        return self._numbers.page(state, size=size, region=region, by_update=by_update, after=after)

    # Calls.

    def ring(self, phone_number: str) -> Number:
        """Call a number with a new code, which invalidates the previous one."""
        number = self.get(phone_number)
        if number.state not in _CALLABLE:
            raise _precondition(number, "be called")
        now = self.clock.now()
        if MisbehavingNumber.BLOCKED.matches(phone_number):
            self._move(number, SinchState.VERIFICATION_BLOCKED, now)
            return number
        number.rings += 1
        number.code, number.called = self._new_code(), now
        self._move(number, SinchState.VERIFICATION_PENDING, now)
        if MisbehavingNumber.LOST_RESPONSE.matches(phone_number):
            raise Refusal("INTERNAL", "Internal server error.")
        return number

    def verify(self, phone_number: str, code: str) -> Number:
        """Check *code*; `Settings.wrong_code` sets the response to a wrong one."""
        number = self.get(phone_number)
        blocked = number.state is SinchState.VERIFICATION_BLOCKED
        if not blocked and (number.state not in _VERIFIABLE or number.code is None):
            raise _precondition(number, "be verified")
        now = self.clock.now()
        late = now > number.called + self.settings.code_lifetime
        if code == number.code and not late and not blocked:
            self._move(number, SinchState.VERIFIED, now)
            return number
        number.wrong_codes += 1
        if blocked or number.wrong_codes >= self.settings.max_attempts:
            self._move(number, SinchState.VERIFICATION_BLOCKED, now)
        elif self.settings.wrong_code == "failed":
            self._move(number, SinchState.VERIFICATION_FAILED, now)
        if self.settings.wrong_code == "rejected":
            problem = "has expired" if late else "is wrong"
            raise Refusal("INVALID_ARGUMENT", "The code is not valid.", [("code", problem)])
        return number

    def rings(self, phone_number: str) -> int:
        """Return how often a number's phone rang."""
        return self.get(phone_number).rings

    def code_for(self, phone_number: str) -> str | None:
        """Return the code that a person heard on the latest call; None if nobody heard one."""
        number = self.get(phone_number)
        if number.code is None or self.clock.now() < number.called + self.settings.answer_delay:
            return None
        if MisbehavingNumber.NOBODY_ANSWERS.matches(phone_number):
            return None
        if MisbehavingNumber.FIRST_CALL_MISSED.matches(phone_number) and number.rings == 1:
            return None
        if MisbehavingNumber.MISHEARD.matches(phone_number):
            return f"{(int(number.code) + 1) % 10**CODE_DIGITS:0{CODE_DIGITS}}"
        return number.code

    def _new_code(self) -> str:
        return f"{self._random.randrange(10**CODE_DIGITS):0{CODE_DIGITS}}"

    # Hosting orders.

    def text_enable(self, request: Mapping[str, Any], *, toll_free: bool) -> Order:
        """Place a hosting order for all numbers of *request*, or for none."""
        numbers = [self.get(each) for each in dict.fromkeys(request["numbers"])]
        if misplaced := [
            (f"numbers[{index}]", "is a toll-free number" if not toll_free else "is not toll-free")
            for index, number in enumerate(numbers)
            if is_toll_free(number.phone_number) is not toll_free
        ]:
            raise Refusal("INVALID_ARGUMENT", "Wrong operation for these numbers.", misplaced)
        for number in numbers:
            if number.state in {SinchState.HOSTING_IN_PROGRESS, SinchState.HOSTING_DONE}:
                raise Refusal("ALREADY_EXISTS", "The imported number already exists.")
            if number.state not in {SinchState.VERIFIED, SinchState.HOSTING_FAILED}:
                raise _precondition(number, "be text-enabled")
        now = self.clock.now()
        name = "".join(self._random.choices("0123456789abcdefghjkmnpqrstvwxyz", k=26))
        order = Order(name, toll_free, request, numbers, OrderState.SUBMITTED, now, now)
        self.orders[name] = order
        for number in numbers:
            self._move(number, SinchState.HOSTING_IN_PROGRESS, now)
        self._schedule(now, self._ask_for_signature, order)
        self.clock.notify()
        return order

    def sign_loa(self, order_id: str) -> Order:
        """Sign the Letter of Authorization of an order in WAITING_FOR_LOA_SIGNATURE."""
        now = self.advance_to_now()
        order = self.orders.get(order_id)
        if order is None:
            raise Refusal("NOT_FOUND", "The hosting order could not be found.")
        if order.state is not OrderState.WAITING_FOR_LOA_SIGNATURE:
            raise Refusal("FAILED_PRECONDITION", f"The hosting order is {order.state}.")
        self._sign(order, now)
        self.clock.notify()
        return order

    def _ask_for_signature(self, order: Order, at: float) -> None:
        if "blanketLoaInfo" in order.request:
            self._host(order, at)
            return
        order.state, order.updated = OrderState.WAITING_FOR_LOA_SIGNATURE, at
        delay = self.settings.loa_delay
        if delay is not None and not _has(order, MisbehavingNumber.LOA_UNSIGNED):
            self._schedule(at + delay, self._sign, order)

    def _sign(self, order: Order, at: float) -> None:
        if order.state is not OrderState.WAITING_FOR_LOA_SIGNATURE:
            return  # already signed by hand
        if _has(order, MisbehavingNumber.LOA_REJECTED):
            order.state, order.updated = OrderState.REJECTED, at
            for number in order.numbers:
                self._finish(order, number, at, failed=True)
        else:
            self._host(order, at)

    def _host(self, order: Order, at: float) -> None:
        order.state, order.updated = OrderState.IN_PROGRESS, at
        self._schedule(at + self.settings.hosting_delay, self._complete, order)

    def _complete(self, order: Order, at: float) -> None:
        order.state, order.updated = OrderState.COMPLETED, at
        for number in order.numbers:
            failed = MisbehavingNumber.HOSTING_FAILS.matches(number.phone_number)
            self._finish(order, number, at, failed=failed)

    def _finish(self, order: Order, number: Number, at: float, *, failed: bool) -> None:
        if number.position < 0:
            return  # deleted
        self._move(number, SinchState.HOSTING_FAILED if failed else SinchState.HOSTING_DONE, at)
        if url := order.request.get("callbackUrl"):
            several = self.settings.several_callbacks
            events = [
                Event(url, self._event_id(), kind, number.phone_number, at, succeeded, code)
                for kind, succeeded, code in _outcomes(order, failed=failed, several=several)
            ]
            if several:
                events += events
                self._random.shuffle(events)
            self.events.extend(events)

    def _event_id(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))


_CALLABLE = frozenset(
    {SinchState.ELIGIBLE, SinchState.VERIFICATION_PENDING, SinchState.VERIFICATION_FAILED}
)
_VERIFIABLE = frozenset({SinchState.VERIFICATION_PENDING, SinchState.VERIFICATION_FAILED})


def _precondition(number: Number, action: str) -> Refusal:
    """Return the error for an action that the number's state does not allow."""
    message = f"{number.phone_number} is {number.state} and cannot {action}."
    return Refusal("FAILED_PRECONDITION", message)


def _not_found() -> Refusal:
    return Refusal("NOT_FOUND", "The imported number could not be found.")


def _outcomes(
    order: Order, *, failed: bool, several: bool
) -> list[tuple[EventType, bool, str | None]]:
    """Return the events of a number whose hosting ended: type, success and failure code."""
    if order.state is OrderState.REJECTED:  # before the OSR update
        return [(EventType.HOSTING_PROCESS, False, None)]
    last = (EventType.OSR_UPDATE, not failed, "INVALID_NNID" if failed else None)
    if not several:
        return [last]
    # The OSR update of another carrier has an event of its own.
    steps = [EventType.HOSTING_PROCESS, EventType.PROVISIONING_TO_SMS_PLATFORM, last[0]]
    if "campaignId" in order.request:
        steps.append(EventType.LINK_TO_10DLC_CAMPAIGN)
    return [*((step, True, None) for step in steps), last]


def _has(order: Order, kind: MisbehavingNumber) -> bool:
    return any(kind.matches(number.phone_number) for number in order.numbers)
