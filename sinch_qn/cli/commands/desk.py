"""`sinch-qn desk` and `links`: the code desk of a journal, and the links to its pages."""

from __future__ import annotations

from collections.abc import Sequence

import click

from sinch_qn.cli import jobs
from sinch_qn.cli.app import command
from sinch_qn.cli.journals import JournalName
from sinch_qn.cli.options import journal_argument, public_url_option


@command(
    examples="""
        sinch-qn desk run.db
        sinch-qn desk run.db --port 8080 --public-url https://desk.example
        sinch-qn desk postgresql://db.example/sinch?run=january --host 0.0.0.0 --port 8080
            --public-url https://desk.example --trusted-proxy 10.0.0.0/8
        sinch-qn desk run.db --show-secret
        sinch-qn desk run.db --new-token ivr
    """
)
@journal_argument
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="The port to listen on; 0 is any free one.",
)
@public_url_option
@click.option(
    "--trusted-proxy",
    "trusted_proxies",
    metavar="CIDR",
    multiple=True,
    help="A proxy whose X-Forwarded-For is believed. Repeatable.",
)
@click.option("--show-secret", is_flag=True, help="Print the operators' secret.")
@click.option(
    "--new-secret",
    is_flag=True,
    help="Make a new secret, end all logins, and print it.",
)
@click.option("--new-token", metavar="NAME", help="Print a new token for robots.")
@click.option("--list-tokens", is_flag=True, help="List the names of the tokens.")
@click.option("--revoke-token", metavar="NAME", help="Revoke a token.")
def desk(
    journal: JournalName,
    *,
    host: str,
    port: int,
    public_url: str | None,
    trusted_proxies: Sequence[str],
    show_secret: bool,
    new_secret: bool,
    new_token: str | None,
    list_tokens: bool,
    revoke_token: str | None,
) -> None:
    """Serve the code desk of the run in JOURNAL, until Ctrl-C.

    Web pages where the people at the phones ask for their call and enter its code, and where
    operators watch and act. Calls and verifies nothing: `sinch-qn run` or `worker` does, on the
    same journal. Prints the operators' secret when a journal's first desk starts.
    """
    if show_secret or new_secret:
        jobs.print_operator_secret(journal, is_new=new_secret)
        return
    if new_token is not None:
        jobs.print_new_token(journal, new_token)
        return
    if revoke_token is not None:
        jobs.revoke_token(journal, revoke_token)
        return
    if list_tokens:
        jobs.print_tokens(journal)
        return
    jobs.serve_code_desk(
        journal, host=host, port=port, public_url=public_url, trusted_proxies=trusted_proxies
    )


@command(
    examples="""
        sinch-qn links run.db > links.csv
        sinch-qn links run.db --public-url https://desk.example > links.csv
    """
)
@journal_argument
@public_url_option
def links(journal: JournalName, public_url: str | None) -> None:
    """Print the links of the run in JOURNAL as CSV, for a mail merge.

    One line `number,ref,url` for each number that is not verified; also while the run is active.
    The links begin with the address that a desk was served at last, unless --public-url is given.
    """
    jobs.print_links(journal, public_url)
