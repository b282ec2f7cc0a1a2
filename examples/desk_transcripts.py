"""A callback for any speech-to-text service: what was said in a call goes to the code desk.

    CALLBACK_SECRET=… DESK_URL=… DESK_TOKEN=… python examples/desk_transcripts.py   # port 8082

The service sends `POST /transcripts/{id}` with `Authorization: Bearer CALLBACK_SECRET` and
`{"text": "your code is four, seven, one, one", "language": "en"}`; *id* is that of the number in
the desk's API, so that no number is in a URL. It may send a transcript more than once, and parts of
it first: a code is tried once a call, and a text without one clear code is not tried at all.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

SESSION = web.AppKey("session", aiohttp.ClientSession)


async def receive(request: web.Request) -> web.Response:
    """Hand in a transcript; ask the service to send it again only if the desk is away."""
    expected = f"Bearer {os.environ['CALLBACK_SECRET']}"
    sent = request.headers.get("Authorization", "")
    if not hmac.compare_digest(sent.encode(), expected.encode()):
        raise web.HTTPUnauthorized
    said = await request.json()
    body = {"id": request.match_info["id"], "transcript": said["text"]}
    if said.get("language"):
        body["language"] = said["language"]
    try:
        async with request.app[SESSION].post(
            os.environ["DESK_URL"] + "/api/v1/codes",
            json=body,
            headers={"Authorization": f"Bearer {os.environ['DESK_TOKEN']}"},
        ) as response:
            status = response.status
            result = await response.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError):
        raise web.HTTPServiceUnavailable from None
    if status in (429, 503):
        raise web.HTTPServiceUnavailable(headers={"Retry-After": response.headers["Retry-After"]})
    return web.json_response({"result": result.get("result") or result["type"]})


async def _open_session(app: web.Application) -> AsyncIterator[None]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as app[SESSION]:
        yield


def make_app() -> web.Application:
    """Return the callback."""
    app = web.Application()
    app.cleanup_ctx.append(_open_session)
    app.router.add_post("/transcripts/{id}", receive)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=8082, access_log=None)
