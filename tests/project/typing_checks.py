"""The public API's types: checked by mypy, pyright and basedpyright, never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Unpack, assert_type

import aiohttp

import sinch_qn
from sinch_qn import (
    BasicAuth,
    BlanketLoaInfo,
    CallbackConfiguration,
    CallInfo,
    CarrierState,
    ClientOptions,
    Failure,
    GlobalProcessState,
    Hooks,
    HostingOrder,
    HostingOrderNumber,
    HostingOrderReport,
    HostingOrderState,
    HostingStatus,
    ImportedNumber,
    OAuth2,
    OperationStatus,
    Outcome,
    Page,
    PreparedCall,
    QualifiedNumber,
    QualifiedNumbersClient,
    RateLimit,
    RawResponse,
    RequestInfo,
    ResponseInfo,
    RetryPolicy,
    SinchError,
    TextEnableNumbersRequest,
    TextEnableTollFreeNumbersRequest,
    bulk,
    capture_responses,
    errors,
    models,
)
from sinch_qn.bulk import (
    ChallengeState,
    Entry,
    EventName,
    MemoryJournal,
    RunEvent,
    RunReport,
    VoiceChallengeRun,
)
from tests.support.loa import DIRECT


def misspelt_names() -> None:
    """Use names that the packages do not have."""
    _ = sinch_qn.QualifiedNumberClient  # type: ignore[attr-defined]
    _ = bulk.VoiceChallengeRum  # type: ignore[attr-defined]
    _ = errors.NotFoundErr  # type: ignore[attr-defined]
    _ = GlobalProcessState.VERIFYED  # type: ignore[attr-defined]


def clients(session: aiohttp.ClientSession) -> None:
    """Create a client in every way."""
    client = QualifiedNumbersClient("project", OAuth2("key", "secret"))
    assert_type(client, QualifiedNumbersClient)
    assert_type(QualifiedNumbersClient.from_env(), QualifiedNumbersClient)
    QualifiedNumbersClient(
        "project",
        BasicAuth("key", "secret"),
        base_url="https://example.com",
        session=session,
        timeout=5,
        retry=RetryPolicy(max_attempts=1),
        rate_limit=RateLimit(5, burst=2),
        allow_http=False,
    )
    QualifiedNumbersClient("project", OAuth2("k", "s", token_url="https://x"), retry=patiently)
    QualifiedNumbersClient("project", "key")  # type: ignore[arg-type]
    QualifiedNumbersClient.from_env({}, auth=OAuth2.from_env(), timeout=5, proxy=None)
    QualifiedNumbersClient.from_env(time_out=5)  # type: ignore[call-arg]
    QualifiedNumbersClient.from_env(timeout="5")  # type: ignore[arg-type]


def pass_on(project_id: str, **options: Unpack[ClientOptions]) -> QualifiedNumbersClient:
    """Pass a client's options on."""
    return QualifiedNumbersClient(project_id, OAuth2.from_env(), **options)


def patiently(failure: Failure) -> float | None:
    """Return a delay, like a retry policy."""
    assert_type(failure.attempt, int)
    assert_type(failure.remaining, float)
    assert_type(failure.error, SinchError)
    return None if failure.attempt > 2 else 1.0


async def operations(client: QualifiedNumbersClient) -> None:
    """Call every operation, with and without options."""
    async with client as entered:
        assert_type(entered, QualifiedNumbersClient)
    phone, retry = "+12025550134", RetryPolicy(max_attempts=1)
    assert_type(await client.get_number(phone), QualifiedNumber)
    assert_type(await client.get_number(phone, timeout=1, retry=retry), QualifiedNumber)
    assert_type(await client.add_numbers(n for n in (phone,)), list[QualifiedNumber])
    assert_type(await client.send_voice_challenge(phone, retry=patiently), QualifiedNumber)
    assert_type(await client.verify_voice_challenge(phone, "0123"), QualifiedNumber)
    await client.delete_number(phone, timeout=5)
    await client.verify_voice_challenge(phone, 123)  # type: ignore[arg-type]
    await client.get_number(phone, 5)  # type: ignore[call-arg]
    await client.wait_for_state(phone, GlobalProcessState.VERIFIED)  # type: ignore[call-arg]
    verified = await client.wait_for_state(
        phone, GlobalProcessState.VERIFIED, "GLOBAL_PROCESS_STATE_HOSTING_DONE", timeout=60
    )
    assert_type(verified, QualifiedNumber)


async def prepared_calls(client: QualifiedNumbersClient) -> None:
    """Prepare calls; only operations that are not idempotent take them."""
    prepared = await client.prepare(timeout=5)
    assert_type(prepared, PreparedCall)
    assert_type(prepared.may_have_been_sent, bool)
    await client.send_voice_challenge("+12025550134", prepared=prepared)
    await client.get_number("+12025550134", prepared=prepared)  # type: ignore[call-arg]
    prepared.may_have_been_sent = False  # type: ignore[misc]


async def listings(client: QualifiedNumbersClient) -> None:
    """List numbers one by one and by page."""
    numbers = client.list_numbers()
    assert_type(numbers, AsyncGenerator[QualifiedNumber, None])
    async for number in client.list_numbers(GlobalProcessState.VERIFIED, region_code="US"):
        assert_type(number, QualifiedNumber)
    async for page in client.list_number_pages("GLOBAL_PROCESS_STATE_VERIFIED", prefetch=True):
        assert_type(page, Page)
        assert_type(page.items, list[QualifiedNumber])
        assert_type(page.next_page_token, str | None)
        assert_type(page.total_size, int | None)
        assert_type(page.state, GlobalProcessState)
    client.list_number_pages()  # type: ignore[call-arg]


async def orders(client: QualifiedNumbersClient) -> None:
    """Order text enablement, by keyword only."""
    request = TextEnableNumbersRequest(
        region_code="US",
        numbers=["+12025550134"],
        service_plan_id="plan",
        blanket_loa_info=BlanketLoaInfo(),
    )
    assert_type(await client.text_enable_numbers(request), str)
    toll_free = TextEnableTollFreeNumbersRequest(
        region_code="US",
        numbers=["+18335870229"],
        service_plan_id="plan",
        direct_loa_info=DIRECT,
        scheduled_zipwhip_provisioning_time=datetime.now().astimezone(),
    )
    order = await client.text_enable_toll_free_numbers(toll_free)
    assert_type(order, HostingOrder)
    assert_type(order.hosting_order_info, models.TextEnableInfo | None)
    assert_type(order.created_time, datetime | None)
    await client.text_enable_numbers(toll_free)  # type: ignore[arg-type]
    request.region_code = "CA"  # type: ignore[misc]
    TextEnableNumbersRequest("US", [], "plan")  # type: ignore[call-arg]


async def resources(client: QualifiedNumbersClient) -> None:
    """Follow orders and change imported numbers."""
    order = await client.hosting_orders.get("01arz3", timeout=1)
    assert_type(order, HostingOrder)
    assert_type(order.state, HostingOrderState | None)
    assert_type(await client.hosting_orders.wait("01arz3", timeout=60), HostingOrder)
    assert_type(await client.hosting_orders.report("01arz3"), HostingOrderReport)
    async for listed in client.hosting_orders.list(
        HostingOrderState.COMPLETED, type="IMPORT", service_plan_id="plan", campaign_id="C1"
    ):
        assert_type(listed, HostingOrder)
    async for number in client.hosting_orders.list_numbers("01arz3", osr_update_state="FAILED"):
        assert_type(number, HostingOrderNumber)
        assert_type(number.sms_tmo, CarrierState | None)
        if number.sms_tmo is not None:
            assert_type(number.sms_tmo.error_code, str | None)
    updated = await client.imported_numbers.update("+12025550134", campaign_id="")
    assert_type(updated, ImportedNumber)
    moved = await client.imported_numbers.move("+12025550134", campaign_id="C2", timeout=60)
    assert_type(moved, ImportedNumber)
    await client.imported_numbers.delete("+12025550134")
    assert_type((await client.callback_configuration.get()).hmac_secret, str | None)
    assert_type(await client.callback_configuration.update("secret"), CallbackConfiguration)
    await client.hosting_orders.wait("01arz3")  # type: ignore[call-arg]
    client.hosting_orders.list(type="IMPORT")  # type: ignore[call-arg]
    await client.imported_numbers.move("+12025550134", campaign_id="C2")  # type: ignore[call-arg]
    await client.hosting_orders.get("01arz3", prepared=await client.prepare())  # type: ignore[call-arg]


def responses(number: QualifiedNumber) -> None:
    """Read the fields of a response: all optional; statuses are strings or numbers."""
    assert_type(number.phone_number, str | None)
    assert_type(number.global_process_state, GlobalProcessState | None)
    if number.osr_eligibility is not None:
        assert_type(number.osr_eligibility.status, OperationStatus | int | None)
    if number.hosted_number is not None:
        assert_type(number.hosted_number.status, HostingStatus | None)
    assert_type(GlobalProcessState.VERIFIED.is_known, bool)


def failures(error: SinchError) -> None:
    """Read the attributes of every error, and those of a `StatusError`."""
    assert_type(error.outcome, Outcome)
    assert_type(error.attempts, int)
    assert_type(error.message, str)
    if isinstance(error, errors.RateLimitError):
        assert_type(error.retry_at, datetime | None)
        assert_type(error.status_code, int)
        assert_type(error.code, str | None)
    if isinstance(error, errors.OrderRejectedError):
        assert_type(error.order, HostingOrder)
    if isinstance(error, errors.UnexpectedStateError):
        assert_type(error.number, QualifiedNumber)


class MyHooks(Hooks):
    """Overrides each method."""

    def on_request(self, request: RequestInfo) -> None:
        """Add a header."""
        request.headers["X-Attempt"] = str(request.attempt)

    def on_response(self, request: RequestInfo, response: ResponseInfo, seconds: float) -> None:
        """Read what there is."""
        assert_type((request.operation, response.status_code, seconds), tuple[str, int, float])

    def on_retry(self, request: RequestInfo, error: SinchError, delay: float) -> None:
        """Read what there is."""
        assert_type((request.url_template, error.request_id), tuple[str, str | None])
        assert_type(delay, float)

    def on_call_end(self, call: CallInfo) -> None:
        """Read what there is."""
        assert_type((call.operation, call.outcome), tuple[str, Outcome | None])


async def raw_access(client: QualifiedNumbersClient) -> None:
    """Send a raw request, and capture responses."""
    QualifiedNumbersClient("project", OAuth2("key", "secret"), hooks=[MyHooks()])
    QualifiedNumbersClient("project", OAuth2("key", "secret"), hooks=[MyHooks])  # type: ignore[list-item]
    response = await client.request("POST", "/x", json={"a": 1}, idempotent=True)
    assert_type(response, RawResponse)
    assert_type((response.headers["X-Request-Id"], response.content), tuple[str, bytes])
    with capture_responses() as responses:
        assert_type(responses[-1], RawResponse)


async def runs(client: QualifiedNumbersClient) -> None:
    """Run, and read what happens."""
    async with VoiceChallengeRun(client, MemoryJournal(), max_ringing=5) as run:
        assert_type(run, VoiceChallengeRun)
        await run.add(["+12025550134", ("+12025550135", "ticket 7")])
        await run.submit_code("+12025550134", 123)  # type: ignore[arg-type]
        async for event in run.events():
            assert_type(event, RunEvent)
            assert_type(event.what, EventName)
        report = await run.finish()
        assert_type(report, RunReport)
        assert_type(report.counts[ChallengeState.VERIFIED], int)
        assert_type(await run.result("+12025550134"), Entry | None)
    VoiceChallengeRun(client, MemoryJournal(), max_ring=5)  # type: ignore[call-arg]


def events(event: RunEvent) -> str:
    """Compare with the names of events: another one is an error, and these are all."""
    if event.what == "called":
        return event.number
    _ = event.what == "caled"  # type: ignore[comparison-overlap]
    match event.what:
        case "verified" | "nothing to do" | "code" | "recall" | "request" | "again":
            return "good"
        case "lost" | "unsure" | "not called" | "not added" | "not verified" | "wrong" | "ask":
            return "try again"
        case "blocked" | "cannot" | "late":
            return "over"
