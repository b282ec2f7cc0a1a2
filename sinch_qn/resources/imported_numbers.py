"""`client.imported_numbers`: the numbers that Sinch hosts, and the services they are linked to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from sinch_qn import _checks, _paging, _queries, waiting
from sinch_qn._error_context import naming
from sinch_qn._operations import (
    DELETE_IMPORTED_NUMBER,
    GET_IMPORTED_NUMBER,
    IMPORT_NUMBER,
    LIST_IMPORTED_NUMBERS,
    UPDATE_IMPORTED_NUMBER,
)
from sinch_qn._pipeline import Pipeline, PreparedCall
from sinch_qn.errors import InvalidRequestError, Outcome, SinchError
from sinch_qn.models import (
    ImportedNumber,
    ImportNumberRequest,
    NumberSearchPattern,
    SmsConfiguration,
    UpdateImportedNumberRequest,
)
from sinch_qn.resources import number_links
from sinch_qn.retry import RetryRule

_NUMBERS = _paging.Listing(LIST_IMPORTED_NUMBERS, "importedNumbers", ImportedNumber)


class ImportedNumbersResource:
    """A project's imported numbers: those that Sinch hosts, after an order or an import."""

    def __init__(self, pipeline: Pipeline, project_id: str) -> None:
        self._pipeline = pipeline
        self._project_id = project_id

    async def get(
        self, phone_number: str, *, timeout: float | None = None, retry: RetryRule | None = None
    ) -> ImportedNumber:
        """Return the number, with its state at each carrier and service.

        Raises `NotFoundError`. (getImportedNumber)
        """
        return await self._pipeline.call(
            GET_IMPORTED_NUMBER, phone_number=phone_number, timeout=timeout, retry=retry
        )

    async def import_number(
        self,
        request: ImportNumberRequest,
        *,
        timeout: float | None = None,
        retry: RetryRule | None = None,
        prepared: PreparedCall | None = None,
    ) -> ImportedNumber:
        """Import one number and link it to a service plan and a campaign; return it.

        Not idempotent: never retried once the request may have been sent. Raises
        `InvalidRequestError`, `BadRequestError`, and `ConflictError` if it is imported already.
        (importNumber)
        """
        return await self._pipeline.call(
            IMPORT_NUMBER,
            body=_checks.check_import_number(request, self._project_id),
            timeout=timeout,
            retry=retry,
            prepared=prepared,
        )

    async def update(
        self,
        phone_number: str,
        *,
        display_name: str | None = None,
        callback_url: str | None = None,
        service_plan_id: str | None = None,
        campaign_id: str | None = None,
        timeout: float | None = None,
        retry: RetryRule | None = None,
        prepared: PreparedCall | None = None,
    ) -> ImportedNumber:
        """Change what is given; return the number without its state at carriers.

        An empty *service_plan_id* or *campaign_id* unlinks the number. A linked number must be
        unlinked before it is linked to another: `move` does both. Not idempotent, as linking
        starts provisioning at the carriers: never retried once the request may have been sent.
        Raises `InvalidRequestError`, `BadRequestError`, `NotFoundError`. (updateImportedNumber)
        """
        links = SmsConfiguration(service_plan_id=service_plan_id, campaign_id=campaign_id)
        request = UpdateImportedNumberRequest(
            display_name=display_name,
            callback_url=callback_url,
            sms_configuration=None if links == SmsConfiguration() else links,
        )
        return await self._pipeline.call(
            UPDATE_IMPORTED_NUMBER,
            phone_number=phone_number,
            body=_checks.check_update(request),
            timeout=timeout,
            retry=retry,
            prepared=prepared,
        )

    async def move(
        self,
        phone_number: str,
        *,
        service_plan_id: str | None = None,
        campaign_id: str | None = None,
        timeout: float,
        retry: RetryRule | None = None,
    ) -> ImportedNumber:
        """Link the number to another service plan, campaign or both: unlink, wait, link.

        To resume after an error or a crash, call it again: it looks at the number first, and sends
        only what is missing. An error after the unlinking has the outcome UNKNOWN.

        Returns the number; provisioning goes on at the carriers. Raises `UnlinkError` if unlinking
        fails, `NotFoundError`, and `DeadlineExceededError` after *timeout* seconds.
        (getImportedNumber, updateImportedNumber)
        """
        wanted = _wanted(service_plan_id=service_plan_id, campaign_id=campaign_id)
        clock = asyncio.get_running_loop().time
        deadline = clock() + _checks.check_above_zero(timeout, "timeout")

        def left() -> float:
            return max(deadline - clock(), 1e-3)

        async def get() -> ImportedNumber:
            return await self.get(phone_number, timeout=left(), retry=retry)

        before = number = await get()
        others = number_links.linked_to_others(number, wanted)
        try:
            if others:
                await self._link(phone_number, dict.fromkeys(others, ""), left(), retry)
            if others or not number_links.is_free(number, wanted, before=before):
                with naming(GET_IMPORTED_NUMBER.id, phone_number):
                    number = await waiting.poll(
                        get,
                        lambda current: number_links.is_free(current, wanted, before=before),
                        goal="unlinked",
                        state_of=number_links.describe,
                        timeout=left(),
                        of=timeout,
                        delays=waiting.backoff(1.0, 30.0, factor=1.5),
                    )
            if missing := number_links.missing(number, wanted):
                await self._link(phone_number, missing, left(), retry)
                number = await get()
        except SinchError as error:
            if others:
                error.outcome = Outcome.UNKNOWN  # it may be unlinked
            raise
        return number

    async def _link(
        self, phone_number: str, links: Mapping[str, str], timeout: float, retry: RetryRule | None
    ) -> None:
        await self.update(
            phone_number,
            service_plan_id=links.get("service_plan_id"),
            campaign_id=links.get("campaign_id"),
            timeout=timeout,
            retry=retry,
        )

    async def delete(
        self, phone_number: str, *, timeout: float | None = None, retry: RetryRule | None = None
    ) -> None:
        """End the hosting of the number. Raises `NotFoundError`. (deleteImportedNumber)

        A 404 to a retry, after a request with an unknown outcome, is a success.
        """
        return await self._pipeline.call(
            DELETE_IMPORTED_NUMBER, phone_number=phone_number, timeout=timeout, retry=retry
        )

    async def list(
        self,
        *,
        service_plan_id: str,
        campaign_id: str,
        region_code: str | None = None,
        pattern: str | None = None,
        search_pattern: NumberSearchPattern | str | None = None,
        order_by: str | None = None,
        page_size: int | None = None,
        timeout: float | None = None,
        retry: RetryRule | None = None,
    ) -> AsyncGenerator[ImportedNumber, None]:
        """Yield the numbers of one service plan and campaign; the API requires both.

        *pattern* are digits, and *search_pattern* says where in a number they are: `START` (with a
        `+`), `CONTAIN` or `END`. Memory holds one page at a time. Raises `InvalidRequestError`,
        `BadRequestError`, and `PaginationError` if a page token repeats. (listImportedNumbers)
        """
        query = _queries.imported_numbers(
            service_plan_id=service_plan_id,
            campaign_id=campaign_id,
            region_code=region_code,
            pattern=pattern,
            search_pattern=search_pattern,
            order_by=order_by,
        )

        async def fetch(token: str | None) -> dict[str, Any] | None:
            return await self._pipeline.call_raw(
                LIST_IMPORTED_NUMBERS,
                query=query | _queries.page(page_size=page_size, page_token=token),
                timeout=timeout,
                retry=retry,
            )

        async with aclosing(_paging.items(fetch, _NUMBERS)) as listing:
            async for number in listing:
                yield number


def _wanted(**links: str | None) -> Mapping[str, str]:
    wanted = {name: value for name, value in links.items() if value is not None}
    if not wanted:
        raise InvalidRequestError("expected a service_plan_id, a campaign_id or both")
    for name, value in wanted.items():
        if not _checks.check_text(name, value):
            raise InvalidRequestError(f"{name}: is empty: to unlink only, use update")
    return wanted
