"""A fake client: a small Sinch in memory, with faults that a test injects."""

from __future__ import annotations

import asyncio
import copy
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Any, Literal

from sinch_qn._operations import (
    ADD_NUMBERS,
    GET_NUMBER,
    LIST_NUMBERS,
    SEND_VOICE_CHALLENGE,
    VERIFY_VOICE_CHALLENGE,
    Operation,
)
from sinch_qn._paging import Page
from sinch_qn._pipeline import PreparedCall
from sinch_qn.errors import BadRequestError, NotFoundError, Outcome, SinchError
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.models import QualifiedNumber
from sinch_qn.retry import ONE_SHOT, RetryRule

Fault = Callable[[Operation[Any], str | None], SinchError | None]


def always(failing: Operation[Any], error: SinchError) -> Fault:
    """Return a fault for every request of an operation."""
    return lambda operation, _: error if operation is failing else None


def first(failing: Operation[Any], *errors: SinchError) -> Fault:
    """Return a fault for the first requests of an operation, one error each."""
    left = list(errors)
    return lambda operation, _: left.pop(0) if operation is failing and left else None


class Sinch:
    """A fake client: a small Sinch in memory, with faults that a test injects.

    `before` returns the error to raise before a request takes effect, `after` the error to raise
    after that, or None.
    """

    project_id = "project"
    base_url = "https://api.example"
    max_connections: int | None = None

    def __init__(
        self,
        known: Iterable[str] = (),
        state: SinchState = SinchState.ELIGIBLE,
        *,
        latency: float = 0.1,
    ) -> None:
        self.states = dict.fromkeys(known, state)
        self.latency = latency
        self.rings: Counter[str] = Counter()
        self.codes: dict[str, str] = {}
        self.log: list[tuple[str, str | None]] = []
        self.rang_at: list[float] = []
        self.before: Fault = lambda _operation, _number: None
        self.after: Fault = lambda _operation, _number: None
        self.prepare_latency = 0.0
        self.prepare_fails: list[SinchError] = []
        self.list_fails: list[SinchError] = []
        self.wrong_code: Literal["failed", "rejected"] = "failed"
        self.refuses_to_add: set[str] = set()
        """A request to add one of these is rejected as a whole."""
        self.total_size: int | None = None
        self.page_cap = 1000

    def count(self, operation: Operation[Any] | str) -> int:
        """Return the number of requests of *operation*."""
        wanted = operation if isinstance(operation, str) else operation.id
        return sum(name == wanted for name, _ in self.log)

    async def prepare(self, *, timeout: float | None = None) -> PreparedCall:  # noqa: ARG002
        """Acquire a token."""
        self.log.append(("prepare", None))
        await asyncio.sleep(self.prepare_latency)
        if self.prepare_fails:
            raise self.prepare_fails.pop(0)
        return PreparedCall(owner=self)

    async def get_number(self, phone_number: str) -> QualifiedNumber:
        """Return the number's current state."""
        number: QualifiedNumber = await self._call(GET_NUMBER, phone_number)
        return number

    async def send_voice_challenge(
        self, phone_number: str, *, retry: RetryRule, prepared: PreparedCall
    ) -> QualifiedNumber:
        """Call the phone."""
        number: QualifiedNumber = await self._send(
            SEND_VOICE_CHALLENGE, retry, prepared, phone_number
        )
        return number

    async def verify_voice_challenge(
        self, phone_number: str, code: str, *, retry: RetryRule, prepared: PreparedCall
    ) -> QualifiedNumber:
        """Compare the code."""
        number: QualifiedNumber = await self._send(
            VERIFY_VOICE_CHALLENGE, retry, prepared, phone_number, code
        )
        return number

    async def add_numbers(
        self, phone_numbers: Sequence[str], *, retry: RetryRule, prepared: PreparedCall
    ) -> list[QualifiedNumber]:
        """Add the numbers to the project."""
        added: list[QualifiedNumber] = await self._send(
            ADD_NUMBERS, retry, prepared, None, phone_numbers
        )
        return added

    async def _send(
        self,
        operation: Operation[Any],
        retry: RetryRule,
        prepared: PreparedCall,
        phone_number: str | None,
        body: Any = None,
    ) -> Any:
        assert retry is ONE_SHOT
        assert not prepared.used
        prepared.used = True
        return await self._call(operation, phone_number, body, prepared)

    async def _call(
        self,
        operation: Operation[Any],
        phone_number: str | None,
        body: Any = None,
        prepared: PreparedCall | None = None,
    ) -> Any:
        """Take effect after half of the latency; respond after the other half."""
        call = prepared or PreparedCall(owner=self)
        self.log.append((operation.id, phone_number))
        await asyncio.sleep(self.latency / 2)
        call.connection_acquired = True
        try:
            if error := self.before(operation, phone_number):
                raise copy.copy(error)
            response = self._effect(operation, phone_number, body)
            await asyncio.sleep(self.latency / 2)
            if error := self.after(operation, phone_number):
                raise copy.copy(error)
        except SinchError as error:
            call.connection_acquired = False
            call.may_have_succeeded |= error.outcome is Outcome.UNKNOWN
            raise
        return response

    def _effect(self, operation: Operation[Any], phone_number: str | None, body: Any) -> Any:
        if operation is ADD_NUMBERS:
            if not self.refuses_to_add.isdisjoint(body):
                raise BadRequestError("not valid", status_code=400)
            for number in body:
                self.states.setdefault(number, SinchState.ELIGIBLE)
            return [self._shown(number) for number in body]
        assert phone_number is not None
        if phone_number not in self.states:
            raise NotFoundError("no such number", status_code=404)
        if operation is SEND_VOICE_CHALLENGE:
            self.rings[phone_number] += 1
            self.rang_at.append(asyncio.get_running_loop().time())
            self.codes[phone_number] = f"{len(self.rang_at) % 10_000:04}"
            self.states[phone_number] = SinchState.VERIFICATION_PENDING
        elif operation is VERIFY_VOICE_CHALLENGE:
            if body == self.codes.get(phone_number):
                self.states[phone_number] = SinchState.VERIFIED
            elif self.wrong_code == "failed":
                self.states[phone_number] = SinchState.VERIFICATION_FAILED
            else:
                raise BadRequestError(f"the code {body} is not valid", status_code=400)
        return self._shown(phone_number)

    def _shown(self, number: str) -> QualifiedNumber:
        return QualifiedNumber(
            phone_number=number, global_process_state=self.states[number], region_code="US"
        )

    async def list_number_pages(
        self,
        state: SinchState,
        *,
        page_size: int,
        page_token: str | None = None,
        prefetch: bool = False,  # noqa: ARG002
        retry: RetryRule | None = None,
    ) -> AsyncGenerator[Page, None]:
        """Yield pages of the numbers in *state*; a page size of 1 is a probe."""
        start = int(page_token or 0)
        if page_size == 1:
            assert retry is ONE_SHOT
            self.log.append(("probe", state.value))
            await asyncio.sleep(self.latency)
            if error := self.before(LIST_NUMBERS, None):
                raise copy.copy(error)
            yield Page(items=[], next_page_token=None, total_size=0, state=state)
            return
        while True:
            self.log.append(("list", state.value))
            await asyncio.sleep(self.latency)
            if self.list_fails:
                raise self.list_fails.pop(0)
            found = [number for number, at in self.states.items() if at is state]
            end = start + min(page_size, self.page_cap)
            yield Page(
                items=[self._shown(number) for number in found[start:end]],
                next_page_token=str(end) if end < len(found) else None,
                total_size=self.total_size if self.total_size is not None else len(found),
                state=state,
            )
            start = end
            if end >= len(found):
                return
