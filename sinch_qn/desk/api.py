"""The HTTP API for robots, `/api/v1`: codes, calls, numbers and events. See openapi/desk.yaml.

Numbers are in bodies, and in URLs only as ids that nobody can read. A call carries the attempt and
the intent that its robot knows of, and a code counts once a call: so every request can be repeated.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import aclosing
from typing import Any, Final, TypeAlias

import orjson
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from sinch_qn.bulk.states import ChallengeState, Entry
from sinch_qn.desk.api_requests import (
    MAX_FOUND,
    SUBJECT,
    code_of,
    find_entries,
    find_entry,
    number_of,
    read_fields,
    to_time,
    view,
)
from sinch_qn.desk.attempts import Attempts
from sinch_qn.desk.live import send_live
from sinch_qn.desk.person import LIMITS
from sinch_qn.desk.problems import Problem
from sinch_qn.desk.security import client_address
from sinch_qn.desk.state import DESK, Desk
from sinch_qn.errors import InvalidRequestError

REQUESTS_OF_A_TOKEN: Final = (600, 60.0)
WRONG_TOKENS_OF_AN_ADDRESS: Final = (20, 300.0)
"""Limits: so many, in so many seconds; counted by each process."""

_CALLED: Final = (
    ChallengeState.CALLING,
    ChallengeState.AWAITING_CODE,
    ChallengeState.UNKNOWN,
)

REQUESTS: Final = web.AppKey("api_requests", Attempts)
WRONG_TOKENS: Final = web.AppKey("api_wrong_tokens", Attempts)

RobotHandler: TypeAlias = Callable[[web.Request, Desk], Awaitable[web.StreamResponse]]


def add_api_routes(app: web.Application) -> None:
    """Add the API to *app*."""
    app[REQUESTS] = Attempts(*REQUESTS_OF_A_TOKEN)
    app[WRONG_TOKENS] = Attempts(*WRONG_TOKENS_OF_AN_ADDRESS)
    app.router.add_post("/api/v1/codes", _as_robot(_submit_code))
    app.router.add_post("/api/v1/calls", _as_robot(_request_call))
    app.router.add_post("/api/v1/numbers/lookup", _as_robot(_look_up))
    app.router.add_get("/api/v1/events", _as_robot(_follow), allow_head=False)


def _as_robot(handler: RobotHandler) -> Handler:
    """Return *handler* for requests with a valid token."""

    async def handle(request: web.Request) -> web.StreamResponse:
        desk, requests = request.app[DESK], request.app[REQUESTS]
        name = await desk.tokens.read(_token(request))
        if name is None:
            raise _refusal(request)
        if wait := requests.wait(name):
            raise _too_many("This token made too many requests.", wait)
        requests.count(name)
        return await handler(request, desk)

    return handle


def _token(request: web.Request) -> str:
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _refusal(request: web.Request) -> Problem:
    """Return why a request without a valid token is refused. One with a valid token never waits."""
    wrong, address = request.app[WRONG_TOKENS], client_address(request)
    if wait := wrong.wait(address):
        return _too_many("Too many wrong tokens came from this address.", wait)
    wrong.count(address)
    detail = "Send `Authorization: Bearer …` with a token of `sinch-qn desk JOURNAL --new-token`."
    return Problem(401, "unauthorized", detail)


def _too_many(detail: str, wait: float) -> Problem:
    return Problem(429, "too-many-requests", detail, retry_after=wait)


async def _submit_code(request: web.Request, desk: Desk) -> web.StreamResponse:
    """Accept a code, unless it was heard in another call than the last one."""
    allowed = (*SUBJECT, "code", "transcript", "language", "length", "attempt")
    fields = await read_fields(request, allowed)
    code, entry = code_of(fields), await find_entry(desk, fields)
    if fields.get("attempt", entry.attempt) != entry.attempt:
        raise Problem(409, "stale-attempt", "There was another call since: its code is another.")
    limits, key = request.app[LIMITS], entry.number
    if wait := max(limits.codes.wait(key), limits.all_codes.wait()):
        raise _too_many("Too many codes were submitted.", wait)
    limits.codes.count(key)
    limits.all_codes.count()
    try:
        submission = await desk.submit_code(entry.number, code)
    except InvalidRequestError as error:
        raise Problem(409, "wrong-state", f"{error.message}.") from None
    return await _accepted(desk, entry.number, result=submission.value)


async def _request_call(request: web.Request, desk: Desk) -> web.StreamResponse:
    """Ask for a call, unless there was one since the robot looked the number up."""
    fields = await read_fields(request, (*SUBJECT, "attempt", "intent"))
    if "attempt" not in fields:
        detail = "attempt: needed, as the number has it: a repeated request is then the same call"
        raise Problem(400, "invalid-request", detail)
    entry, calls = await find_entry(desk, fields), request.app[LIMITS].calls
    if wait := calls.wait(entry.number):
        raise _too_many("Too many calls of this number were requested.", wait)
    intent = fields.get("intent")
    attempt = fields["attempt"] if intent is not None else _known(entry, fields["attempt"])
    known = None if intent is None else int(intent)
    try:
        requested = await desk.request_call(entry.number, attempt, intent=known)
    except InvalidRequestError as error:
        raise Problem(409, "wrong-state", f"{error.message}.") from None
    if requested.new:
        calls.count(entry.number)
    return await _accepted(
        desk,
        entry.number,
        new=requested.new,
        earliest=to_time(requested.earliest),
        reason=requested.reason,
    )


def _known(entry: Entry, attempt: int) -> int | None:
    """Return the attempt that a robot without intent knows of; None if it may be another call's.

    A call that was not sent after all gives its attempt to the next one, whose phone may ring now.
    """
    is_open = entry.state in _CALLED
    return None if is_open and attempt == entry.attempt else attempt


async def _look_up(request: web.Request, desk: Desk) -> web.StreamResponse:
    entries = await find_entries(desk, await read_fields(request, SUBJECT))
    max_codes = (await desk.settings()).max_codes
    return _json({"numbers": [view(desk, entry, max_codes) for entry in entries]})


async def _accepted(desk: Desk, number: str, **values: Any) -> web.Response:
    """Return what was accepted, and the number as it is now."""
    (entry,) = await find_entries(desk, {"number": number})
    max_codes = (await desk.settings()).max_codes
    return _json(values | {"number": view(desk, entry, max_codes)}, status=202)


def _json(values: object, *, status: int = 200) -> web.Response:
    body = orjson.dumps(values)
    return web.Response(status=status, body=body, content_type="application/json")


# ── Events ──────────────────────────────────────────────────────────────────────────────────────


async def _follow(request: web.Request, desk: Desk) -> web.StreamResponse:
    """Send the counts, or the numbers that are named, now and when they change.

    Events are states, not steps: a state that lasts less than an interval of the watch may be left
    out, the newest never. So a stream that is resumed sends what is newest, unless the id of the
    last event says that the robot has it.
    """
    ids = list(dict.fromkeys(request.query.getall("id", [])))
    if len(ids) > MAX_FOUND:
        raise Problem(400, "invalid-request", f"id: at most {MAX_FOUND} numbers in a stream")
    numbers = [number_of(desk, id_) for id_ in ids]
    known = await desk.journal.get_many(numbers) if numbers else {}
    if len(known) < len(set(numbers)):
        raise Problem(404, "unknown-number", "The run has no such id.")
    seen = request.headers.get("Last-Event-ID", "")
    states = _numbers(desk, numbers) if numbers else _counts(desk)
    return await send_live(request, _events(desk, _token(request), states, seen), str)


_States: TypeAlias = AsyncGenerator[tuple[str, list[Any]], None]


async def _events(desk: Desk, token: str, states: _States, seen: str) -> AsyncGenerator[str, None]:
    """Yield what changed as events, and comments between them, while the token is valid."""
    sent: list[Any] = []
    async with aclosing(states):
        async for name, newest in states:
            if await desk.tokens.read(token) is None:
                return
            digest = hashlib.sha256(orjson.dumps(newest)).hexdigest()[:16]
            changed = [] if digest == seen else [each for each in newest if each not in sent]
            yield _to_events(name, changed, digest)
            sent, seen = newest, digest


def _to_events(name: str, values: Collection[Any], digest: str) -> str:
    """Return events, of which the last has the id: whoever has that id has them all."""
    texts = [f"event: {name}\ndata: {orjson.dumps(each).decode()}\n" for each in values]
    return "\n".join(texts) + f"id: {digest}\n\n" if texts else ":\n\n"


async def _numbers(desk: Desk, numbers: Collection[str]) -> _States:
    async with aclosing(desk.watch.entries(numbers)) as changes:
        async for entries in changes:
            settings = desk.watch.readiness.settings
            max_codes = (settings or await desk.settings()).max_codes
            found = [entry for entry in entries.values() if entry is not None]
            yield "number", [view(desk, entry, max_codes) for entry in found]


async def _counts(desk: Desk) -> _States:
    async with aclosing(desk.watch.all_counts()) as changes:
        async for counts in changes:
            yield "counts", [{state.value: n for state, n in counts.items()}]
