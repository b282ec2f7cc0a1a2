"""Models as JSON for your own files, queues and services, in the API's own form.

text = to_json(number)                                  # {"phoneNumber":"+12025550134",…}
number = from_dict(QualifiedNumber, json.loads(text))   # equal to the first
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import attrs
import orjson

from sinch_qn import _codec
from sinch_qn.errors import InvalidRequestError

T = TypeVar("T")

converter = _codec.make_converter(strict=True)
"""A cattrs `Converter` for the models, also inside your own attrs classes and dataclasses.

It is not the client's: hooks that you register change nothing there. It reads as `from_dict` does.
"""


def to_dict(model: Any) -> dict[str, Any]:
    """Return *model* as a JSON object with the API's names, without fields that are None.

    Times are text and enums their wire value, so that every JSON library takes it. It holds what
    `repr` hides, such as the persons of a letter. Raises `InvalidRequestError` if it is no model.
    """
    if isinstance(model, type) or not attrs.has(type(model)):
        raise InvalidRequestError(f"expected a model of sinch_qn, not {type(model).__name__}")
    written: dict[str, Any] = converter.unstructure(model)
    return written


def to_json(model: Any) -> str:
    """Return `to_dict(model)` as JSON text."""
    return orjson.dumps(to_dict(model)).decode()


def from_dict(model: type[T], data: Mapping[str, Any]) -> T:
    """Return *data*, as `to_dict` or the API writes it, as a *model*.

    Unknown fields are dropped and unknown enum values kept, as in a response; but a field that is
    missing or of the wrong type is an `InvalidRequestError` that names it.
    """
    if not isinstance(data, Mapping):
        raise InvalidRequestError(
            f"expected an object for {model.__name__}, not {_codec.kind_of(data)}"
        )
    return converter.structure(dict(data), model)
