"""Laws of rows: CSV is read as CSV, and a stray quote spoils only its own record."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinch_qn.parsing import BadLine, GoodLine, read_numbers
from sinch_qn.parsing.rows import read_rows

PEOPLE = [f"+1202555013{digit}" for digit in range(6)]
STRANGER = "202-555-0199"

_notes = st.text(
    st.one_of(st.sampled_from('\n\r,;"|\t 5'), st.characters(codec="utf-8", exclude_categories=[])),
    max_size=30,
).map(lambda text: text.replace("\x00", ""))


def written(*rows: list[str], delimiter: str = ",") -> list[str]:
    """Return the lines of a CSV file as a program writes it."""
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(rows)
    file.seek(0)
    return list(file)


def read(lines: list[str]) -> tuple[list[str], list[int]]:
    """Return the good numbers of CSV lines, and the lines that are bad."""
    rows = list(read_numbers(lines))
    good = [row.number.e164 for row in rows if isinstance(row, GoodLine)]
    return good, [row.line for row in rows if isinstance(row, BadLine)]


@given(st.lists(_notes, min_size=1, max_size=6), st.sampled_from(",;\t|"))
def test_a_quoted_note_is_never_a_number(notes: list[str], delimiter: str) -> None:
    """Whatever is in a note, the numbers are those that the csv module reads in the column."""
    rows = [[f"Ada {n}", PEOPLE[n], f"{note}\n{STRANGER}\n"] for n, note in enumerate(notes)]
    lines = written(["name", "phone", "notes"], *rows, delimiter=delimiter)
    assert [row.cells for row in read_rows(lines)] == [
        row for row in csv.reader(lines, delimiter=delimiter) if any(map(str.strip, row))
    ]
    assert read(lines) == (PEOPLE[: len(notes)], [])


@pytest.mark.parametrize("length", [5, 51, 300, 20_000])
def test_a_note_may_have_any_length(length: int) -> None:
    """A note of any number of lines is one cell, before the column of the numbers or after it."""
    note = f"call back\nalternative contact:\n{STRANGER}\n" * length
    first = written(["phone", "notes"], [PEOPLE[0], note], [PEOPLE[1], ""])
    last = written(["notes", "phone"], [note, PEOPLE[0]], ["", PEOPLE[1]])
    assert read(first) == read(last) == (PEOPLE[:2], [])


def test_a_note_with_quotes_that_are_not_doubled_rings_nobody() -> None:
    """The lines of a broken note are bad lines, up to the next whole row."""
    lines = [
        "phone,name,notes\n",
        f'{PEOPLE[0]},Ada,"said "call me"\n',
        f"{STRANGER}\n",
        'bye"\n',
        f"{PEOPLE[1]},Bo,x\n",
        f'{PEOPLE[2]},"5"x,"y"\n',
        f"{PEOPLE[3]},Cy,z\n",
    ]
    assert read(lines) == ([PEOPLE[0], PEOPLE[1], PEOPLE[2], PEOPLE[3]], [3, 4])


@pytest.mark.parametrize("after", [1, 40, 500])
def test_a_quote_that_is_never_closed_spoils_its_own_line_only(after: int) -> None:
    """No line after a stray quote is lost, however many there are."""
    lines = ["name,phone\n", f'"Ada,{PEOPLE[0]}\n']
    lines += [f"Bo,202555{1000 + index}\n" for index in range(after)]
    assert read(lines)[0] == [PEOPLE[0], *(f"+1202555{1000 + index}" for index in range(after))]


def test_rows_between_two_stray_quotes_are_not_lost() -> None:
    """Lines that two stray quotes made one cell are bad lines, each with its number and reason."""
    lines = [f'"Ada,{PEOPLE[0]}\n', f"Bo,{PEOPLE[1]}\n", f'Pipe 5",{PEOPLE[2]}\n']
    rows = list(read_numbers(["name,phone\n", *lines, f"Cy,{PEOPLE[3]}\n"]))
    assert [(row.line, isinstance(row, GoodLine)) for row in rows] == [
        (2, True),
        (2, False),
        (3, False),
        (5, True),
    ]
    bad = [row for row in rows if isinstance(row, BadLine)]
    assert [row.text for row in bad] == PEOPLE[:2]
    assert all("begin in line 2: is one of them stray?" in row.reason for row in bad)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 15)), max_size=3))
def test_stray_quotes_lose_no_number(strays: list[tuple[int, int]]) -> None:
    """Wherever stray quotes stand, each line's number is read, or is on a bad line."""
    lines = [f"Ada,{number},x\n" for number in PEOPLE]
    for index, at in strays:
        lines[index] = f'{lines[index][:at]}"{lines[index][at:]}'
    good, bad = read(["name,phone,notes\n", *lines])
    missing = [line for line, number in enumerate(PEOPLE, 2) if number not in good]
    assert set(missing) <= set(bad)
    assert set(good) <= set(PEOPLE)


def test_a_shifted_row_is_not_read() -> None:
    """A line whose quotes are wrong counts only if it has as many cells as the others."""
    lines = ["name,phone,size\n", f'"Doe, {STRANGER}",{PEOPLE[0]},"5"x"\n', f"B,{PEOPLE[1]},1\n"]
    assert read(lines) == ([PEOPLE[1]], [2])


def test_inch_marks_are_text() -> None:
    """A quote within a cell is text, also beside well quoted lines."""
    lines = [f'Pipe 5" Inc,{PEOPLE[0]}\n', f'"Doe, John", "{PEOPLE[1]}" \n', f'6",{PEOPLE[2]}\n']
    assert read(["name,phone\n", *lines]) == (PEOPLE[:3], [])


@pytest.mark.parametrize("first", ["sep=;\r\n", '"sep=;"\n', "\ufeffSEP=;\n"])
def test_excels_separator_line_is_no_row(first: str) -> None:
    """`sep=;` names the delimiter, and counts as a line."""
    rows = list(read_rows([first, "Name;Phone\r\n", f"Doe, J;{PEOPLE[0]}\r\n"]))
    assert [(row.line, row.cells) for row in rows] == [
        (2, ["Name", "Phone"]),
        (3, ["Doe, J", PEOPLE[0]]),
    ]
