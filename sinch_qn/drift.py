"""What answers hold that this library does not know: logged once, counted, and never an error.

    from sinch_qn import drift

    stop = drift.watch(lambda seen: metrics.increment("sinch.drift", seen.kind))
    drift.counts()  # {Drift(kind='value', where='GlobalProcessState', name='…_PAUSED'): 17}

The API grows without a new version. An unknown value is kept as it came and an unknown field is
ignored; this module is where that can be noticed. It belongs to the process, as logging does.
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
"""How many different ones are told apart; the rest are counted as `OVERFLOW`."""

# Names, and the numbers of an enum. Anything else could be a person's data or forge a log line.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}|-?[0-9]{1,3}", re.ASCII)


@attrs.frozen
class Drift:
    """Something that the API has and this library does not know."""

    kind: Literal["value", "field"]
    where: str
    """The enum that lacks the value, or the model that lacks the field."""
    name: str
    """The value, or the field's name on the wire; `?` if it does not look like one."""


OVERFLOW = Drift("value", "?", "?")
"""Stands for all that came after the first hundred different ones."""

_counts: Counter[Drift] = Counter()
_watchers: list[Callable[[Drift], object]] = []
_lock = threading.Lock()


def counts() -> Mapping[Drift, int]:
    """Return how often each was seen in this process."""
    with _lock:
        return dict(_counts)


def watch(watcher: Callable[[Drift], object]) -> Callable[[], None]:
    """Have *watcher* called the first time each is seen; return what ends that.

    It is called amid the reading of an answer: it should be quick. What it raises is logged.
    """
    _watchers.append(watcher)
    return lambda: _watchers.remove(watcher) if watcher in _watchers else None


def record(kind: Literal["value", "field"], where: str, name: object) -> None:
    """Count what was not known; the first time, log it and tell the watchers."""
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
        except Exception:  # noqa: BLE001 - whatever it was, the answer is good
            _log.exception("a watcher of drift failed")
