"""The patterns for processes that start many event loops, fork, or have a running loop."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from sinch_qn import OAuth2, QualifiedNumbersClient
from sinch_qn.sandbox import Sandbox
from tests.docs.test_pages import blocks
from tests.support import cli_process

ROOT = Path(__file__).parents[2]
NUMBER = "+12025550134"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Run a sandbox beside code that starts event loops of its own; `SINCH_*` are set for it."""
    with cli_process.running(Sandbox()) as sandbox:
        for name, value in sandbox.environment().items():
            monkeypatch.setenv(name, value)
        sandbox.add([NUMBER])
        yield sandbox
    assert sandbox.violations == []


def test_django_requests_one_token_for_all_event_loops(served: Sandbox) -> None:
    """Views with and without `async`, under WSGI and ASGI: each request has a loop, all a token."""
    from django.test import AsyncClient, Client  # noqa: PLC0415 - takes a while to load

    from examples import django_views  # noqa: PLC0415 - reads the environment

    assert django_views.application
    for view in ("/numbers/", "/async/numbers/"):
        for number, status in ((NUMBER, 200), ("+12025550199", 404), ("hello", 422)):
            over_wsgi = Client().get(view + number)
            over_asgi = asyncio.run(AsyncClient().get(view + number))
            assert over_wsgi.status_code == over_asgi.status_code == status
            assert over_wsgi.json() == over_asgi.json()
            assert "+12025550199" not in over_wsgi.content.decode(), "an error masks its number"
        assert Client().get(view + NUMBER).json()["phoneNumber"] == NUMBER
    assert served.calls.total("token") == 1


def test_forked_workers_inherit_the_token(served: Sandbox) -> None:
    """Jobs before a fork and in its children work, and request one token together."""
    numbers = [f"+120255501{n}" for n in range(40, 50)]
    served.add(numbers)
    done = subprocess.run(  # noqa: S603 - this interpreter, our example
        [sys.executable, "-W", "error", ROOT / "examples/prefork_jobs.py", *numbers],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    shown = [f"{number} GLOBAL_PROCESS_STATE_ELIGIBLE" for number in numbers]
    assert done.stdout.splitlines() == [shown[0], *shown]
    assert served.calls.total("token") == 1


def test_a_client_of_another_event_loop_says_so(served: Sandbox) -> None:
    """A client that crosses into another loop, as into a forked worker, is an error that helps."""
    client = QualifiedNumbersClient.from_env(auth=OAuth2.from_env())

    async def job() -> None:
        async with client:
            await client.get_number(NUMBER)

    asyncio.run(job())
    with pytest.raises(RuntimeError, match="make one client for each event loop"):
        asyncio.run(job())
    assert served.calls.total("getQualifiedNumber") == 1


async def test_the_cells_of_a_notebook_run(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's cells run in IPython, in a loop that runs already, each in a task of its own."""
    sandbox.add([NUMBER])
    for name, value in sandbox.environment().items():
        monkeypatch.setenv(name, value)
    page = (ROOT / "docs/guides/embedding.md").read_text()
    section = page.partition("## Jupyter\n")[2].partition("\n## ")[0]
    quiet = Config({"HistoryManager": {"enabled": False}})
    shell: Any = InteractiveShell(config=quiet, ipython_dir=str(tmp_path))  # type: ignore[no-untyped-call]
    shell.push({"sandbox": sandbox})
    cells = blocks(section)
    assert len(cells) > 1
    for cell in cells:
        code = shell.transform_cell(f"{cell.given}\n{cell.code}")
        running = shell.run_cell_async(code, transformed_cell=code)
        (await asyncio.create_task(running)).raise_error()
    assert sandbox.world.rings(NUMBER) == 1
