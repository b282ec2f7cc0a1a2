"""Links to pages: unguessable, signed, and without the number or ref in clear.

A link's token is its subject, encrypted and authenticated at once (AES-SIV), so no table of links
is kept and a run of any size has one for each number. What it says cannot be read or forged without
the secret; a new revision of a subject revokes the tokens made before.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import hmac
from collections.abc import Callable
from typing import Final

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from sinch_qn.bulk.journal.protocol import Journal
from sinch_qn.errors import InvalidRequestError

MIN_SECRET: Final = 32
"""Bytes of a secret."""

_MAX_TOKEN: Final = 1024


class Subject(enum.Enum):
    """What a link is for."""

    NUMBER = "n"
    """A person's page about one number."""
    REF = "r"
    """A person's page about all numbers of a ref."""
    HISTORY = "h"
    """The operator's page about one number."""
    API = "a"
    """The id of a number in the HTTP API."""
    OPERATOR = "o"
    """What the URLs of the operator's pages carry: a search, a place in a list, a message."""


@attrs.frozen
class Link:
    """What a token says."""

    subject: Subject
    value: str
    """The number, or the ref."""
    revision: int = 0
    """How many links of this subject were revoked when the token was made."""


def derive_key(secret: bytes, purpose: str, length: int = 32) -> bytes:
    """Return a key for one *purpose*; keys for others cannot be told from it."""
    digest = hmac.digest(secret, f"sinch-qn desk: {purpose}".encode(), hashlib.sha512)
    return digest[:length]


class Links:
    """Makes and reads the tokens of one journal's pages."""

    def __init__(self, journal: Journal, secret: bytes) -> None:
        if len(secret) < MIN_SECRET:
            raise InvalidRequestError(f"secret: expected at least {MIN_SECRET} bytes")
        self._journal = journal
        self._cipher = AESSIV(derive_key(secret, "links", 64))

    async def token(self, subject: Subject, value: str) -> str:
        """Return the token of the valid link to *value*; always the same until it is revoked."""
        return self.seal(Link(subject, value, await self._revision(subject, value)))

    async def tokens(self, subject: Subject) -> Callable[[str], str]:
        """Return what returns the tokens of all values of *subject*: `token` for many of them.

        Links that are revoked meanwhile are not noticed.
        """
        start = _revision_name(subject, "")
        stored = await self._journal.bookmarks(start)
        revisions = {name.removeprefix(start): int(text) for name, text in stored.items()}
        return lambda value: self.seal(Link(subject, value, revisions.get(value, 0)))

    async def read(self, token: str) -> Link | None:
        """Return what *token* says; None if it is forged, damaged or revoked.

        Each of these reads the journal once, so that the time it takes does not tell them apart.
        """
        link = self.unseal(token)
        known = link or Link(Subject.NUMBER, "")
        revision = await self._revision(known.subject, known.value)
        return link if link is not None and link.revision == revision else None

    async def revoke(self, subject: Subject, value: str) -> None:
        """Make the tokens of *value* invalid; `token` returns a new one from now on."""
        revision = await self._revision(subject, value) + 1
        await self._journal.set_bookmark(_revision_name(subject, value), str(revision))

    def seal(self, link: Link) -> str:
        """Return the token that says *link*."""
        text = f"{link.subject.value}{link.revision}:{link.value}".encode()
        return base64.urlsafe_b64encode(self._cipher.encrypt(text, None)).decode().rstrip("=")

    def unseal(self, token: str) -> Link | None:
        """Return what *token* says, revoked or not; None if it was not made with this secret."""
        if len(token) > _MAX_TOKEN or not token.isascii():
            return None
        try:
            sealed = base64.b64decode(
                token + "=" * (-len(token) % 4), altchars=b"-_", validate=True
            )
            text = self._cipher.decrypt(sealed, None).decode()
        except (binascii.Error, InvalidTag, ValueError):
            return None
        revision, _, value = text[1:].partition(":")
        return Link(Subject(text[0]), value, int(revision))

    async def _revision(self, subject: Subject, value: str) -> int:
        return int(await self._journal.bookmark(_revision_name(subject, value)) or 0)


def _revision_name(subject: Subject, value: str) -> str:
    return f"desk revision {subject.value} {value}"
