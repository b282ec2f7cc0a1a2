"""Logins of operators: a secret to log in with, and signed cookies that expire.

Secret and signatures derive from the desk's signing secret and a generation that the journal keeps,
so that all replicas agree, and a new generation ends every login and the secret with it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Callable
from typing import Final

import attrs

from sinch_qn.bulk.journal.protocol import Journal
from sinch_qn.desk.links import derive_key

IDLE: Final = 1800.0
"""Seconds after which a login that is not used ends."""
LIFETIME: Final = 43_200.0
"""Seconds after which a login ends, used or not."""
RENEW: Final = 60.0
"""Seconds after which the cookie of a login that is used is replaced."""

_GENERATION: Final = "desk logins"
_SECRET_BYTES: Final = 15
_GROUP: Final = 4
_LOOK_ALIKES: Final = str.maketrans({"0": "O", "1": "I", "8": "B", " ": "", "-": ""})


@attrs.frozen
class Session:
    """A browser's session: before a login it only ties a form to its browser."""

    id: str
    started: float
    renewed: float
    is_operator: bool
    generation: str


@attrs.define(eq=False)
class Sessions:
    """Makes, reads and ends the sessions of one journal's desks."""

    _journal: Journal
    _secret: bytes
    _clock: Callable[[], float]

    @property
    def name(self) -> str:
        """The name of the cookie."""
        return f"desk_{derive_key(self._secret, 'cookie name', 4).hex()}"

    async def operator_secret(self) -> str:
        """Return the secret that operators log in with, in groups of letters and digits."""
        key = derive_key(self._secret, f"operator {await self._generation()}", _SECRET_BYTES)
        text = base64.b32encode(key).decode()
        return "-".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))

    async def is_operator_secret(self, text: str) -> bool:
        """Return whether *text* is the operators' secret, however it is grouped."""
        expected = _plain(await self.operator_secret())
        return hmac.compare_digest(_plain(text).encode(), expected.encode())

    async def replace_secret(self) -> str:
        """End all logins; return the new secret."""
        await self._journal.set_bookmark(_GENERATION, secrets.token_hex(8))
        return await self.operator_secret()

    async def start(self, *, is_operator: bool) -> Session:
        """Return a new session."""
        now = self._clock()
        return Session(secrets.token_urlsafe(16), now, now, is_operator, await self._generation())

    async def read(self, cookie: str) -> Session | None:
        """Return the session of *cookie*; None if it is forged, expired or ended."""
        session = self._unseal(cookie)
        return session if session is not None and await self.is_open(session) else None

    async def is_open(self, session: Session) -> bool:
        """Return whether *session* is neither expired nor ended."""
        now = self._clock()
        if not (now < session.renewed + IDLE and now < session.started + LIFETIME):
            return False
        if session.generation != await self._generation():
            return False
        return not session.is_operator or await self._journal.bookmark(_ended(session)) is None

    def renew(self, session: Session) -> Session | None:
        """Return *session* to be kept for longer; None if that is not due."""
        now = self._clock()
        return attrs.evolve(session, renewed=now) if now > session.renewed + RENEW else None

    async def end(self, session: Session) -> None:
        """End *session* on every replica, also for copies of its cookie."""
        await self._journal.set_bookmark(_ended(session), "")

    def seal(self, session: Session) -> str:
        """Return the cookie of *session*."""
        kind = "o" if session.is_operator else "a"
        values = (kind, session.id, session.started, session.renewed, session.generation)
        text = ":".join(map(str, values)).encode()
        return f"{_encode(text)}.{_encode(self._sign('session', text))}"

    def form_token(self, session: Session) -> str:
        """Return what each form of *session* carries, and no other site knows."""
        return _encode(self._sign("form", session.id.encode()))

    def is_form_token(self, session: Session, token: object) -> bool:
        """Return whether a form with *token* was made for *session*."""
        expected = self.form_token(session)
        return isinstance(token, str) and hmac.compare_digest(token.encode(), expected.encode())

    def _unseal(self, cookie: str) -> Session | None:
        text, _, signature = cookie.partition(".")
        try:
            content, signed = _decode(text), _decode(signature)
        except (binascii.Error, ValueError):
            return None
        if not hmac.compare_digest(signed, self._sign("session", content)):
            return None
        kind, name, started, renewed, generation = content.decode().split(":")
        return Session(name, float(started), float(renewed), kind == "o", generation)

    def _sign(self, purpose: str, content: bytes) -> bytes:
        return hmac.digest(derive_key(self._secret, purpose), content, "sha256")

    async def _generation(self) -> str:
        return await self._journal.bookmark(_GENERATION) or ""


def _plain(secret: str) -> str:
    return secret.upper().translate(_LOOK_ALIKES).strip()


def _ended(session: Session) -> str:
    return f"desk login ended {session.id}"


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
