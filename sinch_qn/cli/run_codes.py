"""The codes of a run: each line is submitted, and a growing file of them is followed."""

from __future__ import annotations

import asyncio
import codecs
import hashlib
import io
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import attrs
import orjson

from sinch_qn.bulk import Submission, VoiceChallengeRun
from sinch_qn.bulk.journal import Journal
from sinch_qn.cli.messages import note_typed
from sinch_qn.parsing import InvalidFile, LostZeros, parse_code
from sinch_qn.parsing.text_files import HEAD_SIZE, detect_encoding
from sinch_qn.phone import ALL_REGIONS

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
            number, code = parse_code(text, regions=ALL_REGIONS)
            if not where:
                note_typed(number)
            submission = await self.run.submit_code(number, code)
        except ValueError as error:  # also an InvalidPhoneNumber, an InvalidRequestError
            self.notify(f"{where}{error}", "warning")
        else:
            if submission is Submission.DUPLICATE:
                self.notify(f"{where}{number}: this code was submitted before", "")


@attrs.frozen
class _Bookmark:
    """How far a file was read, and a digest of what is before that: is it still the same file?"""

    offset: int = 0
    line: int = 0
    digest: str = ""


@attrs.define(eq=False)
class CodesFile:
    """A file or a pipe of numbers and codes that is read as lines are appended.

    Its bookmark is kept in the journal: a restart does not submit an old code as the code of a
    later call. A file that was replaced, truncated or changed is read from its start, and what is
    left of the one before is read first. A file that cannot be read never ends the run.
    """

    path: Path
    journal: Journal
    intake: CodeIntake
    poll_interval: float = 0.25
    """Seconds."""
    partial_line_delay: float = 2.0
    """Seconds until a warning about a last line without its newline."""
    _mark: _Bookmark = attrs.field(init=False, factory=_Bookmark)
    _file: io.FileIO | None = None
    _lock: threading.Lock = attrs.field(init=False, factory=threading.Lock)
    """Held while the file is used: a cancelled read goes on in its thread."""
    _newline: bytes = b"\n"
    _encoding: str = ""
    _tail: bytes = b""
    """The end of what was read of a file."""
    _rest: bytes = b""
    """What a pipe gave of a line that is not complete."""
    _has_data: bool = False
    """Whether a line with digits was read: headings are above it."""
    _lost_zeros: LostZeros = attrs.field(init=False, factory=LostZeros)
    _last_warning: str = ""
    _partial_line_at: int = 0
    """The end of a last line without its newline, as an offset."""
    _partial_line_since: float = 0.0

    async def follow(self) -> None:
        """Submit the codes that are there and those that are appended, until cancelled."""
        name = await asyncio.to_thread(self._bookmark_name)
        self._restore(await self.journal.bookmark(name))
        saved = self._mark
        try:
            while True:
                lines = self._new_lines()
                while chunk := await asyncio.to_thread(self._take, lines):
                    await asyncio.gather(*(self._submit(number, text) for number, text in chunk))
                    if self._mark.digest and self._mark != saved:
                        saved = self._mark
                        mark = orjson.dumps(attrs.asdict(saved)).decode()
                        await self.journal.set_bookmark(name, mark)
                await asyncio.sleep(self.poll_interval)
        finally:
            with self._lock:
                self._close()

    def _bookmark_name(self) -> str:
        return "codes " + os.fsencode(self.path.absolute()).decode("utf-8", "backslashreplace")

    def _restore(self, saved: str | None) -> None:
        try:
            self._mark = _Bookmark(**orjson.loads(saved or "{}"))
        except (ValueError, TypeError):
            self._warn("read from its start, because its bookmark cannot be read")
        self._has_data = self._mark.offset > 0

    def _take(self, lines: Iterator[tuple[int, str]]) -> list[tuple[int, str]]:
        with self._lock:
            taken = list(islice(lines, _BATCH))
            if self._tail:
                self._mark = attrs.evolve(self._mark, digest=_digest(self._tail))
            return taken

    def _new_lines(self) -> Iterator[tuple[int, str]]:
        """Yield the lines completed since the last poll, with their numbers."""
        try:
            try:
                found = self.path.stat()
            except FileNotFoundError:
                yield from self._last_lines()
                self._warn("no such file yet; it is read once it exists")
                return
            if self._file and not os.path.samestat(found, os.fstat(self._file.fileno())):
                yield from self._last_lines()
            if self._file is None:
                self._file = io.FileIO(self.path, opener=_open)
                self._encoding = ""
            yield from self._read(self._file)
        except InvalidFile as error:
            self._warn(str(error))
            self._close()
        except OSError as error:
            self._warn(f"cannot be read, and is tried again: {error.strerror}")
            self._close()

    def _last_lines(self) -> Iterator[tuple[int, str]]:
        """Yield the rest of a file that was replaced or deleted."""
        if self._file is not None:
            yield from self._read(self._file)
            if self._rest or 0 < self._mark.offset < os.fstat(self._file.fileno()).st_size:
                self._warn(f"line {self._mark.line + 1} was incomplete when the file was replaced")
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self, file: io.FileIO) -> Iterator[tuple[int, str]]:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            yield from self._read_file(file)
        else:
            yield from self._read_pipe(file)

    def _read_file(self, file: io.FileIO) -> Iterator[tuple[int, str]]:
        if self._mark.offset:
            start = max(0, self._mark.offset - HEAD_SIZE)
            self._tail = os.pread(file.fileno(), self._mark.offset - start, start)
            if _digest(self._tail) != self._mark.digest:
                self._mark, self._tail, self._has_data = _Bookmark(), b"", False
                self._warn("read from its start, because it is not what was read before")
        while True:
            if not self._encoding or not self._mark.offset:
                self._detect(os.pread(file.fileno(), HEAD_SIZE, 0))
            block = os.pread(file.fileno(), _BLOCK_SIZE, self._mark.offset)
            lines = _split(block, self._newline)
            if not lines:
                self._check_partial_line(len(block))
                return
            for line in lines:
                whole = line + self._newline
                self._tail = (self._tail + whole)[-HEAD_SIZE:]
                self._mark = _Bookmark(self._mark.offset + len(whole), self._mark.line + 1)
                yield self._mark.line, self._decode(line)

    def _read_pipe(self, file: io.FileIO) -> Iterator[tuple[int, str]]:
        if self._mark.offset:  # it was a file when it was read last
            self._mark, self._tail, self._has_data = _Bookmark(), b"", False
        while (block := file.read(_BLOCK_SIZE)) is not None:  # None: a writer is silent
            if not block:
                if self._rest:  # nobody completes it: the next writer begins a line of its own
                    self._warn(f"line {self._mark.line + 1} is incomplete, and was not read")
                    self._rest = b""
                return
            self._rest += block
            if not self._encoding:
                self._detect(self._rest)
            lines = _split(self._rest, self._newline)
            self._rest = self._rest[sum(len(line) + len(self._newline) for line in lines) :]
            for line in lines:
                self._mark = _Bookmark(0, self._mark.line + 1)
                yield self._mark.line, self._decode(line)

    def _detect(self, head: bytes) -> None:
        encoding = detect_encoding(head).removesuffix("-sig")
        if encoding in ("utf-16", "utf-32"):  # with a BOM, which is part of the first line
            encoding += "-le" if head.startswith(codecs.BOM_UTF16_LE) else "-be"
        self._newline = "\n".encode(encoding)
        self._encoding = encoding if len(head) >= len(codecs.BOM_UTF32_LE) else ""

    def _decode(self, line: bytes) -> str:
        return line.decode(self._encoding or "utf-8", "replace").removeprefix("\ufeff").strip()

    async def _submit(self, line: int, text: str) -> None:
        self._last_warning = ""
        self._has_data = self._has_data or any(map(str.isdigit, text))
        if not text or not self._has_data:
            return  # blank, or headings
        if found := self._lost_zeros.check(text, line):
            self.intake.notify(f"{self.path}:{found[0]}: {found[1]}", "warning")
        await self.intake.submit_line(text, f"{self.path}:{line}")

    def _check_partial_line(self, size: int) -> None:
        """Warn of a last line without its newline: half a code would be a wrong code."""
        end = self._mark.offset + size
        if not size or end != self._partial_line_at:
            self._partial_line_at, self._partial_line_since = end, time.monotonic()
        elif time.monotonic() > self._partial_line_since + self.partial_line_delay:
            self._warn(f"line {self._mark.line + 1} is incomplete: end it with a newline")

    def _warn(self, text: str) -> None:
        if text != self._last_warning:
            self._last_warning = text
            self.intake.notify(f"{self.path}: {text}", "warning")


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe's writer is not waited for


def _digest(tail: bytes) -> str:
    return hashlib.sha256(tail).hexdigest()


def _split(data: bytes, newline: bytes) -> list[bytes]:
    """Return the complete lines of *data*; a newline of UTF-16 begins at an even byte."""
    if len(newline) == 1:
        return data.split(newline)[:-1]
    lines, start, at = [], 0, 0
    while (at := data.find(newline, at)) >= 0:
        if (at - start) % len(newline):
            at += 1
            continue
        lines.append(data[start:at])
        start = at = at + len(newline)
    return lines
