"""Emails with invoices, each sent at most once: its intent is in a journal before."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterable

import attrs

from sinch_qn.bulk.at_most_once import at_most_once
from sinch_qn.bulk.journal.deliveries import CLAIMABLE, Deliveries, DeliveryState
from sinch_qn.errors import Outcome, SinchError
from sinch_qn.invoices import InvoiceEmail
from sinch_qn.smtp import MailConnection, MailServer

_NOTE_CUT_OFF = "cut off"


@attrs.define(kw_only=True)
class _Email:
    """An `UnsafeWrite` that sends one email."""

    email: InvoiceEmail
    deliveries: Deliveries
    again_from: Collection[DeliveryState]
    clock: Callable[[], float]

    async def commit_intent(self) -> int | None:
        """Claim the email; None if another process did meanwhile."""
        return await self.deliveries.claim(
            self.email.key, self.email.numbers, self.clock(), again_from=self.again_from
        )

    async def send(self, intent: int, prepared: MailConnection) -> None:  # noqa: ARG002
        """Send the email."""
        await prepared.deliver(self.email.message, self.email.content)

    async def withdraw(self, intent: int) -> None:
        """Record that the email was not sent."""
        await self.record(intent, DeliveryState.NOT_SENT, _NOTE_CUT_OFF)

    async def mark_unknown(self, intent: int) -> None:
        """Record that the email may have been sent."""
        await self.record(intent, DeliveryState.UNKNOWN, _NOTE_CUT_OFF)

    async def record(self, intent: int, state: DeliveryState, note: str | None = None) -> None:
        """Record an outcome."""
        await self.deliveries.record(self.email.key, intent, state, note=note)


async def send_invoices(
    emails: Iterable[InvoiceEmail],
    deliveries: Deliveries,
    server: MailServer,
    *,
    again_from: Collection[DeliveryState] = CLAIMABLE,
    clock: Callable[[], float] = time.time,
) -> AsyncGenerator[tuple[InvoiceEmail, DeliveryState], None]:
    """Send each of *emails* at most once; yield it with its state once that is known.

    *deliveries* are those of an open journal: `journal.deliveries`. An email that they know is
    skipped and yielded with the state that it has there, unless that is in *again_from*. To send
    one whose outcome is unknown again takes a person's word that it did not arrive.

    Raises the `EmailError` of an email that was not accepted, and sends no other; repeat the call
    to go on. Its outcome is in the journal, and UNKNOWN if the response was lost.
    """
    for email in emails:
        known = {row.key: row.state for row in await deliveries.all()}.get(email.key)
        if known is not None and known not in again_from:
            yield email, known
            continue
        write = _Email(email=email, deliveries=deliveries, again_from=again_from, clock=clock)
        async with server.connect() as connection:
            sent = await at_most_once(write, connection)
            if sent is not None:
                intent, result = sent
                if isinstance(result, SinchError):
                    unknown = result.outcome is Outcome.UNKNOWN
                    state = DeliveryState.UNKNOWN if unknown else DeliveryState.NOT_SENT
                    await write.record(intent, state, str(result))
                    raise result
                await write.record(intent, DeliveryState.SENT)
        yield email, DeliveryState.SENT if sent is not None else DeliveryState.SENDING


async def record_written(
    email: InvoiceEmail,
    deliveries: Deliveries,
    where: str,
    *,
    clock: Callable[[], float] = time.time,
) -> None:
    """Record that *email* was written to a file, for a person to send; not if it was sent."""
    intent = await deliveries.claim(email.key, email.numbers, clock())
    if intent is not None:
        await deliveries.record(email.key, intent, DeliveryState.WRITTEN, note=where)
