"""Forms that are sent to pages: read, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web


async def read_form(request: web.Request) -> Mapping[str, Any]:
    """Return the fields of a form; one that is damaged, or of an unknown charset, is a 400."""
    try:
        return await request.post()
    except (ValueError, LookupError):
        raise web.HTTPBadRequest(text="This form cannot be read.") from None


def shown(form: Mapping[str, Any], name: str) -> int | None:
    """Return the number that a form's page had shown as *name*; None if it had none.

    The `attempt` or `intent` of an entry: what the person knew of. Anything else is a 400.
    """
    value = form.get(name, "")
    if value == "":
        return None
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        return int(value)
    raise web.HTTPBadRequest(text=f"{name}: expected a whole number, as the page had it")
