"""Any input gives a result or one documented error.

Bounded and repeatable in `make test`; `make fuzz` sets SINCH_QN_FUZZ, a factor by which each test
runs more examples, different ones every time.
"""

from __future__ import annotations

import asyncio
import base64
import os
import pickle
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from zlib import crc32

import orjson
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS

from sinch_qn import BasicAuth, OAuth2, QualifiedNumbersClient, RetryPolicy, SinchError
from sinch_qn._http import Request, Response
from sinch_qn._operations import OPERATIONS
from sinch_qn.models import BlanketLoaInfo, GlobalProcessState, TextEnableNumbersRequest
from sinch_qn.parsing import BadLine, ColumnError, GoodLine, InvalidFile, read_numbers
from sinch_qn.sandbox import Sandbox
from tests.support.cli_process import running

pytestmark = pytest.mark.slow

FACTOR = int(os.environ.get("SINCH_QN_FUZZ", "1"))
NUMBER = "+12025550134"

T = TypeVar("T")


def tries(count: int) -> settings:
    """Return the number of examples of a test; the factor of `make fuzz` multiplies it."""
    return settings(
        max_examples=count * FACTOR,
        deadline=None,
        derandomize=FACTOR == 1,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


# ---- bytes on the client's socket --------------------------------------------------------------

SAMPLE: dict[str, Any] = {
    "phoneNumber": NUMBER,
    "globalProcessState": "GLOBAL_PROCESS_STATE_VERIFIED",
    "osrEligibility": {"status": "DONE", "error": None},
    "hostedNumber": {"status": 1},
    "createdTime": "2019-08-24T14:15:22.123456789Z",
    "hostingOrderId": "01arz3",
    "hostingOrderInfo": {"address": {"city": "Here"}, "loaType": "Direct"},
    "qualifiedNumbers": [{"phoneNumber": NUMBER}],
    "numbers": [{"phoneNumber": NUMBER, "smsTmo": {"state": "FAILED", "errorCode": "1"}}],
    "smsConfiguration": {"scheduledProvisioning": {"status": 1, "errorCodes": [1]}},
    "hmacSecret": "secret",
    "nextPageToken": "",
    "totalSize": "7",
    "access_token": "token",
    "expires_in": 3600,
}
VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9)
    | st.sampled_from(["", "9" * 5000, "1e9999", "2019-13-01T00:00:00Z", "\u2028"])
)
JSON = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner)
)


@st.composite
def almost_right(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a response that fits every operation, except for some fields at any depth."""
    answer: dict[str, Any] = orjson.loads(orjson.dumps(SAMPLE))
    for _ in range(draw(st.integers(0, 3))):
        at: Any = answer
        while True:
            key = draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
            if not isinstance(at[key], dict | list) or not at[key] or draw(st.booleans()):
                break
            at = at[key]
        at[key] = draw(JSON)
    return answer


STATUS_LINES = st.sampled_from(
    [
        *(f"HTTP/1.1 {status} x".encode() for status in (200, 200, 201, 204, 302, 304, 401, 404)),
        *(f"HTTP/1.1 {status} x".encode() for status in (101, 408, 429, 500, 503, 999, 1000, 0)),
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK",
        b"HTTP/1.0 200",
        b"HTTP/2 200 OK",
        b"HTTP/1.1 2\xb2 OK",
        b"ICY 200 OK",
        b"",
    ]
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            b"Content-Length Transfer-Encoding Content-Type Content-Encoding Retry-After Date "
            b"Connection Location Set-Cookie WWW-Authenticate Upgrade X\0Y :".split()
        ),
        st.sampled_from(
            [
                *(b"0 1 -1 99999999999999999999 1e3 chunked gzip, chunked identity br".split(b" ")),
                *(b"close keep-alive utf-16 text/html a=b;Max-Age=x Bearer expired".split(b" ")),
                *(b"Sun, 06 Nov 1994 08:49:37 GMT|http://[|\xff\xfe|\x00|".split(b"|")),
            ]
        )
        | st.binary(max_size=6),
    ),
    max_size=3,
)
BODIES = st.binary(max_size=30) | (almost_right() | JSON).map(orjson.dumps)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Draw the bytes of a server: mostly valid HTTP with a valid length, perhaps truncated."""
    body = draw(BODIES)
    lines = [draw(STATUS_LINES), *(name + b": " + value for name, value in draw(HEADERS))]
    framing = draw(st.integers(0, 3))
    if framing < 2:
        lines.append(b"Content-Length: %d" % len(body))
    elif framing == 2:
        lines.append(b"Transfer-Encoding: chunked")
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    answer = b"\r\n".join(lines) + b"\r\n\r\n" + body
    return answer[: draw(st.integers(0, len(answer)))] if draw(st.booleans()) else answer


class Wire:
    """A server that sends any bytes, and an event loop for its clients."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._answer = b""
        self.url = ""

    def ask(self, answer: bytes, call: Callable[[], Awaitable[T]]) -> T | SinchError:
        """Return the result of *call*, or its error, while every connection gets *answer*."""

        async def run() -> T | SinchError:
            try:
                async with asyncio.timeout(20):
                    return await call()
            except SinchError as error:
                return error

        self._answer = answer
        return self._runner.run(run())

    async def open(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: *([0-9]+)", head, re.IGNORECASE)
            await reader.readexactly(int(length[1]) if length else 0)
            writer.write(self._answer)
            await writer.drain()
        writer.close()


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    """Run a server that sends any bytes."""
    with asyncio.Runner() as runner:
        wire = Wire(runner)
        server = runner.run(wire.open())
        yield wire
        server.close()
        runner.run(asyncio.sleep(0))


ORDER = TextEnableNumbersRequest(
    region_code="US", numbers=[NUMBER], service_plan_id="plan", blanket_loa_info=BlanketLoaInfo()
)


async def list_numbers(client: QualifiedNumbersClient) -> object:
    """Return the numbers in one state."""
    return [each async for each in client.list_numbers(GlobalProcessState.VERIFIED)]


async def list_order_numbers(client: QualifiedNumbersClient) -> object:
    """Return the numbers of an order."""
    return [each async for each in client.hosting_orders.list_numbers("01arz3")]


CALLS: dict[str, Callable[[QualifiedNumbersClient], Awaitable[object]]] = {
    "list": list_numbers,
    "get": lambda client: client.get_number(NUMBER),
    "delete": lambda client: client.delete_number(NUMBER),
    "order": lambda client: client.text_enable_numbers(ORDER),
    "call": lambda client: client.send_voice_challenge(NUMBER),
    "list an order's numbers": list_order_numbers,
    "imported number": lambda client: client.imported_numbers.get(NUMBER),
    "secret": lambda client: client.callback_configuration.get(),
}
"""The operations that differ in how a response is read."""


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("token_url", [None, "/token"])
@given(answer=answers())
@tries(60)
def test_any_bytes_give_a_result_or_one_error(
    wire: Wire,
    name: str,
    token_url: str | None,
    answer: bytes,
) -> None:
    """Whatever the bytes of the API's or the token's response, no other error escapes."""

    async def run() -> object:
        auth: BasicAuth | OAuth2 = BasicAuth("k", "s")
        if token_url:
            auth = OAuth2("k", "s", token_url=wire.url + token_url)
        async with QualifiedNumbersClient(
            "p", auth, base_url=wire.url, retry=RetryPolicy(max_attempts=1)
        ) as client:
            return await CALLS[name](client)

    result = wire.ask(answer, run)
    if isinstance(result, SinchError):
        assert str(result).isprintable()
        assert str(pickle.loads(pickle.dumps(result))) == str(result)  # noqa: S301


# ---- listings that lie -------------------------------------------------------------------------

TOKENS = ["", "a", "b", "c", "d"]
PAGES = st.fixed_dictionaries(
    {token: st.tuples(st.sampled_from(TOKENS), st.none() | almost_right()) for token in TOKENS}
)


@given(pages=PAGES)
@tries(100)
def test_a_listing_that_lies_ends(pages: dict[str, tuple[str, Any]]) -> None:
    """However pages refer to each other, each is requested at most once, and the listing ends."""
    asked: list[str] = []

    async def send(_: object, request: Request, *__: object) -> Response:
        token = request.url.partition("pageToken=")[2]
        asked.append(token)
        following, body = pages[token]
        page = {**(body or {"qualifiedNumbers": []}), "nextPageToken": following}
        return Response(200, {}, orjson.dumps(page))

    async def run() -> None:
        async with QualifiedNumbersClient("p", BasicAuth("k", "s")) as client:
            client._pipeline._transport.send = send.__get__(client)  # type: ignore[method-assign]
            with suppress(SinchError):
                await list_numbers(client)

    asyncio.run(run())
    assert len(asked) == len(set(asked)) >= 1


# ---- files of numbers --------------------------------------------------------------------------

CELLS = st.sampled_from(
    [
        *("phone", "ref", "", " ", "202-555-0134", '"+1 202 555 0135"', '"', '""', "\0", "\x1f"),
        *(
            "2025550136",
            "x",
            "=HYPERLINK()",
            "٢٠٢٥٥٥٠١٣٤",
            "1e10",
            "9" * 400,
            "é",
            "\u2028",
            "\x85",
        ),
    ]
) | st.text(max_size=5)
ROWS = st.lists(st.lists(CELLS, max_size=3), max_size=6)
FILES = st.binary(max_size=60) | st.builds(
    lambda rows, comma, end, coding: end.join(map(comma.join, rows)).encode(coding, "replace"),
    ROWS,
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n", "\r", "\n\n"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252"]),
)
COLUMNS = st.none() | st.sampled_from(["phone", "1", "3", "0", "-1", "²", "9" * 5000, ""])


@given(content=FILES, column=COLUMNS, ref=st.sampled_from(["ref", "", "phone", "\0"]))
@tries(300)
def test_any_file_gives_lines_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, column: str | None, ref: str
) -> None:
    """Any text, in any encoding and with any options, gives valid and invalid lines in order."""
    path: Path = tmp_path_factory.getbasetemp() / "fuzz.csv"
    path.write_bytes(content)
    try:
        lines = list(read_numbers(path, column=column, ref=ref))
    except (ColumnError, InvalidFile):
        return
    numbers = [line.number.e164 for line in lines if isinstance(line, GoodLine)]
    assert all(re.fullmatch(r"\+1[2-9][0-9]{9}", number) for number in numbers)
    assert len(numbers) == len(set(numbers))
    assert all(line.reason for line in lines if isinstance(line, BadLine))
    at = [line.line for line in lines]
    assert at == sorted(at)
    assert all(1 <= each <= len(content) + 1 for each in at)


# ---- the sandbox against its own description ---------------------------------------------------


KNOWN = [f"+1202555{index:04}" for index in range(len(GlobalProcessState))]
TOLL_FREE = [f"+1833555{index:04}" for index in range(len(GlobalProcessState))]


def make_known(case: schemathesis.Case[Any], sandbox: Sandbox) -> None:
    """Change a valid request to the sandbox's project, and to numbers and an order that exist."""
    project_id = case.path_parameters["projectId"] = sandbox.project_id
    numbers = TOLL_FREE if "TollFree" in case.path else KNOWN

    def pick(drawn: str) -> str:
        return numbers[crc32(drawn.encode()) % len(numbers)]

    if "phoneNumber" in case.path_parameters:
        case.path_parameters["phoneNumber"] = pick(case.path_parameters["phoneNumber"])
    if "hostingOrderId" in case.path_parameters:
        case.path_parameters["hostingOrderId"] = next(iter(sandbox.world.orders))
    body: Any = case.body
    if isinstance(body, dict):
        for name in {"numbers", "phoneNumbers"} & body.keys():
            body[name] = [pick(each) for each in body[name]]
        if isinstance(body.get("phoneNumber"), str):
            body["phoneNumber"] = pick(body["phoneNumber"])
        if "projectId" in body:
            body["projectId"] = project_id


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """Run a sandbox in a thread, with a number in every state."""
    with running(Sandbox()) as sandbox:
        for number, toll_free, state in zip(KNOWN, TOLL_FREE, GlobalProcessState, strict=True):
            sandbox.add([number, toll_free], state)
        hosted = "+12025550199"
        sandbox.add([hosted], GlobalProcessState.VERIFIED)
        order = {"numbers": [hosted], "servicePlanId": "plan", "blanketLoaInfo": {}}
        sandbox.world.text_enable(order, toll_free=False)
        yield sandbox


SPEC = Path(__file__).parents[2] / "sinch_qn/sandbox/openapi.json"
schema = schemathesis.openapi.from_dict(orjson.loads(SPEC.read_bytes()))
LEFT_OUT: Any = CHECKS.get_by_names(
    [
        "positive_data_acceptance",  # a schema knows no states, and no page tokens
        "unsupported_method",  # what the API answers is undocumented; the sandbox says 404
    ]
)


def fuzz(operation_id: str) -> Callable[..., None]:
    """Return the test of one operation: schemathesis gives all tests of a function one id."""

    @tries(12)
    def keeps_to_its_description(case: schemathesis.Case[Any], sandbox: Sandbox) -> None:
        """Any request, valid or not, gets a response that is in the description, and no defect."""
        key = base64.b64encode(f"{sandbox.key_id}:{sandbox.key_secret}".encode()).decode()
        if case.meta is not None and case.meta.generation.mode.is_positive:
            make_known(case, sandbox)
        case.call_and_validate(
            base_url=sandbox.base_url,
            headers={"Authorization": f"Basic {key}"},
            excluded_checks=LEFT_OUT,
            timeout=10,
        )

    parametrize: Callable[..., Any] = schema.include(operation_id=operation_id).parametrize()
    test: Callable[..., None] = parametrize(keeps_to_its_description)
    return test


for each in OPERATIONS:
    globals()[f"test_the_sandbox_keeps_to_its_description_of_{each.id}"] = fuzz(each.id)


def test_every_operation_is_fuzzed() -> None:
    """The fuzzed description has all operations."""
    results: list[Any] = list(schema.get_all_operations())
    found = {result.ok().definition.raw["operationId"] for result in results}
    assert found == {operation.id for operation in OPERATIONS}
