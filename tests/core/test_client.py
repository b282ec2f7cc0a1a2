"""The client: each operation's exact request and response, rejected arguments, listings."""

from __future__ import annotations

import asyncio
import base64
import logging
import pickle
import re
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import Any

import aiohttp
import attrs
import orjson
import pytest
from aioresponses import CallbackResult, aioresponses
from yarl import URL

from sinch_qn import (
    BasicAuth,
    HostingOrder,
    OAuth2,
    PreparedCall,
    QualifiedNumber,
    QualifiedNumbersClient,
    RateLimit,
    RetryPolicy,
    TextEnableNumbersRequest,
    TextEnableTollFreeNumbersRequest,
)
from sinch_qn import GlobalProcessState as SinchState
from sinch_qn.auth import TOKEN_URL
from sinch_qn.client import BASE_URL
from sinch_qn.errors import (
    AuthenticationError,
    DeadlineExceededError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    SinchError,
    UnexpectedStateError,
)
from sinch_qn.models import BlanketLoaInfo
from sinch_qn.sandbox import Sandbox
from tests.support.loa import DIRECT, DIRECT_JSON

PROJECT = "project-1"
NUMBER = "+12025550134"
ROOT = f"{BASE_URL}/v1/projects/{PROJECT}"
SECRET = "canary0123456789"

ORDER = TextEnableNumbersRequest(
    region_code="US", numbers=[NUMBER], service_plan_id="plan", blanket_loa_info=BlanketLoaInfo()
)
TOLL_FREE_ORDER = TextEnableTollFreeNumbersRequest(
    region_code="US", numbers=["+18005550134"], service_plan_id="plan", direct_loa_info=DIRECT
)


@pytest.fixture
async def client() -> AsyncIterator[QualifiedNumbersClient]:
    """Return a client of Sinch's address, to be used with `wire` only."""
    async with QualifiedNumbersClient(PROJECT, BasicAuth("key", SECRET)) as client:
        yield client


@pytest.fixture
def wire() -> Any:
    """Replace the network."""
    with aioresponses() as wire:
        yield wire


# ---- single exchanges --------------------------------------------------------------------------

Call = Callable[[QualifiedNumbersClient], Awaitable[Any]]
VERIFIED_JSON = {"phoneNumber": NUMBER, "globalProcessState": "GLOBAL_PROCESS_STATE_VERIFIED"}
VERIFIED = QualifiedNumber(phone_number=NUMBER, global_process_state=SinchState.VERIFIED)


async def listed(client: QualifiedNumbersClient) -> list[QualifiedNumber]:
    """List with every option."""
    listing = client.list_numbers(
        SinchState.VERIFIED, region_code="CA", page_size=5, order_by="updatedTime"
    )
    return [number async for number in listing]


LIST_PATH = (  # aioresponses sorts queries
    "/qualifiedNumbers?orderBy=updatedTime&pageSize=5&regionCode=CA"
    "&states=GLOBAL_PROCESS_STATE_VERIFIED"
)

EXCHANGES: dict[str, tuple[Call, str, str, Any, Any, Any]] = {
    "listQualifiedNumbers": (
        listed,
        "GET",
        LIST_PATH,
        None,
        {"qualifiedNumbers": [VERIFIED_JSON], "totalSize": 1},
        [VERIFIED],
    ),
    "getQualifiedNumber": (
        lambda client: client.get_number(NUMBER),
        "GET",
        f"/qualifiedNumbers/{NUMBER}",
        None,
        VERIFIED_JSON,
        VERIFIED,
    ),
    "deleteQualifiedNumber": (
        lambda client: client.delete_number(NUMBER),
        "DELETE",
        f"/qualifiedNumbers/{NUMBER}",
        None,
        None,
        None,
    ),
    "addQualifiedNumbers": (
        lambda client: client.add_numbers([NUMBER]),
        "POST",
        "/qualifiedNumbers:addNumbers",
        {"phoneNumbers": [NUMBER]},
        {"qualifiedNumbers": [VERIFIED_JSON]},
        [VERIFIED],
    ),
    "textEnableNumbers": (
        lambda client: client.text_enable_numbers(
            TextEnableNumbersRequest(
                region_code="US",
                numbers=[NUMBER],
                service_plan_id="plan",
                project_id=PROJECT,
                blanket_loa_info=BlanketLoaInfo(),
                scheduled_osr_update_time=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
                migrate_to_sinch_tmo=False,
            )
        ),
        "POST",
        "/qualifiedNumbers:textEnableNumbers",
        {
            "regionCode": "US",
            "numbers": [NUMBER],
            "servicePlanId": "plan",
            "projectId": PROJECT,
            "blanketLoaInfo": {},
            "scheduledOsrUpdateTime": "2026-01-02T03:04:05Z",
            "migrateToSinchTmo": False,
        },
        {"hostingOrderId": "order-1"},
        "order-1",
    ),
    "textEnableTollFreeNumbers": (
        lambda client: client.text_enable_toll_free_numbers(TOLL_FREE_ORDER),
        "POST",
        "/qualifiedNumbers:textEnableTollFreeNumbers",
        {
            "regionCode": "US",
            "numbers": ["+18005550134"],
            "projectId": PROJECT,
            "servicePlanId": "plan",
            "directLoaInfo": DIRECT_JSON,
        },
        {"hostingOrderId": "order-1", "regionCode": "US"},
        HostingOrder(hosting_order_id="order-1", region_code="US"),
    ),
    "sendVoiceChallenge": (
        lambda client: client.send_voice_challenge(NUMBER),
        "POST",
        f"/qualifiedNumbers/{NUMBER}:sendVoiceChallenge",
        None,
        VERIFIED_JSON,
        VERIFIED,
    ),
    "verifyVoiceChallenge": (
        lambda client: client.verify_voice_challenge(NUMBER, "0123"),
        "POST",
        f"/qualifiedNumbers/{NUMBER}:verifyVoiceChallenge",
        {"code": "0123"},
        VERIFIED_JSON,
        VERIFIED,
    ),
}


@pytest.mark.parametrize("operation", EXCHANGES)
async def test_an_exchange(client: QualifiedNumbersClient, wire: Any, operation: str) -> None:
    """Method, address, headers and body match the reference; the response is read as its model."""
    call, method, path, sent, answered, result = EXCHANGES[operation]
    seen: list[tuple[URL, dict[str, Any]]] = []

    def reply(url: URL, **request: Any) -> CallbackResult:
        seen.append((url, request))
        if answered is None:
            return CallbackResult(status=200, body=b"")
        return CallbackResult(status=200, payload=answered)

    wire.add(URL(ROOT + path, encoded=True), method, callback=reply)
    assert await call(client) == result
    ((url, request),) = seen
    assert str(url) == ROOT + path
    assert request["allow_redirects"] is False
    headers = request["headers"]
    assert headers["Authorization"] == await BasicAuth("key", SECRET).authorize(_no_send)
    assert headers["Accept"] == "application/json"
    assert headers["Accept-Encoding"] == "identity"
    if sent is None:
        assert request["data"] is None
        assert "Content-Type" not in headers
    else:
        assert orjson.loads(request["data"]) == sent
        assert headers["Content-Type"] == "application/json"


async def _no_send(_: object) -> Any:
    raise AssertionError("Basic needs no request")


async def test_no_number_in_the_response(client: QualifiedNumbersClient, wire: Any) -> None:
    """An empty list of added numbers is an empty list."""
    wire.post(f"{ROOT}/qualifiedNumbers:addNumbers", payload={"qualifiedNumbers": []})
    assert await client.add_numbers([NUMBER]) == []


async def test_all_ten_states_in_the_order_of_life(
    client: QualifiedNumbersClient, wire: Any
) -> None:
    """Without states a listing requests all ten, one at a time, in the order of a number's life."""
    asked: list[str] = []

    def reply(url: URL, **_: Any) -> CallbackResult:
        (state,) = url.query.getall("states")
        asked.append(state)
        body = {"qualifiedNumbers": [{"phoneNumber": NUMBER, "globalProcessState": state}]}
        return CallbackResult(status=200, payload=body)

    wire.get(re.compile(re.escape(ROOT) + ".*"), callback=reply, repeat=True)
    got = [number.global_process_state async for number in client.list_numbers()]
    life = [
        SinchState.ELIGIBLE_CHECK_PENDING,
        SinchState.ELIGIBLE,
        SinchState.NOT_ELIGIBLE,
        SinchState.VERIFICATION_PENDING,
        SinchState.VERIFICATION_FAILED,
        SinchState.VERIFICATION_BLOCKED,
        SinchState.VERIFIED,
        SinchState.HOSTING_IN_PROGRESS,
        SinchState.HOSTING_DONE,
        SinchState.HOSTING_FAILED,
    ]
    assert got == life
    assert asked == [str(state) for state in life]
    asked.clear()
    some = (SinchState.UNSPECIFIED, "GLOBAL_PROCESS_STATE_IN_ORBIT", SinchState.ELIGIBLE)
    assert len([number async for number in client.list_numbers(*some)]) == 3
    assert asked == [str(state) for state in some]


# ---- refused here ------------------------------------------------------------------------------


async def drain(listing: AsyncIterator[object]) -> None:
    """Iterate a listing to its end."""
    async for _ in listing:
        pass


def enable(**fields: Any) -> Call:
    """Return a call of text_enable_numbers that is valid except for *fields*."""
    return lambda client: client.text_enable_numbers(attrs.evolve(ORDER, **fields))


REFUSED: dict[str, Call] = {
    "region_code": lambda c: drain(c.list_numbers(region_code="FR")),
    "page_size": lambda c: drain(c.list_numbers(page_size=-1)),
    "page_size ": lambda c: drain(c.list_number_pages(SinchState.VERIFIED, page_size=True)),
    "order_by": lambda c: drain(c.list_numbers(order_by="phoneNumber")),
    "states": lambda c: drain(c.list_numbers(SinchState.VERIFIED, "PROVED")),
    "states ": lambda c: drain(c.list_number_pages("x&y=z")),
    "states  ": lambda c: c.wait_for_state(NUMBER, timeout=1.0),
    "states   ": lambda c: c.wait_for_state(NUMBER, "PROVED", timeout=1.0),
    "page_token": lambda c: drain(c.list_number_pages(SinchState.VERIFIED, page_token="")),
    "phone_number": lambda c: c.send_voice_challenge("12025550134"),
    "phone_number ": lambda c: c.get_number("+1202555013/../x"),
    "phone_number  ": lambda c: c.wait_for_state("+1", SinchState.VERIFIED, timeout=1.0),
    "phone_number   ": lambda c: c.delete_number(12025550134),  # type: ignore[arg-type]
    "phone_numbers": lambda c: c.add_numbers([]),
    "phone_numbers ": lambda c: c.add_numbers(NUMBER),
    "phone_numbers[1]": lambda c: c.add_numbers([NUMBER, "x"]),
    "code": lambda c: c.verify_voice_challenge(NUMBER, "12 34"),
    "code ": lambda c: c.verify_voice_challenge(NUMBER, 1234),  # type: ignore[arg-type]
    "timeout": lambda c: c.get_number(NUMBER, timeout=-1.0),
    "timeout ": lambda c: c.wait_for_state(NUMBER, SinchState.VERIFIED, timeout=0.0),
    "numbers": enable(numbers=[]),
    "numbers ": enable(numbers=[f"+1202{i:07}" for i in range(501)]),
    "project_id": enable(project_id="another"),
    "exactly one": enable(direct_loa_info=DIRECT),
    "exactly one ": enable(blanket_loa_info=None),
    "region_code ": enable(region_code="FR"),
    "scheduled_osr_update_time": enable(
        scheduled_osr_update_time=datetime(2026, 1, 1)  # noqa: DTZ001 - a naive one
    ),
    "request": lambda c: c.text_enable_toll_free_numbers({}),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("named", REFUSED)
async def test_refused_before_anything_is_sent(
    client: QualifiedNumbersClient, wire: Any, named: str
) -> None:
    """Arguments beyond a documented limit are rejected by name before sending: NOT_SENT."""
    with pytest.raises(InvalidRequestError) as caught:
        await REFUSED[named](client)
    assert named.strip() in str(caught.value)
    assert caught.value.outcome is Outcome.NOT_SENT
    assert isinstance(caught.value, ValueError)
    assert wire.requests == {}


@pytest.mark.parametrize(
    ("url", "allow_http", "good"),
    [
        ("https://api.example", False, True),
        ("http://api.example", False, False),
        ("http://api.example", True, True),
        ("http://127.0.0.1:8080", False, True),
        ("http://127.9.9.9", False, True),
        ("http://localhost:1", False, True),
        ("http://[::1]:80", False, True),
        ("http://127.0.0.1.example", False, False),
        ("http://localhost.example", False, False),
        ("http://localhost@evil.example", False, False),
        ("http://10.0.0.1", False, False),
        ("ftp://api.example", True, False),
        ("api.example", True, False),
        ("https://user:pw@api.example", False, False),
        ("https://api.example/?x=1", False, False),
        ("https://api.example:port", False, False),
        (b"https://api.example", False, False),
    ],
)
def test_addresses(url: Any, allow_http: bool, good: bool) -> None:  # noqa: FBT001
    """Unencrypted API and token addresses are rejected, except on loopback."""

    def make_api() -> object:
        return QualifiedNumbersClient(
            PROJECT, BasicAuth("key", SECRET), base_url=url, allow_http=allow_http
        )

    def make_token() -> object:
        auth = OAuth2("key", SECRET, token_url=url)
        return QualifiedNumbersClient(PROJECT, auth, allow_http=allow_http)

    for make, name in ((make_api, "base_url"), (make_token, "token_url")):
        if good:
            make()
        else:
            with pytest.raises(InvalidRequestError, match=name):
                make()


@pytest.mark.parametrize("project_id", ["", "a/b", "..", "a b", "é", None, 7, "x" * 65])
def test_project_ids(project_id: Any) -> None:
    """A project id cannot reach another path."""
    with pytest.raises(InvalidRequestError, match="project_id"):
        QualifiedNumbersClient(project_id, BasicAuth("key", SECRET))


@pytest.mark.parametrize("auth", [SECRET, SECRET.encode(), ("key", SECRET), None])
def test_invalid_auth(auth: Any) -> None:
    """A bare key instead of credentials is rejected without being repeated."""
    with pytest.raises(InvalidRequestError, match="auth") as caught:
        QualifiedNumbersClient(PROJECT, auth)
    assert SECRET not in str(caught.value)


# ---- from the environment ----------------------------------------------------------------------

ENV = {"SINCH_PROJECT_ID": PROJECT, "SINCH_KEY_ID": "key", "SINCH_KEY_SECRET": SECRET}


@pytest.mark.parametrize("missing", [list(ENV), ["SINCH_KEY_SECRET"], ["SINCH_PROJECT_ID"]])
def test_missing_variables_are_named_at_once(missing: list[str]) -> None:
    """One error names every variable that is missing or empty, and no other."""
    environ = {name: value for name, value in ENV.items() if name not in missing}
    for environment in (environ, {**environ, **dict.fromkeys(missing, "")}):
        with pytest.raises(InvalidRequestError) as caught:
            QualifiedNumbersClient.from_env(environment)
        assert [name for name in ENV if name in str(caught.value)] == missing
        assert SECRET not in str(caught.value)


def test_from_env() -> None:
    """OAuth2 at Sinch's addresses unless the environment has others."""
    client = QualifiedNumbersClient.from_env(ENV)
    assert (client.project_id, client.base_url) == (PROJECT, BASE_URL)
    auth = client._pipeline._auth
    assert isinstance(auth, OAuth2)
    assert (auth.key_id, auth.key_secret, auth.token_url) == ("key", SECRET, TOKEN_URL)
    more = {"SINCH_BASE_URL": "http://localhost:1/", "SINCH_TOKEN_URL": "http://localhost:2/t"}
    client = QualifiedNumbersClient.from_env({**ENV, **more, "SINCH_AUTH": "oauth2"})
    auth = client._pipeline._auth
    assert isinstance(auth, OAuth2)
    assert (client.base_url, auth.token_url) == ("http://localhost:1", "http://localhost:2/t")


def test_basic_from_env() -> None:
    """SINCH_AUTH=basic uses the key itself; other values are rejected by name."""
    client = QualifiedNumbersClient.from_env({**ENV, "SINCH_AUTH": "basic"})
    assert client._pipeline._auth == BasicAuth("key", SECRET)
    with pytest.raises(InvalidRequestError, match="SINCH_AUTH"):
        QualifiedNumbersClient.from_env({**ENV, "SINCH_AUTH": "bearer"})
    with pytest.raises(InvalidRequestError, match="base_url"):
        QualifiedNumbersClient.from_env({**ENV, "SINCH_BASE_URL": "http://api.example"})


def test_credentials_from_the_environment_are_shared() -> None:
    """`auth=` replaces the environment's key; `OAuth2.from_env` reads it, and names what misses."""
    auth = OAuth2.from_env({**ENV, "SINCH_TOKEN_URL": "http://localhost:2/t"})
    assert (auth.key_id, auth.key_secret, auth.token_url) == ("key", SECRET, "http://localhost:2/t")
    only_the_project = {"SINCH_PROJECT_ID": PROJECT}
    clients = [QualifiedNumbersClient.from_env(only_the_project, auth=auth) for _ in range(2)]
    assert {client._pipeline._auth for client in clients} == {auth}
    with pytest.raises(InvalidRequestError, match="SINCH_KEY_ID, SINCH_KEY_SECRET"):
        OAuth2.from_env(only_the_project)
    with pytest.raises(InvalidRequestError, match="SINCH_PROJECT_ID"):
        QualifiedNumbersClient.from_env({}, auth=auth)


def test_from_the_real_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument the process's environment is used."""
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SINCH_BASE_URL", raising=False)
    assert QualifiedNumbersClient.from_env().project_id == PROJECT


# ---- on a real socket --------------------------------------------------------------------------


@pytest.fixture
def sandbox(sandbox: Sandbox) -> Sandbox:
    """Have small pages."""
    sandbox.page_size_cap = 3
    return sandbox


NUMBERS = [f"+1202555{i:04}" for i in range(100, 110)]


@pytest.mark.parametrize("prefetch", [False, True])
async def test_a_listing_resumes_from_its_token(
    sandbox: Sandbox,
    prefetch: bool,  # noqa: FBT001
) -> None:
    """A listing resumes from the last page's token, also in another process."""
    sandbox.add(NUMBERS)
    got: list[str | None] = []
    token = None
    pages = 0
    while True:
        async with sandbox.client() as client:
            listing = client.list_number_pages(
                SinchState.ELIGIBLE, page_token=token, prefetch=prefetch, page_size=50
            )
            async with aclosing(listing):
                async for page in listing:
                    assert len(page.items) <= 3
                    got += [number.phone_number for number in page.items]
                    token = page.next_page_token
                    pages += 1
                    break
        if token is None:
            break
    assert sorted(map(str, got)) == NUMBERS
    assert pages == 4


async def test_the_main_job(sandbox: Sandbox) -> None:
    """All eight operations in the order of a number's life, against the sandbox's rules."""
    async with sandbox.client() as client:
        added = await client.add_numbers([NUMBER])
        assert added[0].phone_number == NUMBER
        await client.wait_for_state(NUMBER, SinchState.ELIGIBLE, timeout=10.0)
        await client.send_voice_challenge(NUMBER)
        code = sandbox.code_for(NUMBER)
        assert code is not None
        verified = await client.verify_voice_challenge(NUMBER, code)
        assert verified.global_process_state is SinchState.VERIFIED
        await enable()(client)
        await client.delete_number(NUMBER)
        with pytest.raises(NotFoundError) as caught:
            await client.delete_number(NUMBER)
        assert caught.value.outcome is Outcome.REJECTED
        with pytest.raises(NotFoundError):
            await client.get_number(NUMBER)
    assert sandbox.violations == []
    assert sandbox.calls.total("sendVoiceChallenge") == 1


async def test_waiting_on_a_socket(sandbox: Sandbox) -> None:
    """A wait ends in a state that was named for it, or at its timeout."""
    sandbox.add([NUMBER], SinchState.VERIFICATION_BLOCKED)
    sandbox.add([NUMBERS[0]], SinchState.ELIGIBLE)
    async with sandbox.client() as client:
        with pytest.raises(UnexpectedStateError) as caught:
            await client.wait_for_state(
                NUMBER,
                SinchState.VERIFIED,
                unless=[SinchState.VERIFICATION_BLOCKED],
                timeout=10.0,
            )
        assert caught.value.number.phone_number == NUMBER
        with pytest.raises(DeadlineExceededError, match="STATE_ELIGIBLE"):
            await client.wait_for_state(NUMBERS[0], SinchState.VERIFIED, timeout=0.3)


PREPARABLE: dict[str, Callable[[QualifiedNumbersClient, PreparedCall], Awaitable[object]]] = {
    "addQualifiedNumbers": lambda c, p: c.add_numbers([NUMBER], prepared=p),
    "textEnableNumbers": lambda c, p: c.text_enable_numbers(ORDER, prepared=p),
    "textEnableTollFreeNumbers": lambda c, p: c.text_enable_toll_free_numbers(
        TOLL_FREE_ORDER, prepared=p
    ),
    "sendVoiceChallenge": lambda c, p: c.send_voice_challenge(NUMBER, prepared=p),
    "verifyVoiceChallenge": lambda c, p: c.verify_voice_challenge(NUMBER, "0123", prepared=p),
}


def test_a_second_event_loop() -> None:
    """A client that was used in one event loop raises in another."""
    client = QualifiedNumbersClient(PROJECT, BasicAuth("key", SECRET))

    async def call() -> None:
        with aioresponses() as wire:
            wire.get(f"{ROOT}/qualifiedNumbers/{NUMBER}", payload=VERIFIED_JSON)
            await client.get_number(NUMBER)

    async def first() -> None:
        await call()
        await client.close()

    asyncio.run(first())
    with pytest.raises(RuntimeError, match="bound to the event loop of its first call"):
        asyncio.run(call())


def test_a_prepared_call_in_another_event_loop() -> None:
    """A call prepared in one event loop is rejected in another."""
    client = QualifiedNumbersClient(PROJECT, BasicAuth("key", SECRET))
    with aioresponses():  # opens no connection
        prepared = asyncio.run(client.prepare())
    with pytest.raises(InvalidRequestError, match="another event loop"):
        asyncio.run(client.send_voice_challenge(NUMBER, prepared=prepared))
    assert not prepared.may_have_been_sent


@pytest.mark.parametrize("operation", sorted(PREPARABLE))
async def test_a_prepared_call_on_a_socket(sandbox: Sandbox, operation: str) -> None:
    """Each non-idempotent operation takes a prepared call, and then requests no token."""
    sandbox.add([NUMBER])
    async with sandbox.client() as client:
        prepared = await client.prepare()
        tokens = sandbox.calls.total("token")
        assert not prepared.may_have_been_sent
        with suppress(SinchError):
            await PREPARABLE[operation](client, prepared)
        assert sandbox.calls.total("token") == tokens == 1
        assert sandbox.calls.total(operation) == 1
        with pytest.raises(InvalidRequestError, match="used already"):
            await PREPARABLE[operation](client, prepared)
        assert sandbox.calls.total(operation) == 1


async def test_a_rate_limit_is_obeyed(sandbox: Sandbox) -> None:
    """A client with a rate limit does not exceed it."""
    sandbox.add([NUMBER])
    loop = asyncio.get_running_loop()
    async with sandbox.client(auth="basic", rate_limit=RateLimit(50.0)) as client:
        begun = loop.time()
        await asyncio.gather(*(client.get_number(NUMBER) for _ in range(6)))
        assert loop.time() - begun >= 0.09


async def test_close_leaves_no_task(sandbox: Sandbox) -> None:
    """Closing a client ends all its tasks, including a pending token request."""
    sandbox.latency = 100.0
    before = asyncio.all_tasks()
    client = sandbox.client()
    call = asyncio.create_task(client.get_number(NUMBER))
    while not sandbox.calls.total("token"):  # noqa: ASYNC110 - the sandbox has no event for it
        await asyncio.sleep(0.001)
    call.cancel()
    await asyncio.wait([call])
    mine = {task for task in asyncio.all_tasks() - before if "sinch_qn" in task.get_name()}
    assert len(mine) == 1
    await client.close()
    assert all(task.done() for task in mine)


async def test_the_repr() -> None:
    """A client's repr has its project and address, and no credential."""
    client = QualifiedNumbersClient(PROJECT, OAuth2("the-key", SECRET))
    assert repr(client) == f"<QualifiedNumbersClient of project {PROJECT} at {BASE_URL}>"


async def test_secrets_appear_nowhere(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """Keys, tokens, codes and LOA data are in no error, traceback, pickle or log, at DEBUG."""
    basic_value = base64.b64encode(f"key:{SECRET}".encode()).decode()
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    sandbox.add([NUMBER])
    shown: list[str] = []

    async def fail(call: Awaitable[object]) -> SinchError:
        with pytest.raises(SinchError) as caught:
            await call
        shown.append(repr(caught.value) + str(vars(caught.value)))
        shown.append("".join(traceback.format_exception(caught.value)))
        shown.append(pickle.dumps(caught.value).decode("latin-1"))
        return caught.value

    wrong = OAuth2("sandbox-key-id", SECRET, token_url=sandbox.token_url)
    async with (
        QualifiedNumbersClient(sandbox.project_id, wrong, base_url=sandbox.base_url) as refused,
        QualifiedNumbersClient(
            sandbox.project_id, BasicAuth("key", SECRET), base_url=sandbox.base_url
        ) as basic,
        sandbox.client() as client,
    ):
        error = await fail(refused.get_number(NUMBER))
        assert isinstance(error, AuthenticationError)
        assert error.outcome is Outcome.NOT_SENT
        error = await fail(basic.get_number(NUMBER))
        assert isinstance(error, AuthenticationError)
        assert error.outcome is Outcome.REJECTED
        await client.send_voice_challenge(NUMBER)
        await client.verify_voice_challenge(NUMBER, "c0dec0de")
        await fail(client.verify_voice_challenge(NUMBERS[0], "c0dec0de"))
        await fail(enable(blanket_loa_info=None, direct_loa_info=DIRECT)(client))
        await fail(client.get_number(NUMBERS[0]))
        (token, *_) = sandbox.tokens
    shown.append(caplog.text)
    assert "GET /qualifiedNumbers/{phoneNumber} -> 404" in caplog.text
    for text in shown:
        for secret in (SECRET, token, "c0dec0de", "jane@example.com", "Main Street", basic_value):
            assert secret not in text
    assert NUMBER not in caplog.text


async def test_an_external_session_stays_open(sandbox: Sandbox) -> None:
    """An external session serves all calls and is left open."""
    sandbox.add([NUMBER])
    async with aiohttp.ClientSession() as session:
        async with sandbox.client(session=session) as client:
            await client.get_number(NUMBER, retry=RetryPolicy(max_attempts=1))
            await client.send_voice_challenge(NUMBER)
        assert not session.closed


@pytest.mark.parametrize("name", ["max_connections", "max_body"])
@pytest.mark.parametrize("value", [0, -1, None, "10", 1.5, True], ids=str)
def test_impossible_limits(name: str, value: Any) -> None:
    """A limit that is no whole number above zero is rejected at construction."""
    options: dict[str, Any] = {name: value}
    with pytest.raises(InvalidRequestError, match=f"{name}: "):
        QualifiedNumbersClient("p", BasicAuth("key", "secret"), **options)
