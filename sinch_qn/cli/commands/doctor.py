"""`sinch-qn doctor`: what is wrong with environment, network or credentials."""

from __future__ import annotations

from sinch_qn.cli import jobs
from sinch_qn.cli.app import command
from sinch_qn.cli.options import json_option


@command(
    examples="""
        sinch-qn doctor
        sinch-qn --env-file .env --proxy http://proxy:3128 doctor
        sinch-qn doctor --json | jq 'select(.ok == false)'
    """
)
@json_option
def doctor(*, as_json: bool) -> None:
    """Check environment, network and credentials; say what to mend.

    In this order: variables, proxy or DNS, connection and TLS, token, project. Nothing is changed
    and nobody is called: it requests a token and one page of numbers.
    """
    jobs.examine(as_json=as_json)
