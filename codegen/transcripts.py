"""The transcripts of the docs: what the commands of a marked `console` block print, run for real.

A mark stands right above its block, and names one of `codegen/scenes.py`:

    <!-- transcript: status (text after the name is for who reads the source) -->

The lines `$ …` are the page's, all others are written. Commands run in a folder of their own, on a
sandbox whose codes and ids are always the same, and print as at a terminal of 120 columns. What
differs each time is replaced by something fixed: times, ports, secrets and the ends of links. The
code that a command submits is written, too, and of the lines with a time only the awaited one.
`python -m codegen.transcripts` prints the pages as JSON, in a process of its own, so that it runs
the code that `python -m codegen` has just written.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from random import Random
from typing import Any, Final
from unittest import mock

import attrs
from click.testing import CliRunner

import sinch_qn
from codegen.scenes import SCENES, Scene
from sinch_qn.cli.app import cli
from sinch_qn.sandbox import Clock, Sandbox

MARKED: Final = re.compile(
    r"^<!-- transcript: (?P<scene>[\w-]+)[^>]*-->\n```console\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_COMMAND: Final = re.compile(r"^\$ (?:[^\n]*\\\n)*[^\n]*$", re.MULTILINE)
_SUBMITTED: Final = re.compile(r"(sinch-qn (?:code \S+|verify) )(\+\d+) \d+")
_SEED: Final = 7
_NOON: Final = 1_768_564_800.0
"""The sandbox's time: 16 January 2026, 12:00 UTC."""
_PATIENCE: Final = 60.0
"""Seconds that a process may take."""
_ENVIRONMENT: Final = {
    "PATH": os.defpath,
    "PYTHONPATH": str(Path(sinch_qn.__file__).parents[1]),
    "PYTHONUTF8": "1",
    "TERM": "xterm",
    "COLUMNS": "120",
    "NO_COLOR": "1",
    "TZ": "UTC",
}
_FIXED: Final = (
    (re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d(?= UTC)"), "2026-01-17 12:00"),
    (re.compile(r"(?<!\d )\d\d:\d\d(?= UTC)"), "12:00"),
    (re.compile(r"^\d\d:\d\d:\d\d(?= )", re.MULTILINE), "12:00:01"),
    (re.compile(r"\b[A-Z0-9]{4}(-[A-Z0-9]{4}){5}\b"), "KNBG-JOKC-RYUP-H6D6-INH5-CVUK"),
)
"""What differs each time, and what stands in its place."""


def transcripts(root: Path) -> dict[Path, str]:
    """Return the pages below *root* that have transcripts, by their path, as they should be."""
    pages = {
        path.relative_to(root): text
        for path in sorted((root / "docs").rglob("*.md"))
        if MARKED.search(text := path.read_text(encoding="utf-8"))
    }
    if not pages:
        return {}
    with _stage() as stage:
        return {path: MARKED.sub(stage.play, text) for path, text in pages.items()}


@attrs.define
class _Stage:
    """A sandbox, and the loop that it runs in."""

    sandbox: Sandbox
    loop: asyncio.AbstractEventLoop

    def play(self, block: re.Match[str]) -> str:
        """Return a marked block with the output of its commands."""
        scene = SCENES[block["scene"]]
        self.sandbox.random = Random(_SEED)  # noqa: S311 - codes of a sandbox
        self.sandbox.forget()
        with tempfile.TemporaryDirectory() as folder, chdir(folder):
            scene.prepare(self.sandbox)
            shown = [self._run(line, scene) for line in _COMMAND.findall(block["text"])]
        start = block[0].index("```console\n")
        return f"{block[0][:start]}```console\n{''.join(shown)}```"

    def _run(self, line: str, scene: Scene) -> str:
        """Return a command with its output; only those of this project have one."""
        line = _SUBMITTED.sub(lambda m: f"{m[1]}{m[2]} {self.sandbox.code_for(m[2])}", line)
        words = shlex.split(line.removeprefix("$ ").replace("\\\n", " "), comments=True)
        if words[0] == "curl":
            output = self._fetch(words[-1])
        elif words[0] != "sinch-qn":
            output = ""
        elif scene.until is None:
            output = _in_process(words[1:])
        else:
            output = _in_a_process(words[1:], scene, self.sandbox)
        lines = [each.rstrip() for each in self._fixed(output, words).splitlines()]
        return "".join(f"{each}\n" for each in [line, *filter(None, lines)])

    def _fetch(self, url: str) -> str:
        """Return what curl prints for a *url* of the control API."""
        path = url.partition("/_sandbox/")[2]
        with urllib.request.urlopen(f"{self.sandbox.base_url}/_sandbox/{path}") as response:  # noqa: S310
            return str(response.read().decode())

    def _fixed(self, output: str, words: list[str]) -> str:
        """Return *output* with what differs each time replaced."""
        port = words[words.index("--desk") + 1] if "--desk" in words else "8080"
        output = output.replace(f":{self.sandbox.port}", ":8080")
        output = re.sub(r"(?<=127\.0\.0\.1:)(?!8080\b)\d+", port, output)
        for pattern, fixed in _FIXED:
            output = pattern.sub(fixed, output)
        return output

    def wait(self, coroutine: Any) -> None:
        """Run *coroutine* in the sandbox's loop, to its end."""
        asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(_PATIENCE)


@contextmanager
def _stage() -> Iterator[_Stage]:
    """Run a sandbox in a thread, because commands run their own event loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    stage = _Stage(Sandbox(clock=Clock.stopped(_NOON)), loop)
    try:
        stage.wait(stage.sandbox.__aenter__())
        try:
            variables = {**_ENVIRONMENT, **stage.sandbox.environment()}
            with mock.patch.dict(os.environ, variables, clear=True):
                yield stage
        finally:
            stage.wait(stage.sandbox.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class _Terminal(CliRunner):
    """Runs commands whose output is a terminal's: tables."""

    @contextmanager
    def isolation(self, *arguments: Any, **options: Any) -> Iterator[Any]:
        with (
            super().isolation(*arguments, **options) as streams,
            mock.patch.object(sys.stdout, "isatty", return_value=True),
        ):
            yield streams


def _in_process(words: list[str]) -> str:
    result = _Terminal().invoke(cli, words)
    if result.exit_code not in (0, 1) or not isinstance(result.exception, SystemExit | None):
        raise SystemExit(f"{shlex.join(words)} failed:\n{result.output}") from result.exception
    return result.output


def _in_a_process(words: list[str], scene: Scene, sandbox: Sandbox) -> str:
    """Run a command in a pipe, and serve at any free port; see `Scene.until`."""
    if words[0] == "sandbox":
        words = [*words, "--port", "0"]
    if "--desk" in words:
        at = words.index("--desk") + 1
        words = [*words[:at], "0", *words[at + 1 :]]
    if time.time() % 60 > 57:
        time.sleep(3)  # so that all is within one minute
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "sinch_qn.cli", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    ) as process:
        timer = threading.Timer(_PATIENCE, process.kill)
        timer.start()
        try:
            return "".join(_printed(process.stdout or (), scene, sandbox))
        finally:
            timer.cancel()
            process.kill()


def _printed(output: Iterable[str], scene: Scene, sandbox: Sandbox) -> Iterator[str]:
    """Yield the lines of *output*; of those with a time only the one with `scene.until`."""
    is_there = False
    for line in output:
        is_it = not is_there and scene.until is not None and scene.until in line
        if is_it or not re.match(r"\d\d:\d\d:\d\d ", line):
            yield line
        if is_it:
            if scene.then is None:
                return
            is_there = True
            scene.then(sandbox)
    if not is_there:
        raise SystemExit(f"a command ended without {scene.until!r}")


def main() -> int:
    """Print the pages below the working directory as they should be, as JSON."""
    pages = transcripts(Path.cwd())
    print(json.dumps({path.as_posix(): page for path, page in pages.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
