"""Laws of reading one phone number as people write it."""

from __future__ import annotations

import doctest
import subprocess
import sys

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sinch_qn.parsing
from sinch_qn.parsing import InvalidPhoneNumber, ParsedNumber, parse_phone_number
from sinch_qn.phone import is_toll_free

N134 = "+12025550134"


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
        "12025550134.0",
        "2025550134,00",
        "+12025550134.0",
        "tel:+1-202-555-0134",
        "TEL:2025550134;phone-context=+1",
        "(202) 555-0134 (cell)",
        "202-555-0134(Mobile)",
    ],
)
def test_numbers_are_written_in_many_ways(text: str) -> None:
    """However a US number is written, it is the same E.164."""
    assert parse_phone_number(text) == ParsedNumber(N134, "US", toll_free=False)


@pytest.mark.parametrize("number", ["+12025550134", "+12345612345", "+18335870229", "+18339460473"])
def test_the_numbers_of_the_api_reference_are_valid(number: str) -> None:
    """Every example number of the API reference is valid."""
    assert parse_phone_number(number).e164 == number


@pytest.mark.parametrize("area_code", ["202", "212", "907", "416", "604", "867", "800", "888"])
def test_reserved_numbers_are_valid_in_every_area_code(area_code: str) -> None:
    """The numbers reserved for examples, 555-0100 to 555-0199, are valid."""
    assert parse_phone_number(f"({area_code}) 555-0100").e164 == f"+1{area_code}5550100"
    assert parse_phone_number(f"({area_code}) 555-0199").e164 == f"+1{area_code}5550199"


def test_region_and_kind() -> None:
    """A Canadian number is CA, and a toll-free one is toll-free."""
    assert parse_phone_number("+1 416 555 0134").region == "CA"
    assert parse_phone_number("1-800-555-0134").toll_free
    assert not parse_phone_number("+1 808 555 0134").toll_free


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
        ("202555013.0", "too short: 9 digits"),
        ("12025550134.5", "too long"),
        ("(202) 555-0134 (fax)", "letters in the number"),
        ("202-555-0134 (do not call)", "letters in the number"),
        ("tel:+12025550134;ext=5", "extension 5"),
        ("tel:+33612345678", "France (FR): only US and CA numbers can be qualified"),
        ("tel:5550134;phone-context=+1202", "letters in the number"),
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
def test_invalid_numbers_have_a_reason(text: str, reason: str) -> None:
    """Nothing is guessed or repaired: a wrong guess calls a stranger."""
    with pytest.raises(InvalidPhoneNumber) as caught:
        parse_phone_number(text)
    assert reason in str(caught.value)


def test_other_regions_can_be_allowed() -> None:
    """Other regions of `+1` are refused with the switch in the reason, or accepted by it."""
    with pytest.raises(
        InvalidPhoneNumber, match=r"Puerto Rico \(PR\): .* allow more with regions="
    ):
        parse_phone_number("787-555-0134")
    number = parse_phone_number("787-555-0134", regions=("US", "PR"))
    assert number == ParsedNumber("+17875550134", "PR", toll_free=False)
    with pytest.raises(InvalidPhoneNumber, match="only US and PR numbers"):
        parse_phone_number("416-555-0134", regions=("US", "PR"))
    with pytest.raises(InvalidPhoneNumber, match=r"France \(FR\): only US and FR"):
        parse_phone_number("+33 6 12 34 56 78", regions=("US", "FR"))


@given(st.text(max_size=40))
def test_any_text_is_a_number_or_has_a_reason(text: str) -> None:
    """Any text gives a number or `InvalidPhoneNumber`."""
    try:
        number = parse_phone_number(text)
    except InvalidPhoneNumber:
        return
    assert number.e164.startswith("+1")
    assert len(number.e164) == len(N134)


def test_toll_free_area_codes() -> None:
    """`is_toll_free` agrees with phonenumbers in every area code."""
    for code in range(200, 1000):
        number = phonenumbers.PhoneNumber(country_code=1, national_number=code * 10**7 + 5550134)
        kind = phonenumbers.number_type(number)
        is_one = kind == phonenumbers.PhoneNumberType.TOLL_FREE
        assert is_toll_free(f"+1{code}5550134") is is_one, code


@pytest.mark.parametrize("module", ["phone_numbers", "number_files", "codes"])
def test_the_examples_in_docstrings_are_true(module: str) -> None:
    """The examples in docstrings return what they show."""
    result = doctest.testmod(sys.modules[f"sinch_qn.parsing.{module}"])
    assert result.attempted > 0
    assert result.failed == 0


def test_every_public_name_is_documented() -> None:
    """`help()` explains every name of `sinch_qn.parsing`."""
    for name in vars(sinch_qn.parsing)["__all__"]:
        assert getattr(sinch_qn.parsing, name).__doc__, name


def test_without_the_extra_the_error_names_it() -> None:
    """Without phonenumbers the import fails with the command that installs it."""
    script = (
        "import sys; sys.modules['phonenumbers'] = None;"
        " from sinch_qn.parsing import parse_phone_number"
    )
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stderr.endswith(
        "ImportError: sinch_qn.parsing needs an extra: pip install 'sinch-qn[parsing]'\n"
    )


def test_other_regions_are_parsed_if_they_are_named() -> None:
    """A number of Puerto Rico is one on request; the reason for a refusal says how."""
    with pytest.raises(InvalidPhoneNumber, match=r"Puerto Rico \(PR\).* allow more with regions="):
        parse_phone_number("787-555-0134")
    parsed = parse_phone_number("787-555-0134", regions=("US", "CA", "PR"))
    assert (parsed.e164, parsed.region) == ("+17875550134", "PR")
    with pytest.raises(InvalidPhoneNumber, match="France"):
        parse_phone_number("+33 6 12 34 56 78", regions=("US", "FR"))
