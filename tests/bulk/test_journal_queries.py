"""Questions about the numbers of a journal, asked of each kind of journal."""

from __future__ import annotations

import asyncio
import itertools
import random
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sinch_qn.bulk import ChallengeState, Entry, MemoryJournal, SqliteJournal
from sinch_qn.bulk.journal import EntryOrder, EntryQuery, HistoryItem, Journal, sqlite_queries
from sinch_qn.bulk.journal.postgres import PostgresJournal
from sinch_qn.bulk.journal.queries import MAX_LIMIT, from_cursor, to_cursor
from sinch_qn.bulk.journal.sqlite_file import VERSION, Mark, set_mark
from sinch_qn.bulk.journal.sqlite_schema import MIGRATIONS
from sinch_qn.bulk.states import Event
from sinch_qn.errors import InvalidRequestError, JournalError
from sinch_qn.models import GlobalProcessState
from tests.support.journals import (
    MINE,
    OLDER_COLUMNS,
    Backend,
    called,
    check_upgraded,
    happen,
    older_rows,
    query,
    rows,
    take_code,
)
from tests.support.runs import NUMBER, OTHER

STATES = (
    ChallengeState.PENDING,
    ChallengeState.AWAITING_CODE,
    ChallengeState.VERIFIED,
    ChallengeState.FAILED,
)
REFS = (None, "Ticket 1", "ticket 1", "TICKET 12", "100% ü", "Ünder_score", "12025", "x" * 4000)


async def filled(journal: Journal, size: int = 60) -> list[Entry]:
    """Add entries of all sorts; return them in the order added."""
    chance = random.Random(7)
    digits = chance.sample(range(10_000), size)
    entries = [
        Entry(
            number=f"+1202555{n:04d}",
            ref=chance.choice(REFS),
            state=chance.choice(STATES),
            called_at=chance.choice((None, 5.0, 6.5, 7.25)),
            settled_at=chance.choice((None, 8.5, 9.25)),
        )
        for n in digits
    ]
    entries.append(Entry(number="12025550 (line 3)", line=3, state=ChallengeState.INVALID))
    await journal.add(entries)
    return entries


async def all_pages(journal: Journal, asked: EntryQuery, limit: int) -> list[str]:
    """Return the numbers of all pages."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = await journal.find(asked, limit=limit, after=cursor)
        assert len(page.entries) <= limit
        found += [entry.number for entry in page.entries]
        if page.next is None:
            return found
        assert len(page.entries) == limit
        cursor = page.next


async def test_pages_are_the_sorted_list(journal: Journal) -> None:
    """In every order, all pages together are the list, sorted, each entry once."""
    entries = await filled(journal)
    keys = {
        EntryOrder.ADDED: lambda _: 0,
        EntryOrder.NUMBER: lambda e: e.number,
        EntryOrder.CALLED: lambda e: e.called_at or 0.0,
        EntryOrder.SETTLED: lambda e: e.settled_at or 0.0,
    }
    for order, descending in itertools.product(EntryOrder, (False, True)):
        sorted_ = [e.number for e in sorted(entries, key=keys[order])]
        expected = sorted_[::-1] if descending else sorted_
        for states in ((), (ChallengeState.PENDING, ChallengeState.INVALID)):
            asked = EntryQuery(order=order, descending=descending, states=states)
            wanted = [n for n in expected if not states or state_of(entries, n) in states]
            for limit in (7, len(wanted), MAX_LIMIT):
                assert await all_pages(journal, asked, limit) == wanted, (asked, limit)


def state_of(entries: list[Entry], number: str) -> ChallengeState:
    """Return the state of *number*."""
    return next(entry.state for entry in entries if entry.number == number)


FOUND: Sequence[tuple[EntryQuery, Callable[[Entry], bool]]] = [
    (EntryQuery(text="(202) 555-01"), lambda e: "20255501" in e.number),
    (EntryQuery(text="+1 202"), lambda _: True),
    (EntryQuery(text=" tIcket 1"), lambda e: (e.ref or "").lower().startswith("ticket 1")),
    (EntryQuery(text="1202"), lambda _: True),
    (EntryQuery(text="12025550"), lambda e: "12025550" in e.number),
    (EntryQuery(text="12025"), lambda _: True),
    (EntryQuery(text="100%"), lambda e: e.ref == "100% ü"),
    (EntryQuery(text="1_0"), lambda _: False),
    (EntryQuery(text="100* ü"), lambda _: False),
    (EntryQuery(text="ünder"), lambda _: False),
    (EntryQuery(text="ÜNDER_"), lambda e: e.ref == "Ünder_score"),
    (EntryQuery(text="\\"), lambda _: False),
    (EntryQuery(text="("), lambda _: False),
    (EntryQuery(text="X" * 4000), lambda e: e.ref == "x" * 4000),
    (EntryQuery(ref="Ticket 1"), lambda e: e.ref == "Ticket 1"),
    (EntryQuery(ref="Ticket"), lambda _: False),
    (EntryQuery(ref=""), lambda _: False),
    (EntryQuery(ref="x" * 4000), lambda e: e.ref == "x" * 4000),
    (EntryQuery(ref="x" * 3999), lambda _: False),
    (EntryQuery(ref="a\0"), lambda _: False),
    (
        EntryQuery(ref="12025", text="120255", states=STATES[2:], order=EntryOrder.NUMBER),
        lambda e: e.ref == "12025" and e.state in STATES[2:],
    ),
]


async def test_what_is_found(journal: Journal) -> None:
    """Text is digits within the number or the beginning of a ref; a ref is exact."""
    entries = await filled(journal)
    for asked, fits in FOUND:
        found = await all_pages(journal, asked, 9)
        assert len(found) == len(set(found))
        assert set(found) == {entry.number for entry in entries if fits(entry)}, asked


async def test_a_page_goes_on_where_the_last_one_ended(journal: Journal) -> None:
    """Keyset paging: what is added or leaves meanwhile neither repeats nor hides the others."""
    first, second, third = (Entry(number=f"+1202555000{n}") for n in (2, 5, 8))
    await journal.add([first, second, third])
    asked = EntryQuery(order=EntryOrder.NUMBER, states=[ChallengeState.PENDING])
    page = await journal.find(asked, limit=2)
    await happen(journal, second.number, Event.NOT_CALLABLE)
    await journal.add([Entry(number=f"+1202555000{n}") for n in (1, 9)])
    rest = await journal.find(asked, limit=2, after=page.next)
    assert [e.number for e in page.entries] == [first.number, second.number]
    assert [e.number for e in rest.entries] == [third.number, "+12025550009"]
    assert rest.next is None


@pytest.mark.parametrize("order", EntryOrder)
async def test_a_forged_cursor(journal: Journal, order: EntryOrder) -> None:
    """A cursor comes from a URL: another query's, or a forged one, is refused by every journal."""
    asked = EntryQuery(order=order)
    places: set[Any] = {
        (1,),
        ("+1",),
        (1.0, 2),
        (True,),
        ("a\0",),
        (2**63,),
        (1.0, 2**70),
        (1, 2),
        (None,),
    }
    forged = {to_cursor(asked, place) for place in places - {(2**63,), (1.0, 2**70)}}
    other = EntryQuery(order=order, descending=True)
    forged.add(to_cursor(other, right_key(order)))
    forged |= {"", "x", "é", "e30", "bnVsbA", "W10", "=" * 9, "\0"}
    right = 0
    for cursor in sorted(forged):
        try:
            await journal.find(asked, after=cursor)
            right += 1
        except InvalidRequestError as error:
            assert str(error).startswith("after: ")  # noqa: PT017 - one of them is a cursor
    assert right == 1
    assert from_cursor(asked, to_cursor(asked, key := right_key(order))) == key
    for limit in (0, -1, MAX_LIMIT + 1):
        with pytest.raises(InvalidRequestError, match="limit"):
            await journal.find(asked, limit=limit)


def right_key(order: EntryOrder) -> tuple[float | str, ...]:
    """Return a place in *order*."""
    return (
        (1,) if order is EntryOrder.ADDED else ("+1",) if order is EntryOrder.NUMBER else (1.0, 2)
    )


async def test_many_at_once(journal: Journal) -> None:
    """`get_many` returns the entries of the numbers that have one, however many are asked for."""
    entries = await filled(journal)
    wanted = [entry.number for entry in entries]
    absent = [f"+1303{n:07d}" for n in range(1100)]
    found = await journal.get_many([*absent, *wanted, wanted[0], "a\0"])
    assert found == {entry.number: entry for entry in entries}
    assert await journal.get_many(()) == {}


async def test_a_history(backend: Backend) -> None:
    """A history has the calls and the codes received, oldest first, and no code in it."""
    journal = backend.journal
    await called(journal, NUMBER, OTHER)
    await journal.submit_code(NUMBER, "7411", 2.0)
    await take_code(journal, NUMBER, 3.0)
    assert shown(await journal.history(NUMBER)) == [
        ("call", 1, 1.0, "done", 1.0),
        ("code", 1, 2.0, "in flight", None),
        ("verify", 1, 3.0, None, None),
    ]
    await happen(journal, NUMBER, Event.CODE_REJECTED, at=4.0)
    await happen(journal, NUMBER, Event.RECALL, at=5.0)
    await happen(journal, NUMBER, Event.LOOKED_UP, remote=GlobalProcessState.ELIGIBLE)
    await happen(journal, NUMBER, Event.CALL, Event.CALL_NOT_SENT, at=6.0)
    await happen(journal, NUMBER, Event.CALL, at=7.0)
    await happen(journal, NUMBER, Event.CALL_UNKNOWN, at=8.0)
    await journal.submit_code(NUMBER, "7412", 9.0)
    history = await journal.history(NUMBER)
    assert shown(history) == [
        ("call", 1, 1.0, "done", 1.0),
        ("code", 1, 2.0, "used", None),
        ("verify", 1, 3.0, "rejected", 4.0),
        ("call", 2, 7.0, "unknown", 8.0),
        ("code", 2, 9.0, "waiting", None),
    ]
    assert "741" not in repr(history)
    assert len(await journal.history(OTHER)) == 1
    assert await journal.history("+12025550199") == []


def shown(history: Sequence[HistoryItem]) -> list[tuple[object, ...]]:
    """Return each item as a tuple."""
    return [(item.what, item.attempt, item.at, item.outcome, item.outcome_at) for item in history]


async def test_the_first_one_keeps_a_bookmark(backend: Backend, path: Path, url: str) -> None:
    """Of all that keep a bookmark at once, one stores its value, and all get that one."""
    match backend.journal:
        case MemoryJournal() as memory:
            other: Journal = memory.another()
        case SqliteJournal():
            other = SqliteJournal(path)
        case _:
            other = PostgresJournal(url, require_durable=False)
    await other.open(MINE, running=False)
    both = [backend.journal, other] * 5
    kept = await asyncio.gather(*(j.keep_bookmark("secret", f"{n}") for n, j in enumerate(both)))
    assert len(set(kept)) == 1
    assert await other.bookmark("secret") == kept[0]
    assert await other.keep_bookmark("secret", "again") == kept[0]
    await other.close()


async def test_bookmarks_are_found_by_the_beginning_of_their_name(backend: Backend) -> None:
    """Bookmarks with a prefix are all that have it, of this run, and no pattern is read in it."""
    journal = backend.journal
    for name in ("link 1", "link 2", "linking", "a link 3", "lin_ 4"):
        await journal.set_bookmark(name, f"<{name}>")
    assert await journal.bookmarks("link ") == {"link 1": "<link 1>", "link 2": "<link 2>"}
    assert await journal.bookmarks("lin_ ") == {"lin_ 4": "<lin_ 4>"}
    assert await journal.bookmarks("other") == {}


async def test_closed_journals_answer_nothing(backend: Backend) -> None:
    """A question to a closed file or database is a JournalError, not a wait."""
    if backend.is_in_memory:
        return
    await backend.journal.find(EntryQuery())
    await backend.journal.close()
    with pytest.raises(JournalError, match="the journal is not open"):
        await backend.journal.find(EntryQuery())


async def test_a_question_holds_up_no_commit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a file is searched its writer goes on; closing waits for the answer."""
    journal = SqliteJournal(path)
    await journal.open(MINE, running=True)
    asked, answer = threading.Event(), threading.Event()
    real = sqlite_queries.find

    def slow(database: sqlite3.Connection, *more: object) -> object:
        asked.set()
        assert answer.wait(10.0)
        return real(database, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(sqlite_queries, "find", slow)
    finding = asyncio.create_task(journal.find(EntryQuery()))
    await asyncio.to_thread(asked.wait, 10.0)
    await asyncio.wait_for(journal.add([Entry(number=NUMBER)]), 5.0)
    closing_ = asyncio.create_task(journal.close())
    await asyncio.sleep(0)
    assert not closing_.done()
    answer.set()
    assert [e.number for e in (await finding).entries] == [NUMBER]
    await closing_
    assert not path.with_name(path.name + "-wal").exists()


def make_older_file(path: Path, version: int) -> None:
    """Make the journal of an older version, with the numbers of `OLDER`."""
    with closing(sqlite3.connect(path)) as database:
        database.executescript("".join(MIGRATIONS[:version]))
        set_mark(database, Mark.CLOSED)
        values = ", ".join("?" * len(older_rows()[0]))
        database.executemany(
            f"INSERT INTO numbers ({OLDER_COLUMNS}) VALUES ({values})",  # noqa: S608 - constants only
            older_rows(),
        )
        database.execute(f"PRAGMA user_version = {version}")
        database.commit()


@pytest.mark.parametrize("version", range(1, VERSION))
async def test_a_run_upgrades_an_older_file(path: Path, version: int) -> None:
    """A file of an older version is upgraded by a run, and by nobody who only reads it.

    A recall that is still to be called is a request, which a run that calls on request makes.
    """
    await asyncio.to_thread(make_older_file, path, version)
    journal = SqliteJournal(path)
    for attempt in (lambda: journal.open(MINE, running=False), lambda: rows(journal)):
        with pytest.raises(JournalError, match="an older sinch_qn wrote this journal"):
            await attempt()
    await journal.open(MINE, running=True)
    assert (await journal.find(EntryQuery(ref="a"))).entries == await rows(journal)
    await check_upgraded(journal, query(path, "SELECT number, todo FROM numbers ORDER BY seq"))
    await journal.close()
    plan = query(path, "EXPLAIN QUERY PLAN SELECT 1 FROM numbers WHERE ref = 'a'")
    assert "numbers_ref" in str(plan)
