"""`sinch-qn sandbox`: the fake Sinch as a server, and how to reach it."""

from __future__ import annotations

from typing import Any, Final

import click

from sinch_qn.cli import jobs
from sinch_qn.cli.app import command
from sinch_qn.cli.options import accepted_regions, combine, more_regions_option

_SECONDS: Final = click.FloatRange(min=0)


_options = combine(
    click.option("--host", default="127.0.0.1", show_default=True),
    click.option(
        "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: any."
    ),
    click.option(
        "--wrong-code",
        type=click.Choice(["failed", "rejected"]),
        help="The response to a wrong code: a 200 with a failed state, or a 400.",
    ),
    click.option(
        "--max-attempts", type=click.IntRange(min=1), help="Wrong codes that block a number."
    ),
    click.option("--code-lifetime", type=_SECONDS, help="Seconds until a code expires."),
    click.option(
        "--eligibility-delay", type=_SECONDS, help="Seconds that the eligibility check takes."
    ),
    click.option("--answer-delay", type=_SECONDS, help="Seconds until a call has a code."),
    click.option("--loa-delay", type=_SECONDS, help="Seconds until a LOA is signed."),
    click.option("--hosting-delay", type=_SECONDS, help="Seconds that hosting takes."),
    click.option(
        "--provisioning-delay", type=_SECONDS, help="Seconds until a hosted number is linked."
    ),
    click.option(
        "--visibility-delay",
        type=_SECONDS,
        help="Seconds until get and list show what a request changed.",
    ),
    click.option("--latency", type=_SECONDS, help="Seconds that every response takes."),
    click.option(
        "--several-callbacks",
        is_flag=True,
        help="Send several callbacks a number, each twice and in any order.",
    ),
    more_regions_option,
    click.option("--sign-by-hand", is_flag=True, help="Wait until a LOA is signed with curl."),
)
"""The main settings of `sinch_qn.sandbox.Sandbox`, with its defaults."""


@command(
    examples="""
        sinch-qn sandbox
        sinch-qn sandbox --port 9000 --answer-delay 3 --wrong-code rejected
        curl localhost:8080/_sandbox/codes/+12025550134
    """
)
@_options
def sandbox(*, sign_by_hand: bool, **settings: Any) -> None:
    """Run a fake Sinch that calls nobody, until Ctrl-C.

    Prints the variables of a client for it, ready to paste or to `eval`.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    given["regions"] = accepted_regions()
    if sign_by_hand:
        given["loa_delay"] = None
    jobs.serve_sandbox(given)
