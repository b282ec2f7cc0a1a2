"""Faults to inject: which requests fail, how, and whether they have their effect. No I/O.

    sandbox.faults.add(Fault.status(503, times=3), operation="getQualifiedNumber")
    sandbox.faults.add(Fault.dropped(when="after"), operation="sendVoiceChallenge")

The second makes the phone ring and closes the connection without a response.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from itertools import repeat
from typing import Any, Literal, TypeAlias, TypedDict, Unpack

import attrs
import orjson
from attrs import validators

from sinch_qn._operations import OPERATIONS

When: TypeAlias = Literal["before", "instead", "after"]
"""When a fault acts: before the work, whose response is then unchanged; instead of the work; or
after it, on its response."""
OnResponse: TypeAlias = Literal["instead", "after"]


def _check_headers(_: object, __: object, headers: Mapping[str, str]) -> None:
    if not isinstance(headers, Mapping):
        raise TypeError("headers: expected an object")
    for text in [*headers, *headers.values()]:
        if not isinstance(text, str) or not text.isprintable():
            raise TypeError("headers: expected names and values of printable text")


@attrs.frozen(kw_only=True)
class Answer:
    """A response to send; change one with `attrs.evolve`."""

    status: int = attrs.field(
        default=200,
        validator=[validators.instance_of(int), validators.ge(200), validators.le(599)],
    )
    headers: Mapping[str, str] = attrs.field(factory=dict, validator=_check_headers)
    pieces: Iterable[bytes] = ()
    """The chunks of the body."""
    length: int | None = None
    """The `Content-Length`; if *pieces* are shorter the connection is closed. None: no header."""

    @classmethod
    def of(
        cls, body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Return a response with the right length."""
        return cls(status=status, headers=headers or {}, pieces=[body], length=len(body))


Transform: TypeAlias = Callable[[Answer], Answer | None]
"""Takes the normal response (an empty 200 without work); returns the one to send, or None."""


class Schedule(TypedDict, total=False):
    """Which of the matching requests a fault applies to."""

    times: int | None
    every: int
    after: int


_positive = [validators.instance_of(int), validators.ge(1)]


def _same(answer: Answer) -> Answer:
    return answer


@attrs.frozen(kw_only=True)
class Fault:
    """A fault: made by one of the class methods, or from a `Transform`."""

    kind: str = "custom"
    when: When = attrs.field(
        default="after", validator=validators.in_(("before", "instead", "after"))
    )
    transform: Transform = attrs.field(default=_same, repr=False)
    """Changes the response; not allowed with `before`."""
    delay: float = attrs.field(default=0.0, validator=validators.ge(0.0))
    """Real seconds, before the work or before the response."""
    revokes: bool = False
    """Whether it first revokes all access tokens."""
    times: int | None = attrs.field(default=None, validator=validators.optional(_positive))
    """How many requests it applies to; None: all, until it is removed."""
    every: int = attrs.field(default=1, validator=_positive)
    """Apply only to each k-th request."""
    after: int = attrs.field(default=0, validator=[validators.instance_of(int), validators.ge(0)])
    """Skip this many requests first."""

    @transform.validator
    def _check_transform(self, _: object, transform: Transform) -> None:
        if self.when == "before" and transform is not _same:
            raise ValueError("when: a fault of the response is 'instead' or 'after'")

    def applies_to(self, request: int, hits: int) -> bool:
        """Return whether it applies to the *request*-th matching request, after *hits* of them."""
        due = request - self.after
        return due > 0 and due % self.every == 0 and (self.times is None or hits < self.times)

    # Statuses.

    @classmethod
    def status(
        cls,
        status: int,
        *,
        headers: Mapping[str, str] | None = None,
        body: object = None,
        when: OnResponse = "instead",
        **schedule: Unpack[Schedule],
    ) -> Fault:
        """Respond with *status*; a *body* of text or bytes is sent unchanged, others as JSON.

        The default body of an error status has the API's format.
        """
        answer = _answer(status, body, headers or {})
        return cls(kind="status", when=when, transform=lambda _: answer, **schedule)

    @classmethod
    def limited(
        cls,
        retry_after: int | None = None,
        *,
        as_date: bool = False,
        when: OnResponse = "instead",
        **schedule: Unpack[Schedule],
    ) -> Fault:
        """Respond with 429; `Retry-After` has *retry_after* seconds or, if *as_date*, the date."""
        if not isinstance(retry_after, int | None):
            raise TypeError("retry_after: expected whole seconds")

        def transform(_: Answer) -> Answer:
            headers = {}
            if retry_after is not None:
                then = datetime.now(UTC) + timedelta(seconds=retry_after)
                text = format_datetime(then, usegmt=True) if as_date else str(retry_after)
                headers["Retry-After"] = text
            return _answer(429, None, headers)

        return cls(kind="limited", when=when, transform=transform, **schedule)

    @classmethod
    def redirect(
        cls,
        location: str = "https://elsewhere.invalid/",
        *,
        status: int = 302,
        when: OnResponse = "instead",
        **schedule: Unpack[Schedule],
    ) -> Fault:
        """Redirect to *location*."""
        answer = _answer(status, None, {"Location": location})
        return cls(kind="redirect", when=when, transform=lambda _: answer, **schedule)

    @classmethod
    def error_in_200(cls, *, when: OnResponse = "instead", **schedule: Unpack[Schedule]) -> Fault:
        """Respond with 200 and an error in the body."""
        answer = _answer(200, {"error": _error(500)}, {})
        return cls(kind="error_in_200", when=when, transform=lambda _: answer, **schedule)

    # Unreadable bodies.

    @classmethod
    def html(
        cls, status: int = 200, *, when: OnResponse = "after", **schedule: Unpack[Schedule]
    ) -> Fault:
        """Respond with a web page, as a proxy might."""
        answer = _answer(
            status, "<!doctype html><title>Sign in</title>", {"Content-Type": "text/html"}
        )
        return cls(kind="html", when=when, transform=lambda _: answer, **schedule)

    @classmethod
    def empty(cls, *, when: OnResponse = "after", **schedule: Unpack[Schedule]) -> Fault:
        """Respond with 200 and an empty body."""
        return cls(kind="empty", when=when, transform=lambda _: Answer.of(b""), **schedule)

    @classmethod
    def bad_json(cls, *, when: OnResponse = "after", **schedule: Unpack[Schedule]) -> Fault:
        """Respond with 200 and invalid JSON."""
        answer = Answer.of(b'{"phoneNumber": "+1202', headers=_JSON)
        return cls(kind="bad_json", when=when, transform=lambda _: answer, **schedule)

    @classmethod
    def truncated(cls, **schedule: Unpack[Schedule]) -> Fault:
        """Do the work; close the connection in the middle of the body."""

        def transform(answer: Answer) -> Answer:
            body = b"".join(answer.pieces)
            return attrs.evolve(answer, pieces=[body[: len(body) // 2]], length=len(body) or 2)

        return cls(kind="truncated", when="after", transform=transform, **schedule)

    @classmethod
    def endless(cls, *, when: OnResponse = "after", **schedule: Unpack[Schedule]) -> Fault:
        """Respond with 200 and a body that ends only when the client disconnects."""
        answer = Answer(headers=_JSON, pieces=repeat(b" " * 65536))
        return cls(kind="endless", when=when, transform=lambda _: answer, **schedule)

    @classmethod
    def gzip_bomb(cls, *, when: OnResponse = "after", **schedule: Unpack[Schedule]) -> Fault:
        """Respond with 200 and 10 MB of gzip that expand to 10 GB."""
        piece = gzip.compress(bytes(1_000_000)) * 10
        answer = Answer(
            headers={**_JSON, "Content-Encoding": "gzip"},
            pieces=[piece] * 1000,
            length=1000 * len(piece),
        )
        return cls(kind="gzip_bomb", when=when, transform=lambda _: answer, **schedule)

    # Unexpected bodies.

    @classmethod
    def unknown_enums(cls, **schedule: Unpack[Schedule]) -> Fault:
        """Do the work; respond with unknown states, statuses and types."""
        transform = _editing(_everywhere(_unknown))
        return cls(kind="unknown_enums", when="after", transform=transform, **schedule)

    @classmethod
    def nulls(cls, **schedule: Unpack[Schedule]) -> Fault:
        """Do the work; respond with null in each field except the ids."""
        return cls(kind="nulls", when="after", transform=_editing(_everywhere(_nulled)), **schedule)

    @classmethod
    def extra_fields(cls, **schedule: Unpack[Schedule]) -> Fault:
        """Do the work; respond with an additional field in each object."""
        transform = _editing(_everywhere(_extended))
        return cls(kind="extra_fields", when="after", transform=transform, **schedule)

    @classmethod
    def without_id(cls, **schedule: Unpack[Schedule]) -> Fault:
        """Do the work; respond without phone numbers, order id and token."""
        return cls(kind="without_id", when="after", transform=_editing(_without_ids), **schedule)

    # Connections, time and tokens.

    @classmethod
    def dropped(cls, *, when: OnResponse = "instead", **schedule: Unpack[Schedule]) -> Fault:
        """Close the connection without a response."""
        return cls(kind="dropped", when=when, transform=lambda _: None, **schedule)

    @classmethod
    def slow(
        cls,
        seconds: float,
        *,
        when: Literal["before", "after"] = "before",
        **schedule: Unpack[Schedule],
    ) -> Fault:
        """Wait *seconds* before the work, or between the work and the response."""
        if when not in {"before", "after"}:
            raise ValueError("when: a delay is 'before' or 'after' the work")
        return cls(kind="slow", when=when, delay=seconds, **schedule)

    @classmethod
    def revoked(cls, **schedule: Unpack[Schedule]) -> Fault:
        """Revoke all access tokens just before the work, whose response is then a 401."""
        return cls(kind="revoked", when="before", revokes=True, **schedule)


FACTORIES: Mapping[str, Callable[..., Fault]] = {
    name: getattr(Fault, name)
    for name in (
        "status limited redirect error_in_200 html empty bad_json truncated endless gzip_bomb "
        "unknown_enums nulls extra_fields without_id dropped slow revoked"
    ).split()
}
"""The class methods that make faults, by name; the control API uses the same names."""


@attrs.define(kw_only=True, eq=False)
class Scripted:
    """A fault, the requests it is for, and its counts."""

    fault: Fault
    operation: str | None
    """An `operationId`, or `"token"`; None: all operations of the API."""
    phone_number: str | None
    """Only requests with this number in the path; None: all."""
    requests: int = 0
    """Requests that matched."""
    hits: int = 0
    """Requests that it was applied to."""


class Faults:
    """The faults of a sandbox; the first one that applies to a request is used."""

    def __init__(self, operations: Iterable[str], token: str) -> None:
        self._operations = {*operations, token}
        self._token = token
        self._scripted: list[Scripted] = []

    def add(
        self, fault: Fault, *, operation: str | None = None, phone_number: str | None = None
    ) -> Scripted:
        """Inject *fault* into *operation*, an `operationId` or `"token"`; None: all but `"token"`.

        With *phone_number*: only into requests with this number in the path.
        """
        if operation is not None and operation not in self._operations:
            raise KeyError(operation)
        scripted = Scripted(fault=fault, operation=operation, phone_number=phone_number)
        self._scripted.append(scripted)
        return scripted

    def remove(self, scripted: Scripted) -> None:
        """Remove one fault."""
        self._scripted.remove(scripted)

    def clear(self) -> None:
        """Remove all faults."""
        self._scripted.clear()

    def __iter__(self) -> Iterator[Scripted]:
        return iter(self._scripted)

    def __len__(self) -> int:
        return len(self._scripted)

    def match(self, operation: str, phone_number: str) -> Fault | None:
        """Count a request, and return the fault that applies to it."""
        found = None
        for each in self._scripted:
            if each.operation != operation and (each.operation or operation == self._token):
                continue
            if each.phone_number not in {None, phone_number}:
                continue
            each.requests += 1
            if found is None and each.fault.applies_to(each.requests, each.hits):
                each.hits += 1
                found = each.fault
        return found


# Responses.

_JSON = {"Content-Type": "application/json"}
_STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 409: "ALREADY_EXISTS", 500: "INTERNAL"}
_STATUS |= {403: "PERMISSION_DENIED", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}


def _error(status: int) -> dict[str, object]:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    name = _STATUS.get(status) or phrase.upper().replace(" ", "_")
    return {"code": str(status), "message": f"{phrase}: an injected fault.", "status": name}


def _answer(status: int, body: object, headers: Mapping[str, str]) -> Answer:
    kind: Mapping[str, str] = {}
    if body is None:
        body = _error(status) if isinstance(status, int) and status >= 400 else b""
    if isinstance(body, str):
        body = body.encode()
    if not isinstance(body, bytes):
        body, kind = orjson.dumps(body), _JSON
    _check_headers(None, None, headers)
    return Answer.of(body, status=status, headers={**kind, **headers})


Edit: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]


def _editing(edit: Edit) -> Transform:
    def transform(answer: Answer) -> Answer:
        body = b"".join(answer.pieces)
        value = orjson.loads(body) if body else None
        if not isinstance(value, dict):
            return attrs.evolve(answer, pieces=[body])
        return Answer.of(orjson.dumps(edit(value)), status=answer.status, headers=answer.headers)

    return transform


def _everywhere(edit: Edit) -> Edit:
    """Return an edit of an object and all objects in it, inner ones first."""

    def edit_all(value: Any) -> Any:
        if isinstance(value, list):
            return [edit_all(each) for each in value]
        if isinstance(value, dict):
            return edit({name: edit_all(each) for name, each in value.items()})
        return value

    return edit_all


_IDS = frozenset({*(operation.required_field for operation in OPERATIONS), "access_token"})
_ENUMS = frozenset({"globalProcessState", "status", "state", "type", "loaType"})


def _unknown(item: dict[str, Any]) -> dict[str, Any]:
    news = {str: "NOT_KNOWN_YET", int: 99}
    return {k: news.get(type(v), v) if k in _ENUMS else v for k, v in item.items()}


def _nulled(item: dict[str, Any]) -> dict[str, Any]:
    return {k: v if k in _IDS else None for k, v in item.items()}


def _extended(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "addedLater": {"deep": [1, None, "x"]}}


def _without_ids(item: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in item.items() if k not in _IDS}
