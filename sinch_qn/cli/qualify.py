"""The whole job for a list of numbers: added, rung, verified and text-enabled, all at once.

It takes a client and whoever hears the codes, so it does the same with Sinch and with the sandbox.
It lives as long as its process does.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from sinch_qn.errors import (
    BadRequestError,
    DeadlineExceededError,
    Outcome,
    SinchError,
    StatusError,
    UnexpectedStateError,
)
from sinch_qn.models import (
    DirectLoaInfo,
    GlobalProcessState,
    TextEnableNumbersRequest,
    TextEnableTollFreeNumbersRequest,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sinch_qn import QualifiedNumbersClient
    from sinch_qn.cli.as_written import Number

Hear: TypeAlias = "Callable[[str], Awaitable[str | None]]"
"""Whoever is at the phone: a number in, the code they heard out, None if nobody answered."""

NOBODY_ANSWERED: Final = "nobody answered"
OUTCOME_UNKNOWN: Final = "outcome unknown"

_AT_ONCE: Final = 500
"""Numbers in one request: the documented limit of an order, and a fair size for adding."""
_CALLS: Final = 3
"""How often a number is rung before it is given up."""


@attrs.define(kw_only=True, eq=False)
class Job:
    """One list of numbers on its way; `outcomes` and `counts` may be read while it works."""

    client: QualifiedNumbersClient
    hear: Hear
    service_plan_id: str
    campaign_id: str | None
    loa: DirectLoaInfo
    max_ringing: int = 60
    patience: float = 15.0
    """Seconds that a number may take to become eligible, and again to be hosted."""
    linger: float = 0.5
    """Seconds that an order waits for more numbers to come along."""

    outcomes: dict[str, str] = attrs.field(init=False, factory=dict)
    """By number, how it ended: in which state, or what went wrong."""
    counts: Counter[str] = attrs.field(init=False, factory=Counter)
    """How many numbers were `added`, `rung`, `verified` and `ordered` so far."""
    _verified: asyncio.Queue[Number | None] = attrs.field(init=False, factory=asyncio.Queue)
    """What is ready to be ordered; None at the end."""

    async def run(self, numbers: Sequence[Number]) -> None:
        """Take *numbers* all the way; what one of them meets is its outcome and stops no other."""
        for start in range(0, len(numbers), _AT_ONCE):
            batch = numbers[start : start + _AT_ONCE]
            await self.client.add_numbers([number.e164 for number in batch])
            self.counts["added"] += len(batch)
        ringing = asyncio.Semaphore(self.max_ringing)
        async with asyncio.TaskGroup() as orders:
            orders.create_task(self._order_verified(orders))
            async with asyncio.TaskGroup() as calls:
                for number in numbers:
                    calls.create_task(self._prove(number, ringing))
            self._verified.put_nowait(None)

    async def _prove(self, number: Number, ringing: asyncio.Semaphore) -> None:
        """Prove by a call that *number* is ours."""
        try:
            outcome = await self._wait(number.e164, GlobalProcessState.ELIGIBLE)
            if outcome == "ELIGIBLE":
                async with ringing:
                    outcome = await self._ring(number.e164)
        except SinchError as error:
            outcome = _explain(error)
        if outcome == "VERIFIED":
            self.counts["verified"] += 1
            self._verified.put_nowait(number)
        else:
            self.outcomes[number.e164] = outcome

    async def _ring(self, phone_number: str) -> str:
        """Ring until somebody tells a code that is right; return the state that came of it."""
        outcome = NOBODY_ANSWERED
        for call in range(_CALLS):
            self.counts["rung"] += call == 0
            may_ring_again = True
            try:
                called = await self.client.send_voice_challenge(phone_number)
            except SinchError as error:
                if error.outcome is not Outcome.UNKNOWN:
                    raise
                may_ring_again = False  # it may be ringing now: what is heard still counts
                outcome = OUTCOME_UNKNOWN
            else:
                if called.global_process_state is GlobalProcessState.VERIFICATION_BLOCKED:
                    return "VERIFICATION_BLOCKED"
            code = await self.hear(phone_number)
            if code is not None:
                outcome = await self._verify(phone_number, code)
            if outcome in ("VERIFIED", "VERIFICATION_BLOCKED") or not may_ring_again:
                break
        return outcome

    async def _verify(self, phone_number: str, code: str) -> str:
        try:
            answer = await self.client.verify_voice_challenge(phone_number, code)
        except BadRequestError:
            return "VERIFICATION_FAILED"  # a wrong code: a 400, or a 200 in this state
        return (answer.global_process_state or GlobalProcessState.UNSPECIFIED).name

    async def _order_verified(self, orders: asyncio.TaskGroup) -> None:
        """Order SMS for what is verified, as it comes, by region and kind of number."""
        more = True
        while more:
            batch = [await self._verified.get()]
            await asyncio.sleep(self.linger)
            while not self._verified.empty():
                batch.append(self._verified.get_nowait())
            more = None not in batch
            kinds = defaultdict(list)
            for number in filter(None, batch):
                kinds[number.region, number.toll_free].append(number.e164)
            for (region, toll_free), numbers in kinds.items():
                for start in range(0, len(numbers), _AT_ONCE):
                    part = numbers[start : start + _AT_ONCE]
                    orders.create_task(self._order(region, part, toll_free=toll_free))

    async def _order(self, region: str, numbers: list[str], *, toll_free: bool) -> None:
        """Place one order, and follow its numbers until they are hosted."""
        try:
            if toll_free:
                await self.client.text_enable_toll_free_numbers(
                    TextEnableTollFreeNumbersRequest(
                        region_code=region,
                        numbers=numbers,
                        service_plan_id=self.service_plan_id,
                        direct_loa_info=self.loa,
                    )
                )
            else:
                await self.client.text_enable_numbers(
                    TextEnableNumbersRequest(
                        region_code=region,
                        numbers=numbers,
                        service_plan_id=self.service_plan_id,
                        campaign_id=self.campaign_id,
                        direct_loa_info=self.loa,
                    )
                )
        except SinchError as error:
            self.outcomes.update(dict.fromkeys(numbers, f"order: {_explain(error)}"))
            return
        self.counts["ordered"] += len(numbers)
        async with asyncio.TaskGroup() as group:
            for number in numbers:
                group.create_task(self._follow(number))

    async def _follow(self, phone_number: str) -> None:
        try:
            outcome = await self._wait(phone_number, GlobalProcessState.HOSTING_DONE)
        except SinchError as error:
            outcome = _explain(error)
        self.outcomes[phone_number] = outcome

    async def _wait(self, phone_number: str, state: GlobalProcessState) -> str:
        """Wait for *state*; return it, or the state that came instead or is still there."""
        try:
            await self.client.wait_for_state(phone_number, state, timeout=self.patience)
        except UnexpectedStateError as error:
            return (error.number.global_process_state or GlobalProcessState.UNSPECIFIED).name
        except DeadlineExceededError:
            return f"not {state.name} in time"
        return state.name


def _explain(error: SinchError) -> str:
    if error.outcome is Outcome.UNKNOWN:
        return OUTCOME_UNKNOWN
    if isinstance(error, StatusError):
        return f"refused: {error.status or error.status_code}"
    return f"failed: {type(error).__name__}"
