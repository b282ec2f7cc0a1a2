"""Messages for people, on standard error: standard output carries results only."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, Final

import click

from sinch_qn._redaction import printable

_COLORS: Final = {"error": "red", "outcome unknown": "red", "warning": "yellow"}


def print_message(text: str, kind: str = "", file: Any = None) -> None:
    """Print a message to standard error, after its *kind*, such as `warning`.

    A message that nobody can read any more stops nothing. *file* is written in place of
    standard error.
    """
    head = f"{kind}: " if kind else ""
    if kind and has_styles():
        head = click.style(head, fg=_COLORS.get(kind), bold=True)
    with suppress(OSError):
        click.echo(head + printable(text), err=True, file=file)


def has_styles() -> bool:
    """Return whether a terminal may get colours: not with NO_COLOR, or a terminal that is dumb."""
    return not (os.environ.get("NO_COLOR") or is_dumb())


def is_dumb() -> bool:
    """Return whether the terminal cannot move its cursor."""
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")
