"""The sandbox's world: numbers, calls, codes, hosting orders and a clock. No I/O.

What takes time is an entry in one heap of what is due, and whoever looks at the world first does
what has become due: a million numbers wait without a timer among them.
"""

from __future__ import annotations

import heapq
import uuid
from collections import Counter, deque
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs

from sinch_qn.models import CallbackEventType as EventType
from sinch_qn.models import GlobalProcessState as State
from sinch_qn.models import HostingOrderState as OrderState
from sinch_qn.phone import is_toll_free, region_of
from sinch_qn.sandbox.clock import Clock
from sinch_qn.sandbox.misbehaving_numbers import MisbehavingNumber

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

CODE_DIGITS = 4
"""The length of the code that a call reads out; the first may be zeros."""


@attrs.define(kw_only=True, eq=False)
class Settings:
    """How the world behaves. May be changed while it runs; times are in seconds."""

    project_id: str = "5a4db0c5-0000-4000-8000-000000000001"
    page_size_cap: int = 100
    """The most numbers on a page, and how many there are when no size is asked for."""
    wrong_code: Literal["failed", "rejected"] = "failed"
    """A wrong code gets 200 and VERIFICATION_FAILED, or 400 and the state stays."""
    max_attempts: int = 3
    """A number is blocked by this many wrong or late codes, over all its calls."""
    code_lifetime: float = 600.0
    """How long a code is right, counted from its call."""
    eligibility_delay: float = 0.0
    """How long a number that was added is ELIGIBLE_CHECK_PENDING."""
    answer_delay: float = 0.0
    """How long people take from the call until they know the code."""
    loa_delay: float | None = 0.0
    """How long people take to sign a Letter of Authorization; None: until `sign_loa`."""
    hosting_delay: float = 0.0
    """How long an order is IN_PROGRESS."""


Status: TypeAlias = Literal[
    "INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND", "ALREADY_EXISTS", "INTERNAL"
]


class Refusal(Exception):  # noqa: N818 - the world says no; nothing went wrong
    """What the world answers instead of doing as asked; nothing has changed, unless INTERNAL."""

    def __init__(
        self, status: Status, message: str, fields: Iterable[tuple[str, str]] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.fields = tuple(fields)
        """The fields that were wrong, each with its description."""


@attrs.define(eq=False)
class Number:
    """A qualified number, with the latest call to it."""

    phone_number: str
    region: str
    state: State
    created: float
    updated: float
    position: int
    """Its place in the order of creation; -1 once it is deleted."""
    rings: int = 0
    """How often its phone has rung."""
    wrong_codes: int = 0
    code: str | None = None
    """What the latest call read out."""
    called: float = 0.0
    """When that call was made."""


@attrs.define(eq=False)
class Order:
    """A hosting order."""

    id: str
    toll_free: bool
    request: Mapping[str, Any]
    """The body that placed it."""
    numbers: list[Number]
    state: OrderState
    created: float
    updated: float


@attrs.frozen
class Event:
    """What a callback has to tell about one number of an order."""

    url: str
    id: str
    type: EventType
    phone_number: str
    time: float
    succeeded: bool
    failure_code: str | None = None


class World:
    """The numbers of one project and what becomes of them.

    Methods raise `Refusal`. `events` is filled for the orders that named a callback URL, and is
    to be emptied by whoever delivers them.
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
        self._random = random or Random()  # noqa: S311 - codes that guard nothing
        self._numbers: dict[str, Number] = {}
        self._by_creation: list[Number | None] = []
        self._counts: Counter[tuple[State, str]] = Counter()
        self._due: list[tuple[float, int, Callable[[Any, float], None], object]] = []
        self._scheduled = 0

    # Time.

    def advance_to_now(self) -> float:
        """Do all that has become due, each at its own time, and return the time."""
        now = self.clock.now()
        while self._due and self._due[0][0] <= now:
            at, _, action, subject = heapq.heappop(self._due)
            action(subject, at)
        return now

    @property
    def next_due(self) -> float | None:
        """When something happens next by itself, in Unix seconds."""
        return self._due[0][0] if self._due else None

    def _schedule(self, at: float, action: Callable[[Any, float], None], subject: object) -> None:
        self._scheduled += 1
        heapq.heappush(self._due, (at, self._scheduled, action, subject))

    # Numbers.

    def seed(self, phone_numbers: Iterable[str], state: State | str = State.ELIGIBLE) -> int:
        """Put numbers straight into *state* and return how many; VERIFICATION_PENDING has a code.

        A number that is there already is moved. No phone rings. *state* may go without its
        `GLOBAL_PROCESS_STATE_`.
        """
        state = State.__members__.get(state) or State(state)
        if not state.is_known:
            raise ValueError(f"no such state: {state}")
        now = self.advance_to_now()
        seeded = 0
        for phone_number in phone_numbers:
            number = self._numbers.get(phone_number) or self._create(phone_number, state, now)
            self._move(number, state, now)
            if state is State.VERIFICATION_PENDING:
                number.code, number.called = self._new_code(), now
            seeded += 1
        return seeded

    def add(self, phone_numbers: Iterable[str]) -> list[Number]:
        """Add numbers, whose eligibility is then checked; those already there stay as they are."""
        now = self.advance_to_now()
        wanted = list(phone_numbers)
        if wrong := [
            (f"phoneNumbers[{index}]", "is not a US or CA phone number")
            for index, phone_number in enumerate(wanted)
            if region_of(phone_number) is None
        ]:
            raise Refusal("INVALID_ARGUMENT", "The phone numbers are not valid.", wrong)
        return [self._numbers.get(each) or self._add(each, now) for each in wanted]

    def _add(self, phone_number: str, now: float) -> Number:
        number = self._create(phone_number, State.ELIGIBLE_CHECK_PENDING, now)
        delay = self.settings.eligibility_delay
        if MisbehavingNumber.SLOW_ELIGIBILITY.matches(phone_number):
            delay = max(10 * delay, 5.0)
        self._schedule(now + delay, self._finish_check, number)
        return number

    def _finish_check(self, number: Number, at: float) -> None:
        if number.position >= 0 and number.state is State.ELIGIBLE_CHECK_PENDING:
            eligible = not MisbehavingNumber.NOT_ELIGIBLE.matches(number.phone_number)
            self._move(number, State.ELIGIBLE if eligible else State.NOT_ELIGIBLE, at)

    def get(self, phone_number: str) -> Number:
        """Return a number as it is now."""
        self.advance_to_now()
        number = self._numbers.get(phone_number)
        if number is None:
            raise Refusal("NOT_FOUND", "The imported number could not be found.")
        return number

    def delete(self, phone_number: str) -> None:
        """Forget a number; an order that holds it goes on without it."""
        number = self.get(phone_number)
        del self._numbers[phone_number]
        self._by_creation[number.position] = None
        self._counts[number.state, number.region] -= 1
        number.position = -1

    def _create(self, phone_number: str, state: State, now: float) -> Number:
        region = region_of(phone_number)
        if region is None:
            raise ValueError(f"not a US or CA phone number: {phone_number!r}")
        number = Number(phone_number, region, state, now, now, len(self._by_creation))
        self._numbers[phone_number] = number
        self._by_creation.append(number)
        self._counts[state, region] += 1
        return number

    def _move(self, number: Number, state: State, at: float) -> None:
        self._counts[number.state, number.region] -= 1
        self._counts[state, number.region] += 1
        number.state, number.updated = state, at

    def count(self, state: State, region: str | None = None) -> int:
        """Return how many numbers are in *state*, in one region if given."""
        self.advance_to_now()
        return sum(self._counts[state, each] for each in ([region] if region else ["US", "CA"]))

    def page(
        self,
        state: State,
        *,
        size: int,
        region: str | None = None,
        by_update: bool = False,
        after: tuple[float, int] | None = None,
    ) -> tuple[list[Number], tuple[float, int] | None]:
        """Return a page of the numbers in *state*, and the *after* of the next if there is one.

        The oldest come first. Whoever walks the pages misses no number that stays where it is.
        """
        wanted = min(size + 1, self.count(state, region))
        start = after[1] + 1 if after and not by_update else 0
        found: Iterable[Number] = (
            number
            for number in islice(self._by_creation, start, None)
            if number is not None and number.state is state and region in {None, number.region}
        )
        if by_update:
            later = (each for each in found if after is None or _by_update(each) > after)
            found = heapq.nsmallest(wanted, later, _by_update)
        page = list(islice(found, wanted))
        return page[:size], _by_update(page[size - 1]) if len(page) > size else None

    # Calls.

    def ring(self, phone_number: str) -> Number:
        """Call a number and read out a new code; the code of the call before is then wrong."""
        number = self.get(phone_number)
        if number.state not in _CALLABLE:
            raise _precondition(number, "be called")
        now = self.clock.now()
        if MisbehavingNumber.BLOCKED.matches(phone_number):
            self._move(number, State.VERIFICATION_BLOCKED, now)
            return number
        number.rings += 1
        number.code, number.called = self._new_code(), now
        self._move(number, State.VERIFICATION_PENDING, now)
        if MisbehavingNumber.LOST_RESPONSE.matches(phone_number):
            raise Refusal("INTERNAL", "Internal server error.")
        return number

    def verify(self, phone_number: str, code: str) -> Number:
        """Check the code of the latest call; `Settings.wrong_code` says what a wrong one gets."""
        number = self.get(phone_number)
        blocked = number.state is State.VERIFICATION_BLOCKED
        if not blocked and (number.state not in _VERIFIABLE or number.code is None):
            raise _precondition(number, "be verified")
        now = self.clock.now()
        late = now > number.called + self.settings.code_lifetime
        if code == number.code and not late and not blocked:
            self._move(number, State.VERIFIED, now)
            return number
        number.wrong_codes += 1
        if blocked or number.wrong_codes >= self.settings.max_attempts:
            self._move(number, State.VERIFICATION_BLOCKED, now)
        elif self.settings.wrong_code == "failed":
            self._move(number, State.VERIFICATION_FAILED, now)
        if self.settings.wrong_code == "rejected":
            why = "has expired" if late else "is not the one that was read out"
            raise Refusal("INVALID_ARGUMENT", "The code is not valid.", [("code", why)])
        return number

    def rings(self, phone_number: str) -> int:
        """Return how often a number's phone has rung."""
        return self.get(phone_number).rings

    def code_for(self, phone_number: str) -> str | None:
        """Return the code as the people at the phone would read it; None if they know none."""
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
        """Place a hosting order for all the numbers of *request*, or for none of them."""
        numbers = [self.get(each) for each in dict.fromkeys(request["numbers"])]
        if misplaced := [
            (f"numbers[{index}]", "is a toll-free number" if not toll_free else "is not toll-free")
            for index, number in enumerate(numbers)
            if is_toll_free(number.phone_number) is not toll_free
        ]:
            raise Refusal("INVALID_ARGUMENT", "The numbers are of the other kind.", misplaced)
        for number in numbers:
            if number.state in {State.HOSTING_IN_PROGRESS, State.HOSTING_DONE}:
                raise Refusal("ALREADY_EXISTS", "The imported number already exists.")
            if number.state not in {State.VERIFIED, State.HOSTING_FAILED}:
                raise _precondition(number, "be text-enabled")
        now = self.clock.now()
        name = "".join(self._random.choices("0123456789abcdefghjkmnpqrstvwxyz", k=26))
        order = Order(name, toll_free, request, numbers, OrderState.SUBMITTED, now, now)
        self.orders[name] = order
        for number in numbers:
            self._move(number, State.HOSTING_IN_PROGRESS, now)
        self._schedule(now, self._ask_for_signature, order)
        self.clock.notify()
        return order

    def sign_loa(self, order_id: str) -> Order:
        """Sign the Letter of Authorization of an order that waits for it."""
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
            return  # signed by hand meanwhile
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
            return  # deleted meanwhile
        self._move(number, State.HOSTING_FAILED if failed else State.HOSTING_DONE, at)
        if url := order.request.get("callbackUrl"):
            event_id = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
            kind, code = EventType.OSR_UPDATE, "INVALID_NNID" if failed else None
            if order.state is OrderState.REJECTED:
                kind, code = EventType.HOSTING_PROCESS, None  # it never came to the OSR
            event = Event(url, event_id, kind, number.phone_number, at, not failed, code)
            self.events.append(event)


_CALLABLE = frozenset({State.ELIGIBLE, State.VERIFICATION_PENDING, State.VERIFICATION_FAILED})
_VERIFIABLE = frozenset({State.VERIFICATION_PENDING, State.VERIFICATION_FAILED})


def _precondition(number: Number, what: str) -> Refusal:
    """Refuse what the number's state does not allow."""
    message = f"{number.phone_number} is {number.state} and cannot {what}."
    return Refusal("FAILED_PRECONDITION", message)


def _by_update(number: Number) -> tuple[float, int]:
    return number.updated, number.position


def _has(order: Order, kind: MisbehavingNumber) -> bool:
    return any(kind.matches(number.phone_number) for number in order.numbers)
