"""Messages for people, on standard error: standard output carries results only."""

from __future__ import annotations

from typing import Final

import click

from sinch_qn._redaction import printable

_COLORS: Final = {"error": "red", "outcome unknown": "red", "warning": "yellow"}


def print_message(text: str, kind: str = "") -> None:
    """Print a message to standard error, after its *kind*, such as `warning`."""
    head = click.style(f"{kind}: ", fg=_COLORS.get(kind), bold=True) if kind else ""
    click.echo(head + printable(text), err=True)
