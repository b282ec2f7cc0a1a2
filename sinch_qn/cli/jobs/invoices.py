"""What `sinch-qn invoices` does: email the invoices of numbers to Sinch, each email once."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import attrs
import click

from sinch_qn.bulk import invoice_emails
from sinch_qn.bulk.journal import Delivery, DeliveryState, Identity, delivered_numbers
from sinch_qn.bulk.journal.deliveries import CLAIMABLE, IN_DOUBT
from sinch_qn.cli.client import client_from_env
from sinch_qn.cli.exit_codes import Exit
from sinch_qn.cli.journals import JournalName, StoredJournal, control_of, make_journal
from sinch_qn.cli.messages import INVOICES_IN_DOUBT, print_message
from sinch_qn.cli.options import check_files, confirm, no_number, read_lines, summarize_numbers
from sinch_qn.cli.output import Lines
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.errors import InvalidRequestError
from sinch_qn.invoices import (
    ORDERS_ADDRESS,
    Attachment,
    InvoicedNumber,
    InvoiceEmail,
    compose,
    match_invoices,
)
from sinch_qn.lifecycle import VERIFIED_OR_LATER
from sinch_qn.parsing import GoodLine
from sinch_qn.smtp import MailServer

_PASSWORD: Final = "SINCH_QN_SMTP_PASSWORD"  # noqa: S105 - the name of a variable
_SENDING_TIME: Final = 1800.0
"""Seconds that sending an email may take, with all its timeouts."""
_ENDINGS: Final = {
    DeliveryState.SENT: "was sent before",
    DeliveryState.WRITTEN: "was written to a file before",
    DeliveryState.SENDING: "may have been sent before, or is being sent",
    DeliveryState.UNKNOWN: "may have been sent before",
}


@attrs.frozen(kw_only=True)
class _Job:
    """What the options ask for."""

    client: QualifiedNumbersClient
    emails: Sequence[InvoiceEmail]
    journal: JournalName | None
    again_from: frozenset[DeliveryState]
    as_json: bool


def send_invoices(
    path: Path,
    *,
    files: Sequence[Path],
    sender: str,
    eml: Path | None,
    smtp: str | None,
    journal: JournalName | None,
    resend: bool,
    dry_run: bool,
    column: str | None,
    skip_invalid: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Compose the emails of a file, show them, and send or write each once."""
    client = client_from_env()
    if journal is not None:
        check_files(journal)
    server = None if smtp is None or dry_run else _server(smtp)
    numbers = _read(path, column, [file.name for file in files], skip_invalid=skip_invalid)
    numbers = asyncio.run(_without_verified(client, journal, numbers))
    emails = compose(
        client.project_id,
        numbers,
        [Attachment(file.name, file.read_bytes()) for file in files],
        sender=sender,
        date=datetime.now(UTC).astimezone(),
    )
    again_from = CLAIMABLE | IN_DOUBT | {DeliveryState.WRITTEN} if resend else CLAIMABLE
    job = _Job(
        client=client, emails=emails, journal=journal, again_from=again_from, as_json=as_json
    )
    _act(job, server, eml, dry_run=dry_run, yes=yes)


def _act(
    job: _Job, server: MailServer | None, eml: Path | None, *, dry_run: bool, yes: bool
) -> None:
    """Show the emails, then send or write them."""
    known = asyncio.run(_known(job))
    if any(_is_recent(row) for row in known.values()):  # its process may live
        job = attrs.evolve(job, again_from=job.again_from - {DeliveryState.SENDING})
    to_send = _preview(job, known)
    if dry_run:
        with _lines(job) as lines:
            for email in job.emails:
                row = known.get(email.key)
                _add(lines, email, DeliveryState.NOT_SENT if row is None else row.state)
        return
    if eml is not None:
        _write(job, eml)
    elif server is not None:
        if to_send:
            noun = "email" if to_send == 1 else "emails"
            again = ", also those that may have come" if job.again_from > CLAIMABLE else ""
            confirm(f"Send {to_send} {noun} to {ORDERS_ADDRESS}{again}?", yes=yes)
        asyncio.run(_send(job, server))


# ── Input ───────────────────────────────────────────────────────────────────────────────────────


def _server(url: str) -> MailServer:
    """Return the mail server at *url*, with a password if it has a user."""
    password = os.environ.get(_PASSWORD)
    if password is None and "@" in urlsplit(url).netloc:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise click.UsageError(f"no terminal to ask for the password at: set {_PASSWORD}.")
        password = click.prompt("Password of the mail server", hide_input=True, err=True)
    return MailServer.from_url(url, password=password)


def _read(
    path: Path, column: str | None, names: Sequence[str], *, skip_invalid: bool
) -> list[InvoicedNumber]:
    """Return the numbers of the file, and which attachments cover them."""
    numbers: list[InvoicedNumber] = []
    invalid = 0
    for line in read_lines(path, column, ref="invoice", find_duplicates=False):
        problem = None
        if isinstance(line, GoodLine):
            try:
                covered = match_invoices(line.ref or "", names)
            except InvalidRequestError as error:
                problem = f"{line.number.e164}: {error}"
            else:
                numbers.append(InvoicedNumber(line.number.e164, covered))
        else:
            problem = f"{line.text}: {line.reason}"
        if problem is not None:
            print_message(f"{path}:{line.line}: {problem}", "warning")
            invalid += 1
    if invalid and not skip_invalid:
        raise click.UsageError(
            f"{path} has {invalid} bad {'line' if invalid == 1 else 'lines'}, and nothing was"
            " sent: correct the file, or repeat with --skip-invalid."
        )
    if not numbers:
        raise no_number(path)
    return _with_invoice(numbers)


def _with_invoice(numbers: list[InvoicedNumber]) -> list[InvoicedNumber]:
    """Leave out numbers without an invoice, if others have one."""
    covered = {number.phone_number for number in numbers if number.invoices}
    left_out = list(dict.fromkeys(n.phone_number for n in numbers if not n.invoices))
    left_out = [number for number in left_out if number not in covered]
    if not covered or not left_out:
        return [number for number in numbers if not covered or number.invoices]
    print_message(f"no invoice for {summarize_numbers(left_out)}: left out.", "warning")
    return [number for number in numbers if number.invoices]


async def _without_verified(
    client: QualifiedNumbersClient, name: JournalName | None, numbers: list[InvoicedNumber]
) -> list[InvoicedNumber]:
    """Leave out the numbers that are proved, by the journal of a run, and were not emailed.

    Without one of its numbers an email would be another one, and its invoices be sent again.
    """
    async with _open(client, name) as journal:
        if journal is None:
            return numbers
        entries = (await journal.get_many([n.phone_number for n in numbers])).values()
        emailed = delivered_numbers(await journal.deliveries.all())
    proved = {entry.number for entry in entries if entry.remote in VERIFIED_OR_LATER}
    proved -= emailed
    if proved:
        print_message(f"verified already: {summarize_numbers(sorted(proved))}: left out.")
    left = [number for number in numbers if number.phone_number not in proved]
    if not left:
        raise click.UsageError("no number needs invoices, and nothing was sent.")
    return left


@asynccontextmanager
async def _open(
    client: QualifiedNumbersClient, name: JournalName | None, *, create: bool = False
) -> AsyncIterator[StoredJournal | None]:
    """Open the journal beside its run; None if there is none."""
    exists = name is not None and await _exists(name)
    if name is None or not (exists or create):
        yield None
        return
    identity, journal = Identity(client.project_id, client.base_url), make_journal(name)
    if not exists:
        await journal.open(identity, running=True)
        await journal.close()
    await journal.open(identity, running=False)
    try:
        yield journal
    finally:
        await journal.close()


async def _exists(name: JournalName) -> bool:
    """Return whether the run at *name* was ever started."""
    if isinstance(name, Path):
        return await asyncio.to_thread(lambda: name.exists() and name.stat().st_size > 0)
    return await control_of(name).exists()


# ── Output ──────────────────────────────────────────────────────────────────────────────────────


async def _known(job: _Job) -> Mapping[str, Delivery]:
    async with _open(job.client, job.journal) as journal:
        rows = [] if journal is None else await journal.deliveries.all()
    return {row.key: row for row in rows}


def _is_recent(row: Delivery) -> bool:
    """Return whether *row* may be being sent by another process right now."""
    return row.state is DeliveryState.SENDING and time.time() - row.at < _SENDING_TIME


def _preview(job: _Job, known: Mapping[str, Delivery]) -> int:
    """Print what each email has; return how many are to be sent."""
    to_send = 0
    for number, email in enumerate(job.emails, 1):
        row = known.get(email.key)
        count = f"{len(email.numbers)} {'number' if len(email.numbers) == 1 else 'numbers'}"
        text = (
            f"Email {number} of {len(job.emails)} to {ORDERS_ADDRESS}: {count},"
            f" {', '.join(email.attachments)} ({len(email.content) / 1e6:.1f} MB)"
        )
        if row is None or row.state in job.again_from:
            to_send += 1
            others = [each for key, each in known.items() if key != email.key]
            again = sorted(delivered_numbers(others).intersection(email.numbers))
            if again:
                text += f"; in another email before: {summarize_numbers(again)}"
        else:
            text += f": {_ENDINGS[row.state]}, on {datetime.fromtimestamp(row.at, UTC):%d %B %Y}"
        print_message(text)
    return to_send


def _lines(job: _Job) -> Lines:
    return Lines("EMAIL", "STATE", "NUMBERS", "ATTACHMENTS", "FILE", as_json=job.as_json)


def _add(lines: Lines, email: InvoiceEmail, state: DeliveryState, where: str = "") -> None:
    message_id = str(email.message["Message-ID"])
    record = {
        "messageId": message_id,
        "subject": str(email.message["Subject"]),
        "state": state.value,
        "phoneNumbers": list(email.numbers),
        "attachments": list(email.attachments),
        "size": len(email.content),
        "file": where or None,
    }
    names = ", ".join(email.attachments)
    lines.add(record, message_id, state.value, len(email.numbers), names, where)


def _write(job: _Job, folder: Path) -> None:
    """Write the emails as files, readable by their owner only."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    with _lines(job) as lines:
        for email in job.emails:
            files[email.key] = folder / f"invoices-{email.key[:12]}.eml"
            files[email.key].touch(mode=0o600)
            files[email.key].write_bytes(email.content)
            _add(lines, email, DeliveryState.WRITTEN, str(files[email.key]))
    if job.journal is not None:
        asyncio.run(_record_written(job, files))


async def _record_written(job: _Job, files: Mapping[str, Path]) -> None:
    async with _open(job.client, job.journal, create=True) as journal:
        assert journal is not None  # noqa: S101 - created
        for email in job.emails:
            await invoice_emails.record_written(email, journal.deliveries, str(files[email.key]))


async def _send(job: _Job, server: MailServer) -> None:
    """Send the emails; print each once its outcome is known."""
    print_message(f"Journal: {job.journal}")
    in_doubt = False
    async with _open(job.client, job.journal, create=True) as journal:
        assert journal is not None  # noqa: S101 - created
        sending = invoice_emails.send_invoices(
            job.emails, journal.deliveries, server, again_from=job.again_from
        )
        with _lines(job) as lines:
            async for email, state in sending:
                _add(lines, email, state)
                in_doubt |= state in IN_DOUBT
    if in_doubt:
        print_message(INVOICES_IN_DOUBT, "outcome unknown")
        raise click.exceptions.Exit(Exit.UNKNOWN)
