"""A mail server for tests, on a real socket: what it received, and what it does at each step."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any, Self

import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

AUTHORITY = trustme.CA()
USER, PASSWORD = "ada", "canary-password"

Action = Callable[["SMTP"], str | None]
"""What to do at a step: it returns the reply, or None for the usual one."""

STEPS = ("EHLO", "MAIL", "RCPT", "DATA", "END")
"""The steps of an email; DATA is before its content, END after its final dot."""


def tls(host: str = "localhost", authority: trustme.CA = AUTHORITY) -> ssl.SSLContext:
    """Return the TLS settings of a server at *host*."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return context


def trusting() -> ssl.SSLContext:
    """Return the TLS settings of a client that trusts the test's authority."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def drop(server: SMTP) -> None:
    """Drop the connection."""
    transport: Any = server.transport
    transport.abort()


class _Protocol(SMTP):
    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        if reply := self.event_handler.act("DATA", self):
            await self.push(reply)
        else:
            await super().smtp_DATA(arg)


class Mailbox:
    """A server that receives emails until it is left; *actions* are done at the `STEPS`."""

    def __init__(self, *, has_tls: bool = True, needs_login: bool = False) -> None:
        self._options: dict[str, Any] = {"tls_context": tls()} if has_tls else {}
        self._options |= {"auth_required": needs_login, "require_starttls": has_tls}
        self.actions: dict[str, Action] = {}
        self.received: list[bytes] = []
        self.senders: list[str | None] = []
        self.recipients: list[list[str]] = []
        self.port = 0
        self._protocols: list[SMTP] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(
            self._protocol, "127.0.0.1", 0
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for protocol in self._protocols:  # also those whose handshake failed
            if protocol._writer is not None:
                # Before Python 3.11.3 this fails for TLS that has ended.
                with contextlib.suppress(AttributeError):
                    protocol._writer.transport.abort()
        await asyncio.sleep(0)  # they close

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"smtp://localhost:{self.port}"

    def _protocol(self) -> SMTP:
        self._protocols.append(protocol := self._make_protocol())
        return protocol

    def _make_protocol(self) -> SMTP:
        return _Protocol(
            self,
            hostname="mail.example.com",
            authenticator=self._authenticate,
            loop=asyncio.get_running_loop(),
            **self._options,
        )

    def _authenticate(self, *arguments: Any) -> AuthResult:
        login = arguments[-1]
        right = login == LoginPassword(USER.encode(), PASSWORD.encode())
        return AuthResult(success=right, handled=False)

    def act(self, step: str, server: SMTP) -> str | None:
        """Do what is to be done at *step*; return the reply, if it is not the usual one."""
        return self.actions[step](server) if step in self.actions else None

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's names
        self, server: SMTP, session: Session, _: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """Greet."""
        session.host_name = hostname
        reply = self.act("EHLO", server)
        return [reply] if reply else responses

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, _: Session, envelope: Envelope, address: str, __: list[str]
    ) -> str:
        """Take the sender."""
        envelope.mail_from = address
        return self.act("MAIL", server) or "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, _: Session, envelope: Envelope, address: str, __: list[str]
    ) -> str:
        """Take a recipient."""
        envelope.rcpt_tos.append(address)
        return self.act("RCPT", server) or "250 OK"

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, _: Session, envelope: Envelope
    ) -> str:
        """Take the email."""
        reply = self.act("END", server)
        if reply is None or reply.startswith("2"):
            assert isinstance(envelope.original_content, bytes)
            self.received.append(envelope.original_content)
            self.senders.append(envelope.mail_from)
            self.recipients.append(list(envelope.rcpt_tos))
        return reply or "250 OK"
