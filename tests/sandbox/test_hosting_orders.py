"""Hosting orders in the sandbox: who waits for whom, what each number reaches, what is listed."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from random import Random
from typing import Any

import aiohttp
import pytest

from sinch_qn import QualifiedNumbersClient
from sinch_qn.errors import (
    BadRequestError,
    ConflictError,
    DeadlineExceededError,
    NotFoundError,
    OrderRejectedError,
)
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.models import (
    HostingOrderReport,
    HostingOrderType,
    ImportNumbersRequest,
    OperationStatus,
    TextEnableNumbersRequest,
    TextEnableTollFreeNumbersRequest,
)
from sinch_qn.models import HostingOrderState as OrderState
from sinch_qn.sandbox import Clock, Sandbox
from tests.sandbox.curl import Curl, conforms
from tests.support.loa import DIRECT

NUMBER, OTHER, TOLL_FREE = "+12025550134", "+12025550135", "+18335550134"
FAILS, REFUSED = "+12025559997", "+12025559989"
REJECTED = "+12025559998"
PLACE: dict[str, Any] = {"service_plan_id": "plan", "campaign_id": "C1"}
DONE, WAITING, FAILED = OperationStatus.DONE, OperationStatus.WAITING, OperationStatus.FAILED


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Run a sandbox whose clock only the test moves; orders take a minute to sign and to host."""
    async with Sandbox(
        clock=Clock.stopped(), random=Random(5), loa_delay=60.0, hosting_delay=60.0
    ) as sandbox:
        sandbox.add([NUMBER, OTHER, TOLL_FREE, FAILS, REFUSED, REJECTED], SinchState.VERIFIED)
        yield sandbox


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[QualifiedNumbersClient]:
    """Return a client of the sandbox."""
    async with sandbox.client() as client:
        yield client


@pytest.fixture
async def curl(sandbox: Sandbox) -> AsyncIterator[Curl]:
    """Return a plain HTTP client."""
    async with aiohttp.ClientSession() as session:
        yield Curl(sandbox, session)


def order_of(*numbers: str, **more: Any) -> TextEnableNumbersRequest:
    """Return an order of *numbers* with a letter, and of a campaign unless that is None."""
    fields: dict[str, Any] = {"region_code": "US", "direct_loa_info": DIRECT, **PLACE, **more}
    return TextEnableNumbersRequest(numbers=list(numbers), **fields)


async def place(client: QualifiedNumbersClient, *numbers: str, **more: Any) -> str:
    """Place an order and return its id."""
    order = await client.hosting_orders.text_enable_numbers(order_of(*numbers, **more))
    return str(order.hosting_order_id)


async def state_of(client: QualifiedNumbersClient, order_id: str) -> OrderState | None:
    """Return the state of an order."""
    return (await client.hosting_orders.get(order_id)).state


async def states(client: QualifiedNumbersClient, order_id: str) -> Counter[tuple[Any, ...]]:
    """Return how many numbers of an order are where: OSR, platform and campaign."""
    return Counter(
        [
            (
                number.osr_update and number.osr_update.state,
                number.platform_provisioning and number.platform_provisioning.state,
                number.campaign_provisioning and number.campaign_provisioning.state,
            )
            async for number in client.hosting_orders.list_numbers(order_id)
        ]
    )


async def test_an_order_waits_for_its_signature_and_is_hosted_in_time(
    sandbox: Sandbox, client: QualifiedNumbersClient
) -> None:
    """An order is SUBMITTED, waits for its letter, is IN_PROGRESS, and COMPLETED at last."""
    order = await client.hosting_orders.text_enable_numbers(order_of(NUMBER, OTHER))
    assert (order.state, order.type) == (OrderState.SUBMITTED, HostingOrderType.TYPE_TEXT_ENABLE)
    order_id = str(order.hosting_order_id)
    assert await state_of(client, order_id) is OrderState.WAITING_FOR_LOA_SIGNATURE
    assert await states(client, order_id) == {(WAITING, WAITING, WAITING): 2}
    sandbox.clock.advance(60)
    assert await state_of(client, order_id) is OrderState.IN_PROGRESS
    assert await states(client, order_id) == {(OperationStatus.IN_PROGRESS,) * 3: 2}
    sandbox.clock.advance(60)
    assert await state_of(client, order_id) is OrderState.COMPLETED
    assert await states(client, order_id) == {(DONE, DONE, DONE): 2}
    assert (await client.get_number(NUMBER)).global_process_state is SinchState.HOSTING_DONE
    assert (await client.hosting_orders.wait(order_id, timeout=5)).state is OrderState.COMPLETED
    assert sandbox.violations == []


async def test_a_letter_can_be_signed_by_hand(
    sandbox: Sandbox, client: QualifiedNumbersClient, curl: Curl
) -> None:
    """The control API signs an order that waits for it, once."""
    sandbox.loa_delay = None
    order_id = await place(client, NUMBER)
    sandbox.clock.advance(10**6)
    assert await state_of(client, order_id) is OrderState.WAITING_FOR_LOA_SIGNATURE
    path = f"/_sandbox/orders/{order_id}:signLoa"
    status, order, _ = await curl.send("POST", path)
    assert (status, order["state"]) == (200, "IN_PROGRESS")
    assert (await curl.send("POST", path))[0] == 400
    assert await state_of(client, order_id) is OrderState.IN_PROGRESS


async def test_a_rejected_order_ends_a_wait(
    sandbox: Sandbox, client: QualifiedNumbersClient
) -> None:
    """An order with the number of a rejected letter is REJECTED once signed; nothing is hosted."""
    order_id = await place(client, NUMBER, REJECTED)
    sandbox.clock.advance(60)
    with pytest.raises(OrderRejectedError) as caught:
        await client.hosting_orders.wait(order_id, timeout=5)
    assert caught.value.order.hosting_order_id == order_id
    assert await states(client, order_id) == {(WAITING, WAITING, WAITING): 2}
    assert (await client.get_number(NUMBER)).global_process_state is SinchState.HOSTING_FAILED
    with pytest.raises(NotFoundError):
        await client.imported_numbers.get(NUMBER)


async def test_an_order_is_followed_change_by_change(
    sandbox: Sandbox, client: QualifiedNumbersClient
) -> None:
    """Following yields the order and its totals at each change, and ends with the order."""
    order_id = await place(client, NUMBER, FAILS)
    seen = []
    async for progress in client.hosting_orders.follow(order_id, timeout=30):
        seen.append((progress.order.state, progress.report.total, progress.report.osr_updated))
        sandbox.clock.advance(60)
    assert seen == [
        (OrderState.WAITING_FOR_LOA_SIGNATURE, 2, 0),
        (OrderState.IN_PROGRESS, 2, 0),
        (OrderState.COMPLETED, 2, 1),
    ]


async def test_following_an_order_ends_in_time(client: QualifiedNumbersClient) -> None:
    """After the timeout following ends with an error that names the last state."""
    changes = client.hosting_orders.follow(await place(client, NUMBER), timeout=0.5)
    async with aclosing(changes):
        first = await anext(changes)
        assert first.order.state is OrderState.WAITING_FOR_LOA_SIGNATURE
        with pytest.raises(DeadlineExceededError, match=r"within 0\.5 s.*WAITING_FOR_LOA"):
            await anext(changes)


async def test_each_number_and_each_carrier_has_its_own_end(
    sandbox: Sandbox, client: QualifiedNumbersClient
) -> None:
    """One number is hosted, one is not, and one carrier refuses a third: each with its code."""
    order_id = await place(client, NUMBER, FAILS, REFUSED)
    sandbox.clock.advance(120)
    assert (await client.hosting_orders.get(order_id)).state is OrderState.COMPLETED
    found = {}
    async for number in client.hosting_orders.list_numbers(order_id):
        carriers = {
            name: getattr(number, name) for name in ("sms_att", "sms_tmo", "mms_att", "mms_tmo")
        }
        assert all(carriers.values())
        found[number.phone_number] = {n: c.error_code for n, c in carriers.items() if c.error_code}
        assert all((c.state is FAILED) is bool(c.error_code) for c in carriers.values())
    assert found[NUMBER] == {}
    assert found[REFUSED] == {"sms_tmo": "MNO_SHARING_ERROR"}
    assert found[FAILS] == dict.fromkeys(
        ("sms_att", "sms_tmo", "mms_att", "mms_tmo"), "INVALID_NNID"
    )
    assert await client.hosting_orders.report(order_id) == HostingOrderReport(
        total=3, osr_updated=2, sms_provisioned=2, added_to_campaign=2, ongoing_manual_action=1
    )
    one = await client.hosting_orders.get_number(order_id, REFUSED)
    assert one.phone_number == REFUSED
    with pytest.raises(NotFoundError):
        await client.hosting_orders.get_number(order_id, OTHER)
    assert (await client.get_number(REFUSED)).global_process_state is SinchState.HOSTING_DONE


async def test_the_numbers_of_an_order_are_filtered_by_state(
    sandbox: Sandbox, client: QualifiedNumbersClient
) -> None:
    """A filter keeps the numbers in that state, page by page."""
    sandbox.page_size_cap = 1
    order_id = await place(client, NUMBER, FAILS, REFUSED)
    sandbox.clock.advance(120)

    async def listed(**filters: str) -> list[str | None]:
        listing = client.hosting_orders.list_numbers(order_id, **filters)  # type: ignore[arg-type]
        return [number.phone_number async for number in listing]

    assert await listed() == [NUMBER, FAILS, REFUSED]
    assert await listed(osr_update_state="FAILED") == [FAILS]
    assert await listed(osr_update_state="DONE") == [NUMBER, REFUSED]
    assert await listed(platform_provisioning_state="WAITING") == [FAILS]
    assert await listed(campaign_provisioning_state="IN_PROGRESS") == []


async def test_campaigns_may_be_missing_or_expired(
    sandbox: Sandbox, client: QualifiedNumbersClient
) -> None:
    """A missing campaign is refused at once; with an expired one numbers cannot be linked."""
    with pytest.raises(BadRequestError, match="campaignId"):
        await place(client, NUMBER, campaign_id="C-MISSING")
    assert not sandbox.world.orders
    order_id = await place(client, NUMBER, campaign_id="C-EXPIRED")
    sandbox.clock.advance(120)
    assert await states(client, order_id) == {(DONE, DONE, FAILED): 1}
    number = await client.hosting_orders.get_number(order_id, NUMBER)
    assert number.sms_att is not None
    assert number.sms_att.error_code == "CAMPAIGN_EXPIRED"
    imported = await client.imported_numbers.get(NUMBER)
    assert imported.campaign_provisioning is not None
    assert imported.campaign_provisioning.error_code == "CAMPAIGN_EXPIRED"


async def test_orders_are_listed_by_all_that_the_api_requires(
    sandbox: Sandbox, client: QualifiedNumbersClient
) -> None:
    """Orders are found by state, type, service plan and campaign, the oldest first."""
    first = await place(client, NUMBER)
    sandbox.clock.advance(1)
    second = await place(client, OTHER)
    sandbox.clock.advance(1)
    elsewhere = await place(client, FAILS, campaign_id="C2")
    without = await client.hosting_orders.text_enable_toll_free_numbers(
        TextEnableTollFreeNumbersRequest(
            region_code="US", numbers=[TOLL_FREE], service_plan_id="plan", direct_loa_info=DIRECT
        )
    )

    async def listed(*wanted: OrderState, **changes: Any) -> list[str | None]:
        listing = client.hosting_orders.list(
            *wanted, **({"type": "TYPE_TEXT_ENABLE", **PLACE} | changes)
        )
        return [order.hosting_order_id async for order in listing]

    assert await listed() == [first, second]
    sandbox.page_size_cap = 1
    assert await listed(OrderState.WAITING_FOR_LOA_SIGNATURE) == [first, second]
    sandbox.sign_loa(first)
    assert await listed() == [second, first]  # state by state
    assert await listed(OrderState.IN_PROGRESS) == [first]
    assert await listed(campaign_id="C2") == [elsewhere]
    assert await listed(type="IMPORT") == []
    assert await listed(service_plan_id="other") == []
    assert await listed(region_code="CA") == []
    assert without.campaign_id is None
    with pytest.raises(BadRequestError, match="campaignId: is empty"):
        await listed(campaign_id="")


async def test_orders_are_listed_by_their_last_change(
    sandbox: Sandbox, client: QualifiedNumbersClient
) -> None:
    """With `updatedTime`, an order that was changed later comes later."""
    sandbox.loa_delay = None
    first, second = await place(client, NUMBER), await place(client, OTHER)
    sandbox.clock.advance(1)
    sandbox.sign_loa(second)
    sandbox.clock.advance(1)
    sandbox.sign_loa(first)
    listing = client.hosting_orders.list(
        "IN_PROGRESS", type="TYPE_TEXT_ENABLE", order_by="updatedTime", **PLACE
    )
    assert [order.hosting_order_id async for order in listing] == [second, first]


async def test_both_twins_place_the_same_order(
    sandbox: Sandbox, client: QualifiedNumbersClient
) -> None:
    """The order of a qualified number's operation is found, like that of an order's."""
    order_id = await client.text_enable_numbers(order_of(NUMBER, display_name="one"))
    order = await client.hosting_orders.get(order_id)
    assert (order.display_name, order.campaign_id) == ("one", "C1")
    assert order.hosting_order_info is not None
    with pytest.raises(ConflictError):
        await place(client, NUMBER)
    assert len(sandbox.world.orders) == 1


async def test_an_import_needs_no_letter(sandbox: Sandbox, client: QualifiedNumbersClient) -> None:
    """An order of type IMPORT is hosted without a signature; its numbers need no qualification."""
    numbers = ["+12025550180", "+12025559989"]
    order = await client.hosting_orders.import_numbers(
        ImportNumbersRequest(region_code="US", numbers=numbers, **PLACE)
    )
    assert (order.type, order.hosting_order_info) == (HostingOrderType.IMPORT, None)
    order_id = str(order.hosting_order_id)
    assert await state_of(client, order_id) is OrderState.IN_PROGRESS
    sandbox.clock.advance(60)
    assert await state_of(client, order_id) is OrderState.COMPLETED
    configuration = (await client.imported_numbers.get(numbers[0])).sms_configuration
    assert configuration is not None
    assert (configuration.service_plan_id, configuration.campaign_id) == ("plan", "C1")
    with pytest.raises(ConflictError):
        await client.hosting_orders.import_numbers(
            ImportNumbersRequest(region_code="US", numbers=numbers[:1], **PLACE)
        )


async def test_an_import_has_a_limit(sandbox: Sandbox, client: QualifiedNumbersClient) -> None:
    """An import of more than five numbers is refused, unless the limit was raised."""
    numbers = [f"+1202555{line:04}" for line in range(180, 186)]
    request = ImportNumbersRequest(region_code="US", numbers=numbers, **PLACE)
    with pytest.raises(BadRequestError, match="more than 5"):
        await client.hosting_orders.import_numbers(request)
    with pytest.raises(BadRequestError, match="another region"):
        await client.hosting_orders.import_numbers(
            ImportNumbersRequest(region_code="US", numbers=["+17875550134"], **PLACE)
        )
    sandbox.import_limit = 6
    await client.hosting_orders.import_numbers(request)
    assert len(sandbox.world.orders) == 1


async def test_reads_may_lag(sandbox: Sandbox, client: QualifiedNumbersClient) -> None:
    """With a visibility delay a new order is found, and listed, only after a while."""
    sandbox.visibility_delay = 10.0
    order_id = await place(client, NUMBER)

    async def listed() -> int:
        listing = client.hosting_orders.list(type="TYPE_TEXT_ENABLE", **PLACE)
        return len([order async for order in listing])

    with pytest.raises(NotFoundError):
        await client.hosting_orders.get(order_id)
    assert await listed() == 0
    sandbox.clock.advance(10)
    assert await state_of(client, order_id) is OrderState.WAITING_FOR_LOA_SIGNATURE
    assert await listed() == 1


async def test_an_unknown_order_is_a_404(client: QualifiedNumbersClient, curl: Curl) -> None:
    """An unknown order is a 404, a made-up page token and a missing filter a 400."""
    with pytest.raises(NotFoundError, match="hosting order"):
        await client.hosting_orders.report("unknown")
    query = "type=IMPORT&servicePlanId=plan&campaignId=C1"
    for path in (f"?states=SUBMITTED&{query}&pageToken=x", f"?{query}", "?states=SUBMITTED"):
        status, error, _ = await curl.send("GET", f"/hostingOrders{path}")
        assert (status, error["status"]) == (400, "INVALID_ARGUMENT")
        conforms("Error", error)


async def test_every_answer_conforms_to_the_description(
    sandbox: Sandbox, client: QualifiedNumbersClient, curl: Curl
) -> None:
    """Orders, their numbers and reports match the API description, before and after hosting."""
    order_id = await place(client, NUMBER, FAILS, REFUSED, campaign_id="C-EXPIRED")
    await place(client, OTHER)
    for _ in range(3):
        place_ = "type=TYPE_TEXT_ENABLE&servicePlanId=plan&campaignId=C1&states="
        for path, component in {
            f"/{order_id}": "HostingOrder",
            f"/{order_id}/report": "HostingOrderReport",
            f"/{order_id}/numbers": "ListHostingOrderNumbersResponse",
            f"/{order_id}/numbers/{REFUSED}": "HostingOrderNumber",
            f"?{place_}IN_PROGRESS": "ListHostingOrdersResponse",
        }.items():
            status, body, _ = await curl.send("GET", f"/hostingOrders{path}")
            assert status == 200, path
            conforms(component, body)
        sandbox.clock.advance(60)
    assert sandbox.violations == []
