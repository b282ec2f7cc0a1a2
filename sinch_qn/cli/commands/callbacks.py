"""`sinch-qn callbacks`: the secret that signs a project's callbacks."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from sinch_qn.cli import jobs
from sinch_qn.cli.app import command, command_group
from sinch_qn.cli.options import FILE, confirm, json_option, yes_option


@command_group(
    examples="""
        sinch-qn callbacks get
        sinch-qn callbacks set-secret --file secret.txt
    """
)
def callbacks() -> None:
    """Show or replace the secret that signs callbacks.

    The address of callbacks belongs to each order: --callback-url of `text-enable`.
    """


@command(
    examples="""
        sinch-qn callbacks get
        sinch-qn callbacks get --show-secret
    """
)
@click.option("--show-secret", is_flag=True, help="Print the secret, too.")
@json_option
def get(*, show_secret: bool, as_json: bool) -> None:
    """Show whether the project has a secret."""
    jobs.show_callbacks(show_secret=show_secret, as_json=as_json)


@command(
    "set-secret",
    examples="""
        sinch-qn callbacks set-secret
        sinch-qn callbacks set-secret --file secret.txt --yes
    """,
    if_unknown="The secret may have been replaced: repeat the command, which does no harm.",
)
@click.option(
    "--file", "path", type=FILE, help="The file with the secret: its text without the last newline."
)
@yes_option
def set_secret(path: Path | None, *, yes: bool) -> None:
    """Replace the secret that signs the project's callbacks.

    Prompts for it twice, unless it is in a file; never an argument, which others could see. Asks
    for confirmation, because receivers must know the new one.
    """
    secret = _prompt() if path is None else _read(path)
    if not secret:
        raise click.UsageError("the secret is empty, and nothing was done.")
    confirm("Replace the secret of all callbacks of this project?", yes=yes)
    jobs.set_callback_secret(secret)


def _prompt() -> str:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError("no terminal to type the secret at: give it with --file.")
    typed: str = click.prompt("Secret", hide_input=True, confirmation_prompt=True, err=True)
    return typed


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{path} is not UTF-8 text, and nothing was done.") from error
    secret = text.removesuffix("\n").removesuffix("\r")
    if "\n" in secret:
        raise click.UsageError(f"{path} has several lines, and nothing was done.")
    return secret


callbacks.add_command(get)
callbacks.add_command(set_secret)
