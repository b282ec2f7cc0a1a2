"""The service, in a real server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn

from sinch_qn import errors
from sinch_qn.bulk import SqliteJournal
from sinch_qn.sandbox import Sandbox
from tests.support.codes import NUMBER, heard, misheard

JAMAICA = "+18765550134"
DEADLINE = 20.0
"""Seconds; no step here takes two."""


@asynccontextmanager
async def service_of(
    sandbox: Sandbox, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[aiohttp.ClientSession]:
    """Serve the app as uvicorn does, and open a session for it."""
    from examples import service  # noqa: PLC0415 - FastAPI takes a while to load

    for name, value in sandbox.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JOURNAL", str(journal))
    server = uvicorn.Server(uvicorn.Config(service.app, log_config=None, access_log=False))
    # It listens from now on: the first request waits until the service has started.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            timeout = aiohttp.ClientTimeout(total=DEADLINE)
            async with aiohttp.ClientSession(url, timeout=timeout) as session:
                yield session
        finally:
            server.should_exit = True
            await serving


async def ask(
    session: aiohttp.ClientSession, method: str, path: str, body: object = None
) -> tuple[int, Any]:
    """Return the status and the JSON of a response."""
    async with session.request(method, path, json=body) as answer:
        return answer.status, await answer.json()


async def until(state: str, session: aiohttp.ClientSession, number: str = NUMBER) -> Any:
    """Poll a number, as a client would, until it is in *state*."""
    async with asyncio.timeout(DEADLINE):
        while True:
            status, standing = await ask(session, "GET", f"/numbers/{number}")
            if (status, standing.get("state")) == (200, state):
                return standing
            await asyncio.sleep(0.02)


async def test_service_verifies_a_number(
    sandbox: Sandbox, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number is added, called once and verified by its code: four HTTP requests."""
    sandbox.add([NUMBER])
    new = {"number": NUMBER, "ref": "ticket 7"}
    async with service_of(sandbox, journal, monkeypatch) as session:
        status, standing = await ask(session, "POST", "/numbers", new)
        assert (status, standing["ref"], standing["settled"]) == (202, "ticket 7", False)
        assert (await ask(session, "POST", "/numbers", new))[0] == 202, "twice is once"
        await until("awaiting_code", session)
        code = {"code": heard(sandbox)}
        assert (await ask(session, "POST", f"/numbers/{NUMBER}/code", code))[0] == 202
        standing = await until("verified", session)
        assert standing == {**new, "state": "verified", "settled": True, "calls": 1, "note": None}
        status, health = await ask(session, "GET", "/health")
        assert (status, health["verified"]) == (200, 1)
    assert sandbox.world.rings(NUMBER) == 1


async def test_service_recalls_and_survives_its_restart(
    sandbox: Sandbox, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recall calls once more; a code submitted after a restart verifies."""
    sandbox.add([NUMBER])
    async with service_of(sandbox, journal, monkeypatch) as session:
        await ask(session, "POST", "/numbers", {"number": NUMBER})
        await until("awaiting_code", session)
        status, standing = await ask(session, "POST", f"/numbers/{NUMBER}/recall")
        assert (status, standing["calls"]) == (202, 1)
        assert (await until("awaiting_code", session))["calls"] == 2
        wrong = {"code": misheard(sandbox)}
        assert (await ask(session, "POST", f"/numbers/{NUMBER}/code", wrong))[0] == 202
    async with service_of(sandbox, journal, monkeypatch) as session:
        code = {"code": heard(sandbox)}
        assert (await ask(session, "POST", f"/numbers/{NUMBER}/code", code))[0] == 202
        await until("verified", session)
    assert sandbox.world.rings(NUMBER) == 2


async def test_service_says_what_is_wrong_with_a_request(
    sandbox: Sandbox, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the caller is 404, 409 or 422 with a reason, and repeats no code."""
    sandbox.add([NUMBER], "VERIFIED")
    async with service_of(sandbox, journal, monkeypatch) as session:
        post = partial(ask, session, "POST")
        assert (await ask(session, "GET", f"/numbers/{NUMBER}"))[0] == 404
        assert (await post(f"/numbers/{NUMBER}/code", {"code": "0417"}))[0] == 404
        assert (await post(f"/numbers/{NUMBER}/recall"))[0] == 404
        assert (await ask(session, "GET", "/numbers/hello"))[0] == 422
        status, problem = await post("/numbers", {"number": JAMAICA})
        assert (status, problem["detail"][:22]) == (422, "not a number of US or ")
        assert (await post("/numbers", {"number": "2025550134"}))[0] == 422
        assert (await post("/numbers", {"number": NUMBER, "ref": "mine"}))[0] == 202
        assert (await post("/numbers", {"number": NUMBER, "ref": "yours"}))[0] == 409
        await until("skipped", session)
        for code in ("0417", "04 17", 417, None):
            status, problem = await post(f"/numbers/{NUMBER}/code", {"code": code})
            assert status == 422
            assert "17" not in problem["detail"]
        status, problem = await post(f"/numbers/{NUMBER}/recall")
        assert (status, "cannot be recalled" in problem["detail"]) == (422, True)
    assert sandbox.calls.total("sendVoiceChallenge") == 0


class FullDisk(SqliteJournal):
    """A journal whose disk is full."""

    async def add(self, entries: Any) -> int:  # noqa: ARG002 - of the journal's shape
        raise errors.JournalError("database or disk is full")


async def test_service_is_out_of_order_without_its_journal(
    sandbox: Sandbox, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the service is 503 without details, on /health too."""
    monkeypatch.setattr("examples.service.SqliteJournal", FullDisk)
    async with service_of(sandbox, journal, monkeypatch) as session:
        out_of_order = (503, {"detail": "out of order"})
        assert await ask(session, "POST", "/numbers", {"number": NUMBER}) == out_of_order
        assert await ask(session, "GET", "/health") == out_of_order
