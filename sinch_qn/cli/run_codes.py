"""The codes of a run: each line is submitted, and a growing file of them is followed."""

from __future__ import annotations

import asyncio
import codecs
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import attrs
import orjson

from sinch_qn.bulk import Submission, VoiceChallengeRun
from sinch_qn.cli.messages import note_typed
from sinch_qn.parsing import LostZeros, parse_code

_BLOCK_SIZE: Final = 1 << 20
"""Bytes read at once."""
_BATCH: Final = 200
"""Codes submitted together, so that they share a commit."""


@attrs.define(eq=False)
class CodeIntake:
    """Submits codes to a run, and reports invalid ones; it never shows a code."""

    run: VoiceChallengeRun
    notify: Callable[[str, str], None]
    """Shows a text of a kind, such as `warning`."""

    async def submit_line(self, text: str, where: str) -> None:
        """Submit the number and code of a line, such as `+12025550134 0417`."""
        where = f"{where}: " if where else ""
        try:
            number, code = parse_code(text)
            if not where:
                note_typed(number)
            submission = await self.run.submit_code(number, code)
        except ValueError as error:  # also an InvalidPhoneNumber, an InvalidRequestError
            self.notify(f"{where}{error}", "warning")
        else:
            if submission is Submission.DUPLICATE:
                self.notify(f"{where}{number}: this code was submitted before", "")


@attrs.define(eq=False)
class CodesFile:
    """A CSV file of numbers and codes that is read as lines are appended.

    Its offset is kept in a file beside the journal: a restart does not submit an old code as the
    code of a later call.
    """

    path: Path
    offset_path: Path
    intake: CodeIntake
    poll_interval: float = 0.25
    """Seconds."""
    partial_line_delay: float = 2.0
    """Seconds until a warning about a last line without its newline."""
    _offset: int = 0
    _line: int = 0
    _lost_zeros: LostZeros = attrs.field(init=False, factory=LostZeros)
    _last_warning: str = ""
    _partial_line_at: int = 0
    """The end of a last line without its newline, as an offset."""
    _partial_line_since: float = 0.0

    async def follow(self) -> None:
        """Submit the codes that are there and those that are appended, until cancelled."""
        await asyncio.to_thread(self._restore_offset)
        while True:
            lines = self._new_lines()
            while chunk := await asyncio.to_thread(list, islice(lines, _BATCH)):
                await asyncio.gather(*(self._submit(number, text) for number, text in chunk))
                await asyncio.to_thread(self._save_offset)
            await asyncio.sleep(self.poll_interval)

    def _new_lines(self) -> Iterator[tuple[int, str]]:
        """Yield the lines completed since the last poll, with their numbers."""
        try:
            if self.path.stat().st_size < self._offset:
                self._offset = self._line = 0
                self._warn("read from its start, because it is shorter than what was read before")
            with self.path.open("rb") as file:
                file.seek(self._offset)
                while block := file.read(_BLOCK_SIZE):
                    whole = block.rpartition(b"\n")[0]
                    if not whole and b"\n" not in block:
                        self._check_partial_line(len(block))
                        return
                    for line in whole.split(b"\n"):
                        self._offset += len(line) + 1
                        self._line += 1
                        text = line.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace")
                        yield self._line, text.strip()
                    file.seek(self._offset)
        except FileNotFoundError:
            self._warn("no such file yet; it is read once it exists")

    async def _submit(self, line: int, text: str) -> None:
        if not text or (line == 1 and not any(map(str.isdigit, text))):
            return  # blank, or headings
        if found := self._lost_zeros.check(text, line):
            self.intake.notify(f"{self.path}:{found[0]}: {found[1]}", "warning")
        await self.intake.submit_line(text, f"{self.path}:{line}")

    def _check_partial_line(self, size: int) -> None:
        """Warn of a last line without its newline: half a code would be a wrong code."""
        end = self._offset + size
        if end != self._partial_line_at:
            self._partial_line_at, self._partial_line_since = end, time.monotonic()
        elif time.monotonic() > self._partial_line_since + self.partial_line_delay:
            self._warn(f"line {self._line + 1} is incomplete: end it with a newline")

    def _warn(self, text: str) -> None:
        if text != self._last_warning:
            self._last_warning = text
            self.intake.notify(f"{self.path}: {text}", "warning")

    def _restore_offset(self) -> None:
        """Continue at the saved offset, if a line still ends there."""
        try:
            offset, line = orjson.loads(self.offset_path.read_bytes())[str(self.path.absolute())]
            with self.path.open("rb") as file:
                file.seek(offset - 1)
                if file.read(1) == b"\n":
                    self._offset, self._line = offset, line
        except (OSError, ValueError, LookupError, TypeError):
            return

    def _save_offset(self) -> None:
        try:
            offsets = orjson.loads(self.offset_path.read_bytes())
        except (OSError, ValueError):
            offsets = {}
        offsets[str(self.path.absolute())] = (self._offset, self._line)
        draft = self.offset_path.with_name(self.offset_path.name + ".new")
        draft.write_bytes(orjson.dumps(offsets))
        draft.replace(self.offset_path)
