"""A fake Sinch for soak tests: a real socket, five requests and counts; it costs little CPU."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from random import Random

import attrs
import orjson
from aiohttp import web

PROJECT = "11111111-2222-4333-8444-555555555555"
_TOKEN = {"access_token": "a.b.c", "expires_in": 3600, "token_type": "bearer", "scope": ""}
_UNAVAILABLE = 503


@attrs.define(eq=False)
class LeanSinch:
    """Phones that ring, codes that are heard; every number is known and ELIGIBLE until called."""

    latency: float = 0.02
    """Seconds after which a request takes effect, and again until its response."""
    hears: Callable[[str, str], None] = lambda _number, _code: None
    """Called as a phone reads out its code."""
    seed: int = 7
    base_url: str = ""
    down: bool = False
    """Whether all but the token's are answered with 503, and do nothing."""
    calls: list[tuple[float, str]] = attrs.field(factory=list)
    """When each call came, and to which number."""
    rings: Counter[str] = attrs.field(factory=Counter)
    codes: dict[str, str] = attrs.field(factory=dict)
    """The code that each phone read out last."""
    verified: Counter[str] = attrs.field(factory=Counter)
    """How often the right code of a number came."""
    ringing: set[str] = attrs.field(factory=set)
    """Phones that nobody hung up: `hang_up` is for a test to say."""
    most_ringing: int = 0
    _random: Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._random = Random(self.seed)

    def environment(self) -> dict[str, str]:
        """Return the variables of `QualifiedNumbersClient.from_env()` for this server."""
        return {
            "SINCH_PROJECT_ID": PROJECT,
            "SINCH_KEY_ID": "key",
            "SINCH_KEY_SECRET": secrets.token_hex(8),
            "SINCH_AUTH": "oauth2",
            "SINCH_BASE_URL": self.base_url,
            "SINCH_TOKEN_URL": f"{self.base_url}/oauth2/token",
        }

    def hang_up(self, number: str) -> None:
        """Note that a phone rings no more."""
        self.ringing.discard(number)

    async def respond(self, request: web.BaseRequest) -> web.Response:
        """Respond to one request."""
        body = await request.read()
        await asyncio.sleep(self.latency)
        status, value = self._effect(request.path, body)
        await asyncio.sleep(self.latency)
        return web.Response(
            body=orjson.dumps(value), status=status, content_type="application/json"
        )

    def _effect(self, path: str, body: bytes) -> tuple[int, object]:
        if path.endswith("/token"):
            return 200, _TOKEN
        if self.down:
            return _UNAVAILABLE, {}
        _, _, resource = path.partition("/qualifiedNumbers")
        if not resource:
            return 200, {"qualifiedNumbers": [], "totalSize": 0}
        number, _, verb = resource.removeprefix("/").partition(":")
        if verb == "sendVoiceChallenge":
            self._call(number)
        elif verb == "verifyVoiceChallenge":
            if orjson.loads(body)["code"] != self.codes.get(number):
                return 200, _shown(number, "VERIFICATION_FAILED")
            self.verified[number] += 1
        return 200, _shown(number, self._state(number))

    def _call(self, number: str) -> None:
        self.calls.append((time.monotonic(), number))
        self.rings[number] += 1
        self.codes[number] = code = f"{self._random.randrange(10_000):04}"
        self.ringing.add(number)
        self.most_ringing = max(self.most_ringing, len(self.ringing))
        self.hears(number, code)

    def _state(self, number: str) -> str:
        if number in self.verified:
            return "VERIFIED"
        return "VERIFICATION_PENDING" if number in self.rings else "ELIGIBLE"


def _shown(number: str, state: str) -> dict[str, object]:
    return {
        "phoneNumber": number,
        "globalProcessState": f"GLOBAL_PROCESS_STATE_{state}",
        "regionCode": "US",
    }


@contextlib.asynccontextmanager
async def lean_sinch(**settings: float) -> AsyncIterator[LeanSinch]:
    """Run a fake Sinch on a free port of this machine."""
    sinch = LeanSinch(**settings)  # type: ignore[arg-type]
    runner = web.ServerRunner(web.Server(sinch.respond, access_log=None))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    sinch.base_url = f"http://{host}:{port}"
    try:
        yield sinch
    finally:
        await runner.cleanup()
