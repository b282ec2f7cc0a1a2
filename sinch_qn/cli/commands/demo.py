"""`sinch-qn demo`: a run on made-up numbers and the embedded sandbox, killed and resumed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import tempfile
from collections import Counter, defaultdict
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import click
import orjson

from sinch_qn.bulk import ChallengeState, SqliteJournal, recall, submit_code
from sinch_qn.bulk.report import what_to_do
from sinch_qn.cli.exit_codes import Exit
from sinch_qn.cli.options import file_lines
from sinch_qn.cli.output import Lines, say
from sinch_qn.errors import InvalidRequestError, JournalError
from sinch_qn.parsing import BadLine, GoodLine
from sinch_qn.sandbox import Sandbox

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Iterator, Sequence

    from sinch_qn.bulk import Entry

REPORT: Final = "demo-report.html"

_LETTER: Final = "loa.json"
_LOA: Final = {
    "directLoaInfo": {
        "authorisedPerson": {"firstName": "Ada", "lastName": "Example", "email": "ada@example.com"},
        "address": {
            "buildingNumber": "1",
            "street": "Main Street",
            "city": "Washington",
            "state": "DC",
            "postalCode": "20001",
            "country": "US",
        },
        "currentVoiceCarrier": "Example Telecom",
    }
}
_OPTIONS: Final = (
    "--demo --yes --add-missing --recheck 0.3 --rate 100 --max-ringing 80 --code-timeout 4"
    " --text-enable --service-plan-id demo --campaign-id demo --follow 10"
).split()

_FASTEST_ANSWER, _SLOWEST_ANSWER = 0.2, 1.5
"""Seconds that people here take to pick up and tell the code."""
_LOOK: Final = 0.05
"""Seconds between two looks at the phones."""
_CALLS: Final = 3
"""How often a person lets a phone ring before they give up."""
_OVER: Final = frozenset(
    {ChallengeState.VERIFIED, ChallengeState.SKIPPED, ChallengeState.BLOCKED, ChallengeState.FAILED}
)


def demo(path: Path | None, *, as_json: bool) -> None:
    """Take the numbers in *path*, or made-up ones, all the way; then say how each ended."""
    with tempfile.TemporaryDirectory(prefix="sinch-qn-demo-") as directory:
        if path is None:
            path = Path(directory, "numbers.csv")
            path.write_text("".join(made_up_lines()), encoding="utf-8")
        lines = list(file_lines(path))
        Path(directory, _LETTER).write_bytes(orjson.dumps(_LOA))
        journal = Path(directory, "run.db")
        numbers = [line.number.e164 for line in lines if isinstance(line, GoodLine)]
        asyncio.run(_demonstrate(path, journal, numbers))
        _show(SqliteJournal(journal).rows(), lines, as_json=as_json)
    say(f"The report: {Path(REPORT).absolute()}")


async def _demonstrate(path: Path, journal: Path, numbers: Sequence[str]) -> None:
    """Run against a sandbox whose people answer their phones."""
    settings: dict[str, Any] = {"eligibility_delay": 0.1, "loa_delay": 0.2, "hosting_delay": 0.3}
    async with Sandbox(latency=0.03, **settings) as sandbox:
        say(f"{len(numbers)} numbers, and a sandbox at {sandbox.base_url} that rings nobody.")
        people = People(sandbox, journal, numbers)
        answering = asyncio.create_task(people.answer())
        try:
            await _crash_and_resume(sandbox, path, journal, len(numbers))
        finally:
            answering.cancel()
            await asyncio.wait([answering])
        if not answering.cancelled():
            answering.result()
        people.tell()


async def _crash_and_resume(sandbox: Sandbox, path: Path, journal: Path, total: int) -> None:
    """Run it as a process of its own, kill -9 that in the middle, and start it again."""
    loa = str(journal.with_name(_LETTER))
    command = ["run", str(path), "--journal", str(journal), *_OPTIONS, "--loa", loa]
    command += ["--report", REPORT]
    async with _process(sandbox, command) as process:
        while process.returncode is None and _calls(sandbox) * 3 < total:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK / 10)
        if process.returncode is None:
            process.kill()
        _check(await process.wait(), -signal.SIGKILL)
    if sys.stderr.isatty():
        click.echo("\x1b[?25h", err=True)  # the killed one had hidden the cursor
    say(f"kill -9 after {_calls(sandbox)} calls. The same command goes on:")
    async with _process(sandbox, command) as process:
        _check(await process.wait())


def _check(code: int, *fine: int) -> None:
    """End with the run's own exit code; that some need a person is no failure of the demo."""
    if code not in (Exit.OK, Exit.FAILED, *fine):
        raise click.exceptions.Exit(code)


def _calls(sandbox: Sandbox) -> int:
    return sandbox.calls.total("sendVoiceChallenge")


@asynccontextmanager
async def _process(sandbox: Sandbox, command: Sequence[str]) -> AsyncIterator[Process]:
    """Start our own command against *sandbox*; it does not outlive this."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sinch_qn.cli", *command),
        env={**os.environ, **sandbox.environment()},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@attrs.define(eq=False)
class People:
    """Those who answer the phones, and hand in what they hear: from another process than the run.

    One who misses a call, or whose code was wrong, asks for another; so does one whose phone did
    not ring although the run cannot be sure of it.
    """

    sandbox: Sandbox
    path: Path
    numbers: Sequence[str]
    _seen: Counter[str] = attrs.field(init=False, factory=Counter)
    """Calls that somebody has attended to."""
    _asked: Counter[str] = attrs.field(init=False, factory=Counter)
    """Further calls that somebody asked for."""

    async def answer(self) -> None:
        """Attend to every phone, until cancelled."""
        journal = SqliteJournal(self.path)
        while not await self._open(journal):  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(_LOOK)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._look_for_silent(journal))
                while True:
                    for number in self.numbers:
                        calls = self.sandbox.calls.count("sendVoiceChallenge", number)
                        if calls > self._seen[number]:
                            self._seen[number] = calls
                            group.create_task(self._attend(journal, number))
                    await asyncio.sleep(_LOOK)
        finally:
            await journal.close()

    async def _open(self, journal: SqliteJournal) -> bool:
        try:
            await journal.open(None, running=False)
        except JournalError:  # not made yet
            return False
        return True

    async def _attend(self, journal: SqliteJournal, number: str) -> None:
        """Pick up, and tell the code; where there is none, or it is wrong, ask for a call."""
        await asyncio.sleep(random.uniform(_FASTEST_ANSWER, _SLOWEST_ANSWER))  # noqa: S311
        code = self.sandbox.code_for(number)
        if code is not None:
            await submit_code(journal, number, code)
        while (entry := await journal.get(number)) and entry.state not in _OVER:
            is_heard = code is None or not (entry.codes_waiting or not entry.codes_used)
            if is_heard and entry.state in (ChallengeState.AWAITING_CODE, ChallengeState.UNKNOWN):
                if self._seen[number] < (_CALLS if code else 2):
                    await self._ask_again(journal, number)
                return
            await asyncio.sleep(_LOOK)

    async def _look_for_silent(self, journal: SqliteJournal) -> None:
        """Ask for a call where the run was cut off before the phone rang."""
        while True:
            for entry in await asyncio.to_thread(list, journal.rows()):
                calls = self.sandbox.calls.count("sendVoiceChallenge", entry.number)
                if entry.state is ChallengeState.UNKNOWN and calls < entry.attempt:
                    await self._ask_again(journal, entry.number)
            await asyncio.sleep(10 * _LOOK)

    async def _ask_again(self, journal: SqliteJournal, number: str) -> None:
        try:
            await recall(journal, number)
        except InvalidRequestError:
            return  # it has moved on meanwhile
        self._asked[number] += 1

    def tell(self) -> None:
        """Say how often phones rang: never a second time unless somebody asked."""
        rang = {number: self._rings(number) for number in self.numbers}
        twice = sum(rings > 1 + self._asked[number] for number, rings in rang.items())
        say(
            f"{sum(map(bool, rang.values()))} phones rang; {len(self._asked)} of them again because"
            f" somebody asked, and {twice} without being asked."
        )

    def _rings(self, number: str) -> int:
        return self.sandbox.world.get(number).rings


def _show(entries: Iterator[Entry], lines: Sequence[GoodLine | BadLine], *, as_json: bool) -> None:
    """Print how the numbers ended, by outcome."""
    by_outcome: defaultdict[str, list[str]] = defaultdict(list)
    todo: dict[str, str] = {}
    for entry in entries:
        outcome = entry.state.value
        if entry.batch is not None and entry.remote is not None:
            outcome = entry.remote.name.lower()
        by_outcome[outcome].append(entry.number)
        todo.setdefault(outcome, what_to_do(entry) or "")
    for line in lines:
        if isinstance(line, BadLine) and line.duplicate_of:
            by_outcome["duplicate"].append(line.text)
    with Lines("OUTCOME", "NUMBERS", "SUCH AS", "NEXT", as_json=as_json) as table:
        for outcome, members in sorted(by_outcome.items(), key=lambda item: -len(item[1])):
            record: dict[str, Any] = {"outcome": outcome, "count": len(members)}
            table.add(
                {**record, "numbers": members},
                *(outcome, len(members), members[0], todo.get(outcome, "")),
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
