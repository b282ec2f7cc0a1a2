"""Argument validation: invalid input is rejected before anything is sent.

Each check names the argument and, unless it is a secret, the invalid value. The limits are those
of the API reference; where it has none, only values that could reach another path, host or header
are rejected, and values that JSON cannot carry: those of another type, and halves of characters.
What the reference leaves open, such as a blank or long text, is for the server to judge.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Mapping
from datetime import datetime
from inspect import iscoroutinefunction
from ipaddress import ip_address
from typing import Any, TypeVar, get_args, get_origin
from urllib.parse import SplitResult, urlsplit

import attrs

from sinch_qn._open_enums import OpenStrEnum
from sinch_qn.errors import InvalidRequestError
from sinch_qn.models import (
    GlobalProcessState,
    ImportNumberRequest,
    ImportNumbersRequest,
    TextEnableNumbersRequest,
    TextEnableTollFreeNumbersRequest,
    UpdateImportedNumberRequest,
)
from sinch_qn.phone import check_e164

E = TypeVar("E", bound=OpenStrEnum)

MAX_NUMBERS = 500
"""Numbers in one `textEnableNumbers` request; the reference limits no other request."""

_MAX_URL = 4096
"""Characters of the client's own addresses."""

_MAX_CODE = 64
"""Characters of a code: no documented limit; more is no code that a person hears."""

_MAX_NUMBER = 10**9
"""Seconds: 30 years, beyond which an event loop's clock breaks."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_SECRET = re.compile(r"[!-~]{1,1024}", re.ASCII)
_VISIBLE = re.compile(r"[!-~]+", re.ASCII)
_UNSENDABLE = re.compile(r"[\ud800-\udfff]")
_NOT_IN_URLS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff\\]")
_HOST = re.compile(r"[A-Za-z0-9._:-]+", re.ASCII)
_STATE = re.compile(r"GLOBAL_PROCESS_STATE_[A-Z0-9_]{1,64}", re.ASCII)
_WIRE_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,79}", re.ASCII)


def check_project_id(value: object) -> str:
    """Return *value* if it can be a project id: letters, digits, `-` and `_`."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise InvalidRequestError(
            f"project_id: {_shown(value)} is not a project id: 1 to 64 letters, digits, '-' or '_'"
        )
    return value


def check_order_id(value: object) -> str:
    """Return *value* if it can be a hosting order's id: letters, digits, `-` and `_`."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise InvalidRequestError(
            f"order_id: {_shown(value)} is not an order's id: 1 to 64 letters, digits, '-' or '_'"
        )
    return value


def check_secret(value: object, field: str, *, forbidden: str = "") -> None:
    """Reject a value that cannot be a credential, without repeating it."""
    if (
        not isinstance(value, str)
        or not _SECRET.fullmatch(value)
        or (forbidden and forbidden in value)
    ):
        raise InvalidRequestError(
            f"{field}: expected 1 to 1024 printable ASCII characters without spaces"
            + (f" or {forbidden!r}" if forbidden else "")
            + " (the value is not shown)"
        )


def check_environment(environ: Mapping[str, str], *names: str) -> list[str]:
    """Return the values of variables; an `InvalidRequestError` names all that are missing."""
    missing = [name for name in names if not environ.get(name)]
    if missing:
        raise InvalidRequestError(f"not set in the environment: {', '.join(missing)}")
    return [environ[name] for name in names]


def check_url(value: object, field: str, *, allow_http: bool = False) -> str:
    """Return the base address *value* without a trailing slash.

    `http://` sends credentials and codes in the clear: it is rejected except on loopback, or with
    *allow_http*.
    """
    if not isinstance(value, str):
        raise InvalidRequestError(f"{field}: expected a string, not {type(value).__name__}")
    parts = _split(value)
    if parts is None:
        raise InvalidRequestError(f"{field}: {_shown_url(value)} is not an https:// address")
    if parts.username is not None or "?" in value or "#" in value:  # even if empty
        raise InvalidRequestError(f"{field}: an address must not have a user, query or fragment")
    if parts.scheme == "http" and not allow_http and not is_loopback(parts.hostname or ""):
        raise InvalidRequestError(
            f"{field}: {_shown(value)} is not encrypted: use https://, or allow_http=True"
        )
    return value.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether *host* is this machine: `localhost` or a loopback address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_above_zero(value: object, field: str) -> float:
    """Return *value* if it is a number above 0."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 < value <= _MAX_NUMBER
    ):
        raise InvalidRequestError(f"{field}: {_shown(value)} is not a number above 0 and up to 1e9")
    return value


def check_whole(value: object, field: str, *, minimum: int = 1, maximum: int = _MAX_NUMBER) -> int:
    """Return *value* if it is a whole number from *minimum* to *maximum*."""
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise InvalidRequestError(
            f"{field}: {_shown(value)} is not a whole number from {minimum} to {maximum}"
        )
    return value


def check_rule(value: object, field: str) -> None:
    """Reject a retry rule that could not be called, or whose result would have to be awaited."""
    if not callable(value):
        raise InvalidRequestError(
            f"{field}: {_shown(value)} is not a rule: pass RetryPolicy(max_attempts=…), or a "
            "function from a Failure to the seconds to wait, or None"
        )
    if iscoroutinefunction(value) or iscoroutinefunction(getattr(value, "__call__", None)):  # noqa: B004
        raise InvalidRequestError(f"{field}: a rule is a plain function, not an async one")


def check_code(value: object) -> str:
    """Return *value* if it can be a code; it is a string to keep leading zeros."""
    if not isinstance(value, str):
        raise InvalidRequestError(
            f"code: a code is a string such as '0123', not {type(value).__name__}"
        )
    if not value.isalnum() or len(value) > _MAX_CODE:  # of any alphabet
        raise InvalidRequestError(
            f"code: expected 1 to {_MAX_CODE} digits or letters without spaces "
            "(the value is not shown)"
        )
    return value


def check_phone_numbers(value: object, field: str, *, maximum: int | None = None) -> list[str]:
    """Return *value* as a list of one or more E.164 numbers."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise InvalidRequestError(
            f"{field}: expected a list of phone numbers, not {type(value).__name__}"
        )
    numbers = [check_e164(number, f"{field}[{index}]") for index, number in enumerate(value)]
    if not numbers:
        raise InvalidRequestError(f"{field}: expected at least one phone number")
    if maximum is not None and len(numbers) > maximum:
        raise InvalidRequestError(
            f"{field}: {len(numbers)} numbers, but the maximum is {maximum} per request"
        )
    return numbers


def check_state(value: object) -> GlobalProcessState:
    """Return *value*, a `GlobalProcessState`, its name or its wire name, as a state."""
    if isinstance(value, str):
        state = GlobalProcessState(value)
        if state.is_known or _STATE.fullmatch(value):
            return state
    raise InvalidRequestError(
        f"states: {_shown(value)} is not a GlobalProcessState or its wire name"
    )


def check_states(values: Iterable[object]) -> frozenset[GlobalProcessState]:
    """Return *values*, at least one, as states."""
    states = frozenset(check_state(value) for value in values)
    if not states:
        raise InvalidRequestError("states: expected at least one state")
    return states


def check_member(field: str, value: object, enum: type[E]) -> E:
    """Return *value*, a member or a wire name, as a member; it may be one that is not known."""
    if isinstance(value, str) and _WIRE_NAME.fullmatch(value):
        return enum(value)
    raise InvalidRequestError(f"{field}: {_shown(value)} is not a {enum.__name__} or its wire name")


def check_text(field: str, value: object) -> str:
    """Return *value* if it can be sent; what it may be is for the server to judge."""
    if not isinstance(value, str) or _UNSENDABLE.search(value):
        raise InvalidRequestError(f"{field}: expected a string, not {_shown(value)}")
    return value


def check_one_of(field: str, value: object, *allowed: str) -> str:
    """Return *value* if it is one of those that are documented."""
    if isinstance(value, str) and value in allowed:
        return str(value)
    raise InvalidRequestError(f"{field}: {_shown(value)} is not one of {', '.join(allowed)}")


def check_token(value: object) -> str:
    """Return *value* if it can be a page token: opaque, sent as it came, of any length."""
    if not isinstance(value, str) or not value or _UNSENDABLE.search(value):
        raise InvalidRequestError(f"page_token: {_shown(value)} is not a page token")
    return value


def check_import_numbers(request: ImportNumbersRequest, project_id: str) -> ImportNumbersRequest:
    """Return *request* if it is valid; how many numbers it may have, only the server knows."""
    _check_type(request, ImportNumbersRequest)
    check_phone_numbers(request.numbers, "numbers")
    _check_project(request, project_id)
    _check_common(request)
    return request


def check_import_number(request: ImportNumberRequest, project_id: str) -> ImportNumberRequest:
    """Return *request* if it is valid."""
    _check_type(request, ImportNumberRequest)
    check_e164(request.phone_number, "phone_number")
    _check_project(request, project_id)
    _check_common(request)
    return request


def check_update(request: UpdateImportedNumberRequest) -> UpdateImportedNumberRequest:
    """Return *request* if it is valid and changes something."""
    if request == UpdateImportedNumberRequest():
        raise InvalidRequestError("expected at least one field to change")
    _check_common(request)
    return request


def check_hmac_secret(value: object) -> str:
    """Return *value* if it can be a secret, without repeating it; the API documents no limit."""
    if not isinstance(value, str) or not value or _UNSENDABLE.search(value):
        raise InvalidRequestError(
            "hmac_secret: expected a string of at least one character (the value is not shown)"
        )
    return value


def check_text_enable(
    request: TextEnableNumbersRequest, project_id: str
) -> TextEnableNumbersRequest:
    """Return *request* if it is valid as documented for `textEnableNumbers`."""
    _check_type(request, TextEnableNumbersRequest)
    check_phone_numbers(request.numbers, "numbers", maximum=MAX_NUMBERS)
    _check_project(request, project_id)
    _check_order(request, "direct_loa_info", "reseller_loa_info", "blanket_loa_info")
    return request


def check_text_enable_toll_free(
    request: TextEnableTollFreeNumbersRequest, project_id: str
) -> TextEnableTollFreeNumbersRequest:
    """Return *request* if it is valid as documented for `textEnableTollFreeNumbers`.

    It gets the project's id: the vendor's later description requires it in the body.
    """
    _check_type(request, TextEnableTollFreeNumbersRequest)
    check_phone_numbers(request.numbers, "numbers")
    _check_project(request, project_id)
    _check_order(request, "direct_loa_info", "reseller_loa_info")
    return attrs.evolve(request, project_id=project_id)


def _check_type(request: object, expected: type) -> None:
    if not isinstance(request, expected):
        raise InvalidRequestError(
            f"request: expected a {expected.__name__}, not {type(request).__name__}"
        )


def _check_project(request: Any, project_id: str) -> None:
    if request.project_id is not None and request.project_id != project_id:
        raise InvalidRequestError(
            f"project_id: {_shown(request.project_id)} is not the client's project {project_id!r}"
        )


def _check_order(
    request: TextEnableNumbersRequest | TextEnableTollFreeNumbersRequest, *loa_fields: str
) -> None:
    _check_common(request)
    given = [name for name in loa_fields if getattr(request, name) is not None]
    if len(given) != 1:
        raise InvalidRequestError(
            f"expected exactly one of {', '.join(loa_fields)}, not {' and '.join(given) or 'none'}"
        )


def _check_common(request: Any) -> None:
    """Check the fields of any request about numbers: types, region and callback address."""
    _check_fields(request)
    if hasattr(request, "region_code"):
        check_one_of("region_code", request.region_code, "US", "CA")
    if request.callback_url is not None and not _is_web_address(request.callback_url):
        raise InvalidRequestError(
            f"callback_url: {_shown_url(request.callback_url)} is not an http(s) address"
        )


def _check_fields(model: Any, path: str = "") -> None:
    """Check types and texts recursively; values are personal, so no message shows them."""
    for field in attrs.fields(attrs.resolve_types(type(model))):
        value, name = getattr(model, field.name), path + field.name
        if value is None and field.default is None:
            continue
        expected = _expected(field)
        if not isinstance(value, expected):
            raise InvalidRequestError(
                f"{name}: expected {expected.__name__}, not {type(value).__name__}"
            )
        if isinstance(value, str):
            if _UNSENDABLE.search(value):
                raise InvalidRequestError(f"{name}: a lone surrogate is no character")
        elif isinstance(value, datetime):
            if value.utcoffset() is None:
                raise InvalidRequestError(f"{name}: expected a time with a zone, for example UTC")
        elif attrs.has(type(value)):
            _check_fields(value, f"{name}.")


def _expected(field: attrs.Attribute[Any]) -> type:
    """Return the class of a field annotated as `X`, `X | None` or `list[X]`."""
    kind: Any = field.type
    if isinstance(kind, types.UnionType):
        kind = next(k for k in get_args(kind) if k is not types.NoneType)
    outer: type = get_origin(kind) or kind
    return outer


def _is_web_address(value: str) -> bool:
    """Whether *value* is an http(s) address, whose host may be internationalised."""
    try:
        parts = urlsplit(value)
        _ = parts.port  # raises if it is invalid
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and not _NOT_IN_URLS.search(value)
    )


def _split(value: str) -> SplitResult | None:
    """Return the parts of an http(s) address, or None if *value* is not one."""
    if len(value) > _MAX_URL or not _VISIBLE.fullmatch(value) or "\\" in value:
        return None
    try:
        parts = urlsplit(value)
        _ = parts.port  # raises if it is invalid
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(parts.hostname or ""):
        return None
    return parts


def _shown_url(value: str) -> str:
    """Return *value* as shown in a message, unless it may hold a password."""
    return "the value (not shown)" if "@" in value else _shown(value)


def _shown(value: object, limit: int = 64) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return f"this {type(value).__name__}"
    return text if len(text) <= limit else f"{text[:limit]}… ({type(value).__name__})"
