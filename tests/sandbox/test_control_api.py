"""The sandbox's control API."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import attrs
import pytest
from aiohttp import web

from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.sandbox import Sandbox, Violation
from sinch_qn.sandbox.app import run_control
from tests.sandbox.curl import NUMBER, TOLL_FREE, order_of, running
from tests.support.loa import DIRECT_JSON


async def test_people_with_curl_can_do_it_all() -> None:
    """The control API creates numbers, moves time and returns codes and counts, without a key."""
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
    """The control API signs an LOA and revokes tokens."""
    async with running(loa_delay=None) as (sandbox, curl):
        sandbox.add([TOLL_FREE], SinchState.VERIFIED)
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
    """An invalid control request is an error with a message, never a 500."""
    async with running() as (_, curl):
        answer = await curl.send(method, path, body=body)
        assert answer[0] == status
        assert answer[1]["message"]


async def test_only_this_machine_steers_the_sandbox() -> None:
    """The control API rejects other machines, whatever address the sandbox listens on."""
    sandbox = Sandbox()
    for remote in ("192.0.2.1", None):
        request = cast("web.Request", SimpleNamespace(remote=remote))
        answer = await run_control(sandbox, lambda *_: {}, request)
        assert answer.status == 403
