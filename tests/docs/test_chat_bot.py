"""The chat bot, polling a fake Telegram: a session of its library."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sinch_qn import OAuth2, QualifiedNumbersClient, errors
from sinch_qn.bulk import SqliteJournal
from sinch_qn.bulk.journal import Identity
from sinch_qn.bulk.states import Change, Entry, Event
from sinch_qn.sandbox import Sandbox
from tests.support.codes import NUMBER, heard, misheard

if TYPE_CHECKING:
    from tests.support.telegram import Telegram

OTHER, JAMAICA = "+12025550135", "+18765550134"
BLOCKED, LOST_ANSWER = "+12025559995", "+12025559996"
ANN, BOB = 7, 8
DEADLINE = 20.0
"""Seconds; no step here takes two."""


@asynccontextmanager
async def bot_of(sandbox: Sandbox, journal: Path) -> AsyncIterator[Telegram]:
    """Run the bot as a new process would: it shares the journal's file only."""
    from tests.support import telegram  # noqa: PLC0415 - takes seconds to load

    async with (
        sandbox.client() as client,
        telegram.serving(client, SqliteJournal(journal)) as chats,
    ):
        yield chats


@pytest.mark.parametrize("written", [NUMBER, "+1 (202) 555-0134", "2025550134"])
async def test_bot_verifies_a_number(
    sandbox: Sandbox, journal: Path, caplog: pytest.LogCaptureFixture, written: str
) -> None:
    """A chat sends a number, a phone rings once, the typed code verifies; no code is repeated."""
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
    """Whether the bot, its library or this package logged it; ports have four digits, too."""
    return record.name.partition(".")[0] in {"chat_bot", "aiogram", "sinch_qn"}


@pytest.mark.parametrize("answer", ["failed", "rejected"])
async def test_bot_takes_another_code_after_a_wrong_one(
    sandbox: Sandbox, journal: Path, answer: Any
) -> None:
    """A wrong code is reported, whichever way Sinch rejects it; the right one still verifies."""
    sandbox.wrong_code = answer
    sandbox.add([NUMBER])
    async with bot_of(sandbox, journal) as telegram:
        telegram.write(ANN, f"/verify {NUMBER}")
        await telegram.hear(ANN, "I called")
        telegram.write(ANN, misheard(sandbox))
        await telegram.hear(ANN, "That code is wrong. I called")
        telegram.write(ANN, misheard(sandbox))
        await telegram.hear(ANN, "I already have that code")
        telegram.write(ANN, " ".join(heard(sandbox)))
        await telegram.hear(ANN, "is verified")
    assert sandbox.calls.count("verifyVoiceChallenge", NUMBER) == 2
    assert sandbox.world.rings(NUMBER) == 1


async def test_bot_calls_again_when_asked(sandbox: Sandbox, journal: Path) -> None:
    """Only /again calls again, and the new call's code is the valid one."""
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
    """A call whose response was lost is not retried: the chat is asked for its code."""
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
        (NUMBER, "VERIFIED", "is already verified"),
        (NUMBER, "HOSTING_DONE", "is already verified"),
        (NUMBER, "VERIFICATION_BLOCKED", "accepts no more codes"),
        (BLOCKED, "ELIGIBLE", "accepts no more codes"),
        (NUMBER, "NOT_ELIGIBLE", "is not verified: not eligible"),
        (OTHER, None, "is not verified: Sinch does not know this number"),
    ],
)
async def test_bot_says_why_it_does_not_ring(
    sandbox: Sandbox, journal: Path, number: str, state: str | None, said: str
) -> None:
    """A number that is not callable is not called, and its chat gets the reason."""
    if state:
        sandbox.add([number], state)
    async with bot_of(sandbox, journal) as telegram:
        telegram.write(ANN, f"/verify {number}")
        await telegram.hear(ANN, said)
    assert sandbox.calls.total("sendVoiceChallenge") == (number == BLOCKED), "which blocks it then"


async def test_bot_says_when_a_number_is_blocked(sandbox: Sandbox, journal: Path) -> None:
    """Too many wrong codes block a number for good."""
    sandbox.max_attempts = 1
    sandbox.add([NUMBER])
    async with bot_of(sandbox, journal) as telegram:
        telegram.write(ANN, f"/verify {NUMBER}")
        await telegram.hear(ANN, "I called")
        telegram.write(ANN, misheard(sandbox))
        await telegram.hear(ANN, "accepts no more codes")
        telegram.write(ANN, "/again")
        await telegram.hear(ANN, "Send /verify")
    assert sandbox.world.rings(NUMBER) == 1


async def test_bot_refuses_what_is_no_number(sandbox: Sandbox, journal: Path) -> None:
    """An invalid number is rejected at once, and other text is never submitted as a code."""
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
    """Two chats at once: each code goes to its chat's number, each result to its number's chat."""
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
    """A code typed after a restart verifies in the right chat; no phone is called twice."""
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
    """A stopped bot finishes a code in flight and sends its result to the chat."""
    sandbox.add([NUMBER])
    async with bot_of(sandbox, journal) as telegram:
        telegram.write(ANN, f"/verify {NUMBER}")
        await telegram.hear(ANN, "I called")
        sandbox.latency = 0.5
        telegram.write(ANN, heard(sandbox))
        async with asyncio.timeout(DEADLINE):
            while not sandbox.calls.total("verifyVoiceChallenge"):  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.01)
    assert telegram.told[-1] == (ANN, f"{NUMBER} is verified.")


async def test_bot_tells_what_a_crash_kept_from_its_chats(sandbox: Sandbox, journal: Path) -> None:
    """A call interrupted by a crash may have rung: its chat is asked after the restart."""
    sandbox.add([NUMBER])
    await lay(sandbox, journal, Event.CALL)
    sandbox.world.ring(NUMBER)
    async with bot_of(sandbox, journal) as telegram:
        await telegram.hear(ANN, "may have rung")
        telegram.write(ANN, heard(sandbox))
        await telegram.hear(ANN, "is verified")
    assert sandbox.calls.total("sendVoiceChallenge") == 0


async def test_bot_tries_a_late_code(sandbox: Sandbox, journal: Path) -> None:
    """A late code is still accepted, also after a restart."""
    sandbox.add([NUMBER])
    await lay(sandbox, journal, Event.CALL, Event.CALLED, at=time.time() - 700)
    sandbox.world.ring(NUMBER)
    async with bot_of(sandbox, journal) as telegram:
        await telegram.hear(ANN, f"No code came for {NUMBER}")
        telegram.write(ANN, heard(sandbox))
        await telegram.hear(ANN, "is verified")


async def lay(sandbox: Sandbox, path: Path, *happened: Event, at: float | None = None) -> None:
    """Leave a journal like that of a process killed after the events *happened*."""
    client, journal = sandbox.client(), SqliteJournal(path)
    await journal.open(Identity(client.project_id, client.base_url), running=True)
    await journal.add([Entry(number=NUMBER, ref=str(ANN))])
    token = None
    for event in happened:
        at = time.time() if at is None else at
        change = Change(number=NUMBER, event=event, at=at, intent=token, window=600.0)
        (after,) = await journal.apply([change])
        assert after is not None
        token = after.intent
    await journal.close()


async def test_bot_tells_the_others_when_a_chat_is_gone(sandbox: Sandbox, journal: Path) -> None:
    """A chat that has blocked the bot delays no other."""
    sandbox.add([NUMBER, OTHER])
    async with bot_of(sandbox, journal) as telegram:
        telegram.gone.add(ANN)
        telegram.write(ANN, f"/verify {NUMBER}")
        telegram.write(BOB, f"/verify {OTHER}")
        await telegram.hear(BOB, "I called")
        telegram.write(BOB, heard(sandbox, OTHER))
        await telegram.hear(BOB, "is verified")


async def test_bot_ends_when_its_run_cannot_go_on(sandbox: Sandbox, journal: Path) -> None:
    """Rejected credentials end the bot; it does not go on without calling."""
    from aiogram import Bot  # noqa: PLC0415 - takes seconds to load

    from examples import chat_bot  # noqa: PLC0415 - imports it
    from tests.support.telegram import Telegram  # noqa: PLC0415 - imports it

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
    """`python chat_bot.py` needs a token and the SINCH_* variables only."""
    from aiogram import Bot  # noqa: PLC0415 - takes seconds to load

    from examples import chat_bot  # noqa: PLC0415 - imports it
    from tests.support.telegram import Telegram  # noqa: PLC0415 - imports it

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
