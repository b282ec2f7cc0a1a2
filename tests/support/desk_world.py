"""A desk for tests: a sandbox, a run on request, and its pages on a loopback socket."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from html.parser import HTMLParser
from random import Random
from typing import Any, TypeVar, cast
from urllib.parse import urljoin

import aiohttp
import attrs
from aiohttp import web

from sinch_qn.bulk import ChallengeState, Entry, Journal, MemoryJournal, VoiceChallengeRun
from sinch_qn.desk import create_app
from sinch_qn.desk.links import Subject
from sinch_qn.desk.state import DESK, Desk
from sinch_qn.sandbox import Sandbox
from tests.support import runs

T = TypeVar("T")

SECRET = "s3cret" * 8
NUMBERS = ("+12025550134", "+12025550135", "+12025550136")
PATIENCE = 20.0
"""Seconds until a wait fails."""


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until *holds*."""
    await runs.until(holds, seconds=PATIENCE, step=0.005)


@attrs.define
class MovedClock:
    """The wall clock, some seconds ahead."""

    ahead: float = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return time.time() + self.ahead


@attrs.define(eq=False)
class DeskWorld:
    """What a test has of a desk."""

    sandbox: Sandbox
    journal: Journal
    run: VoiceChallengeRun
    app: web.Application
    base: str
    """The desk's address."""
    clock: MovedClock

    @property
    def desk(self) -> Desk:
        """What its pages share."""
        return self.app[DESK]

    async def link(self, value: str, subject: Subject = Subject.NUMBER) -> str:
        """Return the URL of a person's page."""
        return await self.desk.url(subject, value)

    async def set(self, number: str, **fields: Any) -> None:
        """Set fields of an entry of a `MemoryJournal`, whatever the state machine says."""
        await until(self._is_looked_up)  # which would change it again
        store = cast("MemoryJournal", self.journal)._store
        before = store.entries[number]
        store.save(before, attrs.evolve(before, **fields))

    async def _is_looked_up(self) -> bool:
        return all(entry.remote is not None for entry in self.journal.rows())

    async def entry(self, number: str = NUMBERS[0]) -> Entry:
        """Return the entry of a number."""
        entry = await self.journal.get(number)
        assert entry is not None
        return entry

    def rings(self, number: str = NUMBERS[0]) -> int:
        """Return how often a phone rang."""
        return self.sandbox.world.rings(number)

    async def rang(self, number: str = NUMBERS[0], times: int = 1) -> str:
        """Wait until a phone rang so often, and the journal has it; return the code."""

        async def rang() -> bool:
            is_calling = (await self.entry(number)).state is ChallengeState.CALLING
            return self.rings(number) >= times and not is_calling

        await until(rang)
        return cast("str", self.sandbox.code_for(number))


@asynccontextmanager
async def desk_world(
    numbers: Sequence[str | tuple[str, str | None]] = NUMBERS,
    *,
    sandbox: Sandbox | None = None,
    journal: Journal | None = None,
    path: str = "",
    **options: Any,
) -> AsyncIterator[DeskWorld]:
    """Run a desk beside its run; *options* are those of the run."""
    clock = MovedClock()
    sandbox = Sandbox(random=Random(5)) if sandbox is None else sandbox
    journal = MemoryJournal(clock=clock) if journal is None else journal
    usual: dict[str, Any] = {"on_request": True, "calls_per_second": 1000.0, "max_ringing": 1000}
    async with sandbox, sandbox.client() as client:
        sandbox.add([each if isinstance(each, str) else each[0] for each in numbers])
        async with VoiceChallengeRun(client, journal, **usual | options) as run:
            await run.add(numbers)

            async def calls() -> bool:
                return not (await journal.readiness()).paused

            await until(calls)
            with socket.create_server(("127.0.0.1", 0)) as listener:
                base = f"http://127.0.0.1:{listener.getsockname()[1]}{path}"
                app = create_app(client, journal, secret=SECRET, public_url=base, run=run)
                async with served(app, listener, path):
                    yield DeskWorld(sandbox, journal, run, app, base, clock)


@asynccontextmanager
async def served(
    app: web.Application, listener: socket.socket, path: str = ""
) -> AsyncIterator[None]:
    """Serve *app* on an open socket, mounted at *path* if there is one."""
    served_app = app
    if path:
        served_app = web.Application()
        served_app.add_subapp(path, app)
    runner = web.AppRunner(served_app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield
    finally:
        await runner.cleanup()


class InThread:
    """A desk whose event loop runs in a thread, for tests that wait in the main one."""

    def __init__(self, loop: asyncio.AbstractEventLoop, world: DeskWorld) -> None:
        self._loop, self.world = loop, world

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return the result of *coroutine*."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)


@contextmanager
def desk_in_thread(*arguments: Any, **options: Any) -> Iterator[InThread]:
    """As `desk_world`, in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    manager = desk_world(*arguments, **options)

    def do(coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(PATIENCE)

    async def leave() -> None:
        await manager.__aexit__(None, None, None)

    async def enter() -> DeskWorld:
        return await manager.__aenter__()

    try:
        world = do(enter())
        try:
            yield InThread(loop, world)
        finally:
            do(leave())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()


@attrs.define
class Form:
    """A form of a page: where it goes, and its fields."""

    action: str
    fields: dict[str, str]
    button: str = ""


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._in_button = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(values["action"], {}))
        elif tag == "input" and self.forms:
            self.forms[-1].fields[values["name"]] = values.get("value", "")
        self._in_button = tag == "button"

    def handle_data(self, data: str) -> None:
        if self._in_button:
            self.forms[-1].button += data.strip()


@attrs.define(eq=False)
class Visitor:
    """A person with a browser that has no JavaScript and no cookies."""

    session: aiohttp.ClientSession
    headers: dict[str, str] = attrs.field(factory=dict)
    url: str = ""
    status: int = 0
    page: str = ""

    async def open(self, url: str) -> str:
        """Open a page."""
        async with self.session.get(url, headers=self.headers) as response:
            return await self._read(response)

    @property
    def forms(self) -> list[Form]:
        """The forms of the page."""
        parser = _Forms()
        parser.feed(self.page)
        return parser.forms

    def form(self, button: str) -> Form:
        """Return the form with a *button*."""
        (form,) = [form for form in self.forms if form.button == button]
        return form

    async def press(self, button: str | Form, **typed: str) -> str:
        """Fill in a form, press its button, and read the page that follows."""
        form = self.form(button) if isinstance(button, str) else button
        url, data = urljoin(self.url, form.action), form.fields | typed
        async with self.session.post(url, data=data, headers=self.headers) as response:
            return await self._read(response)

    async def until(self, text: str) -> str:
        """Reload until the page has *text*."""

        async def has_text() -> bool:
            return text in await self.open(self.url)

        await until(has_text)
        return self.page

    async def _read(self, response: aiohttp.ClientResponse) -> str:
        self.url, self.status, self.page = (
            str(response.real_url),
            response.status,
            await response.text(),
        )
        return self.page
