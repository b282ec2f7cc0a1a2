"""A client from the environment, and a job to do with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import attrs
import click

from sinch_qn.cli.client_options import client_options
from sinch_qn.client import QualifiedNumbersClient

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Dependencies:
    """The client of a command, and its waits; tests pass their own as `obj` of the context."""

    make_client: Callable[..., QualifiedNumbersClient] = QualifiedNumbersClient.from_env
    poll_interval: float = 0.25
    """Seconds between two polls of a file of codes."""
    batches_per_second: float = 1.0
    """Orders a second."""

    @classmethod
    def current(cls) -> Dependencies:
        """Return those of the running command."""
        return click.get_current_context().find_object(cls) or cls()


def client_from_env() -> QualifiedNumbersClient:
    """Return a client with the credentials of the environment and the options of `sinch-qn`."""
    return Dependencies.current().make_client(**client_options())


def with_client(job: Callable[[QualifiedNumbersClient], Awaitable[T]]) -> T:
    """Run *job* with a client in an event loop of its own, then close the client.

    Prompts come first: inside an event loop Ctrl-C would not end them.
    """

    async def run() -> T:
        async with client_from_env() as client:
            return await job(client)

    return asyncio.run(run())
