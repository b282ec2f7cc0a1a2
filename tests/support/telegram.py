"""A fake Telegram for the chat bot: a session of aiogram with chats in it.

Import this file in functions only, because aiogram takes seconds to load.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiogram import Bot, Dispatcher
from aiogram.client.session.base import BaseSession
from aiogram.exceptions import TelegramForbiddenError
from aiogram.methods import GetMe, GetUpdates, SendMessage, TelegramMethod
from aiogram.types import Chat, Message, Update, User

from examples import chat_bot
from sinch_qn import QualifiedNumbersClient
from sinch_qn.bulk import SqliteJournal

DEADLINE = 20.0
"""Seconds; no step here takes two."""


class Telegram(BaseSession):
    """The part of Telegram that the bot uses: chats send and receive messages."""

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
        """Return the next message to *chat* that contains *text*."""

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
            pytest.fail(f"chat {chat} did not receive {text!r}, but {self.told}")
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
        bot: Bot,  # noqa: ARG002 - the only one
        method: TelegramMethod[Any],
        timeout: int | None = None,  # noqa: ARG002 - tests have their own deadline
    ) -> Any:
        """Respond like Telegram."""
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
        """Do nothing: there is no connection."""

    def stream_content(self, *_: Any, **__: Any) -> AsyncGenerator[bytes, None]:
        """Raise: there are no files."""
        raise NotImplementedError


@asynccontextmanager
async def serving(
    client: QualifiedNumbersClient, journal: SqliteJournal
) -> AsyncIterator[Telegram]:
    """Run the bot until the end of the block."""
    telegram = Telegram()
    bot = Bot("42:TOKEN", session=telegram)
    polling: asyncio.Future[Dispatcher] = asyncio.get_running_loop().create_future()

    async def poll(dispatcher: Dispatcher) -> None:
        polling.set_result(dispatcher)
        await dispatcher.start_polling(bot, handle_signals=False)

    async with asyncio.timeout(2 * DEADLINE):
        task = asyncio.create_task(chat_bot.serve(bot, client, journal, poll))
        try:
            yield telegram
            await (await polling).stop_polling()
            await task
        finally:
            task.cancel()
            await asyncio.wait([task])
