"""The command line in its own process, at a pseudo-terminal, with a sandbox."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import select
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from sinch_qn import QualifiedNumbersClient, RetryPolicy
from sinch_qn.cli.client import Dependencies
from sinch_qn.sandbox import Sandbox

S = TypeVar("S", bound=AbstractAsyncContextManager[Any])

COMMAND = [sys.executable, str(Path(__file__).with_name("watched_command.py"))]
PATIENCE = 60.0
"""The time limit of each wait, in seconds."""


class _OneShotClient(QualifiedNumbersClient):
    """A client that never retries."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, retry=RetryPolicy(max_attempts=1), **options)


WITHOUT_WAITS = Dependencies(
    make_client=_OneShotClient.from_env, poll_interval=0.01, batches_per_second=1000.0
)
"""The `obj` of commands that run in the test's process."""


@contextmanager
def running(server: S) -> Iterator[S]:
    """Run *server* in its own thread, because commands run their own event loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(_enter(server), loop).result(10)
        try:
            yield server
        finally:
            asyncio.run_coroutine_threadsafe(_leave(server), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _enter(server: AbstractAsyncContextManager[Any]) -> None:
    await server.__aenter__()


async def _leave(server: AbstractAsyncContextManager[Any]) -> None:
    await server.__aexit__(None, None, None)


def eventually(is_so: Callable[[], object]) -> None:
    """Wait until *is_so*, for at most `PATIENCE` seconds."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def answering(sandbox: Sandbox, codes: Path, numbers: list[str]) -> Iterator[None]:
    """Append the code of each call to the file *codes*, as people would."""
    over = threading.Event()

    def answer() -> None:
        heard = dict.fromkeys(numbers, 0)
        while not over.wait(0.02):
            for number, calls in heard.items():
                rings = sandbox.world.rings(number)
                code = sandbox.code_for(number)
                if rings > calls and code is not None:
                    heard[number] = rings
                    with codes.open("a") as file:
                        file.write(f"{number},{code}\n")

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def process(*arguments: str, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run a command in its own process, which ends with the block."""
    with subprocess.Popen(  # noqa: S603 - this project's command
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    ) as running_process:
        try:
            yield running_process
        finally:
            running_process.kill()


def finish(command: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Run a command; return its exit code, standard output and standard error."""
    out, err = command.communicate(timeout=PATIENCE)
    assert "Traceback" not in err
    return command.returncode, out, err


class Terminal:
    """A command at a pseudo-terminal: its screen and its keyboard."""

    def __init__(self, env: dict[str, str], *arguments: str, command: list[str] = COMMAND) -> None:
        self._master, terminal = pty.openpty()
        environment = {**os.environ, "COLUMNS": "120", "TERM": "xterm"}
        environment.pop("NO_COLOR", None)
        environment |= env
        self._process = subprocess.Popen(  # noqa: S603 - this project's command
            [*command, *arguments],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=environment,
            start_new_session=True,
            preexec_fn=_control_terminal,  # noqa: PLW1509 - the child has one thread
        )
        os.close(terminal)
        self.raw = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    @property
    def screen(self) -> str:
        """The output so far, without escape sequences."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw)

    def settings(self) -> list[Any]:
        """Return the terminal's settings: echo, line input, …."""
        return termios.tcgetattr(self._master)

    def hang_up(self) -> int:
        """Close the terminal; return the exit code of the command."""
        os.close(self._master)
        self._master = os.open(os.devnull, os.O_RDONLY)
        return self._process.wait(PATIENCE)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._master, text.encode())

    def expect(self, text: str) -> None:
        """Wait until *text* is on the screen."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.screen:
            assert time.monotonic() < deadline, f"no {text!r} in {self.screen}"
            assert self._read(), f"the command ended without {text!r}: {self.screen}"

    def finish(self, *, again: str = "") -> int:
        """Read until the command ends; return its exit code.

        *again* is typed each second: Python misses a Ctrl-C just before it reads.
        """
        deadline = time.monotonic() + PATIENCE
        while self._read():
            assert time.monotonic() < deadline, self.screen
            if again and not select.select([self._master], [], [], 1.0)[0]:
                self.type(again)
        assert "Traceback" not in self.screen
        return self._process.wait(PATIENCE)

    def _read(self) -> bool:
        """Read the next output; return whether there may be more."""
        if not select.select([self._master], [], [], 0.5)[0]:
            return True
        try:
            piece = os.read(self._master, 65536)
        except OSError:  # no process has the terminal open
            return False
        self.raw += piece.decode(errors="replace")
        return bool(piece)


def at_terminal(
    sandbox: Sandbox, *arguments: str, answer: str = "", raw: bool = False
) -> tuple[int, str]:
    """Run a command at a terminal, type *answer* at its prompt; return exit code and screen."""
    with Terminal(sandbox.environment(), *arguments) as terminal:
        if answer:
            terminal.expect("[y/N]")
            terminal.type(answer)
        code = terminal.finish(again="\x03" if answer == "\x03" else "")
        return code, terminal.raw if raw else terminal.screen


def _control_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
