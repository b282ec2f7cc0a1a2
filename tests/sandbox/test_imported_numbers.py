"""Imported numbers in the sandbox: linked, unlinked, moved, listed and deleted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import aiohttp
import pytest

from sinch_qn import Outcome, QualifiedNumbersClient
from sinch_qn.errors import (
    BadRequestError,
    ConflictError,
    DeadlineExceededError,
    NotFoundError,
    ServerError,
)
from sinch_qn.models import (
    ImportedNumber,
    ImportNumberRequest,
    OperationStatus,
    ProvisioningType,
    SmsConfiguration,
)
from sinch_qn.resources.number_links import link_of
from sinch_qn.sandbox import Clock, Fault, Sandbox
from sinch_qn.webhooks import sign
from tests.sandbox.curl import Curl, Receiver, conforms
from tests.support.runs import until

NUMBER, OTHER, REFUSED = "+12025550134", "+12025550135", "+12025559989"
UPDATE = "updateImportedNumber"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Run a sandbox whose clock only the test moves; links are made at once."""
    async with Sandbox(clock=Clock.stopped(), random=Random(5)) as sandbox:
        yield sandbox
    assert sandbox.violations == []


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[QualifiedNumbersClient]:
    """Return a client of the sandbox."""
    async with sandbox.client() as client:
        yield client


async def add(
    client: QualifiedNumbersClient,
    number: str = NUMBER,
    plan: str = "P1",
    campaign: str = "C1",
    **more: Any,
) -> ImportedNumber:
    """Import a number."""
    links = SmsConfiguration(service_plan_id=plan, campaign_id=campaign)
    return await client.imported_numbers.import_number(
        ImportNumberRequest(phone_number=number, region_code="US", sms_configuration=links, **more)
    )


async def links(client: QualifiedNumbersClient, number: str = NUMBER) -> tuple[str, str]:
    """Return the service plan and the campaign that a number is linked to, or being linked to."""
    found = await client.imported_numbers.get(number)
    return link_of(found, "service_plan_id"), link_of(found, "campaign_id")


def updates(sandbox: Sandbox) -> int:
    """Return how many updates had their effect."""
    return sandbox.done.total(UPDATE)


async def test_an_import_takes_its_time(sandbox: Sandbox, client: QualifiedNumbersClient) -> None:
    """A link is scheduled first, and IN_PROGRESS at the carriers; then it is there."""
    sandbox.provisioning_delay = 60.0
    imported = await add(client, display_name="Store 7")
    assert (imported.display_name, imported.mno_configuration) == ("Store 7", None)
    begun = await client.imported_numbers.get(NUMBER)
    assert begun.sms_configuration is not None
    assert begun.sms_configuration.campaign_id == ""
    scheduled = begun.sms_configuration.scheduled_provisioning
    assert scheduled is not None
    assert (scheduled.service_plan_id, scheduled.campaign_id) == ("P1", "C1")
    assert begun.campaign_provisioning is not None
    assert begun.campaign_provisioning.state is OperationStatus.IN_PROGRESS
    sandbox.clock.advance(60)
    done = await client.imported_numbers.get(NUMBER)
    assert done.sms_configuration == SmsConfiguration(service_plan_id="P1", campaign_id="C1")
    assert done.mno_configuration is not None
    assert done.mno_configuration.sms_tmo is not None
    assert done.mno_configuration.sms_tmo.operation is ProvisioningType.PROVISIONING
    assert done.mno_configuration.sms_tmo.state is OperationStatus.DONE
    with pytest.raises(ConflictError):
        await add(client)


async def test_a_carrier_may_refuse_a_number(client: QualifiedNumbersClient) -> None:
    """One carrier's refusal has its error code; the other carriers are done."""
    await add(client, REFUSED)
    mno = (await client.imported_numbers.get(REFUSED)).mno_configuration
    assert mno is not None
    assert mno.sms_tmo is not None
    assert mno.sms_att is not None
    assert (mno.sms_tmo.state, mno.sms_tmo.error_code) == (
        OperationStatus.FAILED,
        "MNO_SHARING_ERROR",
    )
    assert (mno.sms_att.state, mno.sms_att.error_code) == (OperationStatus.DONE, "")


async def test_unlinking_comes_before_linking_anew(
    sandbox: Sandbox, client: QualifiedNumbersClient
) -> None:
    """A linked number cannot be linked to another, nor while it is being unlinked."""
    update = client.imported_numbers.update
    await add(client)
    with pytest.raises(BadRequestError, match="unlink it first"):
        await update(NUMBER, campaign_id="C2", display_name="x")
    assert (await client.imported_numbers.get(NUMBER)).display_name == ""
    await update(NUMBER, campaign_id="C1")  # as it is
    sandbox.provisioning_delay = 60.0
    await update(NUMBER, campaign_id="")
    with pytest.raises(BadRequestError, match="is being unlinked"):
        await update(NUMBER, campaign_id="C2")
    sandbox.clock.advance(60)
    await update(NUMBER, campaign_id="C2")
    assert await links(client) == ("P1", "C2")
    with pytest.raises(NotFoundError):
        await update(OTHER, campaign_id="C2")


async def test_missing_and_expired_campaigns(client: QualifiedNumbersClient) -> None:
    """A missing campaign is refused; the link to an expired one fails and can be made anew."""
    with pytest.raises(BadRequestError, match=r"smsConfiguration\.campaignId"):
        await add(client, campaign="C-MISSING")
    await add(client, campaign="C-EXPIRED")
    found = await client.imported_numbers.get(NUMBER)
    assert found.campaign_provisioning is not None
    assert found.campaign_provisioning.error_code == "CAMPAIGN_EXPIRED"
    assert found.sms_configuration is not None
    assert found.sms_configuration.scheduled_provisioning is not None
    assert found.sms_configuration.scheduled_provisioning.error_codes
    await client.imported_numbers.update(NUMBER, campaign_id="C2")
    assert await links(client) == ("P1", "C2")


# ---- moving ------------------------------------------------------------------------------------


async def test_a_move_is_an_unlinking_and_a_linking(
    sandbox: Sandbox, client: QualifiedNumbersClient
) -> None:
    """A move sends two updates; what is as wanted already is not touched."""
    await add(client)
    moved = await client.imported_numbers.move(NUMBER, campaign_id="C2", timeout=10)
    assert link_of(moved, "campaign_id") == "C2"
    assert await links(client) == ("P1", "C2")
    assert updates(sandbox) == 2
    await client.imported_numbers.move(NUMBER, campaign_id="C2", service_plan_id="P1", timeout=10)
    assert updates(sandbox) == 2
    await client.imported_numbers.move(NUMBER, campaign_id="C3", service_plan_id="P2", timeout=10)
    assert await links(client) == ("P2", "C3")
    assert updates(sandbox) == 4
    with pytest.raises(NotFoundError):
        await client.imported_numbers.move(OTHER, campaign_id="C2", timeout=10)


async def test_a_move_waits_for_the_carriers(
    sandbox: Sandbox, client: QualifiedNumbersClient
) -> None:
    """The link is sent only once the carriers have unlinked the number."""
    await add(client)
    sandbox.provisioning_delay = 60.0
    moving = asyncio.create_task(client.imported_numbers.move(NUMBER, campaign_id="C2", timeout=30))
    await until(lambda: sandbox.calls.total("getImportedNumber") >= 2)
    assert updates(sandbox) == 1
    sandbox.clock.advance(60)
    assert link_of(await moving, "campaign_id") == "C2"
    assert updates(sandbox) == 2


async def test_a_move_that_takes_too_long_can_be_resumed(
    sandbox: Sandbox, client: QualifiedNumbersClient
) -> None:
    """A move ends at its deadline and says where it is; the next one waits, and sends the rest."""
    await add(client)
    sandbox.provisioning_delay = 60.0
    with pytest.raises(
        DeadlineExceededError, match=r"not unlinked within 0\.2 s.*campaign_id none"
    ) as caught:
        await client.imported_numbers.move(NUMBER, campaign_id="C2", timeout=0.2)
    assert caught.value.outcome is Outcome.UNKNOWN
    assert updates(sandbox) == 1
    with pytest.raises(DeadlineExceededError) as caught:
        await client.imported_numbers.move(NUMBER, campaign_id="C2", timeout=0.2)
    assert caught.value.outcome is Outcome.NOT_SENT  # it only waited
    assert updates(sandbox) == 1
    sandbox.clock.advance(60)
    await client.imported_numbers.move(NUMBER, campaign_id="C2", timeout=10)
    sandbox.clock.advance(60)
    assert await links(client) == ("P1", "C2")
    assert updates(sandbox) == 2


async def test_a_link_that_is_refused_leaves_the_number_unlinked(
    sandbox: Sandbox, client: QualifiedNumbersClient
) -> None:
    """If the link is refused after the unlinking, the error says that something has changed."""
    await add(client)
    with pytest.raises(BadRequestError, match="campaignId") as caught:
        await client.imported_numbers.move(NUMBER, campaign_id="C-MISSING", timeout=10)
    assert caught.value.outcome is Outcome.UNKNOWN
    assert await links(client) == ("P1", "")


@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("when", ["instead", "after"])
async def test_a_move_that_broke_goes_on_where_it_was(
    sandbox: Sandbox, client: QualifiedNumbersClient, lost: int, when: Any
) -> None:
    """Whichever response is lost, its work done or not, the next move does what is missing."""
    await add(client)
    sandbox.provisioning_delay = 60.0 if lost else 0.0
    if lost:
        await client.imported_numbers.update(NUMBER, campaign_id="")
        sandbox.clock.advance(60)
    sandbox.faults.add(Fault.status(500, when=when, times=1), operation=UPDATE)
    with pytest.raises(ServerError) as caught:
        await client.imported_numbers.move(NUMBER, campaign_id="C2", timeout=10)
    assert caught.value.outcome is Outcome.UNKNOWN
    await client.imported_numbers.move(NUMBER, campaign_id="C2", timeout=10)
    sandbox.clock.advance(60)
    assert await links(client) == ("P1", "C2")
    assert updates(sandbox) == 2


# ---- the rest ----------------------------------------------------------------------------------


async def test_a_deleted_number_is_gone(sandbox: Sandbox, client: QualifiedNumbersClient) -> None:
    """A deletion ends the hosting, also while the number is being linked; twice is a 404."""
    sandbox.provisioning_delay = 60.0
    await add(client)
    await client.imported_numbers.delete(NUMBER)
    sandbox.clock.advance(60)
    with pytest.raises(NotFoundError):
        await client.imported_numbers.get(NUMBER)
    with pytest.raises(NotFoundError):
        await client.imported_numbers.delete(NUMBER)


async def test_a_retried_deletion_is_a_success(
    sandbox: Sandbox, client: QualifiedNumbersClient
) -> None:
    """If the response to a deletion is lost, the 404 to its retry is a success."""
    await add(client)
    sandbox.faults.add(Fault.status(503, when="after", times=1), operation="deleteImportedNumber")
    await client.imported_numbers.delete(NUMBER)
    assert sandbox.calls.total("deleteImportedNumber") == 2


async def test_numbers_are_listed_by_their_links(
    sandbox: Sandbox, client: QualifiedNumbersClient
) -> None:
    """Numbers are found by service plan and campaign, and by digits, the oldest first."""
    numbers = ["+12025550134", "+12025550135", "+14155550135", "+14165550135"]
    for number in numbers:
        await add(client, number)
        sandbox.clock.advance(1)
    await add(client, "+12025550199", campaign="C2")
    await client.imported_numbers.update(numbers[0], display_name="changed")

    place: dict[str, Any] = {"service_plan_id": "P1", "campaign_id": "C1"}

    async def listed(**options: Any) -> list[str | None]:
        listing = client.imported_numbers.list(**(place | options))
        return [number.phone_number async for number in listing]

    assert await listed() == numbers
    assert await listed(order_by="updatedTime") == [*numbers[1:], numbers[0]]
    assert await listed(pattern="+1415", search_pattern="START") == [numbers[2]]
    assert await listed(pattern="0135", search_pattern="END") == numbers[1:]
    assert await listed(pattern="1655", search_pattern="CONTAIN") == numbers[3:]
    assert await listed(region_code="CA") == [numbers[3]]
    assert await listed(campaign_id="C2") == ["+12025550199"]
    assert await listed(campaign_id="C3") == []
    sandbox.page_size_cap = 2
    assert await listed() == numbers
    with pytest.raises(BadRequestError, match="campaignId"):
        await listed(campaign_id="")
    with pytest.raises(BadRequestError, match="orderBy"):
        await listed(order_by="phoneNumber")


async def test_every_answer_conforms_to_the_description(
    sandbox: Sandbox, client: QualifiedNumbersClient
) -> None:
    """Imported numbers match the API description in each phase of their links."""
    sandbox.provisioning_delay = 60.0
    async with aiohttp.ClientSession() as session:
        curl = Curl(sandbox, session)
        await add(client, REFUSED)
        for campaign_id in ("C1", "", "C-EXPIRED"):
            await client.imported_numbers.update(REFUSED, campaign_id=campaign_id)
            for _ in range(2):
                status, body, _ = await curl.send("GET", f"/importedNumbers/{REFUSED}")
                assert status == 200
                conforms("ImportedNumber", body)
                sandbox.clock.advance(60)


# ---- callbacks ---------------------------------------------------------------------------------


async def test_links_are_told_by_callbacks(
    sandbox: Sandbox, client: QualifiedNumbersClient
) -> None:
    """Each link, each unlinking and the deletion is an event about the imported number."""
    async with Receiver() as receiver:
        await add(client, callback_url=receiver.url)
        await client.imported_numbers.move(NUMBER, campaign_id="C-EXPIRED", timeout=10)
        await client.imported_numbers.update(NUMBER, service_plan_id="")
        await client.imported_numbers.delete(NUMBER)
        await sandbox.callbacks_done()
        events = [json.loads(body) for body, _ in receiver.got]
    for event in events:
        conforms("CallbackEvent", event)
        assert (event["resourceType"], event["resourceId"]) == ("IMPORTED_NUMBER", NUMBER)
    told = sorted((e["eventType"], e["status"], e.get("failureCode")) for e in events)
    assert told == [
        ("DELETE", "SUCCEEDED", None),
        ("DEPROVISIONING_TO_SMS_PLATFORM", "SUCCEEDED", None),
        ("LINK_TO_10DLC_CAMPAIGN", "FAILED", "CAMPAIGN_EXPIRED"),
        ("LINK_TO_10DLC_CAMPAIGN", "SUCCEEDED", None),
        ("PROVISIONING_TO_SMS_PLATFORM", "SUCCEEDED", None),
        ("UNLINK_TO_10DLC_CAMPAIGN", "SUCCEEDED", None),
    ]


async def test_callbacks_are_signed_with_the_secret_that_was_set(
    sandbox: Sandbox, client: QualifiedNumbersClient
) -> None:
    """The secret can be read and replaced; later callbacks are signed with the new one."""
    old = (await client.callback_configuration.get()).hmac_secret
    assert old == sandbox.webhook_secret
    async with Receiver() as receiver:
        await add(client, callback_url=receiver.url)
        await sandbox.callbacks_done()
        before = len(receiver.got)
        configuration = await client.callback_configuration.update("a new secret")
        assert configuration.hmac_secret == "a new secret"
        assert configuration.project_id == sandbox.project_id
        await client.imported_numbers.delete(NUMBER)
        await sandbox.callbacks_done()
    assert 0 < before < len(receiver.got)
    for index, (body, signature) in enumerate(receiver.got):
        secret = old if index < before else "a new secret"
        assert signature == sign(body, secret)
        assert signature == signature.lower()
        assert len(signature) == 40


async def test_errors_of_the_callback_configuration_are_wrapped(sandbox: Sandbox) -> None:
    """An error of the callback configuration is in `error`, and its code is a number."""
    async with aiohttp.ClientSession() as session:
        curl = Curl(sandbox, session)
        status, error, _ = await curl.send("PATCH", "/callbackConfiguration", {"hmacSecret": 7})
        assert status == 400
        conforms("WrappedError", error)
        assert error["error"]["code"] == 400
        assert error["error"]["status"] == "INVALID_ARGUMENT"
        assert sandbox.webhook_secret not in json.dumps(error)
        (violation,) = sandbox.violations
        assert violation.field == "hmacSecret"
        sandbox.violations.clear()
