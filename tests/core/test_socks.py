"""Requests through a SOCKS proxy, with the connector of aiohttp-socks on a brought session."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp_socks import ProxyConnector

from sinch_qn import QualifiedNumbersClient
from sinch_qn.errors import ConnectError, Outcome, SinchError, TokenError, TransportError
from sinch_qn.retry import RetryPolicy
from sinch_qn.sandbox import Fault, Sandbox
from tests.support.socks_proxy import HANG_UP, proxying

NUMBER = "+12025550134"
ONCE = RetryPolicy(max_attempts=1)


@asynccontextmanager
async def through(proxy_url: str, sandbox: Sandbox) -> AsyncIterator[QualifiedNumbersClient]:
    """Yield a client whose session connects through a proxy."""
    connector = ProxyConnector.from_url(proxy_url)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        sandbox.client(auth="basic", session=session, retry=ONCE) as client,
    ):
        yield client


async def failure(client: QualifiedNumbersClient) -> SinchError:
    """Call the phone, and return the error."""
    with pytest.raises(SinchError) as caught:
        await client.send_voice_challenge(NUMBER)
    return caught.value


async def test_a_proxy_relays_requests() -> None:
    """Requests reach the API through the proxy, and match its description."""
    async with Sandbox() as sandbox, proxying() as proxy, through(proxy.url, sandbox) as client:
        sandbox.add([NUMBER])
        await client.send_voice_challenge(NUMBER)
        number = await client.verify_voice_challenge(NUMBER, str(sandbox.code_for(NUMBER)))
        assert str(number.global_process_state) == "GLOBAL_PROCESS_STATE_VERIFIED"
        assert set(proxy.targets) == {("127.0.0.1", sandbox.port)}
        assert sandbox.violations == []


@pytest.mark.parametrize("reply", [1, 2, 5, HANG_UP])
async def test_a_proxy_that_refuses(reply: int) -> None:
    """A request that the proxy does not relay is a ConnectError, NOT_SENT, whatever its reply."""
    async with (
        Sandbox() as sandbox,
        proxying(reply) as proxy,
        through(proxy.url, sandbox) as client,
    ):
        sandbox.add([NUMBER])
        error = await failure(client)
        assert type(error) is ConnectError
        assert error.outcome is Outcome.NOT_SENT
        assert len(proxy.targets) == 1
        assert sandbox.calls.total("sendVoiceChallenge") == 0


async def test_a_proxy_that_is_down() -> None:
    """A proxy that nobody runs is a ConnectError, NOT_SENT."""
    async with proxying() as proxy:
        url = proxy.url
    async with Sandbox() as sandbox, through(url, sandbox) as client:
        error = await failure(client)
    assert type(error) is ConnectError
    assert error.outcome is Outcome.NOT_SENT


async def test_a_connection_that_breaks_behind_the_proxy() -> None:
    """A request that was relayed, and got no response, is UNKNOWN: the phone rang."""
    async with Sandbox() as sandbox, proxying() as proxy, through(proxy.url, sandbox) as client:
        sandbox.add([NUMBER])
        sandbox.faults.add(Fault.dropped(when="after"), operation="sendVoiceChallenge")
        error = await failure(client)
        assert type(error) is TransportError
        assert error.outcome is Outcome.UNKNOWN
        assert sandbox.world.rings(NUMBER) == 1


async def test_a_refusal_is_retried() -> None:
    """As nothing was sent, a call that the proxy refused is retried, and rings once."""
    async with (
        Sandbox() as sandbox,
        proxying(5) as proxy,
        aiohttp.ClientSession(connector=ProxyConnector.from_url(proxy.url)) as session,
    ):
        sandbox.add([NUMBER])

        def accept_now(_: object) -> float:
            proxy.reply = 0
            return 0.0

        client = sandbox.client(auth="basic", session=session, retry=accept_now)
        await client.send_voice_challenge(NUMBER)
        assert len(proxy.targets) == 2
        assert sandbox.world.rings(NUMBER) == 1


async def test_a_token_that_the_proxy_refuses() -> None:
    """A token request that the proxy refuses is a TokenError, NOT_SENT."""
    async with (
        Sandbox() as sandbox,
        proxying(2) as proxy,
        aiohttp.ClientSession(connector=ProxyConnector.from_url(proxy.url)) as session,
    ):
        client = sandbox.client(session=session, retry=ONCE)
        error = await failure(client)
        assert type(error) is TokenError
        assert error.outcome is Outcome.NOT_SENT
