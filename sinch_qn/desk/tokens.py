"""Bearer tokens of the HTTP API. The journal keeps their digests, so all replicas agree.

A token is 256 random bits, so a plain SHA-256 of it can be kept: it cannot be guessed from that.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Final

import attrs
import orjson

from sinch_qn.bulk.journal.protocol import Journal
from sinch_qn.errors import InvalidRequestError

_BOOKMARK: Final = "desk token "
_NAME: Final = re.compile(r"[a-z0-9-]{1,32}", re.ASCII)
_TOKEN: Final = re.compile(r"desk_([a-z0-9-]{1,32})_([A-Za-z0-9_-]{43})", re.ASCII)
_NO_DIGEST: Final = "0" * 64


@attrs.frozen
class Token:
    """What is kept of a token."""

    name: str
    made_at: float
    """Seconds since the epoch."""
    revoked_at: float | None
    digest: str = attrs.field(repr=False)


class Tokens:
    """Makes, checks and revokes the tokens of one journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def make(self, name: str) -> str:
        """Return a new token; it is not kept, and cannot be shown again.

        *name* says who has it, and is used once. Raises `InvalidRequestError`.
        """
        if _NAME.fullmatch(name) is None:
            raise InvalidRequestError(
                f"name: {name!r} is not 1 to 32 lower-case letters, digits and hyphens"
            )
        secret = secrets.token_urlsafe(32)
        record = _to_text(Token(name, self._journal.now(), None, _digest(secret)))
        if await self._journal.keep_bookmark(_BOOKMARK + name, record) != record:
            raise InvalidRequestError(f"name: there is or was a token {name!r}; choose another")
        return f"desk_{name}_{secret}"

    async def all(self) -> list[Token]:
        """Return all tokens, also revoked ones, by name."""
        stored = await self._journal.bookmarks(_BOOKMARK)
        tokens = [_of(name.removeprefix(_BOOKMARK), text) for name, text in stored.items()]
        return sorted(tokens, key=lambda token: token.name)

    async def revoke(self, name: str) -> None:
        """Refuse the token from now on, on every replica. Raises `InvalidRequestError`."""
        token = await self._find(name)
        if token is None:
            raise InvalidRequestError(f"name: there is no token {name!r}")
        if token.revoked_at is None:
            revoked = attrs.evolve(token, revoked_at=self._journal.now())
            await self._journal.set_bookmark(_BOOKMARK + name, _to_text(revoked))

    async def read(self, text: str) -> str | None:
        """Return the name of the token *text*; None if it is forged or revoked."""
        parts = _TOKEN.fullmatch(text)
        name, secret = parts.groups() if parts is not None else ("", "")
        token = await self._find(name)
        expected = _NO_DIGEST if token is None else token.digest
        is_right = hmac.compare_digest(_digest(secret), expected)
        return name if is_right and token is not None and token.revoked_at is None else None

    async def _find(self, name: str) -> Token | None:
        text = await self._journal.bookmark(_BOOKMARK + name)
        return None if text is None else _of(name, text)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _to_text(token: Token) -> str:
    values = {"sha256": token.digest, "made": token.made_at, "revoked": token.revoked_at}
    return orjson.dumps(values).decode()


def _of(name: str, text: str) -> Token:
    values = orjson.loads(text)
    return Token(name, values["made"], values["revoked"], values["sha256"])
