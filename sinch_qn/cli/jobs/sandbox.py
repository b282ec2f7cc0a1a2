"""What `sinch-qn sandbox` does."""

from __future__ import annotations

import asyncio
import shlex
from contextlib import suppress
from typing import Any

import click

from sinch_qn.cli.messages import print_message
from sinch_qn.sandbox import Sandbox


def serve_sandbox(settings: dict[str, Any]) -> None:
    """Run a sandbox with *settings* until Ctrl-C, and print how to reach it."""
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(settings))
    print_message("The sandbox has ended; its numbers are gone.")


async def _serve(settings: dict[str, Any]) -> None:
    async with Sandbox(**settings) as sandbox:
        for name, value in sandbox.environment().items():
            click.echo(f"export {name}={shlex.quote(value)}")
        print_message(f"The code of a call:  curl {sandbox.base_url}/_sandbox/codes/+12025550134")
        if settings.get("loa_delay", 0) is None:
            print_message(
                f"Sign an order:  curl -X POST {sandbox.base_url}/_sandbox/orders/ORDER:signLoa"
            )
        print_message("Ctrl-C ends it.")
        await asyncio.Event().wait()
