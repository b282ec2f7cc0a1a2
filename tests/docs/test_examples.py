"""The examples do what they say, against the sandbox on a real socket.

The chat bot polls a Telegram that is a session of its library; the service runs in a real server;
the script is a process at whose keyboard the test sits.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest
import uvicorn
from aiogram import Bot, Dispatcher
from aiogram.client.session.base import BaseSession
from aiogram.exceptions import TelegramForbiddenError
from aiogram.methods import GetMe, GetUpdates, SendMessage, TelegramMethod
from aiogram.types import Chat, Message, Update, User

from examples import chat_bot, service
from sinch_qn import OAuth2, QualifiedNumbersClient, errors
from sinch_qn.bulk import SqliteJournal
from sinch_qn.bulk.journal import Identity
from sinch_qn.bulk.states import Change, Entry, Event
from sinch_qn.sandbox import Sandbox

EXAMPLES = Path(__file__).parents[2] / "examples"
NUMBER, OTHER, JAMAICA = "+12025550134", "+12025550135", "+18765550134"
NOT_ELIGIBLE, BLOCKED, LOST_ANSWER = "+12025559990", "+12025559995", "+12025559996"
DEADLINE = 20.0
"""Seconds; nothing here takes two."""


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Run a sandbox, and see to it that every request kept to the API's description."""
    async with Sandbox(random=Random(5)) as sandbox:
        yield sandbox
    assert sandbox.violations == []


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Return where a journal may be."""
    return tmp_path / "run.db"


def heard(sandbox: Sandbox, number: str = NUMBER) -> str:
    """Return the code that was read out last: the phone has rung."""
    code = sandbox.code_for(number)
    assert code is not None
    return code


def misheard(sandbox: Sandbox, number: str = NUMBER) -> str:
    """Return a code that is not the right one."""
    return f"{(int(heard(sandbox, number)) + 1) % 10_000:04}"


# ---- the chat bot ------------------------------------------------------------------------------

ANN, BOB = 7, 8


class Telegram(BaseSession):
    """Telegram, as far as the bot sees it: chats write to it, and hear from it."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int, str]] = []
        self.gone: set[int] = set()
        """Chats that blocked the bot."""
        self._ids = itertools.count(1)
        self._written: asyncio.Queue[Update] = asyncio.Queue()
        self._news = asyncio.Condition()
        self._read: Counter[int] = Counter()

    def write(self, chat: int, text: str) -> None:
        """Type *text* in *chat*."""
        update = Update(update_id=next(self._ids), message=self._message(chat, text))
        self._written.put_nowait(update)

    async def hear(self, chat: int, text: str) -> str:
        """Return the next message to *chat* that has *text* in it."""

        def found() -> bool:
            start = self._read[chat]
            for at, (to, said) in enumerate(self.told[start:], start=start):
                if to == chat and text in said:
                    self._read[chat] = at + 1
                    return True
            return False

        try:
            async with asyncio.timeout(DEADLINE), self._news:
                await self._news.wait_for(found)
        except TimeoutError:
            pytest.fail(f"chat {chat} never heard {text!r}, but {self.told}")
        return self.told[self._read[chat] - 1][1]

    def _message(self, chat: int, text: str) -> Message:
        return Message(
            message_id=next(self._ids),
            date=datetime.now(UTC),
            chat=Chat(id=chat, type="private"),
            text=text,
        )

    async def make_request(
        self,
        bot: Bot,  # noqa: ARG002 - there is one
        method: TelegramMethod[Any],
        timeout: int | None = None,  # noqa: ARG002 - the test has a deadline of its own
    ) -> Any:
        """Answer as Telegram would."""
        match method:
            case GetMe():
                return User(id=42, is_bot=True, first_name="Bot")
            case GetUpdates():
                return [await self._written.get()]
            case SendMessage(chat_id=int(chat), text=text):
                if chat in self.gone:
                    raise TelegramForbiddenError(method=method, message="blocked by the user")
                async with self._news:
                    self.told.append((chat, text))
                    self._news.notify_all()
                return self._message(chat, text)
        raise AssertionError(method)

    async def close(self) -> None:
        """Have nothing to close."""

    def stream_content(self, *_: Any, **__: Any) -> AsyncGenerator[bytes, None]:
        """Have no files."""
        raise NotImplementedError


@asynccontextmanager
async def bot_of(sandbox: Sandbox, journal: Path) -> AsyncIterator[Telegram]:
    """Run the bot as a new process would: nothing is shared but the journal's file."""
    telegram = Telegram()
    bot = Bot("42:TOKEN", session=telegram)
    polling: asyncio.Future[Dispatcher] = asyncio.get_running_loop().create_future()

    async def poll(dispatcher: Dispatcher) -> None:
        polling.set_result(dispatcher)
        await dispatcher.start_polling(bot, handle_signals=False)

    async with sandbox.client() as client, asyncio.timeout(2 * DEADLINE):
        serving = asyncio.create_task(chat_bot.serve(bot, client, SqliteJournal(journal), poll))
        try:
            yield telegram
            await (await polling).stop_polling()
            await serving
        finally:
            serving.cancel()
            await asyncio.wait([serving])


@pytest.mark.parametrize("written", [NUMBER, "+1 (202) 555-0134", "2025550134"])
async def test_bot_verifies_a_number(
    sandbox: Sandbox, journal: Path, caplog: pytest.LogCaptureFixture, written: str
) -> None:
    """A chat asks, a phone rings once, the code is typed, the chat is told; no code is repeated."""
    caplog.set_level(logging.DEBUG)
    sandbox.add([NUMBER])
    async with bot_of(sandbox, journal) as telegram:
        telegram.write(ANN, f"/verify {written}")
        await telegram.hear(ANN, f"I called {NUMBER}")
        code = heard(sandbox)
        telegram.write(ANN, code)
        assert await telegram.hear(ANN, "is verified") == f"{NUMBER} is verified."
        telegram.write(ANN, code)
        await telegram.hear(ANN, "No number waits for a code here")
        telegram.write(ANN, f"/verify {NUMBER}")
        await telegram.hear(ANN, "is verified")
    assert sandbox.world.rings(NUMBER) == 1
    assert not any(code in said.replace(NUMBER, "") for _, said in telegram.told)
    assert not any(code in record.getMessage() for record in caplog.records if is_ours(record))


def is_ours(record: logging.LogRecord) -> bool:
    """Say whether the bot, its library or this package logged it; ports have four digits, too."""
    return record.name.partition(".")[0] in {"chat_bot", "aiogram", "sinch_qn"}


@pytest.mark.parametrize("answer", ["failed", "rejected"])
async def test_bot_takes_another_code_after_a_wrong_one(
    sandbox: Sandbox, journal: Path, answer: Any
) -> None:
    """A wrong code is told, however Sinch says it; the right one still verifies."""
    sandbox.wrong_code = answer
    sandbox.add([NUMBER])
    async with bot_of(sandbox, journal) as telegram:
        telegram.write(ANN, f"/verify {NUMBER}")
        await telegram.hear(ANN, "I called")
        telegram.write(ANN, misheard(sandbox))
        await telegram.hear(ANN, "That code is wrong. I called")
        telegram.write(ANN, misheard(sandbox))
        await telegram.hear(ANN, "I had that code before")
        telegram.write(ANN, " ".join(heard(sandbox)))
        await telegram.hear(ANN, "is verified")
    assert sandbox.calls.count("verifyVoiceChallenge", NUMBER) == 2
    assert sandbox.world.rings(NUMBER) == 1


async def test_bot_calls_again_when_asked(sandbox: Sandbox, journal: Path) -> None:
    """Only /again, "I missed it", rings again, and the new call's code counts."""
    sandbox.add([NUMBER])
    async with bot_of(sandbox, journal) as telegram:
        telegram.write(ANN, "/again")
        await telegram.hear(ANN, "Send /verify")
        telegram.write(ANN, f"/verify {NUMBER}")
        await telegram.hear(ANN, "I called")
        telegram.write(ANN, f"/verify {NUMBER}")
        await telegram.hear(ANN, "I called")
        assert sandbox.world.rings(NUMBER) == 1
        telegram.write(ANN, "/again")
        await telegram.hear(ANN, "as soon as it may be called")
        await telegram.hear(ANN, "I called")
        assert sandbox.world.rings(NUMBER) == 2
        telegram.write(ANN, heard(sandbox))
        await telegram.hear(ANN, "is verified")
        telegram.write(ANN, "/again")
        await telegram.hear(ANN, "Send /verify")
    assert sandbox.world.rings(NUMBER) == 2


async def test_bot_says_that_a_phone_may_have_rung(sandbox: Sandbox, journal: Path) -> None:
    """A call whose answer was lost is not repeated: the chat is asked, and its code verifies."""
    sandbox.add([LOST_ANSWER])
    async with bot_of(sandbox, journal) as telegram:
        telegram.write(ANN, f"/verify {LOST_ANSWER}")
        await telegram.hear(ANN, "may have rung")
        telegram.write(ANN, heard(sandbox, LOST_ANSWER))
        await telegram.hear(ANN, "is verified")
    assert sandbox.calls.count("sendVoiceChallenge", LOST_ANSWER) == 1


@pytest.mark.parametrize(
    ("number", "state", "said"),
    [
        (NUMBER, "VERIFIED", "was verified before"),
        (NUMBER, "HOSTING_DONE", "was verified before"),
        (NUMBER, "VERIFICATION_BLOCKED", "takes no more codes"),
        (BLOCKED, "ELIGIBLE", "takes no more codes"),
        (NUMBER, "NOT_ELIGIBLE", "is not verified: not eligible"),
        (OTHER, None, "is not verified: Sinch does not know this number"),
    ],
)
async def test_bot_says_why_it_does_not_ring(
    sandbox: Sandbox, journal: Path, number: str, state: str | None, said: str
) -> None:
    """A number that is not to be rung is not rung, and its chat is told why."""
    if state:
        sandbox.add([number], state)
    async with bot_of(sandbox, journal) as telegram:
        telegram.write(ANN, f"/verify {number}")
        await telegram.hear(ANN, said)
    assert sandbox.calls.total("sendVoiceChallenge") == (number == BLOCKED), "which tells it then"


async def test_bot_says_when_a_number_is_blocked(sandbox: Sandbox, journal: Path) -> None:
    """Too many wrong codes end it, and nothing brings it back."""
    sandbox.max_attempts = 1
    sandbox.add([NUMBER])
    async with bot_of(sandbox, journal) as telegram:
        telegram.write(ANN, f"/verify {NUMBER}")
        await telegram.hear(ANN, "I called")
        telegram.write(ANN, misheard(sandbox))
        await telegram.hear(ANN, "takes no more codes")
        telegram.write(ANN, "/again")
        await telegram.hear(ANN, "Send /verify")
    assert sandbox.world.rings(NUMBER) == 1


async def test_bot_refuses_what_is_no_number(sandbox: Sandbox, journal: Path) -> None:
    """What cannot be called is said at once, and small talk is never handed in as a code."""
    sandbox.add([NUMBER])
    async with bot_of(sandbox, journal) as telegram:
        for text in ("hello", "/verify", "/verify hello", "/verify 202555013", "/start"):
            telegram.write(ANN, text)
            await telegram.hear(ANN, "Send /verify")
        telegram.write(ANN, f"/verify {JAMAICA}")
        await telegram.hear(ANN, "only US and CA numbers")
        telegram.write(ANN, f"/verify {NUMBER}")
        await telegram.hear(ANN, "I called")
        telegram.write(ANN, "thanks")
        await telegram.hear(ANN, "Send /verify")
        telegram.write(ANN, f"/verify {OTHER}")
        await telegram.hear(ANN, f"First finish {NUMBER}")
    assert sandbox.calls.total("sendVoiceChallenge") == 1
    assert sandbox.calls.total("verifyVoiceChallenge") == 0


async def test_bot_keeps_chats_apart(sandbox: Sandbox, journal: Path) -> None:
    """Two chats at once: each code goes to its chat's number, each answer to its number's chat."""
    sandbox.add([NUMBER, OTHER])
    async with bot_of(sandbox, journal) as telegram:
        telegram.write(ANN, f"/verify {NUMBER}")
        telegram.write(BOB, f"/verify {OTHER}")
        await telegram.hear(ANN, f"I called {NUMBER}")
        await telegram.hear(BOB, f"I called {OTHER}")
        telegram.write(BOB, f"/verify {NUMBER}")
        await telegram.hear(BOB, f"First finish {OTHER}")
        telegram.write(BOB, heard(sandbox, OTHER))
        await telegram.hear(BOB, f"{OTHER} is verified")
        telegram.write(BOB, f"/verify {NUMBER}")
        await telegram.hear(BOB, "in another chat")
        telegram.write(BOB, "/again")
        await telegram.hear(BOB, "Send /verify")
        telegram.write(ANN, heard(sandbox, NUMBER))
        await telegram.hear(ANN, f"{NUMBER} is verified")
    assert not any(to == ANN and OTHER in said for to, said in telegram.told)
    assert sandbox.world.rings(NUMBER) == sandbox.world.rings(OTHER) == 1


async def test_bot_goes_on_after_its_restart(sandbox: Sandbox, journal: Path) -> None:
    """A code that is typed after a restart verifies, in the right chat; nobody is rung twice."""
    sandbox.add([NUMBER, OTHER])
    async with bot_of(sandbox, journal) as telegram:
        telegram.write(ANN, f"/verify {NUMBER}")
        telegram.write(BOB, f"/verify {OTHER}")
        await telegram.hear(ANN, "I called")
        await telegram.hear(BOB, "I called")
    async with bot_of(sandbox, journal) as telegram:
        await telegram.hear(ANN, f"I called {NUMBER}")
        await telegram.hear(BOB, f"I called {OTHER}")
        telegram.write(BOB, heard(sandbox, OTHER))
        telegram.write(ANN, heard(sandbox, NUMBER))
        await telegram.hear(ANN, f"{NUMBER} is verified")
        await telegram.hear(BOB, f"{OTHER} is verified")
    async with bot_of(sandbox, journal) as telegram:
        await telegram.hear(ANN, f"{NUMBER} is verified")
        telegram.write(ANN, "0000")
        await telegram.hear(ANN, "No number waits for a code here")
    assert sandbox.world.rings(NUMBER) == sandbox.world.rings(OTHER) == 1


async def test_bot_finishes_what_is_in_flight(sandbox: Sandbox, journal: Path) -> None:
    """A code that is being handed in when the bot is stopped is finished, and its chat told."""
    sandbox.add([NUMBER])
    async with bot_of(sandbox, journal) as telegram:
        telegram.write(ANN, f"/verify {NUMBER}")
        await telegram.hear(ANN, "I called")
        sandbox.latency = 0.5
        telegram.write(ANN, heard(sandbox))
        async with asyncio.timeout(DEADLINE):
            while not sandbox.calls.total("verifyVoiceChallenge"):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
    assert telegram.told[-1] == (ANN, f"{NUMBER} is verified.")


async def test_bot_tells_what_a_crash_kept_from_its_chats(sandbox: Sandbox, journal: Path) -> None:
    """A call cut off by a crash may have rung: its chat is asked after the restart."""
    sandbox.add([NUMBER])
    await lay(sandbox, journal, Event.CALL)
    sandbox.world.ring(NUMBER)
    async with bot_of(sandbox, journal) as telegram:
        await telegram.hear(ANN, "may have rung")
        telegram.write(ANN, heard(sandbox))
        await telegram.hear(ANN, "is verified")
    assert sandbox.calls.total("sendVoiceChallenge") == 0


async def test_bot_tries_a_late_code(sandbox: Sandbox, journal: Path) -> None:
    """A code that comes after its time is tried all the same, also after a restart."""
    sandbox.add([NUMBER])
    await lay(sandbox, journal, Event.CALL, Event.CALLED, at=time.time() - 700)
    sandbox.world.ring(NUMBER)
    async with bot_of(sandbox, journal) as telegram:
        await telegram.hear(ANN, f"No code came for {NUMBER}")
        telegram.write(ANN, heard(sandbox))
        await telegram.hear(ANN, "is verified")


async def lay(sandbox: Sandbox, path: Path, *happened: Event, at: float | None = None) -> None:
    """Leave a journal as a process does that was killed after *happened*."""
    client, journal = sandbox.client(), SqliteJournal(path)
    await journal.open(Identity(client.project_id, client.base_url), running=True)
    await journal.add([Entry(number=NUMBER, ref=str(ANN))])
    for event in happened:
        at = time.time() if at is None else at
        (after,) = await journal.apply([Change(number=NUMBER, event=event, at=at, window=600.0)])
        assert after is not None
    await journal.close()


async def test_bot_tells_the_others_when_a_chat_is_gone(sandbox: Sandbox, journal: Path) -> None:
    """A chat that has blocked the bot holds up no other."""
    sandbox.add([NUMBER, OTHER])
    async with bot_of(sandbox, journal) as telegram:
        telegram.gone.add(ANN)
        telegram.write(ANN, f"/verify {NUMBER}")
        telegram.write(BOB, f"/verify {OTHER}")
        await telegram.hear(BOB, "I called")
        telegram.write(BOB, heard(sandbox, OTHER))
        await telegram.hear(BOB, "is verified")


async def test_bot_ends_when_its_run_cannot_go_on(sandbox: Sandbox, journal: Path) -> None:
    """Refused credentials end the bot, rather than leave one that answers and never rings."""
    keys = OAuth2(sandbox.key_id, "no-longer-good", token_url=sandbox.token_url)
    bot = Bot("42:TOKEN", session=Telegram())
    async with (
        QualifiedNumbersClient(sandbox.project_id, keys, base_url=sandbox.base_url) as client,
        asyncio.timeout(DEADLINE),
    ):
        with pytest.raises(ExceptionGroup) as caught:
            await chat_bot.serve(
                bot,
                client,
                SqliteJournal(journal),
                lambda dispatcher: dispatcher.start_polling(bot, handle_signals=False),
            )
    assert caught.value.subgroup(errors.AuthenticationError)


async def test_bot_starts_from_its_environment(
    sandbox: Sandbox, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python chat_bot.py` needs a token and the SINCH_* variables, and nothing else."""
    telegram = Telegram()
    sandbox.add([NUMBER])
    monkeypatch.setattr(chat_bot, "Bot", partial(Bot, session=telegram))
    for name, value in sandbox.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BOT_TOKEN", "42:TOKEN")
    monkeypatch.setenv("JOURNAL", str(journal))
    serving = asyncio.create_task(chat_bot.main())
    telegram.write(ANN, f"/verify {NUMBER}")
    await telegram.hear(ANN, "I called")
    serving.cancel()
    await asyncio.wait([serving])
    assert serving.cancelled()


# ---- the service -------------------------------------------------------------------------------


@asynccontextmanager
async def service_of(
    sandbox: Sandbox, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[aiohttp.ClientSession]:
    """Serve the app as uvicorn does, and open a session for it."""
    for name, value in sandbox.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JOURNAL", str(journal))
    server = uvicorn.Server(uvicorn.Config(service.app, log_config=None, access_log=False))
    # Listens from here on: the first request waits until the service has started.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            timeout = aiohttp.ClientTimeout(total=DEADLINE)
            async with aiohttp.ClientSession(url, timeout=timeout) as session:
                yield session
        finally:
            server.should_exit = True
            await serving


async def ask(
    session: aiohttp.ClientSession, method: str, path: str, body: object = None
) -> tuple[int, Any]:
    """Return the status and the JSON of an answer."""
    async with session.request(method, path, json=body) as answer:
        return answer.status, await answer.json()


async def until(state: str, session: aiohttp.ClientSession, number: str = NUMBER) -> Any:
    """Ask for a number, as a client would, until it is in *state*."""
    async with asyncio.timeout(DEADLINE):
        while True:
            status, standing = await ask(session, "GET", f"/numbers/{number}")
            if (status, standing.get("state")) == (200, state):
                return standing
            await asyncio.sleep(0.02)


async def test_service_verifies_a_number(
    sandbox: Sandbox, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number is added, rung once, and verified by its code: four requests of HTTP."""
    sandbox.add([NUMBER])
    new = {"number": NUMBER, "ref": "ticket 7"}
    async with service_of(sandbox, journal, monkeypatch) as session:
        status, standing = await ask(session, "POST", "/numbers", new)
        assert (status, standing["ref"], standing["settled"]) == (202, "ticket 7", False)
        assert (await ask(session, "POST", "/numbers", new))[0] == 202, "twice is once"
        await until("awaiting_code", session)
        code = {"code": heard(sandbox)}
        assert (await ask(session, "POST", f"/numbers/{NUMBER}/code", code))[0] == 202
        standing = await until("verified", session)
        assert standing == {**new, "state": "verified", "settled": True, "calls": 1, "note": None}
        status, health = await ask(session, "GET", "/health")
        assert (status, health["verified"]) == (200, 1)
    assert sandbox.world.rings(NUMBER) == 1


async def test_service_recalls_and_survives_its_restart(
    sandbox: Sandbox, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recall rings once more; a code that comes after a restart verifies."""
    sandbox.add([NUMBER])
    async with service_of(sandbox, journal, monkeypatch) as session:
        await ask(session, "POST", "/numbers", {"number": NUMBER})
        await until("awaiting_code", session)
        status, standing = await ask(session, "POST", f"/numbers/{NUMBER}/recall")
        assert (status, standing["calls"]) == (202, 1)
        assert (await until("awaiting_code", session))["calls"] == 2
        wrong = {"code": misheard(sandbox)}
        assert (await ask(session, "POST", f"/numbers/{NUMBER}/code", wrong))[0] == 202
    async with service_of(sandbox, journal, monkeypatch) as session:
        code = {"code": heard(sandbox)}
        assert (await ask(session, "POST", f"/numbers/{NUMBER}/code", code))[0] == 202
        await until("verified", session)
    assert sandbox.world.rings(NUMBER) == 2


async def test_service_says_what_is_wrong_with_a_request(
    sandbox: Sandbox, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the caller can mend is 404, 409 or 422, says why, and repeats no code."""
    sandbox.add([NUMBER], "VERIFIED")
    async with service_of(sandbox, journal, monkeypatch) as session:
        post = partial(ask, session, "POST")
        assert (await ask(session, "GET", f"/numbers/{NUMBER}"))[0] == 404
        assert (await post(f"/numbers/{NUMBER}/code", {"code": "0417"}))[0] == 404
        assert (await post(f"/numbers/{NUMBER}/recall"))[0] == 404
        assert (await ask(session, "GET", "/numbers/hello"))[0] == 422
        status, problem = await post("/numbers", {"number": JAMAICA})
        assert (status, problem["detail"][:22]) == (422, "only US and CA numbers")
        assert (await post("/numbers", {"number": "2025550134"}))[0] == 422
        assert (await post("/numbers", {"number": NUMBER, "ref": "mine"}))[0] == 202
        assert (await post("/numbers", {"number": NUMBER, "ref": "yours"}))[0] == 409
        await until("skipped", session)
        for code in ("0417", "04 17", 417, None):
            status, problem = await post(f"/numbers/{NUMBER}/code", {"code": code})
            assert status == 422
            assert "17" not in problem["detail"]
        status, problem = await post(f"/numbers/{NUMBER}/recall")
        assert (status, "cannot be recalled" in problem["detail"]) == (422, True)
    assert sandbox.calls.total("sendVoiceChallenge") == 0


class FullDisk(SqliteJournal):
    """A journal that can no longer be written."""

    async def add(self, entries: Any) -> int:  # noqa: ARG002 - of the journal's shape
        raise errors.JournalError("database or disk is full")


async def test_service_is_out_of_order_without_its_journal(
    sandbox: Sandbox, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only the operator can mend is 503, on /health too, and tells callers nothing else."""
    monkeypatch.setattr(service, "SqliteJournal", FullDisk)
    async with service_of(sandbox, journal, monkeypatch) as session:
        out_of_order = (503, {"detail": "out of order"})
        assert await ask(session, "POST", "/numbers", {"number": NUMBER}) == out_of_order
        assert await ask(session, "GET", "/health") == out_of_order


# ---- the script --------------------------------------------------------------------------------

PROMPT = b"give up: "


class Terminal:
    """A script, and who sits at its keyboard."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process, self._keyboard, self._screen = process, process.stdin, process.stdout

    async def prompt(self) -> str:
        """Return what is on the screen once a code is asked for."""
        return (await self._screen.readuntil(PROMPT)).decode()

    def type(self, text: str) -> None:
        """Type a line."""
        self._keyboard.write(f"{text}\n".encode())

    async def end(self) -> tuple[int, str]:
        """Return the exit code, and what was on the screen since."""
        self._keyboard.close()
        screen = await self._screen.read()
        return await self.process.wait(), screen.decode()


@asynccontextmanager
async def script(sandbox: Sandbox, *arguments: str) -> AsyncIterator[Terminal]:
    """Start the script, for at most as long as the deadline."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", str(EXAMPLES / "one_number.py"), *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **sandbox.environment()},
    )
    try:
        async with asyncio.timeout(DEADLINE):
            yield Terminal(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_script_adds_rings_and_verifies(sandbox: Sandbox) -> None:
    """A number that Sinch does not know is added, rung once, and verified by the code typed."""
    async with script(sandbox, NUMBER) as terminal:
        assert f"{NUMBER} is being called." in await terminal.prompt()
        terminal.type(misheard(sandbox))
        assert "did not verify" in await terminal.prompt()
        terminal.type(heard(sandbox))
        assert await terminal.end() == (0, f"{NUMBER} is verified.\n")
    assert sandbox.calls.total("addQualifiedNumbers") == 1
    assert sandbox.world.rings(NUMBER) == 1


async def test_script_never_repeats_a_call_whose_answer_was_lost(sandbox: Sandbox) -> None:
    """UNKNOWN is for a person to settle: the code verifies, and the phone rang once."""
    sandbox.add([LOST_ANSWER])
    async with script(sandbox, LOST_ANSWER) as terminal:
        assert "may be ringing, and is not called again" in await terminal.prompt()
        terminal.type(heard(sandbox, LOST_ANSWER))
        assert (await terminal.end())[0] == 0
    assert sandbox.calls.count("sendVoiceChallenge", LOST_ANSWER) == 1


@pytest.mark.parametrize(
    ("number", "state", "status", "said"),
    [
        (NUMBER, "VERIFIED", 0, "is verified"),
        (NUMBER, "HOSTING_DONE", 0, "is verified"),
        (BLOCKED, "ELIGIBLE", 1, "is blocked"),
        (NUMBER, "VERIFICATION_BLOCKED", 1, "UnexpectedStateError"),
        (NOT_ELIGIBLE, "NOT_ELIGIBLE", 1, "UnexpectedStateError"),
        ("2025550134", None, 1, "InvalidRequestError"),
    ],
)
async def test_script_says_why_it_does_not_ring(
    sandbox: Sandbox, number: str, state: str | None, status: int, said: str
) -> None:
    """Nothing to do is success; what cannot be done is a reason and status 1."""
    if state:
        sandbox.add([number], state)
    async with script(sandbox, number) as terminal:
        code, screen = await terminal.end()
    assert (code, said in screen, "Traceback" in screen) == (status, True, False)


@pytest.mark.parametrize("wrong_code", ["failed", "rejected"])
async def test_script_stops_at_a_blocked_number(sandbox: Sandbox, wrong_code: Any) -> None:
    """The last wrong code ends it, however Sinch says that it was wrong; and so does no code."""
    sandbox.wrong_code, sandbox.max_attempts = wrong_code, 1
    sandbox.add([NUMBER, OTHER])
    async with script(sandbox, NUMBER) as terminal:
        await terminal.prompt()
        terminal.type(misheard(sandbox))
        code, screen = await terminal.end()
        assert (code, "is blocked" in screen) == (1, True)
    async with script(sandbox, OTHER) as terminal:
        await terminal.prompt()
        assert await terminal.end() == (1, "")


async def test_script_tells_how_it_is_used(sandbox: Sandbox) -> None:
    """Without a number it says what it needs."""
    async with script(sandbox) as terminal:
        code, screen = await terminal.end()
    assert (code, "one_number.py +12025550134" in screen) == (1, True)
