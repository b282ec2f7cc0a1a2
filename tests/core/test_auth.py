"""Credentials: one token for all calls, fetched once, refreshed in time, replaced if rejected."""

from __future__ import annotations

import asyncio
import base64
import copy
import gc
import pickle
from collections.abc import Awaitable, Callable

import orjson
import pytest

from sinch_qn._http import Request, Response
from sinch_qn.auth import BasicAuth, OAuth2, Token, TokenCache
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.errors import (
    AuthenticationError,
    ClosedError,
    ConnectError,
    InvalidRequestError,
    InvalidResponseError,
    Outcome,
    SinchError,
    TokenError,
    TransportError,
)
from sinch_qn.models import QualifiedNumber
from sinch_qn.retry import RetryPolicy
from sinch_qn.sandbox import Fault, Sandbox
from tests.support.virtual_clock import virtual_clock

TOKEN_URL = "https://auth.example/token"
NUMBER = "+12025550134"
CANARY = "canary0123456789"


class Endpoint:
    """A token endpoint: counts its requests, and returns `t1`, `t2` … or scripted replies."""

    def __init__(self, *, expires_in: float = 1000.0, delay: float = 0.0) -> None:
        self.expires_in = expires_in
        self.delay = delay
        self.requests: list[Request] = []
        self.fault: SinchError | Response | None = None

    async def send(self, request: Request) -> Response:
        """Answer one token request."""
        self.requests.append(request)
        assert len(self.requests) < 1000, "this goes on for ever"
        number = len(self.requests)
        await asyncio.sleep(self.delay)
        if isinstance(self.fault, SinchError):
            raise copy.copy(self.fault)
        return self.fault or reply({"access_token": f"t{number}", "expires_in": self.expires_in})


def reply(body: object, status: int = 200) -> Response:
    """Return a JSON response."""
    return Response(status, {}, orjson.dumps(body))


def oauth2() -> OAuth2:
    """Return OAuth2 on the event loop's clock."""
    clock = asyncio.get_running_loop().time
    return OAuth2("key", CANARY, token_url=TOKEN_URL, monotonic=clock)


async def later(seconds: float) -> None:
    """Advance the clock and run what becomes due."""
    await asyncio.sleep(seconds)
    for _ in range(5):
        await asyncio.sleep(0)


# ---- HTTP Basic --------------------------------------------------------------------------------


async def test_basic() -> None:
    """Basic sends the key and its secret, always the same, without a token request."""
    auth = BasicAuth("key", "s3:cret")
    endpoint = Endpoint()
    header = await auth.authorize(endpoint.send)
    assert header == "Basic " + base64.b64encode(b"key:s3:cret").decode()
    assert not auth.invalidate(header)
    await auth.close()
    assert endpoint.requests == []


@pytest.mark.parametrize("kind", [BasicAuth, OAuth2])
@pytest.mark.parametrize(
    ("key_id", "key_secret"),
    [
        ("", CANARY),
        ("key", ""),
        ("ke:y", CANARY),
        ("key", CANARY + "\r\nX-Evil: 1"),
        ("key", CANARY + " "),
        ("kéy", CANARY),
        ("key", CANARY.encode()),
        (None, CANARY),
    ],
)
def test_impossible_credentials(
    kind: Callable[[object, object], object], key_id: object, key_secret: object
) -> None:
    """An invalid credential is rejected at once, and not repeated in the message."""
    with pytest.raises(InvalidRequestError) as caught:
        kind(key_id, key_secret)
    assert CANARY not in str(caught.value)
    assert "key_" in str(caught.value)


@virtual_clock
async def test_no_repr_shows_a_secret() -> None:
    """Keys and tokens are in no repr."""
    endpoint = Endpoint()
    endpoint.fault = reply({"access_token": CANARY, "expires_in": 60})
    auth = oauth2()
    assert await auth.authorize(endpoint.send) == f"Bearer {CANARY}"
    shown = [repr(auth), repr(BasicAuth("the-key", CANARY)), repr(auth._cache)]
    shown += [repr(auth._cache._token), repr(endpoint.requests)]
    for text in shown:
        assert CANARY not in text
        assert "the-key" not in text
    assert TOKEN_URL in repr(auth)


# ---- the token request -------------------------------------------------------------------------


@virtual_clock
async def test_the_token_request() -> None:
    """The token request has the client credentials in HTTP Basic (RFC 6749, 4.4)."""
    endpoint = Endpoint()
    assert await oauth2().authorize(endpoint.send) == "Bearer t1"
    (request,) = endpoint.requests
    assert (request.method, request.url) == ("POST", TOKEN_URL)
    assert request.body == b"grant_type=client_credentials"
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    basic = base64.b64encode(f"key:{CANARY}".encode()).decode()
    assert request.headers["Authorization"] == f"Basic {basic}"


@pytest.mark.parametrize("status", [400, 401, 403])
@virtual_clock
async def test_refused_credentials(status: int) -> None:
    """Credentials refused by the token endpoint are an AuthenticationError, NOT_SENT."""
    endpoint = Endpoint()
    endpoint.fault = reply({"error": "invalid_client"}, status)
    with pytest.raises(AuthenticationError) as caught:
        await oauth2().authorize(endpoint.send)
    assert caught.value.outcome is Outcome.NOT_SENT
    assert caught.value.status_code == status


@pytest.mark.parametrize(
    "fault",
    [
        ConnectError("refused"),
        TransportError("reset"),
        InvalidResponseError("too large"),
        reply({}, 500),
        reply({}, 429),
        reply({}, 302),
        reply({}, 204),
        Response(200, {}, b""),
        Response(200, {}, b"<html>" + CANARY.encode()),
        Response(200, {}, b'{"access_token": "' + CANARY.encode()),
        reply([CANARY]),
        reply(CANARY),
        reply(None),
        reply({}),
        reply({"access_token": None}),
        reply({"access_token": 7}),
        reply({"access_token": ""}),
        reply({"access_token": CANARY + "\r\nX-Evil: 1"}),
        reply({"access_token": CANARY + " "}),
        reply({"access_token": "x" * 16385}),
    ],
)
@virtual_clock
async def test_no_token(fault: SinchError | Response) -> None:
    """Any other failure of the token endpoint is a TokenError, NOT_SENT, that quotes nothing."""
    endpoint = Endpoint()
    endpoint.fault = fault
    with pytest.raises(TokenError) as caught:
        await oauth2().authorize(endpoint.send)
    assert caught.value.outcome is Outcome.NOT_SENT
    error: BaseException | None = caught.value
    while error is not None:
        assert CANARY not in repr(error)
        assert CANARY not in repr(vars(error))
        error = error.__cause__ or error.__context__
    assert CANARY.encode() not in pickle.dumps(caught.value)


@virtual_clock
async def test_a_token_endpoint_that_never_responds() -> None:
    """A token request ends after 30 s, whatever the deadlines of the calls that wait for it."""
    endpoint = Endpoint(delay=1e6)
    with pytest.raises(TokenError, match="30 s"):
        await oauth2().authorize(endpoint.send)
    assert asyncio.get_running_loop().time() == 30.0


@pytest.mark.parametrize(("expires_in", "lasts"), [(None, 270), ("3600", 3540), (0, 270)])
@virtual_clock
async def test_lifetimes(expires_in: object, lasts: float) -> None:
    """A lifetime may be a string; without one it is 5 minutes."""
    endpoint, auth = Endpoint(), oauth2()
    endpoint.fault = reply({"access_token": "t", "expires_in": expires_in})
    await auth.authorize(endpoint.send)
    token = auth._cache._token
    assert token is not None
    assert token.expires_at == lasts


# ---- expiry ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lifetime", "refresh_at", "expires_at"), [(3600, 3480, 3540), (100, 80, 90), (600, 480, 540)]
)
def test_margins(lifetime: float, refresh_at: float, expires_at: float) -> None:
    """A token is used until min(60 s, 10 %) before its expiry, and refreshed from twice that on."""
    token = Token.from_lifetime("t", lifetime, since=7.0)
    assert token.refresh_at == 7.0 + refresh_at
    assert token.expires_at == 7.0 + expires_at


@virtual_clock
async def test_a_token_is_kept() -> None:
    """Until its refresh is due a token is used without another request."""
    endpoint, auth = Endpoint(), oauth2()
    for _ in range(87):
        assert await auth.authorize(endpoint.send) == "Bearer t1"
        await later(10.0)
    assert len(endpoint.requests) == 1


@virtual_clock
async def test_expiry_counts_from_the_sending() -> None:
    """A token's age counts from the sending of its request, however slow the response."""
    endpoint, auth = Endpoint(expires_in=100.0, delay=20.0), oauth2()
    await auth.authorize(endpoint.send)
    token = auth._cache._token
    assert token is not None
    assert token.expires_at == 90.0


@virtual_clock
async def test_advisory_refresh() -> None:
    """From twice the margin on a new token is fetched in the background; no call waits for it."""
    loop = asyncio.get_running_loop()
    endpoint, auth = Endpoint(), oauth2()
    await auth.authorize(endpoint.send)
    endpoint.delay = 5.0
    await later(885.0)
    for _ in range(3):
        assert await auth.authorize(endpoint.send) == "Bearer t1"
    assert loop.time() == 885.0
    await later(6.0)
    assert await auth.authorize(endpoint.send) == "Bearer t2"
    assert len(endpoint.requests) == 2


@virtual_clock
async def test_mandatory_margin() -> None:
    """Within the margin before its expiry a token is not used."""
    endpoint, auth = Endpoint(), oauth2()
    await auth.authorize(endpoint.send)
    await later(940.0)
    endpoint.delay = 5.0
    assert await auth.authorize(endpoint.send) == "Bearer t2"
    assert asyncio.get_running_loop().time() == 945.0


@virtual_clock
async def test_a_failed_background_refresh_affects_no_call() -> None:
    """While the token is valid, a failing refresh affects no call; it is retried after a second."""
    endpoint, auth = Endpoint(), oauth2()
    await auth.authorize(endpoint.send)
    endpoint.fault = reply({}, 503)
    await later(885.0)
    for _ in range(40):
        assert await auth.authorize(endpoint.send) == "Bearer t1"
        await later(0.1)
    assert len(endpoint.requests) == 1 + 4
    endpoint.fault = None
    await later(1.0)
    await auth.authorize(endpoint.send)
    await later(0.0)
    assert await auth.authorize(endpoint.send) == "Bearer t6"


@virtual_clock
async def test_a_token_that_lasts_no_time() -> None:
    """A token that has expired on arrival still serves the calls that waited for it."""
    endpoint, auth = Endpoint(expires_in=2.0, delay=10.0), oauth2()
    got = await asyncio.gather(*(auth.authorize(endpoint.send) for _ in range(5)))
    assert set(got) == {"Bearer t1"}
    assert await auth.authorize(endpoint.send) == "Bearer t2"


@pytest.mark.parametrize(
    ("expires_in", "lasts"),
    [
        (None, 300.0),
        ("3600", 3600.0),
        ("3600.5", 3600.5),
        ("soon", 300.0),
        ("0", 300.0),
        (0, 300.0),
        (-1, 300.0),
        ("-1", 300.0),
        ("nan", 300.0),
        (True, 300.0),
        ([1], 300.0),
        (2**31 - 1, 86_400.0),
        (2147483647000, 86_400.0),
        (9223372036854775, 86_400.0),
        (2**63 - 1, 86_400.0),
        ("9" * 400, 86_400.0),
        ("inf", 86_400.0),
    ],
)
@virtual_clock
async def test_expires_in_is_read_in_every_form(expires_in: object, lasts: float) -> None:
    """A lifetime that is none is unknown, one that never ends is capped; neither is fatal."""
    endpoint, auth = Endpoint(), oauth2()
    endpoint.fault = reply({"access_token": "t", "expires_in": expires_in})
    assert await auth.authorize(endpoint.send) == "Bearer t"
    token = auth._cache._token
    assert token is not None
    assert token.expires_at == lasts - min(60.0, lasts / 10)


async def test_a_token_after_a_byte_order_mark() -> None:
    """A token is read from what careless servers send, as other responses are."""
    endpoint = Endpoint()
    endpoint.fault = Response(200, {}, b'\xef\xbb\xbf{"access_token": "t"}\0')
    assert await oauth2().authorize(endpoint.send) == "Bearer t"


@pytest.mark.parametrize("status", [429, 503])
@virtual_clock
async def test_the_retry_after_of_the_token_endpoint_is_obeyed(status: int) -> None:
    """Until then the endpoint is left alone, by all callers; the error says how long that is."""
    endpoint, auth = Endpoint(), oauth2()
    endpoint.fault = Response(status, {"Retry-After": "60"}, b"")
    for passed in (0.0, 20.0, 39.0):
        await later(passed)
        with pytest.raises(TokenError) as caught:
            await auth.authorize(endpoint.send)
        left = 60.0 - asyncio.get_running_loop().time()
        assert caught.value.retry_after == pytest.approx(left, abs=0.1)
        assert caught.value.retry_at is not None
    assert len(endpoint.requests) == 1
    assert pickle.loads(pickle.dumps(caught.value)).retry_after == caught.value.retry_after  # noqa: S301
    endpoint.fault = None
    await later(1.0)
    assert await auth.authorize(endpoint.send) == "Bearer t2"


# ---- one fetch for all -------------------------------------------------------------------------


@virtual_clock
async def test_single_flight() -> None:
    """A thousand callers cause one token request, and none waits longer than it takes."""
    endpoint, auth = Endpoint(delay=5.0), oauth2()
    got = await asyncio.gather(*(auth.authorize(endpoint.send) for _ in range(1000)))
    assert set(got) == {"Bearer t1"}
    assert len(endpoint.requests) == 1
    assert asyncio.get_running_loop().time() == 5.0


@virtual_clock
async def test_refused_once_replaced_once() -> None:
    """A rejected token is replaced once, by value, however many calls were rejected."""
    endpoint, auth = Endpoint(delay=1.0), oauth2()
    old = await auth.authorize(endpoint.send)

    async def refused(after: float) -> str:
        await asyncio.sleep(after)
        assert auth.invalidate(old)
        return await auth.authorize(endpoint.send)

    # some calls are rejected before the new token arrives, some meanwhile, some long after
    got = await asyncio.gather(*(refused(i / 100) for i in range(1000)))
    assert set(got) == {"Bearer t2"}
    assert len(endpoint.requests) == 2


@virtual_clock
async def test_a_cancelled_leader_affects_no_other() -> None:
    """Cancelling the caller that started the fetch does not affect those that wait for it."""
    endpoint, auth = Endpoint(delay=5.0), oauth2()
    leader = asyncio.create_task(auth.authorize(endpoint.send))
    await asyncio.sleep(1.0)
    others = [asyncio.create_task(auth.authorize(endpoint.send)) for _ in range(10)]
    await asyncio.sleep(1.0)
    leader.cancel()
    assert set(await asyncio.gather(*others)) == {"Bearer t1"}
    assert leader.cancelled()
    assert len(endpoint.requests) == 1
    assert asyncio.get_running_loop().time() == 5.0


@virtual_clock
async def test_a_failure_is_raised_for_all() -> None:
    """All callers that wait for a failed fetch get their own error, from one request."""
    endpoint, auth = Endpoint(delay=5.0), oauth2()
    endpoint.fault = reply({}, 503)
    waiting = [auth.authorize(endpoint.send) for _ in range(10)]
    got = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(error) for error in got} == {TokenError}
    assert len({id(error) for error in got}) == 10
    assert len(endpoint.requests) == 1


@virtual_clock
async def test_a_failure_is_cached_shortly() -> None:
    """A failed fetch is cached for a second; then the next caller fetches again."""
    endpoint, auth = Endpoint(), oauth2()
    endpoint.fault = reply({}, 503)
    for _ in range(25):
        with pytest.raises(TokenError):
            await auth.authorize(endpoint.send)
        await later(0.1)
    assert len(endpoint.requests) == 3
    endpoint.fault = None
    await later(1.0)
    assert await auth.authorize(endpoint.send) == "Bearer t4"


@virtual_clock
async def test_an_error_of_the_fetchs_own_is_raised() -> None:
    """An error that is not a SinchError, such as a closed client, is raised and not cached."""
    cache = TokenCache()

    async def broken() -> Token:
        raise RuntimeError("this client is closed")

    async def good() -> Token:
        return Token.from_lifetime("t", 1e6, since=0.0)

    with pytest.raises(RuntimeError, match="closed"):
        await cache.get(broken)
    cache = TokenCache(monotonic=asyncio.get_running_loop().time)
    assert await cache.get(good) == "t"


@virtual_clock
async def test_closing_cancels_the_fetch() -> None:
    """close() cancels a pending token request."""
    endpoint, auth = Endpoint(), oauth2()
    await auth.authorize(endpoint.send)
    await auth.close()
    await later(885.0)
    endpoint.delay = 100.0
    await auth.authorize(endpoint.send)  # starts the refresh in the background
    assert len(asyncio.all_tasks()) == 2
    await auth.close()
    assert len(asyncio.all_tasks()) == 1


@virtual_clock
async def test_closing_one_client_affects_no_other() -> None:
    """When one of the clients that share a token closes, the others fetch it again."""
    endpoint, auth = Endpoint(delay=5.0), oauth2()
    other = asyncio.create_task(auth.authorize(endpoint.send))
    await asyncio.sleep(1.0)
    await auth.close()
    assert await other == "Bearer t2"


def test_one_event_loop_after_the_other() -> None:
    """Credentials can be used in one event loop after the other, with one token for all."""
    endpoint = Endpoint()
    auth = OAuth2("key", "secret", token_url=TOKEN_URL)
    assert asyncio.run(auth.authorize(endpoint.send)) == "Bearer t1"
    assert asyncio.run(auth.authorize(endpoint.send)) == "Bearer t1"


def test_a_fetch_of_another_loop_is_not_waited_for() -> None:
    """A fetch of an event loop that has ended is started again in the current one."""
    endpoint = Endpoint(delay=100.0)
    auth = OAuth2("key", "secret", token_url=TOKEN_URL)
    first = asyncio.new_event_loop()
    leader = first.create_task(auth.authorize(endpoint.send))

    async def start() -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        assert endpoint.requests

    first.run_until_complete(start())
    endpoint.delay = 0.0

    async def in_the_second() -> str:
        await auth.close()  # belongs to another event loop
        async with asyncio.timeout(5):
            return await auth.authorize(endpoint.send)

    assert asyncio.run(in_the_second()) == "Bearer t2"
    left = [task for task in asyncio.all_tasks(first) if task.cancel()]
    first.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    assert leader.cancelled()
    first.close()
    gc.collect()


@virtual_clock
async def test_an_error_of_anothers_fetch_is_not_for_all() -> None:
    """What the fetch of a closed client raises is raised for it only; others fetch anew."""
    endpoint, auth = Endpoint(delay=5.0), oauth2()

    async def closed(_: Request) -> Response:
        await asyncio.sleep(1.0)
        raise ClosedError("this client is closed")

    waiting = [auth.authorize(send) for send in (closed, endpoint.send, endpoint.send)]
    first, *others = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(first, ClosedError)
    assert others == ["Bearer t1", "Bearer t1"]


# ---- on a real socket --------------------------------------------------------------------------


@pytest.fixture
def sandbox(sandbox: Sandbox) -> Sandbox:
    """Have NUMBER in the sandbox."""
    sandbox.add([NUMBER])
    return sandbox


async def all_of(calls: list[Awaitable[object]]) -> None:
    """Make all calls concurrently."""
    await asyncio.gather(*calls)


async def test_a_thousand_calls_one_token(sandbox: Sandbox) -> None:
    """1,000 concurrent calls cause one token request; revoking that token, one more."""
    async with sandbox.client() as client:
        await all_of([client.get_number(NUMBER) for _ in range(1000)])
        assert sandbox.calls.total("token") == 1
        assert sandbox.calls.total("getQualifiedNumber") == 1000
        sandbox.revoke_tokens()
        # even one-shot calls survive a revoked token
        once = RetryPolicy(max_attempts=1)
        await all_of([client.get_number(NUMBER, retry=once) for _ in range(1000)])
        assert sandbox.calls.total("token") == 2
        assert sandbox.calls.total("getQualifiedNumber") <= 3000


async def test_closing_one_of_two_clients_that_share_credentials(sandbox: Sandbox) -> None:
    """The other one, which waits for the same token, gets its answer."""
    shared = OAuth2(sandbox.key_id, sandbox.key_secret, token_url=sandbox.token_url)
    sandbox.faults.add(Fault.slow(0.2), operation="token")
    clients = [
        QualifiedNumbersClient(sandbox.project_id, shared, base_url=sandbox.base_url)
        for _ in range(2)
    ]
    calls = [asyncio.create_task(client.get_number(NUMBER)) for client in clients]
    await asyncio.sleep(0.1)
    await clients[0].close()
    closed, answered = await asyncio.gather(*calls, return_exceptions=True)
    await clients[1].close()
    assert isinstance(answered, QualifiedNumber)
    # the first may have waited for the token of the second, and then found itself closed
    assert isinstance(closed, ClosedError)


async def test_a_revoked_token_calls_no_phone_twice(sandbox: Sandbox) -> None:
    """A voice call rejected for its token calls the phone once, with the next token."""
    async with sandbox.client() as client:
        await client.get_number(NUMBER)
        sandbox.revoke_tokens()
        await client.send_voice_challenge(NUMBER)
    assert sandbox.calls.count("sendVoiceChallenge", NUMBER) == 2  # one of them a 401
    assert sandbox.world.rings(NUMBER) == 1
    assert sandbox.calls.total("token") == 2
