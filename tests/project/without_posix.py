"""A Windows as far as it can be had elsewhere: `python -m tests.project.without_posix`.

What POSIX has and Windows lacks is taken away once third-party packages and the event loop are
loaded, which have their own code for Windows. Then the package is used. Prints what happened.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import pkgutil
import shutil
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from click.testing import CliRunner

LOADED = (
    "aiohttp.web aiolimiter aiosmtplib attrs cattrs.preconf.orjson click jsonschema_rs"
    " opentelemetry.trace orjson phonenumbers.timezone procrastinate psycopg pytest_asyncio"
    " rich.live rich.table subprocess"
).split()
NUMBER = "+12025550134"
MISSING: dict[Any, tuple[str, ...]] = {
    signal: ("SIGHUP", "SIGKILL", "SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGUSR1", "SIGQUIT"),
    os: ("fork", "geteuid", "getpgrp", "getuid", "tcgetpgrp", "O_NONBLOCK", "O_NOFOLLOW"),
}
MODULES = ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty")
NEED_POSIX = {"sinch_qn.cli.code_prompt", "sinch_qn.cli.run_display", "sinch_qn.cli.run_session"}
NEED_POSIX |= {f"sinch_qn.cli.{name}" for name in ("signals", "jobs.runs", "jobs.workers")}
NEED_POSIX |= {"sinch_qn.cli.jobs.desk", "sinch_qn.cli.jobs.demo_desk"}


def take_away() -> None:
    """Make this process lack what Windows lacks."""
    for module, names in MISSING.items():
        for name in names:
            delattr(module, name)
    shutil._use_fd_functions = False  # type: ignore[attr-defined]  # as there: rmtree needs none of these
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment] # importing it raises
    sys.platform = "win32"


def import_all() -> set[str]:
    """Import every module of the package; return those that lack a module."""
    package, lacking = importlib.import_module("sinch_qn"), set()
    for module in pkgutil.walk_packages(package.__path__, "sinch_qn."):
        if module.name != "sinch_qn.cli.__main__":
            try:
                importlib.import_module(module.name)
            except (ModuleNotFoundError, AttributeError):
                lacking.add(module.name)
    return lacking


async def use_the_client() -> None:
    """Verify a number by a call on the sandbox, alone and in a run that keeps nothing."""
    bulk = importlib.import_module("sinch_qn.bulk")
    errors = importlib.import_module("sinch_qn.errors")
    sandbox = importlib.import_module("sinch_qn.sandbox").Sandbox()
    async with sandbox, sandbox.client() as client:
        sandbox.add([NUMBER])
        async with bulk.VoiceChallengeRun(client, bulk.MemoryJournal()) as run:
            await run.add([NUMBER])
            async for event in run.events():
                if event.what == "called":
                    await run.submit_code(NUMBER, sandbox.code_for(NUMBER))
                if event.what == "verified":
                    break
        print("a run in memory:", (await client.get_number(NUMBER)).global_process_state)  # noqa: T201
        try:
            await bulk.SqliteJournal("run.db").open(None, running=False)
        except errors.JournalError as error:
            print("a journal in a file:", error.reason)  # noqa: T201


def command(*arguments: str) -> None:
    """Run a command, and print its exit code and what it says."""
    cli = importlib.import_module("sinch_qn.cli.app").cli
    result = CliRunner().invoke(cli, arguments)
    print(arguments[0], result.exit_code, result.output.splitlines()[-1])  # noqa: T201


def main() -> None:
    """Take POSIX away, and use the package."""
    for name in LOADED:
        importlib.import_module(name)
    loop = asyncio.new_event_loop()
    take_away()
    lacking = import_all()
    assert lacking == NEED_POSIX, lacking ^ NEED_POSIX
    loop.run_until_complete(use_the_client())
    Path("numbers.csv").write_text(f"{NUMBER}\n")
    command("check", "numbers.csv")
    command("run", "numbers.csv", "--journal", "run.db", "--yes")
    loop.close()


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        main()
        os.chdir(os.sep)
