"""Models are written strictly and read tolerantly."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinch_qn import _codec, drift, models
from sinch_qn._codec import decode, encode, write_datetime
from sinch_qn._operations import OPERATIONS
from sinch_qn.drift import Drift
from sinch_qn.errors import InvalidRequestError, InvalidResponseError, Outcome
from sinch_qn.models import (
    AddNumbersResponse,
    BlanketLoaInfo,
    GlobalProcessState,
    HostedNumberDetails,
    HostingOrder,
    HostingStatus,
    ListQualifiedNumbersResponse,
    LoaType,
    OperationStatus,
    OsrEligibilityDetails,
    QualifiedNumber,
    TextEnableInfo,
    TextEnableNumbersRequest,
)

REFERENCE = Path(__file__).parents[1] / "fixtures/reference"
SAMPLES = sorted(REFERENCE.glob("*.json"))
NO_FIELDS_OF_THE_SCHEMA = {
    "textEnableTollFreeNumbers.TextEnableTollFreeNumbersRequest": {
        "directLoaInfo": ("scheduledZipwhipProvisioningTime", "migrateToSinchTmo")
    }
}
"""Fields of published samples that their schema lacks (see test_openapi.py)."""

PHONE = "+12025550134"
CANARY = "canary-value-that-no-message-may-show"


def test_the_aliased_block_is_the_only_alias() -> None:
    """Only one field has a second wire name; another one needs its own tests here."""
    aliased = {
        (name, wire)
        for name, model in vars(models).items()
        if attrs.has(model)
        for field in attrs.fields(model)
        for wire in field.metadata.get("wire_aliases", ())
    }
    assert aliased == {("HostingOrder", "textEnableInfo")}


@pytest.mark.parametrize(
    "path",
    [p for p in SAMPLES if hasattr(models, p.stem.partition(".")[2])],
    ids=lambda path: path.stem,
)
def test_reference_sample_is_read_and_written_back_the_same(path: Path) -> None:
    """Each sample of the reference survives reading and writing, except undocumented fields."""
    sample = json.loads(path.read_text())
    expected = copy.deepcopy(sample)
    for holder, fields in NO_FIELDS_OF_THE_SCHEMA.get(path.stem, {}).items():
        for field in fields:
            del expected[holder][field]
    model = decode(sample, getattr(models, path.stem.partition(".")[2]))
    assert encode(model) == expected
    assert orjson.loads(orjson.dumps(encode(model))) == expected
    assert pickle.loads(pickle.dumps(model)) == model == copy.deepcopy(model)  # noqa: S301


# ---- reading models ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["textEnableInfo", "hostingOrderInfo"])
def test_loa_block_is_read_from_either_name(name: str) -> None:
    """A hosting order's LOA block is `hosting_order_info`, whichever its wire name."""
    order = decode({name: {"nnid": "104029", "loaType": "Direct"}}, HostingOrder)
    assert order.hosting_order_info == TextEnableInfo(nnid="104029", loa_type=LoaType.DIRECT)


def test_loa_block_under_both_names_is_read_once() -> None:
    """Of two LOA blocks the one with the documented example's name counts; null is none."""
    both = {"textEnableInfo": {"nnid": "1"}, "hostingOrderInfo": {"nnid": "2"}}
    assert decode(both, HostingOrder).hosting_order_info == TextEnableInfo(nnid="2")
    null = {"textEnableInfo": {"nnid": "1"}, "hostingOrderInfo": None}
    assert decode(null, HostingOrder).hosting_order_info == TextEnableInfo(nnid="1")
    assert null["hostingOrderInfo"] is None, "what was read is left as it came"


def test_an_incomplete_person_or_address_does_not_lose_the_order() -> None:
    """An order is read even if its response has an incomplete letter."""
    echo = {"authorisedPerson": {"firstName": "Jane"}, "address": {}, "nnid": "7"}
    order = decode({"hostingOrderId": "1", "hostingOrderInfo": echo}, HostingOrder)
    assert order == HostingOrder(hosting_order_id="1", hosting_order_info=TextEnableInfo(nnid="7"))


def test_missing_required_field_is_rejected_at_the_top() -> None:
    """An object without a required field is rejected at the top level."""
    with pytest.raises(InvalidResponseError, match="TextEnableNumbersRequest: a required field"):
        decode({"regionCode": "US"}, TextEnableNumbersRequest)


@pytest.mark.parametrize("status", ["DONE", "STATE_UNSPECIFIED", "BRAND_NEW", "", 0, 3, -1, 10**18])
def test_status_keeps_its_type(status: str | int) -> None:
    """A status that may be an integer or a string keeps its type, known or not."""
    read = decode({"status": status}, OsrEligibilityDetails).status
    assert read == status
    assert type(read) is (OperationStatus if isinstance(status, str) else int)
    assert encode(OsrEligibilityDetails(status=read)) == {"status": status}


@pytest.mark.parametrize(
    ("came", "status"),
    [
        (1, HostingStatus.HOSTED),
        ("1", HostingStatus.HOSTED),
        ("HOSTED", HostingStatus.HOSTED),
        ("HOSTING_STATUS_FAILED", HostingStatus.FAILED),
        (17, HostingStatus(17)),
        ("NOBODY_KNOWS", None),
    ],
)
def test_hosting_status_is_read_by_number_digits_or_name(
    came: int | str, status: HostingStatus | None
) -> None:
    """A hosting status is read in every form; an unknown name is None."""
    assert decode({"status": came}, HostedNumberDetails).status == status


def test_unknown_enum_value_survives_and_prints_as_itself() -> None:
    """An unknown state is kept, printed, copied and written back."""
    state = "GLOBAL_PROCESS_STATE_ON_THE_MOON"
    number = decode({"globalProcessState": state}, QualifiedNumber)
    assert str(number.global_process_state) == state
    assert isinstance(number.global_process_state, GlobalProcessState)
    assert not number.global_process_state.is_known
    assert encode(number) == {"globalProcessState": state}
    assert pickle.loads(pickle.dumps(number)) == number == copy.deepcopy(number)  # noqa: S301
    assert encode(decode({"status": 99}, HostedNumberDetails)) == {"status": 99}


def test_unknown_fields_are_ignored_and_nulls_are_absent() -> None:
    """An unknown field is ignored, and null is the same as no field."""
    fields = ("projectId", "osrEligibility", "hostedNumber", "createdTime", "globalProcessState")
    nulls = dict.fromkeys(fields)
    body = {"phoneNumber": PHONE, "brandNew": {"deep": [1]}, **nulls}
    assert decode(body, QualifiedNumber) == QualifiedNumber(phone_number=PHONE)
    assert decode({"qualifiedNumbers": None}, AddNumbersResponse) == AddNumbersResponse()
    assert decode({"status": None}, OsrEligibilityDetails) == OsrEligibilityDetails()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2019-08-24T14:15:22Z", datetime(2019, 8, 24, 14, 15, 22, tzinfo=UTC)),
        ("2019-08-24t14:15:22z", datetime(2019, 8, 24, 14, 15, 22, tzinfo=UTC)),
        ("2019-08-24T14:15:22", datetime(2019, 8, 24, 14, 15, 22, tzinfo=UTC)),
        ("2019-08-24 14:15:22Z", datetime(2019, 8, 24, 14, 15, 22, tzinfo=UTC)),
        ("2019-08-24T16:15:22+02:00", datetime(2019, 8, 24, 14, 15, 22, tzinfo=UTC)),
        *(
            (
                f"2019-08-24T14:15:22.{'123456789'[:digits]}Z",
                datetime(2019, 8, 24, 14, 15, 22, int("123456789"[:digits].ljust(6, "0")[:6]), UTC),
            )
            for digits in range(1, 10)
        ),
        ("", None),
        (None, None),
    ],
)
def test_times_are_read_in_every_form(text: str | None, expected: datetime | None) -> None:
    """RFC 3339 with 0 to 9 fraction digits in either case; no zone is UTC, an empty string None."""
    read = decode({"createdTime": text}, QualifiedNumber).created_time
    assert read == expected
    assert read is None or read.utcoffset() is not None


@pytest.mark.parametrize(
    ("model", "body", "field"),
    [
        (QualifiedNumber, {"globalProcessState": 5}, "global_process_state"),
        (QualifiedNumber, {"osrEligibility": CANARY}, "osr_eligibility"),
        (QualifiedNumber, {"osrEligibility": [CANARY]}, "osr_eligibility"),
        (OsrEligibilityDetails, {"status": True}, "status"),
        (OsrEligibilityDetails, {"status": [CANARY]}, "status"),
        (OsrEligibilityDetails, {"status": 1.5}, "status"),
        (OsrEligibilityDetails, {"error": {CANARY: CANARY}}, "error"),
        (HostedNumberDetails, {"status": True}, "status"),
        (HostedNumberDetails, {"status": {CANARY: CANARY}}, "status"),
        (QualifiedNumber, {"createdTime": CANARY}, "created_time"),
        (QualifiedNumber, {"createdTime": 1566656122}, "created_time"),
        (QualifiedNumber, {"createdTime": {"seconds": 1566656122}}, "created_time"),
        (QualifiedNumber, {"createdTime": "2019-13-24T14:15:22Z"}, "created_time"),
        (QualifiedNumber, {"createdTime": "2016-12-31T23:59:60Z"}, "created_time"),
        (QualifiedNumber, {"createdTime": "2024-05-01T12:00:00+00:00[UTC]"}, "created_time"),
        (QualifiedNumber, {"createdTime": "Sat, 24 Aug 2019 14:15:22 GMT"}, "created_time"),
        (HostingOrder, {"migrateToSinchTmo": CANARY}, "migrate_to_sinch_tmo"),
        (HostingOrder, {"migrateToSinchTmo": 1}, "migrate_to_sinch_tmo"),
        (TextEnableInfo, {"loaType": [CANARY]}, "loa_type"),
        (ListQualifiedNumbersResponse, {"totalSize": 1.5}, "total_size"),
        (ListQualifiedNumbersResponse, {"totalSize": True}, "total_size"),
        (ListQualifiedNumbersResponse, {"totalSize": ""}, "total_size"),
        (ListQualifiedNumbersResponse, {"totalSize": "9" * 5000}, "total_size"),
    ],
)
def test_an_unreadable_field_is_none_and_the_others_stay(
    model: type[Any], body: dict[str, object], field: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A field of the wrong type costs that field only, and one log line without the value."""
    drift._counts.clear()
    other = next(f for f in reversed(attrs.fields(model)) if f.name != field and f.type)
    whole = {other.metadata["wire"]: None, **body, "nextPageToken": "t", "nnid": "7"}
    for _ in range(2):
        read = decode({**whole, "phoneNumber": PHONE, "hostingOrderId": "1"}, model)
        assert getattr(read, field) is None
        for kept, value in {"phone_number": PHONE, "hosting_order_id": "1", "nnid": "7"}.items():
            assert getattr(read, kept, value) == value
    wire = next(iter(body))
    told = [text for text in caplog.messages if f"unknown type: {model.__name__} {wire}" in text]
    assert len(told) == 1
    assert CANARY not in caplog.text


@pytest.mark.parametrize(
    ("model", "body", "field"),
    [
        (QualifiedNumber, {"phoneNumber": [CANARY]}, "phoneNumber"),
        (QualifiedNumber, {"phoneNumber": {CANARY: 1}}, "phoneNumber"),
        (HostingOrder, {"hostingOrderId": True}, "hostingOrderId"),
        (ListQualifiedNumbersResponse, {"nextPageToken": {CANARY: 1}}, "nextPageToken"),
        (AddNumbersResponse, {"qualifiedNumbers": CANARY}, "qualifiedNumbers"),
        (AddNumbersResponse, {"qualifiedNumbers": {CANARY: {}}}, "qualifiedNumbers"),
        (AddNumbersResponse, {"qualifiedNumbers": [CANARY, None]}, "qualifiedNumbers"),
    ],
)
def test_an_unreadable_id_or_page_token_is_rejected(
    model: type[Any], body: object, field: str
) -> None:
    """An object that loses its id or the rest of a listing is an error that names the field."""
    with pytest.raises(
        InvalidResponseError, match=rf"not a {model.__name__}: its {field} cannot be read"
    ) as e:
        decode(body, model)
    assert CANARY not in f"{e.value!r} {e.value} {e.value.__cause__} {e.value.__context__}"
    assert e.value.outcome is Outcome.UNKNOWN


def test_every_required_field_of_an_operation_is_essential() -> None:
    """The field without which a 200 is an error is never dropped as unreadable."""
    required = {operation.required_field for operation in OPERATIONS} - {None}
    assert required <= _codec._ESSENTIAL


def test_an_id_may_travel_as_a_number() -> None:
    """A number where text is documented is read as its digits, which loses nothing."""
    assert decode({"hostingOrderId": 17}, HostingOrder).hosting_order_id == "17"
    assert decode({"nextPageToken": 2}, ListQualifiedNumbersResponse).next_page_token == "2"


@pytest.mark.parametrize("odd", [7, None, "x", [], {"phoneNumber": {}}], ids=str)
def test_an_unreadable_item_does_not_lose_the_others(odd: object) -> None:
    """An unreadable item is left out and recorded; the items beside it are read."""
    drift._counts.clear()
    body = {"qualifiedNumbers": [{"phoneNumber": "1"}, odd, {"phoneNumber": "2"}]}
    read = decode(body, AddNumbersResponse).qualified_numbers
    assert [number.phone_number for number in read or []] == ["1", "2"]
    assert drift.counts()[Drift("type", "QualifiedNumber", "item")] == 1


def test_a_list_of_millions_of_wrong_items_is_one_error() -> None:
    """A list is read up to a bound of wrong items, so that a hostile one cannot block the loop."""
    for hostile in ([1] * 1_000_000, "x" * 1_000_000, [{}, *[1] * 1_000_000]):
        with pytest.raises(InvalidResponseError) as caught:
            decode({"qualifiedNumbers": hostile}, AddNumbersResponse)
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("digits", ["0", "12"])
def test_whole_numbers_may_travel_as_digits(digits: str) -> None:
    """A 64-bit integer may be a string of digits."""
    assert decode({"totalSize": digits}, ListQualifiedNumbersResponse).total_size == int(digits)


@pytest.mark.parametrize("value", [None, [], "x", 1, True])
def test_a_model_is_read_from_an_object_only(value: object) -> None:
    """Only a JSON object is read as a model."""
    with pytest.raises(InvalidResponseError, match="expected a QualifiedNumber object"):
        decode(value, QualifiedNumber)


# ---- writing -----------------------------------------------------------------------------------


class Zoneless(tzinfo):
    """A time zone without an offset: Python calls such a time naive as well."""

    def utcoffset(self, _: datetime | None) -> None:
        return None

    def dst(self, _: datetime | None) -> None:
        return None

    def tzname(self, _: datetime | None) -> None:
        return None


def order_at(when: datetime) -> TextEnableNumbersRequest:
    """Return an order scheduled for *when*."""
    return TextEnableNumbersRequest(
        region_code="US",
        numbers=[PHONE],
        service_plan_id="plan",
        blanket_loa_info=BlanketLoaInfo(),
        scheduled_osr_update_time=when,
    )


@pytest.mark.parametrize(
    "when",
    [
        datetime(2023, 1, 13, 14, 34, 40),  # noqa: DTZ001 - naive on purpose
        datetime(2023, 1, 13, 14, 34, 40, tzinfo=Zoneless()),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
    ],
)
def test_ambiguous_time_is_rejected(when: datetime) -> None:
    """A naive time, or one outside the range of UTC, is rejected on writing."""
    with pytest.raises(InvalidRequestError, match="a time"):
        encode(order_at(when))


@pytest.mark.parametrize(
    ("when", "text"),
    [
        (datetime(2023, 1, 13, 14, 34, 40, tzinfo=UTC), "2023-01-13T14:34:40Z"),
        (datetime(2023, 1, 13, 14, 34, 40, 968000, UTC), "2023-01-13T14:34:40.968Z"),
        (datetime(2023, 1, 13, 14, 34, 40, 968001, UTC), "2023-01-13T14:34:40.968001Z"),
        (
            datetime(2023, 1, 13, 14, 34, 40, 1000, timezone(timedelta(hours=2))),
            "2023-01-13T12:34:40.001Z",
        ),
    ],
)
def test_written_time_is_utc_and_ends_with_z(when: datetime, text: str) -> None:
    """A time is written in UTC with `Z`, its milliseconds kept."""
    assert encode(order_at(when))["scheduledOsrUpdateTime"] == text


def test_nothing_unset_is_sent() -> None:
    """Fields that are None are not sent, and a blanket LOA is an empty object."""
    written = encode(order_at(datetime(2023, 1, 13, tzinfo=UTC)))
    assert written == {
        "regionCode": "US",
        "numbers": [PHONE],
        "servicePlanId": "plan",
        "blanketLoaInfo": {},
        "scheduledOsrUpdateTime": "2023-01-13T00:00:00Z",
    }


@given(when=st.datetimes(timezones=st.just(UTC)))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_written_time_is_read_back_the_same(when: datetime) -> None:
    """A written time is read as the same moment."""
    text = write_datetime(when)
    assert text.endswith("Z")
    assert decode({"createdTime": text}, QualifiedNumber).created_time == when
