"""Laws of the sources of a run's codes: a growing file, and a prompt."""

from __future__ import annotations

import asyncio
import codecs
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import cast

import orjson
import pytest

from sinch_qn.bulk import MemoryJournal, Submission, VoiceChallengeRun
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
        self.journal = MemoryJournal()

    async def submit_code(self, phone_number: str, code: str) -> Submission:
        """Accept a code, once."""
        if phone_number == STRANGER:
            raise InvalidRequestError("phone_number: not in this run")
        if (phone_number, code) in self.codes:
            return Submission.DUPLICATE
        self.codes.append((phone_number, code))
        return Submission.ACCEPTED

    @property
    def read_to(self) -> int:
        """The line of the bookmark."""
        lines = [orjson.loads(mark)["line"] for mark in self.journal._store.bookmarks.values()]
        return int(max(lines, default=0))

    def notify(self, text: str, kind: str) -> None:
        """Record a message."""
        self.messages.append(f"{kind}: {text}")

    @asynccontextmanager
    async def following(self, path: Path) -> AsyncIterator[None]:
        """Follow the file at *path*, as a process does."""
        intake = CodeIntake(cast("VoiceChallengeRun", self), self.notify)
        file = CodesFile(path, self.journal, intake, poll_interval=0.005, partial_line_delay=0.02)
        task = asyncio.create_task(file.follow())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
        with suppress(asyncio.CancelledError):
            task.result()

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
    """A file is read on from its bookmark, which is in the journal and holds no code."""
    await asyncio.to_thread(append, path, f"{ONE},1111\n{TWO},2222\n")
    async with recorder.following(path):
        await recorder.until(lambda: recorder.read_to == 2)
    [bookmark] = recorder.journal._store.bookmarks.values()
    assert orjson.loads(bookmark).keys() == {"offset", "line", "digest"}
    recorder.codes.clear()
    await asyncio.to_thread(append, path, f"{ONE},3333\n")
    async with recorder.following(path):
        await recorder.until(lambda: recorder.codes)
    assert recorder.codes == [(ONE, "3333")]
    assert recorder.messages == []
    assert [file.name for file in path.parent.iterdir()] == [path.name], "nothing beside it"


def replace(path: Path, text: str) -> None:
    """Put another file in the place of *path*, as an editor does."""
    draft = path.with_name("draft")
    draft.write_text(text)
    draft.replace(path)


@pytest.mark.parametrize("is_running", [True, False])
@pytest.mark.parametrize("change", [replace, Path.write_text])
@pytest.mark.parametrize(
    "text", [f"{TWO},4444\n", f"{ONE},1111\n{TWO},3333\n{TWO},4444\n", f"{TWO},4444\n" + "\n" * 99]
)
async def test_a_changed_file_is_read_from_its_start(
    recorder: Recorder,
    path: Path,
    *,
    text: str,
    change: Callable[[Path, str], object],
    is_running: bool,
) -> None:
    """A file that was replaced or rewritten, shorter or longer, loses no code."""
    await asyncio.to_thread(append, path, f"{ONE},1111\n{TWO},2222\n")
    async with recorder.following(path):
        await recorder.until(lambda: recorder.read_to == 2)
        if is_running:
            await asyncio.to_thread(change, path, text)
            await recorder.until(lambda: (TWO, "4444") in recorder.codes)
    if not is_running:
        await asyncio.to_thread(change, path, text)
        async with recorder.following(path):
            await recorder.until(lambda: (TWO, "4444") in recorder.codes)
    assert any("read from its start" in message for message in recorder.messages)


async def test_a_file_that_only_grew_is_read_on(recorder: Recorder, path: Path) -> None:
    """An editor replaces the file to append a line: the lines before it are not read again."""
    await asyncio.to_thread(append, path, f"{ONE},1111\n")
    async with recorder.following(path):
        await recorder.until(lambda: recorder.codes)
        await asyncio.to_thread(replace, path, f"{ONE},1111\n{TWO},2222\n")
        await recorder.until(lambda: len(recorder.codes) == 2)
    assert recorder.messages == []


async def test_the_end_of_a_rotated_file_is_read(recorder: Recorder, path: Path) -> None:
    """Lines that a writer appends just before or after a rotation are read, then the new file."""
    await asyncio.to_thread(append, path, f"{ONE},1111\n")
    old = path.with_name("codes.1")
    async with recorder.following(path):
        await recorder.until(lambda: recorder.codes)
        await asyncio.to_thread(_rotate, path, old)
        await recorder.until(lambda: (TWO, "3333") in recorder.codes)
    assert recorder.codes == [(ONE, "1111"), (TWO, "2222"), (TWO, "3333")]
    assert any("line 3 was incomplete when the file was re" in text for text in recorder.messages)


def _rotate(path: Path, old: Path) -> None:
    new = path.with_name("new")
    new.write_text(f"{TWO},3333\n")
    with path.open("a") as late:
        path.rename(old)
        late.write(f"{TWO},2222\n{ONE},44")
        late.flush()
        new.rename(path)


async def test_a_file_that_cannot_be_read_for_a_moment_ends_nothing(
    recorder: Recorder, path: Path
) -> None:
    """A file that vanishes, or is a folder or a workbook for a moment, is read once it is back."""
    await asyncio.to_thread(append, path, f"{ONE},1111\n")
    async with recorder.following(path):
        await recorder.until(lambda: recorder.codes)
        await asyncio.to_thread(path.unlink)
        await recorder.until(lambda: "no such file yet" in "".join(recorder.messages))
        await asyncio.to_thread(path.mkdir)
        await recorder.until(lambda: "cannot be read, and is tried" in "".join(recorder.messages))
        await asyncio.to_thread(path.rmdir)
        await asyncio.to_thread(path.write_bytes, b"PK\x03\x04" + bytes(99))
        await recorder.until(lambda: "an Excel workbook" in "".join(recorder.messages))
        await asyncio.to_thread(replace, path, f"{ONE},1111\n{TWO},2222\n")
        await recorder.until(lambda: len(recorder.codes) == 2)
    assert recorder.codes[1] == (TWO, "2222")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
async def test_a_file_of_codes_has_any_encoding(
    recorder: Recorder, path: Path, encoding: str
) -> None:
    """UTF-16 is read with and without a BOM, byte by byte, and on from its bookmark."""
    text = f"Number\tCode\r\n\u0a0a\t\u0a0a\r\n{ONE}\t0417\r\n"
    async with recorder.following(path):
        for byte in text.encode(encoding):
            await asyncio.to_thread(_append_bytes, path, bytes([byte]))
        await recorder.until(lambda: recorder.codes)
    more = f"{TWO}\t0418\r\n".encode(encoding.removesuffix("-sig"))
    await asyncio.to_thread(_append_bytes, path, more.removeprefix(codecs.BOM_UTF16))
    async with recorder.following(path):
        await recorder.until(lambda: len(recorder.codes) == 2)
    assert recorder.codes == [(ONE, "0417"), (TWO, "0418")]


def _append_bytes(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


async def test_codes_come_through_a_pipe(recorder: Recorder, path: Path) -> None:
    """One writer after the other; a line that a writer does not end is not read, and said."""
    await asyncio.to_thread(os.mkfifo, path)
    async with recorder.following(path):
        await asyncio.to_thread(path.write_text, f"number,code\n{ONE},11")
        await recorder.until(lambda: recorder.messages)
        await asyncio.to_thread(path.write_text, f"{TWO},2222\n")
        await recorder.until(lambda: recorder.codes)
    assert recorder.codes == [(TWO, "2222")]
    assert recorder.messages == [f"warning: {path}: line 2 is incomplete, and was not read"]
    assert recorder.journal._store.bookmarks == {}
