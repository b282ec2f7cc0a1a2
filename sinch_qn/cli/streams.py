"""The standard streams, made safe before a command runs."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import TextIO


def prepare_standard_streams() -> None:
    """Open a closed stream on the null device, and escape text that an encoding lacks.

    Otherwise the next file that is opened, such as the journal, takes the stream's descriptor,
    and is written as if it were the stream.
    """
    for descriptor, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, mode, closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flush_standard_streams() -> None:
    """Flush the streams before the interpreter does, which exits with 120 if one is gone."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            discard_unwritten(stream)


def discard_unwritten(stream: TextIO) -> None:
    """Discard what *stream* cannot write: flushing it again at exit would print a traceback."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
