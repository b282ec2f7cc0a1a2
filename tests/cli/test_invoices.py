"""Laws of `sinch-qn invoices`: what it shows, sends once, and tells about the rest."""

from __future__ import annotations

import asyncio
import json
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sinch_qn.bulk import ChallengeState, Entry, SqliteJournal
from sinch_qn.bulk.journal import DeliveryState, Identity, PostgresJournal
from sinch_qn.cli.app import cli
from sinch_qn.cli.exit_codes import Exit
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.sandbox import Sandbox
from tests.support.cli_process import WITHOUT_WAITS, Terminal, running
from tests.support.invoices import attached, parsed
from tests.support.mailbox import AUTHORITY, PASSWORD, USER, Mailbox, drop
from tests.support.postgres import Cluster

ONE, TWO, THREE = "+12025550134", "+12025550135", "+12025550136"
PDFS = {"jan.pdf": b"%PDF january", "feb.pdf": b"%PDF february"}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Run a sandbox."""
    with running(Sandbox()) as sandbox:
        yield sandbox


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    """Run a mail server on this machine, which needs no TLS."""
    with running(Mailbox(has_tls=False)) as mailbox:
        yield mailbox


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with numbers and invoices."""
    (tmp_path / "numbers.csv").write_text(f"number,invoice\n{ONE},jan\n{TWO},feb.pdf\n")
    for name, content in PDFS.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def invoices(sandbox: Sandbox, folder: Path) -> Callable[..., Result]:
    """Run `sinch-qn invoices` on the numbers, with both attachments."""

    def run(*more: str, env: dict[str, str] | None = None) -> Result:
        arguments = ["invoices", str(folder / "numbers.csv"), "--from", "ada@example.com"]
        for name in PDFS:
            arguments += ["--attach", str(folder / name)]
        result = CliRunner().invoke(
            cli,
            [*arguments, *more],
            env={**sandbox.environment(), **(env or {})},
            obj=WITHOUT_WAITS,
        )
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        return result

    return run


def journal_with(path: Path, sandbox: Sandbox, *entries: Entry) -> None:
    """Write a journal with *entries*."""

    async def write() -> None:
        journal = SqliteJournal(path)
        project = sandbox.environment()["SINCH_PROJECT_ID"]
        await journal.open(Identity(project, sandbox.base_url), running=True)
        await journal.add(entries)
        await journal.close()

    asyncio.run(write())


def added(number: str, **fields: Any) -> Entry:
    """Return the entry of a number that a run has added."""
    return Entry(number=number, added=True, **fields)


def test_a_dry_run_shows_all_and_does_nothing(
    invoices: Callable[..., Result], folder: Path, mailbox: Mailbox
) -> None:
    """`--dry-run` shows each email, connects to nothing and writes nothing."""
    before = sorted(folder.iterdir())
    result = invoices("--dry-run", "--smtp", mailbox.url, "--json")
    assert result.exit_code == 0
    assert "Email 1 of 1 to orders@sinch.com: 2 numbers, jan.pdf, feb.pdf" in result.stderr
    record = json.loads(result.stdout)
    assert record["phoneNumbers"] == [ONE, TWO]
    assert (record["state"], record["attachments"]) == ("not sent", ["jan.pdf", "feb.pdf"])
    assert sorted(folder.iterdir()) == before
    assert mailbox._protocols == []


def test_an_email_is_sent_once(
    invoices: Callable[..., Result], folder: Path, mailbox: Mailbox
) -> None:
    """The same command again sends nothing; its journal is beside the file, or the one given."""
    arguments = ("--smtp", mailbox.url, "--yes")
    assert invoices(*arguments).exit_code == 0
    again = invoices(*arguments)
    assert (again.exit_code, "was sent before" in again.stderr) == (0, True)
    (content,) = mailbox.received
    files = attached(parsed(content))
    assert {name: files[name] for name in PDFS} == PDFS
    assert f'{ONE},"jan.pdf"' in files["numbers.csv"].decode()
    assert (folder / "numbers.csv.emails.db").exists()


def test_a_confirmation_is_asked_for(invoices: Callable[..., Result], mailbox: Mailbox) -> None:
    """Without a terminal and `--yes` nothing is sent."""
    result = invoices("--smtp", mailbox.url)
    assert (result.exit_code, "Send 1 email" in result.stderr) == (2, True)
    assert mailbox.received == []


def test_a_lost_response(invoices: Callable[..., Result], mailbox: Mailbox) -> None:
    """After a lost response the exit code is 5, again as well, until a person says to resend."""
    mailbox.actions["END"] = drop
    arguments = ("--smtp", mailbox.url, "--yes")
    lost = invoices(*arguments)
    assert (lost.exit_code, "--resend" in lost.stderr) == (5, True)
    mailbox.actions.clear()
    again = invoices(*arguments)
    assert (again.exit_code, "may have been sent before" in again.stderr) == (5, True)
    before = len(mailbox.received)
    assert invoices(*arguments, "--resend").exit_code == 0
    assert len(mailbox.received) == before + 1


def test_a_refusal(invoices: Callable[..., Result], mailbox: Mailbox) -> None:
    """A refused email exits with 1 and its reason, a server that is away with 6."""
    mailbox.actions["RCPT"] = lambda _: "550 no such user"
    refused = invoices("--smtp", mailbox.url, "--yes")
    assert (refused.exit_code, "550 no such user" in refused.stderr) == (1, True)
    away = invoices("--smtp", "smtp://localhost:1", "--yes")
    assert away.exit_code == 6


def test_the_password_is_no_argument(
    invoices: Callable[..., Result], folder: Path, sandbox: Sandbox
) -> None:
    """The password comes from the environment or a prompt; it is refused in the URL.

    The certificate authority is one that the system trusts, here by SSL_CERT_FILE.
    """
    authority = folder / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(authority)
    trusted = {"SSL_CERT_FILE": str(authority)}
    with running(Mailbox(needs_login=True)) as mailbox:
        url = mailbox.url.replace("://", f"://{USER}@")
        assert invoices("--smtp", url, "--yes").exit_code == 2
        assert invoices("--smtp", mailbox.url.replace("://", "://a:b@"), "--yes").exit_code == 2
        env = {"SINCH_QN_SMTP_PASSWORD": PASSWORD, **trusted}
        assert invoices("--smtp", url, "--yes", env=env).exit_code == 0
        arguments = ["invoices", str(folder / "numbers.csv"), "--from", "ada@example.com"]
        arguments += ["--attach", str(folder / "jan.pdf"), "--attach", str(folder / "feb.pdf")]
        arguments += ["--smtp", url, "--yes", "--journal", str(folder / "other.db")]
        with Terminal(sandbox.environment() | trusted, *arguments) as terminal:
            terminal.expect("Password of the mail server")
            terminal.type(PASSWORD + "\n")
            assert terminal.finish() == 0
            assert PASSWORD not in terminal.screen
    assert len(mailbox.received) == 2


def test_files_to_send_oneself(
    invoices: Callable[..., Result], folder: Path, mailbox: Mailbox
) -> None:
    """`--eml` writes files that only their owner can read; with a journal they count as emailed."""
    outbox, journal = folder / "outbox", folder / "run.db"
    for _ in range(2):
        assert invoices("--eml", str(outbox), "--journal", str(journal)).exit_code == 0
    (file,) = outbox.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert attached(parsed(file.read_bytes()))["feb.pdf"] == PDFS["feb.pdf"]
    sent = invoices("--smtp", mailbox.url, "--journal", str(journal), "--yes")
    assert "was written to a file before" in sent.stderr
    assert mailbox.received == []


def test_bad_lines(invoices: Callable[..., Result], folder: Path) -> None:
    """An invoice that is not attached is a bad line; a number without one is left out."""
    (folder / "numbers.csv").write_text(
        f"number,invoice\n{ONE},jan\n{TWO},march\n{THREE},\n{ONE},feb\n"
    )
    result = invoices("--dry-run")
    assert result.exit_code == 2
    assert f"numbers.csv:3: {TWO}: invoice: 'march' is not attached" in result.stderr
    result = invoices("--dry-run", "--skip-invalid", "--json")
    assert f"no invoice for {THREE}" in result.stderr
    assert json.loads(result.stdout)["phoneNumbers"] == [ONE]


@pytest.mark.parametrize("more", [[], ["--eml", "a", "--smtp", "smtp://b"]])
def test_one_way_is_chosen(invoices: Callable[..., Result], more: list[str]) -> None:
    """Exactly one of `--eml` and `--smtp` is needed, unless it is a dry run."""
    result = invoices(*more)
    assert (result.exit_code, "either --eml DIR" in result.stderr) == (2, True)


def test_a_runs_journal(
    invoices: Callable[..., Result], folder: Path, sandbox: Sandbox, mailbox: Mailbox
) -> None:
    """Numbers that the run has proved are left out; the run's report knows what was emailed.

    `status` names the numbers whose invoices are missing, with the command.
    """
    journal, page = folder / "run.db", folder / "report.html"
    (folder / "numbers.csv").write_text(f"number\n{ONE}\n{TWO}")
    journal_with(
        journal,
        sandbox,
        added(ONE),
        added(TWO, state=ChallengeState.VERIFIED, remote=SinchState.VERIFIED),
        added(THREE, state=ChallengeState.BLOCKED),
    )

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, arguments, env=sandbox.environment())

    status = run("status", str(journal))
    assert f"Invoices are missing for {ONE}, {THREE}: sinch-qn invoices FILE" in status.stderr
    assert f"--journal {journal}" in status.stderr
    result = invoices("--smtp", mailbox.url, "--yes", "--journal", str(journal))
    assert (result.exit_code, f"verified already: {TWO}" in result.stderr) == (0, True)
    (content,) = mailbox.received
    assert TWO not in attached(parsed(content))["numbers.csv"].decode()
    status = run("status", str(journal), "--json")
    record = json.loads(status.stdout)
    assert record["withoutInvoices"] == [THREE]
    assert [email["state"] for email in record["emails"]] == ["sent"]
    assert run("report", str(journal), "--html", str(page)).exit_code == 0
    invoices_part = page.read_text().partition("<h2>Invoices</h2>")[2].partition("</section>")[0]
    assert THREE in invoices_part
    assert ONE not in invoices_part
    other = invoices("--dry-run", "--journal", str(journal), "--column", "1")
    assert "was sent before" in other.stderr


def test_nothing_is_left_to_prove(
    invoices: Callable[..., Result], folder: Path, sandbox: Sandbox
) -> None:
    """If all numbers are verified, nothing is sent."""
    journal = folder / "run.db"
    journal_with(
        journal,
        sandbox,
        *(added(n, state=ChallengeState.VERIFIED, remote=SinchState.VERIFIED) for n in (ONE, TWO)),
    )
    result = invoices("--dry-run", "--journal", str(journal))
    assert (result.exit_code, "no number needs invoices" in result.stderr) == (2, True)


def test_a_number_is_verified_after_its_email(
    invoices: Callable[..., Result], sandbox: Sandbox, folder: Path, mailbox: Mailbox
) -> None:
    """The same command sends nothing again, although a number of an email is proved by now."""
    arguments = ("--smtp", mailbox.url, "--yes", "--journal", str(folder / "run.db"))
    assert invoices(*arguments).exit_code == 0
    proved = added(ONE, state=ChallengeState.VERIFIED, remote=SinchState.VERIFIED)
    journal_with(folder / "run.db", sandbox, proved)
    assert "was sent before" in invoices(*arguments).stderr
    assert len(mailbox.received) == 1


def test_resend_beside_another_process(
    invoices: Callable[..., Result], sandbox: Sandbox, folder: Path, mailbox: Mailbox
) -> None:
    """`--resend` leaves an email alone that another process may be sending, but not for good."""
    path = folder / "run.db"
    arguments = ("--smtp", mailbox.url, "--yes", "--journal", str(path))
    invoices(*arguments)

    async def claim(age: float) -> None:
        journal = SqliteJournal(path)
        project = sandbox.environment()["SINCH_PROJECT_ID"]
        await journal.open(Identity(project, sandbox.base_url), running=False)
        (row,) = await journal.deliveries.all()
        at, again_from = time.time() - age, set(DeliveryState)
        await journal.deliveries.claim(row.key, row.numbers, at, again_from=again_from)
        await journal.close()

    asyncio.run(claim(60.0))
    result = invoices(*arguments, "--resend")
    assert (result.exit_code, len(mailbox.received)) == (Exit.UNKNOWN, 1)
    asyncio.run(claim(3600.0))
    assert invoices(*arguments, "--resend").exit_code == 0
    assert len(mailbox.received) == 2


def test_another_email_about_a_number(
    invoices: Callable[..., Result], folder: Path, mailbox: Mailbox
) -> None:
    """The preview says which numbers were in another email before."""
    arguments = ("--smtp", mailbox.url, "--yes")
    invoices(*arguments)
    (folder / "jan.pdf").write_bytes(b"%PDF corrected")
    result = invoices(*arguments, "--dry-run")
    assert f"in another email before: {ONE}, {TWO}" in result.stderr


def test_the_journal_is_a_run_in_postgresql(
    invoices: Callable[..., Result],
    cluster: Cluster,
    mailbox: Mailbox,
    sandbox: Sandbox,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`--journal URL`: each email of a run is sent once, and none for a number it verified."""
    monkeypatch.setattr(
        "sinch_qn.bulk.journal.postgres.check_server", lambda *_, **__: asyncio.sleep(0)
    )
    url = cluster.url(cluster.empty_journal(), run="january")
    (folder / "numbers.csv").write_text(f"{ONE}\n{TWO}\n")
    arguments = ("--smtp", mailbox.url, "--yes", "--journal", url)
    assert invoices(*arguments, "--dry-run").exit_code == 0
    assert mailbox.received == []

    async def verify() -> None:
        journal = PostgresJournal(url)
        project = sandbox.environment()["SINCH_PROJECT_ID"]
        await journal.open(Identity(project, sandbox.base_url), running=True)
        await journal.add([added(TWO, remote=SinchState.VERIFIED)])
        await journal.close()

    asyncio.run(verify())
    sent = invoices(*arguments)
    assert sent.exit_code == 0, sent.output
    assert "verified already" in sent.stderr
    assert "was sent before" in invoices(*arguments).stderr
    (content,) = mailbox.received
    assert TWO not in attached(parsed(content))["numbers.csv"].decode()
