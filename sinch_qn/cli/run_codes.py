"""Codes on their way into a run: from a file that grows, or typed by a person."""

from __future__ import annotations

import asyncio
import codecs
import os
import re
import sys
import termios
import time
import tty
from itertools import islice
from typing import TYPE_CHECKING, Final, Self

import attrs
import orjson

from sinch_qn.bulk import Submission
from sinch_qn.parsing import LostZeros, parse_code

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sinch_qn.bulk import VoiceChallengeRun
    from sinch_qn.cli.run_display import Display

_LOOK: Final = 0.25
"""Seconds between two looks at the file."""
_PATIENCE: Final = 2.0
"""Seconds until an unfinished last line is told of."""
_PIECE: Final = 1 << 20
_AT_ONCE: Final = 200
"""Codes that go into the journal together."""

_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z~]|O.)")


@attrs.define(eq=False)
class Intake:
    """Hands codes to a run, and tells what is wrong with one; no code is ever told."""

    run: VoiceChallengeRun
    display: Display

    async def take(self, text: str, where: str) -> None:
        """Hand in one line, such as `+12025550134 0417`."""
        where = f"{where}: " if where else ""
        try:
            number, code = parse_code(text)
            submission = await self.run.submit_code(number, code)
        except ValueError as error:  # also an InvalidPhoneNumber, an InvalidRequestError
            self.display.tell(f"{where}{error}", "warning")
        else:
            if submission is Submission.DUPLICATE:
                self.display.tell(f"{where}{number}: this code was handed in before")


@attrs.define(eq=False)
class CodesFile:
    """A CSV of numbers and codes that is read as it grows; lines are added at its end.

    How far it was read is kept beside the journal: after a restart an old code is not taken for
    the code of a later call.
    """

    path: Path
    bookmark: Path
    intake: Intake
    _offset: int = 0
    _line: int = 0
    _lost_zeros: LostZeros = attrs.field(init=False, factory=LostZeros)
    _told: str = ""
    _stands_at: int = 0
    _stands_since: float = 0.0

    async def follow(self) -> None:
        """Hand in what is there and what comes, until cancelled."""
        await asyncio.to_thread(self._remember)
        while True:
            lines = self._new_lines()
            while chunk := await asyncio.to_thread(list, islice(lines, _AT_ONCE)):
                # At once, so that they share a commit.
                await asyncio.gather(*(self._take(number, text) for number, text in chunk))
                await asyncio.to_thread(self._set_bookmark)
            await asyncio.sleep(_LOOK)

    def _new_lines(self) -> Iterator[tuple[int, str]]:
        """Yield the lines that have come to their end since the last look, with their numbers."""
        try:
            if self.path.stat().st_size < self._offset:
                self._offset = self._line = 0
                self._tell_once("begins anew: it is shorter than what was read of it")
            with self.path.open("rb") as file:
                file.seek(self._offset)
                while piece := file.read(_PIECE):
                    whole = piece.rpartition(b"\n")[0]
                    if not whole and b"\n" not in piece:
                        self._note_unfinished(len(piece))
                        return
                    for line in whole.split(b"\n"):
                        self._offset += len(line) + 1
                        self._line += 1
                        text = line.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace")
                        yield self._line, text.strip()
                    file.seek(self._offset)
        except FileNotFoundError:
            self._tell_once("is not there yet: it is read once it is")

    async def _take(self, line: int, text: str) -> None:
        if not text or (line == 1 and not any(map(str.isdigit, text))):
            return  # blank, or headings
        if found := self._lost_zeros.check(text, line):
            self.intake.display.tell(f"{self.path}:{found[0]}: {found[1]}", "warning")
        await self.intake.take(text, f"{self.path}:{line}")

    def _note_unfinished(self, size: int) -> None:
        """Tell of a last line that does not end: half a code would be a wrong one."""
        stands_at = self._offset + size
        if stands_at != self._stands_at:
            self._stands_at, self._stands_since = stands_at, time.monotonic()
        elif time.monotonic() > self._stands_since + _PATIENCE:
            self._tell_once(f"line {self._line + 1} is not ended yet: it waits for its newline")

    def _tell_once(self, text: str) -> None:
        if text != self._told:
            self._told = text
            self.intake.display.tell(f"{self.path}: {text}", "warning")

    def _remember(self) -> None:
        """Go on where the last process stopped, if that is still the end of a line."""
        try:
            offset, line = orjson.loads(self.bookmark.read_bytes())[str(self.path.absolute())]
            with self.path.open("rb") as file:
                file.seek(offset - 1)
                if file.read(1) == b"\n":
                    self._offset, self._line = offset, line
        except (OSError, ValueError, LookupError, TypeError):
            return

    def _set_bookmark(self) -> None:
        try:
            bookmarks = orjson.loads(self.bookmark.read_bytes())
        except (OSError, ValueError):
            bookmarks = {}
        bookmarks[str(self.path.absolute())] = (self._offset, self._line)
        draft = self.bookmark.with_name(self.bookmark.name + ".new")
        draft.write_bytes(orjson.dumps(bookmarks))
        draft.replace(self.bookmark)


class Typed:
    """What a person types below a live display, one line after the other.

    with Typed(live=True) as typed:
        await typed.follow(intake)
    """

    def __init__(self, *, live: bool) -> None:
        self.text = ""
        """The line as far as it is typed."""
        self._live = live
        self._lines: asyncio.Queue[str] = asyncio.Queue()
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._before: list[object] | None = None

    @staticmethod
    def is_possible() -> bool:
        """Say whether a person sits there: a terminal, and this process in its foreground."""
        try:
            return sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
        except (OSError, ValueError):
            return False

    def __enter__(self) -> Self:
        self._fd = sys.stdin.fileno()
        if self._live:  # the display shows what is typed; the terminal would write into it
            self._before = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd)
        asyncio.get_running_loop().add_reader(self._fd, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        if self._before is not None:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)  # type: ignore[arg-type]

    async def follow(self, intake: Intake) -> None:
        """Hand in line by line, until cancelled."""
        while True:
            line = await self._lines.get()
            await intake.take(line, "")

    def _read(self) -> None:
        data = os.read(self._fd, 4096)
        if not data:  # Ctrl-D: nothing more comes
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
