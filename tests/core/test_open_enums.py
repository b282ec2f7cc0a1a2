"""Enums that accept unknown values."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinch_qn import models
from sinch_qn.models import GlobalProcessState, HostingStatus, LoaType

if TYPE_CHECKING:
    from collections.abc import Callable

    from sinch_qn._open_enums import OpenIntEnum, OpenStrEnum


def pickled(value: Any, protocol: int) -> Any:
    """Pickle and unpickle *value*."""
    return pickle.loads(pickle.dumps(value, protocol))  # noqa: S301 - our own


COPIES: list[Callable[[Any], Any]] = [
    copy.copy,
    copy.deepcopy,
    *(partial(pickled, protocol=number) for number in range(pickle.HIGHEST_PROTOCOL + 1)),
]

STR_ENUMS = [
    enum
    for enum in vars(models).values()
    if isinstance(enum, type) and issubclass(enum, StrEnum) and len(enum)
]

VALUES = [
    GlobalProcessState.VERIFIED,
    GlobalProcessState("GLOBAL_PROCESS_STATE_NEW"),
    GlobalProcessState("VERIFIED"),
    GlobalProcessState(""),
    HostingStatus.HOSTED,
    HostingStatus(7),
    HostingStatus(-1),
]


@given(st.text())
def test_text_survives(value: str) -> None:
    """Whatever text the server sends, the member equals, hashes and prints like it."""
    member = LoaType(value)
    if member.is_known:
        assert member.value == value.upper()
    else:
        assert member == member.value == member.name == str(member) == f"{member}" == value
        assert hash(member) == hash(value)
        assert member in {value, "DIRECT"}
        assert type(member) is LoaType


@given(st.integers())
def test_integer_survives(value: int) -> None:
    """Whatever integer the server sends, the member equals, hashes and prints like it."""
    member = HostingStatus(value)
    assert member.is_known is (value in {0, 1, 2})
    assert member == member.value == value
    assert str(member) == f"{member}" == str(value)
    assert hash(member) == hash(value)
    assert type(member) is HostingStatus


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("copied", COPIES)
def test_copies_are_the_same_value(
    value: OpenStrEnum | OpenIntEnum, copied: Callable[[Any], Any]
) -> None:
    """Pickling and copying keep value and class, known or not."""
    other = copied(value)
    assert type(other) is type(value)
    assert (other, other.value, other.name) == (value, value.value, value.name)
    assert other.is_known is value.is_known
    if value.is_known:
        assert other is value


def test_known_members_hash_like_their_values() -> None:
    """In a set or a dict a known member equals its raw value, and vice versa."""
    counts = {GlobalProcessState.VERIFIED: 1}
    assert counts["GLOBAL_PROCESS_STATE_VERIFIED"] == 1  # type: ignore[index]
    assert str(GlobalProcessState.VERIFIED) == "GLOBAL_PROCESS_STATE_VERIFIED"
    assert GlobalProcessState.VERIFIED.is_known


def test_unknown_values_are_not_members() -> None:
    """Using an unknown value changes neither the length nor the iteration."""
    before = len(GlobalProcessState), len(HostingStatus)
    unknown = GlobalProcessState("GLOBAL_PROCESS_STATE_NEW"), HostingStatus(7)
    assert (len(GlobalProcessState), len(HostingStatus)) == before
    assert unknown[0] not in list(GlobalProcessState)
    assert unknown[1] not in list(HostingStatus)
    assert unknown[0] != GlobalProcessState.UNSPECIFIED
    assert not any(value.is_known for value in unknown)


def test_unknown_values_are_not_kept() -> None:
    """Ever new values from a server use no memory."""
    unknown = GlobalProcessState("GLOBAL_PROCESS_STATE_NEW")
    assert GlobalProcessState("GLOBAL_PROCESS_STATE_NEW") is not unknown
    gone = weakref.ref(unknown)
    del unknown
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    "value", ["GLOBAL_PROCESS_STATE_VERIFIED", "VERIFIED", "global_process_state_verified"]
)
def test_prefix_is_no_difference(value: str) -> None:
    """A member is found by its name with and without the prefix, in any case."""
    assert GlobalProcessState(value) is GlobalProcessState.VERIFIED


@pytest.mark.parametrize("enum", STR_ENUMS)
def test_a_member_equals_its_value_and_its_name(enum: type[OpenStrEnum]) -> None:
    """Plain text equals at most one member: the one of that value or name, from either side."""
    for member in enum:
        for text in (member.value, member.name):
            assert [each for each in enum if each == text] == [member]
            assert [each for each in enum if text == each] == [member]
            assert [each for each in enum if not each != text] == [member]  # noqa: SIM202
            assert enum(text) is member
        assert {member: 1}[member.value] == 1  # type: ignore[index]
        assert member == mock.ANY
        assert member not in {1, None, b"DONE"}


def test_match_takes_either_form() -> None:
    """`match` finds a member by the member, its value and its name."""
    for pattern in (GlobalProcessState.VERIFIED, "GLOBAL_PROCESS_STATE_VERIFIED", "VERIFIED"):
        match GlobalProcessState.VERIFIED:
            case found if found == pattern:
                continue
        raise AssertionError(pattern)


def test_an_unknown_value_equals_itself_only() -> None:
    """An unknown value has no name without prefix: that could be another value."""
    unknown = GlobalProcessState("GLOBAL_PROCESS_STATE_NEW")
    assert unknown == "GLOBAL_PROCESS_STATE_NEW"
    assert unknown != "NEW"
    assert unknown != GlobalProcessState("NEW")


def test_case_is_no_difference() -> None:
    """The schema's "Direct" and the samples' "DIRECT" are one member."""
    assert LoaType("Direct") is LoaType("DIRECT") is LoaType.DIRECT
    assert LoaType("reseller") is LoaType.RESELLER


@pytest.mark.parametrize(
    "value", [1, "1", "01", "HOSTED", "hosted", "HOSTING_STATUS_HOSTED", "hosting_status_hosted"]
)
def test_integer_member_is_found_by_name_and_digits(value: Any) -> None:
    """An integer member is found in every form that the API uses."""
    assert HostingStatus(value) is HostingStatus.HOSTED


def test_unknown_digits_are_an_unknown_integer() -> None:
    """Digits without a member are kept as an unknown integer."""
    digits: Any = "7"
    assert HostingStatus(digits) == HostingStatus(7) == 7
    assert not HostingStatus(digits).is_known


@pytest.mark.parametrize(
    "value", ["", "NOT_HOSTED", "HOSTING_STATUS_NEW", "STATUS_HOSTED", "1.0", "\u0661", None, 1.5]
)
def test_integer_enum_rejects_other_types(value: Any) -> None:
    """An integer enum rejects anything but integers and its names."""
    with pytest.raises(ValueError, match="is not a valid HostingStatus"):
        HostingStatus(value)


@pytest.mark.parametrize("value", [None, 1, 1.5, b"VERIFIED", [], {}])
def test_text_enum_rejects_other_types(value: Any) -> None:
    """A text enum rejects anything but text."""
    with pytest.raises(ValueError, match="is not a valid GlobalProcessState"):
        GlobalProcessState(value)
