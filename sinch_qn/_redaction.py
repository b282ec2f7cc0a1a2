"""What may be shown: sensitive values are redacted, and text is made fit for one line."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

MASK = "•••"

_MIN_SECRET_LENGTH = 3
"""Characters; shorter ones, such as the state in an address, would redact innocent words."""


_PHONE_NUMBER = re.compile(r"\+[0-9]{7,15}", re.ASCII)

_LONG_SECRET = 12
"""Characters; such a value is replaced within other words, too: it occurs nowhere by chance."""


def printable(value: object, limit: int | None = None, *, substitute: str = " ") -> str:
    """Return up to *limit* characters of *value* fit for one line of a log or a terminal."""
    return "".join(c if c.isprintable() else substitute for c in str(value)[:limit])


def masked_number(phone_number: str) -> str:
    """Return *phone_number* masked for logs: `+12025550134` becomes `+1202•••0134`."""
    return f"{phone_number[:5]}{MASK}{phone_number[-4:]}"


def sensitive_values(model: Any) -> Iterator[str]:
    """Yield the personal and secret texts in *model*: those of fields that are not in its repr.

    What is secret in a mapping, the body of a raw request, is not known: all but phone numbers is.
    """
    if isinstance(model, dict):
        yield from _texts(model)
    for field in getattr(type(model), "__attrs_attrs__", ()):  # errors must not import attrs
        value = getattr(model, field.name)
        if isinstance(value, str) and not field.repr:
            yield value
        else:
            yield from sensitive_values(value)


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts in JSON, except phone numbers."""
    if isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)
    elif hasattr(type(value), "__attrs_attrs__"):
        yield from sensitive_values(value)
    elif not isinstance(value, bool | None) and not _PHONE_NUMBER.fullmatch(str(value)):
        yield str(value)


def redact(error: Exception, values: Iterable[str]) -> None:
    """Replace each of *values* in the text and the attributes of *error* with `•••`.

    Short values are replaced as whole words only, and no value in an attribute `code` of up to
    three digits: a house number 400 is no reason to hide that the server said 400.
    """
    texts = sorted((v for v in values if len(v) >= _MIN_SECRET_LENGTH), key=len, reverse=True)
    if not texts:
        return
    pattern = re.compile("|".join(map(_pattern, texts)))
    code = getattr(error, "code", None)
    error.args = _redacted(error.args, pattern)
    vars(error).update(_redacted(vars(error), pattern))
    if isinstance(code, str) and re.fullmatch("[0-9]{1,3}", code):
        vars(error)["code"] = code


def _pattern(text: str) -> str:
    """Return a pattern of *text*, also as it is written in JSON, in JSON in JSON, and in HTML."""
    forms = {text}
    for _ in range(2):
        forms |= {json.dumps(form)[1:-1] for form in forms} | {
            json.dumps(form, ensure_ascii=False)[1:-1] for form in forms
        }
    forms |= {html.escape(text), quote(text, safe="")}
    pattern = "|".join(map(re.escape, sorted(forms, key=len, reverse=True)))
    return f"(?:{pattern})" if len(text) >= _LONG_SECRET else rf"(?<!\w)(?:{pattern})(?!\w)"


def _redacted(value: Any, pattern: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        return pattern.sub(MASK, value)
    if isinstance(value, list | tuple):
        return type(value)(_redacted(each, pattern) for each in value)
    if isinstance(value, dict):
        return type(value)((key, _redacted(each, pattern)) for key, each in value.items())
    return value
