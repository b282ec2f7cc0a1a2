"""`make test-fast` leaves out slow tests and tests that start a process."""

from __future__ import annotations

import pytest

TESTS = """
    import asyncio, os, subprocess, sys
    import pytest

    @pytest.fixture(scope="module")
    def made():
        subprocess.run([sys.executable, "--version"])

    @pytest.mark.slow
    def test_slow(): pass
    def test_quick(): pass
    def test_process(): subprocess.run([sys.executable, "--version"])
    def test_shell(): os.system("true")
    def test_fork(): os.fork()
    def test_fixture(made): pass
    async def test_asyncio():
        await asyncio.create_subprocess_exec(sys.executable, "--version")
"""


def test_fast_runs_nothing_slow_and_starts_no_process(pytester: pytest.Pytester) -> None:
    """With `--fast`, slow tests are deselected; a test that would start a process is skipped."""
    pytester.makeconftest(
        "from tests.conftest import no_process, pytest_addoption, pytest_collection_modifyitems"
    )
    pytester.makepyfile(TESTS)
    pytester.makeini("[pytest]\nmarkers = slow\nasyncio_mode = auto")
    result = pytester.runpytest_subprocess("--fast")
    result.assert_outcomes(passed=1, skipped=5, deselected=1)
