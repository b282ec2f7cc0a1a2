"""Phone numbers: E.164 validation, masking, region."""

from __future__ import annotations

import re

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinch_qn.errors import InvalidRequestError, Outcome
from sinch_qn.phone import (
    TOLL_FREE_PREFIXES,
    check_e164,
    check_regions,
    is_toll_free,
    mask,
    region_of,
)


@pytest.mark.parametrize("number", ["+12025550134", "+1234567", "+123456789012345", "+33123456789"])
def test_e164_is_returned_as_it_is(number: str) -> None:
    """A '+', no leading zero, 7 to 15 digits: returned unchanged."""
    assert check_e164(number) == number


@pytest.mark.parametrize(
    "number",
    [
        "",
        "+",
        "12025550134",
        "0012025550134",
        "+02025550134",
        "+123456",
        "+1234567890123456",
        "+1 202 555 0134",
        "+1-202-555-0134",
        "(202) 555-0134",
        " +12025550134",
        "+12025550134 ",
        "+12025550134\n",
        "\n+12025550134",
        "+12025550134\x00",
        "+12025550134/..",
        "+12025550134:sendVoiceChallenge",
        "%2B12025550134",
        "+1202555013\uff14",
        "+\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668",
        "\uff0b12025550134",
        "+1202555013\u00b2",
        "tel:+12025550134",
    ],
)
def test_anything_else_is_refused(number: str) -> None:
    """Anything but exact E.164 is rejected, and nothing is corrected."""
    with pytest.raises(InvalidRequestError, match=r"phone_number: .* is not an E\.164") as caught:
        check_e164(number)
    assert caught.value.outcome is Outcome.NOT_SENT
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("value", [None, 12025550134, 1.5, True, b"+12025550134", ["+12025550134"]])
def test_what_is_no_string_is_no_number(value: object) -> None:
    """A number that is not a string is rejected with its type."""
    with pytest.raises(InvalidRequestError, match=f"numbers: .*not {type(value).__name__}$"):
        check_e164(value, "numbers")


def test_message_stays_short() -> None:
    """The message for ten megabytes is one short line."""
    with pytest.raises(InvalidRequestError) as caught:
        check_e164("+1" + "2" * 10_000_000)
    assert len(str(caught.value)) < 200
    assert "10000002 characters" in str(caught.value)


@given(text=st.text() | st.from_regex(r"\+[0-9]{6,16}", fullmatch=True))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_only_ascii_e164_passes(text: str) -> None:
    """Only '+' and ASCII digits pass, so a number cannot leave its path segment."""
    try:
        passed = check_e164(text)
    except InvalidRequestError:
        return
    assert passed == text
    assert re.fullmatch(r"\+[1-9][0-9]{6,14}", passed)
    assert passed.isascii()


@pytest.mark.parametrize(
    ("number", "masked"),
    [("+12025550134", "+1202•••0134"), ("+123456789012345", "+1234•••2345")],
)
def test_masked_number_keeps_eight_digits(number: str, masked: str) -> None:
    """A masked number keeps its first four and last four digits only."""
    assert mask(number) == masked
    assert number[5:-4] not in masked


@pytest.mark.parametrize(
    ("number", "region"),
    [
        ("+12025550134", "US"),
        ("+19075550134", "US"),  # Alaska
        ("+18335870229", "US"),
        ("+14165550134", "CA"),
        ("+18675550134", "CA"),  # Yukon
        ("+18765550134", None),  # Jamaica
        ("+17875550134", None),  # Puerto Rico has its own region, PR
        ("+11025550134", None),
        ("+1202555013", None),
        ("+120255501345", None),
        ("+33142685300", None),
        ("+1202555013\uff14", None),
        ("", None),
    ],
)
def test_region_is_that_of_the_area_code(number: str, region: str | None) -> None:
    """The region is US or CA; other numbers, also of +1, have none."""
    assert region_of(number) == region


def test_regions_agree_with_phonenumbers() -> None:
    """Each area code that phonenumbers knows has the region that phonenumbers gives it."""
    for area_code in range(200, 1000):
        of_exchanges = (
            phonenumbers.region_code_for_number(
                phonenumbers.PhoneNumber(
                    country_code=1, national_number=int(f"{area_code}{exchange}0123")
                )
            )
            for exchange in (555, 222, 310)
        )
        known = next(filter(None, of_exchanges), None)
        if known is not None:
            expected = known if known in ("US", "CA") else None
            assert region_of(f"+1{area_code}5550123") == expected, area_code


def test_toll_free_is_a_prefix() -> None:
    """A number is toll-free if its area code is."""
    assert all(is_toll_free(f"{prefix}5550134") for prefix in TOLL_FREE_PREFIXES)
    assert not any(map(is_toll_free, ["+12025550134", "+18015550134", "+28335550134", "833"]))


@pytest.mark.parametrize(
    ("number", "region"),
    [
        ("+17875550134", "PR"),
        ("+19395550134", "PR"),
        ("+16715550134", "GU"),
        ("+13405550134", "VI"),
    ],
)
def test_other_regions_of_plus_one_count_if_they_are_named(number: str, region: str) -> None:
    """US and CA by default; the territories that Sinch hosts for some count on request."""
    assert region_of(number) is None
    assert region_of(number, ("US", region)) == region
    assert region_of("+12025550134", (region,)) is None
    assert check_regions(["US", region]) == ("US", region)


@pytest.mark.parametrize("value", ["PR", [], None, ["XX"], ["us"], [1], 7], ids=str)
def test_what_names_no_region(value: object) -> None:
    """Regions are names of +1's regions, in a list."""
    with pytest.raises(InvalidRequestError, match="regions: "):
        check_regions(value)
