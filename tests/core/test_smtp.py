"""Laws of sending an email: what the server says, or does not say, decides its outcome."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
import trustme

from sinch_qn.errors import EmailError, InvalidRequestError, Outcome
from sinch_qn.smtp import MailServer
from tests.support.invoices import composed
from tests.support.mailbox import PASSWORD, STEPS, USER, Mailbox, drop, tls, trusting

(EMAIL,) = composed()


def server_of(mailbox: Mailbox, **options: Any) -> MailServer:
    """Return *mailbox* as a client sees it."""
    usual: dict[str, Any] = {"host": "localhost", "port": mailbox.port, "timeout": 5.0}
    return MailServer(**usual | {"tls_context": trusting()} | options)


async def send(server: MailServer) -> bool:
    """Send the email; return whether it may have been sent."""
    async with server.connect() as connection:
        assert not connection.may_have_been_sent
        try:
            await connection.deliver(EMAIL.message, EMAIL.content)
        finally:
            may_have_been_sent = connection.may_have_been_sent
    return may_have_been_sent


async def test_an_email_arrives_unchanged() -> None:
    """The bytes of the email arrive as they are, also lines that begin with a dot, over TLS."""
    async with Mailbox() as mailbox:
        assert await send(server_of(mailbox))
    assert mailbox.received == [EMAIL.content]
    assert (mailbox.senders, mailbox.recipients) == (["ada@example.com"], [["orders@sinch.com"]])


async def test_dots_are_stuffed() -> None:
    """A line of a single dot does not end an email."""
    content = b"Subject: dots\r\n\r\n.\r\n..\r\n.a\r\n"
    async with Mailbox() as mailbox, server_of(mailbox).connect() as connection:
        await connection.deliver(EMAIL.message, content)
    assert mailbox.received == [content]


async def test_a_large_email_arrives() -> None:
    """An email of 20 MB arrives in pieces that each have a deadline."""
    content = b"Subject: large\r\n\r\n" + b"." * 70 + b"\r\n" + (b"x" * 76 + b"\r\n") * 250_000
    async with Mailbox() as mailbox, server_of(mailbox).connect() as connection:
        await connection.deliver(EMAIL.message, content)
    assert mailbox.received == [content]


def reply(text: str) -> Callable[[Any], str]:
    """Return an action that replies *text*."""
    return lambda _: text


@pytest.mark.parametrize("step", STEPS[1:])
@pytest.mark.parametrize(("code", "outcome"), [(550, Outcome.REJECTED), (451, Outcome.NOT_SENT)])
async def test_a_refused_email_is_not_sent(step: str, code: int, outcome: Outcome) -> None:
    """A refusal at any step, also after the final dot, means that there is no email."""
    async with Mailbox() as mailbox:
        mailbox.actions[step] = reply(f"{code} not you")
        with pytest.raises(EmailError, match=f"{code} not you") as refused:
            await send(server_of(mailbox))
    assert (refused.value.outcome, refused.value.code) == (outcome, code)
    assert mailbox.received == []


@pytest.mark.parametrize("step", STEPS)
async def test_a_lost_connection(step: str) -> None:
    """A lost connection is NOT_SENT up to the final dot, and UNKNOWN after it."""
    async with Mailbox() as mailbox:
        mailbox.actions[step] = drop
        server = server_of(mailbox)
        with pytest.raises(EmailError) as lost:
            await send(server)
    assert lost.value.outcome is (Outcome.UNKNOWN if step == "END" else Outcome.NOT_SENT)


async def test_a_connection_that_is_lost_amid_the_email() -> None:
    """An email whose end was not sent is NOT_SENT, however much of it the server has."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        for answer in (b"250 hello\r\n", b"250 OK\r\n", b"250 OK\r\n", b"354 go on\r\n"):
            await reader.readline()
            writer.write(answer)
        await reader.readexactly(100_000)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, MailServer(host="localhost", port=port).connect() as connection:
        with pytest.raises(EmailError) as lost:
            await connection.deliver(EMAIL.message, b"x" * 70 + b"\r\n" * 10_000_000)
        assert not connection.may_have_been_sent
    assert lost.value.outcome is Outcome.NOT_SENT


@pytest.mark.parametrize("answer", [b"299 perhaps\r\n", b"hello\r\n", b""])
async def test_an_unreadable_response_to_an_email(answer: bytes) -> None:
    """A response that is neither an acceptance nor a refusal leaves the outcome UNKNOWN."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        for reply in (b"250 hello\r\n", b"250 OK\r\n", b"250 OK\r\n", b"354 go on\r\n"):
            await reader.readline()
            writer.write(reply)
        await reader.readuntil(b"\r\n.\r\n")
        writer.write(answer)
        await reader.read()
        writer.close()
        closed.set()

    closed = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    mail = MailServer(
        host="localhost", port=server.sockets[0].getsockname()[1], acceptance_timeout=0.05
    )
    async with server:
        async with mail.connect() as connection:
            with pytest.raises(EmailError) as unreadable:
                await connection.deliver(EMAIL.message, EMAIL.content)
            assert connection.may_have_been_sent
        await closed.wait()
    assert unreadable.value.outcome is Outcome.UNKNOWN


async def test_nobody_is_there() -> None:
    """A server that cannot be reached, or is no mail server, has no email."""
    async with Mailbox() as mailbox:
        server = server_of(mailbox)
    with pytest.raises(EmailError) as refused:
        await send(server)
    assert refused.value.outcome is Outcome.NOT_SENT


@pytest.mark.parametrize("problem", ["untrusted", "another host", "no TLS"])
async def test_tls_is_checked(monkeypatch: pytest.MonkeyPatch, problem: str) -> None:
    """Nothing is sent to a server without a trusted certificate for its name, or without TLS."""
    mailbox = Mailbox(has_tls=problem != "no TLS")
    if problem == "untrusted":
        mailbox._options["tls_context"] = tls(authority=trustme.CA())
    if problem == "another host":
        mailbox._options["tls_context"] = tls("elsewhere.example")
    if problem == "no TLS":  # as for a host that is not this machine
        monkeypatch.setattr("sinch_qn.smtp.is_loopback", lambda _: False)
    async with mailbox:
        with pytest.raises(EmailError) as refused:
            await send(server_of(mailbox))
    assert refused.value.outcome is Outcome.NOT_SENT
    assert mailbox.received == []


async def test_this_machine_needs_no_tls() -> None:
    """A mail server on this machine may lack TLS."""
    async with Mailbox(has_tls=False) as mailbox:
        assert await send(server_of(mailbox))
    assert mailbox.received == [EMAIL.content]


async def test_login(caplog: pytest.LogCaptureFixture) -> None:
    """The user of the URL logs in; a wrong password is a refusal, and no password is shown."""
    caplog.set_level(logging.DEBUG)
    async with Mailbox(needs_login=True) as mailbox:
        url = mailbox.url.replace("://", f"://{USER}@")
        options = {"tls_context": trusting()}
        server = MailServer.from_url(url, password=PASSWORD, **options)
        assert await send(server)
        with pytest.raises(EmailError) as refused:
            await send(MailServer.from_url(url, password="canary-wrong", **options))
    assert refused.value.outcome is Outcome.REJECTED
    assert len(mailbox.received) == 1
    shown = f"{server} {server!r} {refused.value!r}"
    records = [r for r in caplog.records if not r.name.startswith("mail.")]  # the server's own
    assert "canary" not in shown + " ".join(map(str, (r.getMessage() for r in records)))


def test_urls() -> None:
    """A URL gives scheme, host, port and user; its port is that of its scheme by default."""
    server = MailServer.from_url("smtp://ada%40example.com@mail.example.com", password="p")
    assert (server.host, server.port, server.username) == (
        "mail.example.com",
        587,
        "ada@example.com",
    )
    assert not server.implicit_tls
    assert MailServer.from_url("smtps://mail.example.com").port == 465
    assert MailServer.from_url("smtps://mail.example.com").implicit_tls
    assert MailServer.from_url("smtp://mail.example.com:25/").port == 25


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("mail.example.com", "expected smtp://"),
        ("https://mail.example.com", "expected smtp://"),
        ("smtp://", "expected smtp://"),
        ("smtp://host:port", "expected smtp://"),
        ("smtp://host/path", "expected smtp://"),
        ("smtp://ada:canary@host", "leave the password out"),
        ("smtp://ada@host", "password"),
    ],
)
def test_urls_that_are_refused(url: str, names: str) -> None:
    """Another scheme, no host, or a password in the URL is refused; no password is shown."""
    with pytest.raises(InvalidRequestError, match=names) as refused:
        MailServer.from_url(url)
    assert "canary" not in str(refused.value)


async def test_implicit_tls() -> None:
    """With `smtps` the connection is encrypted from its first byte."""
    mailbox = Mailbox(has_tls=False)
    async with mailbox:
        tls_server = await asyncio.get_running_loop().create_server(
            mailbox._protocol, "127.0.0.1", 0, ssl=tls()
        )
        port = tls_server.sockets[0].getsockname()[1]
        assert await send(server_of(mailbox, port=port, implicit_tls=True))
        tls_server.close()
    assert mailbox.received == [EMAIL.content]
