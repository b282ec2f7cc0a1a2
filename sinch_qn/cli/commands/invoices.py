"""`sinch-qn invoices`: the options of the emails with invoices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sinch_qn.cli import jobs
from sinch_qn.cli.app import command
from sinch_qn.cli.journals import JournalName
from sinch_qn.cli.messages import INVOICES_IN_DOUBT
from sinch_qn.cli.options import (
    FILE,
    JOURNAL,
    column_option,
    insecure_option,
    json_option,
    more_regions_option,
    yes_option,
)


@command(
    examples="""
        sinch-qn invoices numbers.csv --attach january.pdf --from ada@example.com --dry-run
        sinch-qn invoices numbers.csv --attach 1.pdf --attach 2.pdf --from ada@example.com --eml .
        sinch-qn invoices numbers.csv --attach january.pdf --from ada@example.com \\
            --smtp smtp://ada@mail.example.com --journal run.db
    """,
    if_unknown=INVOICES_IN_DOUBT,
)
@click.argument("path", metavar="FILE", type=FILE)
@click.option("--attach", "files", type=FILE, multiple=True, required=True, help="An invoice.")
@click.option("--from", "sender", required=True, help="Your address.")
@click.option(
    "--eml",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write .eml files into DIR, to send with your mail program.",
)
@click.option(
    "--smtp", metavar="URL", help="Send: smtp://USER@HOST (STARTTLS) or smtps://USER@HOST (TLS)."
)
@click.option(
    "--journal",
    type=JOURNAL,
    help="The run's journal, a file or a URL; with --smtp by default FILE.emails.db.",
)
@insecure_option
@click.option("--resend", is_flag=True, help="Also send what may have been sent, but did not come.")
@click.option("--dry-run", is_flag=True, help="Show the emails; send and write nothing.")
@column_option
@click.option("--skip-invalid", is_flag=True, help="Skip bad lines of the file.")
@more_regions_option
@yes_option
@json_option
def invoices(
    path: Path,
    *,
    eml: Path | None,
    smtp: str | None,
    journal: JournalName | None,
    dry_run: bool,
    **options: Any,
) -> None:
    """Email the invoices of the numbers in FILE to orders@sinch.com.

    For numbers that were added and are not proved by a call. If FILE has a column `invoice`, it
    says which attachment covers each number. What would be over 20 MB becomes several emails. The
    password of the mail server is SINCH_QN_SMTP_PASSWORD, or is prompted for. Each email is sent
    once: repeat the command after a failure, and it goes on.
    """
    if (eml is None) == (smtp is None) and not dry_run:
        raise click.UsageError("give either --eml DIR, --smtp URL, or --dry-run.")
    if smtp is not None and journal is None:
        journal = path.with_name(f"{path.name}.emails.db")
        if not path.is_file():
            raise click.UsageError("--smtp needs --journal if FILE is a pipe.")
    jobs.send_invoices(path, smtp=smtp, eml=eml, journal=journal, dry_run=dry_run, **options)
