"""Laws of the column of the numbers: found by heading and data, never by a guess between two."""

from __future__ import annotations

import pytest

from sinch_qn.parsing import Column, ColumnError, GoodLine, read_numbers

N134, N135 = "+12025550134", "+12025550135"


def chosen(text: str, column: str | None = None) -> str:
    """Return the column that the numbers of *text* are read from."""
    columns: list[Column] = []
    list(read_numbers(text.splitlines(keepends=True), column=column, on_column=columns.append))
    [found] = columns
    return str(found)


def lines_of(text: str) -> list[int]:
    """Return the lines of the good numbers of *text*."""
    lines = read_numbers(text.splitlines(keepends=True))
    return [line.line for line in lines if isinstance(line, GoodLine)]


@pytest.mark.parametrize(
    "heading",
    [
        *("DID", "TN", "ANI", "BTN", "CLI", "Caller ID", "Work Phone", "Phone (mobile)", "Phone 1"),
        *("Contact Number", "Telefon", "Primary Phone #", "Toll-free number", "WHO", "Kontakt"),
    ],
)
def test_the_data_say_which_column(heading: str) -> None:
    """Whatever its heading, a column of phone numbers is found among others; no line is lost."""
    text = f"Account,{heading},Since,ZIP\n1,unknown,2024-01-13,20001\n2,2025550135,,20002\n"
    assert chosen(text) == f"column 2, {heading!r}"
    assert lines_of(text) == [3]


def test_an_exact_heading_comes_first() -> None:
    """`Phone` is chosen before `Work Phone`, if its cells are numbers; a fax number never is."""
    assert chosen(f"Work Phone,Phone,Fax\n{N135},{N134},{N134}\n") == "column 2, 'Phone'"
    assert chosen(f"Number,DID\n7,{N134}\n8,{N135}\n") == "column 2, 'DID'"
    assert chosen(f"Phone,Fax\n202555,{N134}\n{N135},{N134}\n") == "column 1, 'Phone'"


@pytest.mark.parametrize(
    "text",
    [
        f"Home Phone,Work Phone\n{N134},{N135}\n",
        f"A,B\n{N134},{N135}\n",
        f"Phone,Contact me at\n1.20255E+10,{N135}\n",
        f"Name,Fax\nAda,{N134}\n",
        f"Name,Order ID\nAda,{N134}\n",
        f"Name,Notes\nAda,{N134}\n",
        f"{N134},{N135}\n",
    ],
)
def test_two_candidates_ask(text: str) -> None:
    """Where two columns fit, or none surely, the error lists them."""
    with pytest.raises(ColumnError, match=r"not clear: there are 1: '.*', 2: '"):
        chosen(text)


@pytest.mark.parametrize(
    ("headings", "column", "found"),
    [
        ("Phone,Phone #", "Phone #", 2),
        ("Phone (2),Phone 2", "Phone 2", 2),
        ("PHONE,phone", "phone", 2),
        ("PHONE,Mobile", "phone", 1),
        ("Phone,2", "2", 2),
        ("Phone,Mobile", "2", 2),
    ],
)
def test_a_column_is_named_exactly(headings: str, column: str, found: int) -> None:
    """The heading written so comes before others that are alike."""
    assert chosen(f"{headings}\n{N134},{N135}\n", column).startswith(f"column {found},")


@pytest.mark.parametrize("column", ["Phone", "phone", "#"])
def test_a_name_of_two_columns_asks(column: str) -> None:
    """One name of two columns is an error, and a name without letters is nobody's."""
    with pytest.raises(ColumnError):
        chosen(f"Phone,Phone\n{N134},{N135}\n", column)


@pytest.mark.parametrize(
    "titles",
    [
        "Customers 2026,,\n",
        "Our customers,,\n\nExported 2026-01-13 10:00,,\n",
        "Report,2026-01-13,\n",
        "Phone list,,\n",
    ],
)
@pytest.mark.parametrize("heading", ["Phone", "Whom"])
def test_titles_above_the_headings_are_skipped(titles: str, heading: str) -> None:
    """Titles are neither headings nor numbers, and count as lines."""
    if heading == "Whom" and titles.startswith("Report"):
        return  # a row like any other, unless the headings are known
    text = f"{titles}Name,{heading},Ref\nAda,{N134},x\nBo,555,y\n"
    assert chosen(text) == f"column 2, {heading!r}"
    rows = list(read_numbers(text.splitlines(keepends=True)))
    assert [row.ref for row in rows] == ["x", "y"]


def test_a_number_is_never_taken_for_a_title() -> None:
    """A number above a heading is read; a first row without its number is no heading."""
    assert lines_of(f"{N134}\nphone\n{N135}\n") == [1, 3]
    rows = list(read_numbers(["Ada,\n", f"Bo,{N135}\n"]))
    assert [(row.line, isinstance(row, GoodLine)) for row in rows] == [(1, False), (2, True)]
