"""Pages: templates filled with autoescape, and the style sheets and scripts beside them."""

from __future__ import annotations

from typing import Any, Final

import jinja2
from aiohttp import web

_TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}

_templates = jinja2.Environment(
    loader=jinja2.PackageLoader("sinch_qn.desk"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_static = jinja2.PackageLoader("sinch_qn.desk", "static")


def render(template: str, *, status: int = 200, **values: Any) -> web.Response:
    """Return the page that *template* makes of *values*."""
    text = _templates.get_template(template).render(values)
    return web.Response(status=status, text=text, content_type="text/html")


async def static_file(request: web.Request) -> web.Response:
    """Return a style sheet or script."""
    name = request.match_info["name"]
    try:
        text, _, _ = _static.get_source(_templates, name)
    except jinja2.TemplateNotFound:
        raise web.HTTPNotFound from None
    return web.Response(text=text, content_type=_TYPES.get(name.rpartition(".")[2], "text/plain"))
