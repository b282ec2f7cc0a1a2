"""Numbers that were refused together are added one by one."""

from __future__ import annotations

from typing import Any

from sinch_qn._operations import ADD_NUMBERS, Operation
from sinch_qn.bulk import MemoryJournal
from sinch_qn.errors import BadRequestError, SinchError
from tests.support.fake_sinch import Sinch
from tests.support.runs import numbers, run_of, until
from tests.support.virtual_clock import virtual_clock


@virtual_clock
async def test_numbers_refused_together_are_added_one_after_the_other() -> None:
    """Rule 1: one such request is in flight at a time, so that no intent waits for a connection."""
    sinch, in_flight, most, many = Sinch(latency=1.0), 0, 0, False
    add = sinch.add_numbers

    def refuse_many(operation: Operation[Any], _: str | None) -> SinchError | None:
        return BadRequestError(status_code=400) if operation is ADD_NUMBERS and many else None

    async def counted(phone_numbers: Any, **options: Any) -> Any:
        nonlocal in_flight, most, many
        many, in_flight = len(phone_numbers) > 1, in_flight + 1
        most = max(most, in_flight)
        try:
            return await add(phone_numbers, **options)
        finally:
            in_flight -= 1

    sinch.before = refuse_many
    sinch.add_numbers = counted  # type: ignore[method-assign]
    async with run_of(sinch, MemoryJournal(), add_missing=True) as run:
        await run.add(numbers(30))
        await until(lambda: len(sinch.rings) == 30)
    assert most == 1
    assert sinch.count(ADD_NUMBERS) == 31
