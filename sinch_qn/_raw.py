"""Raw access: requests to any path below the project, and the responses behind typed calls."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, overload
from urllib.parse import quote, unquote, urlencode

import attrs
import orjson

from sinch_qn._checks import check_text, check_whole
from sinch_qn._codec import encode
from sinch_qn._headers import Headers, kept_headers
from sinch_qn._http import Request, Response, parse_json, status_problem
from sinch_qn._operations import OPERATIONS, Operation
from sinch_qn._redaction import printable
from sinch_qn.errors import InvalidRequestError, InvalidResponseError
from sinch_qn.instrumentation.hooks import check_header

_METHODS = {"GET": True, "HEAD": True, "PUT": True, "DELETE": True, "PATCH": False, "POST": False}
"""The methods that can be sent, and whether a retry of them is safe unless the caller says so."""

_PATH = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)+", re.ASCII)
_MAX_PATH = 2048
_E164 = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)


@attrs.frozen(kw_only=True)
class RawResponse:
    """A response as the server sent it."""

    status_code: int
    headers: Headers = attrs.field(repr=False)
    """By their names, in any case; cookies are `•••`."""
    content: bytes = attrs.field(repr=False)
    """The body."""

    def json(self) -> Any:
        """Return the JSON value of the body; raises `InvalidResponseError` if it is none."""
        value = parse_json(self.content)
        if value is ...:
            raise InvalidResponseError("the body is not JSON", status_code=self.status_code)
        return value


def raw_response(response: Response) -> RawResponse:
    """Return *response* as callers get it."""
    return RawResponse(
        status_code=response.status,
        headers=kept_headers(response.headers),
        content=response.body,
    )


def read_raw(_: Operation[Any], response: Response, __: str | None) -> RawResponse:
    """Return a 2xx as it came; raises a `StatusError`, or `InvalidResponseError` for a redirect."""
    if not 200 <= response.status < 300:
        raise status_problem(response)
    return raw_response(response)


@attrs.frozen(kw_only=True)
class RawRequest:
    """A request to any path below the project, checked."""

    operation: Operation[RawResponse]
    path: str
    query: str
    json: object = attrs.field(repr=False)
    headers: dict[str, str] = attrs.field(repr=False)
    phone_number: str | None = attrs.field(repr=False)

    def below(self, root: str) -> Request:
        """Return the request to the project at *root*."""
        headers, body = dict(self.headers), None
        if self.json is not None:
            headers.setdefault("Content-Type", "application/json")
            try:
                body = orjson.dumps(encode(self.json))
            except (TypeError, ValueError) as error:
                raise InvalidRequestError(f"json: it cannot be written: {error}") from error
        return Request(
            self.operation.method,
            root + self.path + self.query,
            headers,
            body,
            fresh_connection=not self.operation.idempotent,
        )


def raw_request(
    method: str,
    path: str,
    *,
    query: Mapping[str, Any] | None,
    json: object,
    headers: Mapping[str, str] | None,
    idempotent: bool | None,
) -> RawRequest:
    """Check the parts of a request; raises `InvalidRequestError`."""
    if method not in _METHODS:
        raise InvalidRequestError(
            f"method: {printable(repr(method), 64)} is not one of {', '.join(_METHODS)}"
        )
    if not isinstance(idempotent, bool | None):
        raise InvalidRequestError("idempotent: expected True, False or None")
    for name, value in (headers or {}).items():
        check_header(name, value)
    known, phone_number = _known_operation(method, _check_path(path))
    if known is not None and idempotent and not known.idempotent:
        raise InvalidRequestError(
            f"idempotent: {known.id} is not idempotent; a retry could have its effect twice"
        )
    template = known.path if known is not None else _template(path)
    return RawRequest(
        operation=Operation(
            known.id if known is not None else f"{method} {template}",
            method,
            template,
            RawResponse,
            idempotent=_METHODS[method] if idempotent is None else idempotent,
            secret_response=known is not None and known.secret_response,
        ),
        path=path,
        query=_encode_query(query or {}),
        json=json,
        headers={name.title(): value for name, value in (headers or {}).items()},
        phone_number=phone_number,
    )


def _check_path(path: object) -> str:
    """Return *path* without its percent-encoding, if it can only be below the project."""
    plain = unquote(path) if isinstance(path, str) else ""
    segments = plain.split("/")[1:]
    if (
        not isinstance(path, str)
        or len(path) > _MAX_PATH
        or not _PATH.fullmatch(path)
        or path.count("/") != plain.count("/")
        or not all(segment.strip(".") for segment in segments)
        or not plain.isprintable()
        or "\\" in plain
        or "%" in plain
    ):
        raise InvalidRequestError(
            f"path: {printable(repr(path), 64)} is not a path below the project such as"
            " '/hostingOrders/01ABC/report': no '..', '//', '?', '#', space or control character;"
            " pass the query as query={…}"
        )
    return plain


def _known_operation(method: str, path: str) -> tuple[Operation[Any] | None, str | None]:
    """Return the operation that the API documents at *path*, and the number in it."""
    for operation in OPERATIONS:
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/:]+)", re.escape(operation.path))
        if operation.method == method and (match := re.fullmatch(pattern, path)):
            number = match.groupdict().get("phoneNumber")
            return operation, number if number and _E164.fullmatch(number) else None
    return None, None


def _template(path: str) -> str:
    """Return *path* with a placeholder for each segment that can be a number, an id or a code."""
    segments = [
        "{…}" + segment[segment.rfind(":") :] * (":" in segment)
        if re.search("[0-9%]", segment.rpartition(":")[0] or segment) or len(segment) > 60
        else segment
        for segment in path.split("/")
    ]
    return "/".join(segments)


def _encode_query(query: Mapping[str, Any]) -> str:
    """Return the query with its `?`; None is left out, and a list is repeated."""
    pairs = []
    for name, value in query.items():
        check_text("query", name)
        for each in value if isinstance(value, list | tuple) else [value]:
            if isinstance(each, bool):
                pairs.append((name, str(each).lower()))
            elif isinstance(each, int | float):
                pairs.append((name, str(each)))
            elif each is not None:
                pairs.append((name, check_text(f"query[{name!r}]", each)))
    return "?" + urlencode(pairs, quote_via=quote, safe="") if pairs else ""


class CapturedResponses(Sequence[RawResponse]):
    """The responses of a `capture_responses` block, the oldest first."""

    open_blocks: set[CapturedResponses] = set()  # noqa: RUF012 - attrs would make it a field
    """The blocks that are open in this process: without one, calls do not look for theirs."""

    def __init__(self, max_count: int, max_bytes: int) -> None:
        self._max_count, self._max_bytes = max_count, max_bytes
        self._responses: deque[RawResponse] = deque()
        self._bytes = 0
        self.dropped = 0
        """How many older responses were dropped, because there were too many or too large ones."""

    @overload
    def __getitem__(self, index: int) -> RawResponse: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[RawResponse]: ...
    def __getitem__(self, index: int | slice) -> RawResponse | Sequence[RawResponse]:
        return list(self._responses)[index]

    def __len__(self) -> int:
        return len(self._responses)

    __hash__ = object.__hash__

    def add(self, response: RawResponse) -> None:
        """Keep *response*; drop the oldest ones beyond the limits."""
        if self not in self.open_blocks:
            return  # a task that outlives the block
        self._responses.append(response)
        self._bytes += len(response.content)
        while len(self) > self._max_count or (self._bytes > self._max_bytes and len(self) > 1):
            self._bytes -= len(self._responses.popleft().content)
            self.dropped += 1


_block: ContextVar[CapturedResponses | None] = ContextVar("captured", default=None)


def capture(response: Response, *, keep_body: bool = True) -> None:
    """Keep *response* if this task is in a `capture_responses` block."""
    block = _block.get()
    if block is not None:
        raw = raw_response(response)
        block.add(raw if keep_body else attrs.evolve(raw, content=b""))


@contextmanager
def capture_responses(
    *, max_count: int = 100, max_bytes: int = 16 * 1024 * 1024
) -> Iterator[CapturedResponses]:
    """Keep the raw responses behind the calls of this task, and of the tasks that it starts.

    Retries have theirs, too; those of the token endpoint are not kept. Beyond *max_count*
    responses or *max_bytes* of bodies the oldest are dropped; the last one is always kept. They
    hold phone numbers: do not log them. That of the callback configuration, a secret, has no body.
    """
    block = CapturedResponses(
        check_whole(max_count, "max_count"), check_whole(max_bytes, "max_bytes", maximum=2**40)
    )
    CapturedResponses.open_blocks.add(block)
    token = _block.set(block)
    try:
        yield block
    finally:
        _block.reset(token)
        CapturedResponses.open_blocks.discard(block)
