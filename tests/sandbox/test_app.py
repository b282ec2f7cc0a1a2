"""The sandbox over HTTP: operations, authentication, validation and error responses."""

from __future__ import annotations

import base64
import json
from typing import Any

import aiohttp
import pytest
from yarl import URL

from sinch_qn import QualifiedNumbersClient
from sinch_qn import errors as sinch_errors
from sinch_qn._operations import OPERATIONS, Operation
from sinch_qn.models import (
    BlanketLoaInfo,
    HostingOrderState,
    TextEnableNumbersRequest,
    TextEnableTollFreeNumbersRequest,
)
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.sandbox import MisbehavingNumber, Sandbox
from tests.sandbox.curl import NUMBER, TOLL_FREE, conforms, order_of, running
from tests.support.loa import DIRECT, DIRECT_JSON

# The operations.


async def test_a_number_lives_its_life() -> None:
    """The client adds, calls, verifies, text-enables and deletes a number without violations."""
    async with running() as (sandbox, _), sandbox.client() as client:
        (added,) = await client.add_numbers([NUMBER])
        assert added.global_process_state == SinchState.ELIGIBLE_CHECK_PENDING
        called = await client.send_voice_challenge(NUMBER)
        assert called.global_process_state == SinchState.VERIFICATION_PENDING
        code = sandbox.code_for(NUMBER)
        assert code is not None
        verified = await client.verify_voice_challenge(NUMBER, code)
        assert verified.global_process_state == SinchState.VERIFIED
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
        assert number.global_process_state == SinchState.HOSTING_DONE
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
    """The toll-free operation returns the order; a signed order completes."""
    async with running(loa_delay=None) as (sandbox, _), sandbox.client() as client:
        sandbox.add([TOLL_FREE], SinchState.VERIFIED)
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
        assert number.global_process_state == SinchState.HOSTING_DONE
    assert sandbox.violations == []


async def test_every_operation_is_mounted_from_the_table() -> None:
    """The mounted routes equal the operation table."""
    assert Sandbox().mounted == {
        (operation.method, "/v1/projects/{projectId}" + operation.path) for operation in OPERATIONS
    }


async def test_an_operation_without_a_handler_fails_at_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An operation that the sandbox lacks fails at start, not with a 404."""
    ninth: Operation[Any] = Operation(
        "ninthOperation", "GET", "/ninth", type(None), idempotent=True
    )
    monkeypatch.setattr("sinch_qn.sandbox.app.OPERATIONS", (*OPERATIONS, ninth))
    with pytest.raises(KeyError, match="ninthOperation"):
        async with Sandbox():
            pass


async def test_every_answer_conforms_to_the_description() -> None:
    """Numbers in each state, listings and orders match the API description."""
    async with running() as (sandbox, curl):
        for position, state in enumerate(SinchState):
            phone_number = f"+120255501{position:02}"
            sandbox.add([phone_number], state)
            status, number, _ = await curl.send("GET", f"/qualifiedNumbers/{phone_number}")
            assert (status, number["globalProcessState"]) == (200, state.value)
            conforms("QualifiedNumber", number)
            _, listing, _ = await curl.send("GET", f"/qualifiedNumbers?states={state.value}")
            conforms("ListQualifiedNumbersResponse", listing)
        sandbox.add([TOLL_FREE], SinchState.VERIFIED)
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
    """A number is found by `+` and by `%2B`, also with a verb after it."""
    async with running() as (sandbox, curl):
        sandbox.add([NUMBER])
        assert (await curl.send("GET", path))[0] == 200
        assert (await curl.send("POST", path + ":sendVoiceChallenge"))[0] == 200
        assert sandbox.world.rings(NUMBER) == 1


# Authentication.


async def test_a_token_is_good_until_it_expires() -> None:
    """Each token expires by itself, on the sandbox's clock; the 401 then says `expired`."""
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
    """A client whose token was revoked gets a new one without an error to its caller."""
    async with running() as (sandbox, _), sandbox.client() as client:
        sandbox.add([NUMBER])
        await client.get_number(NUMBER)
        assert sandbox.revoke_tokens() == 1
        await client.get_number(NUMBER)
        assert sandbox.calls.total("token") == 2
        assert sandbox.calls.total("getQualifiedNumber") == 3


async def test_only_so_many_tokens_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit the oldest token is dropped."""
    monkeypatch.setattr("sinch_qn.sandbox.state.MAX_TOKENS", 2)
    async with running() as (sandbox, curl):
        for _ in range(5):
            await curl.token()
        assert sandbox.revoke_tokens() == 2


async def test_wrong_credentials_are_refused() -> None:
    """A wrong key, no key, another scheme, a made-up token: each is a 401 without effect."""
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
    """A client with BasicAuth requests no token."""
    async with running() as (sandbox, _), sandbox.client(auth="basic") as client:
        sandbox.add([NUMBER])
        await client.get_number(NUMBER)
        assert sandbox.calls.total("token") == 0


async def test_another_project_is_not_found() -> None:
    """Requests for another project are a 404."""
    async with running() as (sandbox, curl), aiohttp.ClientSession() as session:
        url = f"{sandbox.base_url}/v1/projects/other/qualifiedNumbers/%2B12025550134"
        async with session.get(URL(url, encoded=True), headers={"Authorization": curl.key()}) as it:
            assert it.status == 404
            assert (await it.json())["message"] == "The project could not be found."


async def test_the_environment_makes_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """`from_env` needs only the variables of `environment()`."""
    async with running() as (sandbox, _):
        sandbox.add([NUMBER])
        for name, value in sandbox.environment().items():
            monkeypatch.setenv(name, value)
        async with QualifiedNumbersClient.from_env() as client:
            assert (await client.get_number(NUMBER)).phone_number == NUMBER


# Violations of the API description.


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
    """It is a 400 that names the fields; it is recorded, and it changes nothing."""
    async with running() as (sandbox, curl):
        sandbox.add([NUMBER], SinchState.VERIFIED)
        status, error, _ = await curl.send(
            method, path.replace("{V}", SinchState.VERIFIED.value), body=body
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
        assert sandbox.world.get(NUMBER).state is SinchState.VERIFIED


async def test_a_body_that_is_not_json_breaks_the_rules() -> None:
    """A body that is not JSON is a violation of its own."""
    async with running() as (sandbox, curl):
        path = f"/qualifiedNumbers/{NUMBER}:verifyVoiceChallenge"
        assert (await curl.send("POST", path, data=b"code=1234"))[0] == 400
        (violation,) = sandbox.violations
        assert violation.description.startswith("is not JSON")


async def test_violations_show_nobody() -> None:
    """Responses and recorded violations name fields and never contain personal data."""
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
    """`{}` is accepted where the body must be empty."""
    async with running() as (sandbox, curl):
        sandbox.add([NUMBER])
        path = f"/qualifiedNumbers/{NUMBER}:sendVoiceChallenge"
        assert (await curl.send("POST", path, body={}))[0] == 200
        assert sandbox.violations == []


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/nothing", (404, "NOT_FOUND")),
        ("PUT", "/qualifiedNumbers", (405, "METHOD_NOT_ALLOWED")),
        ("POST", "/a:b", (404, "NOT_FOUND")),
    ],
)
async def test_what_is_no_operation_is_a_violation(
    method: str, path: str, expected: tuple[int, str]
) -> None:
    """An unknown path is a 404 and a wrong method a 405 in the API's format; both are recorded."""
    async with running() as (sandbox, curl):
        status, error, _ = await curl.send(method, path)
        assert (status, error["status"]) == expected
        (violation,) = sandbox.violations
        assert violation.operation.startswith(f"{method} /v1/projects/")


async def test_only_so_many_violations_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first violations are kept, up to the limit: memory stays bounded."""
    monkeypatch.setattr("sinch_qn.sandbox.state.MAX_VIOLATIONS", 2)
    async with running() as (sandbox, curl):
        for index in range(4):
            await curl.send("GET", f"/nothing/{index}")
        assert [each.operation[-2:] for each in sandbox.violations] == ["/0", "/1"]


# Error responses.


async def test_a_wrong_code_can_be_either_kind_of_answer() -> None:
    """A wrong code is a 200 or a 400, as set, also while the sandbox runs."""
    async with running() as (sandbox, curl):
        sandbox.add([NUMBER], SinchState.VERIFICATION_PENDING)
        path = f"/qualifiedNumbers/{NUMBER}:verifyVoiceChallenge"
        status, number, _ = await curl.send("POST", path, body={"code": "no"})
        assert (status, number["globalProcessState"]) == (200, SinchState.VERIFICATION_FAILED)
        sandbox.wrong_code = "rejected"
        status, error, _ = await curl.send("POST", path, body={"code": "no"})
        assert (status, error["status"]) == (400, "INVALID_ARGUMENT")
        assert error["details"][0]["fieldViolations"][0]["field"] == "code"
        assert sandbox.violations == []  # wrong, but well-formed


async def test_refusals_have_the_documented_form() -> None:
    """404, 409 and 500 have code, message and status as in the reference."""
    lost = f"+1202{MisbehavingNumber.LOST_RESPONSE.value}"
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
        sandbox.add([NUMBER], SinchState.HOSTING_DONE)
        sandbox.add([lost])
        status, error, _ = await curl.send(
            "POST", "/qualifiedNumbers:textEnableNumbers", body=order_of(NUMBER)
        )
        assert (status, error["code"], error["status"]) == (409, "409", "ALREADY_EXISTS")
        status, error, _ = await curl.send("POST", f"/qualifiedNumbers/{lost}:sendVoiceChallenge")
        assert (status, error["code"], error["status"]) == (500, "500", "INTERNAL")
        assert sandbox.world.rings(lost) == 1


@pytest.mark.parametrize(
    ("path", "body", "content_type"),
    [
        ("/{number}:sendVoiceChallenge", None, "application/octet-stream"),
        ("/{number}:sendVoiceChallenge", None, "application/json"),
        ("/{number}:verifyVoiceChallenge", b'{"code": "0123"}', "text/plain"),
        (":addNumbers", b'{"phoneNumbers": ["+12025550134"]}', "application/octet-stream"),
    ],
)
async def test_a_content_type_that_does_not_fit_is_a_violation(
    path: str, body: bytes | None, content_type: str
) -> None:
    """A Content-Type that is not that of the body, or without a body, is recorded."""
    async with Sandbox() as sandbox, aiohttp.ClientSession() as session:
        sandbox.add(["+12025550134"])
        number = path.replace("{number}", "+12025550134")
        url = f"{sandbox.base_url}/v1/projects/{sandbox.project_id}/qualifiedNumbers{number}"
        key = base64.b64encode(f"{sandbox.key_id}:{sandbox.key_secret}".encode()).decode()
        headers = {"Authorization": f"Basic {key}", "Content-Type": content_type}
        async with session.post(url, data=body, headers=headers) as response:
            assert response.status in {200, 400}, "a wrong code"
        assert [each.field for each in sandbox.violations] == ["Content-Type"]


async def test_a_wrong_method_is_a_405() -> None:
    """A known path with another method is 405 with the methods that it has; others are 404."""
    async with Sandbox() as sandbox, aiohttp.ClientSession() as session:
        root = f"{sandbox.base_url}/v1/projects/{sandbox.project_id}"
        async with session.put(f"{root}/qualifiedNumbers/+12025550134") as response:
            assert response.status == 405
            assert {"GET", "DELETE"} <= set(response.headers["Allow"].split(", "))
        async with session.put(f"{root}/other") as response:
            assert response.status == 404
        assert len(sandbox.violations) == 2
