"""Hooks: what a client tells about its calls, without numbers, tokens and bodies."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from inspect import iscoroutinefunction

import attrs

from sinch_qn._headers import UNSETTABLE, Headers, kept_headers
from sinch_qn._redaction import printable
from sinch_qn.errors import InvalidRequestError, Outcome, SinchError

_log = logging.getLogger("sinch_qn")

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)
_VALUE = re.compile(r"[\t -~]{0,8192}", re.ASCII)


@attrs.define(eq=False, kw_only=True)
class CallInfo:
    """One call with all its attempts; the same object from its first request to its end."""

    project_id: str
    operation: str
    """The `operationId`, such as `sendVoiceChallenge`."""
    phone_number: str | None = None
    """Masked, such as `+1202•••0134`."""
    attempts: int = 0
    seconds: float = 0.0
    """Since the call began, waits included."""
    outcome: Outcome | None = None
    """Of a call that failed: whether it can have had its effect. Set at the end, as is `error`."""
    error: BaseException | None = None
    """The `SinchError` or cancellation that ended the call; its `phone_number` is not masked.

    Set while `on_call_end` is told, and not kept.
    """


class RequestHeaders(MutableMapping[str, str]):
    """The headers of a request, in any case; secret ones are `•••`, and some cannot be set."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._shown = kept_headers(headers)
        self.added: dict[str, str] = {}
        """What hooks have set."""

    def __getitem__(self, name: str) -> str:
        return self._shown[name]

    def __setitem__(self, name: str, value: str) -> None:
        try:
            check_header(name, value)
        except InvalidRequestError as error:
            _log.warning("a hook's header is left out: %s", error)
            return
        self.added[name.title()] = self._shown[name.lower()] = value

    def __delitem__(self, name: str) -> None:
        raise TypeError("a hook may only add headers")

    def __iter__(self) -> Iterator[str]:
        return iter(self._shown)

    def __len__(self) -> int:
        return len(self._shown)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {', '.join(self._shown)}>"


@attrs.define(eq=False, kw_only=True)
class RequestInfo:
    """One attempt of a call."""

    call: CallInfo
    method: str
    url_template: str
    """Below the project, such as `/qualifiedNumbers/{phoneNumber}`."""
    base_url: str
    """The API's address, without the project."""
    attempt: int
    """1 for the first one."""
    headers: RequestHeaders = attrs.field(repr=False)
    """Headers may be added, but not `Authorization`, `Host`, and those that frame the request."""

    @property
    def operation(self) -> str:
        """The `operationId` of the call."""
        return self.call.operation


@attrs.frozen(eq=False, kw_only=True)
class ResponseInfo:
    """The head of a response, whatever its status."""

    status_code: int
    headers: Headers = attrs.field(repr=False)
    """By their names, in any case; cookies are `•••`."""
    size: int
    """Bytes of the body."""


class Hooks:
    """Override what you need; pass an instance as `hooks=[...]` to the client.

    The methods are called in the event loop, between the steps of a call: they must not block.
    What they raise is logged, and does not disturb the call.
    """

    def on_request(self, request: RequestInfo) -> None:
        """Act before a request is sent; headers may be added to `request.headers`."""

    def on_response(self, request: RequestInfo, response: ResponseInfo, seconds: float) -> None:
        """Act when its response has been read, *seconds* after it was sent."""

    def on_retry(self, request: RequestInfo, error: SinchError, delay: float) -> None:
        """Act when an attempt failed with *error*; the next one follows after *delay* seconds."""

    def on_call_end(self, call: CallInfo) -> None:
        """Act when the call has succeeded, failed or been cancelled."""


METHODS = ("on_request", "on_response", "on_retry", "on_call_end")


def check_hooks(value: object) -> tuple[Hooks, ...]:
    """Return *value*, an iterable of `Hooks`, as a tuple."""
    hooks = tuple(value) if isinstance(value, Iterable) else (value,)
    for each in hooks:
        if not isinstance(each, Hooks) or not isinstance(value, Iterable):
            raise InvalidRequestError(
                f"hooks: expected a list of Hooks, not {printable(repr(value), 64)}:"
                " pass hooks=[MyHooks()]"
            )
        for name in METHODS:
            if iscoroutinefunction(getattr(each, name)):
                raise InvalidRequestError(
                    f"hooks: {type(each).__name__}.{name} is async; a hook is a plain function"
                )
    return hooks


def check_header(name: object, value: object) -> None:
    """Reject a header that only the client sets, or that is none."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidRequestError(f"headers: {printable(repr(name), 64)} is not a header's name")
    if name.lower() in UNSETTABLE:
        raise InvalidRequestError(f"headers: {name} is set by the client only")
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        raise InvalidRequestError(
            f"headers: the value of {name} is not one line of up to 8,192 ASCII characters"
            " (it is not shown)"
        )
