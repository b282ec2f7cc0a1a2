"""Options of `sinch-qn` itself for the client of any command: `--proxy` and `--timeout`."""

from __future__ import annotations

from typing import Any, Final

import click

_KEY: Final = "sinch_qn.client_options"


def keep_client_option(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Keep the value of an option until a command makes its client."""
    if value is not None:
        ctx.find_root().meta.setdefault(_KEY, {})[param.name] = value


def client_options() -> dict[str, Any]:
    """Return the options that were given, by the names of the client's constructor."""
    options: dict[str, Any] = click.get_current_context().find_root().meta.get(_KEY, {})
    return dict(options)
