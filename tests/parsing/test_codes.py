"""Laws of reading a number and its code."""

from __future__ import annotations

import pytest

from sinch_qn.parsing import InvalidCode, InvalidPhoneNumber, LostZeros, parse_code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("+12025550134,0417", "0417"),
        ("+12025550134\t0417\tAda", "0417"),
        ('"(202) 555-0134";="0417"', "0417"),
        ("(202) 555-0134 0417", "0417"),
        ("202-555-0134, '0417", "0417"),
    ],
)
def test_a_code_is_read_as_people_write_it(text: str, code: str) -> None:
    """Any delimiter works, the number becomes E.164, and leading zeros stay."""
    assert parse_code(text) == ("+12025550134", code)


@pytest.mark.parametrize(
    "text", ["", "0417", "+12025550134", "+12025550134,", ",0417", "+12025550134,04\r17"]
)
def test_half_a_line_is_no_code(text: str) -> None:
    """Without a number or a code a line is rejected, and no code is in the message."""
    with pytest.raises(InvalidCode, match="expected a number and its code") as caught:
        parse_code(text)
    assert str(caught.value).count("0417") == 1, "the example's own"


def test_an_invalid_number_has_its_reason() -> None:
    """The reason is that of `parse_phone_number`; the code is not in the message."""
    with pytest.raises(InvalidPhoneNumber, match="no area code") as caught:
        parse_code("555-0134,0417")
    assert "0417" not in str(caught.value)


def test_lost_zeros_are_found_once() -> None:
    """The first shorter code is named once another length is found; no code is in the warning."""
    found = LostZeros()
    lines = ["number,code", "+12025550134,x17", "hello", "+12025550134,41783", "+12025550135,417"]
    assert not any(found.check(text, line) for line, text in enumerate(lines[:4], 1))
    line, warning = found.check(lines[4], 5) or (0, "")
    assert line == 5
    assert warning.startswith("this code has 3 digits, line 4 has more. A spreadsheet drops")
    assert "417" not in warning
    assert found.check("+12025550136,4", 6) is None
