"""What `sinch-qn send` and `verify` do."""

from __future__ import annotations

import click

from sinch_qn.cli.client import with_client
from sinch_qn.cli.exit_codes import Exit
from sinch_qn.cli.messages import print_message
from sinch_qn.cli.resources import show_number, state_name
from sinch_qn.lifecycle import VERIFIED_OR_LATER


def call_number(number: str, *, as_json: bool) -> None:
    """Call *number*, and print it; exit with FAILED if it is blocked."""
    called = with_client(lambda client: client.send_voice_challenge(number))
    show_number(called, as_json=as_json)
    if state_name(called) == "VERIFICATION_BLOCKED":
        print_message(f"{number} is blocked: verify it by invoices", "error")
        raise click.exceptions.Exit(Exit.FAILED)
    print_message(f"Submit the code: sinch-qn verify {number}")


def verify_number(number: str, code: str, *, as_json: bool) -> None:
    """Submit *code*, and print the number; exit with FAILED if it is not verified."""
    verified = with_client(lambda client: client.verify_voice_challenge(number, code))
    show_number(verified, as_json=as_json)
    if verified.global_process_state not in VERIFIED_OR_LATER:
        state = state_name(verified) or "no state"
        print_message(f"{number} is not verified: {state}", "error")
        raise click.exceptions.Exit(Exit.FAILED)
