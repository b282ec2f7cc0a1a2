"""Faults to order: what goes wrong with a request, how often, and whether the work is done. No I/O.

    sandbox.faults.add(Fault.status(503, times=3), operation="getQualifiedNumber")
    sandbox.faults.add(Fault.dropped(when="after"), operation="sendVoiceChallenge")

The second rings the phone and hangs up without an answer.
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

Work: TypeAlias = Literal["before", "instead", "after"]
"""When a fault acts: before the work, which is then done and answered as ever; instead of the
work; or after the work was done, on its answer."""
OnAnswer: TypeAlias = Literal["instead", "after"]


def _check_headers(_: object, __: object, headers: Mapping[str, str]) -> None:
    if not isinstance(headers, Mapping):
        raise TypeError("headers: expected an object")
    for text in [*headers, *headers.values()]:
        if not isinstance(text, str) or not text.isprintable():
            raise TypeError("headers: expected names and values of printable text")


@attrs.frozen(kw_only=True)
class Answer:
    """An answer as it is sent; `attrs.evolve` makes another of it."""

    status: int = attrs.field(
        default=200,
        validator=[validators.instance_of(int), validators.ge(200), validators.le(599)],
    )
    headers: Mapping[str, str] = attrs.field(factory=dict, validator=_check_headers)
    pieces: Iterable[bytes] = ()
    """The body, sent one after the other."""
    length: int | None = None
    """What `Content-Length` promises; the connection is closed if *pieces* come to less. None: no
    promise is made."""

    @classmethod
    def of(
        cls, body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Return an answer whose length is right."""
        return cls(status=status, headers=headers or {}, pieces=[body], length=len(body))


Spoil: TypeAlias = Callable[[Answer], Answer | None]
"""The good answer in (an empty 200 if there was no work); what is sent out, None for nothing."""


class Schedule(TypedDict, total=False):
    """Which of the requests that match a fault are struck by it."""

    times: int | None
    every: int
    after: int


_positive = [validators.instance_of(int), validators.ge(1)]


def _same(answer: Answer) -> Answer:
    return answer


@attrs.frozen(kw_only=True)
class Fault:
    """What goes wrong with a request. Made by one of its class methods, or of a `Spoil`."""

    kind: str = "custom"
    when: Work = attrs.field(
        default="after", validator=validators.in_(("before", "instead", "after"))
    )
    spoil: Spoil = attrs.field(default=_same, repr=False)
    """What becomes of the answer; `before` it is left alone."""
    delay: float = attrs.field(default=0.0, validator=validators.ge(0.0))
    """Real seconds, before the work or before the answer."""
    revokes: bool = False
    """Whether all access tokens so far are revoked first."""
    times: int | None = attrs.field(default=None, validator=validators.optional(_positive))
    """How many requests it strikes; None: all of them, until it is removed."""
    every: int = attrs.field(default=1, validator=_positive)
    """Strike each k-th request only."""
    after: int = attrs.field(default=0, validator=[validators.instance_of(int), validators.ge(0)])
    """Leave this many requests alone first."""

    def strikes(self, request: int, hits: int) -> bool:
        """Say whether the *request*-th one that matches is struck, after *hits* that were."""
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
        when: OnAnswer = "instead",
        **schedule: Unpack[Schedule],
    ) -> Fault:
        """Answer *status*; *body* is sent as it is if it is text or bytes, else as JSON.

        Without a *body* an error status has one as the API writes it.
        """
        answer = _answer(status, body, headers or {})
        return cls(kind="status", when=_on_answer(when), spoil=lambda _: answer, **schedule)

    @classmethod
    def limited(
        cls,
        retry_after: int | None = None,
        *,
        as_date: bool = False,
        when: OnAnswer = "instead",
        **schedule: Unpack[Schedule],
    ) -> Fault:
        """Answer 429, with *retry_after* seconds in `Retry-After` if given, or as the date then."""
        if not isinstance(retry_after, int | None):
            raise TypeError("retry_after: expected whole seconds")

        def spoil(_: Answer) -> Answer:
            headers = {}
            if retry_after is not None:
                then = datetime.now(UTC) + timedelta(seconds=retry_after)
                text = format_datetime(then, usegmt=True) if as_date else str(retry_after)
                headers["Retry-After"] = text
            return _answer(429, None, headers)

        return cls(kind="limited", when=_on_answer(when), spoil=spoil, **schedule)

    @classmethod
    def redirect(
        cls,
        location: str = "https://elsewhere.invalid/",
        *,
        status: int = 302,
        when: OnAnswer = "instead",
        **schedule: Unpack[Schedule],
    ) -> Fault:
        """Send the client elsewhere."""
        answer = _answer(status, None, {"Location": location})
        return cls(kind="redirect", when=_on_answer(when), spoil=lambda _: answer, **schedule)

    @classmethod
    def error_in_200(cls, *, when: OnAnswer = "instead", **schedule: Unpack[Schedule]) -> Fault:
        """Answer 200 with an error in the body."""
        answer = _answer(200, {"error": _error(500)}, {})
        return cls(kind="error_in_200", when=_on_answer(when), spoil=lambda _: answer, **schedule)

    # Bodies that cannot be read.

    @classmethod
    def html(
        cls, status: int = 200, *, when: OnAnswer = "after", **schedule: Unpack[Schedule]
    ) -> Fault:
        """Answer with a web page, as a proxy on the way might."""
        answer = _answer(
            status, "<!doctype html><title>Sign in</title>", {"Content-Type": "text/html"}
        )
        return cls(kind="html", when=_on_answer(when), spoil=lambda _: answer, **schedule)

    @classmethod
    def empty(cls, *, when: OnAnswer = "after", **schedule: Unpack[Schedule]) -> Fault:
        """Answer 200 with no body."""
        return cls(kind="empty", when=_on_answer(when), spoil=lambda _: Answer.of(b""), **schedule)

    @classmethod
    def bad_json(cls, *, when: OnAnswer = "after", **schedule: Unpack[Schedule]) -> Fault:
        """Answer 200 with something that is almost JSON."""
        answer = Answer.of(b'{"phoneNumber": "+1202', headers=_JSON)
        return cls(kind="bad_json", when=_on_answer(when), spoil=lambda _: answer, **schedule)

    @classmethod
    def truncated(cls, **schedule: Unpack[Schedule]) -> Fault:
        """Do the work, promise the whole answer, and hang up in the middle of it."""

        def spoil(answer: Answer) -> Answer:
            body = b"".join(answer.pieces)
            return attrs.evolve(answer, pieces=[body[: len(body) // 2]], length=len(body) or 2)

        return cls(kind="truncated", when="after", spoil=spoil, **schedule)

    @classmethod
    def endless(cls, *, when: OnAnswer = "after", **schedule: Unpack[Schedule]) -> Fault:
        """Answer 200 with a body that goes on until the client hangs up."""
        answer = Answer(headers=_JSON, pieces=repeat(b" " * 65536))
        return cls(kind="endless", when=_on_answer(when), spoil=lambda _: answer, **schedule)

    @classmethod
    def gzip_bomb(cls, *, when: OnAnswer = "after", **schedule: Unpack[Schedule]) -> Fault:
        """Answer 200 with 10 MB of gzip that unpack to 10 GB."""
        piece = gzip.compress(bytes(1_000_000)) * 10
        answer = Answer(
            headers={**_JSON, "Content-Encoding": "gzip"},
            pieces=[piece] * 1000,
            length=1000 * len(piece),
        )
        return cls(kind="gzip_bomb", when=_on_answer(when), spoil=lambda _: answer, **schedule)

    # Bodies that are odd.

    @classmethod
    def unknown_enums(cls, **schedule: Unpack[Schedule]) -> Fault:
        """Do the work; answer with states, statuses and types that nobody knows yet."""
        return cls(
            kind="unknown_enums", when="after", spoil=_editing(_everywhere(_unknown)), **schedule
        )

    @classmethod
    def nulls(cls, **schedule: Unpack[Schedule]) -> Fault:
        """Do the work; answer with null in every field but the ids."""
        return cls(kind="nulls", when="after", spoil=_editing(_everywhere(_nulled)), **schedule)

    @classmethod
    def extra_fields(cls, **schedule: Unpack[Schedule]) -> Fault:
        """Do the work; answer with a field more in every object."""
        return cls(
            kind="extra_fields", when="after", spoil=_editing(_everywhere(_extended)), **schedule
        )

    @classmethod
    def without_id(cls, **schedule: Unpack[Schedule]) -> Fault:
        """Do the work; answer without the number, the numbers, the order's id or the token."""
        return cls(kind="without_id", when="after", spoil=_editing(_anonymous), **schedule)

    # Connections, time and tokens.

    @classmethod
    def dropped(cls, *, when: OnAnswer = "instead", **schedule: Unpack[Schedule]) -> Fault:
        """Hang up without an answer; `when="after"`: with the work done."""
        return cls(kind="dropped", when=_on_answer(when), spoil=lambda _: None, **schedule)

    @classmethod
    def slow(
        cls,
        seconds: float,
        *,
        when: Literal["before", "after"] = "before",
        **schedule: Unpack[Schedule],
    ) -> Fault:
        """Take *seconds* longer, before the work or between the work and its answer."""
        if when not in {"before", "after"}:
            raise ValueError("when: a slow answer is slow before or after the work")
        return cls(kind="slow", when=when, delay=seconds, **schedule)

    @classmethod
    def revoked(cls, **schedule: Unpack[Schedule]) -> Fault:
        """Revoke every access token just before the work, which then answers 401 to it."""
        return cls(kind="revoked", when="before", revokes=True, **schedule)


MAKERS: Mapping[str, Callable[..., Fault]] = {
    name: getattr(Fault, name)
    for name in (
        "status limited redirect error_in_200 html empty bad_json truncated endless gzip_bomb "
        "unknown_enums nulls extra_fields without_id dropped slow revoked"
    ).split()
}
"""The kinds of faults, by the names they have over HTTP too."""


@attrs.define(kw_only=True, eq=False)
class Scripted:
    """A fault in its place, and how it went."""

    fault: Fault
    operation: str | None
    """Its `operationId`, or `"token"`; None: any of the API's operations."""
    phone_number: str | None
    """Strike requests about this number only, where the path names it."""
    requests: int = 0
    """How many requests matched."""
    hits: int = 0
    """How many of those it struck."""


class Faults:
    """The faults that a sandbox has been told to have; the first one that strikes is it."""

    def __init__(self, operations: Iterable[str], token: str) -> None:
        self._operations = {*operations, token}
        self._token = token
        self._scripted: list[Scripted] = []

    def add(
        self, fault: Fault, *, operation: str | None = None, phone_number: str | None = None
    ) -> Scripted:
        """Let *fault* happen to *operation*, an `operationId` or `"token"`; None: to all but it.

        With *phone_number*: only to the requests whose path names this number.
        """
        if operation is not None and operation not in self._operations:
            raise KeyError(operation)
        scripted = Scripted(fault=fault, operation=operation, phone_number=phone_number)
        self._scripted.append(scripted)
        return scripted

    def remove(self, scripted: Scripted) -> None:
        """End one fault."""
        self._scripted.remove(scripted)

    def clear(self) -> None:
        """End them all."""
        self._scripted.clear()

    def __iter__(self) -> Iterator[Scripted]:
        return iter(self._scripted)

    def __len__(self) -> int:
        return len(self._scripted)

    def strike(self, operation: str, phone_number: str) -> Fault | None:
        """Count a request, and return what is to go wrong with it."""
        struck = None
        for each in self._scripted:
            if each.operation != operation and (each.operation or operation == self._token):
                continue
            if each.phone_number not in {None, phone_number}:
                continue
            each.requests += 1
            if struck is None and each.fault.strikes(each.requests, each.hits):
                each.hits += 1
                struck = each.fault
        return struck


# Answers.

_JSON = {"Content-Type": "application/json"}
_STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 409: "ALREADY_EXISTS", 500: "INTERNAL"}
_STATUS |= {403: "PERMISSION_DENIED", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}


def _error(status: int) -> dict[str, object]:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    name = _STATUS.get(status) or phrase.upper().replace(" ", "_")
    return {"code": str(status), "message": f"{phrase}, as scripted.", "status": name}


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


def _on_answer(when: OnAnswer) -> OnAnswer:
    if when not in {"instead", "after"}:
        raise ValueError("when: an answer goes wrong instead of the work, or after it")
    return when


Edit: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]


def _editing(edit: Edit) -> Spoil:
    def spoil(answer: Answer) -> Answer:
        body = b"".join(answer.pieces)
        value = orjson.loads(body) if body else None
        if not isinstance(value, dict):
            return attrs.evolve(answer, pieces=[body])
        return Answer.of(orjson.dumps(edit(value)), status=answer.status, headers=answer.headers)

    return spoil


def _everywhere(edit: Edit) -> Edit:
    """Return an edit of an object and of all the objects in it, the inner ones first."""

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


def _anonymous(item: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in item.items() if k not in _IDS}
