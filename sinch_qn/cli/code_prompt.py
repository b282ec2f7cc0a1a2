"""The prompt for codes below a run's display."""

from __future__ import annotations

import asyncio
import codecs
import os
import re
import sys
import termios
import tty
from contextlib import suppress
from typing import Final

from sinch_qn.cli.run_codes import CodeIntake
from sinch_qn.cli.signals import in_foreground

_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z~]|O.)")


class CodePrompt:
    """A prompt for one number and code a line, shown below a live display."""

    def __init__(self, *, live: bool) -> None:
        self.text = ""
        """The line that is being typed."""
        self._live = live
        self._fd = sys.stdin.fileno()
        self._lines: asyncio.Queue[str] = asyncio.Queue()
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._reading = False
        self._terminal_settings: list[object] | None = None

    def resume(self) -> None:
        """Read the terminal; the process is in its foreground."""
        if self._reading:
            return
        self._reading = True
        if self._live:  # the display shows the line; the terminal's echo would garble it
            with suppress(termios.error):
                self._terminal_settings = termios.tcgetattr(self._fd)
                tty.setcbreak(self._fd, termios.TCSANOW)
        asyncio.get_running_loop().add_reader(self._fd, self._read)

    def pause(self) -> None:
        """Leave the terminal to others, as it was."""
        if not self._reading:
            return
        self._reading = False
        asyncio.get_running_loop().remove_reader(self._fd)
        if self._terminal_settings is not None and in_foreground():
            with suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSANOW, self._terminal_settings)  # type: ignore[arg-type]

    async def follow(self, intake: CodeIntake) -> None:
        """Submit each line, until cancelled."""
        while True:
            line = await self._lines.get()
            await intake.submit_line(line, "")

    def _read(self) -> None:
        try:
            data = os.read(self._fd, 4096)
        except OSError:  # in the background now, or the terminal is gone
            data = b""
        if not data:  # also Ctrl-D: the end of input
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
