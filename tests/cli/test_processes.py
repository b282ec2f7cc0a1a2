"""Laws of the process: streams that are closed, stalled or plain; signals; and no traceback."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import subprocess
import termios
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from sinch_qn.bulk.preview import RunPreview
from sinch_qn.cli.app import cli
from sinch_qn.cli.exit_codes import Exit
from sinch_qn.sandbox import Sandbox
from tests.support.cli_process import COMMAND, PATIENCE, Terminal, eventually, running

NUMBERS = [f"+1{area}555{n:04}" for area in (202, 703) for n in range(2000, 2500)]
ONE = NUMBERS[0]
RUN = ("run", "numbers.csv", "--journal", "run.db", "--yes")


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Run a sandbox, whose numbers are eligible; work in a directory of the test's own."""
    monkeypatch.chdir(tmp_path)
    with running(Sandbox()) as sandbox:
        sandbox.add(NUMBERS)
        for name, value in sandbox.environment().items():
            monkeypatch.setenv(name, value)
        yield sandbox


def write(numbers: list[str]) -> None:
    """Write the file of numbers."""
    Path("numbers.csv").write_text("phone\n" + "".join(f"{number}\n" for number in numbers))


def shell(script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script, in which `qn` is the command."""
    qn = " ".join(COMMAND)
    return subprocess.run(  # noqa: S603 - our own script
        ["/bin/sh", "-c", script.replace("qn ", f"{qn} ")],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_stops_no_run(sandbox: Sandbox, closed: str) -> None:
    """A run goes on without any of the standard streams, and its journal stays whole."""
    sandbox.add([ONE], "VERIFIED")
    write([ONE])
    done = shell(f"qn {' '.join(RUN)} {closed}")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "skipped" in shell("qn status run.db").stdout


def fill(pipe: int) -> None:
    """Write to *pipe* until not a byte more fits in."""
    # Opened anew: the other descriptor must go on blocking.
    again = os.open(f"/proc/self/fd/{pipe}", os.O_WRONLY | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:
            os.write(again, b" ")
    os.close(again)


@pytest.mark.parametrize("stream", [1, 2])
def test_a_stalled_reader_stops_no_calls(sandbox: Sandbox, stream: int) -> None:
    """Whoever reads the output may pause: phones are called, and a second SIGTERM ends the run.

    The library has a warning meanwhile: so few calls in flight cannot keep the rate.
    """
    write(NUMBERS)
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 8192)  # type: ignore[attr-defined,unused-ignore]
    # The preview of a run fits beside this, and little more.
    os.write(writer, bytes(8192 if stream == 1 else 8192 - 450))
    streams = {1: subprocess.DEVNULL, 2: subprocess.DEVNULL, stream: writer}
    options = ["--rate", "500", "--max-ringing", "1000", "--max-unknown", "4"]
    options += ["--json"] if stream == 1 else []
    command = subprocess.Popen(  # noqa: S603 - our own command
        [*COMMAND, *RUN, *options],
        stdin=subprocess.DEVNULL,
        stdout=streams[1],
        stderr=streams[2],
    )
    try:
        eventually(lambda: sandbox.calls.total("sendVoiceChallenge"))
        fill(writer)
        eventually(lambda: sandbox.calls.total("sendVoiceChallenge") >= 600)
        command.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            command.wait(1.0)
        command.send_signal(signal.SIGTERM)
        command.wait(PATIENCE)
    finally:
        command.kill()
        command.wait()
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("plain", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_plain_terminal_gets_no_escapes(sandbox: Sandbox, plain: dict[str, str]) -> None:
    """With NO_COLOR nothing is coloured; a dumb terminal gets progress without any escape."""
    with Terminal(plain, "get", "+12025550199") as terminal:
        assert terminal.finish() == Exit.NOT_FOUND
        assert "\x1b" not in terminal.raw
    with Terminal(plain, "get", ONE) as terminal:
        assert terminal.finish() == 0
        assert "\x1b" not in terminal.raw
    write([ONE])
    with Terminal(plain, *RUN) as terminal:
        eventually(lambda: sandbox.code_for(ONE))
        terminal.expect("awaiting code")
        if "TERM" in plain:
            assert "\x1b" not in terminal.raw
        terminal.type(f"{ONE} {sandbox.code_for(ONE)}\n")
        assert terminal.finish() == 0


def test_a_run_goes_on_in_the_background(sandbox: Sandbox) -> None:
    """After Ctrl-Z and `bg` a run calls on, and leaves the keyboard to the shell."""
    write(NUMBERS[:30])
    with Terminal({"PS1": "", "ENV": ""}, command=["bash", "--norc", "--noprofile", "-i"]) as shell:
        shell.type(f"{' '.join([*COMMAND, *RUN])} --rate 5 --codes codes.csv\n")
        eventually(lambda: sandbox.calls.total("sendVoiceChallenge") >= 2)
        shell.type("\x1a")
        shell.expect("Stopped")
        shell.type("bg\n")
        made = sandbox.calls.total("sendVoiceChallenge")
        shell.type("echo ty''ped here\n")
        shell.expect("typed here")
        eventually(lambda: sandbox.calls.total("sendVoiceChallenge") >= made + 5)
        shell.raw = ""
        shell.type("fg\n")
        shell.expect("number and code>")
        shell.type("\x03")
        shell.expect("interrupted")


def test_a_terminal_is_left_as_it_was(sandbox: Sandbox) -> None:
    """A run that ends leaves echo and line input as they were."""
    write([ONE])
    with Terminal({}, *RUN) as terminal:
        before = terminal.settings()
        eventually(lambda: not terminal.settings()[3] & termios.ECHO)
        eventually(lambda: sandbox.code_for(ONE))
        terminal.type(f"{ONE} {sandbox.code_for(ONE)}\n")
        terminal.expect("verified")
        assert terminal.finish() == 0
        assert terminal.settings() == before


def test_a_terminal_that_is_closed_stops_the_run(sandbox: Sandbox) -> None:
    """After SIGHUP requests in flight finish: no outcome is unknown."""
    write(NUMBERS[:20])
    with Terminal({}, *RUN, "--rate", "50") as terminal:
        eventually(lambda: sandbox.calls.total("sendVoiceChallenge") >= 1)
        sandbox.latency = 0.5
        eventually(lambda: sandbox.calls.total("sendVoiceChallenge") >= 5)
        assert terminal.hang_up() == Exit.INTERRUPTED
    assert "unknown" not in shell("qn status run.db").stdout


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command whose journal has a fault that nobody foresaw."""
    code = (
        "import sys; from sinch_qn.cli import main; from sinch_qn.cli.jobs import run_state\n"
        "def fault(path): raise ZeroDivisionError('of zeal')\n"
        "run_state.open_journal = fault; sys.exit(main())"
    )

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own command
            [COMMAND[0], "-c", code, *arguments], capture_output=True, text=True, check=False
        )

    return run


def test_a_traceback_is_shown_on_demand(
    tmp_path: Path, broken: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """What is unforeseen is one line and an exit code; `--debug` shows the traceback."""
    path = tmp_path / "run.db"
    path.touch()
    done = broken("status", str(path))
    assert done.returncode == Exit.UNEXPECTED
    assert done.stderr == "error: unexpected ZeroDivisionError: of zeal; --debug shows more\n"
    for arguments in (("--debug", "status", str(path)), ("status", str(path), "--debug")):
        done = broken(*arguments)
        assert done.returncode == Exit.UNEXPECTED
        assert "Traceback" in done.stderr


def test_output_that_cannot_be_written_is_an_error(sandbox: Sandbox) -> None:
    """A full disk below standard output is one line, and no traceback at exit."""
    done = shell(f"qn get {ONE} >/dev/full")
    assert done.returncode == Exit.USAGE
    assert done.stderr == "error: No space left on device\n"


def test_a_full_folder_for_temporary_files_is_one_line(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A preview that does not fit says where there is no space, and creates no journal."""

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    write([ONE])
    monkeypatch.setattr(RunPreview, "_add_lines", fail)
    result = CliRunner().invoke(cli, RUN)
    assert result.exit_code == Exit.USAGE
    assert result.stderr.startswith("error: the folder for temporary files: database or disk is")
    assert "SQLITE_TMPDIR" in result.stderr
    assert not Path("run.db").exists()


def test_an_encoding_without_a_character_escapes_it(sandbox: Sandbox) -> None:
    """What the locale cannot encode is escaped, also in the names of files."""
    sandbox.add([ONE], "VERIFIED")
    write([ONE])
    name = b"r\xe9sum\xe9.db".decode(errors="surrogateescape")
    done = shell(
        f"PYTHONIOENCODING=ascii qn run numbers.csv --journal {name} --yes --report '\u2026.html'"
        f"; PYTHONIOENCODING=ascii qn status {name} --json"
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert '"skipped":1' in done.stdout
