"""The sandbox: a fake Sinch on a real socket, its life cycle and its helpers for tests."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Literal, Self

import aiohttp
import attrs
from aiohttp import web
from yarl import URL

from sinch_qn.auth import BasicAuth, OAuth2
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.instrumentation.hooks import Hooks
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.rate_limit import RateLimit
from sinch_qn.retry import RetryPolicy, RetryRule
from sinch_qn.sandbox.app import PROJECT_PATH, create_app
from sinch_qn.sandbox.callbacks import CallbackDelivery
from sinch_qn.sandbox.hosting_orders import Order
from sinch_qn.sandbox.state import SandboxState


@attrs.define(kw_only=True, eq=False, slots=False)
class Sandbox(SandboxState):
    """A fake Sinch on a real socket; all settings are keyword arguments.

        async with Sandbox(max_attempts=2) as sandbox, sandbox.client() as client:
            sandbox.add(["+12025550134"])
            await client.send_voice_challenge("+12025550134")
            code = sandbox.code_for("+12025550134")

    It can be entered again, with the same world and on the same port.
    """

    host: str = "127.0.0.1"
    port: int = 0
    """0: any free port; `base_url` has it."""
    _clients: list[QualifiedNumbersClient] = attrs.field(init=False, factory=list, repr=False)
    _callback_delivery: CallbackDelivery = attrs.field(init=False, repr=False)
    _opened: AsyncExitStack | None = attrs.field(init=False, default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._callback_delivery = CallbackDelivery(self)

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

        The port, the settings, the clock and open clients stay. In-flight requests end first, as
        when the sandbox is left. `world`, `calls`, `done`, `faults`, `violations` and `callbacks`
        are replaced; the old objects keep their contents.
        """
        is_running = self._opened is not None
        await self._stop()
        self.forget()
        if is_running:
            await self._start()

    async def _start(self) -> None:
        async with AsyncExitStack() as opened:
            # The work of a request is completed even if its client disconnects.
            runner = web.AppRunner(self._create_app(), access_log=None, shutdown_timeout=0.5)
            await runner.setup()
            opened.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, self.host, self.port).start()
            self.port = runner.addresses[0][1]
            await opened.enter_async_context(self._callback_delivery)
            self._opened = opened.pop_all()

    async def _stop(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.aclose()

    def _create_app(self) -> web.Application:
        return create_app(self)

    @property
    def mounted(self) -> set[tuple[str, str]]:
        """The method and path template of each API operation that is served."""
        return {
            (route.method, route.resource.canonical)
            for route in self._create_app().router.routes()
            if route.resource and route.resource.canonical.startswith(PROJECT_PATH)
        }

    @property
    def base_url(self) -> str:
        """The API's address; available while the sandbox runs."""
        if not self.port:
            raise RuntimeError("the sandbox is not running: `async with Sandbox() as sandbox:`")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return str(URL.build(scheme="http", host=host, port=self.port))

    @property
    def token_url(self) -> str:
        """The address of the token endpoint."""
        return f"{self.base_url}/oauth2/token"

    def environment(self) -> dict[str, str]:
        """Return the variables of `QualifiedNumbersClient.from_env()` for this sandbox."""
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
        hooks: Iterable[Hooks] = (),
    ) -> QualifiedNumbersClient:
        """Return a new client; if left open, it is closed when the sandbox is left."""
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
            hooks=hooks,
        )
        self._clients.append(client)
        return client

    def add(
        self, phone_numbers: Iterable[str], state: SinchState | str = SinchState.ELIGIBLE
    ) -> int:
        """Create numbers in a state, and return how many; see `World.seed`."""
        return self.world.seed(phone_numbers, state)

    def code_for(self, phone_number: str) -> str | None:
        """Return the code of the latest call; see `World.code_for`."""
        return self.world.code_for(phone_number)

    def sign_loa(self, order_id: str) -> Order:
        """Sign the Letter of Authorization of an order in WAITING_FOR_LOA_SIGNATURE."""
        return self.world.sign_loa(order_id)

    async def callbacks_done(self) -> None:
        """Wait until each callback that is due is delivered, failed or withheld."""
        await self._callback_delivery.join()
