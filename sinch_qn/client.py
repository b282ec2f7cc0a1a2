"""`QualifiedNumbersClient`: a method an operation, and no logic of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Self

from sinch_qn import _checks, _paging, waiting
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
from sinch_qn._transport import MAX_BODY, Transport
from sinch_qn.auth import TOKEN_URL, Auth, BasicAuth, OAuth2
from sinch_qn.errors import InvalidRequestError
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
from sinch_qn.retry import RetryPolicy, RetryRule

if TYPE_CHECKING:
    import aiohttp

    from sinch_qn.rate_limit import RateLimit

BASE_URL = "https://imported.numbers.api.sinch.com"


class QualifiedNumbersClient:
    """The Sinch Qualified Numbers API, for one project.

        async with QualifiedNumbersClient(project_id, OAuth2(key_id, key_secret)) as client:
            number = await client.send_voice_challenge("+12025550134")

    Every method takes *timeout*, the seconds that the whole call may last (token, rate limit,
    attempts and waits included; a listing: each page), and *retry*, a `RetryPolicy` or a function
    of your own. Every failure is a `SinchError`; its `outcome` says whether the call can have had
    its effect. What cannot be taken back (a call, an order) is repeated only when it surely did
    not happen.

    The `(operationId)` that ends a method's description is its operation in the Qualified Numbers
    API reference, as `openapi/qualified-numbers.yaml` describes it.

    A client belongs to the event loop of its first call. Close it, or use `async with`.
    """

    def __init__(
        self,
        project_id: str,
        auth: Auth,
        *,
        base_url: str = BASE_URL,
        session: aiohttp.ClientSession | None = None,
        timeout: float = 30.0,
        retry: RetryRule = RetryPolicy(),  # noqa: B008 - frozen
        rate_limit: RateLimit | None = None,
        allow_http: bool = False,
        max_connections: int = 100,
        max_body: int = MAX_BODY,
    ) -> None:
        """Take the project and its credentials; nothing is sent yet.

        A *session* that is handed in is left open, and keeps its own cap on connections,
        proxies and TLS settings; without one at most *max_connections* are open at once.
        No answer is read beyond *max_body* bytes (16 MiB).
        *allow_http* permits unencrypted addresses beyond loopback. Raises `InvalidRequestError`.
        """
        project_id = _checks.check_project_id(project_id)
        if isinstance(auth, OAuth2):
            _checks.check_url(auth.token_url, "token_url", allow_http=allow_http)
        elif isinstance(auth, str | bytes) or not hasattr(auth, "authorize"):
            raise InvalidRequestError(
                f"auth: expected OAuth2 or BasicAuth, not {type(auth).__name__}"
            )
        base_url = _checks.check_url(base_url, "base_url", allow_http=allow_http)
        self.project_id = project_id
        self.base_url = base_url
        self.max_connections = None if session is not None else max_connections
        self._pipeline = Pipeline(
            root=f"{base_url}/v1/projects/{project_id}",
            auth=auth,
            transport=Transport(
                session=session,
                max_connections=max_connections,
                max_body=max_body,
                created_at=_caller(),
            ),
            timeout=_checks.check_above_zero(timeout, "timeout"),
            retry=retry,
            rate_limit=rate_limit,
        )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Make a client from the environment.

        `SINCH_PROJECT_ID`, `SINCH_KEY_ID` and `SINCH_KEY_SECRET` are needed; `SINCH_AUTH`
        (`oauth2` or `basic`), `SINCH_BASE_URL` and `SINCH_TOKEN_URL` are optional. Raises
        `InvalidRequestError`, which names every missing variable at once.
        """
        environ = os.environ if environ is None else environ
        needed = ("SINCH_PROJECT_ID", "SINCH_KEY_ID", "SINCH_KEY_SECRET")
        missing = [name for name in needed if not environ.get(name)]
        if missing:
            raise InvalidRequestError(f"not set in the environment: {', '.join(missing)}")
        project_id, key_id, key_secret = (environ[name] for name in needed)
        kind = environ.get("SINCH_AUTH") or "oauth2"
        if kind not in ("oauth2", "basic"):
            raise InvalidRequestError(f"SINCH_AUTH: {kind[:32]!r} is not oauth2 or basic")
        auth: Auth = BasicAuth(key_id, key_secret)
        if kind == "oauth2":
            token_url = environ.get("SINCH_TOKEN_URL") or TOKEN_URL
            auth = OAuth2(key_id, key_secret, token_url=token_url)
        return cls(project_id, auth, base_url=environ.get("SINCH_BASE_URL") or BASE_URL)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections that this client opened; a session handed in stays open."""
        await self._pipeline.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of project {self.project_id} at {self.base_url}>"

    async def prepare(self, *, timeout: float | None = None) -> PreparedCall:
        """Acquire a rate-limit slot and an access token in advance, for one call of this client.

        Passed as `prepared=` to one call, it leaves no wait between your write-ahead intent and
        the request. Its `may_have_been_sent` is valid after an error or a cancellation, too. Used
        twice, or by another client, it is an `InvalidRequestError`. Raises `TokenError`,
        `AuthenticationError` and `DeadlineExceededError`, all NOT_SENT.
        """
        return await self._pipeline.prepare(timeout=timeout)

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
        *order_by* `createdTime` or `updatedTime`, *page_size* a wish that the server may overrule.
        Memory holds one page at a time. Raises `InvalidRequestError`, `NotFoundError` (the
        project), and `PaginationError` if a page token comes back. (listQualifiedNumbers)
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
        """Yield the pages of the numbers in *state*; with *prefetch*, fetch the next meanwhile.

        After an error, or a restart, go on with the last page's `next_page_token` as *page_token*.
        An empty page with a token goes on. Raises `PaginationError` if a token comes back.
        (listQualifiedNumbers)
        """

        async def fetch(token: str | None) -> dict[str, Any] | None:
            query = _checks.list_query(
                state,
                region_code=region_code,
                page_size=page_size,
                order_by=order_by,
                page_token=token,
            )
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
        """Return the number as it is now. Raises `NotFoundError`. (getQualifiedNumber)"""
        return await self._pipeline.call(
            GET_NUMBER, phone_number=phone_number, timeout=timeout, retry=retry
        )

    async def delete_number(
        self, phone_number: str, *, timeout: float | None = None, retry: RetryRule | None = None
    ) -> None:
        """Delete the number from the project. Raises `NotFoundError`. (deleteQualifiedNumber)

        A 404 to a repeated request, whose first answer was lost, is success.
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
        """Ask Sinch to qualify these numbers. A duty follows.

        Email the invoices that show your ownership to orders@sinch.com (1 to 3 working days), or
        prove it by a voice challenge. The API documents no maximum; Sinch's dashboard takes 500
        numbers at a time. Raises `InvalidRequestError`, `NotFoundError` (the project). Never
        resent once it may have arrived. (addQualifiedNumbers)
        """
        numbers = _checks.check_phone_numbers(phone_numbers, "phone_numbers")
        answer = await self._pipeline.call(
            ADD_NUMBERS,
            body=AddNumbersRequest(phone_numbers=numbers),
            timeout=timeout,
            retry=retry,
            prepared=prepared,
        )
        return answer.qualified_numbers or []

    async def text_enable_numbers(
        self,
        request: TextEnableNumbersRequest,
        *,
        timeout: float | None = None,
        retry: RetryRule | None = None,
        prepared: PreparedCall | None = None,
    ) -> str:
        """Order SMS for 1 to 500 verified numbers; return the hosting order's id.

        The Letter of Authorization goes to the email address in *request*, to be signed. Raises
        `InvalidRequestError`, `NotFoundError`. Never resent once it may have arrived: a second
        order would send a second letter. (textEnableNumbers)
        """
        body = _checks.check_text_enable(request, self.project_id)
        answer = await self._pipeline.call(
            TEXT_ENABLE_NUMBERS, body=body, timeout=timeout, retry=retry, prepared=prepared
        )
        return str(answer.hosting_order_id)

    async def text_enable_toll_free_numbers(
        self,
        request: TextEnableTollFreeNumbersRequest,
        *,
        timeout: float | None = None,
        retry: RetryRule | None = None,
        prepared: PreparedCall | None = None,
    ) -> HostingOrder:
        """Order SMS for toll-free numbers; return the hosting order.

        Raises `BadRequestError`, `ConflictError`. Never resent once it may have arrived.
        (textEnableTollFreeNumbers)
        """
        body = _checks.check_text_enable_toll_free(request)
        return await self._pipeline.call(
            TEXT_ENABLE_TOLL_FREE_NUMBERS,
            body=body,
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

        A call cannot be taken back, so this is never resent once it may have reached Sinch: a
        `SinchError` whose `outcome` is UNKNOWN means that the phone may be ringing.
        (sendVoiceChallenge)
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
        """Hand in the code that the call spoke; look at the answer's `global_process_state`.

        A wrong code may be answered with a number that is VERIFICATION_FAILED or _BLOCKED, or with
        an error: the reference does not say. Raises `InvalidRequestError`, `NotFoundError`. Never
        resent once it may have arrived, as attempts are limited. (verifyVoiceChallenge)
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
        retry: RetryRule | None = None,
    ) -> QualifiedNumber:
        """Poll until the number is in one of *states*; return it as it then is.

        Raises `UnexpectedStateError` once none of *states* can be reached any more, and
        `DeadlineExceededError` after *timeout* seconds. Passing faults do not end the wait.
        (getQualifiedNumber, again and again)
        """
        return await waiting.wait_for_state(
            lambda number: self.get_number(number, retry=retry),
            phone_number,
            _checks.check_states(states),
            timeout=_checks.check_above_zero(timeout, "timeout"),
        )


def _caller() -> str:
    """Return the file and line outside this package where a client is being made."""
    frame = sys._getframe()  # noqa: SLF001 - inspect.stack() would read every source file
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("sinch_qn."):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
