"""A Telegram bot: send `/verify (202) 555-0134`, answer the phone, type the code that you hear.

    pip install 'sinch-qn[parsing]' aiogram
    BOT_TOKEN=… SINCH_PROJECT_ID=… SINCH_KEY_ID=… SINCH_KEY_SECRET=… python chat_bot.py

The journal is its only state: the `ref` of a number is its chat, also after a restart. Codes are
neither logged nor sent back. Any chat can have the numbers of your project called: admit only
chats that you know.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Callable, Coroutine
from typing import Any

from aiogram import Bot, Dispatcher, F
from aiogram.exceptions import TelegramAPIError
from aiogram.filters import Command, CommandObject
from aiogram.types import KeyboardButton, Message, ReplyKeyboardMarkup, ReplyKeyboardRemove

from sinch_qn import QualifiedNumbersClient
from sinch_qn.bulk import (
    ChallengeState,
    Entry,
    EventName,
    Journal,
    RunEvent,
    SqliteJournal,
    Submission,
    VoiceChallengeRun,
)
from sinch_qn.errors import InvalidRequestError
from sinch_qn.parsing import InvalidPhoneNumber, parse_phone_number

_log = logging.getLogger("chat_bot")

HELP = "Send /verify and a number, as in /verify (202) 555-0134; then type the code that you hear."
STATE_TEXTS = {
    ChallengeState.PENDING: "I call {number} as soon as it may be called.",
    ChallengeState.CALLING: "I am calling {number}.",
    ChallengeState.AWAITING_CODE: "I called {number}: type the code that you heard, or /again.",
    ChallengeState.VERIFYING: "I am submitting the code for {number}.",
    ChallengeState.VERIFIED: "{number} is verified.",
    ChallengeState.SKIPPED: "{number} is already verified.",
    ChallengeState.FAILED: "{number} is not verified: {note}. /again may help.",
    ChallengeState.BLOCKED: "{number} is blocked: Sinch accepts no more codes for it.",
    ChallengeState.EXPIRED: "No code came for {number}: type it, or /again.",
    ChallengeState.UNKNOWN: "The phone {number} may have rung: type its code, or /again.",
}
EVENT_TEXTS: dict[EventName, str] = {
    "wrong": "That code is wrong. ",
    "ask": "It is unknown whether that code was right. ",
}
SILENT: set[EventName] = {"code", "recall", "not called", "not verified", "unsure", "again"}
FINAL = {
    ChallengeState.VERIFIED,
    ChallengeState.SKIPPED,
    ChallengeState.BLOCKED,
    ChallengeState.INVALID,
}
AGAIN = ReplyKeyboardMarkup(keyboard=[[KeyboardButton(text="/again")]], resize_keyboard=True)
REPEAT_AFTER_RESTART = 600.0
"""Seconds: a result this old at a restart is sent again, because it may not have been sent."""


class ChatBot:
    """Serves chats; each has one active number at a time, so that a code has one meaning."""

    def __init__(self, bot: Bot, run: VoiceChallengeRun) -> None:
        self.bot = bot
        self.run = run
        self.numbers: dict[int, str] = {}
        """The active number of each chat: a code or a call can still verify it."""

    def dispatcher(self) -> Dispatcher:
        """Return a dispatcher of messages to the methods below."""
        dispatcher = Dispatcher()
        on_message = dispatcher.message.register
        on_message(self.verify, Command("verify"))
        on_message(self.again, Command("again"))
        on_message(self.take_code, F.text.regexp(r"^[0-9][0-9 -]{2,30}$"))
        on_message(self.help)
        return dispatcher

    async def help(self, message: Message) -> None:
        """Explain the commands."""
        await message.answer(HELP)

    async def verify(self, message: Message, command: CommandObject) -> None:
        """Have a number called, once; for a known number, send its state."""
        chat = message.chat.id
        try:
            number = parse_phone_number(command.args or "").e164
        except InvalidPhoneNumber as error:
            await message.answer(f"I cannot call this: {error}. {HELP}")
            return
        other = await self.run.result(self.numbers.get(chat, number))
        if other and other.number != number and not other.state.settled:
            await message.answer(f"First finish {other.number}: type its code, or /again.")
        elif invalid := (await self.run.add([(number, str(chat))])).invalid:
            await message.answer(f"I cannot call {number}: {invalid[0].reason}.")
        elif (entry := await self.run.result(number)) is None or entry.ref != str(chat):
            await message.answer(f"{number} is, or was, being verified in another chat.")
        else:
            self.numbers[chat] = number
            await self.send_state(entry)

    async def take_code(self, message: Message) -> None:
        """Submit the code of this chat's number; an event brings the result."""
        number = self.numbers.get(message.chat.id)
        if number is None:
            await message.answer(f"No number waits for a code here. {HELP}")
            return
        try:
            taken = await self.run.submit_code(number, re.sub(r"[ -]", "", message.text or ""))
        except InvalidRequestError:  # not called yet, or settled
            await self.send_state(await self.run.result(number))
        else:
            duplicate = taken is Submission.DUPLICATE
            await message.answer("I already have that code." if duplicate else "I have the code.")

    async def again(self, message: Message) -> None:
        """Call this chat's number again, for somebody who missed the call."""
        number = self.numbers.get(message.chat.id)
        if number is None:
            await message.answer(HELP)
            return
        try:
            await self.send_state(await self.run.recall(number))
        except InvalidRequestError:  # already queued, or settled
            await self.send_state(await self.run.result(number))

    async def send_state(self, of: Entry | RunEvent | None, prefix: str = "") -> None:
        """Send the state of a number to its chat; an error delays no other chat."""
        if of is None or of.state is ChallengeState.INVALID:
            return
        chat, note = int(of.ref or 0), of.note or "no reason is known"
        if of.state in FINAL and self.numbers.get(chat) == of.number:
            del self.numbers[chat]
        text = prefix + STATE_TEXTS[of.state].format(number=of.number, note=note)
        keyboard = AGAIN if "/again" in text else ReplyKeyboardRemove(remove_keyboard=True)
        try:
            await self.bot.send_message(chat, text, reply_markup=keyboard)
        except TelegramAPIError as error:
            _log.warning("a message did not reach its chat: %s", error)

    async def send_events(self) -> None:
        """Send each event to its chat, until the run ends."""
        async for event in self.run.events():
            if event.what not in SILENT:
                await self.send_state(event, EVENT_TEXTS.get(event.what, ""))

    async def resume(self, journal: Journal) -> None:
        """After a restart, find the active number of each chat, and send its state."""
        since = time.time() - REPEAT_AFTER_RESTART

        def recent() -> list[Entry]:
            rows = journal.rows()
            return [e for e in rows if e.state not in FINAL or (e.settled_at or since) > since]

        entries = await asyncio.to_thread(recent)
        # If a chat has several: one that is not settled, else the one that was called last.
        for read in sorted(entries, key=lambda e: (not e.state.settled, e.called_at or 0.0)):
            entry = await self.run.result(read.number) or read  # it may have changed
            if entry.state not in FINAL:
                self.numbers[int(entry.ref or 0)] = entry.number
            if entry.settled_at is None or entry.settled_at > since:
                await self.send_state(entry)


async def serve(
    bot: Bot,
    client: QualifiedNumbersClient,
    journal: Journal,
    poll: Callable[[Dispatcher], Coroutine[Any, Any, None]],
) -> None:
    """Serve chats while *poll* receives their messages; on exit, finish in-flight requests.

    Raises the error that stopped the run, such as rejected credentials.
    """
    async with (
        asyncio.TaskGroup() as tasks,  # the outer one: `sending` sends the last events, too
        VoiceChallengeRun(client, journal, code_timeout=600.0) as run,
    ):
        chats = ChatBot(bot, run)
        sending = tasks.create_task(chats.send_events())
        await chats.resume(journal)
        polling = tasks.create_task(poll(chats.dispatcher()))
        await asyncio.wait([sending, polling], return_when=asyncio.FIRST_COMPLETED)
        polling.cancel()


async def main() -> None:
    """Serve Telegram until a signal."""
    logging.basicConfig(level=logging.INFO)
    async with Bot(os.environ["BOT_TOKEN"]) as bot, QualifiedNumbersClient.from_env() as client:
        await serve(
            bot,
            client,
            SqliteJournal(os.environ.get("JOURNAL", "chat_bot.db")),
            lambda dispatcher: dispatcher.start_polling(bot, close_bot_session=False),
        )


if __name__ == "__main__":
    asyncio.run(main())
