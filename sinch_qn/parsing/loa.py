"""A Letter of Authorization as JSON, with the field names of the API."""

from __future__ import annotations

from typing import Any, TypeVar

import attrs
import orjson

from sinch_qn.models import DirectLoaInfo, ResellerLoaInfo

T = TypeVar("T", bound="attrs.AttrsInstance")


class InvalidLoa(ValueError):  # noqa: N818 - named as `InvalidPhoneNumber` is
    """The text is not a Letter of Authorization; the message names the field, never its value."""


def parse_loa(text: str | bytes) -> DirectLoaInfo | ResellerLoaInfo:
    """Parse a LOA: `{"directLoaInfo": {…}}` or `{"resellerLoaInfo": {…}}`.

    Strict, so that no misspelt field is left out of a letter: every field is required, and no
    other is allowed. Raises `InvalidLoa`, without the values: they are personal data.
    """
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidLoa(f"not JSON: {error.msg} at {where}") from None
    match content:
        case {"directLoaInfo": direct, **rest} if not rest:
            return _build(DirectLoaInfo, direct, "directLoaInfo")
        case {"resellerLoaInfo": reseller, **rest} if not rest:
            return _build(ResellerLoaInfo, reseller, "resellerLoaInfo")
    raise InvalidLoa('expected {"directLoaInfo": {…}} or {"resellerLoaInfo": {…}}')


def _build(model: type[T], value: object, where: str) -> T:
    attrs.resolve_types(model)
    fields = {field.metadata["wire"]: field for field in attrs.fields(model)}
    if not isinstance(value, dict):
        raise InvalidLoa(f"{where}: expected an object")
    if missing := fields.keys() - value.keys():
        raise InvalidLoa(f"{where}: without {', '.join(sorted(missing))}")
    if unknown := value.keys() - fields.keys():
        raise InvalidLoa(f"{where}: there is no field {', '.join(sorted(unknown))}")
    built: dict[str, Any] = {}
    for name, field in fields.items():
        part = value[name]
        if attrs.has(field.type):
            part = _build(field.type, part, f"{where}.{name}")
        elif not isinstance(part, str):
            raise InvalidLoa(f"{where}.{name}: expected text")
        built[field.name] = part
    return model(**built)
