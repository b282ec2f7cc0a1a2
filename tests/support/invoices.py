"""Emails with invoices for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from sinch_qn.invoices import Attachment, InvoicedNumber, InvoiceEmail, compose

NUMBERS = ["+12025550134", "+12025550135", "+12025550136"]
PDF = Attachment("january.pdf", b"%PDF-1.7\n.\n..\n" + bytes(range(256)))
DATE = datetime(2026, 1, 13, 14, 30, tzinfo=UTC)


def composed(
    numbers: list[Any] | None = None, attachments: list[Attachment] | None = None, **more: Any
) -> list[InvoiceEmail]:
    """Compose emails; *numbers* are numbers, or pairs of a number and its invoices."""
    pairs = [(n, ()) if isinstance(n, str) else n for n in numbers or NUMBERS[:1]]
    usual: dict[str, Any] = {"sender": "ada@example.com", "date": DATE}
    return compose(
        "project",
        [InvoicedNumber(number, tuple(invoices)) for number, invoices in pairs],
        [PDF] if attachments is None else attachments,
        **usual | more,
    )


def parsed(content: bytes) -> EmailMessage:
    """Return the email that a recipient reads in *content*."""
    message = message_from_bytes(content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def attached(message: EmailMessage) -> dict[str, bytes]:
    """Return the attachments of *message* by name."""
    parts = list(message.iter_attachments())
    return {str(part.get_filename()): part.get_payload(decode=True) for part in parts}  # type: ignore[misc]
