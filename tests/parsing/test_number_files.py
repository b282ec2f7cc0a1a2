"""Laws of reading numbers as people write them, one by one and in files as people have them."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinch_qn.cli import as_written
from sinch_qn.cli.demo import made_up_lines
from sinch_qn.cli.numbers_file import BadLine, ColumnError, GoodLine, read_file, read_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

N134, N135, N136 = "+12025550134", "+12025550135", "+12025550136"


def good(text: str, column: str | None = None) -> list[tuple[int, str]]:
    """Return line and number of the good lines of *text*."""
    lines = read_lines(text.splitlines(keepends=True), column=column)
    return [(line.line, line.number.e164) for line in lines if isinstance(line, GoodLine)]


def bad(text: str, column: str | None = None) -> list[tuple[int, str]]:
    """Return line and reason of the bad lines of *text*."""
    lines = read_lines(text.splitlines(keepends=True), column=column)
    return [(line.line, line.reason) for line in lines if isinstance(line, BadLine)]


# ── One number ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    [
        "+12025550134",
        "(202) 555-0134",
        "+1 202-555-0134",
        "1-202-555-0134",
        "202.555.0134",
        "2025550134",
        " 202 555 0134\t",
        "1 (202) 555-0134",
        "011 1 202 555 0134",
        "+1\u00a0202\u2011555\u20110134",
        "\uff12\uff10\uff12 \uff15\uff15\uff15 \uff10\uff11\uff13\uff14",
        "'+12025550134",
        '="+12025550134"',
    ],
)
def test_people_write_a_number_in_many_ways(text: str) -> None:
    """However a person writes a US number, the same E.164 is read."""
    assert as_written.read(text) == as_written.Number(N134, "US", toll_free=False)


@pytest.mark.parametrize("number", ["+12025550134", "+12345612345", "+18335870229", "+18339460473"])
def test_the_reference_s_own_numbers_are_read(number: str) -> None:
    """Every example number of the API reference is a number here."""
    assert as_written.read(number).e164 == number


@pytest.mark.parametrize("area_code", ["202", "212", "907", "416", "604", "867", "800", "888"])
def test_reserved_numbers_are_read_in_every_area_code(area_code: str) -> None:
    """The numbers reserved for examples, 555-0100 to 555-0199, are not typos."""
    assert as_written.read(f"({area_code}) 555-0100").e164 == f"+1{area_code}5550100"
    assert as_written.read(f"({area_code}) 555-0199").e164 == f"+1{area_code}5550199"


def test_region_and_kind_are_told() -> None:
    """A Canadian number is CA, and a toll-free one is toll-free."""
    assert as_written.read("+1 416 555 0134").region == "CA"
    assert as_written.read("1-800-555-0134").toll_free
    assert not as_written.read("+1 808 555 0134").toll_free


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no number here"),
        ("()", "not a phone number"),
        ("n/a", "letters"),
        ("202-555-013", "too short: 9 digits; a US or CA number has 10"),
        ("20255501344", "too long: 11 digits"),
        ("555-0134", "no area code"),
        ("123-456-7890", "no such area code or exchange"),
        ("202-155-0134", "no such area code or exchange"),
        ("+33 6 12 34 56 78", "France (FR): only US and CA numbers can be qualified"),
        ("011 33 6 12 34 56 78", "France (FR): only US and CA numbers"),
        ("+44 20 7946 0018", "+44 (GB): only US and CA numbers"),
        ("+1 876 555 0134", "Jamaica (JM): only US and CA numbers can be qualified"),
        ("787-555-0134", "Puerto Rico (PR): only US and CA numbers"),
        ("1.20256E+10", "a spreadsheet turned this number into a decimal"),
        ("1,20256e10", "a spreadsheet turned this number into a decimal"),
        ("12025550134.0", "a spreadsheet turned this number into a decimal"),
        ("(202) 555-0134 x12", "extension 12"),
        ("202-555-0134 ext. 7", "extension 7"),
        ("+12025550134;ext=5", "extension 5"),
        ("1-800-FLOWERS", "letters in the number"),
        ("2O2-555-0134", "letters in the number"),
        ("2025550134,2025550135", "not a phone number"),
        ("202-555-0134 / 202-555-0135", "not a phone number"),
        ("1.1.2025550134", "not understood as one phone number"),
        (N134 * 1000, "not a phone number"),
    ],
)
def test_what_is_no_number_is_refused_with_its_reason(text: str, reason: str) -> None:
    """Nothing is guessed or repaired: a wrong guess rings a stranger."""
    with pytest.raises(as_written.RefusedNumber) as caught:
        as_written.read(text)
    assert reason in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_a_number_or_has_a_reason(text: str) -> None:
    """No text breaks the reader."""
    try:
        number = as_written.read(text)
    except as_written.RefusedNumber:
        return
    assert number.e164.startswith("+1")
    assert len(number.e164) == len(N134)


# ── Files ───────────────────────────────────────────────────────────────────────────────────────


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
    """The column of the numbers is known by what people call it, wherever it stands."""
    assert good(f"id,{heading},note\n7,2025550134,x\n") == [(2, N134)]


def test_the_column_is_found_without_headings() -> None:
    """In a file without headings the column with a number in it is the one; no line is lost."""
    assert good("Bob,2025550134\nAl,2025550135\n") == [(1, N134), (2, N135)]


@pytest.mark.parametrize("column", ["home phone", "Home-Phone", "2"])
def test_the_column_can_be_named(column: str) -> None:
    """`--column` is a heading, in any case and spelling, or an index from 1."""
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
def test_a_column_that_is_not_clear_is_asked_for(text: str, column: str | None) -> None:
    """Which column it is is never guessed: the error names the columns there are."""
    with pytest.raises(ColumnError, match=r"1: '.*', 2: '"):
        good(text, column)


def test_a_first_line_that_is_a_bad_number_is_not_taken_for_headings() -> None:
    """A bad number is reported, also on the first line."""
    assert bad("1-800-FLOWERS\n2025550134\n")[0][0] == 1
    assert bad("1.20256E+10\n2025550134\n")[0][0] == 1
    assert bad("202-555-013\n2025550134\n")[0][0] == 1
    assert good("Our numbers\n2025550134\n") == [(2, N134)]


def test_blank_lines_are_skipped_and_counted() -> None:
    """Blank lines and rows of empty cells are no errors, and do not shift the line numbers."""
    text = "phone,name\n\n2025550134,Al\n,\n \n2025550135,Bo\n"
    assert good(text) == [(3, N134), (6, N135)]
    assert bad(text) == []


def test_a_row_without_its_number_is_reported() -> None:
    """A row whose number is missing is reported with what it does say."""
    lines = list(read_lines(["name,phone\n", "Al\n", "Bo,\n"]))
    assert lines == [BadLine(2, "Al", "no number here"), BadLine(3, "Bo", "no number here")]


def test_a_duplicate_names_the_first_line() -> None:
    """A number that was there already, however written, is reported with the line that had it."""
    lines = list(read_lines([f"{N134}\n", f"{N135}\n", "(202) 555-0134\n"]))
    assert lines[2] == BadLine(3, "(202) 555-0134", "duplicate of line 1", duplicate_of=1)


def test_an_extension_after_a_comma_is_not_cut_off() -> None:
    """In a plain list a comma in one line makes no columns: who has an extension is not rung."""
    text = "2025550134\n202-555-0135, ext 5\n2025550136\n"
    assert good(text) == [(1, N134), (3, N136)]
    assert bad(text)[0][1].startswith("extension 5")


def test_a_stray_quote_swallows_no_lines() -> None:
    """A quote that is never closed costs no line after it."""
    text = 'name,phone\n"Bob,2025550134\n"Al","2025550135"\nC,2025550136\n'
    assert good(text) == [(2, N134), (3, N135), (4, N136)]
    endless = 'name,phone\n"Bob,2025550134\n' + "".join(f"C,20255501{n}\n" for n in range(35, 99))
    assert len(good(endless)) == 65


def test_a_quoted_cell_may_span_lines() -> None:
    """An address of several lines is one row, counted from where it begins."""
    text = 'address,phone\n"1 Main St\nTown",2025550134\n5" pipe,2025550135\n'
    assert good(text) == [(2, N134), (4, N135)]


def test_a_reference_comes_along() -> None:
    """What stands in the column `ref` is handed through with its line, be that good or bad."""
    rows = ["chat 7;2025550134\n", ";2025550135\n", "chat 8;202555\n", "chat 9;2025550134\n"]
    lines = list(read_lines(["Ref;Phone\n", *rows]))
    assert [line.ref for line in lines] == ["chat 7", None, "chat 8", "chat 9"]
    assert [isinstance(line, GoodLine) for line in lines] == [True, True, False, False]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_the_encoding_does_not_matter(tmp_path: Path, encoding: str) -> None:
    """UTF-8 with or without its mark, UTF-16 and the code pages of old: the numbers are read."""
    path = tmp_path / "numbers.csv"
    path.write_bytes("phone;city\n2025550134;Montréal\n".encode(encoding))
    [line] = read_file(path)
    assert isinstance(line, GoodLine)
    assert (line.line, line.number.e164) == (2, N134)


@given(st.lists(st.text(alphabet=st.sampled_from('0123456789+,;"\n\t x')), max_size=30))
def test_no_file_breaks_the_reader(cells: list[str]) -> None:
    """Whatever is in a file, each line is good, bad, blank or a heading."""
    text = "".join(cells)
    try:
        lines = list(read_lines(text.splitlines(keepends=True)))
    except ColumnError:
        return
    assert all(line.line <= text.count("\n") + 1 for line in lines)


def test_a_file_is_streamed() -> None:
    """Memory holds about 100 bytes for each number that was read, and nothing of its line."""

    def lines() -> Iterator[str]:
        for index in range(4_000):
            yield f"(202) 555-{index:04},{'x' * 1000}\n"

    tracemalloc.start()
    try:
        count = sum(isinstance(line, GoodLine) for line in read_lines(lines()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 4_000
    assert peak < 1_500_000


def test_the_example_is_the_demo_s_own_list(request: pytest.FixtureRequest) -> None:
    """`examples/numbers.csv` and the list of a demo without a file are the same."""
    example = request.config.rootpath / "examples" / "numbers.csv"
    assert example.read_text(encoding="utf-8") == "".join(made_up_lines())
