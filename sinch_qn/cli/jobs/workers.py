"""What `sinch-qn worker` and `pace` do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import click

from sinch_qn.bulk import CallingHours, ChallengeState, VoiceChallengeRun
from sinch_qn.bulk.journal import Journal
from sinch_qn.bulk.report import needs_attention
from sinch_qn.cli.client import Dependencies, client_from_env
from sinch_qn.cli.exit_codes import Exit
from sinch_qn.cli.jobs.run_state import print_counts
from sinch_qn.cli.journals import control_of, fleet_of, make_journal
from sinch_qn.cli.messages import print_message
from sinch_qn.cli.run_session import run_to_completion
from sinch_qn.cli.session_settings import SessionSettings
from sinch_qn.cli.signals import GracefulStop


def work(url: str, *, until_settled: bool, as_json: bool) -> None:
    """Be a runner of the run at *url* until a signal comes, or all its numbers are settled."""
    client = client_from_env()
    settings = SessionSettings(
        journal=url,
        run_options=asyncio.run(_run_options(url)),
        as_json=as_json,
        poll_interval=Dependencies.current().poll_interval,
    )
    job = _until_settled if until_settled else _until_stopped
    result = asyncio.run(run_to_completion(client, settings, job))
    print_counts(url, result.counts)
    if until_settled and result.interrupted:
        raise click.exceptions.Exit(Exit.INTERRUPTED)
    counts = {**result.counts, ChallengeState.INVALID: 0}
    if until_settled and needs_attention(counts, None):
        print_message(f"Needs attention: sinch-qn status {url}")
        raise click.exceptions.Exit(Exit.FAILED)


async def _until_settled(run: VoiceChallengeRun, _: Journal) -> None:
    await run.finish()


async def _until_stopped(_: VoiceChallengeRun, __: Journal) -> None:
    await asyncio.Event().wait()


async def _run_options(url: str) -> dict[str, Any]:
    """Return the options of `VoiceChallengeRun` that the run at *url* began with."""
    options = attrs.asdict(await control_of(url).settings())
    hours = options["calling_hours"]
    return options | {"calling_hours": None if hours is None else CallingHours.parse(hours)}


def work_shifts(url: str, wanted: int) -> None:
    """Work shifts of the run at *url* until a signal comes."""

    @asynccontextmanager
    async def make_run() -> AsyncIterator[VoiceChallengeRun]:
        journal, options = make_journal(url), await _run_options(url)
        client = client_from_env()
        async with client, VoiceChallengeRun(client, journal, **options) as run:
            yield run

    async def work() -> None:
        fleet = fleet_of(url, make_run, wanted=wanted)
        print_message(f"Up to {wanted} runners are placed among all that run this command.")
        with GracefulStop() as stop:
            working = asyncio.create_task(fleet.work())
            await stop.or_done(working)
            working.cancel()
            await asyncio.wait([working])
            if not working.cancelled():
                working.result()

    asyncio.run(work())


def set_pace(url: str, *, calls_per_second: float | None, max_ringing: int | None) -> None:
    """Change the pace of the run at *url*."""
    changing = control_of(url).set_pace(calls_per_second=calls_per_second, max_ringing=max_ringing)
    settings = asyncio.run(changing)
    print_message(
        f"At most {settings.calls_per_second:g} calls a second and {settings.max_ringing} phones"
        " ringing at once, for all runners together."
    )
