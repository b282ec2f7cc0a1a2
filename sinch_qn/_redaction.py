"""What may be shown: sensitive values are redacted, and text is made fit for one line."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Any

MASK = "•••"

_MIN_SECRET_LENGTH = 3
"""Characters; shorter ones, such as the state in an address, would redact innocent words."""


def printable(value: object, limit: int | None = None, *, substitute: str = " ") -> str:
    """Return up to *limit* characters of *value* fit for one line of a log or a terminal."""
    return "".join(c if c.isprintable() else substitute for c in str(value)[:limit])


def sensitive_values(model: Any) -> Iterator[str]:
    """Yield the personal and secret texts in *model*: those of fields that are not in its repr."""
    for field in getattr(type(model), "__attrs_attrs__", ()):  # errors must not import attrs
        value = getattr(model, field.name)
        if isinstance(value, str) and not field.repr:
            yield value
        else:
            yield from sensitive_values(value)


def redact(error: Exception, values: Iterable[str]) -> None:
    """Replace each of *values* in the text and the attributes of *error* with `•••`."""
    texts = sorted((v for v in values if len(v) >= _MIN_SECRET_LENGTH), key=len, reverse=True)
    if texts:
        error.args = _redacted(error.args, texts)
        vars(error).update(_redacted(vars(error), texts))


def _redacted(value: Any, texts: list[str]) -> Any:
    if isinstance(value, str):
        return functools.reduce(lambda left, text: left.replace(text, MASK), texts, value)
    if isinstance(value, list | tuple):
        return type(value)(_redacted(each, texts) for each in value)
    if isinstance(value, dict):
        return {key: _redacted(each, texts) for key, each in value.items()}
    return value
