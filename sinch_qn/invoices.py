"""Emails with the invoices that prove ownership of numbers, composed; no I/O.

After `addNumbers` the invoices of the numbers go to orders@sinch.com, which takes 1 to 3 working
days. `sinch_qn.bulk.invoice_emails` sends what `compose` returns, each email at most once.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from typing import Final

import attrs

from sinch_qn._checks import check_project_id, check_whole
from sinch_qn.errors import InvalidRequestError
from sinch_qn.phone import check_e164, mask

ORDERS_ADDRESS: Final = "orders@sinch.com"
"""Where the invoices go, by the reference of addNumbers."""

MAX_SIZE: Final = 20_000_000
"""Bytes of an email as it is sent: attachments grow by 37 % when they are encoded."""

_TYPES: Final = {
    "pdf": ("application", "pdf"),
    "png": ("image", "png"),
    "jpg": ("image", "jpeg"),
    "jpeg": ("image", "jpeg"),
    "tif": ("image", "tiff"),
    "tiff": ("image", "tiff"),
}
_OTHER_TYPE: Final = ("application", "octet-stream")
_BOUNDARY_SIZE: Final = 100
"""Bytes around a part, rounded up."""
_TEXT_MARGIN: Final = 200
"""Bytes that `1 of 3` adds to subject and text, rounded up."""
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f/\\]{1,200}")


@attrs.frozen
class Attachment:
    """A file to attach, such as a PDF with invoices."""

    name: str
    content: bytes = attrs.field(repr=False)


@attrs.frozen
class InvoicedNumber:
    """A phone number, and the names of the attachments with its invoices."""

    phone_number: str
    invoices: tuple[str, ...] = ()
    """Empty if it is not said which attachment covers it."""


@attrs.frozen(kw_only=True)
class InvoiceEmail:
    """One email to Sinch, ready to be sent."""

    key: str
    """Identifies its numbers and attachments: the same ones have the same key, whatever their
    order, the date or the sender. Its Message-ID begins with it."""
    message: EmailMessage = attrs.field(repr=False)
    content: bytes = attrs.field(repr=False)
    """The message as it is sent, and as an `.eml` file has it."""
    numbers: tuple[str, ...] = attrs.field(repr=False)
    attachments: tuple[str, ...]
    """Names, without the list of numbers."""


def compose(
    project_id: str,
    numbers: Iterable[InvoicedNumber],
    attachments: Sequence[Attachment],
    *,
    sender: str,
    date: datetime,
    recipient: str = ORDERS_ADDRESS,
    max_size: int = MAX_SIZE,
) -> list[InvoiceEmail]:
    """Compose the emails to Sinch: one, or several if it would be larger than *max_size* bytes.

    Each has the project id, its numbers in the text and in an attached `numbers.csv`, and
    attachments. If the numbers say which attachments cover them, an email lists the numbers of its
    own attachments; otherwise each lists all numbers. *sender* is an address, also with a name:
    `Ada <ada@example.com>`. *date* must have a time zone.

    Pure: the same arguments give the same bytes. Raises `InvalidRequestError` for an argument that
    cannot be sent, such as an attachment that is too large by itself, or a number whose invoice is
    not attached. (addNumbers)
    """
    check_project_id(project_id)
    check_whole(max_size, "max_size")
    if date.tzinfo is None:
        raise InvalidRequestError(f"date: {date} has no time zone")
    known = _check_attachments(attachments)
    numbers = _check_numbers(numbers, known)
    draft = _Draft(project_id, _address(sender, "sender"), _address(recipient, "recipient"), date)
    groups = list(_split(draft, numbers, attachments, max_size))
    emails = [
        draft.email(covered, group, part, len(groups))
        for part, (covered, group) in enumerate(groups, 1)
    ]
    for email in emails:
        if len(email.content) > max_size:
            raise _too_large(email, max_size)
    return emails


def match_invoices(cell: str, names: Collection[str]) -> tuple[str, ...]:
    """Return the attachments that *cell* of an `invoice` column names, separated by semicolons.

    Examples:
        >>> match_invoices("2026-01; feb.PDF", ["2026-01.pdf", "feb.pdf"])
        ('2026-01.pdf', 'feb.pdf')

    A name may lack its ending, and may be in another case. Raises `InvalidRequestError` for one
    that is not among *names*, or could be several.
    """
    if cell.strip() in names:
        return (cell.strip(),)
    wanted = [name for part in cell.split(";") if (name := part.strip())]
    return tuple(dict.fromkeys(_only_match(name, names) for name in wanted))


def _only_match(wanted: str, names: Collection[str]) -> str:
    if wanted in names:
        return wanted
    plain = wanted.casefold()
    found = [n for n in names if plain in (n.casefold(), n.casefold().rpartition(".")[0])]
    if len(found) == 1:
        return found[0]
    problem = f"could be {' or '.join(found)}" if found else "is not attached"
    raise InvalidRequestError(f"invoice: {wanted[:100]!r} {problem}")


# ── Checks ──────────────────────────────────────────────────────────────────────────────────────


def _check_attachments(attachments: Sequence[Attachment]) -> set[str]:
    if not attachments:
        raise InvalidRequestError("attachments: expected one or more files with invoices")
    names: set[str] = set()
    for attachment in attachments:
        name = attachment.name
        if not _NAME.fullmatch(name):
            raise InvalidRequestError(f"attachments: {name[:100]!r} is not the name of a file")
        if name.casefold() in {*map(str.casefold, names), _LIST_NAME}:
            raise InvalidRequestError(f"attachments: two are named {name!r}: rename one")
        if not attachment.content:
            raise InvalidRequestError(f"attachments: {name!r} is empty")
        names.add(name)
    return names


def _check_numbers(numbers: Iterable[InvoicedNumber], known: set[str]) -> list[InvoicedNumber]:
    """Return *numbers*, each once with all its invoices."""
    merged: dict[str, tuple[str, ...]] = {}
    for number in numbers:
        before = merged.get(check_e164(number.phone_number), ())
        if missing := [name for name in number.invoices if name not in known]:
            raise InvalidRequestError(
                f"invoices: {missing[0][:100]!r} of {mask(number.phone_number)} is not attached"
            )
        merged[number.phone_number] = tuple(dict.fromkeys((*before, *number.invoices)))
    if not merged:
        raise InvalidRequestError("numbers: expected one or more")
    used = {name for names in merged.values() for name in names}
    bare = [number for number, names in merged.items() if not names]
    if used and bare:
        raise InvalidRequestError(
            f"numbers: {len(bare)} have no invoice, such as {mask(bare[0])}: name one for each"
            " number, or for none"
        )
    if used and (unused := known - used):
        raise InvalidRequestError(
            f"attachments: no number names {min(unused)!r}: leave it out, or name it"
        )
    return [InvoicedNumber(number, names) for number, names in merged.items()]


def _address(text: str, field: str) -> str:
    """Return *text* if it is one address, which an SMTP server takes."""
    problem = InvalidRequestError(f"{field}: {text[:100]!r} is not an email address")
    if not text.isprintable():
        raise problem
    message = EmailMessage()
    try:
        message["From"] = text
        (found,) = message["From"].addresses
        address = Address(addr_spec=found.addr_spec)
    except (ValueError, IndexError, MessageError) as error:
        raise problem from error
    if message["From"].defects or not (address.domain and address.addr_spec.isascii()):
        raise problem
    return text


def _too_large(email: InvoiceEmail, max_size: int) -> InvalidRequestError:
    size, most = len(email.content) / 1e6, max_size / 1e6
    return InvalidRequestError(
        f"attachments: with {email.attachments[0]!r} alone the email has {size:.1f} MB, but at most"
        f" {most:g} MB are accepted: split the file, or compress its pictures"
    )


# ── Emails ──────────────────────────────────────────────────────────────────────────────────────

_LIST_NAME: Final = "numbers.csv"

_Group = tuple[Sequence[InvoicedNumber], Sequence[Attachment]]
"""The numbers and the attachments of one email."""


def _split(
    draft: _Draft,
    numbers: Sequence[InvoicedNumber],
    attachments: Sequence[Attachment],
    max_size: int,
) -> Iterator[_Group]:
    """Put attachments into one email in their order while they fit."""
    group: list[Attachment] = []
    size = 0
    for attachment in attachments:
        more = _encoded_size(attachment)
        rest = draft.email(_covered(numbers, [*group, attachment]), [], 1, 1)
        if group and len(rest.content) + _TEXT_MARGIN + size + more > max_size:
            yield _covered(numbers, group), group
            group, size = [], 0
        group.append(attachment)
        size += more
    yield _covered(numbers, group), group


def _covered(
    numbers: Sequence[InvoicedNumber], group: Sequence[Attachment]
) -> Sequence[InvoicedNumber]:
    """Return the numbers whose invoices are in *group*, with those only."""
    names = {attachment.name for attachment in group}
    if not numbers[0].invoices:
        return numbers
    own = [attrs.evolve(n, invoices=tuple(i for i in n.invoices if i in names)) for n in numbers]
    return [number for number in own if number.invoices]


def _encoded_size(attachment: Attachment) -> int:
    """Return the size of an attachment in an email, and of its name in the text: not too small."""
    head = len(_part(attrs.evolve(attachment, content=b"")).as_bytes())
    name = 4 * len(attachment.name.encode())
    length = len(attachment.content)
    body = 4 * math.ceil(length / 3) + 2 * math.ceil(length / 57)  # base64, 76 characters a line
    return head + body + name + _BOUNDARY_SIZE


def _part(attachment: Attachment) -> EmailMessage:
    part = EmailMessage(policy=SMTP)
    main, sub = _TYPES.get(attachment.name.casefold().rpartition(".")[2], _OTHER_TYPE)
    part.set_content(
        attachment.content,
        maintype=main,
        subtype=sub,
        disposition="attachment",
        filename=attachment.name,
    )
    del part["MIME-Version"]  # the whole message has it
    return part


@attrs.frozen
class _Draft:
    """What all emails have in common."""

    project_id: str
    sender: str
    recipient: str
    date: datetime

    def email(
        self,
        numbers: Sequence[InvoicedNumber],
        attachments: Sequence[Attachment],
        part: int,
        parts: int,
    ) -> InvoiceEmail:
        """Return one email, the *part*th of *parts*."""
        key = self._key(numbers, attachments)
        message = EmailMessage(policy=SMTP)
        message["From"], message["To"], message["Date"] = self.sender, self.recipient, self.date
        message["Message-ID"] = f"<{key}@{message['From'].addresses[0].domain}>"
        of = f" ({part} of {parts})" if parts > 1 else ""
        count = f"{len(numbers)} {'number' if len(numbers) == 1 else 'numbers'}"
        message["Subject"] = f"Invoices for {count}, project {self.project_id}{of}"
        names = [attachment.name for attachment in attachments]
        message.set_content(self._text(numbers, names, part, parts), cte="quoted-printable")
        table = "\r\n".join(_csv(numbers)) + "\r\n"
        message.add_attachment(table, subtype="csv", filename=_LIST_NAME, cte="base64")
        for attachment in attachments:
            message.attach(_part(attachment))
        message.set_boundary(f"=={key}==")
        return InvoiceEmail(
            key=key,
            message=message,
            content=message.as_bytes(),
            numbers=tuple(number.phone_number for number in numbers),
            attachments=tuple(names),
        )

    def _key(self, numbers: Sequence[InvoicedNumber], attachments: Sequence[Attachment]) -> str:
        digest = hashlib.sha256(f"{self.project_id}\n{self.recipient}\n".encode())
        files = [f"{a.name}\n{hashlib.sha256(a.content).hexdigest()}" for a in attachments]
        for line in (*sorted(_csv(numbers)), *sorted(files)):
            digest.update(f"{line}\n".encode())
        return digest.hexdigest()[:40]

    def _text(
        self, numbers: Sequence[InvoicedNumber], names: Sequence[str], part: int, parts: int
    ) -> str:
        several = [f"This is email {part} of {parts}.", ""] if parts > 1 else []
        lines = ("  ".join((n.phone_number, ", ".join(n.invoices))).rstrip() for n in numbers)
        return "\n".join(
            [
                f"Project: {self.project_id}",
                "",
                "Attached are the invoices of phone numbers that were submitted for qualification.",
                "",
                *several,
                f"Numbers ({len(numbers)}, also in {_LIST_NAME}):",
                *lines,
                "",
                f"Invoices ({len(names)}):",
                *names,
                "",
            ]
        )


def _csv(numbers: Sequence[InvoicedNumber]) -> Iterator[str]:
    """Yield the lines of the list; a number with several invoices has several."""
    has_invoices = bool(numbers and numbers[0].invoices)
    yield "phoneNumber,invoice" if has_invoices else "phoneNumber"
    for number in numbers:
        for invoice in number.invoices:
            quoted = invoice.replace('"', '""')
            yield f'{number.phone_number},"{quoted}"'
        if not number.invoices:
            yield number.phone_number
