"""The resources: each operation's exact request and response, and what they refuse."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import attrs
import orjson
import pytest
from aioresponses import CallbackResult, aioresponses
from yarl import URL

from sinch_qn import BasicAuth, QualifiedNumbersClient
from sinch_qn.client import BASE_URL
from sinch_qn.errors import BadRequestError, InvalidRequestError, NotFoundError, Outcome, SinchError
from sinch_qn.models import (
    BlanketLoaInfo,
    CallbackConfiguration,
    CarrierState,
    HostingOrder,
    HostingOrderNumber,
    HostingOrderReport,
    HostingOrderState,
    HostingOrderType,
    ImportedNumber,
    ImportNumberRequest,
    ImportNumbersRequest,
    NumberSearchPattern,
    OperationStatus,
    OsrUpdate,
    ProvisioningType,
    ServiceProvisioning,
    SmsConfiguration,
    TextEnableNumbersRequest,
    TextEnableTollFreeNumbersRequest,
)
from tests.support.loa import DIRECT, DIRECT_JSON

PROJECT = "project-1"
ROOT = f"{BASE_URL}/v1/projects/{PROJECT}"
NUMBER, TOLL_FREE = "+12025550134", "+18335550134"
ORDER_ID = "01arz3nhyrtsv4rrffq69g5fav"
SECRET = "canary-secret-of-callbacks"

Client = QualifiedNumbersClient
Call = Callable[[Client], Awaitable[Any]]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Return a client of Sinch's address, to be used with `wire` only."""
    async with QualifiedNumbersClient(PROJECT, BasicAuth("key", "secret")) as client:
        yield client


@pytest.fixture
def wire() -> Any:
    """Replace the network."""
    with aioresponses() as wire:
        yield wire


async def collect(listing: AsyncIterator[Any]) -> list[Any]:
    """Return all that *listing* yields."""
    return [item async for item in listing]


ORDER_JSON = {
    "hostingOrderId": ORDER_ID,
    "state": "WAITING_FOR_LOA_SIGNATURE",
    "type": "TYPE_TEXT_ENABLE",
}
ORDER = HostingOrder(
    hosting_order_id=ORDER_ID,
    state=HostingOrderState.WAITING_FOR_LOA_SIGNATURE,
    type=HostingOrderType.TYPE_TEXT_ENABLE,
)
TEXT_ENABLE = TextEnableNumbersRequest(
    region_code="US", numbers=[NUMBER], service_plan_id="plan", blanket_loa_info=BlanketLoaInfo()
)
TEXT_ENABLE_TOLL_FREE = TextEnableTollFreeNumbersRequest(
    region_code="US", numbers=[TOLL_FREE], service_plan_id="plan", direct_loa_info=DIRECT
)
IMPORT_ORDER = ImportNumbersRequest(
    region_code="US", numbers=[NUMBER], service_plan_id="plan", migrate_to_sinch_tmo=False
)
IMPORT = ImportNumberRequest(
    phone_number=NUMBER,
    region_code="US",
    sms_configuration=SmsConfiguration(service_plan_id="plan", campaign_id="C1"),
)
ORDER_NUMBER_JSON = {
    "phoneNumber": NUMBER,
    "osrUpdate": {"nnid": "104029", "state": "DONE"},
    "smsTmo": {"state": "FAILED", "errorCode": "MNO_SHARING_ERROR", "errorMessage": ""},
}
ORDER_NUMBER = HostingOrderNumber(
    phone_number=NUMBER,
    osr_update=OsrUpdate(nnid="104029", state=OperationStatus.DONE),
    sms_tmo=CarrierState(
        state=OperationStatus.FAILED, error_code="MNO_SHARING_ERROR", error_message=""
    ),
)
IMPORTED_JSON = {
    "phoneNumber": NUMBER,
    "smsConfiguration": {"servicePlanId": "plan", "campaignId": ""},
    "campaignProvisioning": {"serviceId": "C1", "type": "DEPROVISIONING", "state": "BRAND_NEW"},
}
IMPORTED = ImportedNumber(
    phone_number=NUMBER,
    sms_configuration=SmsConfiguration(service_plan_id="plan", campaign_id=""),
    campaign_provisioning=ServiceProvisioning(
        service_id="C1", type=ProvisioningType.DEPROVISIONING, state=OperationStatus("BRAND_NEW")
    ),
)
CONFIGURATION_JSON = {"projectId": PROJECT, "hmacSecret": SECRET}
CONFIGURATION = CallbackConfiguration(project_id=PROJECT, hmac_secret=SECRET)

EXCHANGES: dict[str, tuple[Call, str, str, Any, Any, Any]] = {
    "listHostingOrders": (
        lambda c: collect(
            c.hosting_orders.list(
                "SUBMITTED",
                type=HostingOrderType.TYPE_TEXT_ENABLE,
                service_plan_id="plan",
                campaign_id="C1",
                region_code="CA",
                order_by="createdTime",
                page_size=5,
            )
        ),
        "GET",
        (
            "/hostingOrders?campaignId=C1&orderBy=createdTime&pageSize=5&regionCode=CA"
            "&servicePlanId=plan&states=SUBMITTED&type=TYPE_TEXT_ENABLE"
        ),
        None,
        {"hostingOrders": [ORDER_JSON], "totalSize": 1},
        [ORDER],
    ),
    "getHostingOrder": (
        lambda c: c.hosting_orders.get(ORDER_ID),
        "GET",
        f"/hostingOrders/{ORDER_ID}",
        None,
        ORDER_JSON,
        ORDER,
    ),
    "getHostingOrderReport": (
        lambda c: c.hosting_orders.report(ORDER_ID),
        "GET",
        f"/hostingOrders/{ORDER_ID}/report",
        None,
        {"total": 3, "osrUpdated": "2"},
        HostingOrderReport(total=3, osr_updated=2),
    ),
    "listHostingOrderNumbers": (
        lambda c: collect(
            c.hosting_orders.list_numbers(
                ORDER_ID,
                osr_update_state=OperationStatus.DONE,
                campaign_provisioning_state="FAILED",
                platform_provisioning_state="WAITING",
                order_by="phoneNumber",
                page_size=7,
            )
        ),
        "GET",
        (
            f"/hostingOrders/{ORDER_ID}/numbers?campaignProvisioningState=FAILED&orderBy=phoneNumber"
            "&osrUpdateState=DONE&pageSize=7&platformProvisioningState=WAITING"
        ),
        None,
        {"numbers": [ORDER_NUMBER_JSON]},
        [ORDER_NUMBER],
    ),
    "getHostingOrderNumber": (
        lambda c: c.hosting_orders.get_number(ORDER_ID, NUMBER),
        "GET",
        f"/hostingOrders/{ORDER_ID}/numbers/{NUMBER}",
        None,
        ORDER_NUMBER_JSON,
        ORDER_NUMBER,
    ),
    "createImportOrder": (
        lambda c: c.hosting_orders.import_numbers(IMPORT_ORDER),
        "POST",
        "/hostingOrders:importNumbers",
        {
            "regionCode": "US",
            "numbers": [NUMBER],
            "servicePlanId": "plan",
            "migrateToSinchTmo": False,
        },
        {**ORDER_JSON, "numberImport": "{}"},
        ORDER,
    ),
    "createTextEnableOrder": (
        lambda c: c.hosting_orders.text_enable_numbers(TEXT_ENABLE),
        "POST",
        "/hostingOrders:textEnableNumbers",
        {"regionCode": "US", "numbers": [NUMBER], "servicePlanId": "plan", "blanketLoaInfo": {}},
        ORDER_JSON,
        ORDER,
    ),
    "createTollFreeTextEnableOrder": (
        lambda c: c.hosting_orders.text_enable_toll_free_numbers(TEXT_ENABLE_TOLL_FREE),
        "POST",
        "/hostingOrders:textEnableTollFreeNumbers",
        {
            "regionCode": "US",
            "numbers": [TOLL_FREE],
            "servicePlanId": "plan",
            "projectId": PROJECT,
            "directLoaInfo": DIRECT_JSON,
        },
        ORDER_JSON,
        ORDER,
    ),
    "listImportedNumbers": (
        lambda c: collect(
            c.imported_numbers.list(
                service_plan_id="plan",
                campaign_id="C1",
                region_code="US",
                pattern="+1202",
                search_pattern=NumberSearchPattern.START,
                order_by="phoneNumber",
                page_size=1,
            )
        ),
        "GET",
        (
            "/importedNumbers?campaignId=C1&numberPattern.pattern=%2B1202"
            "&numberPattern.searchPattern=START&orderBy=phoneNumber&pageSize=1&regionCode=US"
            "&servicePlanId=plan"
        ),
        None,
        {"importedNumbers": [IMPORTED_JSON]},
        [IMPORTED],
    ),
    "importNumber": (
        lambda c: c.imported_numbers.import_number(IMPORT),
        "POST",
        "/importedNumbers",
        {
            "phoneNumber": NUMBER,
            "regionCode": "US",
            "smsConfiguration": {"servicePlanId": "plan", "campaignId": "C1"},
        },
        IMPORTED_JSON,
        IMPORTED,
    ),
    "getImportedNumber": (
        lambda c: c.imported_numbers.get(NUMBER),
        "GET",
        f"/importedNumbers/{NUMBER}",
        None,
        IMPORTED_JSON,
        IMPORTED,
    ),
    "updateImportedNumber": (
        lambda c: c.imported_numbers.update(NUMBER, display_name="Store 7", campaign_id=""),
        "PATCH",
        f"/importedNumbers/{NUMBER}",
        {"displayName": "Store 7", "smsConfiguration": {"campaignId": ""}},
        IMPORTED_JSON,
        IMPORTED,
    ),
    "updateImportedNumber, its address only": (
        lambda c: c.imported_numbers.update(NUMBER, callback_url="https://example.com/cb"),
        "PATCH",
        f"/importedNumbers/{NUMBER}",
        {"callbackUrl": "https://example.com/cb"},
        IMPORTED_JSON,
        IMPORTED,
    ),
    "deleteImportedNumber": (
        lambda c: c.imported_numbers.delete(NUMBER),
        "DELETE",
        f"/importedNumbers/{NUMBER}",
        None,
        None,
        None,
    ),
    "getCallbackConfiguration": (
        lambda c: c.callback_configuration.get(),
        "GET",
        "/callbackConfiguration",
        None,
        CONFIGURATION_JSON,
        CONFIGURATION,
    ),
    "updateCallbackConfiguration": (
        lambda c: c.callback_configuration.update(SECRET),
        "PATCH",
        "/callbackConfiguration",
        {"hmacSecret": SECRET},
        CONFIGURATION_JSON,
        CONFIGURATION,
    ),
}


@pytest.mark.parametrize("name", EXCHANGES)
async def test_an_exchange(client: Client, wire: Any, name: str) -> None:
    """Method, address and body are as documented; the response is read as its model."""
    call, method, path, sent, answered, result = EXCHANGES[name]
    seen: list[tuple[URL, Any]] = []

    def reply(url: URL, **request: Any) -> CallbackResult:
        seen.append((url, request["data"]))
        body = b"" if answered is None else orjson.dumps(answered)
        return CallbackResult(status=200, body=body)

    wire.add(URL(ROOT + path, encoded=True), method, callback=reply)
    assert await call(client) == result
    ((url, body),) = seen
    assert str(url) == ROOT + path
    assert (None if body is None else orjson.loads(body)) == sent


async def test_a_listing_of_orders_walks_the_six_states(client: Client, wire: Any) -> None:
    """Without states a listing asks for all six, one a request, in the order of an order's life."""
    asked: list[str] = []

    def reply(url: URL, **_: Any) -> CallbackResult:
        asked.append(url.query["states"])
        order = {"hostingOrderId": "1", "state": url.query["states"]}
        return CallbackResult(status=200, payload={"hostingOrders": [order]})

    for state in HostingOrderState:
        query = f"campaignId=C1&servicePlanId=plan&states={state}&type=IMPORT"
        wire.get(URL(f"{ROOT}/hostingOrders?{query}", encoded=True), callback=reply)
    listing = client.hosting_orders.list(type="IMPORT", service_plan_id="plan", campaign_id="C1")
    found = await collect(listing)
    assert asked == [order.state for order in found]
    assert (
        asked == "DRAFT SUBMITTED WAITING_FOR_LOA_SIGNATURE IN_PROGRESS COMPLETED REJECTED".split()
    )


async def test_pages_of_a_listing_follow_their_tokens(client: Client, wire: Any) -> None:
    """A listing goes on with each page's token, as it came, and keeps its other parameters."""
    asked: list[tuple[str, str | None]] = []

    def reply(url: URL, **_: Any) -> CallbackResult:
        asked.append((url.query["osrUpdateState"], url.query.get("pageToken")))
        page: dict[str, Any] = {"numbers": [{"phoneNumber": f"{len(asked)}"}]}
        return CallbackResult(
            status=200, payload=page | ({"nextPageToken": "a+/="} if len(asked) < 2 else {})
        )

    base = f"{ROOT}/hostingOrders/{ORDER_ID}/numbers?osrUpdateState=FAILED"
    wire.get(URL(base, encoded=True), callback=reply)
    wire.get(URL(f"{base}&pageToken=a%2B%2F%3D", encoded=True), callback=reply)
    listing = client.hosting_orders.list_numbers(ORDER_ID, osr_update_state="FAILED")
    assert [number.phone_number for number in await collect(listing)] == ["1", "2"]
    assert asked == [("FAILED", None), ("FAILED", "a+/=")]


async def test_wrapped_errors_are_read(client: Client, wire: Any) -> None:
    """An error of the callback configuration has its code, status and details, though wrapped."""
    details = [{"type": "BadRequest", "fieldViolations": [{"field": "a", "description": "b"}]}]
    body = {"code": 400, "message": "no", "status": "INVALID_ARGUMENT", "details": details}
    wire.get(f"{ROOT}/callbackConfiguration", status=400, payload={"error": body})
    with pytest.raises(BadRequestError) as caught:
        await client.callback_configuration.get()
    error = caught.value
    assert (error.code, error.status, error.message) == ("400", "INVALID_ARGUMENT", "no")
    assert error.details == details


async def test_a_404_is_not_found(client: Client, wire: Any) -> None:
    """An unknown order is a NotFoundError, REJECTED."""
    body = {"code": "404", "message": "unknown", "status": "NOT_FOUND"}
    wire.get(f"{ROOT}/hostingOrders/{ORDER_ID}", status=404, payload=body)
    with pytest.raises(NotFoundError) as caught:
        await client.hosting_orders.get(ORDER_ID)
    assert caught.value.outcome is Outcome.REJECTED


async def test_an_echoed_secret_is_in_no_error(client: Client, wire: Any) -> None:
    """A secret that the server repeats in its error is redacted."""
    error = {"code": 400, "message": f"{SECRET} is too short", "status": "INVALID_ARGUMENT"}
    wire.patch(f"{ROOT}/callbackConfiguration", status=400, payload={"error": error})
    with pytest.raises(BadRequestError) as caught:
        await client.callback_configuration.update(SECRET)
    assert SECRET not in f"{caught.value!r} {caught.value} {vars(caught.value)}"
    assert "•••" in str(caught.value)


@pytest.mark.parametrize("value", [{"deep": SECRET}, [SECRET], True], ids=str)
async def test_an_unreadable_secret_is_in_no_error_and_no_log(
    client: Client, wire: Any, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    """A secret of another type costs itself; drift and logs name the field, never the value."""
    caplog.set_level("DEBUG")
    body = {"projectId": PROJECT, "hmacSecret": value}
    wire.get(f"{ROOT}/callbackConfiguration", payload=body)
    configuration = await client.callback_configuration.get()
    assert configuration == CallbackConfiguration(project_id=PROJECT)
    assert SECRET not in caplog.text + repr(configuration)


def test_a_secret_is_in_no_repr() -> None:
    """The configuration shows its project, but not its secret."""
    assert SECRET not in f"{CONFIGURATION!r} {CONFIGURATION}"
    assert PROJECT in repr(CONFIGURATION)


# ---- refused here ------------------------------------------------------------------------------

PLACE = {"type": "IMPORT", "service_plan_id": "plan", "campaign_id": "C1"}


def orders(*states: str, **changes: Any) -> Call:
    """Return a call that lists orders, valid except for its arguments."""
    return lambda c: collect(c.hosting_orders.list(*states, **(PLACE | changes)))


def imported(**changes: Any) -> Call:
    """Return a call that lists imported numbers, valid except for *changes*."""
    valid: dict[str, Any] = {"service_plan_id": "plan", "campaign_id": "C1"}
    return lambda c: collect(c.imported_numbers.list(**(valid | changes)))


def order_numbers(**filters: Any) -> Call:
    """Return a call that lists an order's numbers."""
    return lambda c: collect(c.hosting_orders.list_numbers(ORDER_ID, **filters))


def importing(**changes: Any) -> Call:
    """Return a call that imports a number, valid except for *changes*."""
    return lambda c: c.imported_numbers.import_number(attrs.evolve(IMPORT, **changes))


def ordering(**changes: Any) -> Call:
    """Return a call that orders an import, valid except for *changes*."""
    return lambda c: c.hosting_orders.import_numbers(attrs.evolve(IMPORT_ORDER, **changes))


REFUSED: dict[str, Call] = {
    "states": orders("completed"),
    "states ": orders("COMPLETED", "x&y=z"),
    "type": orders(type="TYPE TEXT"),
    "service_plan_id": orders(service_plan_id=None),
    "campaign_id": orders(campaign_id="half \ud800"),
    "region_code": orders(region_code="FR"),
    "order_by": orders(order_by="phoneNumber"),
    "page_size": orders(page_size=-1),
    "order_id": lambda c: c.hosting_orders.get("../x"),
    "order_id ": lambda c: c.hosting_orders.wait("a/b", timeout=1.0),
    "order_id  ": lambda c: c.hosting_orders.report(""),
    "order_id   ": lambda c: collect(c.hosting_orders.list_numbers("a:b")),
    "timeout": lambda c: c.hosting_orders.wait(ORDER_ID, timeout=0.0),
    "osr_update_state": order_numbers(osr_update_state="done"),
    "platform_provisioning_state": order_numbers(platform_provisioning_state=1),
    "phone_number": lambda c: c.hosting_orders.get_number(ORDER_ID, "12025550134"),
    "numbers": ordering(numbers=[]),
    "numbers[1]": ordering(numbers=[NUMBER, "x"]),
    "region_code ": ordering(region_code="FR"),
    "project_id": ordering(project_id="another"),
    "callback_url": ordering(callback_url="ftp://example.com"),
    "migrate_to_sinch_tmo": ordering(migrate_to_sinch_tmo="yes"),
    "request": lambda c: c.hosting_orders.import_numbers(IMPORT),  # type: ignore[arg-type]
    "request ": lambda c: c.imported_numbers.import_number(None),  # type: ignore[arg-type]
    "exactly one": lambda c: c.hosting_orders.text_enable_numbers(
        attrs.evolve(TEXT_ENABLE, blanket_loa_info=None)
    ),
    "phone_number ": importing(phone_number="x"),
    "project_id ": importing(project_id="another"),
    "sms_configuration.campaign_id": importing(
        sms_configuration=SmsConfiguration(campaign_id=7)  # type: ignore[arg-type]
    ),
    "pattern": imported(pattern="1202", search_pattern="START"),
    "pattern ": imported(search_pattern="START"),
    "search_pattern": imported(search_pattern="start"),
    "service_plan_id ": imported(service_plan_id=7),
    "at least one": lambda c: c.imported_numbers.update(NUMBER),
    "callback_url ": lambda c: c.imported_numbers.update(NUMBER, callback_url="x"),
    "phone_number  ": lambda c: c.imported_numbers.update("x", campaign_id=""),
    "campaign_id ": lambda c: c.imported_numbers.move(NUMBER, campaign_id="", timeout=1.0),
    "service_plan_id, a campaign_id": lambda c: c.imported_numbers.move(NUMBER, timeout=1.0),
    "timeout ": lambda c: c.imported_numbers.move(NUMBER, campaign_id="C1", timeout=-1.0),
    "phone_number   ": lambda c: c.imported_numbers.delete("x"),
    "hmac_secret": lambda c: c.callback_configuration.update(""),
    "hmac_secret ": lambda c: c.callback_configuration.update(f"{SECRET}\ud800"),
    "hmac_secret  ": lambda c: c.callback_configuration.update(SECRET.encode()),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("named", REFUSED)
async def test_refused_before_anything_is_sent(client: Client, wire: Any, named: str) -> None:
    """Arguments beyond a documented limit are rejected by name before sending: NOT_SENT."""
    with pytest.raises(InvalidRequestError) as caught:
        await REFUSED[named](client)
    assert named.strip() in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.outcome is Outcome.NOT_SENT
    assert wire.requests == {}


async def test_any_number_of_numbers_may_be_imported(client: Client, wire: Any) -> None:
    """The limit of five can be raised by Sinch, so that only the server knows it."""
    wire.post(f"{ROOT}/hostingOrders:importNumbers", payload=ORDER_JSON)
    numbers = [f"+1202555{line:04}" for line in range(100, 120)]
    assert await ordering(numbers=numbers)(client) == ORDER


async def test_unsafe_calls_can_be_prepared(client: Client, wire: Any) -> None:
    """Each call that must not be repeated takes a prepared slot and token, once."""
    calls: tuple[Callable[..., Awaitable[Any]], ...] = (
        lambda **o: client.hosting_orders.import_numbers(IMPORT_ORDER, **o),
        lambda **o: client.hosting_orders.text_enable_numbers(TEXT_ENABLE, **o),
        lambda **o: client.hosting_orders.text_enable_toll_free_numbers(TEXT_ENABLE_TOLL_FREE, **o),
        lambda **o: client.imported_numbers.import_number(IMPORT, **o),
        lambda **o: client.imported_numbers.update(NUMBER, campaign_id="", **o),
    )
    for call in calls:
        prepared = await client.prepare()
        with pytest.raises(SinchError):
            await call(prepared=prepared)  # `wire` refuses the connection
        assert prepared.used
        with pytest.raises(InvalidRequestError, match="used already"):
            await call(prepared=prepared)
