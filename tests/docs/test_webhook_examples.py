"""The receivers in `examples/` with the sandbox's callbacks, on a real socket."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import pytest
import uvicorn
from aiohttp import web

from sinch_qn import BlanketLoaInfo, QualifiedNumbersClient, TextEnableNumbersRequest
from sinch_qn.models import CallbackEvent, QualifiedNumber
from sinch_qn.sandbox import Sandbox
from sinch_qn.webhooks import MAX_SIZE, sign

EXAMPLES = Path(__file__).parents[2] / "examples"
NUMBERS = ["+12025550134", "+12025550135"]
FAILS = "+12025559997"
HOSTED, FAILED = "GLOBAL_PROCESS_STATE_HOSTING_DONE", "GLOBAL_PROCESS_STATE_HOSTING_FAILED"


def example(name: str) -> Any:
    """Load a file of `examples/` as a module of its own, like a copy of it."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def eventually(is_so: Callable[[], bool]) -> None:
    """Wait until *is_so*, for at most ten seconds."""
    async with asyncio.timeout(10):
        while not await asyncio.to_thread(is_so):  # noqa: ASYNC110 - no event is set
            await asyncio.sleep(0.01)


class Known:
    """A running receiver: its address and the latest state of each number."""

    def __init__(self) -> None:
        self.looks: list[tuple[str | None, str]] = []

    def use(self, event: CallbackEvent, number: QualifiedNumber) -> None:
        self.looks.append((event.resource_id, str(number.global_process_state)))


Look: TypeAlias = Callable[[], list[tuple[str | None, str]]]


@asynccontextmanager
async def on_aiohttp(
    client: QualifiedNumbersClient, secret: str | None, directory: Path
) -> AsyncIterator[tuple[str, Look]]:
    """Run the aiohttp example; yield its address and the states it recorded."""
    module = example("webhook_aiohttp")
    inbox = await asyncio.to_thread(module.Inbox, directory / "callbacks.db")
    runner = web.AppRunner(module.application(client, secret, inbox), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/sinch", inbox.settled
    finally:
        await runner.cleanup()


@asynccontextmanager
async def on_fastapi(
    client: QualifiedNumbersClient, secret: str | None, directory: Path
) -> AsyncIterator[tuple[str, Look]]:
    """Run the FastAPI example; yield its address and the states it recorded."""
    known = Known()
    app = example("webhook_fastapi").application(client, secret, known.use)
    config = uvicorn.Config(app, port=0, log_config=None, ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        await eventually(lambda: server.started or serving.done())
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/sinch", lambda: sorted(known.looks, key=str)
    finally:
        server.should_exit = True
        await serving


Serve: TypeAlias = Callable[..., Any]
both = pytest.mark.parametrize("serve", [on_aiohttp, on_fastapi])


async def order(client: QualifiedNumbersClient, url: str, *numbers: str) -> None:
    """Text-enable *numbers* with callbacks to *url*."""
    await client.text_enable_numbers(
        TextEnableNumbersRequest(
            region_code="US",
            numbers=list(numbers),
            service_plan_id="plan",
            blanket_loa_info=BlanketLoaInfo(),
            callback_url=url,
        )
    )


@pytest.mark.parametrize(("several", "events", "delivered"), [(False, 1, 1), (True, 4, 8)])
@both
async def test_callbacks_are_taken_and_looked_into(
    serve: Serve, tmp_path: Path, *, several: bool, events: int, delivered: int
) -> None:
    """Each signed callback of the sandbox is accepted at once, then its number is fetched.

    If a number has several events, each delivered twice, it is fetched once an event.
    """
    async with (
        Sandbox(several_callbacks=several) as sandbox,
        serve(sandbox.client(), sandbox.webhook_secret, tmp_path) as (url, looks),
        sandbox.client() as client,
    ):
        sandbox.add([*NUMBERS, FAILS], "VERIFIED")
        await order(client, url, *NUMBERS, FAILS)
        await sandbox.callbacks_done()
        assert sandbox.callbacks == {"delivered": 3 * delivered}
        await eventually(lambda: len(looks()) == 3 * events)
        found = [(NUMBERS[0], HOSTED), (NUMBERS[1], HOSTED), (FAILS, FAILED)]
        assert sorted(await asyncio.to_thread(looks)) == [
            each for each in found for _ in range(events)
        ]
        assert sandbox.calls.total("getQualifiedNumber") == 3 * events
        assert sandbox.violations == []


@both
async def test_a_repeated_event_is_answered_and_not_looked_into(
    serve: Serve, tmp_path: Path
) -> None:
    """An event delivered ten times gets 200 each time, and its number is fetched once."""
    async with (
        Sandbox() as sandbox,
        serve(sandbox.client(), sandbox.webhook_secret, tmp_path) as (url, looks),
        aiohttp.ClientSession() as session,
    ):
        sandbox.add(NUMBERS, "HOSTING_DONE")

        async def deliver(event_id: str, number: str) -> int:
            body = f'{{"eventId": "{event_id}", "resourceId": "{number}"}}'.encode()
            headers = {"X-Sinch-Signature": sign(body, sandbox.webhook_secret).upper()}
            async with session.post(url, data=body, headers=headers) as answer:
                return answer.status

        first = await asyncio.gather(*(deliver("1", NUMBERS[0]) for _ in range(9)))
        assert [*first, await deliver("1", NUMBERS[0])] == [200] * 10
        assert await deliver("2", NUMBERS[1]) == 200
        await eventually(lambda: len(looks()) == 2)
        assert sandbox.calls.count("getQualifiedNumber", NUMBERS[0]) == 1
        assert await deliver("3", "/../no number") == 200
        assert await deliver("4", NUMBERS[1]) == 200
        await eventually(lambda: (NUMBERS[1], HOSTED) in looks()[-2:])


@both
async def test_what_is_not_signed_is_not_looked_into(serve: Serve, tmp_path: Path) -> None:
    """Forged, unsigned, unreadable and oversized deliveries are rejected without a request."""
    async with (
        Sandbox() as sandbox,
        serve(sandbox.client(), sandbox.webhook_secret, tmp_path) as (url, looks),
        aiohttp.ClientSession() as session,
    ):
        forged = b'{"eventId": "1", "resourceId": "+12025550134"}'
        secret = sandbox.webhook_secret
        for body, signature, status in (
            (forged, sign(forged, "another"), 400),
            (forged, "", 400),
            (b"<html>", sign(b"<html>", secret), 400),
            (b" " * (MAX_SIZE + 1), sign(b" " * (MAX_SIZE + 1), secret), 413),
        ):
            headers = {"X-Sinch-Signature": signature}
            async with session.post(url, data=body, headers=headers) as answer:
                assert answer.status == status
        assert await asyncio.to_thread(looks) == []
        assert sandbox.calls.total("getQualifiedNumber") == 0


async def test_what_was_kept_is_looked_into_after_a_restart(tmp_path: Path) -> None:
    """The aiohttp example stores an event before its 200: a crash afterwards loses nothing."""
    module = example("webhook_aiohttp")
    inbox = await asyncio.to_thread(module.Inbox, tmp_path / "callbacks.db")
    one = CallbackEvent(event_id="1", resource_id=NUMBERS[0])
    other = CallbackEvent(event_id="2", resource_id="+12025550199")
    kept = [await asyncio.to_thread(inbox.keep, event) for event in (one, other, one)]
    assert kept == [True, True, False]
    inbox.close()
    async with Sandbox() as sandbox:
        sandbox.add(NUMBERS, "HOSTING_DONE")
        async with on_aiohttp(sandbox.client(), sandbox.webhook_secret, tmp_path) as (_, looks):
            await eventually(lambda: len(looks()) == 2)
            found = await asyncio.to_thread(looks)
            assert found == [(NUMBERS[0], HOSTED), ("+12025550199", "deleted")]


async def test_an_outage_delays_the_look(tmp_path: Path) -> None:
    """During an outage of Sinch the aiohttp example keeps its events and retries."""
    module = example("webhook_aiohttp")
    inbox = await asyncio.to_thread(module.Inbox, tmp_path / "callbacks.db")
    await asyncio.to_thread(inbox.keep, CallbackEvent(event_id="1", resource_id=NUMBERS[0]))
    async with Sandbox() as sandbox, sandbox.client() as client:
        sandbox.add(NUMBERS, "HOSTING_DONE")
        receiver = module.Receiver(client, None, inbox, pause=0.01)
        right, sandbox.key_secret = sandbox.key_secret, "not-yet"
        looking = asyncio.create_task(receiver.look())
        await eventually(lambda: sandbox.calls.total("token") >= 1)
        assert await asyncio.to_thread(inbox.waiting) == {"1": NUMBERS[0]}
        sandbox.key_secret = right
        await eventually(lambda: not inbox.waiting())
        looking.cancel()
        await asyncio.wait([looking])
    inbox.close()
