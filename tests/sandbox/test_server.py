"""The sandbox on its socket: operations, tokens, rules, callbacks and its own paths."""

from __future__ import annotations

import asyncio
import base64
import json
import runpy
import sys
import time
from contextlib import asynccontextmanager
from importlib import resources
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self, cast

import aiohttp
import attrs
import jsonschema_rs
import pytest
from aiohttp import web
from yarl import URL

from sinch_qn import QualifiedNumbersClient, RetryPolicy
from sinch_qn import errors as sinch_errors
from sinch_qn._operations import OPERATIONS, Operation
from sinch_qn.models import (
    BlanketLoaInfo,
    HostingOrderState,
    TextEnableNumbersRequest,
    TextEnableTollFreeNumbersRequest,
)
from sinch_qn.models import GlobalProcessState as State
from sinch_qn.sandbox import Clock, Sandbox, Trouble, Violation, server
from sinch_qn.webhooks import sign
from tests.support.loa import DIRECT, DIRECT_JSON

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NUMBER = "+12025550134"
TOLL_FREE = "+18335550134"


def order_of(*numbers: str, **more: Any) -> dict[str, Any]:
    """Return a body of textEnableNumbers."""
    body = {"regionCode": "US", "numbers": list(numbers), "servicePlanId": "plan"}
    return {**body, "blanketLoaInfo": {}, **more}


def conforms(component: str, value: Any) -> None:
    """Check *value* against a component of the API's description."""
    text = resources.files("sinch_qn.sandbox").joinpath("openapi.json").read_text()
    schema = {"$ref": f"#/components/schemas/{component}", **json.loads(text)}
    jsonschema_rs.validate(schema, value, validate_formats=True)


class Curl:
    """A client that knows nothing of the API."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession) -> None:
        self._sandbox = sandbox
        self._session = session

    def key(self, key_secret: str | None = None) -> str:
        key = f"{self._sandbox.key_id}:{key_secret or self._sandbox.key_secret}"
        return "Basic " + base64.b64encode(key.encode()).decode()

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        data: bytes | None = None,
        authorization: str | None = None,
    ) -> tuple[int, Any, Any]:
        """Return status, JSON and headers of an answer; *path* is below the project."""
        if not path.startswith("/_") and not path.startswith("/oauth2"):
            path = f"/v1/projects/{self._sandbox.project_id}{path}"
        async with self._session.request(
            method,
            URL(self._sandbox.base_url + path, encoded=True),
            data=data if body is None else json.dumps(body).encode(),
            headers={"Authorization": authorization or self.key()},
        ) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else None, answer.headers

    async def token(self, key_secret: str | None = None, grant: str = "client_credentials") -> Any:
        return await self.send(
            "POST",
            "/oauth2/token",
            data=f"grant_type={grant}".encode(),
            authorization=self.key(key_secret),
        )


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[tuple[Sandbox, Curl]]:
    """Run a sandbox without chance, its clock moved by hand."""
    settings = {"clock": Clock.stopped(), "random": Random(7), **settings}
    async with Sandbox(**settings) as sandbox, aiohttp.ClientSession() as session:
        yield sandbox, Curl(sandbox, session)


# The operations.


async def test_a_number_lives_its_life() -> None:
    """Added, called, verified, text-enabled, deleted: all through the client, no rule broken."""
    async with running() as (sandbox, _), sandbox.client() as client:
        (added,) = await client.add_numbers([NUMBER])
        assert added.global_process_state == State.ELIGIBLE_CHECK_PENDING
        called = await client.send_voice_challenge(NUMBER)
        assert called.global_process_state == State.VERIFICATION_PENDING
        code = sandbox.code_for(NUMBER)
        assert code is not None
        verified = await client.verify_voice_challenge(NUMBER, code)
        assert verified.global_process_state == State.VERIFIED
        order_id = await client.text_enable_numbers(
            TextEnableNumbersRequest(
                region_code="US",
                numbers=[NUMBER],
                service_plan_id="plan",
                blanket_loa_info=BlanketLoaInfo(),
            )
        )
        assert order_id in sandbox.world.orders
        number = await client.get_number(NUMBER)
        assert number.global_process_state == State.HOSTING_DONE
        assert [each.phone_number async for each in client.list_numbers()] == [NUMBER]
        await client.delete_number(NUMBER)
        with pytest.raises(sinch_errors.NotFoundError):
            await client.get_number(NUMBER)
    assert sandbox.violations == []
    assert sandbox.calls.count("sendVoiceChallenge", NUMBER) == 1
    assert sandbox.calls.count("getQualifiedNumber", NUMBER) == 2
    assert sandbox.calls.total("getQualifiedNumber") == 2
    assert sandbox.calls.total("token") == 1


async def test_toll_free_numbers_are_ordered_apart() -> None:
    """The toll-free operation answers with the order, and signing it completes it."""
    async with running(loa_delay=None) as (sandbox, _), sandbox.client() as client:
        sandbox.add([TOLL_FREE], State.VERIFIED)
        order = await client.text_enable_toll_free_numbers(
            TextEnableTollFreeNumbersRequest(
                region_code="US",
                numbers=[TOLL_FREE],
                service_plan_id="plan",
                direct_loa_info=DIRECT,
                display_name="Ours",
            )
        )
        assert order.state == HostingOrderState.SUBMITTED
        assert order.display_name == "Ours"
        assert order.hosting_order_info is not None
        assert order.hosting_order_info.authorised_person == DIRECT.authorised_person
        assert order.hosting_order_info.loa_type == "DIRECT"
        await client.get_number(TOLL_FREE)
        assert order.hosting_order_id is not None
        sandbox.sign_loa(order.hosting_order_id)
        number = await client.get_number(TOLL_FREE)
        assert number.global_process_state == State.HOSTING_DONE
    assert sandbox.violations == []


async def test_every_operation_is_mounted_from_the_table() -> None:
    """What is served is the operation table, neither more nor less."""
    assert Sandbox().mounted == {
        (operation.method, "/v1/projects/{projectId}" + operation.path) for operation in OPERATIONS
    }


async def test_an_operation_without_a_handler_fails_at_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A ninth row in the table is no silent 404."""
    ninth: Operation[Any] = Operation(
        "ninthOperation", "GET", "/ninth", type(None), idempotent=True
    )
    monkeypatch.setattr(server, "OPERATIONS", (*OPERATIONS, ninth))
    with pytest.raises(KeyError, match="ninthOperation"):
        async with Sandbox():
            pass


async def test_every_answer_conforms_to_the_description() -> None:
    """Numbers in every state, listings and orders have the shapes that the API promises."""
    async with running() as (sandbox, curl):
        for position, state in enumerate(State):
            phone_number = f"+120255501{position:02}"
            sandbox.add([phone_number], state)
            status, number, _ = await curl.send("GET", f"/qualifiedNumbers/{phone_number}")
            assert (status, number["globalProcessState"]) == (200, state.value)
            conforms("QualifiedNumber", number)
            _, listing, _ = await curl.send("GET", f"/qualifiedNumbers?states={state.value}")
            conforms("ListQualifiedNumbersResponse", listing)
        sandbox.add([TOLL_FREE], State.VERIFIED)
        body = {**order_of(TOLL_FREE), "resellerLoaInfo": {"businessName": "Ours", **DIRECT_JSON}}
        del body["blanketLoaInfo"]
        _, order, _ = await curl.send(
            "POST", "/qualifiedNumbers:textEnableTollFreeNumbers", body=body
        )
        conforms("HostingOrder", order)
        assert order["hostingOrderInfo"]["loaType"] == "RESELLER"
        status, empty, _ = await curl.send("DELETE", f"/qualifiedNumbers/{TOLL_FREE}")
        assert (status, empty) == (200, None)


@pytest.mark.parametrize(
    "path", ["/qualifiedNumbers/+12025550134", "/qualifiedNumbers/%2B12025550134"]
)
async def test_the_plus_may_be_encoded(path: str) -> None:
    """A number is found by `+` and by `%2B`, with a verb after it too."""
    async with running() as (sandbox, curl):
        sandbox.add([NUMBER])
        assert (await curl.send("GET", path))[0] == 200
        assert (await curl.send("POST", path + ":sendVoiceChallenge"))[0] == 200
        assert sandbox.world.rings(NUMBER) == 1


# Who may ask.


async def test_a_token_is_good_until_it_expires() -> None:
    """Tokens live side by side by the sandbox's clock; the 401 after says `expired`."""
    async with running(token_lifetime=3600.0) as (sandbox, curl):
        sandbox.add([NUMBER])
        status, first, _ = await curl.token()
        assert status == 200
        assert (first["token_type"], first["expires_in"]) == ("bearer", 3600)
        sandbox.clock.advance(1800)
        _, second, _ = await curl.token()
        sandbox.clock.advance(1800)
        path = f"/qualifiedNumbers/{NUMBER}"
        status, error, headers = await curl.send(
            "GET", path, authorization=f"Bearer {first['access_token']}"
        )
        assert (status, error["status"], error["code"]) == (401, "UNAUTHENTICATED", "401")
        assert "expired" in headers["WWW-Authenticate"]
        good = f"Bearer {second['access_token']}"
        assert (await curl.send("GET", path, authorization=good))[0] == 200
        assert sandbox.calls.total("token") == 2


async def test_tokens_can_be_revoked() -> None:
    """A client whose token was revoked gets a new one, and the caller sees nothing of it."""
    async with running() as (sandbox, _), sandbox.client() as client:
        sandbox.add([NUMBER])
        await client.get_number(NUMBER)
        assert sandbox.revoke_tokens() == 1
        await client.get_number(NUMBER)
        assert sandbox.calls.total("token") == 2
        assert sandbox.calls.total("getQualifiedNumber") == 3


async def test_only_so_many_tokens_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest tokens make room for new ones."""
    monkeypatch.setattr(server, "_ISSUED", 2)
    async with running() as (sandbox, curl):
        for _ in range(5):
            await curl.token()
        assert sandbox.revoke_tokens() == 2


async def test_wrong_credentials_are_refused() -> None:
    """A wrong key, no key, another scheme, a made-up token: 401 each, and nothing is done."""
    async with running() as (sandbox, curl):
        sandbox.add([NUMBER])
        assert (await curl.token(key_secret="wrong"))[:2] == (401, {"error": "invalid_client"})
        answer = await curl.token(grant="password")
        assert answer[:2] == (400, {"error": "unsupported_grant_type"})
        path = f"/qualifiedNumbers/{NUMBER}:sendVoiceChallenge"
        for authorization in ("Bearer made-up", "Digest x", curl.key("wrong"), "nonsense"):
            status, _, headers = await curl.send("POST", path, authorization=authorization)
            assert status == 401
            assert "expired" not in headers["WWW-Authenticate"]
        assert sandbox.world.rings(NUMBER) == 0
        assert sandbox.calls.count("sendVoiceChallenge", NUMBER) == 4


async def test_basic_works_on_the_api_itself() -> None:
    """A client with the key alone asks for no token."""
    async with running() as (sandbox, _), sandbox.client(auth="basic") as client:
        sandbox.add([NUMBER])
        await client.get_number(NUMBER)
        assert sandbox.calls.total("token") == 0


async def test_another_project_is_not_found() -> None:
    """Only the sandbox's own project exists."""
    async with running() as (sandbox, curl), aiohttp.ClientSession() as session:
        url = f"{sandbox.base_url}/v1/projects/other/qualifiedNumbers/%2B12025550134"
        async with session.get(URL(url, encoded=True), headers={"Authorization": curl.key()}) as it:
            assert it.status == 404
            assert (await it.json())["message"] == "The project could not be found."


async def test_the_environment_makes_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """`environment()` is all that `from_env` needs."""
    async with running() as (sandbox, _):
        sandbox.add([NUMBER])
        for name, value in sandbox.environment().items():
            monkeypatch.setenv(name, value)
        async with QualifiedNumbersClient.from_env() as client:
            assert (await client.get_number(NUMBER)).phone_number == NUMBER


# What breaks the API's description.


@pytest.mark.parametrize(
    ("method", "path", "body", "fields"),
    [
        ("GET", "/qualifiedNumbers", None, ["states"]),
        ("GET", "/qualifiedNumbers?states=VERIFIED", None, ["states"]),
        ("GET", "/qualifiedNumbers?states={V}&states={V}", None, ["states"]),
        ("GET", "/qualifiedNumbers?states={V}&pageSize=ten", None, ["pageSize"]),
        ("GET", "/qualifiedNumbers?states={V}&pageSize=1_0", None, ["pageSize"]),
        ("GET", "/qualifiedNumbers?states={V}&regionCode=FR", None, ["regionCode"]),
        ("GET", "/qualifiedNumbers?states={V}&page_size=10", None, ["page_size"]),
        ("GET", "/qualifiedNumbers/12025550134", None, ["phoneNumber"]),
        ("DELETE", "/qualifiedNumbers/me", None, ["phoneNumber"]),
        ("POST", "/qualifiedNumbers:addNumbers", {}, ["phoneNumbers"]),
        ("POST", "/qualifiedNumbers:addNumbers", [], [""]),
        ("POST", "/qualifiedNumbers:addNumbers", {"phoneNumbers": []}, ["phoneNumbers"]),
        (
            "POST",
            "/qualifiedNumbers:addNumbers",
            {"phoneNumbers": [NUMBER, "202"]},
            ["phoneNumbers[1]"],
        ),
        ("POST", f"/qualifiedNumbers/{NUMBER}:sendVoiceChallenge", {"code": "1"}, [""]),
        ("POST", f"/qualifiedNumbers/{NUMBER}:verifyVoiceChallenge", {}, ["code"]),
        ("POST", f"/qualifiedNumbers/{NUMBER}:verifyVoiceChallenge", {"code": 1234}, ["code"]),
        ("POST", "/qualifiedNumbers:textEnableNumbers", order_of(*[NUMBER] * 501), ["numbers"]),
        (
            "POST",
            "/qualifiedNumbers:textEnableNumbers",
            order_of(NUMBER, directLoaInfo={**DIRECT_JSON, "currentVoiceCarrier": None}),
            ["directLoaInfo.currentVoiceCarrier", ""],
        ),
        (
            "POST",
            "/qualifiedNumbers:textEnableNumbers",
            order_of(NUMBER, scheduledOsrUpdateTime="tomorrow"),
            ["scheduledOsrUpdateTime"],
        ),
        (
            "POST",
            "/qualifiedNumbers:textEnableNumbers",
            order_of(NUMBER, projectId="other"),
            ["projectId"],
        ),
    ],
)
async def test_a_request_that_breaks_the_rules(
    method: str, path: str, body: Any, fields: list[str]
) -> None:
    """It is a 400 that names the fields, it is remembered, and it changes nothing."""
    async with running() as (sandbox, curl):
        sandbox.add([NUMBER], State.VERIFIED)
        status, error, _ = await curl.send(
            method, path.replace("{V}", State.VERIFIED.value), body=body
        )
        assert (status, error["code"], error["status"]) == (400, "400", "INVALID_ARGUMENT")
        conforms("Error", error)
        (detail,) = error["details"]
        assert detail["type"] == "BadRequest"
        assert sorted(each["field"] for each in detail["fieldViolations"]) == sorted(fields)
        assert sorted(each.field for each in sandbox.violations) == sorted(fields)
        assert {each.operation for each in sandbox.violations} < {
            operation.id for operation in OPERATIONS
        }
        assert sandbox.world.get(NUMBER).state is State.VERIFIED


async def test_a_body_that_is_not_json_breaks_the_rules() -> None:
    """Bytes that are no JSON are told apart from JSON of the wrong shape."""
    async with running() as (sandbox, curl):
        path = f"/qualifiedNumbers/{NUMBER}:verifyVoiceChallenge"
        assert (await curl.send("POST", path, data=b"code=1234"))[0] == 400
        (violation,) = sandbox.violations
        assert violation.description.startswith("is not JSON")


async def test_violations_show_nobody() -> None:
    """What was wrong is told by field: no person's data is in the answer or remembered."""
    async with running() as (sandbox, curl):
        wrong = {"address": "221B Baker Street", "authorisedPerson": {"email": ["a@b.c"]}}
        loa = {**DIRECT_JSON, **wrong}
        body = order_of(NUMBER, directLoaInfo=loa)
        _, error, _ = await curl.send("POST", "/qualifiedNumbers:textEnableNumbers", body=body)
        for text in (json.dumps(error), repr(sandbox.violations)):
            assert "directLoaInfo.address" in text
            assert "Baker" not in text
            assert "a@b.c" not in text


async def test_an_empty_object_is_no_body() -> None:
    """People with curl may send `{}` where there is nothing to say."""
    async with running() as (sandbox, curl):
        sandbox.add([NUMBER])
        path = f"/qualifiedNumbers/{NUMBER}:sendVoiceChallenge"
        assert (await curl.send("POST", path, body={}))[0] == 200
        assert sandbox.violations == []


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/nothing"), ("PUT", "/qualifiedNumbers"), ("POST", "/a:b")]
)
async def test_what_is_no_operation_is_a_violation(method: str, path: str) -> None:
    """An unknown path or method is a 404 in the API's own form, and remembered."""
    async with running() as (sandbox, curl):
        status, error, _ = await curl.send(method, path)
        assert (status, error["status"]) == (404, "NOT_FOUND")
        (violation,) = sandbox.violations
        assert violation.operation.startswith(f"{method} /v1/projects/")


async def test_only_so_many_violations_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first are kept; a run that goes wrong all along does not fill the memory."""
    monkeypatch.setattr(server, "_REMEMBERED", 2)
    async with running() as (sandbox, curl):
        for index in range(4):
            await curl.send("GET", f"/nothing/{index}")
        assert [each.operation[-2:] for each in sandbox.violations] == ["/0", "/1"]


# What the world refuses.


async def test_a_wrong_code_can_be_either_kind_of_answer() -> None:
    """A wrong code is a 200 or a 400, as set; and that can be set while it runs."""
    async with running() as (sandbox, curl):
        sandbox.add([NUMBER], State.VERIFICATION_PENDING)
        path = f"/qualifiedNumbers/{NUMBER}:verifyVoiceChallenge"
        status, number, _ = await curl.send("POST", path, body={"code": "no"})
        assert (status, number["globalProcessState"]) == (200, State.VERIFICATION_FAILED)
        sandbox.wrong_code = "rejected"
        status, error, _ = await curl.send("POST", path, body={"code": "no"})
        assert (status, error["status"]) == (400, "INVALID_ARGUMENT")
        assert error["details"][0]["fieldViolations"][0]["field"] == "code"
        assert sandbox.violations == []  # wrong, but not malformed


async def test_refusals_have_the_documented_form() -> None:
    """404, 409 and 500 carry code, message and status as the reference shows them."""
    lost = f"+1202{Trouble.LOST_ANSWER.value}"
    async with running() as (sandbox, curl):
        status, error, _ = await curl.send("GET", f"/qualifiedNumbers/{NUMBER}")
        assert (status, error) == (
            404,
            {
                "code": "404",
                "message": "The imported number could not be found.",
                "status": "NOT_FOUND",
            },
        )
        sandbox.add([NUMBER], State.HOSTING_DONE)
        sandbox.add([lost])
        status, error, _ = await curl.send(
            "POST", "/qualifiedNumbers:textEnableNumbers", body=order_of(NUMBER)
        )
        assert (status, error["code"], error["status"]) == (409, "409", "ALREADY_EXISTS")
        status, error, _ = await curl.send("POST", f"/qualifiedNumbers/{lost}:sendVoiceChallenge")
        assert (status, error["code"], error["status"]) == (500, "500", "INTERNAL")
        assert sandbox.world.rings(lost) == 1


# Listing.


async def test_a_listing_is_cut_into_pages() -> None:
    """The server's cap wins over the wish, tokens are opaque, every number comes once."""
    numbers = [f"+1202555{line:04}" for line in range(250)]
    async with running(page_size_cap=100) as (sandbox, _), sandbox.client() as client:
        sandbox.add(numbers)
        pages = [page async for page in client.list_number_pages(State.ELIGIBLE, page_size=1000)]
        assert [len(page.items) for page in pages] == [100, 100, 50]
        assert {page.total_size for page in pages} == {250}
        assert [number.phone_number for page in pages for number in page.items] == numbers
        pages = [page async for page in client.list_number_pages(State.ELIGIBLE, page_size=200)]
        assert len(pages[0].items) == 100


async def test_page_tokens_outlive_the_server() -> None:
    """A token says where it goes on: a sandbox that was restarted meanwhile knows as well."""
    sandbox = Sandbox(page_size_cap=2)
    sandbox.add([f"+1202555{line:04}" for line in range(3)])
    async with sandbox, sandbox.client() as client:
        first = await anext(client.list_number_pages(State.ELIGIBLE))
    port = sandbox.port
    async with sandbox, sandbox.client() as client:
        assert sandbox.port == port
        listing = client.list_number_pages(State.ELIGIBLE, page_token=first.next_page_token)
        assert [len(page.items) async for page in listing] == [1]


async def test_a_listing_can_be_filtered_and_ordered() -> None:
    """By region, and by the time of the last change."""
    async with running() as (sandbox, curl):
        sandbox.add([NUMBER, "+14165550134", "+12025550135"])
        sandbox.clock.advance(1)
        sandbox.add([NUMBER])
        path = f"/qualifiedNumbers?states={State.ELIGIBLE.value}"
        _, canadian, _ = await curl.send("GET", path + "&regionCode=CA")
        assert [each["phoneNumber"] for each in canadian["qualifiedNumbers"]] == ["+14165550134"]
        assert canadian["totalSize"] == 1
        _, changed, _ = await curl.send("GET", path + "&orderBy=updatedTime")
        assert changed["qualifiedNumbers"][-1]["phoneNumber"] == NUMBER
        assert "nextPageToken" not in changed


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("pageSize=-1", "pageSize"),
        ("orderBy=size", "orderBy"),
        ("pageToken=!", "pageToken"),
        ("pageToken=bm9uc2Vuc2U=", "pageToken"),
        ("pageToken=MQ==", "pageToken"),
        ("pageToken=WzEsMl0=", "pageToken"),
    ],
)
async def test_a_listing_that_makes_no_sense_is_refused(query: str, field: str) -> None:
    """A listing's parameters are refused by name, whatever the token holds."""
    async with running() as (_, curl):
        path = f"/qualifiedNumbers?states={State.ELIGIBLE.value}&{query}"
        status, error, _ = await curl.send("GET", path)
        assert status == 400
        assert error["details"][0]["fieldViolations"][0]["field"] == field


async def test_a_page_token_is_for_its_own_listing() -> None:
    """A token of one state's listing is refused by another's."""
    async with running(page_size_cap=1) as (sandbox, curl):
        sandbox.add([NUMBER, "+12025550135"])
        _, page, _ = await curl.send("GET", f"/qualifiedNumbers?states={State.ELIGIBLE.value}")
        token = page["nextPageToken"]
        path = f"/qualifiedNumbers?states={State.VERIFIED.value}&pageToken={token}"
        assert (await curl.send("GET", path))[0] == 400


# Callbacks.


class Receiver:
    """Takes callbacks, and answers each with the next of *statuses*, then 200."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.got: list[tuple[bytes, str]] = []
        self.paths: set[str] = set()
        self.arrived = asyncio.Event()
        self.url = ""

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_post("/{path}", self._take)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/hook"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        self.paths.add(request.path)
        self.got.append((await request.read(), request.headers["X-Sinch-Signature"]))
        self.arrived.set()
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, headers={"Location": "/elsewhere"})


def test_a_signature_is_hmac_sha1_in_hexadecimal() -> None:
    """The second test case of RFC 2202."""
    digest = "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
    assert sign(b"what do ya want for nothing?", "Jefe") == digest


async def test_callbacks_are_signed_and_sent_when_it_happens() -> None:
    """Moving the clock to an order's end delivers its callback, signed over the raw body."""
    async with Receiver() as receiver, running(hosting_delay=60.0) as (sandbox, curl):
        sandbox.add([NUMBER], State.VERIFIED)
        body = order_of(NUMBER, callbackUrl=receiver.url)
        assert (await curl.send("POST", "/qualifiedNumbers:textEnableNumbers", body=body))[0] == 200
        assert receiver.got == []
        sandbox.clock.advance(60)
        async with asyncio.timeout(10):
            await receiver.arrived.wait()
        await sandbox.callbacks_done()
        assert sandbox.callbacks["delivered"] == 1
        ((raw, signature),) = receiver.got
        assert signature == sign(raw, sandbox.webhook_secret)
        event = json.loads(raw)
        conforms("CallbackEvent", event)
        assert (event["resourceId"], event["status"]) == (NUMBER, "SUCCEEDED")
        assert event["projectId"] == sandbox.project_id
        assert "failureCode" not in event


async def test_a_real_clock_delivers_callbacks_by_itself() -> None:
    """Nobody needs to ask the sandbox anything for its callbacks to come."""
    failing = f"+1202{Trouble.HOSTING_FAILS.value}"
    async with Receiver() as receiver, Sandbox(hosting_delay=0.02) as sandbox:
        sandbox.add([failing], State.VERIFIED)
        async with sandbox.client() as client:
            await client.text_enable_numbers(
                TextEnableNumbersRequest(
                    region_code="US",
                    numbers=[failing],
                    service_plan_id="plan",
                    direct_loa_info=DIRECT,
                    callback_url=receiver.url,
                )
            )
        async with asyncio.timeout(10):
            await receiver.arrived.wait()
        event = json.loads(receiver.got[0][0])
        assert (event["status"], event["failureCode"]) == ("FAILED", "INVALID_NNID")


async def test_a_callback_that_is_not_taken_is_repeated_a_few_times() -> None:
    """Anything but 200 has it sent again, the same bytes; a redirect is not followed."""
    async with Receiver(503, 307) as receiver, running(callback_retry=0.0) as (sandbox, curl):
        sandbox.add([NUMBER], State.VERIFIED)
        body = order_of(NUMBER, callbackUrl=receiver.url)
        await curl.send("POST", "/qualifiedNumbers:textEnableNumbers", body=body)
        await sandbox.callbacks_done()
        assert sandbox.callbacks["delivered"] == 1
        assert len(receiver.got) == 3
        assert len(set(receiver.got)) == 1
        assert receiver.paths == {"/hook"}

        receiver.statuses = [500, 500, 500]
        sandbox.add([NUMBER], State.VERIFIED)
        await curl.send("POST", "/qualifiedNumbers:textEnableNumbers", body=body)
        await sandbox.callbacks_done()
        assert sandbox.callbacks["failed"] == 1
        assert len(receiver.got) == 6


async def test_a_callback_to_nobody_fails() -> None:
    """A receiver that is not there is a failure that is counted, not one that stops the rest."""
    async with running(callback_retry=0.0) as (sandbox, curl):
        sandbox.add([NUMBER], State.VERIFIED)
        body = order_of(NUMBER, callbackUrl="http://127.0.0.1:9/")
        await curl.send("POST", "/qualifiedNumbers:textEnableNumbers", body=body)
        await sandbox.callbacks_done()
        assert sandbox.callbacks["failed"] == 1


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1/", "https://example.com/", "http://[", "nowhere"]
)
async def test_callbacks_stay_on_this_machine(url: str) -> None:
    """Nothing is sent to another host, or looked up, unless that is asked for."""
    async with running() as (sandbox, curl):
        sandbox.add([NUMBER], State.VERIFIED)
        body = order_of(NUMBER, callbackUrl=url)
        await curl.send("POST", "/qualifiedNumbers:textEnableNumbers", body=body)
        await sandbox.callbacks_done()
        assert sandbox.callbacks["withheld"] == 1


async def test_callbacks_leave_the_machine_when_told_to() -> None:
    """With `callbacks_leave_machine` the host does not matter."""
    async with (
        Receiver() as receiver,
        running(callbacks_leave_machine=True) as (sandbox, curl),
    ):
        sandbox.add([NUMBER], State.VERIFIED)
        body = order_of(NUMBER, callbackUrl=receiver.url)
        await curl.send("POST", "/qualifiedNumbers:textEnableNumbers", body=body)
        await sandbox.callbacks_done()
        assert sandbox.callbacks["delivered"] == 1


async def test_a_task_that_broke_is_not_silent() -> None:
    """A defect in the sandbox's own task is raised when the sandbox ends."""

    async def broken() -> None:
        raise RuntimeError("defect")

    task = asyncio.create_task(broken())
    await asyncio.wait([task])
    with pytest.raises(RuntimeError, match="defect"):
        await server._stop(task)


# The sandbox's own paths.


async def test_people_with_curl_can_do_it_all() -> None:
    """Seed, ring, read the code, verify, look at the counts: no key is needed for its own paths."""
    async with running(answer_delay=20.0) as (sandbox, curl):
        body: dict[str, Any] = {"phoneNumbers": [NUMBER]}
        assert (await curl.send("POST", "/_sandbox/numbers", body=body))[1] == {"added": 1}
        await curl.send("POST", f"/qualifiedNumbers/{NUMBER}:sendVoiceChallenge")
        code = f"/_sandbox/codes/{NUMBER}"
        assert (await curl.send("GET", code))[1] == {"code": None}
        before = (await curl.send("GET", "/_sandbox/state"))[1]["time"]
        moved = (await curl.send("POST", "/_sandbox/clock", body={"advance": 20}))[1]["time"]
        assert moved > before
        heard = (await curl.send("GET", code))[1]["code"]
        assert heard == sandbox.code_for(NUMBER)
        path = f"/qualifiedNumbers/{NUMBER}:verifyVoiceChallenge"
        await curl.send("POST", path, body={"code": heard})
        _, state, _ = await curl.send("GET", "/_sandbox/state")
        assert state["numbers"] == {"GLOBAL_PROCESS_STATE_VERIFIED": 1}
        _, calls, _ = await curl.send("GET", "/_sandbox/calls")
        assert calls["sendVoiceChallenge"] == 1
        _, calls, _ = await curl.send("GET", "/_sandbox/calls?phoneNumber=%2B12025550134")
        assert (calls["rings"], calls["verifyVoiceChallenge"]) == (1, 1)
        await curl.send("GET", "/qualifiedNumbers/me")
        _, violations, _ = await curl.send("GET", "/_sandbox/violations")
        assert violations == [attrs.asdict(each) for each in sandbox.violations]
        assert isinstance(sandbox.violations[0], Violation)


async def test_orders_and_tokens_can_be_steered_with_curl() -> None:
    """An LOA is signed and tokens are revoked over HTTP as well."""
    async with running(loa_delay=None) as (sandbox, curl):
        sandbox.add([TOLL_FREE], State.VERIFIED)
        body = order_of(TOLL_FREE, directLoaInfo=DIRECT_JSON)
        del body["blanketLoaInfo"]
        _, order, _ = await curl.send(
            "POST", "/qualifiedNumbers:textEnableTollFreeNumbers", body=body
        )
        order_id = order["hostingOrderId"]
        _, state, _ = await curl.send("GET", "/_sandbox/state")
        assert state["orders"] == {order_id: "WAITING_FOR_LOA_SIGNATURE"}
        status, signed, _ = await curl.send("POST", f"/_sandbox/orders/{order_id}:signLoa")
        assert (status, signed["state"]) == (200, "IN_PROGRESS")
        await curl.token()
        assert (await curl.send("POST", "/_sandbox/tokens:revoke"))[1] == {"revoked": 1}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/_sandbox/codes/+12025550199", None, 404),
        ("POST", "/_sandbox/orders/none:signLoa", None, 404),
        ("POST", "/_sandbox/clock", {"advance": -1}, 400),
        ("POST", "/_sandbox/clock", {"advance": "1"}, 400),
        ("POST", "/_sandbox/clock", {}, 400),
        ("POST", "/_sandbox/clock", [], 400),
        ("POST", "/_sandbox/numbers", {"phoneNumbers": [NUMBER], "state": "NONE"}, 400),
        ("POST", "/_sandbox/numbers", {"phoneNumbers": ["+33123456789"]}, 400),
    ],
)
async def test_mistakes_with_curl_are_explained(
    method: str, path: str, body: Any, status: int
) -> None:
    """A mistake on the sandbox's own paths is an error with a message, never a 500."""
    async with running() as (_, curl):
        answer = await curl.send(method, path, body=body)
        assert answer[0] == status
        assert answer[1]["message"]


async def test_only_this_machine_steers_the_sandbox() -> None:
    """The sandbox's own paths are refused to another machine, also when it listens to all."""
    sandbox = Sandbox()
    for remote in ("192.0.2.1", None):
        request = cast("web.Request", SimpleNamespace(remote=remote))
        answer = await sandbox._control(lambda *_: {}, request)
        assert answer.status == 403


# Its life.


async def test_clients_left_open_are_closed_with_the_sandbox() -> None:
    """Nobody is warned of a connection that the sandbox's own client left open."""
    async with Sandbox() as sandbox:
        sandbox.add([NUMBER])
        client = sandbox.client(retry=RetryPolicy(max_attempts=1), timeout=5.0, max_connections=1)
        await client.get_number(NUMBER)
    assert sandbox._clients == []
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_it_has_no_address_before_it_runs() -> None:
    """Asking for the address too early says what to do."""
    with pytest.raises(RuntimeError, match="async with"):
        _ = Sandbox().base_url


async def test_a_port_that_is_taken_is_said_at_once() -> None:
    """A second sandbox on a port fails, and leaves nothing behind."""
    async with Sandbox() as first:
        with pytest.raises(OSError, match="address already in use"):
            async with Sandbox(port=first.port):
                pass


async def test_it_is_reached_on_loopback_wherever_it_listens() -> None:
    """A sandbox that listens everywhere gives an address that a client can use."""
    async with Sandbox(host="0.0.0.0") as sandbox:  # noqa: S104
        assert sandbox.base_url == f"http://127.0.0.1:{sandbox.port}"


async def test_latency_is_real_time() -> None:
    """Every answer takes as long as set."""
    async with running(latency=0.05) as (sandbox, curl):
        sandbox.add([NUMBER])
        begun = time.monotonic()
        await curl.send("GET", f"/qualifiedNumbers/{NUMBER}")
        assert time.monotonic() - begun >= 0.05


def test_a_misspelt_operation_is_not_counted_as_never() -> None:
    """Asking for the calls of what is no operation raises, so that no test passes by a typo."""
    calls = Sandbox().calls
    assert calls.total("sendVoiceChallenge") == 0
    with pytest.raises(KeyError):
        calls.total("sendVoicechallenge")
    with pytest.raises(KeyError):
        calls.count("sendVoicechallenge", NUMBER)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the error says what to install."""
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    with pytest.raises(ImportError, match=r"sinch-qn\[sandbox\]"):
        runpy.run_path(str(resources.files("sinch_qn.sandbox").joinpath("rules.py")))


def test_secrets_are_in_no_repr() -> None:
    """A sandbox that is printed keeps its key and its callback secret."""
    text = repr(Sandbox(key_secret="canary-1", webhook_secret="canary-2"))
    assert "canary" not in text
