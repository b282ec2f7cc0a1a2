"""Laws of the preflight: nothing is lost in a split, and what is missing is named, not shown."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinch_qn.models import (
    BlanketLoaInfo,
    TextEnableNumbersRequest,
    TextEnableTollFreeNumbersRequest,
)
from sinch_qn.phone import is_toll_free, region_of
from sinch_qn.preflight import letter_of, order_problems, order_warnings, split_orders
from tests.support.loa import ADDRESS, DIRECT, PERSON, RESELLER

US, CA, TOLL_FREE = "+12025550134", "+14165550134", "+18335550134"
GOOD: dict[str, Any] = {"region_code": "US", "numbers": [US], "service_plan_id": "plan"}


def order(**fields: Any) -> TextEnableNumbersRequest:
    """Return an order with a direct LOA and a campaign, unless *fields* say otherwise."""
    if not any(name.endswith("loa_info") for name in fields):
        fields["direct_loa_info"] = DIRECT
    return TextEnableNumbersRequest(**GOOD | {"campaign_id": "C1"} | fields)


@given(
    numbers=st.lists(st.sampled_from([US, CA, TOLL_FREE, *(f"+1202555{n:04}" for n in range(9))])),
    size=st.integers(1, 4),
)
def test_a_split_loses_nothing(numbers: list[str], size: int) -> None:
    """Each number is in one order, of its kind and region, of the size at most, in its order."""
    orders = split_orders(numbers, batch_size=size)
    assert sorted(n for each in orders for n in each.numbers) == sorted(set(numbers))
    for each in orders:
        assert 0 < len(each.numbers) <= size
        assert {is_toll_free(number) for number in each.numbers} == {each.toll_free}
        if not each.toll_free:
            assert {region_of(number) for number in each.numbers} == {each.region}
    full = [each for each in orders if len(each.numbers) == size]
    assert len(orders) - len(full) <= len({(each.toll_free, each.region) for each in orders})


def test_a_region_that_is_chosen() -> None:
    """The region that is given is that of every order; toll-free numbers stay apart."""
    orders = split_orders([US, CA, TOLL_FREE], region="CA")
    assert [str(each) for each in orders] == ["2 CA numbers", "1 toll-free number"]
    assert {each.region for each in orders} == {"CA"}


def test_a_complete_order_has_no_problems() -> None:
    """An order with all its fields has neither problems nor warnings."""
    for fields in (
        {"direct_loa_info": DIRECT},
        {"reseller_loa_info": RESELLER},
        {"blanket_loa_info": BlanketLoaInfo()},
    ):
        assert order_problems(order(**fields)) == []
        assert order_warnings(order(**fields)) == []
    toll_free = TextEnableTollFreeNumbersRequest(**GOOD, reseller_loa_info=RESELLER)
    assert order_problems(toll_free) == []


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        (order(service_plan_id=" "), "service_plan_id: is empty"),
        (order(campaign_id=""), "campaign_id: is empty"),
        (order(direct_loa_info=None), "one LOA"),
        (order(direct_loa_info=DIRECT, blanket_loa_info=BlanketLoaInfo()), "one LOA"),
        (
            order(direct_loa_info=attrs.evolve(DIRECT, address=attrs.evolve(ADDRESS, state=""))),
            "directLoaInfo.address.state: is empty",
        ),
        (
            order(reseller_loa_info=attrs.evolve(RESELLER, business_name="\t")),
            "resellerLoaInfo.businessName: is empty",
        ),
        *(
            (
                order(
                    direct_loa_info=attrs.evolve(
                        DIRECT, authorised_person=attrs.evolve(PERSON, email=email)
                    )
                ),
                "directLoaInfo.authorisedPerson.email",
            )
            for email in ("", "canary", "canary@example", "canary@@example.com", "a b@example.com")
        ),
    ],
)
def test_problems_name_fields(request_: TextEnableNumbersRequest, named: str) -> None:
    """A field that is empty, or an address that is none, is named once, and never shown."""
    (problem,) = order_problems(request_)
    assert named in problem
    assert "canary" not in problem


def test_warnings() -> None:
    """A missing campaign, and numbers of another region, are warned about."""
    assert "no campaign" in order_warnings(order(campaign_id=None))[0]
    (warning,) = order_warnings(order(numbers=[US, CA, TOLL_FREE]))
    assert warning == "1 number is not US by the area code, but the order is."


def test_the_letter() -> None:
    """The letter goes to the authorised person, with business, address and carrier."""
    letter = letter_of(order(reseller_loa_info=RESELLER))
    assert letter is not None
    assert letter.recipient == "Jane Doe <jane@example.com>"
    assert letter.says == (
        "business: Sinch AB",
        "address: 1 Main Street, Washington, DC 20001, US",
        "current voice carrier: Verizon",
    )
    assert "Jane" not in repr(letter)
    assert letter_of(order(blanket_loa_info=BlanketLoaInfo())) is None
