"""Unknown values, fields and types in responses: logged once, counted, never an error.

    from sinch_qn import drift

    stop = drift.watch(lambda drift: metrics.increment("sinch.drift", drift.kind))
    drift.counts()  # {Drift(kind='value', where='GlobalProcessState', name='…_PAUSED'): 17}

The API adds values and fields without a new version. An unknown value is kept unchanged and an
unknown field is ignored; a field of another type than documented is None. This module reports all
three. Its state is global to the process.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Literal

import attrs

_log = logging.getLogger("sinch_qn")

_MAX_DISTINCT = 100
"""Distinct drifts that are counted separately; all others count as `OVERFLOW`."""

# Names, and the numbers of an enum. Anything else could be personal data or forge a log line.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}|-?[0-9]{1,3}", re.ASCII)


@attrs.frozen
class Drift:
    """A value or field of the API that this library does not know."""

    kind: Literal["value", "field", "type"]
    """`type`: a field or an item that cannot be read, and is None or left out."""
    where: str
    """The enum that lacks the value, or the model that lacks the field or the type."""
    name: str
    """The value, the field's wire name, or `item`; `?` if it does not look like a name."""


OVERFLOW = Drift("value", "?", "?")
"""Counts all drifts after the first hundred distinct ones."""

_counts: Counter[Drift] = Counter()
_watchers: list[Callable[[Drift], object]] = []
_lock = threading.Lock()


def counts() -> Mapping[Drift, int]:
    """Return how often each drift occurred in this process."""
    with _lock:
        return dict(_counts)


def watch(watcher: Callable[[Drift], object]) -> Callable[[], None]:
    """Call *watcher* at the first occurrence of each drift; return a function that stops it.

    It runs while a response is read, so it should be fast. Its exceptions are logged.
    """
    _watchers.append(watcher)
    return lambda: _watchers.remove(watcher) if watcher in _watchers else None


def record(kind: Literal["value", "field", "type"], where: str, name: object) -> None:
    """Count an unknown value, field or type; the first time, log it and call the watchers."""
    text = str(name) if isinstance(name, int) else name
    shown = text if isinstance(text, str) and _NAME.fullmatch(text) else "?"
    drift = Drift(kind, where, shown)
    with _lock:
        if drift not in _counts and len(_counts) >= _MAX_DISTINCT:
            drift = OVERFLOW
        _counts[drift] += 1
        if _counts[drift] > 1:
            return
    _log.warning("the API has an unknown %s: %s %s", drift.kind, drift.where, drift.name)
    for watcher in tuple(_watchers):
        try:
            watcher(drift)
        except Exception:  # noqa: BLE001 - the response is valid nevertheless
            _log.exception("a drift watcher failed")
