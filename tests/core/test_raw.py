"""Raw access: any path below the project and no other, and the responses behind typed calls."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest

from sinch_qn import BasicAuth, QualifiedNumbersClient, RawResponse, capture_responses
from sinch_qn._http import Response
from sinch_qn._operations import OPERATIONS
from sinch_qn._raw import raw_request
from sinch_qn.errors import (
    ConflictError,
    InvalidRequestError,
    InvalidResponseError,
    NotFoundError,
    Outcome,
    RateLimitError,
    ServerError,
    SinchError,
    TransportError,
)
from sinch_qn.models import TextEnableNumbersRequest
from sinch_qn.sandbox import Fault, Sandbox
from tests.core.test_pipeline import NUMBER, ROOT, ScriptedTransport, Step, answer, pipeline
from tests.support.loa import DIRECT

PATH = "/newThings/01ABC"
LOST = TransportError("the connection broke")


async def request(
    transport: ScriptedTransport, method: str = "GET", path: str = PATH, **options: Any
) -> RawResponse:
    """Send a raw request over *transport*, with three attempts at most."""
    parts = {"query": None, "json": None, "headers": None, "idempotent": None, **options}
    to = pipeline(transport, retry=lambda failure: 0.0 if failure.attempt < 3 else None)
    return await to.call_path(raw_request(method, path, **parts))


async def failing(*steps: Step, method: str = "GET", **options: Any) -> SinchError:
    """Return the error of a raw request."""
    with pytest.raises(SinchError) as caught:
        await request(ScriptedTransport(*steps), method, **options)
    return caught.value


async def test_a_response_is_returned_as_it_came() -> None:
    """Status, headers and body of a 2xx are the server's, whatever they say."""
    body = b'{"error": {"code": 404}}'
    response = await request(ScriptedTransport(Response(202, {"X-Request-Id": "7"}, body)))
    assert (response.status_code, response.content) == (202, body)
    assert response.headers["x-request-id"] == "7"
    assert response.json() == {"error": {"code": 404}}
    assert repr(response) == "RawResponse(status_code=202)"
    assert pickle.loads(pickle.dumps(response)) == response  # noqa: S301


async def test_a_body_that_is_no_json_is_an_invalid_response() -> None:
    """`json()` raises a `SinchError` like every other reader."""
    response = await request(ScriptedTransport(Response(200, {}, b"<html>")))
    with pytest.raises(InvalidResponseError, match="not JSON"):
        response.json()


async def test_query_json_and_headers_are_sent() -> None:
    """Values are encoded once; None is left out, and a list is repeated."""
    transport = ScriptedTransport(answer(200))
    await request(
        transport,
        "POST",
        query={"a b": "ü&=/", "n": 5, "yes": True, "none": None, "many": ["x", "y"]},
        json={"number": NUMBER},
        headers={"x-mine": "1"},
    )
    (sent,) = transport.sent
    assert sent.url == f"{ROOT}{PATH}?a%20b=%C3%BC%26%3D%2F&n=5&yes=true&many=x&many=y"
    assert sent.body == b'{"number":"+12025550134"}'
    assert sent.headers["Content-Type"] == "application/json"
    assert sent.headers["X-Mine"] == "1"
    assert sent.headers["Authorization"].startswith("Basic ")
    assert sent.fresh_connection


@pytest.mark.parametrize(
    ("method", "idempotent", "attempts"),
    [
        *((method, None, 3) for method in ("GET", "HEAD", "PUT", "DELETE")),
        *((method, None, 1) for method in ("POST", "PATCH")),
        *((method, True, 3) for method in ("POST", "PATCH", "GET")),
        *((method, False, 1) for method in ("POST", "PUT", "GET", "DELETE")),
    ],
)
async def test_a_request_is_repeated_only_if_that_is_safe(
    method: str,
    idempotent: bool | None,  # noqa: FBT001 - of a table
    attempts: int,
) -> None:
    """With an unknown outcome, a POST is sent again only if the caller says that it may be."""
    for failure in (LOST, answer(503)):
        transport = ScriptedTransport(failure)
        with pytest.raises((TransportError, ServerError)) as caught:
            await request(transport, method, idempotent=idempotent)
        assert len(transport.sent) == caught.value.attempts == attempts
        assert caught.value.outcome is Outcome.UNKNOWN
    transport = ScriptedTransport(answer(429))
    with pytest.raises(RateLimitError):
        await request(transport, method, idempotent=idempotent)
    assert len(transport.sent) == 3, "a 429 had no effect"


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if not o.idempotent])
@pytest.mark.parametrize("encoded", [False, True])
def test_a_call_or_an_order_cannot_be_declared_idempotent(operation: Any, *, encoded: bool) -> None:
    """An operation that is known to have its effect twice is never repeated."""
    path = operation.path.replace("{phoneNumber}", "%2B12025550134" if encoded else NUMBER)
    if encoded:
        path = path.replace(":", "%3A").replace("N", "%4E")
    with pytest.raises(InvalidRequestError, match=f"{operation.id} is not idempotent"):
        raw_request(operation.method, path, query=None, json=None, headers=None, idempotent=True)


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "a", "//host/x", "/a//b", "/a/", "https://evil.example/x", "://x", "/a?b=1"),
        *("/..", "/a/../b", "/a/..", "/.", "/a/./b", "/%2e%2e/x", "/%2E./x", "/.../x"),
        *(
            "/a%2fb",
            "/a%2F..%2Fb",
            "/a%252e",
            "/a\\b",
            "/a%5cb",
            "/a#b",
            "/a b",
            "/a\tb",
            "/a\r\nb",
        ),
        *("/a%0d%0ab", "/a%00", "/%", "/%zz", "/ä", "/a\u2028", "/" + "a" * 3000),
        *(None, 7, b"/a", ["/a"]),
    ],
)
def test_a_path_leads_nowhere_else(path: Any) -> None:
    """What could leave the project, or forge a request, is refused before anything is sent."""
    with pytest.raises(InvalidRequestError, match="path: ") as caught:
        raw_request("GET", path, query=None, json=None, headers=None, idempotent=None)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "options",
    [
        {"method": "get"},
        {"method": "CONNECT"},
        {"method": "GET\r\nX: y"},
        {"headers": {"Authorization": "mine"}},
        {"headers": {"host": "evil.example"}},
        {"headers": {"Content-Length": "1"}},
        {"headers": {"X": "a\r\nb"}},
        {"query": {"a": object()}},
        {"query": {7: "a"}},
        {"query": {"a": "\ud800"}},
        {"json": {"a": object()}},
        {"json": {"a": "\ud800"}},
        {"idempotent": "yes"},
    ],
)
async def test_other_parts_are_checked(options: dict[str, Any]) -> None:
    """Bad parts are refused before anything is sent."""
    transport = ScriptedTransport(answer(200))
    with pytest.raises(InvalidRequestError):
        await request(transport, **{"method": "POST", **options})
    assert transport.sent == []


async def test_errors_are_typed_and_name_the_request() -> None:
    """A known path gives its operation, another one its template, without what identifies."""
    for path, name, number in (
        (f"/qualifiedNumbers/{NUMBER}", "getQualifiedNumber", NUMBER),
        ("/qualifiedNumbers/%2B12025550134", "getQualifiedNumber", NUMBER),
        ("/hostingOrders/01ABC/report", "getHostingOrderReport", None),
        ("/newThings/01ABC/parts", "GET /newThings/{…}/parts", None),
        (f"/newThings/{NUMBER}:check", "GET /newThings/{…}:check", None),
    ):
        error = await failing(answer(404), path=path)
        assert isinstance(error, NotFoundError)
        assert (error.operation, error.phone_number) == (name, number)
        assert NUMBER not in str(error)
    assert isinstance(await failing(answer(302)), InvalidResponseError)
    assert (await failing(LOST, answer(404), method="DELETE")).outcome is Outcome.UNKNOWN


async def test_what_was_sent_is_redacted_in_errors() -> None:
    """All texts of the body but phone numbers are taken for secrets, also within models."""
    echo = f"canary-1 4711 {NUMBER} {DIRECT.authorised_person.email}"
    loa = TextEnableNumbersRequest(
        region_code="US", numbers=[NUMBER], service_plan_id="p", direct_loa_info=DIRECT
    )
    body = {"list": [{"code": "canary-1"}, 4711], "loa": loa, "number": NUMBER}
    error = await failing(answer(409, {"message": echo}), method="POST", json=body)
    assert isinstance(error, ConflictError)
    assert error.message == f"••• ••• {NUMBER} •••"
    assert "canary-1" not in error.body


async def test_a_client_reaches_any_path(sandbox: Sandbox) -> None:
    """Over a socket, each method goes with the client's token, and typed errors come back."""
    sandbox.add([NUMBER])
    async with sandbox.client() as client:
        response = await client.request("GET", f"/qualifiedNumbers/{NUMBER}")
        assert response.json()["phoneNumber"] == NUMBER
        response = await client.request(
            "POST", "/qualifiedNumbers:addNumbers", json={"phoneNumbers": ["+12025550135"]}
        )
        assert response.json()["qualifiedNumbers"]
        response = await client.request("DELETE", f"/qualifiedNumbers/{NUMBER}")
        assert response.status_code == 200
        with pytest.raises(NotFoundError):
            await client.request("GET", f"/qualifiedNumbers/{NUMBER}")
    sandbox.violations.clear()


async def test_head_and_put_are_framed() -> None:
    """A HEAD has no body, whatever length its response states; a PUT has its own."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        requests.append(head + (await reader.readexactly(7) if b"PUT" in head else b""))
        length = b"9" if head.startswith(b"HEAD") else b"0"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with QualifiedNumbersClient("p", BasicAuth("k", "s"), base_url=url) as client:
            response = await client.request("HEAD", PATH, timeout=5)
            assert (response.status_code, response.content) == (200, b"")
            await client.request("PUT", PATH, json={"a": 1}, timeout=5)
    assert requests[0].startswith(b"HEAD /v1/projects/p/newThings/01ABC HTTP/1.1\r\n")
    assert requests[1].endswith(b'\r\n\r\n{"a":1}')


# Captured responses.


async def test_the_responses_behind_typed_calls_are_kept(sandbox: Sandbox) -> None:
    """All attempts of this task's calls are there, also those of tasks that it starts."""
    sandbox.add([NUMBER])
    sandbox.faults.add(Fault.status(503, times=1), operation="getQualifiedNumber")
    async with sandbox.client() as client:
        with capture_responses() as responses:
            number = await client.get_number(NUMBER)
            await asyncio.gather(client.get_number(NUMBER))
        assert [each.status_code for each in responses] == [503, 200, 200]
        assert responses[-1].json()["phoneNumber"] == number.phone_number
        await client.get_number(NUMBER)
    assert len(responses) == 3
    assert all("access_token" not in each.content.decode() for each in responses)


async def test_a_block_keeps_the_responses_of_its_own_task() -> None:
    """What another task calls meanwhile is not kept; an inner block has its own."""
    to = pipeline(ScriptedTransport(answer(200, {})))
    entered, done = asyncio.Event(), asyncio.Event()
    raw = raw_request("GET", PATH, query=None, json=None, headers=None, idempotent=None)

    async def other() -> None:
        await entered.wait()
        await to.call_path(raw)
        done.set()

    task = asyncio.create_task(other())
    with capture_responses() as responses:
        entered.set()
        await done.wait()
        assert list(responses) == []
        with capture_responses() as inner:
            late = asyncio.create_task(to.call_path(raw))
            await to.call_path(raw)
            await late
            later = asyncio.create_task(to.call_path(raw))
        await later
    await task
    assert (len(responses), len(inner)) == (0, 2)


async def test_the_secret_of_callbacks_is_in_no_captured_response_and_no_error(
    sandbox: Sandbox,
) -> None:
    """Where a response holds a secret, its body is kept nowhere, also if it is unreadable."""
    async with sandbox.client(retry=lambda _: None) as client:
        await client.callback_configuration.update("hmac-canary")
        with capture_responses() as responses:
            await client.callback_configuration.get()
            sandbox.faults.add(Fault.bad_json(), operation="getCallbackConfiguration")
            for call in (
                client.callback_configuration.get(),
                client.callback_configuration.update("hmac-canary"),
            ):
                (result,) = await asyncio.gather(call, return_exceptions=True)
                assert "hmac-canary" not in str(getattr(result, "body", ""))
            sandbox.faults.clear()
            raw = await client.request("GET", "/callbackConfiguration")
        assert [each.content for each in responses] == [b""] * 4
        assert raw.json()["hmacSecret"] == "hmac-canary", "who asks for it gets it"


async def test_the_oldest_responses_are_dropped() -> None:
    """A block is bounded in count and in bytes; the last response is always there."""
    raw = raw_request("GET", PATH, query=None, json=None, headers=None, idempotent=None)
    to = pipeline(ScriptedTransport(*(Response(200, {}, b"x" * size) for size in (1, 5, 9, 2))))
    with capture_responses(max_count=2, max_bytes=10) as responses:
        kept = []
        for _ in range(4):
            await to.call_path(raw)
            kept.append([len(each.content) for each in responses])
    assert kept == [[1], [1, 5], [9], [2]]
    assert responses.dropped == 3
    for options in ({"max_count": 0}, {"max_bytes": -1}):
        with pytest.raises(InvalidRequestError), capture_responses(**options):
            pass
