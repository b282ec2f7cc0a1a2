"""What `sinch-qn imported` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sinch_qn.cli.client import with_client
from sinch_qn.cli.exit_codes import error_context
from sinch_qn.cli.output import Lines
from sinch_qn.cli.resources import ImportedLines, show_listing
from sinch_qn.client import QualifiedNumbersClient


def list_imported(*, limit: int | None, as_json: bool, **filters: Any) -> None:
    """Print the imported numbers of a service plan and campaign, at most *limit*."""

    async def job(client: QualifiedNumbersClient) -> None:
        with ImportedLines(as_json=as_json) as lines:
            await show_listing(client.imported_numbers.list(**filters), lines.add_number, limit)

    with_client(job)


def get_imported(numbers: Sequence[str], *, as_json: bool) -> None:
    """Print imported numbers as Sinch has them."""

    async def job(client: QualifiedNumbersClient) -> None:
        with ImportedLines(as_json=as_json) as lines:
            for number in numbers:
                with error_context(number):
                    lines.add_number(await client.imported_numbers.get(number))

    with_client(job)


def update_imported(
    numbers: Sequence[str],
    *,
    changes: Mapping[str, str],
    links: Mapping[str, str],
    timeout: float,
    as_json: bool,
) -> None:
    """Make *changes*, then link each number as *links* say, and print it."""

    async def job(client: QualifiedNumbersClient) -> None:
        imported = client.imported_numbers
        with ImportedLines(as_json=as_json) as lines:
            for number in numbers:
                with error_context(number):
                    if changes:
                        await imported.update(number, **dict[str, Any](changes))
                    if links:
                        await imported.move(number, timeout=timeout, **dict[str, Any](links))
                    lines.add_number(await imported.get(number))

    with_client(job)


def delete_imported(numbers: Sequence[str], *, as_json: bool) -> None:
    """End the hosting of *numbers*, and print which are gone."""

    async def job(client: QualifiedNumbersClient) -> None:
        with Lines("NUMBER", "RESULT", as_json=as_json) as lines:
            for number in numbers:
                with error_context(number):
                    await client.imported_numbers.delete(number)
                lines.add({"phoneNumber": number, "deleted": True}, number, "deleted")

    with_client(job)
