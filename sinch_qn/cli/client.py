"""A client made from the environment, and a job to do with it."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from sinch_qn.errors import SinchError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from sinch_qn import QualifiedNumbersClient

T = TypeVar("T")


def call(job: Callable[[QualifiedNumbersClient], Awaitable[T]]) -> T:
    """Run *job* with a client, and close it.

    Ask people first: inside an event loop Ctrl-C would not end a question.
    """
    from sinch_qn import QualifiedNumbersClient  # noqa: PLC0415 - 250 ms, when it is needed

    async def run() -> T:
        async with QualifiedNumbersClient.from_env() as client:
            return await job(client)

    return asyncio.run(run())


@contextmanager
def about(phone_number: str) -> Iterator[None]:
    """Name *phone_number* in an error, where a command has several."""
    try:
        yield
    except SinchError as error:
        error.add_note(phone_number)
        raise
