"""`sinch-qn send` and `verify`: one voice challenge."""

from __future__ import annotations

import click

from sinch_qn import parsing
from sinch_qn.cli import jobs
from sinch_qn.cli.app import command
from sinch_qn.cli.options import (
    code_or_prompt,
    confirm,
    json_option,
    more_regions_option,
    phone_number,
    yes_option,
)


@command(
    examples="""
        sinch-qn send +12025550134
        sinch-qn send --yes +12025550134
    """,
    if_unknown="The phone may be ringing: wait for its code, or check with `sinch-qn get`, before"
    " you call again.",
)
@click.argument("number", type=phone_number)
@more_regions_option
@yes_option
@json_option
def send(number: parsing.ParsedNumber, *, yes: bool, as_json: bool) -> None:
    """Call NUMBER and read out a code.

    Asks for confirmation, because a call cannot be undone.
    """
    confirm(f"Call {number.e164} now?", yes=yes)
    jobs.call_number(number.e164, as_json=as_json)


@command(
    examples="""
        sinch-qn verify +12025550134
        sinch-qn verify +12025550134 0417
        echo 0417 | sinch-qn verify +12025550134
    """,
    if_unknown="The code may have been used: check with `sinch-qn get` before you try it again.",
)
@click.argument("number", type=phone_number)
@more_regions_option
@click.argument("code", required=False)
@json_option
def verify(number: parsing.ParsedNumber, code: str | None, *, as_json: bool) -> None:
    """Submit the CODE that was read out to NUMBER.

    Prompts for a code that is not given. Exits with 0 only if the number is verified now.
    """
    jobs.verify_number(number.e164, code_or_prompt(number.e164, code), as_json=as_json)
