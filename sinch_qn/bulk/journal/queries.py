"""Questions about a run's numbers: pages of them, by state, text or ref; a number's history.

A page costs one walk through an index, or one scan of the numbers: bounded at 10^6. The next page
begins at the cursor of the one before, wherever numbers moved meanwhile (keyset paging).
"""

from __future__ import annotations

import base64
import binascii
import enum
import re
from collections.abc import Collection, Sequence
from typing import Protocol, TypeAlias

import attrs
import orjson

from sinch_qn._checks import check_whole
from sinch_qn.bulk.states import ChallengeState, Entry
from sinch_qn.errors import InvalidRequestError

MAX_LIMIT = 1000
"""Entries in a page, at most."""

CHUNK = 500
"""Numbers in one query of `get_many`."""


class EntryOrder(enum.Enum):
    """What the entries of a page are sorted by; those that are alike stay in the order added."""

    ADDED = "added"
    NUMBER = "number"
    CALLED = "called"
    """The last call; numbers that were not called count as the oldest."""
    SETTLED = "settled"
    """When they settled; numbers that are not settled count as the oldest."""


def _to_set(states: Collection[ChallengeState]) -> frozenset[ChallengeState]:
    return frozenset(states)


@attrs.frozen(kw_only=True)
class EntryQuery:
    """Which entries, and in what order. Every condition given must hold."""

    states: Collection[ChallengeState] = attrs.field(default=(), converter=_to_set)
    """Empty: all."""
    text: str = ""
    """Digits within the number, punctuated or not, or the beginning of the ref in any case (of
    ASCII letters)."""
    ref: str | None = None
    """The whole ref, exactly."""
    order: EntryOrder = EntryOrder.ADDED
    descending: bool = False

    @property
    def digits(self) -> str:
        """The digits of `text`; empty if it has other characters than those of phone numbers."""
        return "" if _NO_NUMBER.search(self.text) else _NO_DIGIT.sub("", self.text)

    @property
    def prefix(self) -> str:
        """The beginning of a ref, without spaces around it."""
        return self.text.strip()


_NO_NUMBER = re.compile(r"[^0-9\s+().\-]")
_NO_DIGIT = re.compile(r"[^0-9]")


@attrs.frozen(kw_only=True)
class EntryPage:
    """Some of the entries that a query finds."""

    entries: Sequence[Entry]
    next: str | None
    """The cursor of the next page: `find(query, after=page.next)`; None: this is the last one."""


@attrs.frozen(kw_only=True)
class HistoryItem:
    """Something that a run did about a number, or a code that it received. Never the code itself.

    An unsafe write that was not sent is not in a history: it had no effect.
    """

    what: str
    """`add`, `call` or `verify`, an unsafe write; or `code`, which was received."""
    attempt: int
    """The number of the call that it belongs to."""
    at: float
    """When the intent was committed, or the code received; in seconds since the epoch."""
    outcome: str | None
    """`done`, `rejected` or `unknown`; None: there is none yet. Of a code: `waiting`, `in flight`
    or `used`; codes are forgotten when their number settles."""
    outcome_at: float | None
    """When the outcome was committed; None for a code."""


class Queries(Protocol):
    """What a journal tells of its numbers while others write it."""

    async def find(
        self, query: EntryQuery, *, limit: int = 50, after: str | None = None
    ) -> EntryPage:
        """Return up to *limit* entries, those behind the cursor *after*.

        Raises `InvalidRequestError` if that is no cursor of *query*, or *limit* is above 1000.
        """
        ...

    async def get_many(self, numbers: Collection[str]) -> dict[str, Entry]:
        """Return the entries of those of *numbers* that have one."""
        ...

    async def history(self, number: str) -> list[HistoryItem]:
        """Return what happened to *number*, oldest first; nothing for a number without an entry."""
        ...

    async def keep_bookmark(self, name: str, value: str) -> str:
        """Store *value* as *name* if nothing is stored there; return what is, durably."""
        ...

    async def bookmarks(self, prefix: str) -> dict[str, str]:
        """Return all bookmarks whose name begins with *prefix*."""
        ...


Key: TypeAlias = tuple[float | str, ...]
"""The place of an entry in an order: what it is sorted by, then, if that is not unique, when it was
added."""


def check_limit(limit: int) -> int:
    """Return *limit*, checked."""
    return check_whole(limit, "limit", maximum=MAX_LIMIT)


def key_of(query: EntryQuery, seq: int, entry: Entry) -> Key:
    """Return the key of *entry*, which was the *seq*-th that was added."""
    match query.order:
        case EntryOrder.ADDED:
            return (seq,)
        case EntryOrder.NUMBER:
            return (entry.number,)
        case EntryOrder.CALLED:
            return (entry.called_at or 0.0, seq)
        case EntryOrder.SETTLED:
            return (entry.settled_at or 0.0, seq)


def page_of(query: EntryQuery, found: Sequence[tuple[int, Entry]], limit: int) -> EntryPage:
    """Return the page of what was *found*, with one more than *limit* if there is a next one."""
    entries = [entry for _, entry in found[:limit]]
    cursor = to_cursor(query, key_of(query, *found[limit - 1])) if len(found) > limit else None
    return EntryPage(entries=entries, next=cursor)


def to_cursor(query: EntryQuery, key: Key) -> str:
    """Return the cursor of a place in the order of *query*."""
    value = [query.order.value, query.descending, *key]
    return base64.urlsafe_b64encode(orjson.dumps(value)).decode().rstrip("=")


def from_cursor(query: EntryQuery, cursor: str) -> Key:
    """Return the place that *cursor* marks. Raises `InvalidRequestError`: it may be forged."""
    types = {EntryOrder.ADDED: (int,), EntryOrder.NUMBER: (str,)}.get(query.order, (float, int))
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        order, descending, *key = orjson.loads(base64.urlsafe_b64decode(padded.encode()))
        is_right = (order, descending) == (query.order.value, query.descending)
        if is_right and tuple(map(type, key)) == types and all(map(_is_storable, key)):
            return tuple(key)
    except (ValueError, TypeError, binascii.Error):
        pass
    raise InvalidRequestError("after: this is no cursor of this query: begin with the first page")


def _is_storable(value: float | str) -> bool:
    """Return whether every database can compare *value*."""
    return "\0" not in value if isinstance(value, str) else abs(value) < 2**63


def has_text(query: EntryQuery, entry: Entry) -> bool:
    """Return whether *entry* has the text of *query*."""
    if query.digits and query.digits in entry.number:
        return True
    start = (entry.ref or "")[: len(query.prefix)]
    return entry.ref is not None and start.translate(_LOWER) == query.prefix.translate(_LOWER)


_LOWER = {letter: letter + 32 for letter in range(ord("A"), ord("Z") + 1)}


def like(text: str) -> str:
    r"""Return *text* as a pattern of LIKE means itself: its wildcards are escaped by `\`."""
    return re.sub(r"([\\%_])", r"\\\1", text)


def history_of(items: Collection[HistoryItem]) -> list[HistoryItem]:
    """Return *items* oldest first; a code that came as it was sent stands before."""
    return sorted(items, key=lambda item: (item.at, _RANKS[item.what]))


_RANKS = {"add": 0, "call": 1, "code": 2, "verify": 3}
