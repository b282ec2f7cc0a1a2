"""Laws of opening files: any text, also from a pipe; nothing else."""

from __future__ import annotations

import gzip
import os
import threading
import zipfile
from pathlib import Path

import pytest

from sinch_qn.parsing import GoodLine, InvalidFile, read_numbers

TEXT = "phone;city\n" + "".join(f"202555{n:04};Montréal\n" for n in range(1000, 1600))


def count(path: Path | str) -> int:
    """Return how many numbers are in a file."""
    return sum(isinstance(line, GoodLine) for line in read_numbers(path))


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"],
)
@pytest.mark.parametrize("size", [1, 600])
def test_the_encoding_is_found(tmp_path: Path, encoding: str, size: int) -> None:
    """UTF-8 and UTF-16 are read with and without a BOM, and the digits of old code pages."""
    path = tmp_path / "numbers.csv"
    path.write_bytes("".join(TEXT.splitlines(keepends=True)[: size + 1]).encode(encoding))
    assert count(path) == size


@pytest.mark.parametrize("first", [1, 2, 5000])
def test_a_pipe_loses_no_line(first: int) -> None:
    """A pipe, which can be read only once, gives all its lines, however they arrive."""
    reader, writer = os.pipe()

    def write() -> None:
        with os.fdopen(writer, "wb", buffering=0) as pipe:
            data = TEXT.encode()
            pipe.write(data[:first])
            pipe.write(data[first:])

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert count(f"/dev/fd/{reader}") == 600
    finally:
        thread.join()
        os.close(reader)


def test_other_files_are_refused_with_what_to_do(tmp_path: Path) -> None:
    """A workbook, a compressed or a binary file gives one error, and no lines."""
    path = tmp_path / "numbers.csv"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("xl/workbook.xml", TEXT)
    with pytest.raises(InvalidFile, match="an Excel workbook or a zip file: open it, and save"):
        count(path)
    path.write_bytes(gzip.compress(TEXT.encode()))
    with pytest.raises(InvalidFile, match="a compressed file: unpack it first"):
        count(path)
    path.write_bytes(TEXT.encode() + bytes(range(256)))
    assert count(path) >= 600, "only the beginning is checked"
    path.write_bytes(bytes(range(256)) + TEXT.encode())
    with pytest.raises(InvalidFile, match="a binary file"):
        count(path)
