"""The scenes of the docs' transcripts: what is there before the commands of a block run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import attrs

from sinch_qn import GlobalProcessState, QualifiedNumbersClient
from sinch_qn.bulk import ChallengeState, SqliteJournal, VoiceChallengeRun
from sinch_qn.sandbox import Sandbox

ONE, TWO, THREE = "+12025550134", "+12025550135", "+12025550136"
NOT_ELIGIBLE, LOST, CARRIER_FAILS = "+12025559990", "+12025559996", "+12025559989"


@attrs.frozen
class Scene:
    """What is there before the commands of a block, and how they end."""

    prepare: Callable[[Sandbox], None]
    """Called in the folder of the commands, with `SINCH_*` set."""
    until: str | None = attrs.field(default=None, kw_only=True)
    """If not None, a text of the line up to which each command runs, in a process of its own."""
    then: Callable[[Sandbox], None] | None = attrs.field(default=None, kw_only=True)
    """If not None, it is called at that line, and the command runs to its end."""


def _empty(_: Sandbox) -> None:
    """Have nothing."""


def _tutorial(sandbox: Sandbox) -> None:
    """Have the three numbers of the tutorial called, in this order."""
    numbers = ["+12025550160", "+12025550161", "+12025550162"]
    sandbox.add(numbers)
    _run(numbers)


def _file(sandbox: Sandbox) -> None:
    """Have a file of two numbers that are eligible, and a bad line."""
    sandbox.add([ONE, TWO])
    lines = f"phone,ref\n{ONE},Shop 1\n(202) 555-0135,Shop 2\n202-555-01,Shop 3\n"
    Path("numbers.csv").write_text(lines)


def _people(sandbox: Sandbox) -> None:
    """Have a file of two numbers that are eligible."""
    sandbox.add([ONE, TWO])
    Path("numbers.csv").write_text(f"{ONE}\n{TWO}\n")


def _list(_: Sandbox) -> None:
    """Have a file as a spreadsheet leaves it."""
    Path("numbers.csv").write_text(
        "phone,ref\n(202) 555-0134,Shop 1\n202.555.0135,Shop 2\n202-555-01,Shop 3\n"
        "+1 202 555 0134,Shop 4\n+1 416 555 0123,Shop 5\n"
    )


def _answer(sandbox: Sandbox) -> None:
    """Write the codes of both numbers into `codes.csv`."""
    codes = [f"{number},{sandbox.code_for(number)}\n" for number in (ONE, TWO)]
    Path("codes.csv").write_text("".join(codes))


def _status(sandbox: Sandbox) -> None:
    """Have a run with a number in each of the states that matter."""
    sandbox.add([ONE, TWO, LOST])
    sandbox.add([NOT_ELIGIBLE], GlobalProcessState.NOT_ELIGIBLE)
    _run([ONE, TWO, LOST, NOT_ELIGIBLE], verify=(sandbox, ONE))


def _on_request(sandbox: Sandbox) -> None:
    """Have a run on request of three numbers: one was called."""
    sandbox.add([ONE, TWO, THREE])
    _run([ONE, TWO, THREE], on_request=ONE)


def _invoices(_: Sandbox) -> None:
    """Have a file of 120 numbers, and an invoice."""
    lines = [f"+1202555{last:04}\n" for last in range(100, 220)]
    Path("numbers.csv").write_text("phone\n" + "".join(lines))
    Path("january.pdf").write_bytes(bytes(1_000_000))


def _verified(sandbox: Sandbox) -> None:
    """Have two numbers that are verified, and one of them fail at a carrier."""
    sandbox.add([ONE, CARRIER_FAILS], GlobalProcessState.VERIFIED)


def _run(
    numbers: Sequence[str],
    *,
    verify: tuple[Sandbox, str] | None = None,
    on_request: str | None = None,
) -> None:
    """Have a run call *numbers*, or only *on_request*; then verify one, if wanted."""
    asyncio.run(_call(numbers, verify, on_request))


async def _call(
    numbers: Sequence[str], verify: tuple[Sandbox, str] | None, on_request: str | None
) -> None:
    journal, is_waiting = SqliteJournal("run.db"), on_request is not None
    async with (
        QualifiedNumbersClient.from_env() as client,
        VoiceChallengeRun(
            client,
            journal,
            on_request=is_waiting,
            calls_per_second=100.0,
            concurrency=1,  # so that calls, and thus codes, keep their order
        ) as run,
    ):
        await run.add(numbers)
        if on_request is not None:
            await run.request_call(on_request)
        await _until(run, ChallengeState.PENDING, len(numbers) - 1 if is_waiting else 0)
        await _until(run, ChallengeState.CALLING, 0)
        if verify is not None:
            sandbox, number = verify
            await run.submit_code(number, sandbox.code_for(number) or "")
            await _until(run, ChallengeState.VERIFIED, 1)


async def _until(run: VoiceChallengeRun, state: ChallengeState, count: int) -> None:
    async with asyncio.timeout(30):
        while (await run.counts())[state] != count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


SCENES: Final = {
    "sandbox": Scene(_empty, until="Ctrl-C ends it."),
    "tutorial": Scene(_tutorial),
    "nothing": Scene(_empty),
    "list": Scene(_list),
    "run": Scene(_file, until="2 codes are awaited", then=_answer),
    "status": Scene(_status),
    "on-request": Scene(_on_request),
    "invoices": Scene(_invoices),
    "verified": Scene(_verified),
    "desk": Scene(_people, until="2 called on request"),
}
"""By the name in a mark."""
