"""What the requests of the HTTP API say: their JSON, checked, and the number that it is about."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from aiohttp import web

from sinch_qn._checks import check_code
from sinch_qn.bulk.journal.queries import EntryQuery
from sinch_qn.bulk.states import ChallengeState, Entry
from sinch_qn.desk.links import Link, Subject
from sinch_qn.desk.problems import Problem
from sinch_qn.desk.state import Desk
from sinch_qn.errors import InvalidRequestError
from sinch_qn.parsing import InvalidTranscript, parse_transcript
from sinch_qn.phone import check_e164

SUBJECT: Final = ("number", "ref", "id")
"""The fields that name a number; a request has exactly one of them."""
MAX_FOUND: Final = 100
"""Numbers of a ref in one response."""

_WHOLE: Final = ("attempt", "length")
_INTENT: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_MAX_ATTEMPT: Final = 10**9
_MAX_TEXT: Final = {"ref": 1000, "transcript": 10_000, "language": 20}


async def read_fields(request: web.Request, allowed: Collection[str]) -> dict[str, Any]:
    """Return the JSON object in the body, with the *allowed* fields only, of the right types."""
    if request.content_type != "application/json":
        raise Problem(415, "unsupported-media-type", "Send application/json.")
    try:
        fields = orjson.loads(await request.read())
    except orjson.JSONDecodeError:
        raise Problem(400, "invalid-request", "The body is not JSON in UTF-8.") from None
    if not isinstance(fields, dict):
        raise Problem(400, "invalid-request", "The body is not a JSON object.")
    if unknown := fields.keys() - allowed:
        raise _invalid(f"{min(unknown)[:40]!r}: no such field; there is {', '.join(allowed)}")
    for name, value in fields.items():
        _check(name, value)
    return fields


def _check(name: str, value: object) -> None:
    if name == "intent":
        if value is not None and not (isinstance(value, str) and _INTENT.fullmatch(value)):
            raise _invalid("intent: expected what the number has: digits in a string, or null")
    elif name in _WHOLE:
        minimum, maximum = (0, _MAX_ATTEMPT) if name == "attempt" else (1, 64)
        if type(value) is not int or not minimum <= value <= maximum:
            raise _invalid(f"{name}: expected a whole number from {minimum} to {maximum}")
    elif not isinstance(value, str) or "\0" in value or not value:
        raise _invalid(f"{name}: expected a string")
    elif len(value) > _MAX_TEXT.get(name, 1000):
        raise _invalid(f"{name}: too long")


def _invalid(detail: str) -> Problem:
    return Problem(400, "invalid-request", detail)


async def find_entries(desk: Desk, fields: Mapping[str, Any]) -> list[Entry]:
    """Return the entries that a request is about: one, or those of a ref."""
    named = [name for name in SUBJECT if name in fields]
    if len(named) != 1:
        raise _invalid(f"expected exactly one of {', '.join(SUBJECT)}")
    if "ref" in fields:
        page = await desk.journal.find(EntryQuery(ref=fields["ref"]), limit=MAX_FOUND)
        found: list[Entry] = list(page.entries)
    elif "id" in fields:
        entry = await desk.journal.get(number_of(desk, fields["id"]))
        found = [] if entry is None else [entry]
    else:
        entry = await desk.journal.get(_number(fields["number"]))
        found = [] if entry is None else [entry]
    if not found:
        raise Problem(404, "unknown-number", f"The run has no such {named[0]}.")
    return found


async def find_entry(desk: Desk, fields: Mapping[str, Any]) -> Entry:
    """Return the one entry that a request is about, if its attempt is the one that it knows."""
    found = await find_entries(desk, fields)
    if len(found) > 1:
        detail = "Several numbers have this ref: look them up, and name one by its id."
        raise Problem(409, "ambiguous-ref", detail)
    attempt = fields.get("attempt")
    if attempt is not None and attempt > found[0].attempt:
        raise Problem(409, "stale-attempt", "The number has had fewer calls: look it up again.")
    return found[0]


def _number(text: str) -> str:
    try:
        return check_e164(text)
    except InvalidRequestError:
        raise _invalid("number: expected E.164, such as '+12025550134'") from None


def number_of(desk: Desk, id_: str) -> str:
    """Return the number that has this id."""
    link = desk.links.unseal(id_)
    if link is None or link.subject is not Subject.API:
        raise Problem(404, "unknown-number", "The run has no such id.")
    return link.value


def code_of(fields: Mapping[str, Any]) -> str:
    """Return the code that was sent, or that is in the transcript. No error shows it."""
    if ("code" in fields) == ("transcript" in fields):
        raise _invalid("expected exactly one of code, transcript")
    if "code" in fields:
        try:
            return check_code(fields["code"])
        except InvalidRequestError as error:
            raise _invalid(error.message) from None
    try:
        return parse_transcript(
            fields["transcript"], language=fields.get("language"), length=fields.get("length")
        )
    except InvalidTranscript as error:
        raise Problem(422, "no-code-in-transcript", f"{error}.") from None


def view(desk: Desk, entry: Entry, max_codes: int) -> dict[str, Any]:
    """Return what a robot is told of a number."""
    return {
        "id": desk.links.seal(Link(Subject.API, entry.number)),
        "number": entry.number,
        "ref": entry.ref,
        "state": entry.state.value,
        "attempt": entry.attempt,
        "intent": None if entry.intent is None else str(entry.intent),
        "accepts_code": entry.state.accepts_code
        or (entry.state is ChallengeState.PENDING and entry.attempt > 0),
        "codes_left": max(0, max_codes - entry.codes_used),
        "called_at": to_time(entry.called_at),
        "settled_at": to_time(entry.settled_at),
        "note": entry.note,
    }


def to_time(at: float | None) -> str | None:
    """Return a time of the epoch as RFC 3339 has it, in UTC."""
    return None if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
