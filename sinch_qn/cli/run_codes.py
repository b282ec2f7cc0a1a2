"""The codes of a run at a terminal: typed at a prompt, or read from a growing file."""

from __future__ import annotations

import asyncio
import codecs
import os
import re
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final, Self

import attrs
import orjson

from sinch_qn.bulk import Submission, VoiceChallengeRun
from sinch_qn.parsing import LostZeros, parse_code
from sinch_qn.parsing.phone_numbers import ALL_REGIONS

_BLOCK_SIZE: Final = 1 << 20
"""Bytes read at once."""
_BATCH: Final = 200
"""Codes submitted together, so that they share a commit."""

_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z~]|O.)")


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
            number, code = parse_code(text, regions=ALL_REGIONS)
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


class CodePrompt:
    """A prompt below a live display, for one number and code a line.

    with CodePrompt(live=True) as prompt:
        await prompt.follow(intake)
    """

    def __init__(self, *, live: bool) -> None:
        self.text = ""
        """The line that is being typed."""
        self._live = live
        self._lines: asyncio.Queue[str] = asyncio.Queue()
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._terminal_settings: list[object] | None = None

    @staticmethod
    def is_possible() -> bool:
        """Is standard input a terminal with this process in its foreground?"""
        try:
            return sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
        except (OSError, ValueError):
            return False

    def __enter__(self) -> Self:
        self._fd = sys.stdin.fileno()
        if self._live:  # the display shows the line; the terminal's echo would garble it
            self._terminal_settings = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd)
        asyncio.get_running_loop().add_reader(self._fd, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        if self._terminal_settings is not None:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._terminal_settings)  # type: ignore[arg-type]

    async def follow(self, intake: CodeIntake) -> None:
        """Submit each line, until cancelled."""
        while True:
            line = await self._lines.get()
            await intake.submit_line(line, "")

    def _read(self) -> None:
        data = os.read(self._fd, 4096)
        if not data:  # Ctrl-D: the end of input
            asyncio.get_running_loop().remove_reader(self._fd)
        for char in _ESCAPES.sub("", self._decode(data)):
            self._type(char)

    def _type(self, char: str) -> None:
        if char in "\r\n":
            if self.text.strip():
                self._lines.put_nowait(self.text.strip())
            self.text = ""
        elif char in "\x7f\b":
            self.text = self.text[:-1]
        elif char == "\x15":  # Ctrl-U
            self.text = ""
        elif char.isprintable():
            self.text += char
