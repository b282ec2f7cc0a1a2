"""`sinch-qn demo`: the whole job on a list of made-up numbers, against the embedded sandbox."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from sinch_qn.cli.inputs import file_lines
from sinch_qn.cli.numbers_file import BadLine, GoodLine, read_lines
from sinch_qn.cli.output import Lines, say
from sinch_qn.cli.qualify import NOBODY_ANSWERED, OUTCOME_UNKNOWN, Job
from sinch_qn.models import Address, AuthorizedPerson, DirectLoaInfo
from sinch_qn.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOA: Final = DirectLoaInfo(
    authorised_person=AuthorizedPerson(
        first_name="Ada", last_name="Example", email="ada@example.com"
    ),
    address=Address(
        building_number="1",
        street="Main Street",
        city="Washington",
        state="DC",
        postal_code="20001",
        country="US",
    ),
    current_voice_carrier="Example Telecom",
)

_STEPS: Final = {
    "added": "Added",
    "rung": "Rung",
    "verified": "Verified",
    "ordered": "Ordered",
    "ended": "Ended",
}
_NEXT: Final = {
    "HOSTING_DONE": "ready for SMS",
    "HOSTING_FAILED": "ask Sinch why",
    "NOT_ELIGIBLE": "cannot be hosted",
    "VERIFICATION_BLOCKED": "prove it by invoices: orders@sinch.com",
    "VERIFICATION_FAILED": "ring again, with somebody there",
    NOBODY_ANSWERED: "ring again, with somebody there",
    OUTCOME_UNKNOWN: "look before ringing again: sinch-qn get",
    "invalid": "correct the file",
    "duplicate": "nothing to do",
}
_FASTEST_ANSWER, _SLOWEST_ANSWER = 0.3, 2.0
"""Seconds that people here take to pick up and tell the code."""


async def demo(path: Path | None, *, as_json: bool) -> None:
    """Take the numbers in *path*, or made-up ones, all the way; then say how each ended."""
    lines = list(file_lines(path) if path else read_lines(made_up_lines()))
    bad = [line for line in lines if isinstance(line, BadLine)]
    numbers = [line.number for line in lines if isinstance(line, GoodLine)]
    for line in bad:
        say(f"line {line.line}: {line.text}: {line.reason}", "warning")
    async with (
        Sandbox(eligibility_delay=0.3, loa_delay=0.5, hosting_delay=1.0) as sandbox,
        sandbox.client() as client,
    ):

        async def hear(phone_number: str) -> str | None:
            await asyncio.sleep(random.uniform(_FASTEST_ANSWER, _SLOWEST_ANSWER))  # noqa: S311
            return sandbox.code_for(phone_number)

        say(f"{len(numbers)} numbers, and a sandbox at {sandbox.base_url} that rings nobody.")
        job = Job(client=client, hear=hear, service_plan_id="demo", campaign_id="demo", loa=_LOA)
        await _watch(job, asyncio.create_task(job.run(numbers)), len(numbers))
    _show(job.outcomes, bad, as_json=as_json)


async def _watch(job: Job, work: asyncio.Task[None], total: int) -> None:
    """Show how far *work* has come: bars on a terminal, else a line now and then."""
    console = Console(stderr=True)
    bars = Progress(
        TextColumn("{task.description:<9}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    tasks = {step: bars.add_task(name, total=total) for step, name in _STEPS.items()}
    with bars:
        while not work.done():
            await asyncio.wait([work], timeout=0.1 if console.is_terminal else 2.0)
            counts = {**job.counts, "ended": len(job.outcomes)}
            for step, task in tasks.items():
                bars.update(task, completed=counts.get(step, 0))
            if not console.is_terminal:
                say(", ".join(f"{step} {counts.get(step, 0)}" for step in _STEPS))
    work.result()


def _show(outcomes: dict[str, str], bad: list[BadLine], *, as_json: bool) -> None:
    by_outcome: dict[str, list[str]] = defaultdict(list)
    for number, outcome in outcomes.items():
        by_outcome[outcome].append(number)
    for line in bad:
        by_outcome["duplicate" if line.duplicate_of else "invalid"].append(f"line {line.line}")
    with Lines("OUTCOME", "NUMBERS", "SUCH AS", "NEXT", as_json=as_json) as lines:
        for outcome, members in sorted(by_outcome.items(), key=lambda item: -len(item[1])):
            lines.add(
                {"outcome": outcome, "count": len(members), "numbers": members},
                outcome,
                len(members),
                members[0],
                _NEXT.get(outcome, ""),
            )


_WRITTEN: Final = (
    "({}) 555-{}",
    "+1 {}-555-{}",
    "{}.555.{}",
    "1-{}-555-{}",
    "{}555{}",
    "+1{}555{}",
    '"+1 ({}) 555 {}"',
)
_AREA_CODES: Final = ("202", "212", "303", "312", "404", "416", "512", "604", "617", "713", "833")
_TROUBLE: Final = ("9990", "9992", "9993", "9994", "9995", "9996", "9997")
_STRAY: Final = {
    20: '"Corner Café, Georgetown",+1 202-555-0100,is there already',
    60: "Typo,(212) 555-013,a digit is missing",
    100: "Paris,+33 1 99 00 12 34,French",
    140: "Kingston,+1 876-555-0134,+1 but Jamaican",
    180: "Export,1.20256E+10,went through a spreadsheet",
    200: "",
    220: "Reception,(312) 555-0142 ext. 7,an extension",
    240: "Slogan,1-800-FLOWERS,letters",
    260: "Unplugged,(221) 555-0134,no such area code",
}


def made_up_lines() -> Iterator[str]:
    """Yield a list of customers as people have it; `examples/numbers.csv` is the same.

    All in the 555 exchange, which rings nobody. Those that end in 999 and a digit the sandbox
    gives trouble with: see docs/sandbox.md.
    """
    numbers = [(area, f"{last:04}") for last in range(100, 126) for area in _AREA_CODES]
    for index, last in enumerate(_TROUBLE):
        numbers.insert(40 * index + 7, (_AREA_CODES[index], last))
    rows = [
        f"Customer {index},{_WRITTEN[index % len(_WRITTEN)].format(*number)},"
        for index, number in enumerate(numbers, 1)
    ]
    for line, stray in _STRAY.items():
        rows.insert(line, stray)
    for row in ("Customer,Phone,Note", *rows):
        yield row + "\n"
