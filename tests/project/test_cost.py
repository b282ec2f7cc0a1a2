"""The cost of one warm call, in counts that do not depend on the machine's load.

`make check` runs this; `python -m pytest -s tests/project/test_cost.py` prints the counts.
`make bench` measures time.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

import sinch_qn
from sinch_qn import OAuth2, QualifiedNumbersClient

CEILINGS = {
    "Python functions of sinch_qn": 40,
    "Python functions": 163,
    "functions in C": 108,
    "steps of the event loop": 2,
}
"""Calls and resumptions of one `get_number`, with the pins of requirements.txt on Python 3.11.

A commit that raises one gives its reason. Lower them when calls get cheaper.
"""

OURS = str(Path(sinch_qn.__file__).parent)
NUMBER = "+12025550134"

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_BODIES = {
    b"POST": b'{"access_token":"a","expires_in":3600}',
    b"GET ": b'{"phoneNumber":"+12025550134","projectId":"p","regionCode":"US",'
    b'"globalProcessState":"GLOBAL_PROCESS_STATE_VERIFIED","osrEligibility":{"status":"DONE"},'
    b'"ownershipVerification":{"status":"DONE"},"hostedNumber":{"status":0},'
    b'"createdTime":"2019-08-24T14:15:22Z","updatedTime":"2019-08-24T14:15:22.123Z"}',
}


@pytest.fixture
def base_url() -> Iterator[str]:
    """Serve one connection in a thread that the counters of this one do not include."""

    def serve() -> None:
        request = bytearray(4096)
        connection, _ = listening.accept()
        with connection:
            while connection.recv_into(request):  # a small request arrives in one piece
                body = _BODIES[bytes(request[:4])]
                connection.sendall(_HEAD % len(body) + body)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(5)
    assert not thread.is_alive()


async def calls_of(client: QualifiedNumbersClient) -> Counter[tuple[str, str]]:
    """Return how often each function is called or resumed in one `get_number`."""
    called: Counter[tuple[str, str]] = Counter()

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            called[frame.f_code.co_filename, frame.f_code.co_qualname] += 1
        elif event == "c_call":
            called["C", ""] += 1

    sys.setprofile(profile)
    try:
        await client.get_number(NUMBER)
    finally:
        sys.setprofile(None)
    return called


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the ceilings are Python 3.11's")
async def test_a_warm_call_stays_below_the_ceilings(base_url: str) -> None:
    """One `get_number` needs no more calls and event-loop steps than the ceilings."""
    auth = OAuth2("key", "secret", token_url=base_url + "/oauth2/token")
    async with QualifiedNumbersClient("p", auth, base_url=base_url) as client:
        await client.get_number(NUMBER)  # acquires a token and opens a connection
        gc.disable()  # garbage collection is not part of a call
        try:
            # The minimum, to exclude occasional work of the interpreter.
            called = min([await calls_of(client) for _ in range(20)], key=Counter.total)
        finally:
            gc.enable()
    ours = {at: times for at, times in called.items() if at[0].startswith(OURS)}
    in_c = called["C", ""]
    costs = {
        "Python functions of sinch_qn": sum(ours.values()),
        "Python functions": called.total() - in_c,
        "functions in C": in_c,
        "steps of the event loop": called[asyncio.events.__file__, "Handle._run"],
    }
    print(costs)  # noqa: T201 - to lower a ceiling
    over = [
        f"{cost} {what}, {cost - CEILINGS[what]} more ({cost / CEILINGS[what] - 1:+.0%}) than "
        f"the ceiling of {CEILINGS[what]}"
        for what, cost in costs.items()
        if cost > CEILINGS[what]
    ]
    listed = sorted(
        f"{times:4} times {Path(file).stem}.{name}" for (file, name), times in ours.items()
    )
    advice = "If the cost is justified, raise CEILINGS and give the reason in the commit."
    assert not over, "\n".join(
        ["one get_number calls", *over, advice, "Of sinch_qn it calls", *listed]
    )
