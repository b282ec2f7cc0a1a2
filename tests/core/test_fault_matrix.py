"""Every operation under every fault: the right error, the right outcome, the work at most once.

What is expected of each cell follows from docs/reference/errors.md, by `oracle`; nothing of it is
taken from the code. A row is run once, when a test first needs it, its cells eight at a time,
each with a sandbox and a client of its own. All are shown in docs/reference/fault-matrix.md:

    SINCH_QN_FUZZ=1 python -m tests.core.test_fault_matrix       # writes the table anew

`make test` runs the operations of `ONE_OF_EACH_KIND`, `make fuzz` all of them.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import aiohttp.connector
import attrs
import pytest
import trustme

from sinch_qn import OAuth2, QualifiedNumbersClient, RetryPolicy, SinchError
from sinch_qn._codec import encode
from sinch_qn._operations import OPERATIONS
from sinch_qn.models import (
    BlanketLoaInfo,
    ImportNumberRequest,
    ImportNumbersRequest,
    SmsConfiguration,
    TextEnableNumbersRequest,
    TextEnableTollFreeNumbersRequest,
)
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.sandbox import Fault, Sandbox
from tests.support import fault_proxy as proxy
from tests.support.fault_proxy import FaultProxy, Move, Refusing
from tests.support.loa import DIRECT
from tests.support.matrices import ALL

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "fault-matrix.md"
NUMBER = "+12025550134"
TOLL_FREE = "+18335550134"
TRIES = 4
PATIENCE = 20.0
"""The deadline of cells that should not need it."""
DEADLINE = 0.4
"""The deadline of cells that run into it."""
SLOW = 0.6
"""Longer than that, and short enough for a sandbox that ends to wait for it."""
SLACK = 5.0
"""How late a deadline may be noticed by a busy machine."""
SIDE_BY_SIDE = 8
"""Cells that run at the same time: more would make each other late."""
STALL = 0.15
"""A machine that stood still for so long may have missed a moment that a cell is about."""

# ---- the columns -------------------------------------------------------------------------------


@attrs.frozen
class Column:
    """One operation: how to call it, and what it needs to be there."""

    id: str
    call: Callable[[QualifiedNumbersClient, Sandbox], Awaitable[object]]
    """Returns the id in the response: of the number, or of the order."""
    number: str = NUMBER
    state: SinchState | None = SinchState.ELIGIBLE
    repeatable: bool = False
    """Idempotent: GET, DELETE, and replacing the secret of callbacks."""
    has_id: bool = True
    """Whether its response has an id that it could lack."""
    has_body: bool = True
    """Whether its response has a body."""
    ordered: bool = False
    """Whether the number is ordered, and so hosted, before."""


async def _list(client: QualifiedNumbersClient, _: Sandbox) -> object:
    listed = [number.phone_number async for number in client.list_numbers(SinchState.ELIGIBLE)]
    return listed[0] if listed else NUMBER  # a listing has no id that it could lack


async def _get(client: QualifiedNumbersClient, _: Sandbox) -> object:
    return (await client.get_number(NUMBER)).phone_number


async def _delete(client: QualifiedNumbersClient, _: Sandbox) -> object:
    await client.delete_number(NUMBER)
    return NUMBER


async def _add(client: QualifiedNumbersClient, _: Sandbox) -> object:
    (number,) = await client.add_numbers([NUMBER])
    return number.phone_number


TEXT_ENABLE = TextEnableNumbersRequest(
    region_code="US",
    numbers=[NUMBER],
    service_plan_id="plan",
    campaign_id="C1",
    blanket_loa_info=BlanketLoaInfo(),
)
TEXT_ENABLE_TOLL_FREE = TextEnableTollFreeNumbersRequest(
    region_code="US", numbers=[TOLL_FREE], service_plan_id="plan", direct_loa_info=DIRECT
)
IMPORT = ImportNumberRequest(
    phone_number=NUMBER,
    region_code="US",
    sms_configuration=SmsConfiguration(service_plan_id="plan", campaign_id="C1"),
)


async def _text_enable(client: QualifiedNumbersClient, _: Sandbox) -> object:
    return await client.text_enable_numbers(TEXT_ENABLE)


async def _text_enable_toll_free(client: QualifiedNumbersClient, _: Sandbox) -> object:
    return (await client.text_enable_toll_free_numbers(TEXT_ENABLE_TOLL_FREE)).hosting_order_id


async def _ring(client: QualifiedNumbersClient, _: Sandbox) -> object:
    return (await client.send_voice_challenge(NUMBER)).phone_number


async def _verify(client: QualifiedNumbersClient, sandbox: Sandbox) -> object:
    code = sandbox.code_for(NUMBER) or ""
    return (await client.verify_voice_challenge(NUMBER, code)).phone_number


def _order(sandbox: Sandbox) -> str:
    return next(iter(sandbox.world.orders))


async def _list_orders(client: QualifiedNumbersClient, sandbox: Sandbox) -> object:
    listing = client.hosting_orders.list(
        "COMPLETED", type="TYPE_TEXT_ENABLE", service_plan_id="plan", campaign_id="C1"
    )
    listed = [order.hosting_order_id async for order in listing]
    return listed[0] if listed else _order(sandbox)


async def _get_order(client: QualifiedNumbersClient, sandbox: Sandbox) -> object:
    return (await client.hosting_orders.get(_order(sandbox))).hosting_order_id


async def _report(client: QualifiedNumbersClient, sandbox: Sandbox) -> object:
    await client.hosting_orders.report(_order(sandbox))
    return NUMBER


async def _list_order_numbers(client: QualifiedNumbersClient, sandbox: Sandbox) -> object:
    listing = client.hosting_orders.list_numbers(_order(sandbox))
    listed = [number.phone_number async for number in listing]
    return listed[0] if listed else NUMBER


async def _get_order_number(client: QualifiedNumbersClient, sandbox: Sandbox) -> object:
    return (await client.hosting_orders.get_number(_order(sandbox), NUMBER)).phone_number


async def _order_import(client: QualifiedNumbersClient, _: Sandbox) -> object:
    request = ImportNumbersRequest(region_code="US", numbers=[NUMBER], service_plan_id="plan")
    return (await client.hosting_orders.import_numbers(request)).hosting_order_id


async def _order_text_enable(client: QualifiedNumbersClient, _: Sandbox) -> object:
    return (await client.hosting_orders.text_enable_numbers(TEXT_ENABLE)).hosting_order_id


async def _order_toll_free(client: QualifiedNumbersClient, _: Sandbox) -> object:
    orders = client.hosting_orders
    return (await orders.text_enable_toll_free_numbers(TEXT_ENABLE_TOLL_FREE)).hosting_order_id


async def _list_imported(client: QualifiedNumbersClient, _: Sandbox) -> object:
    listing = client.imported_numbers.list(service_plan_id="plan", campaign_id="C1")
    listed = [number.phone_number async for number in listing]
    return listed[0] if listed else NUMBER


async def _import_number(client: QualifiedNumbersClient, _: Sandbox) -> object:
    return (await client.imported_numbers.import_number(IMPORT)).phone_number


async def _get_imported(client: QualifiedNumbersClient, _: Sandbox) -> object:
    return (await client.imported_numbers.get(NUMBER)).phone_number


async def _update_imported(client: QualifiedNumbersClient, _: Sandbox) -> object:
    return (await client.imported_numbers.update(NUMBER, campaign_id="")).phone_number


async def _delete_imported(client: QualifiedNumbersClient, _: Sandbox) -> object:
    await client.imported_numbers.delete(NUMBER)
    return NUMBER


async def _get_secret(client: QualifiedNumbersClient, _: Sandbox) -> object:
    await client.callback_configuration.get()
    return NUMBER


async def _set_secret(client: QualifiedNumbersClient, _: Sandbox) -> object:
    await client.callback_configuration.update("a new secret")
    return NUMBER


reading = partial(Column, repeatable=True, state=SinchState.VERIFIED, ordered=True)
ordering = partial(Column, state=SinchState.VERIFIED)

COLUMNS = [
    Column("listQualifiedNumbers", _list, repeatable=True, has_id=False),
    Column("getQualifiedNumber", _get, repeatable=True),
    Column("deleteQualifiedNumber", _delete, repeatable=True, has_id=False, has_body=False),
    Column("addQualifiedNumbers", _add, state=None),
    ordering("textEnableNumbers", _text_enable),
    ordering("textEnableTollFreeNumbers", _text_enable_toll_free, TOLL_FREE),
    Column("sendVoiceChallenge", _ring),
    Column("verifyVoiceChallenge", _verify, state=SinchState.VERIFICATION_PENDING),
    reading("listHostingOrders", _list_orders, has_id=False),
    reading("getHostingOrder", _get_order),
    reading("getHostingOrderReport", _report, has_id=False),
    reading("listHostingOrderNumbers", _list_order_numbers, has_id=False),
    reading("getHostingOrderNumber", _get_order_number),
    Column("createImportOrder", _order_import, state=None),
    ordering("createTextEnableOrder", _order_text_enable),
    ordering("createTollFreeTextEnableOrder", _order_toll_free, TOLL_FREE),
    reading("listImportedNumbers", _list_imported, has_id=False),
    Column("importNumber", _import_number, state=None),
    reading("getImportedNumber", _get_imported),
    ordering("updateImportedNumber", _update_imported, ordered=True),
    reading("deleteImportedNumber", _delete_imported, has_id=False, has_body=False),
    Column("getCallbackConfiguration", _get_secret, repeatable=True, has_id=False),
    Column("updateCallbackConfiguration", _set_secret, repeatable=True, has_id=False),
]

ONE_OF_EACH_KIND = {
    *("listQualifiedNumbers", "getQualifiedNumber", "deleteQualifiedNumber"),
    *("sendVoiceChallenge", "verifyVoiceChallenge", "createTextEnableOrder"),
}
"""Of each group of operations that fare alike, and what calls, uses up a code, or orders."""

TO_RUN = [column for column in COLUMNS if ALL or column.id in ONE_OF_EACH_KIND]
ONCE_ONLY = [column.id for column in TO_RUN if not column.repeatable]
WITHOUT_BODY = tuple(column.id for column in COLUMNS if not column.has_body)
WITHOUT_ID = tuple(column.id for column in COLUMNS if not column.has_id)

# ---- the rows ----------------------------------------------------------------------------------


@attrs.frozen
class OnToken:
    """A fault of the token endpoint."""

    fault: Fault


@attrs.frozen
class OnWire:
    """A fault of the connection."""

    move: Move
    times: int | None = None
    warm: bool = False
    """Have a connection that was used before."""
    tls: ssl.SSLContext | None = None
    https: bool = False


@attrs.frozen
class NoServer:
    """Nobody there: the port refuses, or the host's name is not known."""

    host: str = ""


Cause = Fault | OnToken | OnWire | NoServer


@attrs.frozen(kw_only=True)
class Row:
    """One fault, in the words of errors.md."""

    name: str
    cause: Cause
    error: str | None = None
    """The error of the table for it; None: the response can be read."""
    not_sent: bool = False
    """Of those errors that may be either: it happens before anything is sent."""
    status: int = 0
    strikes: int | None = None
    """How often it happens; None: always."""
    worked: bool = False
    """Whether the server does the work when it happens."""
    status_arrives: bool = False
    """Whether an error's status can be read before it happens."""
    no_time: bool = False
    """Whether waiting as asked would pass the deadline."""
    fine: tuple[str, ...] = ()
    """Operations that it does not touch."""


def always_and_once(name: str, make: Callable[[int | None], Cause], **row: Any) -> list[Row]:
    """Return a row for a fault that lasts, and one for a fault that passes."""
    return [
        Row(name=f"{name}, always", cause=make(None), **row),
        Row(name=f"{name}, once", cause=make(1), strikes=1, **row),
    ]


def statuses() -> Iterator[Row]:
    """Yield the responses with an error status."""
    names = {400: "BadRequestError", 403: "PermissionDeniedError", 404: "NotFoundError"}
    for status in (400, 403, 404, 408, 409, 418):
        error = {**names, 409: "ConflictError"}.get(status, "StatusError")
        yield Row(name=f"{status}", cause=Fault.status(status), error=error, status=status)
    for name, make in {
        "401": lambda times: Fault.status(401, times=times),
        "401 to a token that was revoked": lambda times: Fault.revoked(times=times),
    }.items():
        yield from always_and_once(name, make, error="AuthenticationError", status=401)
    yield from always_and_once(
        "429", lambda times: Fault.limited(times=times), error="RateLimitError"
    )
    for as_date in (False, True):
        form = "a date" if as_date else "seconds"
        now = Fault.limited(0, as_date=as_date, times=1)
        yield Row(
            name=f"429, `Retry-After` now, as {form}, once",
            cause=now,
            error="RateLimitError",
            strikes=1,
        )
        yield Row(
            name=f"429, `Retry-After` beyond the deadline, as {form}",
            cause=Fault.limited(3600, as_date=as_date),
            error="RateLimitError",
            no_time=True,
        )
    server = partial(Row, error="ServerError")
    for status in (500, 502, 504):
        yield server(name=f"{status}", cause=Fault.status(status))
    yield from always_and_once(
        "503", lambda times: Fault.status(503, times=times), error="ServerError"
    )
    yield server(name="503, three times", cause=Fault.status(503, times=3), strikes=3)
    headers = {"Retry-After": "3600"}
    yield server(
        name="503, `Retry-After` beyond the deadline",
        cause=Fault.status(503, headers=headers),
        no_time=True,
    )
    yield from always_and_once(
        "500 with the work done",
        lambda times: Fault.status(500, when="after", times=times),
        worked=True,
        error="ServerError",
    )
    yield server(name="502 in HTML", cause=Fault.html(502, when="instead"))


def answers() -> Iterator[Row]:
    """Yield the responses that are odd, and those that cannot be read."""
    invalid = partial(Row, error="InvalidResponseError")
    yield invalid(name="302", cause=Fault.redirect())
    yield Row(name="a 500 in a 200", cause=Fault.error_in_200(), error="ServerError")
    for name, fault in {
        "HTML in a 200": Fault.html(),
        "endless body": Fault.endless(),
        "gzip bomb": Fault.gzip_bomb(),
    }.items():
        yield invalid(name=name, cause=fault, worked=True)
    for name, fault in {
        "bad JSON": Fault.bad_json(),
        "a JSON list": Fault.status(200, body=[], when="after"),
        "empty body": Fault.empty(),
    }.items():
        yield invalid(name=name, cause=fault, worked=True, fine=WITHOUT_BODY)
    yield invalid(
        name="a 200 without its id", cause=Fault.without_id(), worked=True, fine=WITHOUT_ID
    )
    yield from always_and_once(
        "body cut off",
        lambda times: Fault.truncated(times=times),
        error="TransportError",
        worked=True,
        status_arrives=True,
    )
    yield Row(name="unknown enum values", cause=Fault.unknown_enums())
    yield Row(name="null in all but the ids", cause=Fault.nulls())
    yield Row(name="unknown fields", cause=Fault.extra_fields())
    yield Row(name="slow, within the deadline", cause=Fault.slow(0.05))
    late = partial(Row, error="DeadlineExceededError", worked=True)
    yield late(name="slow, beyond the deadline, before the work", cause=Fault.slow(SLOW))
    yield late(
        name="slow, beyond the deadline, after the work", cause=Fault.slow(SLOW, when="after")
    )


def connections() -> Iterator[Row]:
    """Yield what can happen to a connection."""
    for name, move, worked in (
        ("RST before the work", proxy.rst_before_work, False),
        ("RST before the response", proxy.rst_before_answer, True),
        ("RST in the response", proxy.rst_in_answer, True),
        ("EOF before the work", proxy.eof_before_work, False),
        ("EOF before the response", proxy.eof_before_answer, True),
        ("EOF in the response", proxy.eof_in_answer, True),
    ):
        yield from always_and_once(
            name,
            partial(OnWire, move),
            error="TransportError",
            worked=worked,
            status_arrives=name.endswith("in the response"),
        )
    yield Row(
        name="dropped when used again (idle too long)",
        cause=OnWire(proxy.stale_when_reused, warm=True),
        strikes=1,
        fine=tuple(ONCE_ONLY),
        error="TransportError",
    )
    yield Row(name="the response in chunks of one byte", cause=OnWire(proxy.one_byte_slices))
    late = partial(Row, error="DeadlineExceededError")
    yield late(name="hangs before the work", cause=OnWire(proxy.hang_before_work))
    for name, move in {
        "hangs after the work": proxy.hang_before_answer,
        "slow loris": proxy.slow_loris,
    }.items():
        yield late(name=name, cause=OnWire(move), worked=True)
    none = partial(Row, error="ConnectError")
    yield none(name="connection refused", cause=NoServer())
    yield none(name="host name unknown (DNS)", cause=NoServer("sinch.invalid"))
    for name, tls in CERTIFICATES.items():
        yield none(name=f"TLS: {name}", cause=OnWire(proxy.forward, tls=tls, https=True))
    yield late(
        name="TLS: handshake never ends", cause=OnWire(proxy.forward, https=True), not_sent=True
    )


def _on_token(make: Callable[[int | None], Fault], times: int | None) -> OnToken:
    return OnToken(make(times))


def tokens() -> Iterator[Row]:
    """Yield what can happen at the token endpoint."""
    refused = partial(Row, error="AuthenticationError", not_sent=True)
    for status in (400, 401, 403):
        cause = OnToken(Fault.status(status, body={"error": "invalid_client"}))
        yield refused(name=f"token: {status}", cause=cause)
    none = partial(Row, error="TokenError")
    for name, make in {
        "429": lambda times: Fault.limited(times=times),
        "503": lambda times: Fault.status(503, times=times),
        "dropped": lambda times: Fault.dropped(times=times),
        "body cut off": lambda times: Fault.truncated(times=times),
    }.items():
        yield from always_and_once(f"token: {name}", partial(_on_token, make), error="TokenError")
    for name, fault in {
        "302": Fault.redirect(),
        "HTML in a 200": Fault.html(),
        "empty body": Fault.empty(),
        "bad JSON": Fault.bad_json(),
        "error in a 200": Fault.error_in_200(),
        "no token in it": Fault.without_id(),
        "endless body": Fault.endless(),
        "gzip bomb": Fault.gzip_bomb(),
    }.items():
        yield none(name=f"token: {name}", cause=OnToken(fault))
    yield Row(name="token: null in all but the token", cause=OnToken(Fault.nulls()))
    yield Row(name="token: unknown fields", cause=OnToken(Fault.extra_fields()))
    yield Row(
        name="token: slow, beyond the deadline",
        cause=OnToken(Fault.slow(SLOW)),
        error="DeadlineExceededError",
        not_sent=True,
    )


AUTHORITY = trustme.CA()


def _serving(authority: trustme.CA, host: str, not_after: datetime | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host, not_after=not_after).configure_cert(context)
    return context


_YESTERDAY = datetime.now(UTC) - timedelta(days=1)
CERTIFICATES = {
    "certificate of an untrusted authority": _serving(trustme.CA(), "localhost"),
    "certificate for another host": _serving(AUTHORITY, "elsewhere.example"),
    "certificate that has expired": _serving(AUTHORITY, "localhost", not_after=_YESTERDAY),
}
ROWS = [*statuses(), *answers(), *connections(), *tokens()]
ROWS.insert(
    [row.name for row in ROWS].index("TLS: certificate of an untrusted authority"),
    Row(
        name="TLS: a good certificate",
        cause=OnWire(proxy.forward, tls=_serving(AUTHORITY, "localhost"), https=True),
    ),
)


def one_of_each_class_is_fast() -> Iterator[pytest.ParameterSet]:
    """Yield the rows; those whose cause and error an earlier one has are slow."""
    seen = set()
    for row in ROWS:
        kind = (type(row.cause), row.error)
        yield pytest.param(row, id=row.name, marks=[pytest.mark.slow] if kind in seen else [])
        seen.add(kind)


every_row = pytest.mark.parametrize("row", list(one_of_each_class_is_fast()))

# ---- the oracle --------------------------------------------------------------------------------


@attrs.frozen
class Cell:
    """How one operation fares under one fault."""

    error: str | None
    """None: a result."""
    outcome: str = ""
    tries: int = 0
    """`error.attempts`."""
    works: int = 0
    """How often the server did the work."""

    def __str__(self) -> str:
        mark = {"NOT_SENT": "∅", "REJECTED": "✗", "UNKNOWN": "**?**"}.get(self.outcome, "")
        name = (self.error or "ok").removesuffix("Error")
        return f"{name}{' ' if mark else ''}{mark} {self.works}"


def oracle(column: Column, row: Row) -> Cell:
    """Return what the table of errors.md, and the rules below it, say of one cell."""
    if row.error is None or column.id in row.fine:
        return Cell(None, works=1)
    outcome = "NOT_SENT" if row.not_sent else TABLE[row.error]
    if row.status == 408:
        outcome = "UNKNOWN"
    if row.error == "AuthenticationError":
        # "once after a 401 …, with a fresh one". A key that is refused stays refused.
        tries = 1 if row.not_sent else 2
    elif row.no_time or row.error in {"DeadlineExceededError", "InvalidResponseError"}:
        tries = 1
    elif outcome == "NOT_SENT" or row.error == "RateLimitError":
        tries = TRIES
    elif outcome == "UNKNOWN":
        tries = TRIES if column.repeatable else 1
    else:
        tries = 1
    struck = tries if row.strikes is None else min(tries, row.strikes)
    recovers = struck < tries
    works = struck * row.worked + recovers
    if not column.has_body:
        works = min(works, 1)  # what is gone cannot be deleted again: the server says 404
        recovers |= row.status_arrives  # "A 404 to a retried DELETE is a success"
    return Cell(None, works=works) if recovers else Cell(row.error, outcome, tries, works)


TABLE = {
    "TokenError": "NOT_SENT",
    "AuthenticationError": "REJECTED",
    "ConnectError": "NOT_SENT",
    "TransportError": "UNKNOWN",
    "DeadlineExceededError": "UNKNOWN",
    "BadRequestError": "REJECTED",
    "PermissionDeniedError": "REJECTED",
    "NotFoundError": "REJECTED",
    "ConflictError": "REJECTED",
    "StatusError": "REJECTED",
    "RateLimitError": "REJECTED",
    "ServerError": "UNKNOWN",
    "InvalidResponseError": "UNKNOWN",
}

# ---- the run -----------------------------------------------------------------------------------


@attrs.frozen
class Run:
    """What the run of one row left behind, beside its cells."""

    cells: dict[str, Cell]
    late: dict[str, float]
    """Seconds that a call took beyond its deadline."""
    tasks: set[str]
    descriptors: int


async def run_row(row: Row) -> Run:
    """Run one row, some cells side by side, and look at what is left."""
    tasks, descriptors = asyncio.all_tasks(), count_descriptors()
    late: dict[str, float] = {}
    cells: list[Cell] = []
    for first in range(0, len(TO_RUN), SIDE_BY_SIDE):
        some = TO_RUN[first : first + SIDE_BY_SIDE]
        cells += await asyncio.gather(*(run_cell(column, row, late) for column in some))
    for _ in range(500):  # the other end of a socket is closed a moment later
        if count_descriptors() <= descriptors:
            break
        await asyncio.sleep(0.01)
    return Run(
        cells=dict(zip((column.id for column in TO_RUN), cells, strict=True)),
        late=late,
        tasks={repr(task) for task in asyncio.all_tasks() - tasks},
        descriptors=count_descriptors() - descriptors,
    )


async def run_cell(column: Column, row: Row, late: dict[str, float]) -> Cell:
    """Run one cell, with a sandbox and a client of its own."""
    sandbox = Sandbox()
    async with sandbox:
        cell = await _run_cell(column, row, sandbox, late)
    # Only now is it sure that the sandbox does nothing any more.
    works = sandbox.done.total(column.id)
    if column.id == "sendVoiceChallenge":
        assert works == sandbox.world.rings(NUMBER)
    if column.id.startswith(("textEnable", "create")):
        assert works == len(sandbox.world.orders)
    return attrs.evolve(cell, works=works - cell.works)


def prepare(column: Column, sandbox: Sandbox) -> None:
    """Create what an operation needs to be there."""
    if column.state is not None:
        sandbox.add([column.number], column.state)
    if column.ordered:
        sandbox.world.text_enable(encode(TEXT_ENABLE), toll_free=False)


async def _run_cell(column: Column, row: Row, sandbox: Sandbox, late: dict[str, float]) -> Cell:
    """Return the cell; its `works` is how much work was done before."""
    prepare(column, sandbox)
    cause, base_url = row.cause, sandbox.base_url
    async with AsyncExitStack() as stack:
        if isinstance(cause, Fault):
            sandbox.faults.add(cause, operation=column.id)
        elif isinstance(cause, OnToken):
            sandbox.faults.add(cause.fault, operation="token")
        elif isinstance(cause, OnWire):
            between = FaultProxy(sandbox.port, cause.move, times=cause.times, tls=cause.tls)
            await stack.enter_async_context(between)
            scheme = "https" if cause.https else "http"
            base_url = f"{scheme}://localhost:{between.port}"
        elif cause.host:
            base_url = f"https://{cause.host}"
        else:
            base_url = f"http://127.0.0.1:{stack.enter_context(Refusing())}"
        deadline = DEADLINE if row.error == "DeadlineExceededError" else PATIENCE
        client = await stack.enter_async_context(impatient_client(sandbox, base_url, deadline))
        before = 0
        if isinstance(cause, OnWire) and cause.warm:
            assert [number async for number in client.list_numbers(SinchState.NOT_ELIGIBLE)] == []
            before = sandbox.done.total(column.id)
        started = asyncio.get_running_loop().time()
        try:
            answer = await column.call(client, sandbox)
        except SinchError as error:
            cell = Cell(type(error).__name__, error.outcome.name, error.attempts, before)
        else:
            right = answer == column.number or answer in sandbox.world.orders
            cell = Cell(None if right else f"wrong answer: {answer!r}", works=before)
        taken = asyncio.get_running_loop().time() - started
        if taken > deadline:
            late[column.id] = taken - deadline
    slots = client._pipeline._transport._slots
    assert slots.take()
    return cell


def impatient_client(sandbox: Sandbox, base_url: str, deadline: float) -> QualifiedNumbersClient:
    """Return a client whose waits between attempts take no time, except for its own clock."""
    moved = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal moved
        moved += seconds

    auth = OAuth2(
        sandbox.key_id,
        sandbox.key_secret,
        token_url=sandbox.token_url,
        monotonic=lambda: asyncio.get_running_loop().time() + moved,
    )
    client = QualifiedNumbersClient(
        sandbox.project_id,
        auth,
        base_url=base_url,
        timeout=deadline,
        retry=RetryPolicy(max_attempts=TRIES),
        max_connections=1,
    )
    client._pipeline._sleep = sleep
    return client


def count_descriptors() -> int:
    """Return how many files and sockets this process has open."""
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - names will do


@contextmanager
def on_this_machine() -> Iterator[None]:
    """Trust our own authority; know no name but localhost."""
    trusting = ssl.create_default_context()
    AUTHORITY.configure_trust(trusting)
    known = socket.getaddrinfo

    def getaddrinfo(host: Any, *more: Any, **options: Any) -> Any:
        if str(host).endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return known(host, *more, **options)

    with (
        patch.object(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", trusting),
        patch.object(socket, "getaddrinfo", getaddrinfo),
    ):
        yield


async def start_thread() -> None:
    """Start the thread that looks up names: it stays, and its descriptors are no leak."""
    await asyncio.to_thread(lambda: None)


async def run_matrix() -> dict[str, Run]:
    """Run all the rows, one after the other."""
    await start_thread()
    return {row.name: await run_undisturbed(row) for row in ROWS}


async def run_undisturbed(row: Row) -> Run:
    """Run a row; one that is about moments again, if the machine stood still meanwhile."""
    for _ in range(5):
        stalls = [0.0]
        watch = asyncio.create_task(note_stalls(stalls))
        run = await run_row(row)
        watch.cancel()
        await asyncio.wait([watch])
        if row.error != "DeadlineExceededError" or max(stalls) < STALL:
            break
    return run


async def note_stalls(stalls: list[float]) -> None:
    """Note, until cancelled, by how much the event loop is late."""
    clock = asyncio.get_running_loop().time
    while True:
        before = clock()
        await asyncio.sleep(0.01)
        stalls.append(clock() - before - 0.01)


def table(matrix: dict[str, Run]) -> str:
    """Return the matrix in Markdown; operations that fare alike share a column."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for column in TO_RUN:
        fared = tuple(str(run.cells[column.id]) for run in matrix.values())
        groups.setdefault(fared, []).append(f"`{column.id}`")
    lines = [["fault", *map(str, range(1, len(groups) + 1))], ["---"] * (len(groups) + 1)]
    lines += [list(line) for line in zip(matrix, *groups, strict=True)]
    legend = [f"{n}. {', '.join(ids)}" for n, ids in enumerate(groups.values(), 1)]
    cells = len(matrix) * len(TO_RUN)
    size = f"{len(matrix)} faults, {cells} cells. Operations that fare alike share a column:\n"
    return "\n".join([size, *legend, "", *(f"| {' | '.join(line)} |" for line in lines)])


_TABLE = re.compile(r"(?<=<!-- matrix -->\n).*?(?=\n<!-- end -->)", re.DOTALL)

# ---- the laws ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run() -> Iterator[Callable[[Row], Run]]:
    """Run a row when a test first needs it."""
    runs: dict[str, Run] = {}

    def run_once(row: Row) -> Run:
        if row.name not in runs:
            runs[row.name] = runner.run(run_undisturbed(row))
        return runs[row.name]

    with on_this_machine(), asyncio.Runner() as runner:
        runner.run(start_thread())
        yield run_once


@pytest.fixture(scope="module")
def matrix(run: Callable[[Row], Run]) -> dict[str, Run]:
    """Run all the rows."""
    return {row.name: run(row) for row in ROWS}


@every_row
def test_row(run: Callable[[Row], Run], row: Row) -> None:
    """Each operation fares under each fault as the table of errors and outcomes says."""
    assert run(row).cells == {column.id: oracle(column, row) for column in TO_RUN}


@every_row
def test_a_fault_leaves_nothing_behind(run: Callable[[Row], Run], row: Row) -> None:
    """After a call that met a fault no task, socket or file is left, and its deadline was kept."""
    done = run(row)
    assert done.tasks == set()
    assert done.descriptors == 0
    assert not [over for over in done.late.values() if over > SLACK]


def test_the_matrix_has_every_operation() -> None:
    """There is a column for each operation of the API, and it is repeatable as the table says."""
    assert {column.id: column.repeatable for column in COLUMNS} == {
        operation.id: operation.idempotent for operation in OPERATIONS
    }


@pytest.mark.slow
def test_what_must_not_be_repeated_never_happens_twice(matrix: dict[str, Run]) -> None:
    """Calls, codes, orders and additions are done once at most, whatever goes wrong."""
    done = [run.cells[each].works for run in matrix.values() for each in ONCE_ONLY]
    assert max(done) == 1


@pytest.mark.slow
def test_no_effect_means_no_effect(matrix: dict[str, Run]) -> None:
    """NOT_SENT and REJECTED are said of nothing that was done; a result of nothing that was not."""
    for run in matrix.values():
        for cell in run.cells.values():
            if cell.outcome in {"NOT_SENT", "REJECTED"}:
                assert cell.works == 0
            if cell.error is None:
                assert cell.works >= 1


@pytest.mark.slow
def test_the_documented_matrix_is_the_one_that_was_run(matrix: dict[str, Run]) -> None:
    """The page shows the cells as they are; the first lines of this file say how it is written."""
    found = _TABLE.search(DOCS.read_text())
    assert found is not None
    shown, run = found[0].splitlines(), table(matrix).splitlines()
    if not ALL:  # the cells of each group of operations, without its members' names
        shown, run = ([line for line in each if line[:1] == "|"] for each in (shown, run))
    assert shown == run
    assert len(run) > len(ROWS)


if __name__ == "__main__":
    with on_this_machine():
        written = table(asyncio.run(run_matrix()))
    DOCS.write_text(_TABLE.sub(lambda _: written, DOCS.read_text()))
