"""The sandbox's server: the operation table and the token endpoint, over a `World`."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import secrets
from collections import Counter
from contextlib import AsyncExitStack, suppress
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import parse_qs

import aiohttp
import attrs
import orjson
from aiohttp import web
from yarl import URL

from sinch_qn._operations import OPERATIONS
from sinch_qn.auth import BasicAuth, OAuth2
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.models import GlobalProcessState as State
from sinch_qn.retry import RetryPolicy, RetryRule
from sinch_qn.sandbox.clock import Clock
from sinch_qn.sandbox.control_api import CONTROLS
from sinch_qn.sandbox.faults import Answer, Fault, Faults
from sinch_qn.sandbox.handlers import HANDLERS, error_json, event_json
from sinch_qn.sandbox.request_validation import Violation, ViolationError, read_validators
from sinch_qn.sandbox.world import Event, Order, Refusal, Settings, World
from sinch_qn.webhooks import sign

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from random import Random

    from sinch_qn.rate_limit import RateLimit
    from sinch_qn.sandbox.control_api import Control
    from sinch_qn.sandbox.request_validation import RequestValidator

TOKEN = "token"  # noqa: S105 - the name under which token requests are counted
_COUNTED = (*(operation.id for operation in OPERATIONS), TOKEN)
_PROJECT = "/v1/projects/{projectId}"
_ISSUED = 10_000
"""How many tokens are remembered; the oldest are then as unknown as made-up ones."""
_REMEMBERED = 10_000
"""How many violations are remembered: the first."""
_BODY_CAP = 16 * 1024 * 1024
_COURIERS = 8
"""How many callbacks are delivered at a time."""
_DELIVERIES = 3
"""How often a callback is tried."""


class Calls:
    """A count of requests: by operation, and by number where the path names one."""

    def __init__(self) -> None:
        self._totals: Counter[str] = Counter(dict.fromkeys(_COUNTED, 0))
        self._by_number: dict[str, Counter[str]] = {each: Counter() for each in _COUNTED}

    def add(self, operation_id: str, phone_number: str = "") -> None:
        """Count one request."""
        self._totals[operation_id] += 1
        if phone_number:
            self._by_number[operation_id][phone_number] += 1

    def count(self, operation_id: str, phone_number: str) -> int:
        """Return an operation's count for one number; an unknown operation raises."""
        return self._by_number[operation_id][phone_number]

    def total(self, operation_id: str) -> int:
        """Return the count of an operation, or of `"token"`; an unknown one raises."""
        if operation_id not in self._totals:
            raise KeyError(operation_id)
        return self._totals[operation_id]

    def totals(self) -> dict[str, int]:
        """Return all the totals."""
        return dict(self._totals)


@attrs.define(kw_only=True, eq=False, slots=False)
class Sandbox(Settings):
    """A fake Sinch on a real socket; every setting of the world is an argument too.

        async with Sandbox(max_attempts=2) as sandbox, sandbox.client() as client:
            sandbox.add(["+12025550134"])
            await client.send_voice_challenge("+12025550134")
            code = sandbox.code_for("+12025550134")

    It may be entered again after its end: with the same world, on the same port.
    """

    host: str = "127.0.0.1"
    port: int = 0
    """0: any free one; `base_url` says which."""
    key_id: str = "sandbox-key-id"
    key_secret: str = attrs.field(default="sandbox-key-secret", repr=False)
    webhook_secret: str = attrs.field(default="sandbox-webhook-secret", repr=False)
    """What callbacks are signed with."""
    token_lifetime: float = 3600.0
    """How long an access token is good, by the sandbox's clock."""
    latency: float = 0.0
    """How long every answer takes, in real seconds."""
    callback_retry: float = 0.5
    """How long a callback that was not taken waits, in real seconds; twice that the next time."""
    callbacks_leave_machine: bool = False
    """Whether callbacks go to other hosts than this one; else those are withheld."""
    clock: Clock = attrs.Factory(Clock)
    random: Random | None = None
    """Where codes and ids come from; `random.Random(7)` makes a run repeatable."""

    world: World = attrs.field(init=False)
    calls: Calls = attrs.field(init=False)
    """How often the sandbox was asked; every request counts, refused ones too."""
    done: Calls = attrs.field(init=False)
    """How often it did what it was asked, whatever became of the answer."""
    faults: Faults = attrs.field(init=False, repr=False)
    """What is to go wrong."""
    violations: list[Violation] = attrs.field(init=False)
    """What in requests broke the API's description, as it was seen."""
    callbacks: Counter[str] = attrs.field(init=False)
    """How many callbacks were `delivered`, `failed` for good, or `withheld`."""

    _tokens: dict[str, float] = attrs.field(init=False, repr=False)
    """When each access token that was issued expires."""
    _clients: list[QualifiedNumbersClient] = attrs.field(init=False, factory=list, repr=False)
    _opened: AsyncExitStack | None = attrs.field(init=False, default=None, repr=False)
    _look: asyncio.Event = attrs.field(init=False, factory=asyncio.Event, repr=False)
    """Set when there may be callbacks to deliver sooner than was planned."""
    _waiting: asyncio.Queue[Event] = attrs.field(init=False, factory=asyncio.Queue, repr=False)
    _next_look: float | None = attrs.field(init=False, default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        self._forget()
        self.clock.watch(self._wake)

    def _forget(self) -> None:
        self.world = World(self, clock=self.clock, random=self.random)
        self.calls, self.done = Calls(), Calls()
        self.faults = Faults(_COUNTED, TOKEN)
        self.violations, self.callbacks, self._tokens = [], Counter(), {}

    # Its life.

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            while self._clients:
                await self._clients.pop().close()
        finally:
            await self._stop()

    async def reset(self) -> None:
        """Forget numbers, orders, tokens, counts, violations, faults and pending callbacks.

        The port, the settings, the clock and open clients stay. Requests in progress end first,
        as at the sandbox's end. `world`, `calls`, `done`, `faults`, `violations` and `callbacks`
        are new objects; the old ones keep their contents.
        """
        is_running = self._opened is not None
        await self._stop()
        self._forget()
        if is_running:
            await self._start()

    async def _start(self) -> None:
        self._look, self._waiting = asyncio.Event(), asyncio.Queue()
        async with AsyncExitStack() as opened:
            # A client that has gone does not undo what it asked for: the work goes on.
            runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=0.5)
            await runner.setup()
            opened.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, self.host, self.port).start()
            self.port = runner.addresses[0][1]
            opened.push_async_callback(_stop, asyncio.create_task(self._deliver_callbacks()))
            self._opened = opened.pop_all()

    async def _stop(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.aclose()

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=_BODY_CAP)
        routes = application.router
        validators = read_validators()
        for operation in OPERATIONS:
            # A KeyError here is an operation that the description or the sandbox lacks.
            handle = partial(self._operate, operation.id, validators[operation.id])
            path = operation.path.replace("{phoneNumber}", "{phoneNumber:[^/:]+}")
            routes.add_route(operation.method, _PROJECT + path, handle)
        routes.add_post("/oauth2/token", self._issue_token)
        for method, path, act in CONTROLS:
            routes.add_route(method, path, partial(self._control, act))
        routes.add_route("*", "/{path:.*}", self._unknown)
        return application

    @property
    def mounted(self) -> set[tuple[str, str]]:
        """The method and path template of every API operation that is served."""
        return {
            (route.method, route.resource.canonical)
            for route in self._application().router.routes()
            if route.resource and route.resource.canonical.startswith(_PROJECT)
        }

    # For those who test and demonstrate.

    @property
    def base_url(self) -> str:
        """Where the API is; known once it runs."""
        if not self.port:
            raise RuntimeError("the sandbox does not run yet: `async with Sandbox() as sandbox:`")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return str(URL.build(scheme="http", host=host, port=self.port))

    @property
    def token_url(self) -> str:
        """Where access tokens are."""
        return f"{self.base_url}/oauth2/token"

    def environment(self) -> dict[str, str]:
        """Return the variables that `QualifiedNumbersClient.from_env()` reads, for this sandbox."""
        return {
            "SINCH_PROJECT_ID": self.project_id,
            "SINCH_KEY_ID": self.key_id,
            "SINCH_KEY_SECRET": self.key_secret,
            "SINCH_AUTH": "oauth2",
            "SINCH_BASE_URL": self.base_url,
            "SINCH_TOKEN_URL": self.token_url,
        }

    def client(
        self,
        *,
        auth: Literal["oauth2", "basic"] = "oauth2",
        session: aiohttp.ClientSession | None = None,
        timeout: float = 30.0,
        retry: RetryRule = RetryPolicy(),  # noqa: B008 - frozen
        rate_limit: RateLimit | None = None,
        max_connections: int = 100,
    ) -> QualifiedNumbersClient:
        """Return a new client of this sandbox; one left open is closed when the sandbox ends."""
        keys = (self.key_id, self.key_secret)
        client = QualifiedNumbersClient(
            self.project_id,
            BasicAuth(*keys) if auth == "basic" else OAuth2(*keys, token_url=self.token_url),
            base_url=self.base_url,
            session=session,
            timeout=timeout,
            retry=retry,
            rate_limit=rate_limit,
            max_connections=max_connections,
        )
        self._clients.append(client)
        return client

    def add(self, phone_numbers: Iterable[str], state: State | str = State.ELIGIBLE) -> int:
        """Put numbers straight into a state, as `World.seed` does, and return how many."""
        return self.world.seed(phone_numbers, state)

    def code_for(self, phone_number: str) -> str | None:
        """Return the code that the latest call read out, as `World.code_for` does."""
        return self.world.code_for(phone_number)

    def sign_loa(self, order_id: str) -> Order:
        """Sign the Letter of Authorization of an order that waits for it."""
        order = self.world.sign_loa(order_id)
        self._wake()
        return order

    def revoke_tokens(self) -> int:
        """Make every access token so far answer 401, and return how many there were."""
        self._tokens = dict.fromkeys(self._tokens, float("-inf"))
        return len(self._tokens)

    # Requests.

    async def _exchange(
        self, operation_id: str, request: web.Request, work: Callable[[bytes], web.Response]
    ) -> web.StreamResponse:
        """Answer one request: the only way to the world, and so where its faults happen."""
        phone_number = request.match_info.get("phoneNumber", "")
        self.calls.add(operation_id, phone_number)
        body = await request.read()
        if self.latency:
            await asyncio.sleep(self.latency)
        fault = self.faults.strike(operation_id, phone_number)
        if fault is None:
            return self._do(work, body)
        if fault.revokes:
            self.revoke_tokens()
        if fault.when == "before":
            await asyncio.sleep(fault.delay)
            return self._do(work, body)
        good = self._do(work, body) if fault.when == "after" else web.Response()
        await asyncio.sleep(fault.delay)
        return await _spoilt(fault, good, request)

    def _do(self, work: Callable[[bytes], web.Response], body: bytes) -> web.Response:
        response = work(body)
        if self.world.events or self.world.next_due != self._next_look:
            self._wake()
        return response

    async def _operate(
        self, operation_id: str, validator: RequestValidator, request: web.Request
    ) -> web.StreamResponse:
        def work(body: bytes) -> web.Response:
            if denied := self._denied(request):
                return denied
            path = request.match_info
            if path["projectId"] != self.project_id:
                return _refused("NOT_FOUND", "The project could not be found.")
            try:
                asked = validator.validate(path, list(request.query.items()), body)
                answer = _json(HANDLERS[operation_id](self.world, asked))
            except ViolationError as error:
                return self._broken(error.violations)
            except Refusal as refusal:
                if refusal.status == "INTERNAL":
                    self.done.add(operation_id, path.get("phoneNumber", ""))
                return _refused(refusal.status, str(refusal), refusal.fields)
            self.done.add(operation_id, path.get("phoneNumber", ""))
            return answer

        return await self._exchange(operation_id, request, work)

    def _denied(self, request: web.Request) -> web.Response | None:
        """Return the 401 for a request without a good token or key."""
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        problem = "The request is not authenticated."
        if scheme.lower() == "basic":
            if self._is_key(credentials):
                return None
            problem = "The key is not valid."
        elif scheme.lower() == "bearer":
            expires = self._tokens.get(credentials)
            if expires is not None and self.clock.now() < expires:
                return None
            problem = "The token is malformed." if expires is None else "The token has expired."
        bearer = f'Bearer realm="sandbox", error="invalid_token", error_description="{problem}"'
        return _refused("UNAUTHENTICATED", problem, headers={"WWW-Authenticate": bearer})

    def _is_key(self, credentials: str) -> bool:
        key = base64.b64encode(f"{self.key_id}:{self.key_secret}".encode()).decode()
        return secrets.compare_digest(credentials.encode(), key.encode())

    def _broken(self, violations: list[Violation]) -> web.Response:
        """Remember what broke the API's description, and answer it."""
        self.violations.extend(violations[: _REMEMBERED - len(self.violations)])
        fields = [(each.field, each.description) for each in violations]
        return _refused("INVALID_ARGUMENT", "The request is not valid.", fields)

    async def _unknown(self, request: web.Request) -> web.Response:
        what = f"{request.method} {request.path}"
        self._broken([Violation(what, "", "is no operation of the API")])
        return _refused("NOT_FOUND", f"{what} is no operation of the API.")

    async def _issue_token(self, request: web.Request) -> web.StreamResponse:
        def work(body: bytes) -> web.Response:
            scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
            if scheme.lower() != "basic" or not self._is_key(credentials):
                basic = {"WWW-Authenticate": 'Basic realm="sandbox"'}
                return _json({"error": "invalid_client"}, status=401, headers=basic)
            if parse_qs(body).get(b"grant_type") != [b"client_credentials"]:
                return _json({"error": "unsupported_grant_type"}, status=400)
            if len(self._tokens) >= _ISSUED:
                del self._tokens[next(iter(self._tokens))]
            token = secrets.token_urlsafe(24)
            self._tokens[token] = self.clock.now() + self.token_lifetime
            self.done.add(TOKEN)
            answer = {"access_token": token, "token_type": "bearer", "scope": ""}
            return _json({**answer, "expires_in": int(self.token_lifetime)})

        return await self._exchange(TOKEN, request, work)

    async def _control(self, act: Control, request: web.Request) -> web.Response:
        """Serve the sandbox's own paths: without a key, but to this machine only."""
        if not _is_loopback(request.remote or ""):
            return _refused("PERMISSION_DENIED", "The sandbox is steered from its machine only.")
        try:
            body = orjson.loads(await request.read() or b"{}")
            answer = _json(act(self, {**request.query, **request.match_info}, body))
        except Refusal as refusal:
            return _refused(refusal.status, str(refusal), refusal.fields)
        except (LookupError, TypeError, ValueError) as error:
            return _refused("INVALID_ARGUMENT", f"{type(error).__name__}: {error}")
        self._wake()
        return answer

    # Callbacks.

    async def callbacks_done(self) -> None:
        """Wait until every callback that is due by now was delivered, given up or withheld."""
        self._collect()
        await self._waiting.join()

    def _wake(self) -> None:
        """See to the callbacks now: time was moved, or something done that may call for some."""
        self._look.set()

    def _collect(self) -> float:
        """Queue what the world has to tell, and return the time."""
        now = self.world.settle()
        while self.world.events:
            self._waiting.put_nowait(self.world.events.popleft())
        return now

    async def _deliver_callbacks(self) -> None:
        """Deliver what the world has to tell, when it happens, until cancelled."""
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
            for _ in range(_COURIERS):
                group.create_task(self._courier(session))
            while True:
                self._look.clear()
                now = self._collect()
                self._next_look = due = self.world.next_due
                wait = None if due is None else max(due - now, 0.01)
                # A clock that is moved by hand sets `_look`; a real one comes by itself.
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._look.wait()

    async def _courier(self, session: aiohttp.ClientSession) -> None:
        while True:
            event = await self._waiting.get()
            self.callbacks[await self._deliver(session, event)] += 1
            self._waiting.task_done()

    async def _deliver(self, session: aiohttp.ClientSession, event: Event) -> str:
        """Return what became of a callback."""
        if not self.callbacks_leave_machine and not _is_loopback(_host(event.url)):
            return "withheld"
        body = orjson.dumps(event_json(self.world, event))
        for attempt in range(_DELIVERIES):
            await asyncio.sleep(self.callback_retry * attempt)
            if await self._post(session, event.url, body):
                return "delivered"
        return "failed"

    async def _post(self, session: aiohttp.ClientSession, url: str, body: bytes) -> bool:
        headers = {
            "Content-Type": "application/json",
            "X-Sinch-Signature": sign(body, self.webhook_secret),
        }
        try:
            async with session.post(
                url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                return answer.status == HTTPStatus.OK
        except (aiohttp.ClientError, TimeoutError):
            return False


async def _stop(task: asyncio.Task[None]) -> None:
    """Cancel *task* and wait for its end; had it failed before, that is raised here."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


def _host(url: str) -> str:
    try:
        return URL(url).host or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# Answers.


async def _spoilt(fault: Fault, good: web.Response, request: web.Request) -> web.StreamResponse:
    """Send what *fault* makes of the *good* answer."""
    body = good.body if isinstance(good.body, bytes) else b""
    answer = fault.spoil(Answer.of(body, status=good.status, headers=good.headers))
    if answer is None:
        _hang_up(request, at_once=True)
        return good
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_length = answer.length
    sent = 0
    with suppress(ConnectionError):  # hung up on us: some faults wait for just that
        await response.prepare(request)
        for piece in answer.pieces:
            await response.write(piece)
            sent += len(piece)
    if answer.length is not None and sent < answer.length:
        _hang_up(request)
    return response


def _hang_up(request: web.Request, *, at_once: bool = False) -> None:
    if request.transport is not None:
        request.transport.abort() if at_once else request.transport.close()


def _json(
    payload: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return *payload* as JSON; None is an empty answer."""
    if payload is None:
        return web.Response(status=status, headers=headers)
    body = orjson.dumps(payload)
    return web.Response(status=status, body=body, headers=headers, content_type="application/json")


def _refused(
    status: str,
    message: str,
    fields: Iterable[tuple[str, str]] = (),
    *,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Return an error as the API does."""
    code, error = error_json(status, message, fields)
    return _json(error, status=code, headers=headers)
