"""Pages: templates filled with autoescape, and the style sheets and scripts beside them.

All of them are read when this module is imported, so that no request waits for a disk.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any, Final

import jinja2
from aiohttp import web

_TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def _read(folder: str) -> dict[str, str]:
    found = files("sinch_qn.desk").joinpath(folder).iterdir()
    return {file.name: file.read_text("utf-8") for file in found if file.is_file()}


_static: Final = _read("static")
_templates = jinja2.Environment(
    loader=jinja2.DictLoader(_read("templates")),
    autoescape=True,
    auto_reload=False,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def fragment(template: str, **values: Any) -> str:
    """Return the part of a page that *template* makes of *values*."""
    return _templates.get_template(template).render(values)


def render(template: str, *, status: int = 200, **values: Any) -> web.Response:
    """Return the page that *template* makes of *values*."""
    text = fragment(template, **values)
    return web.Response(status=status, text=text, content_type="text/html")


async def static_file(request: web.Request) -> web.Response:
    """Return a style sheet or script."""
    name = request.match_info["name"]
    if name not in _static:
        raise web.HTTPNotFound
    content_type = _TYPES.get(name.rpartition(".")[2], "text/plain")
    return web.Response(text=_static[name], content_type=content_type)
