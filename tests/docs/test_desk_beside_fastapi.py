"""The FastAPI service with a code desk beside it, in a real server."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import aiohttp
import pytest
import uvicorn

from sinch_qn.sandbox import Sandbox
from tests.support.runs import NUMBER


async def test_the_service_answers_with_a_link_that_opens(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link that the service returns is a page of the desk, which shows the number."""
    from examples import desk_beside_fastapi  # noqa: PLC0415 - FastAPI takes a while to load

    sandbox.add([NUMBER])
    for name, value in sandbox.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JOURNAL", str(tmp_path / "service.db"))
    monkeypatch.setenv("DESK_PORT", "0")
    config = uvicorn.Config(desk_beside_fastapi.app, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            async with aiohttp.ClientSession() as session:
                async with session.post(f"{url}/numbers/{NUMBER}") as response:
                    link = (await response.json())["link"]
                assert NUMBER.removeprefix("+1") not in link
                async with session.get(link) as page:
                    assert (page.status, "0134" in await page.text()) == (200, True)
        finally:
            server.should_exit = True
            await serving
