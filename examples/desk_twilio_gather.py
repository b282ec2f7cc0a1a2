r"""A webhook for Twilio's `<Gather>`: callers type or say their code, and the code desk gets it.

    TWILIO_AUTH_TOKEN=… PUBLIC_URL=https://ivr.example DESK_URL=… DESK_TOKEN=… \
        python examples/desk_twilio_gather.py     # listens on port 8081

Point a Twilio number's "A call comes in" at PUBLIC_URL/voice. People call it from the phone that is
verified: the number is the caller's. A caller's number can be forged, so nobody is told how a
number stands; a code is what counts.
"""

from __future__ import annotations

import base64
import hmac
import os
from collections.abc import AsyncIterator, Mapping
from xml.sax.saxutils import escape, quoteattr

import aiohttp
from aiohttp import web

SESSION = web.AppKey("session", aiohttp.ClientSession)


def signature(token: str, url: str, fields: Mapping[str, str]) -> str:
    """Return what Twilio's `X-Twilio-Signature` has to be for a form that is sent to *url*."""
    text = url + "".join(name + fields[name] for name in sorted(fields))
    return base64.b64encode(hmac.digest(token.encode(), text.encode(), "sha1")).decode()


async def read_form(request: web.Request) -> dict[str, str]:
    """Return the fields of a form that Twilio has signed."""
    form = {name: str(value) for name, value in (await request.post()).items()}
    url = os.environ["PUBLIC_URL"] + request.path_qs
    expected = signature(os.environ["TWILIO_AUTH_TOKEN"], url, form)
    sent = request.headers.get("X-Twilio-Signature", "")
    if not hmac.compare_digest(sent.encode(), expected.encode()):
        raise web.HTTPForbidden
    return form


async def ask(request: web.Request) -> web.Response:
    """Answer a call: ask for the code."""
    await read_form(request)
    return _gather("Please type or say the code that you heard.")


async def take(request: web.Request) -> web.Response:
    """Hand in what the caller typed or said."""
    form = await read_form(request)
    heard = {"code": form["Digits"]} if form.get("Digits") else {}
    if not heard and form.get("SpeechResult"):
        heard = {"transcript": form["SpeechResult"], "language": "en"}
    if not heard:
        return _gather("I heard nothing. Please type the code.")
    status = await _submit(request.app[SESSION], {"number": form.get("From", "")} | heard)
    if status == 202:
        return _say("Thank you. The code is being checked.")
    if status in (400, 422):
        return _gather("I could not read that. Please type the code.")
    if status in (404, 409):
        return _say("This phone takes no code now. Please ask for another call.")
    return _say("This is not possible at the moment. Please call again later.")


async def _submit(session: aiohttp.ClientSession, body: dict[str, str]) -> int:
    headers = {"Authorization": f"Bearer {os.environ['DESK_TOKEN']}"}
    url = os.environ["DESK_URL"] + "/api/v1/codes"
    try:
        async with session.post(url, json=body, headers=headers) as response:
            return response.status
    except (aiohttp.ClientError, TimeoutError):
        return 503


def _gather(text: str) -> web.Response:
    action = quoteattr(os.environ["PUBLIC_URL"] + "/code")
    options = 'input="dtmf speech" finishOnKey="#" timeout="8" actionOnEmptyResult="true"'
    return _twiml(f"<Gather {options} action={action}><Say>{escape(text)}</Say></Gather>")


def _say(text: str) -> web.Response:
    return _twiml(f"<Say>{escape(text)}</Say><Hangup/>")


def _twiml(content: str) -> web.Response:
    text = f'<?xml version="1.0" encoding="UTF-8"?><Response>{content}</Response>'
    return web.Response(text=text, content_type="text/xml")


async def _open_session(app: web.Application) -> AsyncIterator[None]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=8)) as app[SESSION]:
        yield


def make_app() -> web.Application:
    """Return the webhook."""
    app = web.Application()
    app.cleanup_ctx.append(_open_session)
    app.add_routes([web.post("/voice", ask), web.post("/code", take)])
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=8081, access_log=None)
