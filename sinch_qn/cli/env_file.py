"""`--env-file`: variables from a `.env` file, for the command line only.

The library never reads one: a service has its own way to get its secrets.
"""

from __future__ import annotations

import os
from pathlib import Path

import click
from dotenv.parser import parse_stream


def load_env_file(path: Path) -> None:
    """Set the variables of a `.env` file that the environment does not have.

    Values are taken as they are: a `$` in a secret is no reference to another variable. Raises
    `click.UsageError` for a line that is no `NAME=value`; the message does not have it.
    """
    try:
        with path.open(encoding="utf-8-sig") as stream:
            bindings = list(parse_stream(stream))
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{path} is not UTF-8 text.") from error
    for binding in bindings:
        if binding.error or (binding.key is not None and binding.value is None):
            raise click.UsageError(f"{path}:{binding.original.line}: expected NAME=value.")
        if binding.key is not None and binding.value is not None:
            os.environ.setdefault(binding.key, binding.value)
