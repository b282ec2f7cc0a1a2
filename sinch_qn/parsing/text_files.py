"""Text files as people have them, from a disk or a pipe: UTF-8 or UTF-16, and nothing else."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

HEAD_SIZE: Final = 4096
"""Bytes that `detect_encoding` needs at most."""

_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose BOM it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_COMPRESSED: Final = "a compressed file: unpack it first"
_OTHER_FORMATS: Final = (
    (b"PK\x03\x04", "an Excel workbook or a zip file: open it, and save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook: open it, and save the sheet as CSV"),
    (b"\x1f\x8b", _COMPRESSED),
    (b"BZh", _COMPRESSED),
    (b"\xfd7zXZ\x00", _COMPRESSED),
    (b"7z\xbc\xaf", _COMPRESSED),
    (b"\x28\xb5\x2f\xfd", _COMPRESSED),
    (b"%PDF", "a PDF file: export the numbers as CSV"),
)


class InvalidFile(ValueError):  # noqa: N818 - named as `InvalidPhoneNumber` is
    """The file is no text: a workbook, a compressed or another binary file."""


def detect_encoding(head: bytes) -> str:
    """Return the encoding of a text file that begins with *head*.

    Raises `InvalidFile`, with what to do, for a file that is not text.
    """
    for bom, encoding in _BOMS:
        if head.startswith(bom):
            return encoding
    for magic, what in _OTHER_FORMATS:
        if head.startswith(magic):
            raise InvalidFile(f"this is {what}")
    if b"\x00" not in head:
        return "utf-8"
    # UTF-16 without a BOM: one byte of each digit and sign is zero, always the same one.
    half = len(head) // 2
    even, odd = head[::2].count(0), head[1::2].count(0)
    if odd > half * 0.6 and even < half * 0.1:
        return "utf-16-le"
    if even > half * 0.6 and odd < half * 0.1:
        return "utf-16-be"
    raise InvalidFile("this is a binary file: save the numbers as CSV")


@contextmanager
def open_text(path: Path) -> Iterator[io.TextIOWrapper]:
    """Open a text file of any encoding, also a pipe: it is opened once and read once.

    Bytes that are not of the encoding are replaced. Raises `InvalidFile` and `OSError`.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_SIZE)
        encoding = detect_encoding(head)
        whole = io.BufferedReader(_Joined(head, file))
        with io.TextIOWrapper(whole, encoding=encoding, errors="replace", newline="") as text:
            yield text


class _Joined(io.RawIOBase):
    """The bytes that were read from a file, then the rest of it."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        super().__init__()
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._head[: len(buffer)] or self._rest.read(len(buffer))
        self._head = self._head[len(data) :]
        buffer[: len(data)] = data
        return len(data)
