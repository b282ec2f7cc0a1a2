"""What `sinch-qn demo --desk` does: a desk on a sandbox, with people, and a number for you."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final

from sinch_qn.bulk import ChallengeState, NewNumber, SqliteJournal, VoiceChallengeRun
from sinch_qn.cli.jobs.demo import made_up_lines
from sinch_qn.cli.messages import print_message
from sinch_qn.cli.signals import GracefulStop
from sinch_qn.desk import listen, serve_desk
from sinch_qn.errors import InvalidRequestError
from sinch_qn.parsing import BadLine, GoodLine, read_numbers
from sinch_qn.sandbox import Sandbox

YOURS: Final = "+12025550199"
_SITE: Final = 3
"""Numbers of one shop."""
_MAX_PEOPLE: Final = 120
_POLL_INTERVAL: Final = 0.2
"""Seconds."""
_RUSH: Final = 90.0
"""Seconds within which people ask for their calls."""
_NEVER, _WRONG = 0.08, 0.16
"""Shares of people who do not pick up, and of those (less the first) who mishear the code."""


def demonstrate_desk(path: Path | None) -> None:
    """Serve a desk on a sandbox until a signal comes; print its two addresses."""
    with tempfile.TemporaryDirectory(prefix="sinch-qn-demo-") as directory:
        asyncio.run(_demonstrate(path, Path(directory, "demo.db")))


async def _demonstrate(path: Path | None, journal_path: Path) -> None:
    lines = list(read_numbers(made_up_lines() if path is None else path))
    numbers = list(_numbers(lines[:_MAX_PEOPLE]))
    journal = SqliteJournal(journal_path)
    async with AsyncExitStack() as stack:
        stop = stack.enter_context(GracefulStop())
        sandbox = await stack.enter_async_context(Sandbox(latency=0.05))
        sandbox.add([number.number for number in numbers if number.problem is None])
        client = await stack.enter_async_context(sandbox.client())
        run = await stack.enter_async_context(
            VoiceChallengeRun(client, journal, on_request=True, calls_per_second=20.0)
        )
        await run.add(numbers)
        desk = await stack.enter_async_context(
            serve_desk(client, journal, listen(), run=run, title="demo")
        )
        print_message(f"{len(numbers)} numbers; the sandbox calls nobody, and people answer.")
        print_message(f"Operator: {desk.operator_url}")
        print_message(f"Operators' secret: {desk.new_secret}")
        print_message(f"You: {await desk.person_url(YOURS)}")
        print_message("Ctrl-C ends it.")
        others = [each.number for each in numbers if each.problem is None]
        tasks = [asyncio.create_task(_be_person(run, sandbox, each)) for each in others[1:]]
        tasks.append(asyncio.create_task(_tell_code(sandbox)))
        await stop.requested.wait()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _numbers(lines: Sequence[GoodLine | BadLine]) -> Iterator[NewNumber]:
    """Yield your number, then those of *lines*, which belong to shops."""
    yield NewNumber(number=YOURS, ref="Your shop", line=0)
    for index, line in enumerate(lines):
        shop = f"Shop {index // _SITE + 1}"
        if isinstance(line, BadLine):
            if line.duplicate_of is not None:
                continue  # as `run` does
            yield NewNumber(number=line.text, ref=shop, line=line.line, problem=line.reason)
        elif line.number.e164 != YOURS:
            yield NewNumber(number=line.number.e164, ref=shop, line=line.line)


async def _be_person(run: VoiceChallengeRun, sandbox: Sandbox, number: str) -> None:
    """Ask for a call, and submit its code: a person beside a phone."""
    mood = random.random()  # noqa: S311 - a demo
    await asyncio.sleep(random.uniform(1.0, _RUSH))  # noqa: S311
    with suppress(InvalidRequestError):  # it cannot be called
        await run.request_call(number)
        while sandbox.code_for(number) is None:  # noqa: ASYNC110 - the phone is silent
            await asyncio.sleep(_POLL_INTERVAL)
        await asyncio.sleep(random.uniform(3.0, 12.0))  # noqa: S311
        if mood < _NEVER:
            return
        code = sandbox.code_for(number) or ""
        if mood < _WRONG:
            await run.submit_code(number, code[::-1])
            await asyncio.sleep(random.uniform(3.0, 8.0))  # noqa: S311
        entry = await run.result(number)
        if entry is not None and entry.state is not ChallengeState.VERIFIED:
            await run.submit_code(number, code)


async def _tell_code(sandbox: Sandbox) -> None:
    """Print the code of each call to your phone, which you would hear."""
    heard = 0
    while True:
        rings = sandbox.calls.count("sendVoiceChallenge", YOURS)
        if rings > heard and (code := sandbox.code_for(YOURS)) is not None:
            heard = rings
            print_message(f"Your phone rings. You hear: {' '.join(code)}")
        await asyncio.sleep(_POLL_INTERVAL)
