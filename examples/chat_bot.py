"""A Telegram bot: send `/verify +12025550134`, answer the phone, type the code that you hear.

    pip install 'sinch-qn[parsing]' aiogram
    BOT_TOKEN=… SINCH_PROJECT_ID=… SINCH_KEY_ID=… SINCH_KEY_SECRET=… python chat_bot.py

The journal is all that it remembers: a number's `ref` is its chat, so that answers find it after a
restart, too. Codes are neither logged nor repeated. Whoever finds the bot can have the numbers of
your project rung: let in only chats that you know.
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
from sinch_qn.bulk import ChallengeState as S
from sinch_qn.bulk import Entry, Journal, RunEvent, SqliteJournal, Submission, VoiceChallengeRun
from sinch_qn.errors import InvalidRequestError
from sinch_qn.parsing import InvalidPhoneNumber, parse_phone_number

_log = logging.getLogger("chat_bot")

HELP = "Send /verify and a number, as in /verify (202) 555-0134; then type the code that you hear."
STANDING = {
    S.PENDING: "I call {number} as soon as it may be called.",
    S.CALLING: "I am calling {number}.",
    S.AWAITING_CODE: "I called {number}: type the code that you heard, or /again.",
    S.VERIFYING: "I am handing in the code for {number}.",
    S.VERIFIED: "{number} is verified.",
    S.SKIPPED: "{number} was verified before: there is nothing to do.",
    S.FAILED: "{number} is not verified: {note}. /again may help.",
    S.BLOCKED: "{number} is blocked: Sinch takes no more codes for it.",
    S.EXPIRED: "No code came for {number}. If you have it after all, type it; if not, /again.",
    S.UNKNOWN: "The phone {number} may have rung. If it did, type the code; if not, /again.",
}
NEWS = {"wrong": "That code is wrong. ", "ask": "I cannot tell whether that code was right. "}
SILENT = {"code", "recall", "not called", "not verified", "unsure", "again"}
FINAL = {S.VERIFIED, S.SKIPPED, S.BLOCKED, S.INVALID}
AGAIN = ReplyKeyboardMarkup(keyboard=[[KeyboardButton(text="/again")]], resize_keyboard=True)
TELL_TWICE = 600.0
"""Seconds: what ended so shortly before a restart may not have been told yet."""


class ChatBot:
    """Answers chats; each is busy with one number at a time, so that a code has one meaning."""

    def __init__(self, bot: Bot, run: VoiceChallengeRun) -> None:
        self.bot = bot
        self.run = run
        self.numbers: dict[int, str] = {}
        """The number that each chat is busy with, while a code or a call can still help it."""

    def dispatcher(self) -> Dispatcher:
        """Return what feeds messages to the methods below."""
        dispatcher = Dispatcher()
        on_message = dispatcher.message.register
        on_message(self.verify, Command("verify"))
        on_message(self.again, Command("again"))
        on_message(self.take_code, F.text.regexp(r"^[0-9][0-9 -]{2,30}$"))
        on_message(self.help)
        return dispatcher

    async def help(self, message: Message) -> None:
        """Say how it goes."""
        await message.answer(HELP)

    async def verify(self, message: Message, command: CommandObject) -> None:
        """Have a number rung, once; if that was asked for before, say how it stands."""
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
            await self.tell(entry)

    async def take_code(self, message: Message) -> None:
        """Hand in the code for this chat's number; whether it is right comes as an event."""
        number = self.numbers.get(message.chat.id)
        if number is None:
            await message.answer(f"No number waits for a code here. {HELP}")
            return
        try:
            taken = await self.run.submit_code(number, re.sub(r"[ -]", "", message.text or ""))
        except InvalidRequestError:  # not called yet, or settled
            await self.tell(await self.run.result(number))
        else:
            duplicate = taken is Submission.DUPLICATE
            await message.answer("I had that code before." if duplicate else "I have the code.")

    async def again(self, message: Message) -> None:
        """Ring this chat's number once more: "I missed it, call again"."""
        number = self.numbers.get(message.chat.id)
        if number is None:
            await message.answer(HELP)
            return
        try:
            await self.tell(await self.run.recall(number))
        except InvalidRequestError:  # it is about to ring, or is settled
            await self.tell(await self.run.result(number))

    async def tell(self, of: Entry | RunEvent | None, news: str = "") -> None:
        """Tell a number's chat how it stands; one that cannot be told holds up no other."""
        if of is None or of.state is S.INVALID:
            return
        chat, note = int(of.ref or 0), of.note or "no reason is known"
        if of.state in FINAL and self.numbers.get(chat) == of.number:
            del self.numbers[chat]
        text = news + STANDING[of.state].format(number=of.number, note=note)
        keyboard = AGAIN if "/again" in text else ReplyKeyboardRemove(remove_keyboard=True)
        try:
            await self.bot.send_message(chat, text, reply_markup=keyboard)
        except TelegramAPIError as error:
            _log.warning("an answer did not reach its chat: %s", error)

    async def tell_events(self) -> None:
        """Tell the chats what happens, until the run has ended."""
        async for event in self.run.events():
            if event.what not in SILENT:
                await self.tell(event, NEWS.get(event.what, ""))

    async def pick_up(self, journal: Journal) -> None:
        """Go on after a restart: find each chat's number, and say how it stands."""
        since = time.time() - TELL_TWICE

        def useful() -> list[Entry]:
            rows = journal.rows()
            return [e for e in rows if e.state not in FINAL or (e.settled_at or since) > since]

        entries = await asyncio.to_thread(useful)
        # Where a chat has several, the one that goes on wins, then the one that was called last.
        for read in sorted(entries, key=lambda e: (not e.state.settled, e.called_at or 0.0)):
            entry = await self.run.result(read.number) or read  # it goes on meanwhile
            if entry.state not in FINAL:
                self.numbers[int(entry.ref or 0)] = entry.number
            if entry.settled_at is None or entry.settled_at > since:
                await self.tell(entry)


async def serve(
    bot: Bot,
    client: QualifiedNumbersClient,
    journal: Journal,
    poll: Callable[[Dispatcher], Coroutine[Any, Any, None]],
) -> None:
    """Answer chats while *poll* feeds them in; on the way out, finish what is in flight.

    If something stopped the run (credentials, the disk), it is raised.
    """
    async with (
        asyncio.TaskGroup() as tasks,  # the outer one: `telling` tells how the run was left, too
        VoiceChallengeRun(client, journal, code_timeout=600.0) as run,
    ):
        chats = ChatBot(bot, run)
        telling = tasks.create_task(chats.tell_events())
        await chats.pick_up(journal)
        polling = tasks.create_task(poll(chats.dispatcher()))
        await asyncio.wait([telling, polling], return_when=asyncio.FIRST_COMPLETED)
        polling.cancel()


async def main() -> None:
    """Serve Telegram until a signal comes."""
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
