"""Laws of the emails with invoices: complete, small enough, and the same for the same input."""

from __future__ import annotations

import csv
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinch_qn.errors import InvalidRequestError
from sinch_qn.invoices import MAX_SIZE, Attachment, match_invoices
from tests.support.invoices import DATE, NUMBERS, PDF, attached, composed, parsed

A, B, C = (Attachment(f"{name}.pdf", name.encode() * 1000) for name in "abc")


def text_of(content: bytes) -> str:
    """Return the text of an email."""
    body = parsed(content).get_body()
    assert body is not None
    return str(body.get_content())


def listed(content: bytes) -> list[list[str]]:
    """Return the rows of the attached list."""
    return list(csv.reader(attached(parsed(content))["numbers.csv"].decode().splitlines()))


def test_an_email_has_all_that_sinch_needs() -> None:
    """An email has the project, the numbers in its text and as CSV, and the invoices unchanged."""
    (email,) = composed(NUMBERS, sender="Ada Exämple <ada@example.com>")
    message = parsed(email.content)
    assert message["To"] == "orders@sinch.com"
    assert message["From"] == "Ada Exämple <ada@example.com>"
    assert message["Date"].datetime == DATE
    assert message["Message-ID"] == f"<{email.key}@example.com>"
    assert message["Subject"] == "Invoices for 3 numbers, project project"
    assert "Project: project" in text_of(email.content)
    assert all(number in text_of(email.content) for number in NUMBERS)
    assert listed(email.content) == [["phoneNumber"], *([number] for number in NUMBERS)]
    assert attached(message)["january.pdf"] == PDF.content
    assert email.numbers == tuple(NUMBERS)
    assert email.attachments == ("january.pdf",)


def test_the_list_says_which_invoice_covers_which_number() -> None:
    """Numbers that name their invoices have them in the text and in the CSV."""
    (email,) = composed([(NUMBERS[0], ["a.pdf"]), (NUMBERS[1], ["b.pdf", "a.pdf"])], [A, B])
    assert listed(email.content) == [
        ["phoneNumber", "invoice"],
        [NUMBERS[0], "a.pdf"],
        [NUMBERS[1], "b.pdf"],
        [NUMBERS[1], "a.pdf"],
    ]
    assert f"{NUMBERS[1]}  b.pdf, a.pdf" in text_of(email.content)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    sizes=st.lists(st.integers(1, 4000), min_size=1, max_size=8),
    covered=st.lists(st.sets(st.integers(0, 7)), max_size=6),
    max_size=st.integers(7500, 12_000),
)
def test_no_email_is_too_large_and_nothing_is_lost(
    sizes: list[int], covered: list[set[int]], max_size: int
) -> None:
    """Each email, encoded, has at most the size; each invoice and each number is in one.

    A number is in the emails that have its invoices; if none names any, in all.
    """
    attachments = [Attachment(f"{n}é.pdf", bytes([n]) * size) for n, size in enumerate(sizes)]
    names = [attachment.name for attachment in attachments]
    everything = [set(range(len(sizes)))] if any(covered) else [set()]
    wanted = [[names[n] for n in sorted(each) if n < len(sizes)] for each in covered + everything]
    numbers = [
        (f"+1202555{n:04}", each) for n, each in enumerate(wanted) if each or not any(wanted)
    ]
    emails = composed(numbers, attachments, max_size=max_size)
    assert all(len(email.content) <= max_size for email in emails)
    sent = [name for email in emails for name in email.attachments]
    assert sent == names
    for email in emails:
        files = attached(parsed(email.content))
        assert {a.name: a.content for a in attachments if a.name in email.attachments} == {
            name: content for name, content in files.items() if name != "numbers.csv"
        }
        assert email.numbers == tuple(
            number for number, each in numbers if not each or {*each} & {*email.attachments}
        )
    if len(emails) > 1:
        assert f"(1 of {len(emails)})" in parsed(emails[0].content)["Subject"]
    if len(sizes) > 1 and len(emails) == len(sizes):  # emails are filled
        fullest = max(len(email.content) for email in emails)
        assert fullest * 2 > max_size or len(sizes) == 1


def test_the_size_is_the_encoded_one() -> None:
    """Twice 8 MB are over 20 MB once they are encoded, so they are two emails."""
    files = [Attachment(f"{n}.pdf", bytes(8_000_000)) for n in range(2)]
    emails = composed(NUMBERS, files)
    assert [email.attachments for email in emails] == [("0.pdf",), ("1.pdf",)]
    assert all(10_900_000 < len(email.content) < MAX_SIZE for email in emails)
    assert [email.numbers for email in emails] == [tuple(NUMBERS)] * 2


def test_the_key_identifies_the_content() -> None:
    """The same numbers and files have the same key, whatever order, date and sender."""
    (email,) = composed(NUMBERS)
    (again,) = composed(NUMBERS)
    assert again.content == email.content
    (other_day,) = composed(NUMBERS, date=DATE.replace(day=14), sender="bob@example.org")
    assert other_day.key == email.key
    (turned,) = composed(NUMBERS[::-1], [B, A])
    assert turned.key == composed(NUMBERS, [A, B])[0].key
    others = [
        composed(NUMBERS[:2]),
        composed(NUMBERS, [Attachment("january.pdf", b"another")]),
        composed(NUMBERS, [Attachment("february.pdf", PDF.content)]),
        composed([(number, ["january.pdf"]) for number in NUMBERS]),
        composed(NUMBERS, recipient="test@example.com"),
    ]
    keys = {other.key for (other,) in others}
    assert len(keys | {email.key}) == 6


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"attachments": []}, "attachments"),
        ({"attachments": [Attachment("a.pdf", b"")]}, "'a.pdf' is empty"),
        ({"attachments": [A, Attachment("A.pdf", b"1")]}, "two are named 'A.pdf'"),
        ({"attachments": [Attachment("numbers.csv", b"1")]}, "'numbers.csv'"),
        ({"attachments": [Attachment("../a.pdf", b"1")]}, "'../a.pdf'"),
        ({"attachments": [Attachment("a\r\nBcc: b", b"1")]}, "name of a file"),
        ({"attachments": [Attachment("a.pdf", bytes(9000))], "max_size": 9000}, "split the file"),
        ({"numbers": ["2025550134"]}, "'2025550134'"),
        ({"numbers": [(NUMBERS[0], ["b.pdf"])], "attachments": [A]}, "'b.pdf'"),
        ({"numbers": [(NUMBERS[0], ["a.pdf"])], "attachments": [A, B]}, "no number names 'b.pdf'"),
        ({"numbers": [(NUMBERS[0], ["a.pdf"]), NUMBERS[1]], "attachments": [A]}, "no invoice"),
        ({"date": DATE.replace(tzinfo=None)}, "time zone"),
        ({"sender": "ada"}, "'ada'"),
        ({"sender": "a@b@c"}, "sender"),
        ({"sender": "a@example.com, b@example.com"}, "sender"),
        ({"sender": "a@example.com\r\nBcc: b@example.com"}, "sender"),
        ({"sender": "ä@example.com"}, "sender"),
        ({"recipient": ""}, "recipient"),
        ({"max_size": 0}, "max_size"),
    ],
)
def test_what_cannot_be_sent_is_refused(arguments: dict[str, Any], names: str) -> None:
    """An argument that cannot be sent is refused with a message that names it."""
    with pytest.raises(InvalidRequestError) as refused:
        composed(**arguments)
    assert names in str(refused.value)


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("", ()),
        (" a.pdf ", ("a.pdf",)),
        ("A", ("a.pdf",)),
        ("a.PDF;b", ("a.pdf", "b.pdf")),
        ("b; b.pdf ;", ("b.pdf",)),
        ("x;y.pdf", ("x;y.pdf",)),
        ("c.PNG", ("c.png",)),
    ],
)
def test_a_cell_names_attachments(cell: str, found: tuple[str, ...]) -> None:
    """A cell of the column has names of files, in any case, with or without their endings."""
    assert match_invoices(cell, ["a.pdf", "b.pdf", "x;y.pdf", "c.png", "c.jpg"]) == found


@pytest.mark.parametrize(("cell", "reason"), [("d", "not attached"), ("c", "c.png or c.jpg")])
def test_a_cell_that_names_nothing(cell: str, reason: str) -> None:
    """A name without an attachment, or with several, is refused."""
    with pytest.raises(InvalidRequestError, match=reason):
        match_invoices(cell, ["a.pdf", "c.png", "c.jpg"])
