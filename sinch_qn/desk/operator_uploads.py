"""The operators' pages that add numbers: upload a file, look at its preview, confirm."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp
from aiohttp import web

from sinch_qn.desk.forms import read_form
from sinch_qn.desk.login import (
    SESSION,
    as_operator,
    check_form_token,
    operator_page,
    redirect,
    see_other,
)
from sinch_qn.desk.state import DESK, Desk, hours_of
from sinch_qn.desk.uploads import MAX_BYTES, UnusableUpload, Upload, Uploads

_UPLOADS: Final = web.AppKey("uploads", Uploads)
_MAX_FIELD: Final = 1024
_CHUNK: Final = 256 * 1024


def add_upload_routes(app: web.Application) -> None:
    """Add the pages of uploads to *app*."""
    app[_UPLOADS] = Uploads(app[DESK])
    app.cleanup_ctx.append(_close_uploads)
    app.router.add_get("/operator/upload", as_operator(_show_form))
    app.router.add_post("/operator/upload", as_operator(_upload, is_streamed=True))
    app.router.add_get("/operator/upload/{id}", as_operator(_show_upload))
    app.router.add_post("/operator/upload/{id}", as_operator(_confirm))


async def _close_uploads(app: web.Application) -> AsyncIterator[None]:
    yield
    await app[_UPLOADS].close()


async def _show_form(request: web.Request, error: str = "", status: int = 200) -> web.Response:
    return operator_page(
        request,
        "operator_upload.html",
        status=status,
        current="upload",
        error=error,
        max_mib=MAX_BYTES >> 20,
    )


async def _upload(request: web.Request) -> web.StreamResponse:
    """Read the form as it comes: its token stands before the file."""
    if not request.content_type.startswith("multipart/"):
        raise web.HTTPUnsupportedMediaType(text="Expected the form of the upload page.")
    fields: dict[str, str] = {}
    async for part in await request.multipart():
        if not isinstance(part, aiohttp.BodyPartReader):
            raise web.HTTPBadRequest(text="Expected the form of the upload page.")
        if part.name != "file":
            fields[part.name or ""] = await _text(part)
            continue
        check_form_token(request, fields.get("token"))
        column = fields.get("column", "").strip() or None
        try:
            upload = await request.app[_UPLOADS].preview(
                _chunks(part), part.filename or "file", column, request[SESSION].id
            )
        except UnusableUpload as error:
            return await _show_form(request, str(error), 422)
        return see_other(_path(request.app[DESK], upload))
    return await _show_form(request, "no file was chosen", 422)


async def _chunks(part: aiohttp.BodyPartReader) -> AsyncIterator[bytes]:
    while chunk := await part.read_chunk(_CHUNK):
        yield chunk


async def _text(part: aiohttp.BodyPartReader) -> str:
    value = await part.read_chunk(_MAX_FIELD)
    if not part.at_eof() and await part.read_chunk(_MAX_FIELD):
        raise web.HTTPRequestEntityTooLarge(max_size=_MAX_FIELD, actual_size=_MAX_FIELD + 1)
    return value.decode(errors="replace")


def _find(request: web.Request) -> Upload | None:
    return request.app[_UPLOADS].get(request.match_info["id"], request[SESSION].id)


async def _show_upload(request: web.Request) -> web.StreamResponse:
    upload = _find(request)
    if upload is None:
        text = "this preview is gone, or on another replica: upload the file again"
        return await _show_form(request, text, 404)
    figures = await asyncio.to_thread(_figures, upload)  # the preview is a file
    return operator_page(
        request, "operator_preview.html", current="upload", upload=upload, **figures
    )


def _figures(upload: Upload) -> dict[str, Any]:
    """Return what the page says of a preview, as the command line says it."""
    preview, settings = upload.preview, upload.settings
    to_call = preview.to_add(upload.limit)
    earliest, latest = preview.calling_ends(
        to_call,
        calls_per_second=settings.calls_per_second,
        max_ringing=settings.max_ringing,
        ring_window=settings.ring_window,
        hours=hours_of(settings),
        now=time.time(),
    )
    return {
        "preview": preview,
        "settings": settings,
        "to_call": to_call,
        "earliest": earliest,
        "latest": latest,
        "warnings": list(preview.warnings()) if upload.task is None else [],
    }


async def _confirm(request: web.Request) -> web.StreamResponse:
    desk, upload = request.app[DESK], _find(request)
    if upload is None:
        return redirect(
            desk,
            desk.path("operator/upload"),
            "Nothing was added: this preview is gone, or on another replica. Upload it again.",
        )
    limit = str((await read_form(request)).get("limit", "")).strip()
    if limit and not (limit.isascii() and limit.isdecimal() and int(limit[:9]) > 0):
        text = "Nothing was added: the number of a trial is a whole number from 1."
        return redirect(desk, _path(desk, upload), text)
    request.app[_UPLOADS].confirm(upload, int(limit[:9]) if limit else None)
    return see_other(_path(desk, upload))


def _path(desk: Desk, upload: Upload) -> str:
    return desk.path("operator/upload", upload.id)
