"""The sandbox's world: numbers, phone calls and codes, with orders and imported numbers. No I/O.

Each method applies the due changes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.phone import is_toll_free, region_of
from sinch_qn.sandbox.clock import Clock
from sinch_qn.sandbox.events import Events
from sinch_qn.sandbox.hosting_orders import HostingOrders, Order
from sinch_qn.sandbox.imported_numbers import ImportedNumbers
from sinch_qn.sandbox.misbehaving_numbers import MisbehavingNumber
from sinch_qn.sandbox.number_store import Number, NumberStore
from sinch_qn.sandbox.refusal import Refusal, invalid, number_exists, number_not_found
from sinch_qn.sandbox.settings import Settings
from sinch_qn.sandbox.timeline import Timeline

CODE_DIGITS = 4
"""Digits of a code; leading zeros occur."""


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
        self._random = random or Random()  # noqa: S311 - test codes
        self._timeline = Timeline(self.clock)
        self._numbers = NumberStore()
        self.events = Events(self._random)
        self.imported_numbers = ImportedNumbers(self.settings, self._timeline, self.events)
        self.hosting_orders = HostingOrders(
            self.settings,
            self._timeline,
            self.events,
            self._random,
            self.imported_numbers,
            self._move,
        )
        self.orders = self.hosting_orders.orders
        """All hosting orders by id."""

    def advance_to_now(self) -> float:
        """Apply all due changes, each with its own time, and return the time."""
        return self._timeline.advance_to_now()

    @property
    def next_due(self) -> float | None:
        """Time of the next scheduled change, in Unix seconds."""
        return self._timeline.next_due

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
        self._timeline.schedule(now + delay, self._finish_check, number)
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
            raise number_not_found()
        return number

    def read(self, phone_number: str) -> Number:
        """Return a number as `getQualifiedNumber` shows it; see `Settings.visibility_delay`."""
        number = self._numbers.as_shown(self.get(phone_number))
        if number is None:
            raise number_not_found()
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
            self._timeline.schedule(at + delay, self._show, (number, state, at))
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
            raise invalid(*misplaced, message="Wrong operation for these numbers.")
        for number in numbers:
            if number.state in {SinchState.HOSTING_IN_PROGRESS, SinchState.HOSTING_DONE}:
                raise number_exists()
            if number.state not in {SinchState.VERIFIED, SinchState.HOSTING_FAILED}:
                raise _precondition(number, "be text-enabled")
        return self.hosting_orders.place(request, numbers, toll_free=toll_free)

    def sign_loa(self, order_id: str) -> Order:
        """Sign the Letter of Authorization of an order in WAITING_FOR_LOA_SIGNATURE."""
        return self.hosting_orders.sign_loa(order_id)


_CALLABLE = frozenset(
    {SinchState.ELIGIBLE, SinchState.VERIFICATION_PENDING, SinchState.VERIFICATION_FAILED}
)
_VERIFIABLE = frozenset({SinchState.VERIFICATION_PENDING, SinchState.VERIFICATION_FAILED})


def _precondition(number: Number, action: str) -> Refusal:
    """Return the error for an action that the number's state does not allow."""
    message = f"{number.phone_number} is {number.state} and cannot {action}."
    return Refusal("FAILED_PRECONDITION", message)
