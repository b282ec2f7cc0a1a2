"""The operators' page of links: all of them as CSV, for a mail merge."""

from __future__ import annotations

from contextlib import aclosing

from aiohttp import web

from sinch_qn.desk.link_files import link_lines
from sinch_qn.desk.login import as_operator, operator_page
from sinch_qn.desk.state import DESK


def add_link_routes(app: web.Application) -> None:
    """Add the page of links to *app*."""
    app.router.add_get("/operator/links", as_operator(_show_links))
    app.router.add_get("/operator/links.csv", as_operator(_send_links))


async def _show_links(request: web.Request) -> web.StreamResponse:
    public_url = request.app[DESK].public_url
    return operator_page(request, "operator_links.html", current="links", public_url=public_url)


async def _send_links(request: web.Request) -> web.StreamResponse:
    desk = request.app[DESK]
    response = web.StreamResponse(
        headers={"Content-Disposition": 'attachment; filename="links.csv"'}
    )
    response.content_type, response.charset = "text/csv", "utf-8"
    await response.prepare(request)
    async with aclosing(link_lines(desk.journal, desk.links, desk.public_url)) as lines:
        async for text in lines:
            await response.write(text.encode())
    await response.write_eof()
    return response
