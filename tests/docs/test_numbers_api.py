"""The service over one client, in a real server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import uvicorn

from sinch_qn import GlobalProcessState
from sinch_qn.sandbox import Sandbox

NUMBER = "+12025550134"


@asynccontextmanager
async def served(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[aiohttp.ClientSession]:
    """Serve the app as uvicorn does, and open a session for it."""
    from examples import numbers_api  # noqa: PLC0415 - FastAPI takes a while to load

    for name, value in sandbox.environment().items():
        monkeypatch.setenv(name, value)
    numbers_api.metrics.calls.clear()
    server = uvicorn.Server(uvicorn.Config(numbers_api.app, log_config=None, access_log=False))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            timeout = aiohttp.ClientTimeout(total=20)
            async with aiohttp.ClientSession(url, timeout=timeout) as session:
                yield session
        finally:
            server.should_exit = True
            await serving


async def ask(session: aiohttp.ClientSession, path: str) -> tuple[int, Any]:
    """Return the status and the JSON of a response."""
    async with session.get(path) as answer:
        return answer.status, await answer.json()


async def test_models_errors_and_metrics_come_out(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models are returned as the API's JSON, errors with a masked number, calls are counted."""
    sandbox.add([NUMBER], GlobalProcessState.VERIFIED)
    async with served(sandbox, monkeypatch) as session:
        status, number = await ask(session, f"/numbers/{NUMBER}")
        assert (status, number["phoneNumber"]) == (200, NUMBER)
        assert await ask(session, "/numbers?state=VERIFIED") == (200, [number])
        status, problem = await ask(session, "/numbers/+12025550199")
        assert (status, problem["outcome"]) == (404, "rejected")
        assert "+1202•••0199" in problem["detail"]
        assert (await ask(session, "/numbers/hello"))[0] == 422
        _, counts = await ask(session, "/metrics")
        _, document = await ask(session, "/openapi.json")
    assert sum(counts.values()) == 3
    assert "QualifiedNumber" in document["components"]["schemas"]
