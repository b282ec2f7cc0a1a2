"""`sinch-qn sandbox`: the fake Sinch as a server, and how to reach it."""

from __future__ import annotations

import asyncio
import shlex
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import click

from sinch_qn.cli.options import examples
from sinch_qn.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES: Final = examples(
    "sinch-qn sandbox",
    "sinch-qn sandbox --port 9000 --answer-delay 3 --wrong-code rejected",
    "curl localhost:8080/_sandbox/codes/+12025550134",
)

_SECONDS: Final = click.FloatRange(min=0)


def options(command: Callable[..., None]) -> Callable[..., None]:
    """Take the main settings of `sinch_qn.sandbox.Sandbox`, whose defaults they keep."""
    for option in (
        click.option(
            "--sign-by-hand", is_flag=True, help="A LOA waits until it is signed with curl."
        ),
        click.option("--latency", type=_SECONDS, help="Seconds that every answer takes."),
        click.option("--hosting-delay", type=_SECONDS, help="Seconds that hosting takes."),
        click.option("--loa-delay", type=_SECONDS, help="Seconds until a LOA is signed."),
        click.option("--answer-delay", type=_SECONDS, help="Seconds until a code is known."),
        click.option(
            "--eligibility-delay", type=_SECONDS, help="Seconds that an added number is checked."
        ),
        click.option("--code-lifetime", type=_SECONDS, help="Seconds that a code is good."),
        click.option(
            "--max-attempts", type=click.IntRange(min=1), help="Wrong codes that block a number."
        ),
        click.option(
            "--wrong-code",
            type=click.Choice(["failed", "rejected"]),
            help="A wrong code gets a 200 that says failed, or a 400.",
        ),
        click.option(
            "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: any."
        ),
        click.option("--host", default="127.0.0.1", show_default=True),
    ):
        command = option(command)
    return command


def serve(*, sign_by_hand: bool, **settings: Any) -> None:
    """Serve until interrupted. What is not set is left to the sandbox."""
    given = {name: value for name, value in settings.items() if value is not None}
    if sign_by_hand:
        given["loa_delay"] = None
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(given))
    say("The sandbox has ended, and its numbers with it.")


async def _serve(settings: dict[str, Any]) -> None:
    from sinch_qn.sandbox import Sandbox  # noqa: PLC0415 - 400 ms, when it is needed

    async with Sandbox(**settings) as sandbox:
        for name, value in sandbox.environment().items():
            click.echo(f"export {name}={shlex.quote(value)}")
        say(f"The code of a call:  curl {sandbox.base_url}/_sandbox/codes/+12025550134")
        if settings.get("loa_delay", 0) is None:
            say(f"Sign an order:  curl -X POST {sandbox.base_url}/_sandbox/orders/ORDER:signLoa")
        say("Ctrl-C ends it.")
        await asyncio.Event().wait()
