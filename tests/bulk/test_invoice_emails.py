"""An email with invoices is sent at most once, wherever its process is killed."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from sinch_qn.bulk import MemoryJournal
from sinch_qn.bulk.invoice_emails import record_written, send_invoices
from sinch_qn.bulk.journal import DeliveryState
from sinch_qn.bulk.journal.deliveries import CLAIMABLE, IN_DOUBT
from sinch_qn.errors import EmailError, Outcome
from sinch_qn.invoices import Attachment, InvoiceEmail
from sinch_qn.smtp import MailServer
from tests.support.invoices import NUMBERS, composed
from tests.support.journals import opened
from tests.support.mailbox import STEPS, Mailbox, drop, trusting

SENT, NOT_SENT, UNKNOWN = DeliveryState.SENT, DeliveryState.NOT_SENT, DeliveryState.UNKNOWN
FILES = [Attachment(f"{n}.pdf", bytes([n]) * 20_000) for n in range(3)]
EMAILS = composed(NUMBERS, FILES, max_size=40_000)
RESEND = CLAIMABLE | IN_DOUBT

SENDER = """
import asyncio, os, signal, sys
from sinch_qn.bulk import SqliteJournal
from sinch_qn.bulk.invoice_emails import send_invoices
from sinch_qn.bulk.journal.deliveries import CLAIMABLE, IN_DOUBT
from sinch_qn.smtp import MailServer
from tests.support.invoices import composed
path, port, killed_at, resend = sys.argv[1:]
def at(step):
    if step == killed_at:
        os.kill(os.getpid(), signal.SIGKILL)
class Deliveries:
    def __init__(self, real):
        self.all, self._real = real.all, real
    async def claim(self, *args, **options):
        at("before the intent")
        intent = await self._real.claim(*args, **options)
        at("after the intent")
        return intent
    async def record(self, *args, **options):
        at("before the outcome")
        recorded = await self._real.record(*args, **options)
        at("after the outcome")
        return recorded
async def main():
    journal = SqliteJournal(path)
    await journal.open(None, running=False)
    again_from = CLAIMABLE | IN_DOUBT if resend else CLAIMABLE
    server = MailServer(host="127.0.0.1", port=int(port))
    deliveries = Deliveries(journal.deliveries)
    async for _, state in send_invoices(composed(), deliveries, server, again_from=again_from):
        print(state.value, flush=True)
    await journal.close()
asyncio.run(main())
"""


def server_of(mailbox: Mailbox) -> MailServer:
    """Return *mailbox* as a client sees it."""
    return MailServer(host="localhost", port=mailbox.port, tls_context=trusting())


async def send(
    emails: list[InvoiceEmail], journal: MemoryJournal, mailbox: Mailbox, *, resend: bool = False
) -> list[DeliveryState]:
    """Send *emails*; return their states."""
    again_from = RESEND if resend else CLAIMABLE
    server = server_of(mailbox)
    sending = send_invoices(emails, journal.deliveries, server, again_from=again_from)
    return [state async for _, state in sending]


async def test_each_email_is_sent_once() -> None:
    """Emails are sent in their order, and not again."""
    journal = MemoryJournal()
    async with Mailbox() as mailbox:
        for _ in range(2):
            assert await send(EMAILS, journal, mailbox) == [SENT] * 3
    assert mailbox.received == [email.content for email in EMAILS]
    rows = await journal.deliveries.all()
    assert [(row.key, row.state, row.numbers) for row in rows] == [
        (email.key, SENT, tuple(NUMBERS)) for email in EMAILS
    ]


@pytest.mark.parametrize("step", STEPS)
async def test_a_lost_connection(step: str) -> None:
    """An email that was lost before its final dot is sent next time; a later one never again.

    Only a person's word sends it once more. The emails after it are sent by the next run.
    """
    journal = MemoryJournal()
    unknown = step == "END"
    async with Mailbox() as mailbox:
        mailbox.actions[step] = drop
        with pytest.raises(EmailError) as lost:
            await send(EMAILS, journal, mailbox)
        assert lost.value.outcome is (Outcome.UNKNOWN if unknown else Outcome.NOT_SENT)
        mailbox.actions.clear()
        before = len(mailbox.received)
        first = UNKNOWN if unknown else SENT
        for _ in range(2):
            assert await send(EMAILS, journal, mailbox) == [first, SENT, SENT]
        again = EMAILS[1:] if unknown else EMAILS
        assert mailbox.received[before:] == [email.content for email in again]
        assert await send(EMAILS, journal, mailbox, resend=True) == [SENT] * 3
    assert len(mailbox.received) == before + 3


async def test_a_refused_email_is_corrected_and_sent() -> None:
    """A refusal is recorded with its reason, and the email may be sent later."""
    journal = MemoryJournal()
    async with Mailbox() as mailbox:
        mailbox.actions["END"] = lambda _: "552 too large"
        with pytest.raises(EmailError):
            await send(EMAILS[:1], journal, mailbox)
        (row,) = await journal.deliveries.all()
        assert (row.state, "552 too large" in str(row.note)) == (NOT_SENT, True)
        mailbox.actions.clear()
        assert await send(EMAILS[:1], journal, mailbox) == [SENT]
    assert len(mailbox.received) == 1


@pytest.mark.parametrize("step", STEPS[1:])
async def test_a_cancelled_email(step: str) -> None:
    """A cancellation before the final dot withdraws the email; after it the outcome is UNKNOWN."""
    journal = MemoryJournal()
    async with Mailbox() as mailbox:
        task = asyncio.ensure_future(send(EMAILS[:1], journal, mailbox))

        def cancel(_: object) -> None:
            task.cancel()

        mailbox.actions[step] = cancel
        with pytest.raises(asyncio.CancelledError):
            await task
    (row,) = await journal.deliveries.all()
    assert row.state is (UNKNOWN if step == "END" else NOT_SENT)


async def test_a_written_email_is_not_sent() -> None:
    """An email in a file is for a person to send; one that was sent stays so."""
    journal = MemoryJournal()
    async with Mailbox() as mailbox:
        await record_written(EMAILS[0], journal.deliveries, "outbox/1.eml")
        assert await send(EMAILS[:2], journal, mailbox) == [DeliveryState.WRITTEN, SENT]
        await record_written(EMAILS[1], journal.deliveries, "outbox/2.eml")
    assert [row.state for row in await journal.deliveries.all()] == [DeliveryState.WRITTEN, SENT]
    assert mailbox.received == [EMAILS[1].content]


@pytest.mark.parametrize(
    "step",
    [
        "before the intent",
        "after the intent",
        *STEPS,
        "before the outcome",
        "after the outcome",
    ],
)
async def test_kill_minus_nine(tmp_path: Path, step: str) -> None:
    """Law: wherever the process is killed, the email arrives at most once without a person's word.

    After the intent it is in doubt. If it did not come, a person's word sends it, once.
    """
    path = tmp_path / "run.db"
    await (await opened(path)).close()
    async with Mailbox(has_tls=False) as mailbox:

        async def run(killed_at: str = "", *, resend: bool = False) -> str:
            sender = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", SENDER, str(path), str(mailbox.port), killed_at),
                "resend" if resend else "",
                stdout=asyncio.subprocess.PIPE,
            )

            def kill(_: object) -> None:
                sender.send_signal(signal.SIGKILL)

            mailbox.actions = {killed_at: kill} if killed_at in STEPS else {}
            async with asyncio.timeout(30):
                output, _ = await sender.communicate()
            assert sender.returncode == (-signal.SIGKILL if killed_at else 0)
            return output.decode().strip()

        await run(step)
        at_the_kill = len(mailbox.received)
        assert at_the_kill == (step in ("END", "before the outcome", "after the outcome"))
        state = await run()
        if step in ("before the intent", "EHLO"):
            assert state == "sent"
        else:
            assert state == ("sent" if step == "after the outcome" else "sending")
            assert len(mailbox.received) == at_the_kill
        assert len(mailbox.received) <= 1
        if not mailbox.received:
            assert await run(resend=True) == "sent"
        assert len(mailbox.received) == 1
