"""What `sinch-qn demo` does: a run on made-up numbers and the sandbox, killed and resumed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import tempfile
from asyncio.subprocess import Process
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import click
import orjson

from sinch_qn.bulk import ChallengeState, Entry, SqliteJournal, recall, submit_code
from sinch_qn.bulk.report import what_to_do
from sinch_qn.cli.exit_codes import Exit
from sinch_qn.cli.jobs.run_state import print_orders, read_snapshot
from sinch_qn.cli.messages import print_message
from sinch_qn.cli.options import read_lines
from sinch_qn.cli.output import Lines
from sinch_qn.errors import InvalidRequestError, JournalError
from sinch_qn.models import HostingOrderState as OrderState
from sinch_qn.parsing import BadLine, GoodLine
from sinch_qn.sandbox import Sandbox

REPORT: Final = "demo-report.html"

_LOA_FILE: Final = "loa.json"
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
    " --text-enable --service-plan-id demo --campaign-id demo --follow 20"
).split()

_MIN_ANSWER_DELAY, _MAX_ANSWER_DELAY = 0.2, 1.5
"""Seconds until a person submits the code of a call."""
_SIGNATURE_DELAY: Final = 1.5
"""Seconds until letters are signed."""
_POLL_INTERVAL: Final = 0.05
"""Seconds."""
_MAX_CALLS: Final = 3
"""Calls after which a person gives up."""
_OVER: Final = frozenset(
    {ChallengeState.VERIFIED, ChallengeState.SKIPPED, ChallengeState.BLOCKED, ChallengeState.FAILED}
)


def demonstrate(path: Path | None, *, as_json: bool) -> None:
    """Run a file, or made-up numbers, against a sandbox, and print the outcomes."""
    with tempfile.TemporaryDirectory(prefix="sinch-qn-demo-") as directory:
        if path is None:
            path = Path(directory, "numbers.csv")
            path.write_text("".join(made_up_lines()), encoding="utf-8")
        lines = list(read_lines(path))
        Path(directory, _LOA_FILE).write_bytes(orjson.dumps(_LOA))
        journal = Path(directory, "run.db")
        numbers = [line.number.e164 for line in lines if isinstance(line, GoodLine)]
        asyncio.run(_demonstrate(path, journal, numbers))
        _show(SqliteJournal(journal).rows(), lines, as_json=as_json)
        if not as_json:
            print_orders(asyncio.run(read_snapshot(journal)))
    print_message(f"HTML report: {Path(REPORT).absolute()}")


async def _demonstrate(path: Path, journal: Path, numbers: Sequence[str]) -> None:
    """Run against a sandbox, with people who answer their phones."""
    settings: dict[str, Any] = {"eligibility_delay": 0.1, "loa_delay": None, "hosting_delay": 0.3}
    async with Sandbox(latency=0.03, **settings) as sandbox:
        print_message(f"{len(numbers)} numbers; the sandbox at {sandbox.base_url} calls nobody.")
        people = People(sandbox, journal, numbers)
        helpers = [asyncio.create_task(each) for each in (people.answer(), _sign(sandbox))]
        try:
            await _crash_and_resume(sandbox, path, journal, len(numbers))
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.wait(helpers)
        for helper in helpers:
            if not helper.cancelled():
                helper.result()
        people.print_summary()


async def _sign(sandbox: Sandbox) -> None:
    """Sign the letter of each order, as its recipient does, until cancelled."""
    while True:
        await asyncio.sleep(_SIGNATURE_DELAY)
        for order in list(sandbox.world.orders.values()):
            if order.state is OrderState.WAITING_FOR_LOA_SIGNATURE:
                sandbox.sign_loa(order.id)
                noun = "number" if len(order.phone_numbers) == 1 else "numbers"
                print_message(f"The letter for {len(order.phone_numbers)} {noun} is signed.")


async def _crash_and_resume(sandbox: Sandbox, path: Path, journal: Path, total: int) -> None:
    """Run `sinch-qn run` as a process, kill it halfway, and run it again."""
    loa = str(journal.with_name(_LOA_FILE))
    command = ["run", str(path), "--journal", str(journal), *_OPTIONS, "--loa", loa]
    command += ["--report", REPORT]
    async with _process(sandbox, command) as process:
        while process.returncode is None and _calls(sandbox) * 3 < total:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_INTERVAL / 10)
        if process.returncode is None:
            process.kill()
        _check(await process.wait(), -signal.SIGKILL)
    if sys.stderr.isatty():
        click.echo("\x1b[?25h", err=True)  # the killed process hid the cursor
    print_message(f"kill -9 after {_calls(sandbox)} calls. The same command resumes:")
    async with _process(sandbox, command) as process:
        _check(await process.wait())


def _check(code: int, *fine: int) -> None:
    """Exit with the code of the run, unless it only says that some numbers need attention."""
    if code not in (Exit.OK, Exit.FAILED, *fine):
        raise click.exceptions.Exit(code)


def _calls(sandbox: Sandbox) -> int:
    return sandbox.calls.total("sendVoiceChallenge")


@asynccontextmanager
async def _process(sandbox: Sandbox, command: Sequence[str]) -> AsyncIterator[Process]:
    """Start `sinch-qn` against *sandbox*, and kill it on exit."""
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
    """People who answer the phones and submit the codes, from another process than the run.

    They request another call if they miss one, if their code was wrong, or if the phone did not
    ring although the outcome of the call is unknown.
    """

    sandbox: Sandbox
    path: Path
    numbers: Sequence[str]
    _answered: Counter[str] = attrs.field(init=False, factory=Counter)
    """Calls by number."""
    _recalled: Counter[str] = attrs.field(init=False, factory=Counter)
    """Requests for another call, by number."""

    async def answer(self) -> None:
        """Answer every call, until cancelled."""
        journal = SqliteJournal(self.path)
        while not await self._open(journal):  # noqa: ASYNC110 - another process creates it
            await asyncio.sleep(_POLL_INTERVAL)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._recall_silent(journal))
                while True:
                    for number in self.numbers:
                        calls = self.sandbox.calls.count("sendVoiceChallenge", number)
                        if calls > self._answered[number]:
                            self._answered[number] = calls
                            group.create_task(self._answer_call(journal, number))
                    await asyncio.sleep(_POLL_INTERVAL)
        finally:
            await journal.close()

    async def _open(self, journal: SqliteJournal) -> bool:
        try:
            await journal.open(None, running=False)
        except JournalError:  # not created yet
            return False
        return True

    async def _answer_call(self, journal: SqliteJournal, number: str) -> None:
        """Submit the code of a call; request another call if there is none, or if it is wrong."""
        await asyncio.sleep(random.uniform(_MIN_ANSWER_DELAY, _MAX_ANSWER_DELAY))  # noqa: S311
        code = self.sandbox.code_for(number)
        if code is not None:
            await submit_code(journal, number, code)
        while (entry := await journal.get(number)) and entry.state not in _OVER:
            is_done = code is None or not (entry.codes_waiting or not entry.codes_used)
            if is_done and entry.state in (ChallengeState.AWAITING_CODE, ChallengeState.UNKNOWN):
                if self._answered[number] < (_MAX_CALLS if code else 2):
                    await self._recall(journal, number)
                return
            await asyncio.sleep(_POLL_INTERVAL)

    async def _recall_silent(self, journal: SqliteJournal) -> None:
        """Request a call where the run was killed before the phone rang."""
        while True:
            for entry in await asyncio.to_thread(list, journal.rows()):
                calls = self.sandbox.calls.count("sendVoiceChallenge", entry.number)
                if entry.state is ChallengeState.UNKNOWN and calls < entry.attempt:
                    await self._recall(journal, entry.number)
            await asyncio.sleep(10 * _POLL_INTERVAL)

    async def _recall(self, journal: SqliteJournal, number: str) -> None:
        try:
            await recall(journal, number)
        except InvalidRequestError:
            return  # its state changed meanwhile
        self._recalled[number] += 1

    def print_summary(self) -> None:
        """Print how many phones rang more than once, requested or not."""
        rang = {number: self._rings(number) for number in self.numbers}
        twice = sum(rings > 1 + self._recalled[number] for number, rings in rang.items())
        print_message(
            f"{sum(map(bool, rang.values()))} phones rang; {len(self._recalled)} of them again on"
            f" request, and {twice} without a request."
        )

    def _rings(self, number: str) -> int:
        return self.sandbox.world.get(number).rings


def _show(entries: Iterator[Entry], lines: Sequence[GoodLine | BadLine], *, as_json: bool) -> None:
    """Print the numbers by outcome."""
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
_MISBEHAVING: Final = ("9990", "9992", "9993", "9994", "9995", "9996", "9997", "9989")
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
    """Yield the lines of a list of customers, as people have it; `examples/numbers.csv` has them.

    All are in the 555 exchange, which calls nobody. Numbers that end in 999 and a digit misbehave
    in the sandbox: see docs/reference/sandbox.md.
    """
    numbers = [(area, f"{last:04}") for last in range(100, 126) for area in _AREA_CODES]
    for index, last in enumerate(_MISBEHAVING):
        numbers.insert(40 * index + 7, (_AREA_CODES[index], last))
    rows = [
        f"Customer {index},{_WRITTEN[index % len(_WRITTEN)].format(*number)},"
        for index, number in enumerate(numbers, 1)
    ]
    for line, stray in _STRAY.items():
        rows.insert(line, stray)
    for row in ("Customer,Phone,Note", *rows):
        yield row + "\n"
