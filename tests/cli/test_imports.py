"""What a command loads: only what it uses, because imports are most of a short command's CPU."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from sinch_qn.bulk import Entry
from sinch_qn.bulk.states import Event
from sinch_qn.cli.app import cli
from tests.support.journals import happen, opened

HEAVY = frozenset(
    ("aiohttp", "asyncio", "cattrs", "jsonschema_rs", "phonenumbers", "psycopg", "rich", "yarl")
)
"""What only a client, a run, a file of numbers or a terminal needs; a journal needs asyncio."""
NUMBER = "+12025550134"


def help_of(group: click.Group, *names: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command and group below *group*."""
    context = click.Context(group)
    for name in group.list_commands(context):
        yield (*names, name)
        member = group.get_command(context, name)
        if isinstance(member, click.Group):
            yield from help_of(member, *names, name)


def loaded(*arguments: str) -> set[str]:
    """Return what of `HEAVY` a command loads; it has to succeed."""
    script = (
        "import sys; from sinch_qn.cli import main; sys.argv[0] = 'sinch-qn'\n"
        "try: code = main()\n"
        "except SystemExit as end: code = end.code\n"
        f"print(*{HEAVY!r} & {{*sys.modules}}, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("words", [(), *help_of(cli)], ids=" ".join)
def test_help_loads_no_job(words: tuple[str, ...]) -> None:
    """No help loads what its command needs to be carried out."""
    assert loaded(*words, "--help") == set()


async def called_once(path: Path) -> None:
    """Make a journal of one number that was called."""
    journal = await opened(path)
    await journal.add([Entry(number=NUMBER)])
    await happen(journal, NUMBER, Event.CALL, Event.CALLED)
    await journal.close()


def test_a_journal_is_read_and_written_without_a_client(tmp_path: Path) -> None:
    """Status, codes, recalls and reports load neither the client nor the parser of numbers."""
    path = str(tmp_path / "run.db")
    asyncio.run(called_once(tmp_path / "run.db"))
    for arguments in (
        ("status", path),
        ("status", path, "--json"),
        ("code", path, NUMBER, "0417"),
        ("recall", path, NUMBER),
        ("report", path, "--json"),
        ("journal", "backup", path, str(tmp_path / "copy.db")),
    ):
        assert loaded(*arguments) <= {"asyncio"}, arguments
