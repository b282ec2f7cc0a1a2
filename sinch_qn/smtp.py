"""A mail server, by SMTP with TLS; says of each email whether it may have been accepted.

Needs the extra `sinch-qn[email]`, which is aiosmtplib.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from email.message import EmailMessage
from typing import Final, Self, TypeVar
from urllib.parse import unquote, urlsplit

import attrs
from aiosmtplib import SMTP, SMTPException, SMTPResponse, SMTPResponseException

from sinch_qn._checks import is_loopback
from sinch_qn._redaction import printable
from sinch_qn.errors import EmailError, InvalidRequestError, Outcome

T = TypeVar("T")

_PORTS: Final = {"smtp": 587, "smtps": 465}
_ANY_CLIENT: Final = "[127.0.0.1]"
"""The name of this machine in EHLO, as mail programs behind a router give it."""
_LINE_WITH_DOT: Final = re.compile(rb"(?m)^\.")
_CHUNK: Final = 1 << 18
"""Bytes to write at a time: each has the timeout of a step."""


@attrs.frozen(kw_only=True)
class MailServer:
    """A mail server that takes emails for others, with its credentials."""

    host: str
    port: int
    username: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    implicit_tls: bool = False
    """TLS from the first byte (`smtps`); otherwise STARTTLS, which is required beyond loopback."""
    tls_context: ssl.SSLContext | None = attrs.field(default=None, repr=False)
    """None: the system's certificate authorities."""
    timeout: float = 60.0
    """Seconds for each step."""
    acceptance_timeout: float = 600.0
    """Seconds for the response to a complete email: it is long, because to give up leaves the
    outcome unknown."""

    @classmethod
    def from_url(
        cls, url: str, *, password: str | None = None, tls_context: ssl.SSLContext | None = None
    ) -> Self:
        """Return the server at *url*, such as `smtp://user@mail.example.com:587` or `smtps://…`.

        Raises `InvalidRequestError`; a password in the URL is refused, because URLs get around.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        if not host or parts.scheme not in _PORTS or parts.path.strip("/") or parts.query:
            raise InvalidRequestError(
                "url: expected smtp://USER@HOST:587 (STARTTLS) or smtps://USER@HOST:465 (TLS)"
            )
        if parts.password is not None:
            raise InvalidRequestError("url: leave the password out, it is passed by itself")
        username = None if parts.username is None else unquote(parts.username)
        if username is not None and password is None:
            raise InvalidRequestError("password: the user of the URL needs one")
        return cls(
            host=host,
            port=port or _PORTS[parts.scheme],
            username=username,
            password=password,
            implicit_tls=parts.scheme == "smtps",
            tls_context=tls_context,
        )

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[MailConnection]:
        """Connect, encrypt and log in, so that one email can be sent; raises `EmailError`."""
        smtp = SMTP(
            hostname=self.host,
            port=self.port,
            username=self.username,
            password=self.password,
            use_tls=self.implicit_tls,
            start_tls=self._start_tls(),
            tls_context=self.tls_context,
            local_hostname=_ANY_CLIENT,
            timeout=self.timeout,
        )
        connection = MailConnection(smtp, self)
        try:
            await connection.connect()
            yield connection
        finally:
            smtp.close()

    def _start_tls(self) -> bool | None:
        """Return whether STARTTLS is required; None if it is used where the server has it."""
        if self.implicit_tls:
            return False
        return None if is_loopback(self.host) else True


class MailConnection:
    """A connection to a mail server, for one email."""

    def __init__(self, smtp: SMTP, server: MailServer) -> None:
        self._smtp = smtp
        self._server = server
        self._writer: asyncio.StreamWriter | None = None
        self._is_complete = False

    @property
    def may_have_been_sent(self) -> bool:
        """Whether the server may have the whole email, and has not refused it."""
        return self._is_complete

    async def connect(self) -> None:
        """Connect, encrypt and log in."""
        await self._step("cannot connect", self._smtp.connect())

    async def deliver(self, message: EmailMessage, content: bytes) -> None:
        """Send *message*, whose bytes are *content*; return once the server has accepted it.

        Raises `EmailError`. Its outcome is UNKNOWN only from the final dot on: without it the
        server has no email.
        """
        (sender,), (recipient,) = (message[name].addresses for name in ("From", "To"))
        await self._step("the sender", self._smtp.mail(sender.addr_spec))
        await self._step("the recipient", self._smtp.rcpt(recipient.addr_spec))
        response = await self._step("the email", self._smtp.execute_command(b"DATA"))
        self._check("the email", *response, expected=354)
        await self._step("the email", self._write(content))
        response = await self._step("the response", self._end())
        self._check("the email", *response, expected=250)

    async def _write(self, content: bytes) -> None:
        """Write the email without its end, and wait until the operating system has it."""
        protocol = self._smtp.protocol
        transport = None if protocol is None else protocol.transport
        if protocol is None or not isinstance(transport, asyncio.Transport):
            raise ConnectionResetError("the connection was lost")
        transport.set_write_buffer_limits(high=1, low=0)
        # Kept until the connection is closed: a writer that is forgotten closes it.
        self._writer = asyncio.StreamWriter(transport, protocol, None, asyncio.get_running_loop())
        stuffed = _LINE_WITH_DOT.sub(b"..", content)
        for start in range(0, len(stuffed), _CHUNK):
            self._writer.write(stuffed[start : start + _CHUNK])
            async with asyncio.timeout(self._server.timeout):
                await self._writer.drain()

    async def _end(self) -> SMTPResponse:
        """Write the end of the email, and wait for the response to it."""
        protocol = self._smtp.protocol
        if protocol is None:
            raise ConnectionResetError("the connection was lost")
        self._is_complete = True
        protocol.write(b".\r\n")
        return await protocol.read_response(timeout=self._server.acceptance_timeout)

    async def _step(self, what: str, doing: Awaitable[T]) -> T:
        """Return the result of one step; raises `EmailError` for whatever goes wrong."""
        try:
            return await doing
        except SMTPResponseException as error:
            self._check(what, error.code, error.message, expected=0)
            raise
        except (SMTPException, OSError, ValueError) as error:
            outcome = Outcome.UNKNOWN if self._is_complete else Outcome.NOT_SENT
            reason = printable(str(error) or type(error).__name__, 200)
            raise EmailError(f"{self._server.host}: {what}: {reason}", outcome=outcome) from error

    def _check(self, what: str, code: int, text: str, *, expected: int) -> None:
        """Raise the error that a response means, unless it is the *expected* one."""
        if code == expected:
            return
        if 400 <= code <= 599:
            self._is_complete = False
        outcome = Outcome.UNKNOWN if self._is_complete else Outcome.NOT_SENT
        if 500 <= code <= 599:
            outcome = Outcome.REJECTED
        message = f"{self._server.host}: {what}: {code} {printable(text, 200)}"
        raise EmailError(message, code=code, outcome=outcome)
