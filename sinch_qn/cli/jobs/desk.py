"""What `sinch-qn desk` and `links` do."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime

import click

from sinch_qn.bulk import VoiceChallengeRun
from sinch_qn.bulk.journal import Journal
from sinch_qn.cli.journals import JournalName, open_journal
from sinch_qn.cli.messages import print_message
from sinch_qn.cli.session_settings import Beside
from sinch_qn.cli.signals import GracefulStop
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.desk import (
    Links,
    ServedDesk,
    Sessions,
    Token,
    Tokens,
    last_served_url,
    link_lines,
    listen,
    serve_desk,
    signing_secret,
)


def serve_code_desk(
    name: JournalName,
    *,
    host: str,
    port: int,
    public_url: str | None,
    trusted_proxies: Sequence[str],
) -> None:
    """Serve the desk of a journal until a signal comes."""

    async def serve() -> None:
        with GracefulStop() as stop:
            async with (
                open_journal(name) as journal,
                serve_desk(
                    None,
                    journal,
                    listen(host, port),
                    public_url=public_url,
                    title=_title(name),
                    trusted_proxies=trusted_proxies,
                ) as desk,
            ):
                _print(desk, name)
                print_message("Ctrl-C ends it.")
                await stop.requested.wait()

    asyncio.run(serve())


def desk_beside(name: JournalName, port: int, public_url: str | None) -> Beside:
    """Return what serves the desk of a run of this process, until cancelled.

    The port is taken at once, so that nobody is called by a run whose desk cannot start.
    """
    listening: socket.socket = listen(port=port)

    async def serve(
        client: QualifiedNumbersClient, journal: Journal, run: VoiceChallengeRun
    ) -> None:
        async with serve_desk(
            client, journal, listening, public_url=public_url, run=run, title=_title(name)
        ) as desk:
            _print(desk, name)
            await asyncio.Event().wait()

    return serve


def _print(desk: ServedDesk, name: JournalName) -> None:
    """Print where operators begin, and their secret if nobody was shown it yet."""
    print_message(f"Operator: {desk.operator_url}")
    if desk.new_secret is not None:
        print_message(f"Operators' secret, shown only now: {desk.new_secret}")
        print_message(f"To show it again: sinch-qn desk {_title(name)} --show-secret")


def _title(name: JournalName) -> str:
    """Return what operators see as the name of the run."""
    return os.fsencode(name).decode(errors="replace")


def print_operator_secret(name: JournalName, *, is_new: bool) -> None:
    """Print the secret that operators log in with."""

    async def read() -> str:
        async with open_journal(name) as journal:
            sessions = Sessions(journal, await signing_secret(journal), journal.now)
            return await (sessions.replace_secret() if is_new else sessions.operator_secret())

    click.echo(asyncio.run(read()))
    if is_new:
        print_message("All logins have ended. Links are as before.")


def print_new_token(name: JournalName, token_name: str) -> None:
    """Print a new token of the HTTP API."""

    async def make() -> str:
        async with open_journal(name) as journal:
            return await Tokens(journal).make(token_name)

    click.echo(asyncio.run(make()))
    print_message("Shown only now; its digest is kept.")


def revoke_token(name: JournalName, token_name: str) -> None:
    """Revoke a token of the HTTP API."""

    async def revoke() -> None:
        async with open_journal(name) as journal:
            await Tokens(journal).revoke(token_name)

    asyncio.run(revoke())
    print_message(f"Revoked: {token_name}")


def print_tokens(name: JournalName) -> None:
    """Print the names of all tokens, when they were made, and when they were revoked."""

    async def read() -> list[Token]:
        async with open_journal(name) as journal:
            return await Tokens(journal).all()

    for token in asyncio.run(read()):
        state = "valid" if token.revoked_at is None else f"revoked {_day(token.revoked_at)}"
        click.echo(f"{token.name}\tmade {_day(token.made_at)}\t{state}")


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


def print_links(name: JournalName, public_url: str | None) -> None:
    """Print the link to each number that is not verified, as CSV."""

    async def write() -> None:
        async with open_journal(name) as journal:
            url = public_url or await last_served_url(journal)
            if url is None:
                raise click.UsageError(
                    "no desk was served for this journal yet: start one, or give --public-url."
                )
            await _write(journal, url.rstrip("/"))

    asyncio.run(write())


async def _write(journal: Journal, url: str) -> None:
    links = Links(journal, await signing_secret(journal))
    async with aclosing(link_lines(journal, links, url)) as lines:
        async for text in lines:
            click.echo(text, nl=False)
