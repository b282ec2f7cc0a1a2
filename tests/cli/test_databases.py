"""Laws of commands on a run in PostgreSQL: its URL, its runners, its pace."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sinch_qn.bulk import Entry, submit_code
from sinch_qn.bulk.journal import Identity, PostgresControl, PostgresJournal
from sinch_qn.bulk.journal.protocol import RunSettings
from sinch_qn.bulk.states import ChallengeState, Event
from sinch_qn.cli.app import cli
from sinch_qn.cli.exit_codes import Exit
from sinch_qn.sandbox import Sandbox
from tests.support.cli_process import WITHOUT_WAITS, answering, eventually, running
from tests.support.journals import happen
from tests.support.postgres import Cluster

ONE, TWO = "+12025550134", "+12025550135"
NUMBERS = [f"+12025550{n}" for n in range(100, 112)]
MINE = Identity("project", "https://api.example")
SETTINGS = RunSettings(calls_per_second=10.0, max_ringing=7)


@pytest.fixture
def url(cluster: Cluster) -> str:
    """Return the URL of a run that nobody has begun."""
    return cluster.url(cluster.empty_journal(), run="january")


@pytest.fixture
def qn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command. The test's server runs without fsync."""
    monkeypatch.setattr(
        "sinch_qn.bulk.journal.postgres.check_server", lambda *_, **__: asyncio.sleep(0)
    )

    def run(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(cli, arguments, input=stdin, obj=WITHOUT_WAITS)

    return run


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Run a sandbox with eligible numbers, which are in ./numbers.csv."""
    monkeypatch.chdir(tmp_path)
    Path("numbers.csv").write_text("".join(f"{number}\n" for number in NUMBERS))
    with running(Sandbox(random=Random(5))) as sandbox:
        sandbox.add(NUMBERS)
        for name, value in sandbox.environment().items():
            monkeypatch.setenv(name, value)
        yield sandbox


def with_runner(
    url: str, job: Callable[[PostgresJournal], Coroutine[Any, Any, None]] | None = None
) -> None:
    """Add two numbers to the run as a runner of it, call one, and do *job*."""

    async def work() -> None:
        journal = PostgresJournal(url, require_durable=False)
        await journal.open(MINE, running=True, settings=SETTINGS)
        try:
            await journal.add([Entry(number=ONE), Entry(number=TWO)])
            await happen(journal, ONE, Event.CALL, Event.CALLED, at=journal.now())
            if job is not None:
                await job(journal)
        finally:
            await journal.close()

    asyncio.run(work())


def test_a_url_stands_wherever_a_command_takes_a_journal(
    url: str, qn: Callable[..., Result]
) -> None:
    """Status, code, recall and report work on a run in a database as on a file."""
    with_runner(url)
    assert json.loads(qn("status", url, "--json").stdout)["counts"]["awaiting_code"] == 1
    assert qn("code", url, ONE, "0417").stdout == f"{ONE}\taccepted\n"
    assert qn("recall", url, ONE).exit_code == Exit.OK
    assert json.loads(qn("request", url, ONE, "--json").stdout)["new"] is False
    numbers = [json.loads(line) for line in qn("report", url, "--json").stdout.splitlines()]
    assert [each["phoneNumber"] for each in numbers] == [ONE, TWO]


@pytest.mark.parametrize(
    "command", [("status",), ("code", ONE, "1"), ("recall", ONE), ("worker",), ("pace",)]
)
@pytest.mark.parametrize(
    "secret_url",
    [
        "postgresql://ada:s3cr3t@db.example/sinch?run=january",
        "postgresql://db.example/sinch?run=january&password=s3cr3t",
        "postgres://ada:s3cr3t@[db.example/sinch?run=january",
    ],
)
def test_a_password_in_a_url_is_refused_and_not_shown(
    secret_url: str, command: tuple[str, ...], qn: Callable[..., Result]
) -> None:
    """A URL with a password is refused with advice; no message contains the password."""
    result = qn(command[0], secret_url, *command[1:])
    assert result.exit_code == Exit.USAGE
    assert "PGPASSWORD" in result.stderr or "not the URL" in result.stderr
    assert "s3cr3t" not in result.output


def test_the_certificate_of_another_host_is_verified(qn: Callable[..., Result]) -> None:
    """Beyond this machine a connection is verified, unless --allow-insecure is given."""
    insecure = "postgresql://db.invalid/sinch?run=january&sslmode=require"
    assert "--allow-insecure" in qn("status", insecure).stderr
    assert "cannot be reached" in qn("status", insecure, "--allow-insecure").stderr


def test_what_is_no_url_of_a_run_is_refused(qn: Callable[..., Result]) -> None:
    """A worker needs the URL of a database that names a run."""
    assert "postgresql://HOST/DATABASE?run=NAME" in qn("worker", "run.db").stderr
    assert "name one run" in qn("status", "postgresql://localhost/sinch").stderr


def test_status_shows_the_runners_and_what_they_share(url: str, qn: Callable[..., Result]) -> None:
    """Each runner has its host, version, lease and rate; slots, pace and pauses are the run's."""
    shown: list[Result] = []

    async def look(_: PostgresJournal) -> None:
        for options in ((), ("--json",), ("--running",)):
            shown.append(await asyncio.to_thread(qn, "status", url, *options))  # noqa: PERF401

    with_runner(url, look)
    assert (
        "0 of 7 phones ringing, paused until Sinch responds; 0 calls in flight, at most 40."
        in shown[0].stderr
    )
    record = json.loads(shown[1].stdout)
    (runner,) = record["runners"]
    assert 0 < runner["leaseLeft"] <= 15
    assert runner["callsPerSecond"] == pytest.approx(1 / 60, abs=0.01)
    assert runner["name"] in shown[0].stdout
    assert record["maxRinging"] == 7
    assert record["pausedSince"] == 0
    assert record["oldestDue"] is None, "its numbers are new"
    afterwards = qn("status", url)
    assert "No runner is at work" in afterwards.stderr
    assert [shown[2].exit_code, qn("status", url, "--running").exit_code] == [Exit.OK, Exit.FAILED]


def test_a_runner_elsewhere_is_not_this_machines(
    url: str, qn: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`status --running` is a health check: another machine's runner does not pass this one's."""

    async def look(_: PostgresJournal) -> None:
        monkeypatch.setattr("sinch_qn.cli.run_standing.platform.node", lambda: "elsewhere")
        shown = await asyncio.to_thread(qn, "status", url, "--running")
        assert shown.exit_code == Exit.FAILED

    with_runner(url, look)


def test_pace_is_the_whole_runs(url: str, qn: Callable[..., Result]) -> None:
    """`pace` changes what runners share and what later ones begin with; only what is given."""
    assert qn("pace", url, "--rate", "2").exit_code == Exit.USAGE  # nobody has begun
    with_runner(url)
    assert qn("pace", url).exit_code == Exit.USAGE
    assert "At most 2.5 calls a second and 7 phones" in qn("pace", url, "--rate", "2.5").stderr
    assert qn("pace", url, "--max-ringing", "9").exit_code == Exit.OK
    control = PostgresControl(url)
    settings = asyncio.run(control.settings())
    assert (settings.calls_per_second, settings.max_ringing) == (2.5, 9)
    assert asyncio.run(control.standing()).max_ringing == 9


def test_a_new_number_has_not_waited(url: str) -> None:
    """Only a number that was due at a time has waited since; a new one is due as soon as it can."""
    waited: list[float | None] = []

    async def look(journal: PostgresJournal) -> None:
        waited.append((await PostgresControl(url, allow_insecure=True).standing()).oldest_due)
        await happen(journal, TWO, Event.POSTPONED, at=journal.now(), due=journal.now() - 60)
        waited.append((await PostgresControl(url, allow_insecure=True).standing()).oldest_due)

    with_runner(url, look)
    new, postponed = waited
    assert new is None
    assert postponed is not None
    assert 60 <= postponed < 3600


def test_a_restored_database_calls_nobody_by_itself(url: str, qn: Callable[..., Result]) -> None:
    """After a restore, what waits for a call is UNKNOWN, and takes a recall. Stop runners first."""
    refused: list[Result] = []

    async def restore(_: PostgresJournal) -> None:
        refused.append(await asyncio.to_thread(qn, "journal", "restored", url, "--yes"))

    with_runner(url, restore)
    assert "runners are at work" in refused[0].stderr
    assert qn("journal", "restored", url, "--yes").exit_code == Exit.OK
    counts = json.loads(qn("status", url, "--json").stdout)["counts"]
    assert counts[ChallengeState.UNKNOWN.value] == 1
    assert counts[ChallengeState.PENDING.value] == 0
    assert counts[ChallengeState.AWAITING_CODE.value] == 1
    assert qn("recall", url, TWO).exit_code == Exit.OK


def test_a_schema_is_made_by_init_and_printed_for_a_review(
    cluster: Cluster, qn: Callable[..., Result]
) -> None:
    """`init` makes the schema once, `upgrade` has nothing to do then; `--sql` changes nothing."""
    with cluster.new_database() as database:
        url = cluster.url(database, run="january")
        printed = qn("journal", "init", url, "--sql")
        assert "CREATE TABLE numbers" in printed.stdout
        assert qn("status", url).exit_code == Exit.USAGE
        assert qn("journal", "init", url).exit_code == Exit.OK
        assert "already" in qn("journal", "upgrade", url).stderr
        assert qn("journal", "upgrade", url, "--sql").exit_code == Exit.OK


def test_a_run_is_added_by_one_command_and_called_by_another(
    url: str, sandbox: Sandbox, qn: Callable[..., Result]
) -> None:
    """`--add-only` calls nobody; a worker takes the run's settings, until all are settled."""
    run = ("run", "numbers.csv", "--journal", url, "--yes")
    added = qn(*run, "--add-only", "--rate", "200", "--max-ringing", "50", "--code-timeout", "20")
    assert added.exit_code == Exit.OK
    assert sandbox.calls.total("sendVoiceChallenge") == 0
    assert qn("pace", url, "--rate", "100").exit_code == Exit.OK
    codes = Path("codes.csv")
    codes.touch()
    done: list[Result] = []
    with answering(sandbox, codes, NUMBERS):
        submitting = Thread(target=submit, args=(url, codes, NUMBERS))
        submitting.start()
        done.append(qn("worker", url, "--until-settled"))
        submitting.join()
    assert done[0].exit_code == Exit.OK, done[0].output
    assert f"verified\t{len(NUMBERS)}" in done[0].stdout
    assert [sandbox.world.rings(number) for number in NUMBERS] == [1] * len(NUMBERS)
    again = qn(*run, "--rate", "100", "--max-ringing", "50", "--code-timeout", "20")
    assert f"0 new numbers, {len(NUMBERS)} already in" in again.stderr
    assert again.exit_code == Exit.OK


def submit(url: str, codes: Path, numbers: list[str]) -> None:
    """Submit the codes of a growing file as another process would, until each number has one."""

    async def follow() -> None:
        journal = PostgresJournal(url, require_durable=False)
        await journal.open(None, running=False)
        submitted: set[str] = set()
        while len(submitted) < len(numbers):
            for line in (await asyncio.to_thread(codes.read_text)).splitlines():
                number, _, code = line.partition(",")
                if number not in submitted:
                    await submit_code(journal, number, code)
                    submitted.add(number)
            await asyncio.sleep(0.05)
        await journal.close()

    asyncio.run(follow())


def test_a_worker_needs_a_run(url: str, sandbox: Sandbox, qn: Callable[..., Result]) -> None:
    """A run that nobody began has no settings to work with."""
    result = qn("worker", url)
    assert result.exit_code == Exit.USAGE
    assert "there is no such run" in result.stderr


@pytest.mark.parametrize("options", [(), ("--shifts", "1")], ids=["worker", "shifts"])
def test_a_signal_ends_a_worker_in_order(
    cluster: Cluster,
    sandbox: Sandbox,
    qn: Callable[..., Result],
    options: tuple[str, ...],
) -> None:
    """SIGTERM is how a worker ends: exit code 0, nothing UNKNOWN, no lease left."""
    with cluster.new_database() as database:
        url = cluster.url(database, run="january")
        assert qn("journal", "init", url, "--shifts").exit_code == Exit.OK
        run = ("run", "numbers.csv", "--journal", url, "--yes", "--add-only", "--rate", "20")
        assert qn(*run).exit_code == Exit.OK

        def stop() -> None:
            eventually(lambda: sandbox.calls.total("sendVoiceChallenge") >= 2)
            os.kill(os.getpid(), signal.SIGTERM)

        stopping = Thread(target=stop)
        stopping.start()
        result = qn("worker", url, *options)
        stopping.join()
        assert result.exit_code == Exit.OK, result.output
        record = json.loads(qn("status", url, "--json").stdout)
    assert record["runners"] == []
    assert not record["counts"]["unknown"] + record["counts"]["calling"]
    assert max(sandbox.world.rings(number) for number in NUMBERS) == 1
