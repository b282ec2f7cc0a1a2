"""What broken connections cost: no false alarm, little memory, and nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import ssl
import sys
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from sinch_qn import BasicAuth, QualifiedNumbersClient, RetryPolicy, SinchError, errors
from sinch_qn.errors import ConnectError, Outcome, TransportError
from sinch_qn.sandbox import Fault, Sandbox
from tests.core.test_fault_matrix import CERTIFICATES, count_descriptors, on_this_machine
from tests.support.fault_proxy import (
    Exchange,
    FaultProxy,
    Move,
    Refusing,
    forward,
    stale_when_reused,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NUMBER = "+12025550134"
ONCE = RetryPolicy(max_attempts=1)
MEGABYTE = 1_000_000
STATUS = Path("/proc/self/status")
needs_proc = pytest.mark.skipif(not STATUS.exists(), reason="memory is measured in /proc")


@pytest.fixture(autouse=True)
def here() -> Iterator[None]:
    """Trust our own authority."""
    with on_this_machine():
        yield


def client_of(sandbox: Sandbox, base_url: str, **options: object) -> QualifiedNumbersClient:
    """Return a client that reaches *sandbox* at *base_url*."""
    auth = BasicAuth(sandbox.key_id, sandbox.key_secret)
    return QualifiedNumbersClient(
        sandbox.project_id,
        auth,
        base_url=base_url,
        **options,  # type: ignore[arg-type]
    )


# ---- connections that were idle for too long ----------------------------------------------------


async def test_an_idle_minute_makes_no_voice_call_unknown() -> None:
    """A server that drops connections once they were idle loses no voice call, and rings once."""
    numbers = [f"+1202555{last:04}" for last in range(100, 120)]
    async with (
        Sandbox() as sandbox,
        FaultProxy(sandbox.port, stale_when_reused) as proxy,
        client_of(sandbox, f"http://127.0.0.1:{proxy.port}") as client,
    ):
        sandbox.add(numbers)
        await client.get_number(numbers[0])
        for number in numbers:
            await client.send_voice_challenge(number)
            assert sandbox.world.rings(number) == 1
        # The kept connection was such a one all the while: whoever uses it is lost.
        with pytest.raises(TransportError) as lost:
            await client.get_number(numbers[0], retry=ONCE)
        assert lost.value.outcome is Outcome.UNKNOWN
        await client.get_number(numbers[0])


async def test_a_connection_that_was_seen_to_end_is_not_used_again() -> None:
    """A server that hung up while nobody asked costs no attempt."""
    async with (
        Sandbox() as sandbox,
        FaultProxy(sandbox.port) as proxy,
        client_of(sandbox, f"http://127.0.0.1:{proxy.port}") as client,
    ):
        sandbox.add([NUMBER])
        await client.get_number(NUMBER)
        before = count_descriptors()
        await proxy.hang_up()
        async with asyncio.timeout(5):
            while count_descriptors() > before - 2:  # both ends  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await client.get_number(NUMBER, retry=ONCE)
        assert proxy.connections == 2


# ---- TLS ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("brought", [False, True], ids=["own session", "brought session"])
@pytest.mark.parametrize("kind", CERTIFICATES)
async def test_a_certificate_that_is_no_good(kind: str, *, brought: bool) -> None:
    """It is a ConnectError, NOT_SENT, that names the certificate; the server saw no request."""
    async with (
        Sandbox() as sandbox,
        FaultProxy(sandbox.port, tls=CERTIFICATES[kind]) as proxy,
        aiohttp.ClientSession() as session,
        client_of(
            sandbox,
            f"https://localhost:{proxy.port}",
            session=session if brought else None,
            retry=ONCE,
        ) as client,
    ):
        with pytest.raises(ConnectError, match="certificate") as caught:
            await client.send_voice_challenge(NUMBER)
        assert caught.value.outcome is Outcome.NOT_SENT
        assert isinstance(caught.value.__cause__, aiohttp.ClientConnectorCertificateError)
        assert isinstance(caught.value.__cause__.certificate_error, ssl.SSLCertVerificationError)
        assert sandbox.calls.totals()["sendVoiceChallenge"] == 0


# ---- memory ------------------------------------------------------------------------------------

CLIENT = """
import asyncio, re, sys
from pathlib import Path
from sinch_qn import QualifiedNumbersClient, SinchError

def status(field):
    text = Path("/proc/self/status").read_text()
    return int(re.search(field + r":\\s+(\\d+) kB", text)[1]) * 1024

async def main():
    async with QualifiedNumbersClient.from_env() as client:
        await client.get_number("+12025550134")  # all is loaded, and there is a token
        Path("/proc/self/clear_refs").write_text("5")  # the peak is measured from here
        before = status("VmRSS")
        for _ in range(4):
            try:
                await client.get_number("+12025550134", timeout=float(sys.argv[1]))
            except SinchError as error:
                print(type(error).__name__, end=" ")
        print(status("VmHWM") - before)

asyncio.run(main())
"""


async def peak(environment: Mapping[str, str], deadline: float) -> tuple[set[str], int]:
    """Return the errors that four calls raise in a process of their own, and its memory's peak."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", CLIENT, str(deadline)),
        env={**environment, "PATH": os.environ["PATH"]},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    *raised, grown = out.decode().split()
    return set(raised), int(grown)


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("fault", [Fault.endless, Fault.gzip_bomb])
async def test_a_hostile_body_costs_little_memory(fault: type[Fault]) -> None:
    """Bodies without end and gzip bombs, four in a row, cost less than 20 MB."""
    async with Sandbox() as sandbox:
        sandbox.add([NUMBER])
        make = getattr(Fault, fault.__name__)
        sandbox.faults.add(make(after=1), operation="getQualifiedNumber")
        raised, grown = await peak(sandbox.environment(), 30.0)
        assert raised == {"InvalidResponseError"}
        assert grown < 20 * MEGABYTE


async def endless_headers(exchange: Exchange) -> None:
    """Send headers until the client hangs up."""
    await exchange.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await exchange.send(b"X-A: b\r\n" * 1000)


async def endless_slices(exchange: Exchange) -> None:
    """Send a body in chunks of one byte until the client hangs up."""
    await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await exchange.send(b"1\r\n \r\n" * 1000)


async def endless_continues(exchange: Exchange) -> None:
    """Say that the answer will come, until the client hangs up."""
    while True:
        await exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize(
    ("move", "error"),
    [
        (endless_headers, "InvalidResponseError"),
        (endless_slices, "DeadlineExceededError"),
        (endless_continues, "DeadlineExceededError"),
    ],
)
async def test_an_endless_answer_costs_little_memory(move: Move, error: str) -> None:
    """Headers, one-byte chunks and interim answers without end cost less than 20 MB too."""
    moves = iter([forward])

    async def forward_first(exchange: Exchange) -> None:
        await next(moves, move)(exchange)

    async with Sandbox() as sandbox, FaultProxy(sandbox.port, forward_first) as proxy:
        sandbox.add([NUMBER])
        there = {"SINCH_BASE_URL": f"http://127.0.0.1:{proxy.port}"}
        raised, grown = await peak({**sandbox.environment(), **there}, 0.5)
        assert raised == {error}
        assert grown < 20 * MEGABYTE


@pytest.mark.parametrize(
    "fault",
    [Fault.endless(), Fault.status(400), Fault.status(503), Fault.dropped(), Fault.redirect()],
    ids=lambda fault: fault.kind,
)
async def test_an_error_that_is_let_go_of_is_gone(fault: Fault) -> None:
    """An error is in no cycle: what it holds is free without waiting for the garbage collector."""
    async with Sandbox() as sandbox, sandbox.client(retry=ONCE) as client:
        sandbox.add([NUMBER])
        sandbox.faults.add(fault)
        await asyncio.gather(client.get_number(NUMBER), return_exceptions=True)
        gc.collect()
        gc.disable()
        try:
            try:
                await client.get_number(NUMBER)
            except SinchError as error:
                gone = weakref.ref(error)
            assert gone() is None
        finally:
            gc.enable()


async def test_an_error_does_not_keep_the_body_that_was_refused() -> None:
    """Who collects errors does not collect 16 MiB with each."""
    async with Sandbox() as sandbox, sandbox.client() as client:
        sandbox.add([NUMBER])
        sandbox.faults.add(Fault.endless())
        with pytest.raises(errors.InvalidResponseError) as caught:
            await client.get_number(NUMBER)
        frames = [entry.frame.f_locals for entry in caught.traceback]
        held = [value for names in frames for value in names.values() if isinstance(value, list)]
        assert not any(isinstance(piece, bytes) for value in held for piece in value)


# ---- leaks -------------------------------------------------------------------------------------


def resident() -> int:
    """Return the memory of this process, in bytes."""
    gc.collect()
    return int(STATUS.read_text().partition("VmRSS:")[2].split()[0]) * 1024


def own_tasks() -> set[str]:
    """Return the tasks that are not of a connection of the sandbox."""
    names = {repr(task.get_coro()) for task in asyncio.all_tasks()}
    return {name for name in names if "RequestHandler" not in name}


async def fail_in_many_ways(sandbox: Sandbox, refused: int) -> None:
    """Use a client for everything that can go wrong in a moment."""
    async with sandbox.client(retry=RetryPolicy(max_attempts=2, base_delay=0.0)) as client:
        for _ in range(8):
            with suppress(SinchError):
                await client.get_number(NUMBER)
            with suppress(SinchError):
                await client.send_voice_challenge(NUMBER)
        with pytest.raises(errors.DeadlineExceededError):
            await client.get_number(NUMBER, timeout=0.0001)
    async with client_of(sandbox, f"http://127.0.0.1:{refused}", retry=ONCE) as client:
        with pytest.raises(ConnectError):
            await client.get_number(NUMBER)


@pytest.mark.slow
@needs_proc
async def test_many_clients_and_calls_leave_nothing() -> None:
    """Many clients and calls, most of which fail, leave no task, no file and no memory."""
    with Refusing() as refused:
        async with Sandbox() as sandbox:
            sandbox.add([NUMBER])
            sandbox.faults.add(Fault.dropped(every=3))
            sandbox.faults.add(Fault.status(500, every=4))
            sandbox.faults.add(Fault.truncated(every=5))
            for _ in range(30):
                await fail_in_many_ways(sandbox, refused)
            tasks, descriptors, memory = own_tasks(), count_descriptors(), resident()
            for _ in range(120):
                await fail_in_many_ways(sandbox, refused)
            async with asyncio.timeout(5):
                while count_descriptors() > descriptors:  # noqa: ASYNC110 - until they are closed
                    await asyncio.sleep(0.01)
            assert resident() - memory < 5 * MEGABYTE
            assert own_tasks() == tasks
