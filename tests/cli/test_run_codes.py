"""Laws of the sources of a run's codes: a growing file, and a prompt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from sinch_qn.bulk import Submission, VoiceChallengeRun
from sinch_qn.cli.run_codes import CodeIntake, CodesFile
from sinch_qn.errors import InvalidRequestError

LOST_ZEROS = (
    "this code has 4 digits, line 5 has more. A spreadsheet drops leading zeros: format the column"
    " as text. Codes are submitted unchanged."
)
ONE, TWO, STRANGER = "+12025550100", "+12025550101", "+12025550199"


class Recorder:
    """A run that records the codes that are submitted, and the messages about them."""

    def __init__(self) -> None:
        self.codes: list[tuple[str, str]] = []
        self.messages: list[str] = []

    async def submit_code(self, phone_number: str, code: str) -> Submission:
        """Accept a code, once."""
        if phone_number == STRANGER:
            raise InvalidRequestError("phone_number: not in this run")
        if (phone_number, code) in self.codes:
            return Submission.DUPLICATE
        self.codes.append((phone_number, code))
        return Submission.ACCEPTED

    def notify(self, text: str, kind: str) -> None:
        """Record a message."""
        self.messages.append(f"{kind}: {text}")

    @asynccontextmanager
    async def following(self, path: Path) -> AsyncIterator[None]:
        """Follow the file at *path*, as a process does."""
        intake = CodeIntake(cast("VoiceChallengeRun", self), self.notify)
        offset_path = path.with_name("run.db.codes")
        file = CodesFile(path, offset_path, intake, poll_interval=0.005, partial_line_delay=0.02)
        task = asyncio.create_task(file.follow())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def until(self, is_so: Callable[[], object]) -> None:
        """Wait until *is_so*, for a while."""
        async with asyncio.timeout(10):
            while not is_so():  # noqa: ASYNC110 - files have no events
                await asyncio.sleep(0.001)


@pytest.fixture
def recorder() -> Recorder:
    """Return a run that records."""
    return Recorder()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a file of codes."""
    return tmp_path / "codes.csv"


def append(path: Path, text: str) -> None:
    """Append *text* to a file."""
    with path.open("a") as file:
        file.write(text)


async def test_a_growing_file_of_codes_is_followed(recorder: Recorder, path: Path) -> None:
    """Codes are submitted as lines end; warnings name the line; no code is shown."""
    async with recorder.following(path):
        await recorder.until(lambda: recorder.messages)
        await asyncio.to_thread(
            append, path, f"\ufeffnumber;code\n\n{ONE};0417;Ada\nhello\n{STRANGER};77777\n"
        )
        await recorder.until(lambda: len(recorder.messages) == 4)
        assert recorder.codes == [(ONE, "0417")]
        await asyncio.to_thread(append, path, '"(202) 555-0101";"04')
        await recorder.until(lambda: len(recorder.messages) == 5)
        assert recorder.codes == [(ONE, "0417")]
        await asyncio.to_thread(append, path, f'18"\n{ONE},0417\n')
        await recorder.until(lambda: len(recorder.messages) == 6)
    assert recorder.codes == [(ONE, "0417"), (TWO, "0418")]
    assert [message.replace(str(path), "PATH") for message in recorder.messages] == [
        "warning: PATH: no such file yet; it is read once it exists",
        "warning: PATH:4: expected a number and its code, such as +12025550134,0417",
        f"warning: PATH:3: {LOST_ZEROS}",
        "warning: PATH:5: phone_number: not in this run",
        "warning: PATH: line 6 is incomplete: end it with a newline",
        f": PATH:7: {ONE}: this code was submitted before",
    ]


async def test_a_restart_submits_no_old_code(recorder: Recorder, path: Path) -> None:
    """A file is read on from its saved offset, unless it was replaced by another."""
    await asyncio.to_thread(append, path, f"{ONE},1111\n{TWO},2222\n")
    async with recorder.following(path):
        await recorder.until(path.with_name("run.db.codes").exists)
    recorder.codes.clear()
    await asyncio.to_thread(append, path, f"{ONE},3333\n")
    async with recorder.following(path):
        await recorder.until(lambda: recorder.codes)
        await asyncio.to_thread(path.write_text, f"{TWO},4444\n")
        await recorder.until(lambda: len(recorder.codes) == 2)
    assert recorder.codes == [(ONE, "3333"), (TWO, "4444")]
    assert "read from its start" in recorder.messages[-1]
