"""`sinch-qn send` and `verify`: one voice challenge."""

from __future__ import annotations

import click

from sinch_qn.cli.app import command
from sinch_qn.cli.client import with_client
from sinch_qn.cli.exit_codes import Exit
from sinch_qn.cli.messages import print_message
from sinch_qn.cli.options import (
    code_or_prompt,
    confirm,
    json_option,
    more_regions_option,
    phone_number,
    yes_option,
)
from sinch_qn.cli.output import show_number, state_name
from sinch_qn.lifecycle import VERIFIED_OR_LATER
from sinch_qn.parsing import ParsedNumber


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
def send(number: ParsedNumber, *, yes: bool, as_json: bool) -> None:
    """Call NUMBER and read out a code.

    Asks for confirmation, because a call cannot be undone.
    """
    confirm(f"Call {number.e164} now?", yes=yes)
    called = with_client(lambda client: client.send_voice_challenge(number.e164))
    show_number(called, as_json=as_json)
    if state_name(called) == "VERIFICATION_BLOCKED":
        print_message(f"{number.e164} is blocked: verify it by invoices", "error")
        raise click.exceptions.Exit(Exit.FAILED)
    print_message(f"Submit the code: sinch-qn verify {number.e164}")


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
def verify(number: ParsedNumber, code: str | None, *, as_json: bool) -> None:
    """Submit the CODE that was read out to NUMBER.

    Prompts for a code that is not given. Exits with 0 only if the number is verified now.
    """
    given = code_or_prompt(number, code)
    verified = with_client(lambda client: client.verify_voice_challenge(number.e164, given))
    show_number(verified, as_json=as_json)
    if verified.global_process_state not in VERIFIED_OR_LATER:
        state = state_name(verified) or "no state"
        print_message(f"{number.e164} is not verified: {state}", "error")
        raise click.exceptions.Exit(Exit.FAILED)
