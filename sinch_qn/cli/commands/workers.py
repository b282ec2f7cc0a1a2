"""`sinch-qn worker` and `pace`: more runners for a run in PostgreSQL, and its pace."""

from __future__ import annotations

import click

from sinch_qn.cli import jobs
from sinch_qn.cli.app import command
from sinch_qn.cli.options import URL, combine, insecure_option, json_option

_url_argument = combine(click.argument("url", metavar="URL", type=URL), insecure_option)


@command(
    examples="""
        sinch-qn worker postgresql://db.example/sinch?run=january
        sinch-qn worker postgresql://db.example/sinch?run=january --until-settled
        sinch-qn worker postgresql://db.example/sinch?run=january --shifts 3
    """,
    if_failed="Start it again; no phone is called twice.",
)
@_url_argument
@click.option("--until-settled", is_flag=True, help="End once every number is settled.")
@click.option(
    "--shifts",
    type=click.IntRange(min=1),
    metavar="N",
    help="Let Procrastinate place N runners among all processes that are started so.",
)
@json_option
def worker(url: str, *, until_settled: bool, shifts: int | None, as_json: bool) -> None:
    """Work on the run at URL, as one of any number of runners.

    With the settings that the run began with, until Ctrl-C or SIGTERM: what is in flight is
    finished first. Add numbers with `sinch-qn run FILE --journal URL --add-only`.
    """
    if shifts is None:
        jobs.work(url, until_settled=until_settled, as_json=as_json)
    elif until_settled or as_json:
        raise click.UsageError("--shifts goes with neither --until-settled nor --json.")
    else:
        jobs.work_shifts(url, shifts)


@command(
    examples="""
        sinch-qn pace postgresql://db.example/sinch?run=january --rate 20
        sinch-qn pace postgresql://db.example/sinch?run=january --max-ringing 100
    """
)
@_url_argument
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Calls per second.")
@click.option("--max-ringing", type=click.IntRange(min=1), help="Phones ringing at once.")
def pace(url: str, *, rate: float | None, max_ringing: int | None) -> None:
    """Change the pace of the run at URL, for all its runners at once.

    Both numbers are for the whole run, however many runners it has.
    """
    if rate is None and max_ringing is None:
        raise click.UsageError("nothing to change: give --rate, --max-ringing, or both.")
    jobs.set_pace(url, calls_per_second=rate, max_ringing=max_ringing)
