"""`QualifiedNumbersClient`: one method per operation, without logic of its own.

The `(operationId)` at the end of a method's description names its operation in the Qualified
Numbers API reference, as `openapi/qualified-numbers.yaml` describes it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from ssl import SSLContext
from typing import Any, Self, Unpack

from sinch_qn import _checks, _paging, _queries, waiting
from sinch_qn._client_options import ClientOptions, auth_from_env, check_auth, connection_options
from sinch_qn._connections import ConnectionOptions
from sinch_qn._general_calls import GeneralCalls
from sinch_qn._operations import (
    ADD_NUMBERS,
    DELETE_NUMBER,
    GET_NUMBER,
    LIST_NUMBERS,
    SEND_VOICE_CHALLENGE,
    TEXT_ENABLE_NUMBERS,
    TEXT_ENABLE_TOLL_FREE_NUMBERS,
    VERIFY_VOICE_CHALLENGE,
)
from sinch_qn._paging import Page
from sinch_qn._pipeline import Pipeline, PreparedCall
from sinch_qn._transport import MAX_BODY, ClientSession, Transport
from sinch_qn.auth import Auth
from sinch_qn.instrumentation.hooks import Hooks, check_hooks
from sinch_qn.lifecycle import IN_ORDER
from sinch_qn.models import (
    AddNumbersRequest,
    GlobalProcessState,
    HostingOrder,
    QualifiedNumber,
    TextEnableNumbersRequest,
    TextEnableTollFreeNumbersRequest,
    VerifyVoiceChallengeRequest,
)
from sinch_qn.proxy import Proxy
from sinch_qn.rate_limit import RateLimit
from sinch_qn.resources import (
    CallbackConfigurationResource,
    HostingOrdersResource,
    ImportedNumbersResource,
)
from sinch_qn.retry import RetryPolicy, RetryRule

_MAX_MAX_BODY = 2**40
"""Bytes: no machine has more memory for one response."""

BASE_URL = "https://imported.numbers.api.sinch.com"


class QualifiedNumbersClient(GeneralCalls):
    """The Sinch Qualified Numbers API, for one project.

        async with QualifiedNumbersClient(project_id, OAuth2(key_id, key_secret)) as client:
            number = await client.send_voice_challenge("+12025550134")

    Every method takes *timeout*, the seconds that the whole call may last (token, rate limit,
    attempts and waits included; a listing: each page), and *retry*, a `RetryPolicy` or a function
    of your own. Every failure is a `SinchError`; its `outcome` says whether the call can have had
    its effect. Non-idempotent requests (a call, an order) are retried only if they had no effect:
    never once they may have been sent. Their methods also take *prepared*, from `prepare`.

    A client is bound to the event loop of its first call. Close it, or use `async with`.
    """

    def __init__(
        self,
        project_id: str,
        auth: Auth,
        *,
        base_url: str = BASE_URL,
        session: ClientSession | None = None,
        timeout: float = 30.0,
        retry: RetryRule = RetryPolicy(),  # noqa: B008 - frozen
        rate_limit: RateLimit | None = None,
        allow_http: bool = False,
        max_connections: int = 100,
        max_body: int = MAX_BODY,
        proxy: str | Proxy | None = None,
        ssl: SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
        user_agent: str | None = None,
        hooks: Iterable[Hooks] = (),
    ) -> None:
        """Store the project and its credentials; send nothing yet.

        An aiohttp *session* is left open, and keeps its own connection limit, proxies and TLS
        settings; without one at most *max_connections* are open at once. No response is read
        beyond *max_body* bytes (16 MiB).
        *proxy* is an address such as `http://host:3128`, or a `Proxy`; *ssl* a context with your
        own authority or a client certificate; *headers* are sent with each request, to the token
        endpoint, too; *user_agent*, such as `shop/1.2`, is put before that of this library.
        *hooks* are told of each call, see `Hooks`.
        *allow_http* permits unencrypted addresses beyond loopback. Raises `InvalidRequestError`.
        """
        self.project_id = _checks.check_project_id(project_id)
        check_auth(auth, allow_http=allow_http)
        self.base_url = _checks.check_url(base_url, "base_url", allow_http=allow_http)
        _checks.check_rule(retry, "retry")
        self.max_connections = None if session is not None else max_connections
        self._pipeline = Pipeline(
            root=f"{self.base_url}/v1/projects/{project_id}",
            auth=auth,
            transport=_transport(
                session,
                connection_options(session, proxy, ssl, headers, user_agent),
                max_connections=max_connections,
                max_body=max_body,
            ),
            timeout=_checks.check_above_zero(timeout, "timeout"),
            retry=retry,
            rate_limit=rate_limit,
            hooks=check_hooks(hooks),
        )
        self.hosting_orders = HostingOrdersResource(self._pipeline, project_id)
        """Orders, their numbers and the carriers: a `HostingOrdersResource`."""
        self.imported_numbers = ImportedNumbersResource(self._pipeline, project_id)
        """The numbers that Sinch hosts: an `ImportedNumbersResource`."""
        self.callback_configuration = CallbackConfigurationResource(self._pipeline)
        """The secret of callbacks: a `CallbackConfigurationResource`."""

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        auth: Auth | None = None,
        **options: Unpack[ClientOptions],
    ) -> Self:
        """Make a client from the environment; *options* are those of the constructor.

        `SINCH_PROJECT_ID`, `SINCH_KEY_ID` and `SINCH_KEY_SECRET` are required; `SINCH_AUTH`
        (`oauth2` or `basic`), `SINCH_BASE_URL` and `SINCH_TOKEN_URL` are optional, and so are
        `HTTPS_PROXY` and `NO_PROXY`, unless *proxy* or *session* is given. *auth* replaces the
        credentials, as an `OAuth2` that many clients share. Raises `InvalidRequestError`, which
        names all missing variables.
        """
        env = os.environ if environ is None else environ
        key = () if auth else ("SINCH_KEY_ID", "SINCH_KEY_SECRET")
        project_id, *_ = _checks.check_environment(env, "SINCH_PROJECT_ID", *key)
        found: ClientOptions = {"base_url": env.get("SINCH_BASE_URL") or BASE_URL}
        if options.get("session") is None:
            found["proxy"] = Proxy.from_env(env)
        return cls(project_id, auth or auth_from_env(env), **(found | options))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections that this client opened; an external session stays open."""
        await self._pipeline.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of project {self.project_id} at {self.base_url}>"

    async def list_numbers(
        self,
        *states: GlobalProcessState | str,
        region_code: str | None = None,
        page_size: int | None = None,
        order_by: str | None = None,
        timeout: float | None = None,
        retry: RetryRule | None = None,
    ) -> AsyncGenerator[QualifiedNumber, None]:
        """Yield the project's numbers in *states*, one state after the other.

        Without *states*: all ten, in the order of a number's life. *region_code* is `US` or `CA`,
        *order_by* `createdTime` or `updatedTime`; the server may lower *page_size*.
        Memory holds one page at a time. Raises `InvalidRequestError`, `NotFoundError` (the
        project), and `PaginationError` if a page token repeats. (listQualifiedNumbers)
        """
        for state in [_checks.check_state(state) for state in states or IN_ORDER]:
            listing = self.list_number_pages(
                state,
                region_code=region_code,
                page_size=page_size,
                order_by=order_by,
                timeout=timeout,
                retry=retry,
            )
            async with aclosing(listing):
                async for page in listing:
                    for number in page.items:
                        yield number

    async def list_number_pages(
        self,
        state: GlobalProcessState | str,
        *,
        region_code: str | None = None,
        page_size: int | None = None,
        order_by: str | None = None,
        page_token: str | None = None,
        prefetch: bool = False,
        timeout: float | None = None,
        retry: RetryRule | None = None,
    ) -> AsyncGenerator[Page, None]:
        """Yield the pages of the numbers in *state*; *prefetch* requests the next page early.

        To resume after an error or a restart, pass the last page's `next_page_token` as
        *page_token*. An empty page with a token is not the end. Raises `PaginationError` if a
        token repeats. (listQualifiedNumbers)
        """
        options = {"region_code": region_code, "page_size": page_size, "order_by": order_by}

        async def fetch(token: str | None) -> dict[str, Any] | None:
            query = _queries.qualified_numbers(state, **options, page_token=token)
            return await self._pipeline.call_raw(
                LIST_NUMBERS, query=query, timeout=timeout, retry=retry
            )

        listing = _paging.pages(fetch, _checks.check_state(state), page_token, prefetch=prefetch)
        async with aclosing(listing):
            async for page in listing:
                yield page

    async def get_number(
        self, phone_number: str, *, timeout: float | None = None, retry: RetryRule | None = None
    ) -> QualifiedNumber:
        """Return the current number. Raises `NotFoundError`. (getQualifiedNumber)"""
        return await self._pipeline.call(
            GET_NUMBER, phone_number=phone_number, timeout=timeout, retry=retry
        )

    async def delete_number(
        self, phone_number: str, *, timeout: float | None = None, retry: RetryRule | None = None
    ) -> None:
        """Delete the number from the project. Raises `NotFoundError`. (deleteQualifiedNumber)

        A 404 to a retry, after a request with an unknown outcome, is a success.
        """
        return await self._pipeline.call(
            DELETE_NUMBER, phone_number=phone_number, timeout=timeout, retry=retry
        )

    async def add_numbers(
        self,
        phone_numbers: Iterable[str],
        *,
        timeout: float | None = None,
        retry: RetryRule | None = None,
        prepared: PreparedCall | None = None,
    ) -> list[QualifiedNumber]:
        """Submit numbers for qualification; then prove them.

        Email invoices that show your ownership to orders@sinch.com (1 to 3 working days), or send
        a voice challenge. The API documents no maximum; Sinch's dashboard takes 500 numbers at a
        time. Not idempotent. Raises `InvalidRequestError`, `NotFoundError` (the project).
        (addQualifiedNumbers)
        """
        numbers = _checks.check_phone_numbers(phone_numbers, "phone_numbers")
        body = AddNumbersRequest(phone_numbers=numbers)
        response = await self._pipeline.call(
            ADD_NUMBERS, body=body, timeout=timeout, retry=retry, prepared=prepared
        )
        return response.qualified_numbers or []

    async def text_enable_numbers(
        self,
        request: TextEnableNumbersRequest,
        *,
        timeout: float | None = None,
        retry: RetryRule | None = None,
        prepared: PreparedCall | None = None,
    ) -> str:
        """Order SMS for 1 to 500 verified numbers; return the hosting order's id.

        Sinch emails the Letter of Authorization to the address in *request* for signing. Not
        idempotent: a second order sends a second letter. Raises `InvalidRequestError`,
        `NotFoundError`. (textEnableNumbers)
        """
        body = _checks.check_text_enable(request, self.project_id)
        response = await self._pipeline.call(
            TEXT_ENABLE_NUMBERS, body=body, timeout=timeout, retry=retry, prepared=prepared
        )
        return str(response.hosting_order_id)

    async def text_enable_toll_free_numbers(
        self,
        request: TextEnableTollFreeNumbersRequest,
        *,
        timeout: float | None = None,
        retry: RetryRule | None = None,
        prepared: PreparedCall | None = None,
    ) -> HostingOrder:
        """Order SMS for toll-free numbers; return the hosting order.

        Not idempotent. Raises `BadRequestError`, `ConflictError`. (textEnableTollFreeNumbers)
        """
        return await self._pipeline.call(
            TEXT_ENABLE_TOLL_FREE_NUMBERS,
            body=_checks.check_text_enable_toll_free(request, self.project_id),
            timeout=timeout,
            retry=retry,
            prepared=prepared,
        )

    async def send_voice_challenge(
        self,
        phone_number: str,
        *,
        timeout: float | None = None,
        retry: RetryRule | None = None,
        prepared: PreparedCall | None = None,
    ) -> QualifiedNumber:
        """Call *phone_number* and read out a verification code.

        Not idempotent: never retried once the request may have been sent. A `SinchError` whose
        `outcome` is UNKNOWN means that the phone may ring. (sendVoiceChallenge)
        """
        return await self._pipeline.call(
            SEND_VOICE_CHALLENGE,
            phone_number=phone_number,
            timeout=timeout,
            retry=retry,
            prepared=prepared,
        )

    async def verify_voice_challenge(
        self,
        phone_number: str,
        code: str,
        *,
        timeout: float | None = None,
        retry: RetryRule | None = None,
        prepared: PreparedCall | None = None,
    ) -> QualifiedNumber:
        """Submit the code that the call read out; return the number with its new state.

        The response to a wrong code may be a number in VERIFICATION_FAILED or _BLOCKED, or an
        error: the reference does not say. Not idempotent: attempts are limited. Raises
        `InvalidRequestError`, `NotFoundError`. (verifyVoiceChallenge)
        """
        return await self._pipeline.call(
            VERIFY_VOICE_CHALLENGE,
            phone_number=phone_number,
            body=VerifyVoiceChallengeRequest(code=_checks.check_code(code)),
            timeout=timeout,
            retry=retry,
            prepared=prepared,
        )

    async def wait_for_state(
        self,
        phone_number: str,
        *states: GlobalProcessState | str,
        timeout: float,
        unless: Iterable[GlobalProcessState | str] | None = None,
        retry: RetryRule | None = None,
    ) -> QualifiedNumber:
        """Poll until the number is in one of *states*; return it.

        Raises `UnexpectedStateError` once the number moves into a state from which none of *states*
        can follow; *unless* names other states that end the wait, at once. Raises `NotFoundError`
        if the number is not found for five seconds, and `DeadlineExceededError` after *timeout*
        seconds. Transient errors do not end the wait. (getQualifiedNumber, repeatedly)
        """
        return await waiting.wait_for_state(
            lambda number: self.get_number(number, retry=retry),
            phone_number,
            _checks.check_states(states),
            unless=None if unless is None else [_checks.check_state(each) for each in unless],
            timeout=_checks.check_above_zero(timeout, "timeout"),
        )


def _transport(
    session: ClientSession | None,
    options: ConnectionOptions,
    *,
    max_connections: int,
    max_body: int,
) -> Transport:
    _checks.check_whole(max_connections, "max_connections")
    _checks.check_whole(max_body, "max_body", maximum=_MAX_MAX_BODY)
    return Transport(
        session=session,
        options=options,
        max_connections=max_connections,
        max_body=max_body,
        created_at=_caller(),
    )


def _caller() -> str:
    """Return the file and line outside this package that create the client."""
    frame = sys._getframe()  # noqa: SLF001 - inspect.stack() would read every source file
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("sinch_qn."):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
