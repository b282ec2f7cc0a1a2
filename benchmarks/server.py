"""A cheap server with fixed responses, so that benchmarks measure the client.

    python benchmarks/server.py        prints its port; exits when its standard input ends

Numbers start at +12000000000. All are ELIGIBLE, `--numbers` of them are listed, each call returns
VERIFICATION_PENDING, and each code is right. `GET /calls` returns when each call arrived.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import ssl
import sys
import time
from typing import cast
from urllib.parse import parse_qs, urlsplit

PROJECT = "abcd12ef-ab12-ab12-bc34-abcdef123456"
FIRST = 2_000_000_000
PAGE = 1000

_NUMBER = (
    b'{"phoneNumber":"%s","projectId":"' + PROJECT.encode() + b'","regionCode":"US",'
    b'"globalProcessState":"GLOBAL_PROCESS_STATE_%s","osrEligibility":{"status":"DONE"},'
    b'"ownershipVerification":{"status":"WAITING"},"hostedNumber":{"status":0},'
    b'"createdTime":"2019-08-24T14:15:22Z","updatedTime":"2019-08-24T14:15:22.123Z"}'
)
_STATES = {"sendVoiceChallenge": b"VERIFICATION_PENDING", "verifyVoiceChallenge": b"VERIFIED"}
_TOKEN = b'{"access_token":"bench","token_type":"bearer","expires_in":3600,"scope":""}'
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


class Server:
    """The responses; pages are cached unless their memory would distort a measurement."""

    def __init__(
        self,
        numbers: int,
        page_delay: float = 0.0,
        call_delay: float = 0.0,
        *,
        remembers: bool = True,
    ) -> None:
        self.numbers = numbers
        self.page_delay = page_delay
        self.call_delay = call_delay
        self.called_at: list[float] = []
        self._remembers = remembers
        self._pages: dict[int, bytes] = {}

    def answer(self, head: bytes) -> tuple[bytes, float]:
        """Return the body for a request, and the seconds to wait before it."""
        target = head.split(b" ", 2)[1].decode()
        if target.endswith("/oauth2/token"):
            return _TOKEN, 0.0
        if target == "/calls":
            return json.dumps(self.called_at).encode(), 0.0
        path, _, verb = target.partition(":")
        number = path.rpartition("/")[2].replace("%2B", "+").encode()
        if number.startswith(b"+"):  # of either API
            is_call = verb == "sendVoiceChallenge"
            if is_call:
                self.called_at.append(time.monotonic())
            return _NUMBER % (number, _STATES.get(verb, b"ELIGIBLE")), self.call_delay * is_call
        query = parse_qs(urlsplit(target).query)
        if query["states"] != ["GLOBAL_PROCESS_STATE_ELIGIBLE"]:
            return b'{"qualifiedNumbers":[],"totalSize":0}', self.page_delay
        page = int(query.get("pageToken", ["0"])[0])
        body = self._pages.get(page) or self.page(page)
        if self._remembers:
            self._pages[page] = body
        return body, self.page_delay

    def page(self, page: int) -> bytes:
        """Return one page of the listing of ELIGIBLE numbers."""
        first, last = page * PAGE, min(self.numbers, (page + 1) * PAGE)
        items = b",".join(
            _NUMBER % (b"+1%d" % (FIRST + index), b"ELIGIBLE") for index in range(first, last)
        )
        token = b"" if last >= self.numbers else b'"nextPageToken":"%d",' % (page + 1)
        return b'{"qualifiedNumbers":[%s],%s"totalSize":%d}' % (items, token, self.numbers)


class Connection(asyncio.Protocol):
    """The part of HTTP/1.1 that a benchmark needs."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Respond to each complete request."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            length = _LENGTH.search(head)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < whole:
                return
            self._buffer = self._buffer[whole:]
            body, delay = self._server.answer(head)
            if delay:
                asyncio.get_running_loop().call_later(delay, self._write, body)
            else:
                self._write(body)

    def _write(self, body: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
            )


async def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--numbers", type=int, default=0)
    parser.add_argument("--page-delay", type=float, default=0.0, help="seconds")
    parser.add_argument("--call-delay", type=float, default=0.0, help="seconds")
    parser.add_argument("--certificate", help="PEM file with certificate and key: speak TLS")
    options = parser.parse_args()
    server = Server(options.numbers, options.page_delay, options.call_delay)
    context = None
    if options.certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(options.certificate)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: Connection(server), "127.0.0.1", 0, ssl=context)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    with contextlib.suppress(ImportError):
        # Imported here, because the benchmarks that import this file choose their own event loop.
        import uvloop

        uvloop.install()
    asyncio.run(main())
