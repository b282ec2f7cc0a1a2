"""The script in a process of its own, with the test at its keyboard."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sinch_qn.sandbox import Sandbox
from tests.support.codes import NUMBER, heard, misheard

SCRIPT = Path(__file__).parents[2] / "examples" / "one_number.py"
OTHER = "+12025550135"
NOT_ELIGIBLE, BLOCKED, LOST_ANSWER = "+12025559990", "+12025559995", "+12025559996"
DEADLINE = 20.0
"""Seconds; no step here takes two."""
PROMPT = b"cancel: "


class Terminal:
    """A running script: its keyboard and its screen."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process, self._keyboard, self._screen = process, process.stdin, process.stdout

    async def prompt(self) -> str:
        """Return the screen's text up to the prompt for a code."""
        return (await self._screen.readuntil(PROMPT)).decode()

    def type(self, text: str) -> None:
        """Type a line."""
        self._keyboard.write(f"{text}\n".encode())

    async def end(self) -> tuple[int, str]:
        """Return the exit code and the rest of the screen's text."""
        self._keyboard.close()
        screen = await self._screen.read()
        return await self.process.wait(), screen.decode()


@asynccontextmanager
async def script(sandbox: Sandbox, *arguments: str) -> AsyncIterator[Terminal]:
    """Start the script; kill it at the deadline."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", str(SCRIPT), *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **sandbox.environment()},
    )
    try:
        async with asyncio.timeout(DEADLINE):
            yield Terminal(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_script_adds_rings_and_verifies(sandbox: Sandbox) -> None:
    """A number that Sinch does not know is added, called once and verified by the typed code."""
    async with script(sandbox, NUMBER) as terminal:
        assert f"Calling {NUMBER}." in await terminal.prompt()
        terminal.type(misheard(sandbox))
        assert "rejected this code" in await terminal.prompt()
        terminal.type(heard(sandbox))
        assert await terminal.end() == (0, f"{NUMBER} is verified.\n")
    assert sandbox.calls.total("addQualifiedNumbers") == 1
    assert sandbox.world.rings(NUMBER) == 1


async def test_script_never_repeats_a_call_whose_answer_was_lost(sandbox: Sandbox) -> None:
    """After a call of unknown outcome the code verifies, and the phone rang once."""
    sandbox.add([LOST_ANSWER])
    async with script(sandbox, LOST_ANSWER) as terminal:
        assert "may be ringing and is not called again" in await terminal.prompt()
        terminal.type(heard(sandbox, LOST_ANSWER))
        assert (await terminal.end())[0] == 0
    assert sandbox.calls.count("sendVoiceChallenge", LOST_ANSWER) == 1


@pytest.mark.parametrize(
    ("number", "state", "status", "said"),
    [
        (NUMBER, "VERIFIED", 0, "is verified"),
        (NUMBER, "HOSTING_DONE", 0, "is verified"),
        (BLOCKED, "ELIGIBLE", 1, "is blocked"),
        (NUMBER, "VERIFICATION_BLOCKED", 1, "UnexpectedStateError"),
        (NOT_ELIGIBLE, "NOT_ELIGIBLE", 1, "UnexpectedStateError"),
        ("2025550134", None, 1, "InvalidRequestError"),
    ],
)
async def test_script_says_why_it_does_not_ring(
    sandbox: Sandbox, number: str, state: str | None, status: int, said: str
) -> None:
    """A verified number is success; a failure prints its reason and exits with 1."""
    if state:
        sandbox.add([number], state)
    async with script(sandbox, number) as terminal:
        code, screen = await terminal.end()
    assert (code, said in screen, "Traceback" in screen) == (status, True, False)


@pytest.mark.parametrize("wrong_code", ["failed", "rejected"])
async def test_script_stops_at_a_blocked_number(sandbox: Sandbox, wrong_code: Any) -> None:
    """The last wrong code ends the script, whichever way Sinch rejects it; so does no code."""
    sandbox.wrong_code, sandbox.max_attempts = wrong_code, 1
    sandbox.add([NUMBER, OTHER])
    async with script(sandbox, NUMBER) as terminal:
        await terminal.prompt()
        terminal.type(misheard(sandbox))
        code, screen = await terminal.end()
        assert (code, "is blocked" in screen) == (1, True)
    async with script(sandbox, OTHER) as terminal:
        await terminal.prompt()
        assert await terminal.end() == (1, "")


async def test_script_tells_how_it_is_used(sandbox: Sandbox) -> None:
    """Without a number the script prints its usage."""
    async with script(sandbox) as terminal:
        code, screen = await terminal.end()
    assert (code, "one_number.py +12025550134" in screen) == (1, True)
