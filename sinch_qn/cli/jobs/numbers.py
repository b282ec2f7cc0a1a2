"""What `sinch-qn list`, `get`, `add` and `delete` do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from sinch_qn._checks import MAX_NUMBERS
from sinch_qn.cli.client import with_client
from sinch_qn.cli.exit_codes import error_context
from sinch_qn.cli.output import Lines
from sinch_qn.cli.resources import NumberLines, show_listing
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.models import GlobalProcessState


def list_numbers(
    states: Sequence[GlobalProcessState], *, limit: int | None, as_json: bool, **filters: Any
) -> None:
    """Print the numbers in *states*, at most *limit*."""

    async def job(client: QualifiedNumbersClient) -> None:
        with NumberLines(as_json=as_json) as lines:
            await show_listing(client.list_numbers(*states, **filters), lines.add_number, limit)

    with_client(job)


def get_numbers(numbers: Sequence[str], *, as_json: bool) -> None:
    """Print *numbers* as Sinch has them."""

    async def job(client: QualifiedNumbersClient) -> None:
        with NumberLines(as_json=as_json) as lines:
            for number in numbers:
                with error_context(number):
                    lines.add_number(await client.get_number(number))

    with_client(job)


def add_numbers(numbers: Sequence[str], *, as_json: bool) -> None:
    """Add *numbers* to the project, and print them."""

    async def job(client: QualifiedNumbersClient) -> None:
        rest = iter(numbers)
        with NumberLines(as_json=as_json) as lines:
            while batch := list(islice(rest, MAX_NUMBERS)):  # as the dashboard does
                for number in await client.add_numbers(batch):
                    lines.add_number(number)

    with_client(job)


def delete_numbers(numbers: Sequence[str], *, as_json: bool) -> None:
    """Delete *numbers* from the project, and print which are."""

    async def job(client: QualifiedNumbersClient) -> None:
        with Lines("NUMBER", "RESULT", as_json=as_json) as lines:
            for number in numbers:
                with error_context(number):
                    await client.delete_number(number)
                lines.add({"phoneNumber": number, "deleted": True}, number, "deleted")

    with_client(job)
