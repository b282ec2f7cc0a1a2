"""The server and the schema of a PostgreSQL journal: made once, checked each time, upgraded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import attrs
import pytest

from sinch_qn.bulk import SqliteJournal
from sinch_qn.bulk.journal import Journal, postgres_schema
from sinch_qn.bulk.journal.postgres import PostgresJournal
from sinch_qn.bulk.journal.postgres_schema import VERSION, schema_sql
from sinch_qn.bulk.states import ChallengeState, Entry, Event
from sinch_qn.errors import JournalError
from tests.support import postgres
from tests.support.journals import (
    MINE,
    OLDER_COLUMNS,
    called,
    check_upgraded,
    happen,
    older_rows,
    rows,
)
from tests.support.postgres import Cluster, execute
from tests.support.runs import NUMBER, OTHER


@pytest.fixture
def new(cluster: Cluster) -> Iterator[str]:
    """Return the URL of a run in a database without a schema."""
    with cluster.new_database() as database:
        yield cluster.url(database, run="january")


def journal_at(url: str) -> PostgresJournal:
    """Return the journal at *url*, on a server without fsync."""
    return PostgresJournal(url, require_durable=False)


async def test_a_runner_makes_schema_and_run(new: str) -> None:
    """The first runner creates what is missing; whoever only submits or reads does not."""
    with pytest.raises(JournalError, match="this database has no journal: start its run once"):
        await journal_at(new).open(None, running=False)
    runners = [journal_at(new) for _ in range(3)]
    await asyncio.gather(*(each.open(MINE, running=True) for each in runners))
    await runners[0].add([Entry(number=NUMBER)])
    assert await runners[1].get(NUMBER) == await runners[2].get(NUMBER) != None  # noqa: E711
    other = new.replace("january", "february")
    with pytest.raises(JournalError, match="there is no such run: start it once"):
        await journal_at(other).open(None, running=False)
    february = journal_at(other)
    await february.open(MINE, running=True)
    assert await february.get(NUMBER) is None
    for each in (*runners, february):
        await each.close()


async def test_the_schema_is_made_once(new: str) -> None:
    """`init` and `upgrade` may be said at once, and again."""
    journals = [journal_at(new) for _ in range(4)]
    await asyncio.gather(*(each.init() for each in journals))
    assert await journals[0].upgrade() == (VERSION, VERSION)
    assert execute(new, "SELECT version FROM meta") == [(VERSION,)]


async def test_a_newer_schema_is_refused(new: str) -> None:
    """A schema that this version does not know is left as it is, by everybody."""
    journal = journal_at(new)
    await journal.init()
    execute(new, "UPDATE meta SET version = version + 1")
    for attempt in (journal.init, journal.upgrade, partial(journal.open, MINE, running=True)):
        with pytest.raises(JournalError, match=rf"a newer sinch_qn .*version {VERSION + 1}"):
            await attempt()
    with pytest.raises(JournalError, match="a newer sinch_qn"):
        schema_sql(VERSION + 1)


async def test_an_older_schema_waits_for_upgrade(new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older schema is upgraded on request only: its runners must stop before."""
    await journal_at(new).init()
    for module in ("postgres", "postgres_schema", "postgres_connection", "postgres_entrance"):
        monkeypatch.setattr(f"sinch_qn.bulk.journal.{module}.VERSION", VERSION + 1)
    migration = "ALTER TABLE runs ADD note text;\n"
    steps = (*[""] * VERSION, migration)
    monkeypatch.setattr("sinch_qn.bulk.journal.postgres_schema._MIGRATIONS", steps)
    journal = journal_at(new)
    with pytest.raises(JournalError, match="sinch-qn journal upgrade URL"):
        await journal.open(MINE, running=True)
    await journal.init()  # leaves it as it is
    assert migration in schema_sql(VERSION)
    assert await journal.upgrade() == (VERSION, VERSION + 1)
    assert execute(new, "SELECT note FROM runs") == []
    await journal.open(MINE, running=True)
    await journal.close()


@pytest.mark.parametrize("version", range(1, VERSION))
async def test_an_upgrade_keeps_the_recalls(
    new: str, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """A recall that is still to be called is a request in the new schema, and no other number."""
    with monkeypatch.context() as older:
        older.setattr(postgres_schema, "_MIGRATIONS", postgres_schema._MIGRATIONS[:version])
        older.setattr(postgres_schema, "VERSION", version)
        execute(new, schema_sql())
    execute(
        new,
        "INSERT INTO runs (name, project_id, base_url) VALUES ('january', %s, %s)",
        *attrs.astuple(MINE),
    )
    values = ", ".join(["%s"] * len(older_rows()[0]))
    for row in older_rows():
        columns = f"INSERT INTO numbers (run, {OLDER_COLUMNS})"
        execute(new, f"{columns} SELECT id, {values} FROM runs", *row)  # noqa: S608 - constants only
    journal = journal_at(new)
    assert await journal.upgrade() == (version, VERSION)
    await journal.open(MINE, running=True)
    await check_upgraded(journal, execute(new, "SELECT number, todo FROM numbers ORDER BY seq"))
    await journal.close()


async def test_a_server_that_forgets_is_refused(url: str) -> None:
    """4.5: with fsync off a crash of the server could have phones called twice."""
    with pytest.raises(JournalError, match=r"fsync = off.*require_durable=False"):
        await PostgresJournal(url).open(MINE, running=True)


@pytest.mark.slow
async def test_a_server_with_a_standby(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """4.5: a standby is refused; one that may lack the last calls is warned of, others are not."""
    with cluster.new_database() as database, postgres.cluster(primary=cluster) as standby:
        await journal_at(cluster.url(database, run="january")).init()
        assert "asynchronous standbys only" in caplog.text
        caplog.clear()
        with pytest.raises(JournalError, match="is a standby, which cannot be written"):
            await journal_at(standby.url("postgres", run="january")).init()
        cluster.configure("synchronous_standby_names", "*")
        try:
            await journal_at(cluster.url(database, run="january")).init()
        finally:
            cluster.configure("synchronous_standby_names", "")
        assert "standby" not in caplog.text


async def test_a_server_that_is_not_there() -> None:
    """What cannot be reached is a JournalError that names it, not a hang."""
    journal = PostgresJournal("postgresql://me:s3cret@localhost:1/calls?run=january")
    with pytest.raises(JournalError) as caught:
        await journal.open(MINE, running=True)
    assert str(caught.value).startswith("postgresql://localhost:1/calls?run=january: ")
    assert "s3cret" not in str(caught.value)


async def test_opened_twice_or_not_at_all(url: str) -> None:
    """A journal that is not open, or open already, says so."""
    journal = journal_at(url)
    with pytest.raises(JournalError, match="is not open"):
        await journal.get(NUMBER)
    await journal.close()
    await journal.open(MINE, running=True)
    with pytest.raises(JournalError, match="open already"):
        await journal.open(MINE, running=True)
    await journal.close()
    await journal.open(MINE, running=True)
    await journal.close()


async def test_one_refused_text_harms_no_other(url: str) -> None:
    """What the database refuses fails for its caller; jobs of the same commit are done."""
    journal: Journal = journal_at(url)
    await journal.open(MINE, running=True)
    texts = Entry(number=NUMBER, ref="a\0b", note="\N{SNOWMAN}")
    good, bad = await asyncio.gather(
        journal.add([texts]), journal.submit_code("\0", "1", 1.0), return_exceptions=True
    )
    assert good == 1
    assert isinstance(bad, JournalError)
    entry = await journal.get(NUMBER)
    assert entry is not None
    assert entry.ref == "a\N{REPLACEMENT CHARACTER}b"
    await journal.close()


async def test_an_ended_writer_leaves_its_counts(url: str) -> None:
    """A writer that ends leaves no row behind, and its counts to the others."""
    journal = journal_at(url)
    for number in range(3):
        await journal.open(MINE, running=True)
        await journal.add([Entry(number=f"{NUMBER}{number}")])
        await journal.close()
    assert execute(url, "SELECT * FROM writers") == []
    assert execute(url, "SELECT writer, state, n FROM counts") == [(0, "pending", 3)]


async def test_a_run_is_copied_to_a_file(url: str, tmp_path: Path) -> None:
    """A backup is the whole run at one moment; a run on the file goes on where it stood.

    While runners are at work a run refuses it: it lacks the calls that they go on to make.
    """
    journal = journal_at(url)
    await journal.open(MINE, running=True)
    await called(journal, NUMBER, OTHER)
    await journal.add([Entry(number=f"+1303{n:07d}", ref=f"ticket {n}") for n in range(50)])
    await journal.add([Entry(number="1 (line 7)", line=7, state=ChallengeState.INVALID)])
    await journal.submit_code(NUMBER, "0417", 2.0)
    await happen(journal, "+13030000000", Event.CALL, Event.CALL_NOT_SENT)
    await happen(journal, "+13030000000", Event.CALL, Event.CALL_UNKNOWN)
    await happen(journal, "+13030000001", Event.CALL)
    await journal.set_bookmark("codes", "17")
    assert await journal.deliveries.claim("key", [NUMBER, OTHER], 3.0) is not None
    file = tmp_path / "copy.db"
    assert not await asyncio.to_thread(journal.backup, file)
    with pytest.raises(JournalError, match="a backup of a run that went on"):
        await SqliteJournal(file).open(MINE, running=True)
    read = SqliteJournal(file)
    await read.open(MINE, running=False)
    expected = await rows(journal)
    assert await rows(read) == expected
    assert await read.counts() == await journal.counts()
    assert await read.batches() == await journal.batches()
    assert await read.bookmark("codes") == "17"
    assert await read.deliveries.all() == await journal.deliveries.all()
    for number in (NUMBER, OTHER, "+13030000000", "+13030000001"):
        assert await read.history(number) == await journal.history(number)
    await read.close()
    with pytest.raises(JournalError, match="the copy cannot be written"):
        await asyncio.to_thread(journal.backup, file)
    await journal.close()
    ended = tmp_path / "ended.db"
    assert await asyncio.to_thread(journal.backup, ended)
    run = SqliteJournal(ended)
    await run.open(MINE, running=True)
    assert [entry.number for entry in await run.reap(60.0)] == ["+13030000001"]
    taken = await run.take_code()
    assert taken is not None
    assert taken[1] == "0417"
    assert taken[0].intent not in {entry.intent for entry in expected}
    await run.close()
