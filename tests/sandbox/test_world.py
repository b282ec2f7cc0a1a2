"""The sandbox's world: numbers and orders over time."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.models import HostingOrderState as OrderState
from sinch_qn.phone import is_toll_free, region_of
from sinch_qn.sandbox import Clock, MisbehavingNumber, Refusal, Settings, World

NUMBER = "+12025550134"
TOLL_FREE = "+18335550134"


def make(**settings: Any) -> World:
    """Return a world with a fixed random seed and a clock moved by hand."""
    return World(Settings(**settings), clock=Clock.stopped(), random=Random(7))


def wrong(code: str | None) -> str:
    """Return a code that is not *code*."""
    assert code is not None
    return f"{(int(code) + 1) % 10000:04}"


def called(world: World, phone_number: str = NUMBER) -> str:
    """Create a number, call it, and return the code."""
    world.seed([phone_number])
    world.ring(phone_number)
    code = world.code_for(phone_number)
    assert code is not None
    return code


def with_digits(kind: MisbehavingNumber) -> str:
    """Return a number that misbehaves."""
    return f"+1202{kind.value}"


def order_of(*numbers: str, **more: Any) -> dict[str, Any]:
    """Return the body of a hosting order for *numbers*."""
    return {"regionCode": "US", "numbers": list(numbers), "servicePlanId": "plan", **more}


# Time.


def test_what_happens_in_one_leap_happens_at_its_own_times() -> None:
    """An advance over several changes applies each with its own time."""
    world = make(loa_delay=10.0, hosting_delay=20.0)
    world.seed([NUMBER], SinchState.VERIFIED)
    start = world.clock.now()
    order = world.text_enable(order_of(NUMBER), toll_free=False)
    world.clock.advance(1000)
    assert world.get(NUMBER).updated == start + 30
    assert (order.state, order.updated) == (OrderState.COMPLETED, start + 30)
    assert world.next_due is None


# Valid numbers.


@pytest.mark.parametrize(
    ("phone_number", "region"),
    [
        ("+12025550134", "US"),
        ("+14165550134", "CA"),
        ("+18335550134", "US"),
        ("+18765550134", None),  # Jamaica
        ("+17875550134", None),  # Puerto Rico
        ("+33123456789", None),
        ("+1202555013", None),
        ("+120255501345", None),
        ("+11025550134", None),
        ("+1202555013\N{ARABIC-INDIC DIGIT FOUR}", None),
    ],
)
def test_the_region_is_in_the_digits(phone_number: str, region: str | None) -> None:
    """The area code decides between US and CA; other numbers have no region."""
    assert region_of(phone_number) == region


def test_toll_free_is_in_the_digits() -> None:
    """The toll-free area codes of +1 decide."""
    assert is_toll_free(TOLL_FREE)
    assert not is_toll_free(NUMBER)
    assert not is_toll_free("+18")


def test_the_sandbox_takes_us_and_ca_numbers_only() -> None:
    """One number from elsewhere rejects the whole request, and is named by its index."""
    world = make()
    with pytest.raises(Refusal) as refused:
        world.add([NUMBER, "+33123456789"])
    assert refused.value.status == "INVALID_ARGUMENT"
    assert [field for field, _ in refused.value.fields] == ["phoneNumbers[1]"]
    with pytest.raises(Refusal, match="could not be found"):
        world.get(NUMBER)
    with pytest.raises(ValueError, match="not a US or CA"):
        world.seed(["+33123456789"])


# Eligibility.


def test_eligibility_takes_its_time() -> None:
    """An added number is ELIGIBLE_CHECK_PENDING until the delay has passed."""
    world = make(eligibility_delay=60.0)
    assert world.add([NUMBER])[0].state is SinchState.ELIGIBLE_CHECK_PENDING
    world.clock.advance(59)
    assert world.get(NUMBER).state is SinchState.ELIGIBLE_CHECK_PENDING
    world.clock.advance(1)
    assert world.get(NUMBER).state is SinchState.ELIGIBLE


def test_without_a_delay_a_number_is_eligible_at_the_next_look() -> None:
    """Without a delay the first response is still ELIGIBLE_CHECK_PENDING, as in the API."""
    world = make()
    assert world.add([NUMBER])[0].state is SinchState.ELIGIBLE_CHECK_PENDING
    assert world.get(NUMBER).state is SinchState.ELIGIBLE


def test_some_numbers_are_never_eligible_and_some_are_slow() -> None:
    """The last digits decide about eligibility and its delay."""
    world = make(eligibility_delay=1.0)
    never, slow = (
        with_digits(MisbehavingNumber.NOT_ELIGIBLE),
        with_digits(MisbehavingNumber.SLOW_ELIGIBILITY),
    )
    world.add([never, slow])
    world.clock.advance(9)
    assert world.get(never).state is SinchState.NOT_ELIGIBLE
    assert world.get(slow).state is SinchState.ELIGIBLE_CHECK_PENDING
    world.clock.advance(1)
    assert world.get(slow).state is SinchState.ELIGIBLE


def test_adding_again_changes_nothing() -> None:
    """Adding an existing number returns it unchanged."""
    world = make()
    world.seed([NUMBER], SinchState.VERIFIED)
    numbers = world.add([NUMBER, NUMBER])
    assert [number.state for number in numbers] == [SinchState.VERIFIED, SinchState.VERIFIED]
    assert world.count(SinchState.VERIFIED) == 1


def test_a_deleted_number_is_gone_and_its_check_with_it() -> None:
    """A pending check of a deleted number does not affect the same number added again."""
    world = make(eligibility_delay=10.0)
    world.add([NUMBER])
    world.clock.advance(5)
    world.delete(NUMBER)
    with pytest.raises(Refusal) as refused:
        world.delete(NUMBER)
    assert refused.value.status == "NOT_FOUND"
    world.add([NUMBER])
    world.clock.advance(5)
    assert world.get(NUMBER).state is SinchState.ELIGIBLE_CHECK_PENDING
    world.clock.advance(5)
    assert world.get(NUMBER).state is SinchState.ELIGIBLE
    assert world.count(SinchState.ELIGIBLE) == 1


# Seeding.


@pytest.mark.parametrize(
    "state", [SinchState.VERIFIED, "VERIFIED", "GLOBAL_PROCESS_STATE_VERIFIED"]
)
def test_numbers_can_be_put_into_any_state(state: str) -> None:
    """A state is accepted as the enum, its value, or the value without the prefix."""
    world = make()
    assert world.seed([NUMBER], state) == 1
    assert world.get(NUMBER).state is SinchState.VERIFIED
    assert world.rings(NUMBER) == 0


def test_a_misspelt_state_is_refused() -> None:
    """An unknown state is a ValueError, although the enum is open."""
    with pytest.raises(ValueError, match="VERYFIED"):
        make().seed([NUMBER], "VERYFIED")


def test_a_number_put_into_verification_has_a_code() -> None:
    """A number created in VERIFICATION_PENDING can be verified; its phone never rang."""
    world = make()
    world.seed([NUMBER], SinchState.VERIFICATION_PENDING)
    code = world.code_for(NUMBER)
    assert code is not None
    assert world.rings(NUMBER) == 0
    assert world.verify(NUMBER, code).state is SinchState.VERIFIED


# Calls and codes.


def test_the_right_code_verifies() -> None:
    """The code of a call verifies the number."""
    world = make()
    code = called(world)
    assert world.get(NUMBER).state is SinchState.VERIFICATION_PENDING
    assert world.verify(NUMBER, code).state is SinchState.VERIFIED
    assert world.rings(NUMBER) == 1


def test_codes_keep_their_leading_zeros() -> None:
    """Each code has four random digits, leading zeros included."""
    world = make()
    codes = set()
    for _ in range(200):
        codes.add(called(world))
    assert {len(code) for code in codes} == {4}
    assert any(code.startswith("0") for code in codes)
    assert len(codes) > 150


def test_a_seed_makes_a_run_repeatable() -> None:
    """Two worlds with the same random seed have the same codes."""
    assert called(make()) == called(make())


def test_a_new_call_makes_the_old_code_wrong() -> None:
    """Only the code of the latest call is valid."""
    world = make()
    first = called(world)
    world.ring(NUMBER)
    assert world.code_for(NUMBER) != first
    assert world.verify(NUMBER, first).state is SinchState.VERIFICATION_FAILED
    assert world.rings(NUMBER) == 2


def test_a_wrong_code_fails_and_the_right_one_still_helps() -> None:
    """After a wrong code the right one of the same call is still valid."""
    world = make()
    code = called(world)
    assert world.verify(NUMBER, wrong(code)).state is SinchState.VERIFICATION_FAILED
    assert world.verify(NUMBER, code).state is SinchState.VERIFIED


def test_attempts_are_counted_over_all_calls() -> None:
    """Wrong codes count over all calls; the last allowed one blocks the number for good."""
    world = make(max_attempts=2)
    assert world.verify(NUMBER, wrong(called(world))).state is SinchState.VERIFICATION_FAILED
    world.ring(NUMBER)
    code = world.code_for(NUMBER)
    assert world.verify(NUMBER, wrong(code)).state is SinchState.VERIFICATION_BLOCKED
    assert code is not None
    assert world.verify(NUMBER, code).state is SinchState.VERIFICATION_BLOCKED
    with pytest.raises(Refusal, match="cannot be called"):
        world.ring(NUMBER)


def test_a_wrong_code_can_be_refused_instead() -> None:
    """With "rejected" a wrong code is an error that changes no state, until it blocks."""
    world = make(wrong_code="rejected", max_attempts=2)
    code = called(world)
    for state in SinchState.VERIFICATION_PENDING, SinchState.VERIFICATION_BLOCKED:
        with pytest.raises(Refusal) as refused:
            world.verify(NUMBER, wrong(code))
        assert refused.value.status == "INVALID_ARGUMENT"
        assert refused.value.fields == (("code", "is wrong"),)
        assert world.get(NUMBER).state is state
    assert code not in str(refused.value)


def test_a_code_expires() -> None:
    """A code is valid up to and including its last second, and then wrong."""
    world = make(code_lifetime=60.0)
    code = called(world)
    world.clock.advance(61)
    assert world.verify(NUMBER, code).state is SinchState.VERIFICATION_FAILED
    world.ring(NUMBER)
    world.clock.advance(60)
    assert world.verify(NUMBER, world.code_for(NUMBER) or "").state is SinchState.VERIFIED


def test_people_take_their_time() -> None:
    """There is no code before the call is answered."""
    world = make(answer_delay=20.0)
    world.seed([NUMBER])
    assert world.code_for(NUMBER) is None
    world.ring(NUMBER)
    assert world.code_for(NUMBER) is None
    world.clock.advance(20)
    assert world.code_for(NUMBER) is not None


@pytest.mark.parametrize(
    "state",
    [
        state
        for state in SinchState
        if state not in {SinchState.ELIGIBLE, SinchState.VERIFICATION_FAILED}
    ],
)
def test_only_some_numbers_can_be_called(state: SinchState) -> None:
    """Only an eligible, unverified number can be called; a rejected call rings no phone."""
    world = make()
    world.seed([NUMBER], state)
    if state is SinchState.VERIFICATION_PENDING:
        assert world.ring(NUMBER).rings == 1
        return
    with pytest.raises(Refusal) as refused:
        world.ring(NUMBER)
    assert refused.value.status == "FAILED_PRECONDITION"
    assert world.rings(NUMBER) == 0


@pytest.mark.parametrize(
    "state", [SinchState.ELIGIBLE, SinchState.VERIFICATION_FAILED, SinchState.VERIFIED]
)
def test_a_code_needs_a_call(state: SinchState) -> None:
    """Verification needs a call that waits for a code."""
    world = make()
    world.seed([NUMBER], state)
    with pytest.raises(Refusal, match="cannot be verified"):
        world.verify(NUMBER, "1234")


def test_numbers_that_misbehave_when_called() -> None:
    """The last digits decide: not answered, misheard, blocked, or the response is lost."""
    world = make(max_attempts=2)
    silent, late, deaf, blocked, lost = (
        with_digits(kind)
        for kind in (
            MisbehavingNumber.NOBODY_ANSWERS,
            MisbehavingNumber.FIRST_CALL_MISSED,
            MisbehavingNumber.MISHEARD,
            MisbehavingNumber.BLOCKED,
            MisbehavingNumber.LOST_RESPONSE,
        )
    )
    world.seed([silent, late, deaf, blocked, lost])

    world.ring(silent)
    assert world.rings(silent) == 1
    assert world.code_for(silent) is None

    world.ring(late)
    assert world.code_for(late) is None
    world.ring(late)
    assert world.verify(late, world.code_for(late) or "").state is SinchState.VERIFIED

    world.ring(deaf)
    assert world.verify(deaf, world.code_for(deaf) or "").state is SinchState.VERIFICATION_FAILED
    world.ring(deaf)
    assert world.verify(deaf, world.code_for(deaf) or "").state is SinchState.VERIFICATION_BLOCKED

    assert world.ring(blocked).state is SinchState.VERIFICATION_BLOCKED
    assert world.rings(blocked) == 0

    with pytest.raises(Refusal) as refused:
        world.ring(lost)
    assert refused.value.status == "INTERNAL"
    assert world.rings(lost) == 1
    assert world.verify(lost, world.code_for(lost) or "").state is SinchState.VERIFIED


def test_ordinary_lists_are_spared() -> None:
    """Only 555-9989 to 555-9999 misbehave, not the range reserved for fiction."""
    plain = [f"+1202555{line:04}" for line in range(9989)]
    assert not any(kind.matches(number) for kind in MisbehavingNumber for number in plain)
    assert MisbehavingNumber.NOT_ELIGIBLE.matches("+12025559990")
    assert len(MisbehavingNumber) == len({kind.value for kind in MisbehavingNumber}) == 11


# Listing.


def test_pages_hold_each_number_once() -> None:
    """Paging lists each number of a state once, the oldest first."""
    world = make()
    numbers = [f"+1202555{line:04}" for line in range(7)]
    world.seed(numbers, SinchState.VERIFIED)
    world.seed(["+14165550000"], SinchState.VERIFIED)
    world.seed(["+12025550100"], SinchState.ELIGIBLE)
    world.delete(numbers[3])
    seen: list[str] = []
    after = None
    for size in (3, 3, 1):
        page, after = world.page(SinchState.VERIFIED, size=3, after=after)
        assert len(page) == size
        seen += [number.phone_number for number in page]
    assert after is None
    assert seen == [*numbers[:3], *numbers[4:], "+14165550000"]
    assert world.count(SinchState.VERIFIED) == 7
    assert world.count(SinchState.VERIFIED, "CA") == 1
    page, after = world.page(SinchState.VERIFIED, size=3, region="CA")
    assert [number.phone_number for number in page] == ["+14165550000"]
    assert after is None


def test_a_full_last_page_has_none_after_it() -> None:
    """A full last page has no next page."""
    world = make()
    world.seed([f"+1202555{line:04}" for line in range(4)])
    _, after = world.page(SinchState.ELIGIBLE, size=2)
    page, after = world.page(SinchState.ELIGIBLE, size=2, after=after)
    assert (len(page), after) == (2, None)


def test_a_number_that_moves_on_hides_no_other() -> None:
    """Numbers that leave the state during paging do not shift the others."""
    world = make()
    numbers = [f"+1202555{line:04}" for line in range(6)]
    world.seed(numbers)
    first, after = world.page(SinchState.ELIGIBLE, size=2)
    world.seed(numbers[:2], SinchState.VERIFIED)
    second, _ = world.page(SinchState.ELIGIBLE, size=2, after=after)
    assert [number.phone_number for number in first + second] == numbers[:4]


def test_pages_by_update_are_in_the_order_of_change() -> None:
    """Ordered by update, the number changed last comes last, across pages."""
    world = make()
    numbers = [f"+1202555{line:04}" for line in range(4)]
    world.seed(numbers)
    world.clock.advance(1)
    world.seed(numbers[:1])
    seen: list[str] = []
    after = None
    for _ in range(2):
        page, after = world.page(SinchState.ELIGIBLE, size=2, by_update=True, after=after)
        seen += [number.phone_number for number in page]
    assert after is None
    assert seen == [*numbers[1:], numbers[0]]


# Hosting orders.


def test_an_order_goes_through_its_states() -> None:
    """An order is SUBMITTED, WAITING_FOR_LOA_SIGNATURE, IN_PROGRESS, then COMPLETED."""
    world = make(loa_delay=10.0, hosting_delay=20.0)
    world.seed([NUMBER], SinchState.VERIFIED)
    order = world.text_enable(order_of(NUMBER), toll_free=False)
    states = [(order.state, order.numbers[0].state)]
    for seconds in 0, 10, 20:
        world.clock.advance(seconds)
        number_state = world.get(NUMBER).state
        states.append((order.state, number_state))
    assert states == [
        (OrderState.SUBMITTED, SinchState.HOSTING_IN_PROGRESS),
        (OrderState.WAITING_FOR_LOA_SIGNATURE, SinchState.HOSTING_IN_PROGRESS),
        (OrderState.IN_PROGRESS, SinchState.HOSTING_IN_PROGRESS),
        (OrderState.COMPLETED, SinchState.HOSTING_DONE),
    ]
    assert not world.events


def test_a_blanket_loa_needs_no_signature() -> None:
    """With a blanket LOA hosting starts at once."""
    world = make(loa_delay=None)
    world.seed([NUMBER], SinchState.VERIFIED)
    order = world.text_enable(order_of(NUMBER, blanketLoaInfo={}), toll_free=False)
    assert world.get(NUMBER).state is SinchState.HOSTING_DONE
    assert order.state is OrderState.COMPLETED


def test_an_order_can_be_signed_by_hand_once() -> None:
    """With `loa_delay=None` an order waits for `sign_loa`, which signs it only once."""
    world = make(loa_delay=None)
    world.seed([NUMBER], SinchState.VERIFIED)
    order = world.text_enable(order_of(NUMBER), toll_free=False)
    world.clock.advance(1e6)
    assert world.get(NUMBER).state is SinchState.HOSTING_IN_PROGRESS
    world.sign_loa(order.id)
    assert world.get(NUMBER).state is SinchState.HOSTING_DONE
    with pytest.raises(Refusal, match="COMPLETED"):
        world.sign_loa(order.id)
    with pytest.raises(Refusal, match="could not be found"):
        world.sign_loa("no-such-order")


def test_a_signature_by_hand_comes_before_the_one_that_was_due() -> None:
    """An order signed by hand is not signed again when its signature is due."""
    world = make(loa_delay=10.0, hosting_delay=100.0)
    world.seed([NUMBER], SinchState.VERIFIED)
    start = world.clock.now()
    order = world.text_enable(order_of(NUMBER), toll_free=False)
    world.sign_loa(order.id)
    world.clock.advance(1000)
    assert world.get(NUMBER).state is SinchState.HOSTING_DONE
    assert order.updated == start + 100


def test_numbers_whose_order_goes_wrong() -> None:
    """HOSTING_FAILS fails one number; a rejected LOA fails all numbers of its order."""
    world = make()
    failing, rejected, unsigned = (
        with_digits(kind)
        for kind in (
            MisbehavingNumber.HOSTING_FAILS,
            MisbehavingNumber.LOA_REJECTED,
            MisbehavingNumber.LOA_UNSIGNED,
        )
    )
    others = ["+12025550101", "+12025550102", "+12025550103"]
    world.seed([failing, rejected, unsigned, *others], SinchState.VERIFIED)

    order = world.text_enable(order_of(failing, others[0]), toll_free=False)
    assert world.get(failing).state is SinchState.HOSTING_FAILED
    assert world.get(others[0]).state is SinchState.HOSTING_DONE
    assert order.state is OrderState.COMPLETED

    order = world.text_enable(order_of(rejected, others[1]), toll_free=False)
    assert world.get(others[1]).state is SinchState.HOSTING_FAILED
    assert order.state is OrderState.REJECTED

    order = world.text_enable(order_of(unsigned, others[2]), toll_free=False)
    world.clock.advance(1e6)
    assert world.get(others[2]).state is SinchState.HOSTING_IN_PROGRESS
    world.sign_loa(order.id)
    assert world.get(others[2]).state is SinchState.HOSTING_DONE


def test_an_order_is_for_all_its_numbers_or_none() -> None:
    """If one number cannot be ordered, the order is rejected and the others are unchanged."""
    world = make()
    world.seed([NUMBER], SinchState.VERIFIED)
    world.seed(["+12025550101"], SinchState.ELIGIBLE)
    world.seed(["+12025550102"], SinchState.HOSTING_DONE)
    world.seed([TOLL_FREE], SinchState.VERIFIED)
    for other, status in {
        "+12025550100": "NOT_FOUND",
        "+12025550101": "FAILED_PRECONDITION",
        "+12025550102": "ALREADY_EXISTS",
        TOLL_FREE: "INVALID_ARGUMENT",
    }.items():
        with pytest.raises(Refusal) as refused:
            world.text_enable(order_of(NUMBER, other), toll_free=False)
        assert refused.value.status == status
    assert world.get(NUMBER).state is SinchState.VERIFIED
    assert not world.orders


def test_toll_free_numbers_have_their_own_operation() -> None:
    """Each operation rejects the other's numbers, and names their indexes."""
    world = make()
    world.seed([NUMBER, TOLL_FREE], SinchState.VERIFIED)
    with pytest.raises(Refusal) as refused:
        world.text_enable(order_of(TOLL_FREE, NUMBER), toll_free=True)
    assert refused.value.fields == (("numbers[1]", "is not toll-free"),)
    world.text_enable(order_of(TOLL_FREE), toll_free=True)
    assert world.get(TOLL_FREE).state is SinchState.HOSTING_DONE


def test_a_number_whose_hosting_failed_can_be_ordered_again() -> None:
    """A number in HOSTING_FAILED can be ordered again."""
    world = make()
    world.seed([NUMBER], SinchState.HOSTING_FAILED)
    world.text_enable(order_of(NUMBER), toll_free=False)
    assert world.get(NUMBER).state is SinchState.HOSTING_DONE


def test_a_number_that_is_named_twice_is_hosted_once() -> None:
    """An order has each number once, also if the request repeats it."""
    world = make()
    world.seed([NUMBER], SinchState.VERIFIED)
    order = world.text_enable(order_of(NUMBER, NUMBER), toll_free=False)
    assert [number.phone_number for number in order.numbers] == [NUMBER]


def test_a_number_deleted_from_an_order_stays_deleted() -> None:
    """An order continues without a deleted number, and sends no callback for it."""
    world = make(hosting_delay=10.0)
    world.seed([NUMBER, "+12025550101"], SinchState.VERIFIED)
    order = order_of(NUMBER, "+12025550101", callbackUrl="http://127.0.0.1/")
    world.text_enable(order, toll_free=False)
    world.delete(NUMBER)
    world.clock.advance(10)
    world.advance_to_now()
    assert [event.phone_number for event in world.events] == ["+12025550101"]
    assert sum(world.count(state) for state in SinchState) == 1


def test_each_number_of_an_order_with_a_callback_has_an_event() -> None:
    """Each number has one callback event, with an id of its own."""
    world = make()
    failing = with_digits(MisbehavingNumber.HOSTING_FAILS)
    rejected = with_digits(MisbehavingNumber.LOA_REJECTED)
    world.seed([NUMBER, failing, rejected], SinchState.VERIFIED)
    url = "http://127.0.0.1/"
    world.text_enable(order_of(NUMBER, failing, callbackUrl=url), toll_free=False)
    world.text_enable(order_of(rejected, callbackUrl=url), toll_free=False)
    world.advance_to_now()
    told = {event.phone_number: event for event in world.events}
    assert (told[NUMBER].succeeded, told[NUMBER].failure_code) == (True, None)
    assert (told[failing].succeeded, told[failing].failure_code) == (False, "INVALID_NNID")
    assert (told[rejected].type, told[rejected].succeeded) == ("HOSTING_PROCESS", False)
    assert len({event.id for event in world.events}) == len(world.events) == 3
