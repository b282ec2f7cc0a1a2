"""What the guide on Windows says, by a simulation."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.project.distribution import ROOT


@pytest.mark.slow
def test_only_what_needs_posix_needs_it() -> None:
    """Without POSIX the client and runs in memory work; journal files are refused in words."""
    command = [sys.executable, "-W", "error", "-m", "tests.project.without_posix"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert (done.returncode, done.stderr) == (0, "")
    memory, file, check, run = done.stdout.splitlines()
    assert memory == "a run in memory: GLOBAL_PROCESS_STATE_VERIFIED"
    assert "a journal in a file needs a POSIX system, for its lock" in file
    assert check.startswith("check 0 numbers.csv: 1 number")
    assert run.startswith("run 2 error: this needs a POSIX system")
