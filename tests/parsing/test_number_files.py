"""Laws of reading files of numbers as people have them."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinch_qn.parsing import BadLine, ColumnError, GoodLine, read_numbers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

N134, N135, N136 = "+12025550134", "+12025550135", "+12025550136"


def good(text: str, column: str | None = None) -> list[tuple[int, str]]:
    """Return line and number of the good lines of *text*."""
    lines = read_numbers(text.splitlines(keepends=True), column=column)
    return [(line.line, line.number.e164) for line in lines if isinstance(line, GoodLine)]


def bad(text: str, column: str | None = None) -> list[tuple[int, str]]:
    """Return line and reason of the bad lines of *text*."""
    lines = read_numbers(text.splitlines(keepends=True), column=column)
    return [(line.line, line.reason) for line in lines if isinstance(line, BadLine)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(delimiter: str) -> None:
    """Commas, semicolons, tabs and bars separate alike, with quotes or without."""
    rows = [["Name", "Phone"], ['"Doe, J;r"', "(202) 555-0134"], ["Al", f'"{N135}"']]
    text = "".join(delimiter.join(row) + "\r\n" for row in rows)
    assert good(text) == [(2, N134), (3, N135)]


@pytest.mark.parametrize(
    "heading",
    ["phone", "Phone Number", "TELEPHONE", "mobile-phone", "E164", "tel.", "Numbers", "cell no"],
)
def test_the_column_is_found_by_its_heading(heading: str) -> None:
    """The column is found by the usual headings, in any position."""
    assert good(f"id,{heading},note\n7,2025550134,x\n") == [(2, N134)]


def test_the_column_is_found_without_headings() -> None:
    """In a file without headings it is the column with a number; no line is lost."""
    assert good("Bob,2025550134\nAl,2025550135\n") == [(1, N134), (2, N135)]


@pytest.mark.parametrize("column", ["home phone", "Home-Phone", "2"])
def test_the_column_can_be_named(column: str) -> None:
    """`column` is a heading, in any case and spelling, or an index from 1."""
    assert good("Phone,Home Phone\n2025550134,2025550135\n", column) == [(2, N135)]


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("phone,mobile\n2025550134,2025550135\n", None),
        ("2025550134,2025550135\n", None),
        ("a,b\n1,2\n", None),
        ("phone,name\n2025550134,Al\n", "mobile"),
        ("2025550134,Al\n", "3"),
        ("2025550134,Al\n", "0"),
    ],
)
def test_an_ambiguous_column_is_an_error(text: str, column: str | None) -> None:
    """The column is never guessed: the error lists the columns."""
    with pytest.raises(ColumnError, match=r"1: '.*', 2: '"):
        good(text, column)


def test_a_bad_number_on_the_first_line_is_no_heading() -> None:
    """A bad number is reported, also on the first line."""
    assert bad("1-800-FLOWERS\n2025550134\n")[0][0] == 1
    assert bad("1.20256E+10\n2025550134\n")[0][0] == 1
    assert bad("202-555-013\n2025550134\n")[0][0] == 1
    assert good("Our numbers\n2025550134\n") == [(2, N134)]


def test_blank_lines_are_skipped_and_counted() -> None:
    """Blank lines and rows of empty cells are not errors, and count as lines."""
    text = "phone,name\n\n2025550134,Al\n,\n \n2025550135,Bo\n"
    assert good(text) == [(3, N134), (6, N135)]
    assert bad(text) == []


def test_a_row_without_its_number_is_reported() -> None:
    """A row without a number is reported with its other cells."""
    lines = list(read_numbers(["name,phone\n", "Al\n", "Bo,\n"]))
    assert lines == [BadLine(2, "Al", "no number here"), BadLine(3, "Bo", "no number here")]


def test_a_duplicate_names_the_first_line() -> None:
    """A repeated number, however written, is reported with the line that has it first."""
    lines = list(read_numbers([f"{N134}\n", f"{N135}\n", "(202) 555-0134\n"]))
    assert lines[2] == BadLine(3, "(202) 555-0134", "duplicate of line 1", duplicate_of=1)


def test_an_extension_after_a_comma_is_not_cut_off() -> None:
    """In a plain list one comma makes no columns: a number with an extension is not called."""
    text = "2025550134\n202-555-0135, ext 5\n2025550136\n"
    assert good(text) == [(1, N134), (3, N136)]
    assert bad(text)[0][1].startswith("extension 5")


def test_a_stray_quote_swallows_no_lines() -> None:
    """A quote that is never closed loses no line after it."""
    text = 'name,phone\n"Bob,2025550134\n"Al","2025550135"\nC,2025550136\n'
    assert good(text) == [(2, N134), (3, N135), (4, N136)]
    endless = 'name,phone\n"Bob,2025550134\n' + "".join(f"C,20255501{n}\n" for n in range(35, 99))
    assert len(good(endless)) == 65


def test_a_quoted_cell_may_span_lines() -> None:
    """An address of several lines is one row, on the line where it begins."""
    text = 'address,phone\n"1 Main St\nTown",2025550134\n5" pipe,2025550135\n'
    assert good(text) == [(2, N134), (4, N135)]


def test_a_ref_is_passed_through() -> None:
    """The cell of the `ref` column is passed through, for good lines and bad."""
    rows = ["chat 7;2025550134\n", ";2025550135\n", "chat 8;202555\n", "chat 9;2025550134\n"]
    lines = list(read_numbers(["Ref;Phone\n", *rows]))
    assert [line.ref for line in lines] == ["chat 7", None, "chat 8", "chat 9"]
    assert [isinstance(line, GoodLine) for line in lines] == [True, True, False, False]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_the_encoding_does_not_matter(tmp_path: Path, encoding: str) -> None:
    """Numbers are read in UTF-8 with or without a BOM, in UTF-16, and in old code pages."""
    path = tmp_path / "numbers.csv"
    path.write_bytes("phone;city\n2025550134;Montréal\n".encode(encoding))
    [line] = read_numbers(path)
    assert isinstance(line, GoodLine)
    assert (line.line, line.number.e164) == (2, N134)


@given(st.lists(st.text(alphabet=st.sampled_from('0123456789+,;"\n\t x')), max_size=30))
def test_no_file_breaks_the_reader(cells: list[str]) -> None:
    """Any content gives good lines, bad lines, blank lines or headings, or a column error."""
    text = "".join(cells)
    try:
        lines = list(read_numbers(text.splitlines(keepends=True)))
    except ColumnError:
        return
    assert all(line.line <= text.count("\n") + 1 for line in lines)


def test_a_path_may_be_text(tmp_path: Path) -> None:
    """A string is the path of a file; other iterables are lines, such as those of an upload."""
    path = tmp_path / "numbers.csv"
    path.write_text("phone\n\n2025550134\n202\n")
    assert list(read_numbers(str(path))) == list(read_numbers(path.read_text().splitlines()))
    with path.open() as lines:
        assert [line.line for line in read_numbers(lines)] == [3, 4]
    with pytest.raises(FileNotFoundError):
        list(read_numbers("no such file"))


def test_repeated_numbers_may_be_good_lines() -> None:
    """Without `find_duplicates` a repeated number is a good line again."""
    lines = list(read_numbers(["2025550134\n", "2025550134\n"], find_duplicates=False))
    assert [isinstance(line, GoodLine) for line in lines] == [True, True]


def test_a_file_is_streamed() -> None:
    """Memory holds about 100 bytes for each number, and nothing of its line."""

    def lines() -> Iterator[str]:
        for index in range(4_000):
            yield f"(202) 555-{index:04},{'x' * 1000}\n"

    tracemalloc.start()
    try:
        count = sum(isinstance(line, GoodLine) for line in read_numbers(lines()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 4_000
    assert peak < 1_500_000
