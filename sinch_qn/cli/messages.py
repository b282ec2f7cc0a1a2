"""Messages for people, on standard error: standard output carries results only."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import suppress
from typing import Any, Final

import click

from sinch_qn._redaction import printable
from sinch_qn.phone import mask

INVOICES_IN_DOUBT: Final = (
    "The email may have been sent, and is not sent again: ask orders@sinch.com whether it came."
    " If it did not, repeat the command with --resend."
)
_TYPED: Final = "sinch_qn.typed"
"""The key of the numbers of `note_typed` in a context's `meta`."""
_COLORS: Final = {"error": "red", "outcome unknown": "red", "warning": "yellow"}


def print_message(text: str, kind: str = "", file: Any = None) -> None:
    """Print a message to standard error, after its *kind*, such as `warning`.

    A message that nobody can read any more stops nothing. *file* is written in place of
    standard error.
    """
    text = in_full(text)
    head = f"{kind}: " if kind else ""
    if kind and has_styles():
        head = click.style(head, fg=_COLORS.get(kind), bold=True)
    with suppress(OSError):
        click.echo(head + printable(text), err=True, file=file)


def note_typed(number: str) -> None:
    """Show *number* unmasked on the terminal of the person who typed it."""
    context = click.get_current_context(silent=True)
    if context is not None and sys.stderr.isatty():
        context.find_root().meta.setdefault(_TYPED, {})[mask(number)] = number


def in_full(text: str) -> str:
    """Return *text* with the numbers of `note_typed` unmasked."""
    context = click.get_current_context(silent=True)
    typed = {} if context is None else context.find_root().meta.get(_TYPED, {})
    for masked, number in typed.items():
        text = text.replace(masked, number)
    return text


def invoices_command(file: object, journal: object = None) -> str:
    """Return the command that sends the invoices of the numbers in *file*."""
    words = ["sinch-qn", "invoices", str(file), "--attach", "INVOICE.pdf", "--from", "YOU@HOST"]
    words += ["--smtp", "smtp://USER@HOST"]
    return shlex.join([*words, *(() if journal is None else ("--journal", str(journal)))])


def has_styles() -> bool:
    """Return whether a terminal may get colours: not with NO_COLOR, or a terminal that is dumb."""
    return not (os.environ.get("NO_COLOR") or is_dumb())


def is_dumb() -> bool:
    """Return whether the terminal cannot move its cursor."""
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")
