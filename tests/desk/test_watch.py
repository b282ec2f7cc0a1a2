"""Live updates: what open pages are told, and what they cost the journal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import aclosing

import pytest

from sinch_qn.bulk import Entry, MemoryJournal
from sinch_qn.bulk.journal import Identity
from sinch_qn.desk import watch
from sinch_qn.desk.live import to_message
from sinch_qn.desk.watch import Watch
from sinch_qn.errors import JournalError
from tests.support.runs import until

NUMBERS = [f"+1202555{n:04}" for n in range(50)]


class Counted(MemoryJournal):
    """Counts its reads; fails when told to."""

    reads = 0
    is_down = False

    async def get_many(self, numbers: Collection[str]) -> dict[str, Entry]:
        """Count, and perhaps fail."""
        self.reads += 1
        if self.is_down:
            raise JournalError("the database is away")
        return await super().get_many(numbers)


@pytest.fixture
async def journal(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Counted]:
    """Open a journal; the watch reads it often."""
    monkeypatch.setattr(watch, "INTERVAL", 0.02)
    monkeypatch.setattr(watch, "MIN_INTERVAL", 0.01)
    journal = Counted()
    await journal.open(Identity("project", "https://api.example"), running=True)
    await journal.add([Entry(number=number) for number in NUMBERS])
    yield journal
    await journal.close()


async def change(journal: Counted, number: str) -> None:
    """Write something about a number."""
    store = journal._store
    store.save(store.entries[number], Entry(number=number, note=str(journal.reads)))


async def test_one_read_serves_all_pages(journal: Counted) -> None:
    """Fifty open pages cost as many reads of the journal as one; each hears of its own number."""
    subject = Watch(journal)
    heard: list[str] = []

    async def page(number: str) -> None:
        async with aclosing(subject.entries([number])) as changes:
            async for entries in changes:
                heard.extend(entries)

    pages = [asyncio.create_task(page(number)) for number in NUMBERS]
    await until(lambda: len(heard) == len(NUMBERS), seconds=5.0, step=0.001)
    before = journal.reads
    await change(journal, NUMBERS[7])
    await until(lambda: len(heard) > len(NUMBERS), seconds=5.0, step=0.001)
    assert heard[len(NUMBERS) :] == [NUMBERS[7]]
    assert journal.reads - before <= 3
    await subject.close()
    await asyncio.wait_for(asyncio.gather(*pages), 1.0)  # close ends them


async def test_an_outage_of_the_journal_ends_no_page(
    journal: Counted, caplog: pytest.LogCaptureFixture
) -> None:
    """While the journal fails, pages wait; afterwards they hear what changed meanwhile."""
    subject = Watch(journal)
    async with aclosing(subject.entries([NUMBERS[0]])) as changes:
        await anext(changes)
        journal.is_down = True
        await change(journal, NUMBERS[0])
        reads = journal.reads
        await until(lambda: journal.reads >= reads + 3, seconds=5.0, step=0.001)
        journal.is_down = False
        entry = (await asyncio.wait_for(anext(changes), 1.0))[NUMBERS[0]]
        assert entry is not None
        assert entry.note is not None
    assert "the database is away" in caplog.text
    await subject.close()


async def test_a_page_hears_something_in_time_if_nothing_changes(journal: Counted) -> None:
    """A page asks to be woken after some seconds, for what changes by time alone."""
    subject = Watch(journal)
    async with aclosing(subject.entries([NUMBERS[0]], lambda: 0.02)) as changes:
        first, second = await anext(changes), await asyncio.wait_for(anext(changes), 1.0)
        assert first == second
    await asyncio.sleep(0.05)
    before = journal.reads
    await asyncio.sleep(0.05)
    assert journal.reads == before, "it reads though no page is open"
    await subject.close()


def test_a_message_keeps_its_lines() -> None:
    """HTML of several lines is one event; nothing is a comment, which only keeps alive."""
    assert to_message("<p>\n</p>\r\n<b>") == "data: <p>\ndata: </p>\ndata: <b>\n\n"
    assert to_message("") == ":\n\n"
